//! Space that is held back for the day on which there is none: deleting needs a new catalog, and that needs space.

use std::path::Path;

use super::Shared;
use super::disk::Disk;

/// The file that is given up.
const RESERVE: &str = "reserve";
/// What it takes at least.
const MIN_BYTES: u64 = 1 << 20;
/// What a segment takes in a catalog, of which two are there for a moment.
const SEGMENT_BYTES: u64 = 2 * 512;

/// Whether the file is there.
#[derive(Default)]
pub(super) struct Reserve {
    bytes: u64,
}

impl Reserve {
    /// Sees to it that there is a reserve, large enough for a catalog of so many segments. Where there is no space, there
    /// is none until there is some again.
    pub(super) fn keep(&mut self, shared: &Shared, segments: usize) {
        let wanted = MIN_BYTES.max((segments as u64 * SEGMENT_BYTES).next_multiple_of(MIN_BYTES));
        let is_low = shared.health.disk().is_some_and(|disk| disk.free_bytes < 2 * wanted);
        if self.bytes < wanted && !is_low && shared.disk.reserve(&shared.folder.join(RESERVE), wanted).is_ok() {
            self.bytes = wanted;
        }
    }

    /// Gives the space back; false if there was none, or that failed.
    pub(super) fn give_up(&mut self, disk: &dyn Disk, folder: &Path) -> bool {
        self.bytes = 0;
        // It may be there from a process before this one.
        disk.remove(&folder.join(RESERVE)).is_ok()
    }
}
