//! What SDKs tell of themselves, added up by service: whether spans are dropped before they come here, and what tracing
//! costs.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tracewell_wire::otlp::metrics::{SdkMetric, SdkPoint};

use crate::api::{SdkDrops, SdkStats};

/// Services that are kept apart. What those beyond tell is not kept, and counted.
const MOST_SERVICES: usize = 1000;
/// Reasons of one service that are kept apart; the rest is one.
const MOST_REASONS: usize = 16;
const OTHER_REASONS: &str = "other";
/// Numbers that are followed: a handful for each process. When there are more, the half that was heard of longest ago is
/// forgotten; a process that is heard of again after that is counted twice.
const MOST_SERIES: usize = 65_536;

/// The sums.
#[derive(Default)]
pub(crate) struct Sdks(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    services: HashMap<String, Service>,
    series: HashMap<u64, Series>,
    /// Points of services beyond the bound.
    left_out: u64,
    /// Grows with every point.
    moment: u64,
}

#[derive(Default)]
struct Service {
    exported: u64,
    exported_bytes: u64,
    export_nanos: u64,
    dropped: HashMap<String, u64>,
    last_unix_nano: u64,
}

/// What one process told last of one number.
struct Series {
    start_unix_nano: u64,
    time_unix_nano: u64,
    value: u64,
    heard: u64,
}

impl Sdks {
    /// Adds what is new in these points.
    pub(super) fn tell(&self, points: Vec<SdkPoint>) {
        let mut inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        points.into_iter().for_each(|point| inner.add(point));
    }

    /// By service, in the order of their names, and how many points of further services were left out.
    pub(crate) fn snapshot(&self) -> (Vec<SdkStats>, u64) {
        let inner = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut services: Vec<_> = inner.services.iter().map(|(name, service)| service.stats(name)).collect();
        services.sort_by(|one, other| one.service.cmp(&other.service));
        (services, inner.left_out)
    }
}

impl Inner {
    fn add(&mut self, point: SdkPoint) {
        if !self.services.contains_key(&point.service) && self.services.len() >= MOST_SERVICES {
            self.left_out += 1;
            return;
        }
        let Some(new) = self.new_since(&point) else { return };
        self.services.entry(point.service).or_default().add(point.metric, &point.reason, new, point.time_unix_nano);
    }

    /// How much the number has grown; `None` when the point was told before.
    fn new_since(&mut self, point: &SdkPoint) -> Option<u64> {
        self.moment += 1;
        if self.series.len() >= MOST_SERIES && !self.series.contains_key(&point.series) {
            let mut heard: Vec<u64> = self.series.values().map(|series| series.heard).collect();
            let (_, median, _) = heard.select_nth_unstable(MOST_SERIES / 2);
            let median = *median;
            self.series.retain(|_, series| series.heard >= median);
        }
        let now = Series {
            start_unix_nano: point.start_unix_nano,
            time_unix_nano: point.time_unix_nano,
            value: point.value,
            heard: self.moment,
        };
        match self.series.insert(point.series, now) {
            // What is sent again, or comes late, has been counted.
            Some(before) if before.time_unix_nano >= point.time_unix_nano => {
                let now = Series { heard: self.moment, ..before };
                self.series.insert(point.series, now);
                None
            }
            Some(before)
                if !point.is_delta
                    && before.start_unix_nano == point.start_unix_nano
                    && before.value <= point.value =>
            {
                Some(point.value - before.value)
            }
            // Counting began anew.
            _ => Some(point.value),
        }
    }
}

impl Service {
    fn add(&mut self, metric: SdkMetric, reason: &str, new: u64, time_unix_nano: u64) {
        self.last_unix_nano = self.last_unix_nano.max(time_unix_nano);
        let sum = match metric {
            SdkMetric::ExportedBytes => &mut self.exported_bytes,
            SdkMetric::ExportNanos => &mut self.export_nanos,
            SdkMetric::Exported if reason.is_empty() => &mut self.exported,
            SdkMetric::Exported | SdkMetric::Processed if new == 0 => return,
            SdkMetric::Exported | SdkMetric::Processed => {
                let known = self.dropped.contains_key(reason) || self.dropped.len() < MOST_REASONS;
                self.dropped.entry(if known { reason } else { OTHER_REASONS }.to_owned()).or_default()
            }
        };
        *sum = sum.saturating_add(new);
    }

    fn stats(&self, name: &str) -> SdkStats {
        let drops = self.dropped.iter().map(|(reason, spans)| SdkDrops { reason: reason.clone(), spans: *spans });
        let mut dropped: Vec<_> = drops.collect();
        dropped.sort_by(|one, other| one.reason.cmp(&other.reason));
        SdkStats {
            service: name.to_owned(),
            recorded: dropped.iter().fold(self.exported, |sum, drops| sum.saturating_add(drops.spans)),
            exported: self.exported,
            dropped,
            exported_bytes: self.exported_bytes,
            export_nanos: self.export_nanos,
            last_unix_nano: self.last_unix_nano.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(service: &str, series: u64, value: u64, time: u64) -> SdkPoint {
        SdkPoint {
            service: service.to_owned(),
            series,
            metric: SdkMetric::Exported,
            reason: String::new(),
            value,
            start_unix_nano: 1,
            time_unix_nano: time,
            is_delta: false,
        }
    }

    fn dropped(reason: &str, series: u64, value: u64) -> SdkPoint {
        SdkPoint { reason: reason.to_owned(), ..point("cart", series, value, 10) }
    }

    #[test]
    fn processes_add_up_and_what_is_told_again_counts_once() {
        let sdks = Sdks::default();
        let exported = || sdks.snapshot().0[0].exported;
        sdks.tell(vec![point("cart", 1, 10, 10), point("cart", 2, 5, 10)]);
        assert_eq!(exported(), 15);
        sdks.tell(vec![point("cart", 1, 10, 10)]);
        sdks.tell(vec![point("cart", 1, 14, 20), point("cart", 1, 12, 15)]);
        assert_eq!(exported(), 19);
        // The process was started again under the same name.
        sdks.tell(vec![SdkPoint { start_unix_nano: 25, ..point("cart", 1, 3, 30) }]);
        assert_eq!(exported(), 22);
        let delta = |value, time| SdkPoint { is_delta: true, ..point("cart", 3, value, time) };
        sdks.tell(vec![delta(2, 10), delta(2, 20), delta(2, 20)]);
        assert_eq!(exported(), 26);
        assert_eq!(sdks.snapshot().0[0].last_unix_nano, "30");
    }

    #[test]
    fn services_and_reasons_are_bounded() {
        let sdks = Sdks::default();
        sdks.tell((0..100).map(|n| dropped(&format!("reason {n}"), n, 1)).collect());
        sdks.tell(vec![dropped("never", 1000, 0)]);
        let stats = sdks.snapshot().0.remove(0);
        assert_eq!((stats.recorded, stats.exported, stats.dropped.len()), (100, 0, MOST_REASONS + 1));
        let other = stats.dropped.iter().find(|drops| drops.reason == OTHER_REASONS).unwrap();
        assert_eq!(other.spans, 100 - MOST_REASONS as u64);
        sdks.tell((0..2000).map(|n| point(&format!("service {n}"), 2000 + n, 1, 1)).collect());
        let (services, left_out) = sdks.snapshot();
        assert_eq!((services.len(), left_out), (MOST_SERVICES, 2000 + 1 - MOST_SERVICES as u64));
    }

    #[test]
    fn numbers_that_were_not_heard_of_for_long_are_forgotten_first() {
        let sdks = Sdks::default();
        let most = MOST_SERIES as u64;
        sdks.tell((0..most).map(|series| point("cart", series, 1, 10)).collect());
        sdks.tell(vec![point("cart", 0, 1, 20), point("cart", most, 1, 10)]);
        let inner = sdks.0.lock().unwrap();
        assert!(inner.series.len() <= MOST_SERIES / 2 + 1);
        assert!(inner.series.contains_key(&0) && inner.series.contains_key(&most) && !inner.series.contains_key(&1));
    }
}
