//! Becoming the one process that may change a bucket's catalog.
//!
//! A bucket belongs to one directory, that of its log. Another one is refused, unless it is told to take over. Each claim
//! counts the epoch up, in a catalog that is swapped on condition: whoever claimed before can swap no more, and the
//! numbers of its segments, which begin with its epoch, are no other's. No clock and no lease is relied on.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use object_store::{PutMode, UpdateVersion};

use super::binding::{Binding, random_name};
use super::client::PutError;
use super::objects::CATALOG;
use super::{Bucket, BucketFiles, Cache, Known};
use crate::embedded::catalog::{Catalog, EPOCH_BITS, FormerOwner, Owner, SegmentEntry, is_in_directory};
use crate::embedded::disk::Disk;
use crate::embedded::files::{LocalFiles, SegmentFiles};
use crate::embedded::logs_in;
use crate::embedded::place::{LateClaim, Opened};
use crate::{BucketOptions, StoreError};

/// A catalog that is lost may have known of epochs that no segment tells of; so many are passed over.
const UNKNOWN_EPOCHS: u64 = 1024;
/// Maximum number of epochs whose ends are remembered: requests do not take longer than as many starts.
const MAX_ENDS: usize = 64;
/// What is written to see whether conditions are honoured.
const PROBE: &str = "probe";
/// So often a claim is tried when others claim at the same time.
const CLAIMS: usize = 5;

/// A directory whose lock is held, and that wants a bucket.
pub(crate) struct Claimant {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    endpoint: Option<String>,
    take_over: bool,
    files: Arc<BucketFiles>,
}

/// A bucket that this process owns.
struct Claimed {
    catalog: Catalog,
    /// What was wrong with the catalog, if it had to be made again.
    damage: Option<String>,
}

impl Claimant {
    pub(crate) fn new(
        disk: &Arc<dyn Disk>,
        folder: &Path,
        bucket: Bucket,
        cache: Cache,
        options: &BucketOptions,
    ) -> Self {
        let own = LocalFiles::new(disk.clone(), folder);
        let known = Known::new(disk, folder);
        let files = BucketFiles::new(bucket, cache, own, Some(known), options.move_bytes_per_second);
        Self {
            disk: disk.clone(),
            folder: folder.to_owned(),
            endpoint: options.endpoint.clone(),
            take_over: options.take_over,
            files: Arc::new(files),
        }
    }

    /// Claims the bucket. One that cannot be reached is claimed later, if there is a catalog to go by until then.
    ///
    /// # Errors
    /// [`StoreError::Invalid`] if the bucket belongs to another directory and taking over was not asked for, if the
    /// directory belongs to another bucket, or if the server does not honour conditions; [`StoreError::Unavailable`] if it
    /// does not answer, and nothing is known of it.
    pub(crate) fn open(self) -> Result<Opened, StoreError> {
        let files = self.files.clone();
        let known = self.known_catalog()?;
        files.bucket().hurry(known.is_some());
        let claimed = self.claim();
        files.bucket().hurry(false);
        let why = match claimed {
            Err(StoreError::Unavailable(why)) => why,
            claimed => {
                let Claimed { catalog, damage } = claimed?;
                return Ok(Opened { files, catalog, damage, late_claim: None });
            }
        };
        let Some(catalog) = known else {
            return Err(StoreError::Unavailable(format!(
                "{why}; {} does not know what is in it, so the first start, and one after a loss, needs the bucket",
                self.folder.display()
            )));
        };
        tracing::warn!(
            error = why,
            segments = catalog.segments.len(),
            "the bucket is away; starting from what was known of it last, and claiming it when it is back"
        );
        files.set_away(why.clone());
        Ok(Opened { files, catalog, damage: None, late_claim: Some(LateClaim { why, claim: self.into_late_claim() }) })
    }

    fn known_catalog(&self) -> Result<Option<Catalog>, StoreError> {
        let bound = Binding::read(&*self.disk, &self.folder)?;
        let known = self.files.known().zip(bound);
        Ok(known.and_then(|(known, bound)| known.read(&bound.directory).filter(|catalog| known.is_current(catalog))))
    }

    fn into_late_claim(self) -> Box<dyn FnMut() -> Result<Opened, StoreError> + Send> {
        Box::new(move || match self.claim() {
            Ok(Claimed { catalog, damage }) => {
                tracing::info!(bucket = self.files.bucket().url, "the bucket is back, and claimed");
                Ok(Opened { files: self.files.clone(), catalog, damage, late_claim: None })
            }
            Err(StoreError::Invalid(why)) => {
                // Trying again would not help, and what was taken meanwhile stays in the log.
                let why = format!("{why}: this process writes no more, and what it took since it began is in its log");
                self.files.stop(&why);
                Err(StoreError::Unavailable(why))
            }
            Err(StoreError::Unavailable(why)) => {
                self.files.set_away(why.clone());
                Err(StoreError::Unavailable(why))
            }
            Err(other) => Err(other),
        })
    }

    fn claim(&self) -> Result<Claimed, StoreError> {
        let (disk, folder, files) = (&*self.disk, &*self.folder, &*self.files);
        let (url, local) = (&files.bucket().url, files.own());
        let bound = Binding::read(disk, folder)?;
        if let Some(bound) = bound.as_ref().filter(|bound| bound.segments != *url) {
            return Err(StoreError::Invalid(format!(
                "{} keeps its segments in {}, not in {url}: a directory's log belongs to one bucket",
                folder.display(),
                bound.segments,
            )));
        }
        let own_logs = logs_in(disk, folder)?;
        let directory = bound.as_ref().map_or_else(random_name, |bound| bound.directory.clone());
        let mut is_tried = false;
        for _ in 0..CLAIMS {
            let Found { mut catalog, version, damage } = find(files, &own_logs)?;
            if version.is_none() && damage.is_none() {
                self.check_not_emptied(&directory)?;
            }
            if damage.is_some() && bound.is_none() && !self.take_over {
                return Err(StoreError::Invalid(format!(
                    "{url} has segments and no readable catalog, which would say whose it is: --segments-take-over \
                     makes it again"
                )));
            }
            let before = catalog.owner.take();
            let is_own = before.as_ref().is_some_and(|owner| owner.directory == directory);
            if let Some(owner) = before.as_ref().filter(|_| !is_own && !self.take_over) {
                return Err(StoreError::Invalid(format!(
                    "{url} belongs to the store in {}. If that one is stopped for good, or its directory is lost, take \
                     over with --segments-take-over",
                    owner.place
                )));
            }
            if !std::mem::replace(&mut is_tried, true) {
                check_conditions(files.bucket())?;
                let endpoint = self.endpoint.clone();
                let binding = Binding { segments: url.clone(), endpoint, directory: directory.clone() };
                if bound.as_ref() != Some(&binding) {
                    binding.write(disk, folder)?;
                }
            }
            let epoch = match &before {
                Some(owner) => owner.epoch + 1,
                None if damage.is_some() => (catalog.next_segment >> EPOCH_BITS) + UNKNOWN_EPOCHS,
                None => 1,
            };
            let known = catalog.former.iter().position(|former| former.directory == directory);
            let known = known.map(|place| catalog.former.remove(place));
            if !is_own && known.is_none() {
                // What the directory holds may be of another bucket of that name, with the same numbers.
                files.forget_pieces();
            }
            // Of a directory that comes back, the log counts from where it did; of a new one, from numbers of its own on.
            let first_log = if is_own || damage.is_some() && !own_logs.is_empty() {
                catalog.first_log
            } else if let Some(known) = &known {
                known.first_log
            } else if is_there(local)? {
                Catalog::open(local)?.first_log
            } else {
                own_logs.first().copied().unwrap_or(epoch << EPOCH_BITS)
            };
            if let Some(other) = before.filter(|_| !is_own) {
                catalog.set_former(other);
            }
            catalog.first_log = first_log;
            if damage.is_none() {
                catalog.end_epoch(epoch);
            }
            catalog.next_segment = catalog.next_segment.max(epoch << EPOCH_BITS);
            if let Some(known) = known {
                catalog.segments.extend(known.segments);
                catalog.dropped.extend(known.dropped);
                catalog.unread.extend(known.unread);
            }
            take_in(local, &mut catalog, &directory, damage.is_some())?;
            let owner = Owner { directory: directory.clone(), session: random_name(), epoch, place: place_of(folder) };
            catalog.owner = Some(owner.clone());
            if files.claim(owner, version, &mut catalog)? {
                // From here on the catalog in the bucket names what is in the directory.
                if let Err(error) = local.remove_catalog() {
                    tracing::warn!(path = local.catalog_name(), %error, "cannot remove a catalog that was taken in");
                }
                return Ok(Claimed { catalog, damage });
            }
            // Another was faster, or an earlier process of this directory, whose request was still on its way.
        }
        Err(StoreError::Unavailable(format!("{url}: others claim it all the time")))
    }

    /// An error if there is nothing in the bucket, and the directory knows better: another server answers under its name,
    /// or all was lost.
    fn check_not_emptied(&self, directory: &str) -> Result<(), StoreError> {
        let known = self.files.known().and_then(|known| Some((known.path(), known.read(directory)?)));
        let Some((path, catalog)) = known else { return Ok(()) };
        let missing: Vec<&SegmentEntry> =
            catalog.segments.iter().filter(|entry| !is_in_directory(entry.number)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        Err(StoreError::Invalid(format!(
            "{} is empty, but had {} segments with {} spans of the store in {}: is it the right server? If they are lost \
             for good, remove {} to begin anew",
            self.files.bucket().url,
            missing.len(),
            missing.iter().map(|entry| entry.spans).sum::<u64>(),
            self.folder.display(),
            path.display()
        )))
    }
}

impl Catalog {
    /// Notes up to which number catalogs of the last epoch can have named segments: a request of that time may still be on
    /// its way, and what it writes then is known to be no loss.
    fn end_epoch(&mut self, next: u64) {
        if self.next_segment >> EPOCH_BITS != next {
            self.ends.push(self.next_segment);
        }
        let surplus = self.ends.len().saturating_sub(MAX_ENDS);
        self.ends.drain(..surplus);
    }

    /// Notes who owned the bucket until now, with what only its directory has.
    fn set_former(&mut self, owner: Owner) {
        let all = std::mem::take(&mut self.segments);
        let (segments, in_bucket): (Vec<_>, Vec<_>) = all.into_iter().partition(|entry| is_in_directory(entry.number));
        self.segments = in_bucket;
        let (dropped, in_bucket) = std::mem::take(&mut self.dropped).into_iter().partition(|n| is_in_directory(*n));
        self.dropped = in_bucket;
        let (unread, in_bucket) = std::mem::take(&mut self.unread).into_iter().partition(|n| is_in_directory(*n));
        self.unread = in_bucket;
        self.in_segments.clear();
        if !segments.is_empty() {
            tracing::warn!(
                segments = segments.len(),
                spans = segments.iter().map(|entry| entry.spans).sum::<u64>(),
                directory = owner.place,
                "segments were not moved into the bucket yet: they are missing until their directory owns it again"
            );
        }
        self.former.push(FormerOwner {
            directory: owner.directory,
            first_log: self.first_log,
            segments,
            dropped,
            unread,
        });
    }
}

/// A catalog as it was found, or made again.
struct Found {
    catalog: Catalog,
    version: Option<UpdateVersion>,
    damage: Option<String>,
}

fn find(files: &BucketFiles, own_logs: &[u64]) -> Result<Found, StoreError> {
    let name = files.catalog_name();
    let io = |step: &str, source| StoreError::io(format!("{step} {name}"), source);
    let (damage, version) = match files.bucket().get(CATALOG).map_err(|error| io("read", error))? {
        Some((bytes, version)) => match Catalog::decode(&bytes, &name) {
            Ok(catalog) => return Ok(Found { catalog, version: Some(version), damage: None }),
            Err(StoreError::Corrupt(what)) => (what, Some(version)),
            Err(other) => return Err(other),
        },
        None if files.bucket_only().list().map_err(|error| io("list beside", error))?.is_empty() => {
            return Ok(Found { catalog: Catalog::default(), version: None, damage: None });
        }
        None => (format!("{name}: it is missing"), None),
    };
    // All log files of one directory have the same upper bits.
    let first = own_logs.first().copied().unwrap_or(0) >> EPOCH_BITS << EPOCH_BITS;
    let catalog = Catalog::rebuild(&files.bucket_only(), first..first + (1 << EPOCH_BITS), own_logs)?;
    Ok(Found { catalog, version, damage: Some(damage) })
}

/// Whether the directory has segments of its own.
fn is_there(local: &LocalFiles) -> Result<bool, StoreError> {
    let found =
        local.read_catalog().map_err(|error| StoreError::io(format!("read {}", local.catalog_name()), error))?;
    Ok(found.is_some())
}

/// Takes a directory's own segments into the catalog as they lie there, once: they are served at once, and moved later. Of
/// a catalog that was made again, those whose copy is in the bucket are left out.
fn take_in(local: &LocalFiles, catalog: &mut Catalog, directory: &str, is_rebuilt: bool) -> Result<(), StoreError> {
    let own = if is_there(local)? && !catalog.moved.iter().any(|moved| moved == directory) {
        Catalog::open(local)?
    } else if is_rebuilt {
        Catalog::rebuild(local, 0..0, &[])?
    } else {
        return Ok(());
    };
    let Catalog { segments: mut own, dropped, unread, .. } = own;
    catalog.dropped.extend(dropped);
    catalog.unread.extend(unread);
    let in_bucket = catalog.segments.clone();
    let is_copied = |entry: &SegmentEntry| {
        in_bucket.iter().any(|other| SegmentEntry { number: other.number, ..entry.clone() } == *other)
    };
    if is_rebuilt {
        let (copied, left): (Vec<_>, Vec<_>) = own.into_iter().partition(is_copied);
        own = left;
        catalog.dropped.extend(copied.iter().map(|entry| entry.number));
    }
    if !own.is_empty() {
        tracing::info!(
            segments = own.len(),
            "the directory's segments are served from there, and moved into the bucket"
        );
    }
    catalog.segments.extend(own);
    catalog.moved.retain(|moved| moved != directory);
    catalog.moved.push(directory.to_owned());
    Ok(())
}

/// Makes sure that the server honours the conditions on which two processes are kept apart.
fn check_conditions(bucket: &Bucket) -> Result<(), StoreError> {
    let key = format!("{PROBE}-{}", random_name());
    let io = |error| StoreError::io(format!("write {}", bucket.name(&key)), error);
    let put = |content: &'static str, mode| match bucket.put(&key, Bytes::from_static(content.as_bytes()), mode) {
        Ok(version) => Ok(Some(version)),
        Err(PutError::Condition) => Ok(None),
        Err(PutError::Other(error)) => Err(io(error)),
    };
    put("1", PutMode::Create)?;
    let first = bucket.get(&key).map_err(io)?.map(|(_, version)| version);
    let is_created_twice = put("2", PutMode::Create)?.is_some();
    let mut is_honoured = !is_created_twice;
    if let Some(first) = first.filter(|_| is_honoured) {
        put("3", PutMode::Update(first.clone()))?;
        is_honoured = put("4", PutMode::Update(first))?.is_none();
    }
    if let Err(error) = bucket.delete(&key) {
        tracing::warn!(object = bucket.name(&key), %error, "cannot delete what was written to try the bucket");
    }
    if is_honoured {
        return Ok(());
    }
    Err(StoreError::Invalid(format!(
        "{}: the server does not honour conditional PUT (If-None-Match, If-Match), without which two processes could \
         overwrite one another",
        bucket.url
    )))
}

/// Where a directory is, for people who look for it.
fn place_of(folder: &Path) -> String {
    let path = std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned());
    let path = path.display();
    match std::fs::read_to_string("/proc/sys/kernel/hostname") {
        Ok(host) => format!("{}:{path}", host.trim()),
        Err(_) => path.to_string(),
    }
}
