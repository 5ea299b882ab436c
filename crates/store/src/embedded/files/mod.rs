//! Where segments and the catalog lie: in the store's directory, or in a bucket. The log is always in the directory.

mod aside;
mod local;

use std::io;

#[cfg(feature = "s3")]
pub(crate) use aside::free_name;
pub(crate) use aside::{Aside, DAMAGED_FOLDER};
pub(crate) use local::{LocalFiles, list_aside, retire_aside, set_aside};

use super::disk::{ReadFile, WriteFile};
use crate::BucketStats;

/// What a store needs to keep segments, which never change once written, and the one catalog that names those that count.
pub(crate) trait SegmentFiles: Send + Sync + 'static {
    /// What messages call a segment's file.
    fn name(&self, number: u64) -> String;
    /// Begins a segment's file. It is durable, under its name, when it is synced; before that it may not be there.
    fn create(&self, number: u64) -> io::Result<Box<dyn WriteFile>>;
    /// Opens a segment's file for reading. Whoever knows its length spares a look.
    fn open(&self, number: u64, length_bytes: Option<u64>) -> io::Result<Box<dyn ReadFile>>;
    /// Removes a segment's file. One that is not there is removed already.
    fn remove(&self, number: u64) -> io::Result<()>;
    /// Moves a segment's file to where nothing is deleted, and says where that is. A file that is there stays as it is.
    fn set_aside(&self, number: u64, is_repaired: bool) -> io::Result<String>;
    /// The files of segments that were set aside, sorted.
    fn list_aside(&self) -> io::Result<Vec<Aside>> {
        Ok(Vec::new())
    }
    /// Opens one of them.
    fn open_aside(&self, _: &Aside) -> io::Result<Box<dyn ReadFile>> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Deletes one of them: its spans are in a segment.
    fn remove_aside(&self, _: &Aside) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// Marks one of them as repaired: what can be read of it is in a segment.
    fn retire_aside(&self, _: &Aside) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
    /// The numbers of all segments' files, sorted.
    fn list(&self) -> io::Result<Vec<u64>>;

    /// Whether a log file of the directory beside is still there.
    fn has_log(&self, _: u64) -> bool {
        false
    }

    /// What messages call the catalog.
    fn catalog_name(&self) -> String;
    /// The catalog; `None` if there is none yet.
    fn read_catalog(&self) -> io::Result<Option<Vec<u8>>>;
    /// Replaces the catalog as a whole; on return the new one is durable. After an error it may be there or not.
    fn swap_catalog(&self, bytes: &[u8]) -> io::Result<()>;
    /// Whether a swap that reported an error may still happen later, as a request that is on its way.
    fn swap_may_come_late(&self) -> bool {
        false
    }
    /// Whether a segment is not on a disk of this machine: then an error of one file is an error of all, most likely.
    fn is_remote(&self, _: u64) -> bool {
        false
    }
    /// How many segments are best opened at once.
    fn opened_at_once(&self) -> usize {
        1
    }
    /// Why this process may write no more, if another has taken its place.
    fn taken_over(&self) -> Option<String> {
        None
    }
    /// Whether a segment's file is to be moved to where new ones are written.
    fn is_to_be_moved(&self, _: u64) -> bool {
        false
    }
    /// Bytes a second that may be moved; 0 is without limit.
    fn move_bytes_per_second(&self) -> u64 {
        0
    }
    /// Whether only what is held of the segments can be read, until the bucket is claimed: the rest fails at once.
    fn is_away(&self) -> bool {
        false
    }
    /// Waits for no answer any more: what is asked from now on, or was, ends with an error soon.
    fn give_up(&self) {}
    /// What is known of the bucket, if it is one.
    fn bucket_stats(&self) -> Option<BucketStats> {
        None
    }
    /// Writes down how the cache was used, for those who look at the directory from outside.
    fn save_cache_stats(&self) {}
}
