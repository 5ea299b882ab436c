//! Admission: a bound on the bytes of requests in work.
//!
//! A request is charged for what has arrived of it, not for what it announces: a thousand senders that each promise a
//! large body and then dawdle hold next to nothing, and keep nobody out.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Refusal;

/// Permits are of 16 KiB: a request takes a few, and a budget of terabytes still fits a semaphore.
const PERMIT_BYTES: usize = 16 * 1024;

/// Hands out the budget.
#[derive(Clone)]
pub(super) struct Admission {
    permits: Arc<Semaphore>,
    total: u32,
}

/// What one request holds of the budget until it is dropped.
pub(super) struct Admitted {
    admission: Admission,
    held: Option<OwnedSemaphorePermit>,
}

impl Admission {
    pub(super) fn new(bytes: usize) -> Self {
        let total = (bytes / PERMIT_BYTES).clamp(1, u32::MAX as usize / 2) as u32;
        Self { permits: Arc::new(Semaphore::new(total as usize)), total }
    }

    /// A request of which nothing has arrived.
    pub(super) fn begin(&self) -> Admitted {
        Admitted { admission: self.clone(), held: None }
    }
}

impl Admitted {
    /// Takes what is missing for so many bytes. What is larger than the whole budget gets it alone.
    pub(super) fn reach(&mut self, bytes: usize) -> Result<(), Refusal> {
        let Admission { permits, total } = &self.admission;
        let wanted = (bytes / PERMIT_BYTES + 1).min(*total as usize);
        let missing = wanted.saturating_sub(self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits));
        if missing == 0 {
            return Ok(());
        }
        let more = permits.clone().try_acquire_many_owned(missing as u32).map_err(|_| {
            Refusal::Busy("too many bytes are being received at once (limit in_flight_size)".to_owned())
        })?;
        match &mut self.held {
            Some(held) => held.merge(more),
            None => self.held = Some(more),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_charged_for_what_arrived_and_gives_it_back() {
        let admission = Admission::new(4 * PERMIT_BYTES);
        let mut slow: Vec<Admitted> = (0..100).map(|_| admission.begin()).collect();
        let mut one = admission.begin();
        one.reach(1).unwrap();
        one.reach(2 * PERMIT_BYTES).unwrap();
        slow[0].reach(1).unwrap();
        assert!(matches!(slow[1].reach(1), Err(Refusal::Busy(_))), "three and one are all four");
        one.reach(1).unwrap();
        drop(one);
        slow[1].reach(3 * PERMIT_BYTES - 1).unwrap();
        drop(slow);
        admission.begin().reach(usize::MAX).unwrap();
    }
}
