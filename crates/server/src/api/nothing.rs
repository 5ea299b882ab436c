//! What to say, and what to do next, when there is nothing to compare.

use tracewell_insight::duration;
use tracewell_model::TimeRange;
use tracewell_query::Conditions;
use tracewell_store::StoreStats;

use super::state::OtlpAddresses;

/// Services that are named to who asks for one that is not known.
const NAMED_SERVICES: usize = 8;
/// How old what is kept may be for its age to be told beside its date.
const TOLD_AGE_NANOS: u64 = 48 * 3_600_000_000_000;

/// What is known about a question whose time has no traces that meet its conditions.
pub(super) struct Nothing<'a> {
    pub(super) conditions: &'a Conditions,
    pub(super) time: TimeRange,
    pub(super) now_unix_nano: u64,
    pub(super) stats: &'a StoreStats,
    pub(super) services: &'a [String],
    pub(super) addresses: Option<OtlpAddresses>,
}

impl Nothing<'_> {
    /// Why there is nothing, and what to do next.
    pub(super) fn sentence(&self) -> String {
        let (Some(oldest), Some(newest)) = (self.stats.oldest_unix_nano, self.stats.newest_unix_nano) else {
            return self.no_spans();
        };
        if let Some(service) = self.conditions.service.as_deref().filter(|service| !self.knows(service)) {
            let named = self.services.iter().take(NAMED_SERVICES).cloned().collect::<Vec<_>>().join(", ");
            let rest = if self.services.len() > NAMED_SERVICES { " and more" } else { "" };
            return format!(
                "No spans are from a service {service:?}. Check its name; those that are known: {named}{rest}."
            );
        }
        if newest < self.time.start_unix_nano {
            let newest = self.moment(newest);
            return format!(
                "No spans are from this time: the newest is from {newest}. Widen the time to reach back to it."
            );
        }
        if oldest >= self.time.end_unix_nano {
            let oldest = self.moment(oldest);
            return format!("No spans are from this time: the oldest is from {oldest}. Let the time end after it.");
        }
        match &self.conditions {
            Conditions { service: None, operation: None, .. } => {
                "No requests are from this time, though some are from before and after it. Widen the time.".to_owned()
            }
            Conditions { service, operation, .. } => {
                let of = service.as_ref().map(|service| format!(" of {service}")).unwrap_or_default();
                let named = operation.as_ref().map(|operation| format!(" named {operation:?}")).unwrap_or_default();
                format!("No requests{of}{named} are from this time. Widen the time, or ask with fewer conditions.")
            }
        }
    }

    fn no_spans(&self) -> String {
        let ports = self.addresses.map(|OtlpAddresses { otlp_http, otlp_grpc }| {
            format!(", to port {} (HTTP) or {} (gRPC)", otlp_http.port(), otlp_grpc.port())
        });
        let ports = ports.unwrap_or_default();
        format!("There are no spans yet. Let a service send some to this server by OTLP{ports}, then ask again.")
    }

    fn knows(&self, service: &str) -> bool {
        self.services.iter().any(|known| known == service)
    }

    /// A moment to the second, as it may be given as the start of a time; how long ago, if that is not long.
    fn moment(&self, unix_nano: u64) -> String {
        let second =
            i64::try_from(unix_nano / 1_000_000_000).ok().and_then(|second| jiff::Timestamp::from_second(second).ok());
        let text = second.map_or_else(|| format!("{unix_nano} ns after 1970"), |second| second.to_string());
        match self.now_unix_nano.checked_sub(unix_nano).filter(|age| *age < TOLD_AGE_NANOS) {
            Some(age) => format!("{text}, {} ago", duration(age as f64)),
            None => text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const NOW: u64 = 1_700_000_000 * SECOND;

    fn sentence(service: Option<&str>, time: (u64, u64), kept: Option<(u64, u64)>) -> String {
        let services: Vec<String> = (0..9).map(|place| format!("s{place}")).collect();
        let (oldest_unix_nano, newest_unix_nano) = kept.unzip();
        Nothing {
            conditions: &Conditions { service: service.map(str::to_owned), ..Conditions::default() },
            time: TimeRange::new(time.0, time.1),
            now_unix_nano: NOW,
            stats: &StoreStats { oldest_unix_nano, newest_unix_nano, ..StoreStats::default() },
            services: &services,
            addresses: Some(OtlpAddresses {
                otlp_http: "0.0.0.0:4000".parse().unwrap(),
                otlp_grpc: "[::1]:4001".parse().unwrap(),
            }),
        }
        .sentence()
    }

    #[test]
    fn who_has_no_spans_is_told_where_to_send_some() {
        assert_eq!(
            sentence(Some("cart"), (0, NOW), None),
            "There are no spans yet. Let a service send some to this server by OTLP, to port 4000 (HTTP) or 4001 (gRPC), then \
             ask again."
        );
    }

    #[test]
    fn who_asks_about_another_time_is_told_how_far_to_widen_it() {
        let hour = (NOW - 3600 * SECOND, NOW);
        assert_eq!(
            sentence(None, hour, Some((5, NOW - 12_000 * SECOND + 7))),
            "No spans are from this time: the newest is from 2023-11-14T18:53:20Z, 3 h 20 m ago. Widen the time to reach \
             back to it."
        );
        assert!(
            sentence(None, hour, Some((5, NOW - 90 * 86_400 * SECOND))).contains("from 2023-08-16T22:13:20Z. Widen")
        );
        assert_eq!(
            sentence(None, (0, 5 * SECOND), Some((NOW, NOW))),
            "No spans are from this time: the oldest is from 2023-11-14T22:13:20Z, 0 ns ago. Let the time end after it."
        );
        assert!(sentence(None, hour, Some((5, NOW + SECOND))).ends_with("before and after it. Widen the time."));
    }

    #[test]
    fn who_asks_about_a_service_that_is_not_there_is_told_of_those_that_are() {
        let kept = Some((0, NOW));
        assert_eq!(
            sentence(Some("crat"), (0, NOW), kept),
            "No spans are from a service \"crat\". Check its name; those that are known: s0, s1, s2, s3, s4, s5, s6, s7 and more."
        );
        assert_eq!(
            sentence(Some("s3"), (0, NOW), kept),
            "No requests of s3 are from this time. Widen the time, or ask with fewer conditions."
        );
    }
}
