//! Pieces of segments on the local disk, within a bound of bytes: what finds spans, and what was used last.
//!
//! A piece is a file: pages, each followed by a CRC-32 of what it is and of its bytes, which every read looks at. A file
//! that a crash tore, or that rotted, is read from the bucket again. Nothing is synced, and no error reaches a reader.

use std::collections::HashSet;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::Sizes;
use super::held::{Held, Key};
use crate::CacheStats;
use crate::embedded::disk::Disk;

const EXTENSION: &str = "piece";
/// How the cache is used, for those who look at the directory from outside.
const STATS: &str = "stats.json";
const NEW_STATS: &str = "stats.json.new";
const CHECKSUM_BYTES: usize = 4;
/// Of so many parts of the bound, one is left to rows, however much there is that finds them.
const ROWS_SHARE: u64 = 2;

/// The pieces that are held, for any number of readers.
pub(crate) struct Cache {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    most_bytes: u64,
    sizes: Sizes,
    state: Mutex<State>,
    fetched: Condvar,
}

#[derive(Default)]
struct State {
    held: Held,
    /// What is being written: counted before it is held, or several at once would pass the bound.
    writing_bytes: u64,
    /// How it was used.
    stats: CacheStats,
    fetching: HashSet<Key>,
    is_failing: bool,
}

impl Cache {
    /// Opens a cache and what an earlier process left in it.
    pub(crate) fn open(disk: Arc<dyn Disk>, folder: &Path, most_bytes: u64, sizes: Sizes) -> io::Result<Self> {
        disk.create_folder(folder)?;
        let found = disk.list(folder)?.into_iter().filter_map(|path| {
            let file_bytes = disk.open(&path).and_then(|file| file.length()).ok()?;
            Some((key_of(&path)?, file_bytes))
        });
        let held = Held::found(found.collect());
        let state = State { held, stats: CacheStats { most_bytes, ..CacheStats::default() }, ..State::default() };
        let cache = Self {
            disk,
            folder: folder.to_owned(),
            most_bytes,
            sizes,
            state: Mutex::new(state),
            fetched: Condvar::new(),
        };
        {
            let mut state = cache.state();
            cache.make_room(&mut state, 0);
            state.stats.evictions = 0;
        }
        Ok(cache)
    }

    /// A cache that holds nothing.
    pub(crate) fn none(disk: Arc<dyn Disk>, sizes: Sizes) -> Self {
        Self { disk, folder: PathBuf::new(), most_bytes: 0, sizes, state: Mutex::default(), fetched: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn path(&self, (number, piece): Key) -> PathBuf {
        self.folder.join(format!("{number:010}-{piece:06}.{EXTENSION}"))
    }

    /// Whether a piece is held, as far as is known without looking at it.
    pub(crate) fn has(&self, number: u64, piece: u64) -> bool {
        self.state().held.has((number, piece))
    }

    /// Fills a buffer with what lies at an offset in a piece; false if the piece is not held or not as it was written.
    pub(crate) fn read(&self, number: u64, piece: u64, offset: usize, buffer: &mut [u8]) -> bool {
        let key = (number, piece);
        if !self.state().held.touch(key) {
            return false;
        }
        let is_read = self.read_pages(key, offset, buffer).is_some();
        if is_read {
            self.state().stats.hits += 1;
        } else {
            tracing::warn!(path = %self.path(key).display(), "a cached piece of a segment is damaged; it is read again");
            self.forget(key);
        }
        is_read
    }

    fn read_pages(&self, key: Key, offset: usize, buffer: &mut [u8]) -> Option<()> {
        let file = self.disk.open(&self.path(key)).ok()?;
        let file_bytes = file.length().ok()?;
        let page_bytes = self.sizes.page_bytes;
        let stride = (page_bytes + CHECKSUM_BYTES) as u64;
        let mut filled = 0;
        while filled < buffer.len() {
            let page = (offset + filled) / page_bytes;
            let start = page as u64 * stride;
            let mut bytes = vec![0; usize::try_from(file_bytes.checked_sub(start)?.min(stride)).ok()?];
            file.read_at(&mut bytes, start).ok()?;
            let (content, checksum) = bytes.split_at_checked(bytes.len().checked_sub(CHECKSUM_BYTES)?)?;
            if checksum != checksum_of(key, page, content) {
                return None;
            }
            let from = offset + filled - page * page_bytes;
            let part = content.get(from..)?;
            let length = part.len().min(buffer.len() - filled);
            if length == 0 {
                return None;
            }
            buffer[filled..filled + length].copy_from_slice(&part[..length]);
            filled += length;
        }
        Some(())
    }

    /// Holds a piece. What cannot be written is not held.
    pub(crate) fn put(&self, number: u64, piece: u64, bytes: &[u8]) {
        let key = (number, piece);
        let mut content =
            Vec::with_capacity(bytes.len() + bytes.len().div_ceil(self.sizes.page_bytes) * CHECKSUM_BYTES);
        for (page, part) in bytes.chunks(self.sizes.page_bytes).enumerate() {
            content.extend_from_slice(part);
            content.extend_from_slice(&checksum_of(key, page, part));
        }
        let file_bytes = content.len() as u64;
        {
            let mut state = self.state();
            if file_bytes > self.most_bytes || state.held.has(key) {
                return;
            }
            self.make_room(&mut state, file_bytes);
            if state.bytes() + file_bytes > self.most_bytes {
                return;
            }
            state.writing_bytes += file_bytes;
        }
        let path = self.path(key);
        let written = self.disk.create(&path).and_then(|mut file| file.append(&content));
        let mut state = self.state();
        state.writing_bytes -= file_bytes;
        match written {
            Ok(()) => {
                state.is_failing = false;
                if !state.held.has(key) {
                    state.held.add(key, file_bytes);
                }
            }
            Err(error) => {
                // Said once, not for every piece.
                if !std::mem::replace(&mut state.is_failing, true) {
                    tracing::warn!(path = %path.display(), %error, "cannot write the cache; segments are read from the bucket");
                }
                drop(state);
                // It may not be there at all.
                let _ = self.disk.remove(&path);
            }
        }
    }

    /// Waits until no other reader is fetching a piece, and makes others wait for as long as the result lives.
    pub(crate) fn fetch(&self, number: u64, piece: u64) -> Fetching<'_> {
        let key = (number, piece);
        let mut state = self
            .fetched
            .wait_while(self.state(), |state| state.fetching.contains(&key))
            .unwrap_or_else(PoisonError::into_inner);
        state.fetching.insert(key);
        Fetching { cache: self, key }
    }

    /// Keeps some pieces of a segment before all that no one speaks for, those that matter most last.
    pub(crate) fn prefer(&self, number: u64, parts: Vec<Range<u64>>) {
        if self.most_bytes > 0 {
            self.state().held.prefer(number, parts);
        }
    }

    /// Lets go of all pieces of a segment.
    pub(crate) fn forget_segment(&self, number: u64) {
        let keys = self.state().held.keys_of(number);
        keys.into_iter().for_each(|key| self.forget(key));
        self.state().held.prefer_none(Some(number));
    }

    /// Lets go of all pieces.
    pub(super) fn forget_all(&self) {
        let keys = self.state().held.keys();
        keys.into_iter().for_each(|key| self.forget(key));
        self.state().held.prefer_none(None);
    }

    /// Counts pieces that were read from the bucket, as they were not held.
    pub(super) fn missed(&self, pieces: u64, bytes: u64) {
        let stats = &mut self.state().stats;
        stats.misses += pieces;
        stats.missed_bytes += bytes;
    }

    pub(super) fn stats(&self) -> CacheStats {
        let state = self.state();
        CacheStats { bytes: state.bytes(), pieces: state.held.len() as u64, ..state.stats }
    }

    /// Writes down how it was used. It is of no use after a crash, so that it is not synced.
    pub(super) fn save_stats(&self) {
        let (path, new_path) = (self.folder.join(STATS), self.folder.join(NEW_STATS));
        let written = serde_json::to_vec(&self.stats()).map_err(io::Error::other).and_then(|bytes| {
            self.disk.create(&new_path)?.append(&bytes)?;
            self.disk.rename(&new_path, &path)
        });
        if let Err(error) = written {
            tracing::debug!(path = %path.display(), %error, "cannot write down how the cache is used");
        }
    }

    /// What a store that has a folder open as its cache wrote down.
    pub(crate) fn saved_stats(disk: &dyn Disk, folder: &Path) -> Option<CacheStats> {
        serde_json::from_slice(&disk.read(&folder.join(STATS)).ok()?).ok()
    }

    fn forget(&self, key: Key) {
        if self.state().held.remove(key) {
            // What cannot be removed is found at the next start.
            let _ = self.disk.remove(&self.path(key));
        }
    }

    fn make_room(&self, state: &mut State, wanted_bytes: u64) {
        let most_preferred_bytes = self.most_bytes - self.most_bytes / ROWS_SHARE;
        while state.bytes() + wanted_bytes > self.most_bytes
            && let Some(key) = state.held.next_to_go(most_preferred_bytes)
        {
            state.held.remove(key);
            state.stats.evictions += 1;
            let _ = self.disk.remove(&self.path(key));
        }
    }
}

/// Held by the one reader that fetches a piece.
pub(crate) struct Fetching<'a> {
    cache: &'a Cache,
    key: Key,
}

impl Drop for Fetching<'_> {
    fn drop(&mut self) {
        self.cache.state().fetching.remove(&self.key);
        self.cache.fetched.notify_all();
    }
}

impl State {
    fn bytes(&self) -> u64 {
        self.held.bytes() + self.writing_bytes
    }
}

fn key_of(path: &Path) -> Option<Key> {
    if path.extension()? != EXTENSION {
        return None;
    }
    let (number, piece) = path.file_stem()?.to_str()?.split_once('-')?;
    Some((number.parse().ok()?, piece.parse().ok()?))
}

/// Of what a page is, too, so that one file in another's place is found out.
fn checksum_of((number, piece): Key, page: usize, bytes: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let mut hasher = crc32fast::Hasher::new();
    [number, piece, page as u64].iter().for_each(|part| hasher.update(&part.to_le_bytes()));
    hasher.update(bytes);
    hasher.finalize().to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::disk::simulated::{Faults, SimulatedDisk};

    const SIZES: Sizes = Sizes { part_bytes: 4096, piece_bytes: 1024, page_bytes: 256 };

    fn piece(seed: u8) -> Vec<u8> {
        (0..1000u32).map(|at| (at as u8).wrapping_mul(seed)).collect()
    }

    fn open(disk: &SimulatedDisk, most_bytes: u64) -> Cache {
        Cache::open(Arc::new(disk.clone()), Path::new("/cache"), most_bytes, SIZES).unwrap()
    }

    fn read(cache: &Cache, number: u64, offset: usize, length: usize) -> Option<Vec<u8>> {
        let mut buffer = vec![0; length];
        cache.read(number, 0, offset, &mut buffer).then_some(buffer)
    }

    #[test]
    fn what_was_put_is_read_at_any_place_and_after_a_restart() {
        let disk = SimulatedDisk::default();
        let cache = open(&disk, 1 << 20);
        cache.put(7, 0, &piece(3));
        let cache = [cache, open(&disk, 1 << 20)];
        for cache in &cache {
            for (offset, length) in [(0, 1000), (255, 2), (256, 256), (999, 1), (300, 700)] {
                assert_eq!(read(cache, 7, offset, length).unwrap(), piece(3)[offset..offset + length]);
            }
            assert_eq!(read(cache, 8, 0, 1), None);
        }
        assert_eq!(read(&cache[0], 7, 999, 2), None, "behind the end");
    }

    #[test]
    fn the_least_used_go_first_and_the_bound_is_kept() {
        let disk = SimulatedDisk::default();
        let each = 1000 + 4 * CHECKSUM_BYTES as u64;
        let cache = open(&disk, 3 * each + 5);
        for number in 1..=3 {
            cache.put(number, 0, &piece(1));
        }
        assert!(read(&cache, 1, 0, 10).is_some());
        cache.put(4, 0, &piece(1));
        let held: Vec<u64> = (1..=4).filter(|number| cache.has(*number, 0)).collect();
        assert_eq!(held, [1, 3, 4]);
        let stats = cache.stats();
        assert_eq!((stats.pieces, stats.hits, stats.evictions, stats.most_bytes), (3, 1, 1, 3 * each + 5));
        assert_eq!(cache.stats().bytes, 3 * each);
        assert_eq!(disk.used_bytes() as u64, 3 * each);
        drop(cache);
        assert_eq!(open(&disk, each).stats().bytes, each, "a smaller bound holds at once");
        assert_eq!(open(&disk, 0).stats().bytes, 0);
    }

    #[test]
    fn a_flipped_bit_anywhere_is_found_out() {
        let disk = SimulatedDisk::default();
        open(&disk, 1 << 20).put(7, 0, &piece(3));
        let path = disk.files()[0].0.clone();
        for bit in (0..1016 * 8).step_by(7) {
            let disk = disk.copy();
            disk.flip(&path, bit);
            let cache = open(&disk, 1 << 20);
            assert_eq!(read(&cache, 7, 0, 1000), None, "bit {bit}");
            assert!(!cache.has(7, 0), "bit {bit}");
        }
    }

    #[test]
    fn what_a_crash_tore_is_found_out() {
        for seed in 0..200 {
            let disk = SimulatedDisk::default();
            open(&disk, 1 << 20).put(7, 0, &piece(3));
            let disk = disk.after_crash(&mut fastrand::Rng::with_seed(seed));
            let found = read(&open(&disk, 1 << 20), 7, 0, 1000);
            assert!(found.is_none_or(|bytes| bytes == piece(3)), "seed {seed}");
        }
    }

    #[test]
    fn a_full_disk_holds_nothing_and_harms_nobody() {
        let disk = SimulatedDisk::default();
        let cache = open(&disk, 1 << 20);
        disk.set_faults(Faults { capacity: Some(100), ..Faults::default() });
        cache.put(7, 0, &piece(3));
        assert_eq!((cache.stats().bytes, disk.used_bytes()), (0, 0));
        disk.set_faults(Faults::default());
        cache.put(7, 0, &piece(3));
        assert!(read(&cache, 7, 0, 1000).is_some());
    }
}
