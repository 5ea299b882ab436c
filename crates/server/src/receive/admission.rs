//! Admission: a bound on the bytes of requests in work.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Refusal;

/// Permits are KiB, so that a budget of terabytes still fits a semaphore.
const PERMIT_BYTES: usize = 1024;

/// Hands out the budget.
#[derive(Clone)]
pub(super) struct Admission {
    permits: Arc<Semaphore>,
    total: u32,
}

impl Admission {
    pub(super) fn new(bytes: usize) -> Self {
        let total = (bytes / PERMIT_BYTES).clamp(1, u32::MAX as usize / 2) as u32;
        Self { permits: Arc::new(Semaphore::new(total as usize)), total }
    }

    /// Takes budget for so many bytes until the permit is dropped. What is larger than the whole budget gets it alone.
    pub(super) fn admit(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Refusal> {
        let wanted = (bytes / PERMIT_BYTES + 1).min(self.total as usize) as u32;
        self.permits
            .clone()
            .try_acquire_many_owned(wanted)
            .map_err(|_| Refusal::Busy("too many bytes are being received at once".to_owned()))
    }
}
