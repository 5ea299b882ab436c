//! When to try again, and when to give up.

use std::sync::Arc;
use std::time::Duration;

/// When to try again, and when to give up.
#[derive(Clone)]
pub(crate) struct RetryPolicy {
    pub(crate) first: Duration,
    pub(crate) longest: Duration,
    pub(crate) max_attempts: u32,
    /// That the attempts of a batch may take together.
    pub(crate) max_elapsed: Option<Duration>,
    /// In tests, called instead of waiting.
    pub(crate) wait: Option<Arc<dyn Fn(Duration) + Send + Sync>>,
}

impl Default for RetryPolicy {
    /// Waits about 0.5, 1, 2, 4, 8, 16 and 30 seconds, then gives the batch up after about a minute.
    fn default() -> Self {
        Self {
            first: Duration::from_millis(500),
            longest: Duration::from_secs(30),
            max_attempts: 8,
            max_elapsed: None,
            wait: None,
        }
    }
}

impl RetryPolicy {
    /// No receiver may stop the exporter for longer than this.
    const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(300);

    /// How long to wait after failed attempt number `attempt` (from 1), `None` to give up. What the receiver asked for
    /// is a lower bound. Up to a quarter of the wait is added at `random`, so that many senders do not come at once.
    pub(crate) fn delay(&self, attempt: u32, retry_after: Option<Duration>, random: u64) -> Option<Duration> {
        if attempt >= self.max_attempts {
            return None;
        }
        let backoff = self.first.saturating_mul(1 << (attempt - 1).min(16)).min(self.longest);
        let wait = retry_after.map_or(backoff, |after| after.min(Self::LONGEST_RETRY_AFTER).max(backoff));
        Some(wait + wait.mul_f64((random >> 11) as f64 / (1_u64 << 53) as f64 / 4.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_keep_to_their_bounds_and_end() {
        let policy = RetryPolicy::default();
        let seconds = |attempt, after: Option<u64>, random| {
            policy.delay(attempt, after.map(Duration::from_secs), random).map(|delay| delay.as_secs_f64())
        };
        let least: Vec<_> = (1..=8).map(|attempt| seconds(attempt, None, 0)).collect();
        let expected = [Some(0.5), Some(1.0), Some(2.0), Some(4.0), Some(8.0), Some(16.0), Some(30.0), None];
        assert_eq!(least, expected);
        let most = seconds(1, None, u64::MAX).unwrap();
        assert!(most > 0.62 && most <= 0.625, "{most}");
        assert_eq!(seconds(1, Some(7), 0), Some(7.0));
        assert_eq!(seconds(7, Some(1), 0), Some(30.0), "the receiver's wish is a lower bound");
        assert_eq!(seconds(1, Some(u64::MAX), 0), Some(300.0), "no receiver stops the exporter for long");
        assert_eq!(seconds(8, Some(1), 0), None);
    }
}
