//! How much memory decoding takes, told while it is taken.

use tracewell_model::SpanBatch;

use crate::DecodeError;

/// Told how much memory decoding takes, before it takes it, and may refuse it: with
/// [`LimitExceeded`](DecodeError::LimitExceeded) if it is too much for one request, with [`Busy`](DecodeError::Busy) if
/// it is too much at the moment.
pub trait Meter {
    /// Decoding takes, or is about to take, so many bytes in all.
    fn reach(&mut self, bytes: usize) -> Result<(), DecodeError>;
}

/// Lets everything pass: for what was accepted once.
pub struct Unmetered;

impl Meter for Unmetered {
    fn reach(&mut self, _: usize) -> Result<(), DecodeError> {
        Ok(())
    }
}

/// After so many bytes of a body it is looked at what the batch takes: seldom enough to cost nothing, often enough that
/// little is taken in between.
const LOOK_BYTES: usize = 16 * 1024;
/// A byte of a body becomes at most so many of a batch: two bytes are a link of 40 or an attribute of a resource of 24,
/// six are a resource of 80.
const MAX_GAIN: usize = 24;

/// Looks at what a batch takes as a body is read.
pub(crate) struct Watch<'m> {
    meter: &'m mut dyn Meter,
    /// Bytes of the body that were read, or are about to be, since the last look.
    unseen: usize,
    /// What is held beside the batch.
    beside: usize,
}

impl<'m> Watch<'m> {
    /// For a batch beside which so much is held to the end.
    pub(crate) fn new(meter: &'m mut dyn Meter, beside: usize) -> Self {
        Self { meter, unseen: 0, beside }
    }

    /// So many bytes of the body are about to be read.
    #[inline]
    pub(crate) fn read(&mut self, bytes: usize, batch: &SpanBatch) -> Result<(), DecodeError> {
        // Whatever there is, its tag and its length are two bytes.
        self.unseen += bytes + 2;
        if self.unseen < LOOK_BYTES { Ok(()) } else { self.look(batch) }
    }

    /// For a while, so much more is held beside the batch.
    pub(crate) fn hold(&mut self, bytes: usize, batch: &SpanBatch) -> Result<(), DecodeError> {
        self.meter.reach(self.beside.saturating_add(bytes).saturating_add(batch.size_bytes()))
    }

    #[cold]
    fn look(&mut self, batch: &SpanBatch) -> Result<(), DecodeError> {
        // A long message is text for the most part: its lists are looked at item by item.
        let next = self.unseen + LOOK_BYTES * MAX_GAIN;
        self.unseen = 0;
        self.meter.reach(self.beside.saturating_add(batch.allocated_bytes_after(next)))
    }
}
