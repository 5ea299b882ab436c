//! What the library knows of itself, as `ExportMetricsServiceRequest`: the semantic conventions' metrics of an SDK.

use super::Envelope;
use crate::Stats;
use crate::proto::{bytes, fixed64, key, message, number};

/// The request of these numbers, which have been counted since `start`.
pub(crate) fn metrics(envelope: &Envelope, stats: &Stats, start_unix_nanos: u64, now_unix_nanos: u64) -> Vec<u8> {
    let failed = [
        ("queue_full", stats.dropped_queue_full),
        ("rejected", stats.dropped_rejected),
        ("unreachable", stats.dropped_unreachable),
        ("shutdown", stats.dropped_shutdown),
    ];
    let mut out = Vec::new();
    message(&mut out, 1, |out| {
        out.extend_from_slice(envelope.resource());
        message(out, 2, |out| {
            out.extend_from_slice(envelope.scope());
            let mut sum = |name: &str, unit: &str, points: &[(&str, u64)]| {
                message(out, 2, |out| {
                    bytes(out, 1, name.as_bytes());
                    bytes(out, 3, unit.as_bytes());
                    message(out, 7, |out| {
                        for (error, value) in points {
                            message(out, 1, |out| point(out, error, *value, start_unix_nanos, now_unix_nanos));
                        }
                        // Cumulative and monotonic.
                        number(out, 2, 2);
                        number(out, 3, 1);
                    });
                });
            };
            let mut exported = vec![("", stats.exported)];
            exported.extend(failed);
            sum("otel.sdk.exporter.span.exported", "{span}", &exported);
            sum("tracewell.sdk.exporter.bytes", "By", &[("", stats.exported_bytes)]);
            let nanos = u64::try_from(stats.export_time.as_nanos()).unwrap_or(u64::MAX);
            sum("tracewell.sdk.exporter.time", "ns", &[("", nanos)]);
        });
    });
    out
}

/// A `NumberDataPoint`, with `error.type` unless that is empty.
fn point(out: &mut Vec<u8>, error: &str, value: u64, start_unix_nanos: u64, now_unix_nanos: u64) {
    fixed64(out, 2, start_unix_nanos);
    fixed64(out, 3, now_unix_nanos);
    key(out, 6, 1);
    out.extend_from_slice(&value.to_le_bytes());
    if !error.is_empty() {
        message(out, 7, |out| {
            bytes(out, 1, b"error.type");
            message(out, 2, |out| bytes(out, 1, error.as_bytes()));
        });
    }
}
