//! Segments and the catalog as objects of a bucket, and what this process may do with them.

use std::io;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use bytes::Bytes;
use object_store::{PutMode, UpdateVersion};

use super::client::PutError;
use super::object::{AsideObject, NewObject, Object};
use super::{Bucket, Cache, Known};
use crate::embedded::catalog::{Catalog, Owner, is_in_directory};
use crate::embedded::disk::{ReadFile, WriteFile};
use crate::embedded::files::{Aside, DAMAGED_FOLDER as DAMAGED, LocalFiles, SegmentFiles, free_name};
use crate::error::Unreachable;
use crate::{BucketStats, StoreError};

pub(super) const CATALOG: &str = "catalog.json";
const SEGMENTS: &str = "segments";
const EXTENSION: &str = ".segment";
/// So often a swap is tried again after an answer to an earlier one was lost.
const SWAPS: usize = 4;
/// How many segments are opened at once.
const OPENED_AT_ONCE: usize = 16;

/// The objects of a bucket, read through a cache; and those segments of its owner's directory that are not moved yet, which
/// their numbers tell apart.
pub(crate) struct BucketFiles {
    shared: Arc<Shared>,
    /// Whether it is the bucket alone, which is read even while the store may not.
    is_bucket_only: bool,
}

pub(super) struct Shared {
    pub(super) bucket: Bucket,
    pub(super) cache: Cache,
    /// The directory's own segments.
    own: LocalFiles,
    /// The copy of the catalog, for a store.
    known: Option<Known>,
    move_bytes_per_second: u64,
    /// The catalog that was read or written last by its owner: what the next one replaces.
    version: Mutex<Option<UpdateVersion>>,
    access: RwLock<Access>,
    taken_over: OnceLock<String>,
}

/// What may be done with the bucket.
#[derive(Clone)]
enum Access {
    /// It is looked at.
    Look,
    /// It could not be reached when the store was opened, with the reason, and is not claimed yet: another process may own
    /// it. Nothing is written, and nothing but the cache is read.
    Away(String),
    /// This process has claimed it.
    Owner(Owner),
}

impl BucketFiles {
    /// A bucket to look at, or to claim if there is a place for a copy of its catalog. `own` is the directory that may
    /// belong to it.
    pub(crate) fn new(
        bucket: Bucket,
        cache: Cache,
        own: LocalFiles,
        known: Option<Known>,
        move_bytes_per_second: u64,
    ) -> Self {
        let shared = Shared {
            bucket,
            cache,
            own,
            known,
            move_bytes_per_second,
            version: Mutex::new(None),
            access: RwLock::new(Access::Look),
            taken_over: OnceLock::new(),
        };
        Self { shared: Arc::new(shared), is_bucket_only: false }
    }

    /// The bucket without the directory's segments, to be read while it is claimed.
    pub(super) fn bucket_only(&self) -> Self {
        Self { shared: self.shared.clone(), is_bucket_only: true }
    }

    /// The directory's segments.
    pub(super) fn own(&self) -> &LocalFiles {
        &self.shared.own
    }

    pub(super) fn known(&self) -> Option<&Known> {
        self.shared.known.as_ref()
    }

    /// Lets go of all that the cache holds.
    pub(super) fn forget_pieces(&self) {
        self.shared.cache.forget_all();
    }

    /// Leaves the bucket alone until it is claimed.
    pub(super) fn set_away(&self, why: String) {
        *self.shared.access_mut() = Access::Away(why);
    }

    /// Leaves the bucket alone for good, with the reason.
    pub(super) fn stop(&self, why: &str) {
        self.shared.stop(why.to_owned());
    }

    pub(super) fn bucket(&self) -> &Bucket {
        &self.shared.bucket
    }

    /// Becomes the owner by writing a catalog in place of a version; false if that is not the version any more.
    pub(super) fn claim(
        &self,
        owner: Owner,
        version: Option<UpdateVersion>,
        catalog: &mut Catalog,
    ) -> Result<bool, StoreError> {
        catalog.writes += 1;
        let bytes = Bytes::from(catalog.encode()?);
        let io = |error| StoreError::io(format!("claim {}", self.catalog_name()), error);
        let mode = version.map_or(PutMode::Create, PutMode::Update);
        let version = match self.shared.bucket.put(CATALOG, bytes.clone(), mode) {
            Ok(version) => version,
            Err(PutError::Other(error)) => return Err(io(error)),
            // Or it was written, and the answer was lost.
            Err(PutError::Condition) => match self.shared.bucket.get(CATALOG).map_err(io)? {
                Some((found, version)) if found == bytes => version,
                _ => return Ok(false),
            },
        };
        *self.shared.version() = Some(version);
        self.shared.keep(&bytes);
        *self.shared.access_mut() = Access::Owner(owner);
        Ok(true)
    }
}

pub(super) fn key(number: u64) -> String {
    format!("{SEGMENTS}/{}", file_name(number))
}

fn file_name(number: u64) -> String {
    format!("{number:010}{EXTENSION}")
}

impl Shared {
    fn version(&self) -> std::sync::MutexGuard<'_, Option<UpdateVersion>> {
        self.version.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn access(&self) -> Access {
        self.access.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn access_mut(&self) -> std::sync::RwLockWriteGuard<'_, Access> {
        self.access.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a copy of what the bucket has.
    fn keep(&self, catalog: &[u8]) {
        if let Some(known) = &self.known {
            known.keep(catalog);
        }
    }

    fn stop(&self, why: String) -> &str {
        self.taken_over.get_or_init(|| {
            tracing::error!("{why}");
            if let Some(known) = &self.known {
                known.forget();
            }
            why
        })
    }

    /// An error while the bucket is left alone.
    pub(super) fn check_readable(&self) -> io::Result<()> {
        match self.access() {
            Access::Away(why) => Err(io::Error::other(Unreachable(why))),
            Access::Look | Access::Owner(_) => Ok(()),
        }
    }

    /// An error unless this process owns the bucket, as far as it knows.
    fn check_writable(&self) -> io::Result<()> {
        let why = match (self.taken_over.get().cloned(), self.access()) {
            (Some(why), _) | (None, Access::Away(why)) => why,
            (None, Access::Look) => format!("{}: it is only looked at", self.bucket.url),
            (None, Access::Owner(_)) => return Ok(()),
        };
        Err(io::Error::other(Unreachable(why)))
    }

    /// An error if the owner of a catalog is another than this process.
    fn check_owner(&self, catalog: &[u8]) -> io::Result<()> {
        let found = Catalog::decode(catalog, &self.bucket.name(CATALOG));
        let found = found.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        match (found.owner, self.access()) {
            (Some(found), Access::Owner(own)) if found == own => Ok(()),
            (found, _) => {
                let by = found.map_or("another process".to_owned(), |owner| format!("the store in {}", owner.place));
                let what = format!("{} was taken over by {by}: this process no longer owns it", self.bucket.url);
                Err(io::Error::other(Unreachable(self.stop(what).to_owned())))
            }
        }
    }

    /// After an object was not found: that it is gone is no damage if another process owns the bucket now.
    pub(super) fn not_found(&self, error: io::Error) -> io::Error {
        if error.kind() != io::ErrorKind::NotFound || !matches!(self.access(), Access::Owner(_)) {
            return error;
        }
        match self.bucket.get(CATALOG) {
            Ok(Some((catalog, _))) => self.check_owner(&catalog).err().unwrap_or(error),
            Ok(None) => error,
            Err(other) => other,
        }
    }
}

impl SegmentFiles for BucketFiles {
    fn has_log(&self, number: u64) -> bool {
        self.shared.own.has_log(number)
    }

    fn name(&self, number: u64) -> String {
        if is_in_directory(number) { self.shared.own.name(number) } else { self.shared.bucket.name(&key(number)) }
    }

    fn create(&self, number: u64) -> io::Result<Box<dyn WriteFile>> {
        self.shared.check_writable()?;
        Ok(Box::new(NewObject::new(self.shared.clone(), number)))
    }

    fn open(&self, number: u64, length_bytes: Option<u64>) -> io::Result<Box<dyn ReadFile>> {
        if is_in_directory(number) {
            return self.shared.own.open(number, length_bytes);
        }
        let length_bytes = match length_bytes {
            Some(known) => known,
            None => self.shared.bucket.length_bytes(&key(number))?,
        };
        Ok(Box::new(Object {
            shared: self.shared.clone(),
            number,
            length_bytes,
            is_read_unclaimed: self.is_bucket_only,
        }))
    }

    fn remove(&self, number: u64) -> io::Result<()> {
        if is_in_directory(number) {
            return self.shared.own.remove(number);
        }
        self.shared.check_writable()?;
        self.shared.cache.forget_segment(number);
        self.shared.bucket.delete(&key(number))
    }

    fn set_aside(&self, number: u64, is_repaired: bool) -> io::Result<String> {
        if is_in_directory(number) {
            return self.shared.own.set_aside(number, is_repaired);
        }
        self.shared.check_writable()?;
        let names = self.shared.bucket.list(DAMAGED)?;
        let to = free_name(number, &EXTENSION[1..], is_repaired, |name| names.iter().any(|known| known == name));
        let to = format!("{DAMAGED}/{to}");
        self.shared.bucket.copy(&key(number), &to)?;
        self.remove(number)?;
        Ok(self.shared.bucket.name(&to))
    }

    fn list_aside(&self) -> io::Result<Vec<Aside>> {
        let names = self.shared.bucket.list(DAMAGED)?;
        let mut found: Vec<Aside> = names.iter().filter_map(|name| Aside::parse(name, &EXTENSION[1..])).collect();
        if !self.is_bucket_only {
            found.extend(self.shared.own.list_aside()?);
        }
        found.sort();
        Ok(found)
    }

    fn open_aside(&self, aside: &Aside) -> io::Result<Box<dyn ReadFile>> {
        if aside.is_in_directory {
            return self.shared.own.open_aside(aside);
        }
        let key = format!("{DAMAGED}/{}", aside.name);
        let length_bytes = self.shared.bucket.length_bytes(&key)?;
        Ok(Box::new(AsideObject { shared: self.shared.clone(), key, length_bytes }))
    }

    fn remove_aside(&self, aside: &Aside) -> io::Result<()> {
        if aside.is_in_directory {
            return self.shared.own.remove_aside(aside);
        }
        self.shared.check_writable()?;
        self.shared.bucket.delete(&format!("{DAMAGED}/{}", aside.name))
    }

    fn retire_aside(&self, aside: &Aside) -> io::Result<()> {
        if aside.is_in_directory {
            return self.shared.own.retire_aside(aside);
        }
        self.shared.check_writable()?;
        let names = self.shared.bucket.list(DAMAGED)?;
        let to = aside.repaired_name(|name| names.iter().any(|known| known == name));
        let from = format!("{DAMAGED}/{}", aside.name);
        self.shared.bucket.copy(&from, &format!("{DAMAGED}/{to}"))?;
        self.shared.bucket.delete(&from)
    }

    fn list(&self) -> io::Result<Vec<u64>> {
        let names = self.shared.bucket.list(SEGMENTS)?;
        let mut numbers: Vec<u64> =
            names.iter().filter_map(|name| name.strip_suffix(EXTENSION)?.parse().ok()).collect();
        numbers.retain(|number| !is_in_directory(*number));
        if !self.is_bucket_only {
            numbers.extend(self.shared.own.list()?);
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    fn catalog_name(&self) -> String {
        self.shared.bucket.name(CATALOG)
    }

    /// What is read here is never what the next swap replaces, as it may be another owner's.
    fn read_catalog(&self) -> io::Result<Option<Vec<u8>>> {
        Ok(self.shared.bucket.get(CATALOG)?.map(|(bytes, _)| bytes.to_vec()))
    }

    fn swap_catalog(&self, bytes: &[u8]) -> io::Result<()> {
        let shared = &self.shared;
        shared.check_writable()?;
        let bytes = Bytes::copy_from_slice(bytes);
        for _ in 0..SWAPS {
            let known = shared.version().clone();
            let mode = known.map_or(PutMode::Create, PutMode::Update);
            match shared.bucket.put(CATALOG, bytes.clone(), mode) {
                Ok(version) => {
                    *shared.version() = Some(version);
                    shared.keep(&bytes);
                    return Ok(());
                }
                Err(PutError::Other(error)) => return Err(error),
                // Another process has written it, or this one has and did not hear of it.
                Err(PutError::Condition) => match shared.bucket.get(CATALOG)? {
                    Some((found, version)) if found == bytes => {
                        *shared.version() = Some(version);
                        shared.keep(&bytes);
                        return Ok(());
                    }
                    Some((found, version)) => {
                        shared.check_owner(&found)?;
                        *shared.version() = Some(version);
                    }
                    None => *shared.version() = None,
                },
            }
        }
        Err(io::Error::other(Unreachable(format!("{}: the catalog changes all the time", shared.bucket.url))))
    }

    fn swap_may_come_late(&self) -> bool {
        true
    }

    fn taken_over(&self) -> Option<String> {
        self.shared.taken_over.get().cloned()
    }

    fn is_remote(&self, number: u64) -> bool {
        !is_in_directory(number)
    }

    fn opened_at_once(&self) -> usize {
        OPENED_AT_ONCE
    }

    fn is_to_be_moved(&self, number: u64) -> bool {
        is_in_directory(number)
    }

    fn move_bytes_per_second(&self) -> u64 {
        self.shared.move_bytes_per_second
    }

    fn is_away(&self) -> bool {
        matches!(self.shared.access(), Access::Away(_))
    }

    fn give_up(&self) {
        self.shared.bucket.give_up();
    }

    fn bucket_stats(&self) -> Option<BucketStats> {
        let away = self.shared.check_writable().err().map(|error| error.to_string());
        let cache = self.shared.cache.stats();
        let is_away_for_good = self.taken_over().is_some();
        let url = self.shared.bucket.url.clone();
        Some(BucketStats { url, away, is_away_for_good, cache, ..BucketStats::default() })
    }

    fn save_cache_stats(&self) {
        self.shared.cache.save_stats();
    }
}
