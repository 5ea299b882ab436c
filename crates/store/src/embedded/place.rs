//! Where a store is: a directory, and for its segments perhaps a bucket.

use std::path::{Path, PathBuf};
use std::sync::Arc;

#[cfg(feature = "s3")]
use super::bucket;
use super::catalog::Catalog;
use super::disk::Disk;
use super::files::{LocalFiles, SegmentFiles};
use super::logs_in;
use crate::{BucketOptions, CacheStats, StoreError};

/// The folder of a bucket's pieces.
#[cfg(feature = "s3")]
const CACHE: &str = "cache";

/// Where a store is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The directory of the log, and if there is no bucket, of the segments.
    pub folder: PathBuf,
    /// The bucket of the segments. A directory that belongs to one knows it itself.
    pub bucket: Option<BucketOptions>,
}

/// The files of a store, and its catalog.
pub(super) struct Opened {
    pub(super) files: Arc<dyn SegmentFiles>,
    pub(super) catalog: Catalog,
    /// Why the catalog had to be made again from the segments.
    pub(super) damage: Option<String>,
    /// How the bucket is claimed later, if it could not be reached: the catalog is what was known last.
    pub(super) late_claim: Option<LateClaim>,
}

/// A bucket that is claimed when it is back. Until then nothing of the store may change but its log.
pub(super) struct LateClaim {
    /// Why it could not be reached.
    pub(super) why: String,
    /// Tries once. What it returns takes the place of what was known.
    pub(super) claim: Box<dyn FnMut() -> Result<Opened, StoreError> + Send>,
}

fn open_catalog(files: Arc<dyn SegmentFiles>, disk: &dyn Disk, folder: &Path) -> Result<Opened, StoreError> {
    match Catalog::open(&*files) {
        Err(StoreError::Corrupt(what)) => rebuild(files, disk, folder, what),
        other => Ok(Opened { catalog: other?, files, damage: None, late_claim: None }),
    }
}

fn rebuild(files: Arc<dyn SegmentFiles>, disk: &dyn Disk, folder: &Path, damage: String) -> Result<Opened, StoreError> {
    let catalog = Catalog::rebuild(&*files, 0..u64::MAX, &logs_in(disk, folder)?)?;
    Ok(Opened { files, catalog, damage: Some(damage), late_claim: None })
}

impl From<&Path> for Place {
    fn from(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), bucket: None }
    }
}

impl Place {
    /// Opens the catalog to change it. The directory's lock is held.
    pub(super) fn open(&self, disk: &Arc<dyn Disk>) -> Result<Opened, StoreError> {
        #[cfg(feature = "s3")]
        if let Some(options) = &self.bucket {
            let bucket = bucket::Bucket::connect(options)?;
            return self.claim(disk, bucket, options);
        }
        self.refuse_bucket(disk)?;
        let files: Arc<dyn SegmentFiles> = Arc::new(LocalFiles::new(disk.clone(), &self.folder));
        // The first log file is there until the first commit. Without it, segments that no catalog names are not left
        // from a crash: the catalog is lost.
        let catalog = files.read_catalog();
        let catalog = catalog.map_err(|error| StoreError::io(format!("read {}", files.catalog_name()), error))?;
        let list =
            || files.list().map_err(|error| StoreError::io(format!("list {}/segments", self.folder.display()), error));
        let is_lost = catalog.is_none() && !list()?.is_empty() && !logs_in(&**disk, &self.folder)?.contains(&0);
        if is_lost {
            return rebuild(files.clone(), &**disk, &self.folder, format!("{}: it is missing", files.catalog_name()));
        }
        open_catalog(files, &**disk, &self.folder)
    }

    /// Opens the catalog to read only, while another process may be changing it.
    pub(super) fn look(&self, disk: &Arc<dyn Disk>) -> Result<Opened, StoreError> {
        let mut opened = open_catalog(self.files_to_look_at(disk)?, &**disk, &self.folder)?;
        self.leave_out_what_is_elsewhere(&**disk, &mut opened)?;
        Ok(opened)
    }

    /// Segments of a bucket that are still in another directory than this cannot be looked at from here.
    fn leave_out_what_is_elsewhere(&self, disk: &dyn Disk, opened: &mut Opened) -> Result<(), StoreError> {
        #[cfg(feature = "s3")]
        if let Some(owner) = &opened.catalog.owner {
            let bound = bucket::Binding::read(disk, &self.folder)?;
            if bound.is_none_or(|bound| bound.directory != owner.directory) {
                let all = opened.catalog.segments.len();
                opened.catalog.segments.retain(|entry| !opened.files.is_to_be_moved(entry.number));
                let segments = all - opened.catalog.segments.len();
                if segments > 0 {
                    tracing::warn!(
                        segments,
                        directory = owner.place,
                        "not in the bucket yet, and not looked at from here"
                    );
                }
            }
        }
        let _ = (disk, opened);
        Ok(())
    }

    /// How the store that has a directory open uses its cache, if it is one of a bucket.
    pub(super) fn cache_stats(&self, disk: &dyn Disk) -> Option<CacheStats> {
        #[cfg(feature = "s3")]
        return bucket::Cache::saved_stats(disk, &self.folder.join(CACHE));
        #[cfg(not(feature = "s3"))]
        {
            let _ = disk;
            None
        }
    }

    fn files_to_look_at(&self, disk: &Arc<dyn Disk>) -> Result<Arc<dyn SegmentFiles>, StoreError> {
        #[cfg(feature = "s3")]
        if let Some(options) = &self.bucket {
            let bucket = bucket::Bucket::connect(options)?;
            let sizes = bucket.sizes;
            // Nothing of the cache but what is read here: another process may be writing it.
            let cache = bucket::Cache::none(disk.clone(), sizes);
            let own = LocalFiles::new(disk.clone(), &self.folder);
            return Ok(Arc::new(bucket::BucketFiles::new(bucket, cache, own, None, 0)));
        }
        self.refuse_bucket(disk)?;
        Ok(Arc::new(LocalFiles::new(disk.clone(), &self.folder)))
    }

    /// The same place with the bucket that the directory belongs to, if none is named.
    pub(super) fn with_known_bucket(self, disk: &dyn Disk) -> Result<Self, StoreError> {
        #[cfg(feature = "s3")]
        if self.bucket.is_none()
            && let Some(bound) = bucket::Binding::read(disk, &self.folder)?
        {
            let bucket = BucketOptions::new(bound.segments, bound.endpoint);
            return Ok(Self { bucket: Some(bucket), ..self });
        }
        let _ = disk;
        Ok(self)
    }

    #[cfg(feature = "s3")]
    pub(super) fn claim(
        &self,
        disk: &Arc<dyn Disk>,
        bucket: bucket::Bucket,
        options: &BucketOptions,
    ) -> Result<Opened, StoreError> {
        let folder = self.folder.join(CACHE);
        let cache = bucket::Cache::open(disk.clone(), &folder, options.cache_bytes, bucket.sizes)
            .map_err(|error| StoreError::io(format!("open the cache {}", folder.display()), error))?;
        bucket::Claimant::new(disk, &self.folder, bucket, cache, options).open()
    }

    /// A store whose segments are in a bucket is not opened without it.
    fn refuse_bucket(&self, disk: &Arc<dyn Disk>) -> Result<(), StoreError> {
        #[cfg(not(feature = "s3"))]
        if self.bucket.is_some() || disk.open(&self.folder.join("bucket.json")).is_ok() {
            return Err(StoreError::Invalid(format!(
                "{} keeps its segments in a bucket, without which this build was made (feature s3)",
                self.folder.display()
            )));
        }
        #[cfg(feature = "s3")]
        if let Some(bound) = bucket::Binding::read(&**disk, &self.folder)? {
            return Err(StoreError::Invalid(format!(
                "{} keeps its segments in {url}: say --segments {url}",
                self.folder.display(),
                url = bound.segments
            )));
        }
        Ok(())
    }
}
