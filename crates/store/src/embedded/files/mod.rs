//! Where segments and the catalog lie: in the store's directory, or in a bucket. The log is always in the directory.

mod local;

use std::io;

pub(crate) use local::LocalFiles;

use super::disk::{ReadFile, WriteFile};

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
    /// Moves a damaged segment's file to where it is not looked at again, and says where that is.
    fn set_aside(&self, number: u64) -> io::Result<String>;
    /// The numbers of all segments' files, sorted.
    fn list(&self) -> io::Result<Vec<u64>>;

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
    /// How many segments are best opened at once.
    fn opened_at_once(&self) -> usize {
        1
    }
    /// Why this process may write no more, if another has taken its place.
    fn taken_over(&self) -> Option<String> {
        None
    }
}
