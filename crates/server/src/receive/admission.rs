//! Admission: what a request takes of the memory budget.
//!
//! A request is charged for what has arrived of it, not for what it announces: a thousand senders that each promise a
//! large body and then dawdle hold next to nothing, and keep nobody out.

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
    /// Takes what is missing for so many bytes.
    pub(super) fn reach(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.0.reach(bytes).map_err(Refusal::from)
    }
}

impl From<Short> for Refusal {
    fn from(short: Short) -> Self {
        let message = short.to_string();
        if short.is_for_good() { Self::TooLarge(message) } else { Self::Busy(message) }
    }
}
