//! Admission: what a request takes of the memory budget.
//!
//! A request is charged for what has arrived of it, not for what it announces: a thousand senders that each promise a
//! large body and then dawdle hold next to nothing, and keep nobody out.

use tracewell_wire::{DecodeError, Meter};

use super::Refusal;
use crate::budget::{Held, Part, Short};

/// Hands out the budget.
#[derive(Clone)]
pub(super) struct Admission(Part);

/// What one request holds of the budget until it is dropped.
pub(super) struct Admitted(Held);

impl Admission {
    pub(super) fn new(part: Part) -> Self {
        Self(part)
    }

    /// A request of which nothing has arrived.
    pub(super) fn begin(&self) -> Admitted {
        Admitted(self.0.hold())
    }
}

impl Admitted {
    /// What is held.
    pub(super) fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// Takes what is missing for so many bytes.
    pub(super) fn reach(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.0.reach(bytes).map_err(Refusal::from)
    }

    /// Takes what is missing for so many bytes, and gives back what is more.
    pub(super) fn settle(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.reach(bytes)?;
        self.0.shrink_to(bytes);
        Ok(())
    }
}

/// Watches what a request takes while it is decoded, beside its body.
pub(super) struct Decoding<'a> {
    admitted: &'a mut Admitted,
    body_bytes: usize,
    max_bytes: usize,
}

impl<'a> Decoding<'a> {
    /// Of a request that holds memory for its body, and may take so much for what that says.
    pub(super) fn new(admitted: &'a mut Admitted, max_bytes: usize) -> Self {
        Self { body_bytes: admitted.bytes(), admitted, max_bytes }
    }
}

impl Meter for Decoding<'_> {
    fn reach(&mut self, bytes: usize) -> Result<(), DecodeError> {
        if bytes > self.max_bytes {
            return Err(DecodeError::LimitExceeded(format!(
                "the request takes more than {} bytes of memory once it is decoded (limit \
                 --decoded-size); send fewer spans in one request",
                self.max_bytes
            )));
        }
        self.admitted.0.reach(self.body_bytes.saturating_add(bytes)).map_err(|short| {
            let message = short.to_string();
            if short.is_for_good() { DecodeError::LimitExceeded(message) } else { DecodeError::Busy(message) }
        })
    }
}

impl From<Short> for Refusal {
    fn from(short: Short) -> Self {
        let message = short.to_string();
        if short.is_for_good() { Self::TooLarge(message) } else { Self::Busy(message) }
    }
}
