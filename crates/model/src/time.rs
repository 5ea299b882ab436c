//! Ranges of time.

/// A half-open range of Unix nanoseconds: `start <= t < end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimeRange {
    /// The first nanosecond inside.
    pub start_unix_nano: u64,
    /// The first nanosecond after.
    pub end_unix_nano: u64,
}

impl TimeRange {
    /// All of time.
    pub const ALL: Self = Self { start_unix_nano: 0, end_unix_nano: u64::MAX };

    /// A range from its ends. One whose end is not after its start is empty.
    pub const fn new(start_unix_nano: u64, end_unix_nano: u64) -> Self {
        Self { start_unix_nano, end_unix_nano }
    }

    /// Whether a moment lies inside.
    pub const fn contains(&self, unix_nano: u64) -> bool {
        self.start_unix_nano <= unix_nano && unix_nano < self.end_unix_nano
    }

    /// Whether the closed interval from `first` to `last` has a moment in common with this range.
    pub const fn overlaps(&self, first: u64, last: u64) -> bool {
        first < self.end_unix_nano && self.start_unix_nano <= last
    }

    /// Whether no moment lies inside.
    pub const fn is_empty(&self) -> bool {
        self.end_unix_nano <= self.start_unix_nano
    }
}
