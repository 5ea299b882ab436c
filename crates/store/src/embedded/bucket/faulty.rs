//! A bucket in memory whose requests fail, lose their answers, come late or twice, as a test asks.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};

use crate::embedded::disk::simulated::SimulatedDisk;

/// So many requests later comes what comes late.
const LATE: u64 = 3;

/// What happens to a request that changes something, besides that its sender is told of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing: it did not arrive.
    Lost,
    /// It is done, and the answer is lost.
    AnswerLost,
    /// It is done, but some requests later.
    Late,
    /// It is done at once, and again some requests later, and the answer is lost.
    Twice,
    /// The sender's machine crashes. It is done or not, as the place is even or odd.
    Crash,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct FaultyBucket {
    objects: Arc<InMemory>,
    world: Arc<Mutex<World>>,
}

#[derive(Default)]
struct World {
    requests: u64,
    fault: Option<(u64, Fault)>,
    is_down: bool,
    /// Requests are never answered.
    hangs: bool,
    /// Objects with this ending are not read before it is taken back.
    held: Option<&'static str>,
    /// Objects of this name cannot be read.
    denied: Option<&'static str>,
    /// Of how many requests out of a hundred one goes wrong, in a way that the seed has.
    flaps: Option<(fastrand::Rng, u8)>,
    /// What requests changed so far.
    changed: Vec<String>,
    ignores_conditions: bool,
    late: Vec<(u64, Change)>,
    /// The machine that sends the requests.
    machine: Option<SimulatedDisk>,
}

impl fmt::Debug for World {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("World").field("requests", &self.requests).field("fault", &self.fault).finish()
    }
}

#[derive(Clone)]
enum Change {
    Put(Path, PutPayload, PutOptions),
    Delete(Path),
}

impl FaultyBucket {
    fn world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The requests of this machine: none is made any more once it has crashed.
    pub(crate) fn used_by(&self, machine: &SimulatedDisk) -> Self {
        self.world().machine = Some(machine.clone());
        self.clone()
    }

    /// The same objects over a line of its own, which fails by itself.
    pub(crate) fn over_another_line(&self) -> Self {
        Self { objects: self.objects.clone(), ..Self::default() }
    }

    pub(crate) fn set_fault(&self, fault: Option<(u64, Fault)>) {
        self.world().fault = fault;
    }

    pub(crate) fn set_down(&self, is_down: bool) {
        self.world().is_down = is_down;
    }

    /// From now on objects of a name cannot be read.
    pub(crate) fn set_denied(&self, name: Option<&'static str>) {
        self.world().denied = name;
    }

    /// From now on objects with an ending are not read, until it is taken back.
    pub(crate) fn hold(&self, ending: Option<&'static str>) {
        self.world().held = ending;
    }

    /// From now on no request is answered.
    pub(crate) fn set_hanging(&self, hangs: bool) {
        self.world().hangs = hangs;
    }

    /// From now on so many requests out of a hundred go wrong.
    pub(crate) fn set_flaps(&self, seed: u64, percent: u8) {
        self.world().flaps = (percent > 0).then(|| (fastrand::Rng::with_seed(seed), percent));
    }

    /// The names of the objects that were changed since this was asked last, in order.
    pub(crate) fn take_changed(&self) -> Vec<String> {
        std::mem::take(&mut self.world().changed)
    }

    pub(crate) fn ignore_conditions(&self) {
        self.world().ignores_conditions = true;
    }

    /// Requests so far that change something.
    pub(crate) fn requests(&self) -> u64 {
        self.world().requests
    }

    pub(crate) async fn read(&self, path: &str) -> Vec<u8> {
        self.objects.get(&Path::from(path)).await.unwrap().bytes().await.unwrap().to_vec()
    }

    pub(crate) async fn write(&self, path: &str, bytes: Vec<u8>) {
        self.objects.put(&Path::from(path), bytes.into()).await.unwrap();
    }

    pub(crate) async fn remove(&self, path: &str) {
        self.objects.delete(&Path::from(path)).await.unwrap();
    }

    /// Bytes of all objects.
    pub(crate) async fn bytes(&self) -> u64 {
        self.objects.list(None).map(|object| object.unwrap().size).fold(0, async |all, size| all + size).await
    }

    pub(crate) async fn names(&self) -> Vec<String> {
        self.objects.list(None).map(|object| object.unwrap().location.to_string()).collect().await
    }

    /// Counts a request that changes something, does what was late until now, and says what happens to this one.
    async fn begin(&self) -> Result<Option<(u64, Fault)>> {
        self.hang().await;
        let (due, fault) = {
            let mut world = self.world();
            Self::check_up(&world)?;
            let request = world.requests;
            world.requests += 1;
            let (due, later) = std::mem::take(&mut world.late).into_iter().partition(|(when, _)| *when <= request);
            world.late = later;
            let due: Vec<(u64, Change)> = due;
            let flap = world.flaps.as_mut().and_then(|(random, percent)| {
                let fault = [Fault::Lost, Fault::AnswerLost, Fault::Late, Fault::Twice][random.usize(0..4)];
                (random.u8(0..100) < *percent).then_some((request, fault))
            });
            (due, world.fault.filter(|(at, _)| *at == request).or(flap))
        };
        for (_, change) in due {
            let _ = self.change(change).await;
        }
        Ok(fault)
    }

    async fn hang(&self) {
        if self.world().hangs {
            std::future::pending::<()>().await;
        }
    }

    fn check_up(world: &World) -> Result<()> {
        let is_gone = world.machine.as_ref().is_some_and(SimulatedDisk::has_crashed);
        if world.is_down || is_gone { Err(failed()) } else { Ok(()) }
    }

    /// An error if a request that changes nothing is to fail.
    async fn check(&self) -> Result<()> {
        self.hang().await;
        let mut world = self.world();
        Self::check_up(&world)?;
        let is_lost = world.flaps.as_mut().is_some_and(|(random, percent)| random.u8(0..100) < *percent);
        if is_lost { Err(failed()) } else { Ok(()) }
    }

    async fn change(&self, change: Change) -> Result<Option<PutResult>> {
        let (Change::Put(path, ..) | Change::Delete(path)) = &change;
        self.world().changed.push(path.to_string());
        match change {
            Change::Put(path, payload, options) => self.objects.put_opts(&path, payload, options).await.map(Some),
            Change::Delete(path) => self.objects.delete(&path).await.map(|()| None),
        }
    }

    async fn request(&self, change: Change) -> Result<Option<PutResult>> {
        let Some((at, fault)) = self.begin().await? else { return self.change(change).await };
        if fault == Fault::Crash
            && let Some(machine) = &self.world().machine
        {
            machine.crash();
        }
        let is_done = matches!(fault, Fault::AnswerLost | Fault::Twice) || fault == Fault::Crash && at % 2 == 0;
        if is_done {
            let _ = self.change(change.clone()).await;
        }
        if matches!(fault, Fault::Late | Fault::Twice) {
            self.world().late.push((at + LATE, change));
        }
        Err(failed())
    }
}

fn failed() -> Error {
    Error::Generic { store: "test", source: "503 slow down".into() }
}

impl fmt::Display for FaultyBucket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a bucket that fails")
    }
}

#[async_trait]
impl ObjectStore for FaultyBucket {
    async fn put_opts(&self, path: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        if self.world().ignores_conditions {
            options.mode = PutMode::Overwrite;
        }
        let put = self.request(Change::Put(path.clone(), payload, options)).await?;
        put.ok_or_else(failed)
    }

    async fn put_multipart_opts(&self, path: &Path, options: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        if self.begin().await?.is_some() {
            return Err(failed());
        }
        self.world().changed.push(path.to_string());
        let upload = self.objects.put_multipart_opts(path, options).await?;
        Ok(Box::new(FaultyUpload { upload, bucket: self.clone() }))
    }

    async fn get_opts(&self, path: &Path, options: GetOptions) -> Result<GetResult> {
        self.check().await?;
        while self.world().held.is_some_and(|held| path.extension() == Some(held)) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let denied = self.world().denied;
        if denied.is_some_and(|denied| path.filename() == Some(denied)) {
            return Err(failed());
        }
        self.objects.get_opts(path, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let bucket = self.clone();
        paths
            .then(move |path| {
                let bucket = bucket.clone();
                async move {
                    let path = path?;
                    bucket.request(Change::Delete(path.clone())).await?;
                    Ok(path)
                }
            })
            .boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.objects.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.check().await?;
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.check().await?;
        self.objects.copy_opts(from, to, options).await
    }
}

#[derive(Debug)]
struct FaultyUpload {
    upload: Box<dyn MultipartUpload>,
    bucket: FaultyBucket,
}

impl FaultyUpload {
    /// Counts a request; true if it arrives, and its answer is lost.
    async fn begin(bucket: &FaultyBucket) -> Result<bool> {
        match bucket.begin().await? {
            None => Ok(false),
            Some((_, Fault::AnswerLost | Fault::Twice | Fault::Late)) => Ok(true),
            Some((_, Fault::Lost)) => Err(failed()),
            Some((_, Fault::Crash)) => {
                if let Some(machine) = &bucket.world().machine {
                    machine.crash();
                }
                Err(failed())
            }
        }
    }
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, payload: PutPayload) -> UploadPart {
        let part = self.upload.put_part(payload);
        let bucket = self.bucket.clone();
        Box::pin(async move {
            let is_lost = Self::begin(&bucket).await?;
            part.await?;
            if is_lost { Err(failed()) } else { Ok(()) }
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let is_lost = Self::begin(&self.bucket).await?;
        let put = self.upload.complete().await?;
        if is_lost { Err(failed()) } else { Ok(put) }
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}
