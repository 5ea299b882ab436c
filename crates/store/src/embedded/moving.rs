//! Segments of the directory on their way to where new ones are written, one by one, while both are served.
//!
//! One commit of the catalog names the copy in place of the original, so that every span is served once, whenever it crashes.
//! A copy that was not finished is swept, and made anew.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::disk::retried;
use super::flush::Flusher;
use super::segment::Segment;
use super::{SegmentEntry, Shared};
use crate::StoreError;

/// What is copied at once.
const COPIED_BYTES: u64 = 1 << 20;
/// How often it is told how far it is.
const TELL: Duration = Duration::from_secs(10);

/// How far it is since the store was opened.
pub(super) struct Moving {
    segments: u64,
    bytes: u64,
    told: Instant,
}

impl Flusher {
    /// The segments that are still to be moved, the oldest first: those that are asked for most are then what the cache
    /// held last.
    fn to_move(&self, shared: &Shared) -> Vec<Arc<Segment>> {
        let is_left = |segment: &&Arc<Segment>| {
            let number = segment.entry.number;
            shared.files.is_to_be_moved(number) && !self.is_left_alone(number)
        };
        let mut left: Vec<Arc<Segment>> = shared.state().segments.iter().filter(is_left).cloned().collect();
        left.sort_by_key(|segment| (segment.entry.last_start_unix_nano, segment.entry.number));
        left
    }

    pub(super) fn has_to_move(&self, shared: &Shared) -> bool {
        !self.to_move(shared).is_empty()
    }

    /// Moves one segment. The rest is for rounds to come: retention, flushes and merges do not wait for all.
    pub(super) fn move_one(&mut self, shared: &Shared) -> Result<(), StoreError> {
        let left = self.to_move(shared);
        let Some(old) = left.first() else { return Ok(()) };
        if shared.closed.load(Ordering::SeqCst) {
            return Ok(());
        }
        let bytes = left.iter().map(|segment| segment.entry.bytes).sum::<u64>();
        let moving = self.moving.get_or_insert_with(|| {
            tracing::info!(
                segments = left.len(),
                bytes,
                to = shared.files.catalog_name(),
                "moving the directory's segments"
            );
            Moving { segments: 0, bytes: 0, told: Instant::now() }
        });
        if moving.told.elapsed() > TELL {
            moving.told = Instant::now();
            let (moved, moved_bytes) = (moving.segments, moving.bytes);
            tracing::info!(
                moved,
                moved_bytes,
                left = left.len(),
                left_bytes = bytes,
                "moving the directory's segments"
            );
        }
        let number = self.next_number();
        match self.copy(shared, old, number) {
            Ok(()) => {}
            Err(StoreError::Closed) => {
                self.note_dropped(number);
                return Ok(());
            }
            Err(error @ StoreError::Unavailable(_)) => {
                self.note_dropped(number);
                return Err(error);
            }
            Err(error @ StoreError::Io { .. }) => {
                shared.damages.note_read_error(&error.to_string());
                self.leave_alone_for_now(&[old.entry.number]);
                self.discard(shared, number);
                return Ok(());
            }
            Err(error) => {
                // It is served from where it is, as far as it can be read.
                shared.damages.note_in(Some(old.entry.number), &format!("{error}: it is not moved"));
                self.left_alone.insert(old.entry.number);
                self.discard(shared, number);
                shared.flush.wake();
                return Ok(());
            }
        }
        if let Err(error) =
            self.commit(shared, vec![SegmentEntry { number, ..old.entry.clone() }], &[old.entry.number], None)
        {
            self.remove_unless_live(shared, &[number]);
            return Err(error);
        }
        if let Some(moving) = &mut self.moving {
            moving.segments += 1;
            moving.bytes += old.entry.bytes;
            if left.len() == 1 {
                tracing::info!(segments = moving.segments, bytes = moving.bytes, "the directory's segments are moved");
            }
        }
        if left.len() > 1 {
            shared.flush.wake();
        }
        Ok(())
    }

    /// Copies a segment's file, no faster than is allowed, and flushes what is to be flushed meanwhile.
    fn copy(&mut self, shared: &Shared, old: &Segment, number: u64) -> Result<(), StoreError> {
        let files = &*shared.files;
        let failed = |error: io::Error| StoreError::io(format!("move {}", files.name(old.entry.number)), error);
        // Its own file may be damaged, which is final, or not readable at the moment.
        let unread = |error: io::Error| match StoreError::read(format!("move {}", files.name(old.entry.number)), error)
        {
            StoreError::Unavailable(why) => StoreError::Io { context: why, source: io::ErrorKind::Other.into() },
            other => other,
        };
        let source = retried(|| files.open(old.entry.number, None)).map_err(unread)?;
        let mut target = files.create(number).map_err(failed)?;
        let length_bytes = retried(|| source.length()).map_err(unread)?;
        let rate = files.move_bytes_per_second();
        let begin = Instant::now();
        let mut at = 0;
        while at < length_bytes {
            let mut bytes = vec![0; COPIED_BYTES.min(length_bytes - at) as usize];
            retried(|| source.read_at(&mut bytes, at)).map_err(unread)?;
            target.append(&bytes).map_err(failed)?;
            at += bytes.len() as u64;
            let due = if rate == 0 { begin } else { begin + Duration::from_secs_f64(at as f64 / rate as f64) };
            loop {
                if shared.closed.load(Ordering::SeqCst) {
                    return Err(StoreError::Closed);
                }
                self.flush_all(shared)?;
                let left = due.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                shared.flush.wait_at_most(left);
            }
        }
        target.sync().map_err(failed)
    }
}
