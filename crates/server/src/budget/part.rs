//! One part of the budget: a counter that says no.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// A part of the memory budget. Cheap to clone; clones are the same part.
#[derive(Clone, Debug)]
pub struct Part(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    name: &'static str,
    /// What an operator changes to have more.
    setting: &'static str,
    limit_bytes: usize,
    /// Shared with whoever counts for itself, as a store does.
    used_bytes: Arc<AtomicUsize>,
    peak_bytes: AtomicUsize,
    refused: AtomicU64,
    /// While the process as a whole is over its budget, nothing more is given.
    is_shed: AtomicBool,
    /// Told when something was given back.
    room: Notify,
}

/// What one user holds of a part until it is dropped.
#[derive(Debug)]
pub struct Held {
    part: Part,
    bytes: usize,
}

/// Why a part gives nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Short {
    part: &'static str,
    setting: &'static str,
    limit_bytes: usize,
    wanted_bytes: usize,
}

impl Part {
    pub(super) fn new(name: &'static str, setting: &'static str, limit_bytes: usize) -> Self {
        Self(Arc::new(Inner {
            name,
            setting,
            limit_bytes,
            used_bytes: Arc::default(),
            peak_bytes: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            is_shed: AtomicBool::new(false),
            room: Notify::new(),
        }))
    }

    /// What it is called in statistics: `ingest`, `memtables`, `queries` or `answers`.
    pub fn name(&self) -> &'static str {
        self.0.name
    }

    /// What may be taken in all.
    pub fn limit_bytes(&self) -> usize {
        self.0.limit_bytes
    }

    /// What is taken now.
    pub fn used_bytes(&self) -> usize {
        self.0.used_bytes.load(Relaxed)
    }

    /// The most that was ever taken through [`Held`].
    pub fn peak_bytes(&self) -> usize {
        self.0.peak_bytes.load(Relaxed)
    }

    /// How often nothing was given.
    pub fn refused(&self) -> u64 {
        self.0.refused.load(Relaxed)
    }

    /// The counter itself, for a user that keeps to the limit by its own means.
    pub fn counter(&self) -> Arc<AtomicUsize> {
        self.0.used_bytes.clone()
    }

    /// Holds nothing yet, and can grow.
    pub fn hold(&self) -> Held {
        Held { part: self.clone(), bytes: 0 }
    }

    /// Takes so many bytes now or not at all.
    ///
    /// # Errors
    /// When others hold too much, or when it is more than all of this part.
    pub fn try_take(&self, bytes: usize) -> Result<Held, Short> {
        let mut held = self.hold();
        held.grow(bytes)?;
        Ok(held)
    }

    /// Takes so many bytes, and waits for them until the deadline. What is more than all of this part is refused at once.
    ///
    /// # Errors
    /// As [`try_take`](Self::try_take), at the deadline.
    pub async fn take(&self, bytes: usize, deadline: Instant) -> Result<Held, Short> {
        loop {
            let room = self.0.room.notified();
            tokio::pin!(room);
            // Told of from here on, so that what is given back between the look and the wait is not missed.
            room.as_mut().enable();
            if self.add(bytes).is_ok() {
                return Ok(Held { part: self.clone(), bytes });
            }
            let short = self.short(bytes);
            if short.is_for_good() || timeout_at(deadline, room).await.is_err() {
                self.0.refused.fetch_add(1, Relaxed);
                return Err(short);
            }
        }
    }

    /// Gives nothing more until told otherwise: the process as a whole takes too much, whatever the counters say.
    pub fn shed(&self, is_shed: bool) {
        if self.0.is_shed.swap(is_shed, SeqCst) && !is_shed {
            self.0.room.notify_waiters();
        }
    }

    fn add(&self, bytes: usize) -> Result<(), ()> {
        if bytes == 0 {
            return Ok(());
        }
        let is_shed = self.0.is_shed.load(Relaxed);
        let fits = |used: usize| used.checked_add(bytes).filter(|used| !is_shed && *used <= self.0.limit_bytes);
        let before = self.0.used_bytes.fetch_update(SeqCst, SeqCst, fits).map_err(drop)?;
        self.0.peak_bytes.fetch_max(before + bytes, Relaxed);
        Ok(())
    }

    fn give_back(&self, bytes: usize) {
        if bytes > 0 {
            self.0.used_bytes.fetch_sub(bytes, SeqCst);
            self.0.room.notify_waiters();
        }
    }

    fn short(&self, wanted_bytes: usize) -> Short {
        let Inner { name: part, setting, limit_bytes, .. } = *self.0;
        Short { part, setting, limit_bytes, wanted_bytes }
    }
}

impl Held {
    /// What is held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes so many bytes more.
    ///
    /// # Errors
    /// As [`Part::try_take`]. What was held before is held still.
    pub fn grow(&mut self, bytes: usize) -> Result<(), Short> {
        if self.part.add(bytes).is_err() {
            self.part.0.refused.fetch_add(1, Relaxed);
            return Err(self.part.short(self.bytes.saturating_add(bytes)));
        }
        self.bytes += bytes;
        Ok(())
    }

    /// Takes what is missing for so many bytes in all; more than that is kept.
    ///
    /// # Errors
    /// As [`grow`](Self::grow).
    pub fn reach(&mut self, bytes: usize) -> Result<(), Short> {
        self.grow(bytes.saturating_sub(self.bytes))
    }

    /// Gives back what is more than so many bytes.
    pub fn shrink_to(&mut self, bytes: usize) {
        self.part.give_back(self.bytes.saturating_sub(bytes));
        self.bytes = self.bytes.min(bytes);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.part.give_back(self.bytes);
    }
}

impl Short {
    /// Whether it would not help to come again: one user alone wants more than there is.
    pub fn is_for_good(&self) -> bool {
        self.wanted_bytes > self.limit_bytes
    }
}

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { part, setting, limit_bytes, wanted_bytes } = self;
        if self.is_for_good() {
            write!(
                f,
                "it needs {wanted_bytes} bytes of memory, and the part `{part}` of the budget has {limit_bytes} (setting {setting})"
            )
        } else {
            write!(
                f,
                "the part `{part}` of the memory budget, {limit_bytes} bytes, is used up at the moment (setting {setting})"
            )
        }
    }
}

impl std::error::Error for Short {}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn part() -> Part {
        Part::new("ingest", "--memory", 100)
    }

    #[test]
    fn what_is_held_is_counted_and_given_back() {
        let part = part();
        let mut one = part.try_take(60).unwrap();
        let short = part.try_take(41).unwrap_err();
        assert!(!short.is_for_good() && short.to_string().contains("--memory"), "{short}");
        one.reach(50).unwrap();
        assert_eq!(one.bytes(), 60, "what is held already is enough");
        one.grow(40).unwrap();
        assert!(one.grow(1).unwrap_err().is_for_good());
        one.shrink_to(10);
        assert_eq!(part.used_bytes(), 10);
        drop(one);
        assert_eq!((part.used_bytes(), part.peak_bytes(), part.refused()), (0, 100, 2));
    }

    #[test]
    fn what_is_larger_than_the_part_is_refused_for_good() {
        let short = part().try_take(101).unwrap_err();
        assert!(short.is_for_good());
        assert!(part().try_take(usize::MAX).unwrap_err().is_for_good());
    }

    #[test]
    fn while_shed_nothing_more_is_given() {
        let part = part();
        let mut held = part.try_take(1).unwrap();
        part.shed(true);
        assert!(held.grow(1).is_err() && part.try_take(1).is_err());
        part.shed(false);
        held.grow(1).unwrap();
    }

    #[tokio::test]
    async fn whoever_waits_gets_what_is_given_back() {
        let part = part();
        let held = part.try_take(100).unwrap();
        let late = Instant::now() + Duration::from_secs(60);
        let waiting = part.take(10, late);
        tokio::pin!(waiting);
        assert!(tokio::time::timeout(Duration::ZERO, &mut waiting).await.is_err(), "there is nothing to take");
        drop(held);
        assert_eq!(waiting.await.unwrap().bytes(), 10);
        assert!(part.take(101, late).await.unwrap_err().is_for_good(), "refused at once");
        let _all = part.try_take(100).unwrap();
        assert!(!part.take(1, Instant::now()).await.unwrap_err().is_for_good());
    }
}
