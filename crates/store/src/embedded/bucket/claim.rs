//! Becoming the one process that may change a bucket's catalog.
//!
//! A bucket belongs to one directory, that of its log. Another one is refused, unless it is told to take over. Each claim
//! counts the epoch up, in a catalog that is swapped on condition: whoever claimed before can swap no more, and the
//! numbers of its segments, which begin with its epoch, are no other's. No clock and no lease is relied on.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use object_store::{PutMode, UpdateVersion};

use super::binding::{Binding, random_name};
use super::client::PutError;
use super::objects::CATALOG;
use super::{Bucket, BucketFiles, Cache};
use crate::StoreError;
use crate::embedded::catalog::{Catalog, EPOCH_BITS, FormerOwner, Owner, SegmentEntry};
use crate::embedded::disk::Disk;
use crate::embedded::files::{LocalFiles, SegmentFiles};
use crate::embedded::logs_in;

/// A catalog that is lost may have known of epochs that no segment tells of; so many are passed over.
const UNKNOWN_EPOCHS: u64 = 1024;
/// What is written to see whether conditions are honoured.
const PROBE: &str = "probe";
/// So often a claim is tried when others claim at the same time.
const CLAIMS: usize = 5;
/// What is copied at once when segments are moved.
const COPIED_BYTES: u64 = 1 << 20;

/// A bucket that this process owns.
pub(crate) struct Claimed {
    pub(crate) files: Arc<BucketFiles>,
    pub(crate) catalog: Catalog,
    /// What was wrong with the catalog, if it had to be made again.
    pub(crate) damage: Option<String>,
}

/// Claims a bucket for a directory whose lock is held. What the directory holds of its own is moved into the bucket.
///
/// # Errors
/// [`StoreError::Invalid`] if the bucket belongs to another directory and `take_over` is not set, if the directory belongs
/// to another bucket, or if the server does not honour conditions; [`StoreError::Unavailable`] if it does not answer.
pub(crate) fn claim(
    disk: &Arc<dyn Disk>,
    folder: &Path,
    bucket: Bucket,
    endpoint: Option<&str>,
    cache: Cache,
    take_over: bool,
) -> Result<Claimed, StoreError> {
    let bound = Binding::read(&**disk, folder)?;
    if let Some(bound) = bound.as_ref().filter(|bound| bound.segments != bucket.url) {
        return Err(StoreError::Invalid(format!(
            "{} keeps its segments in {}, not in {}: a directory's log belongs to one bucket",
            folder.display(),
            bound.segments,
            bucket.url
        )));
    }
    let url = bucket.url.clone();
    let files = Arc::new(BucketFiles::new(bucket, cache));
    let local = LocalFiles::new(disk.clone(), folder);
    let own_logs = logs_in(&**disk, folder)?;
    let directory = bound.as_ref().map_or_else(random_name, |bound| bound.directory.clone());
    let mut is_tried = false;
    for _ in 0..CLAIMS {
        let Found { mut catalog, version, damage } = find(&files, own_logs.first().copied())?;
        if damage.is_some() && bound.is_none() && !take_over {
            return Err(StoreError::Invalid(format!(
                "{url} has segments and no readable catalog, which would say whose it is: --segments-take-over makes it \
                 again"
            )));
        }
        let before = catalog.owner.take();
        let is_own = before.as_ref().is_some_and(|owner| owner.directory == directory);
        if let Some(owner) = before.as_ref().filter(|_| !is_own && !take_over) {
            return Err(StoreError::Invalid(format!(
                "{url} belongs to the store in {}. If that one is stopped for good, or its directory is lost, take over \
                 with --segments-take-over",
                owner.place
            )));
        }
        if !std::mem::replace(&mut is_tried, true) {
            check_conditions(files.bucket())?;
            let endpoint = endpoint.map(str::to_owned);
            let binding = Binding { segments: url.clone(), endpoint, directory: directory.clone() };
            if bound.as_ref() != Some(&binding) {
                binding.write(&**disk, folder)?;
            }
        }
        let epoch = match &before {
            Some(owner) => owner.epoch + 1,
            None if damage.is_some() => (catalog.next_segment >> EPOCH_BITS) + UNKNOWN_EPOCHS,
            None => 1,
        };
        // Of a directory that comes back, the log counts from where it did; of a new one, from numbers of its own on.
        let known = catalog.former.iter().position(|former| former.directory == directory);
        let first_log = if is_own || damage.is_some() && !own_logs.is_empty() {
            catalog.first_log
        } else if let Some(place) = known {
            catalog.former[place].first_log
        } else if !own_logs.is_empty() || is_there(&local)? {
            Catalog::open(&local)?.first_log
        } else {
            epoch << EPOCH_BITS
        };
        if let Some(other) = before.filter(|_| !is_own) {
            catalog.former.push(FormerOwner { directory: other.directory, first_log: catalog.first_log });
        }
        catalog.former.retain(|former| former.directory != directory);
        catalog.first_log = first_log;
        catalog.next_segment = catalog.next_segment.max(epoch << EPOCH_BITS);
        let owner = Owner { directory: directory.clone(), session: random_name(), epoch, place: place_of(folder) };
        catalog.owner = Some(owner.clone());
        if !files.claim(owner, version, &mut catalog)? {
            // Another was faster, or an earlier process of this directory, whose request was still on its way.
            continue;
        }
        if is_there(&local)? {
            move_segments(&local, &*files, &mut catalog, &directory)?;
        }
        return Ok(Claimed { files, catalog, damage });
    }
    Err(StoreError::Unavailable(format!("{url}: others claim it all the time")))
}

/// A catalog as it was found, or made again.
struct Found {
    catalog: Catalog,
    version: Option<UpdateVersion>,
    damage: Option<String>,
}

fn find(files: &BucketFiles, first_own_log: Option<u64>) -> Result<Found, StoreError> {
    let name = files.catalog_name();
    let io = |step: &str, source| StoreError::io(format!("{step} {name}"), source);
    let (damage, version) = match files.bucket().get(CATALOG).map_err(|error| io("read", error))? {
        Some((bytes, version)) => match Catalog::decode(&bytes, &name) {
            Ok(catalog) => return Ok(Found { catalog, version: Some(version), damage: None }),
            Err(StoreError::Corrupt(what)) => (what, Some(version)),
            Err(other) => return Err(other),
        },
        None if files.list().map_err(|error| io("list beside", error))?.is_empty() => {
            return Ok(Found { catalog: Catalog::default(), version: None, damage: None });
        }
        None => (format!("{name}: it is missing"), None),
    };
    // All log files of one directory have the same upper bits.
    let first = first_own_log.unwrap_or(0) >> EPOCH_BITS << EPOCH_BITS;
    let catalog = Catalog::rebuild(files, first..first + (1 << EPOCH_BITS))?;
    Ok(Found { catalog, version, damage: Some(damage) })
}

/// Whether the directory has segments of its own.
fn is_there(local: &LocalFiles) -> Result<bool, StoreError> {
    let found =
        local.read_catalog().map_err(|error| StoreError::io(format!("read {}", local.catalog_name()), error))?;
    Ok(found.is_some())
}

/// Moves a directory's own segments into the bucket. The commit is the moment at which they count there; a crash before
/// or after is made good at the next start.
fn move_segments(
    local: &LocalFiles,
    files: &dyn SegmentFiles,
    catalog: &mut Catalog,
    directory: &str,
) -> Result<(), StoreError> {
    if !catalog.moved.iter().any(|moved| moved == directory) {
        let own = Catalog::open(local)?;
        tracing::info!(segments = own.segments.len(), to = files.catalog_name(), "moving the directory's segments");
        for entry in own.segments {
            let number = catalog.next_segment;
            catalog.next_segment += 1;
            copy(local, entry.number, files, number)
                .map_err(|error| StoreError::io(format!("move {}", local.name(entry.number)), error))?;
            catalog.segments.push(SegmentEntry { number, ..entry });
        }
        catalog.moved.push(directory.to_owned());
        catalog.commit(files)?;
    }
    local.clear().map_err(|error| StoreError::io(format!("remove what was moved of {}", local.catalog_name()), error))
}

fn copy(from: &LocalFiles, number: u64, to: &dyn SegmentFiles, new_number: u64) -> std::io::Result<()> {
    let old = from.open(number, None)?;
    let mut new = to.create(new_number)?;
    let length_bytes = old.length()?;
    let mut at = 0;
    while at < length_bytes {
        let mut bytes = vec![0; COPIED_BYTES.min(length_bytes - at) as usize];
        old.read_at(&mut bytes, at)?;
        new.append(&bytes)?;
        at += bytes.len() as u64;
    }
    new.sync()
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
