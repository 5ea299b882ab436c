//! What receivers and store count already, as families. Labels have few values, all of them this program's own: a service or
//! a tenant is none, since whoever sends chooses how many there are.

use std::collections::BTreeMap;
use std::path::Path;

use tracewell_store::StoreStats;

use super::text::{Kind, Text};
use crate::api::{Loss, ReceiverStats};
use crate::budget::MemoryBudget;
use crate::net::{Count, PortConnections};

/// Why SDKs drop spans, in the words of Tracewell's; what others say is one more.
const SDK_REASONS: [&str; 4] = ["queue_full", "rejected", "unreachable", "shutdown"];

pub(super) fn build(text: &mut Text) {
    let commit = option_env!("TRACEWELL_COMMIT").unwrap_or("unknown");
    text.family(Kind::Gauge, "tracewell_build_info", "Version and commit of this program; the value is 1.")
        .sample(&[("version", env!("CARGO_PKG_VERSION")), ("commit", commit)], 1.0);
}

/// The parts of `--memory`.
pub(super) fn memory(text: &mut Text, budget: &MemoryBudget) {
    let mut family = text.family(Kind::Gauge, "tracewell_memory_used_bytes", "Memory taken of the budget, by part.");
    budget.parts().iter().for_each(|part| family.sample(&[("part", part.name())], part.used_bytes() as f64));
    let mut family = text.family(Kind::Gauge, "tracewell_memory_limit_bytes", "Memory that a part may take.");
    budget.parts().iter().for_each(|part| family.sample(&[("part", part.name())], part.limit_bytes() as f64));
    let name = "tracewell_memory_refusals_total";
    let mut family = text.family(Kind::Counter, name, "How often a part had no memory to give.");
    budget.parts().iter().for_each(|part| family.sample(&[("part", part.name())], part.refused() as f64));
}

/// Connections of every port.
pub(super) fn connections(text: &mut Text, ports: &[PortConnections]) {
    let mut family = text.family(Kind::Gauge, "tracewell_connections_open", "Connections that are open now, by port.");
    ports.iter().for_each(|port| family.sample(&[("port", port.port)], port.open as f64));
    let name = "tracewell_connections_accepted_total";
    let mut family = text.family(Kind::Counter, name, "Connections accepted, by port.");
    ports.iter().for_each(|port| family.sample(&[("port", port.port)], port.accepted as f64));
    for (name, help, of) in [
        (
            "tracewell_connections_refused_total",
            "Connections refused or ended before their time, by port and reason.",
            (|port| &port.refused) as fn(&PortConnections) -> &Vec<Count>,
        ),
        (
            "tracewell_connections_timed_out_total",
            "Connections and requests that took too long, by port and what they were slow at.",
            |port| &port.timed_out,
        ),
    ] {
        let mut family = text.family(Kind::Counter, name, help);
        for port in ports {
            for Count { reason, count } in of(port) {
                family.sample(&[("port", port.port), ("reason", reason)], *count as f64);
            }
        }
    }
    let name = "tracewell_accept_errors_total";
    let mut family = text.family(Kind::Counter, name, "Connections that could not be accepted, by port.");
    ports.iter().for_each(|port| family.sample(&[("port", port.port)], port.accept_errors as f64));
    let name = "tracewell_request_panics_total";
    let mut family = text.family(Kind::Counter, name, "Requests whose handling panicked, by port. Report any.");
    ports.iter().for_each(|port| family.sample(&[("port", port.port)], port.panics as f64));
}

pub(super) fn receivers(text: &mut Text, stats: &ReceiverStats) {
    let ports = &stats.ports;
    let mut family = text.family(Kind::Counter, "tracewell_received_requests_total", "Requests accepted, by port.");
    ports.iter().for_each(|port| family.sample(&[("port", port.port)], port.received.requests as f64));
    let mut family = text.family(Kind::Counter, "tracewell_received_spans_total", "Spans accepted, by port.");
    ports.iter().for_each(|port| family.sample(&[("port", port.port)], port.received.spans as f64));
    let mut family = text.family(
        Kind::Counter,
        "tracewell_received_bytes_total",
        "Bytes of the bodies of accepted requests, decompressed, by port.",
    );
    ports.iter().for_each(|port| family.sample(&[("port", port.port)], port.received.bytes as f64));
    let mut family = text.family(
        Kind::Counter,
        "tracewell_refused_requests_total",
        "Requests refused with an error to the sender, by port and reason.",
    );
    for port in ports {
        for loss in port.refused.iter().filter(|loss| loss.requests > 0) {
            family.sample(&[("port", port.port), ("reason", &loss.reason)], loss.requests as f64);
        }
    }
    let mut family = text.family(
        Kind::Counter,
        "tracewell_refused_spans_total",
        "Spans refused by name in requests that were otherwise accepted, by port and reason.",
    );
    for port in ports {
        for loss in port.refused.iter().filter(|loss| loss.spans > 0) {
            family.sample(&[("port", port.port), ("reason", &loss.reason)], loss.spans as f64);
        }
    }
    losses(text, "tracewell_dropped_spans_total", "Spans acknowledged and lost after all, by reason.", &stats.dropped);
    let mut recorded = 0;
    let mut exported = 0;
    let mut dropped: BTreeMap<&str, u64> = SDK_REASONS.iter().map(|reason| (*reason, 0)).collect();
    for sdk in &stats.sdks {
        recorded += sdk.recorded;
        exported += sdk.exported;
        for drops in &sdk.dropped {
            let known = SDK_REASONS.iter().find(|reason| **reason == drops.reason);
            *dropped.entry(known.copied().unwrap_or("other")).or_default() += drops.spans;
        }
    }
    text.counter("tracewell_sdk_recorded_spans_total", "Spans that services' SDKs say they recorded.", recorded as f64);
    text.counter("tracewell_sdk_exported_spans_total", "Spans that services' SDKs say they sent.", exported as f64);
    let mut family = text.family(
        Kind::Counter,
        "tracewell_sdk_dropped_spans_total",
        "Spans that services' SDKs say they dropped, by reason; by service in /api/v1/stats.",
    );
    for (reason, spans) in dropped {
        family.sample(&[("reason", reason)], spans as f64);
    }
    text.counter(
        "tracewell_sdk_points_left_out_total",
        "Numbers told by SDKs and not kept, because of too many services.",
        stats.sdk_points_left_out as f64,
    );
}

fn losses(text: &mut Text, name: &str, help: &str, losses: &[Loss]) {
    let mut family = text.family(Kind::Counter, name, help);
    for loss in losses {
        family.sample(&[("reason", &loss.reason)], loss.spans as f64);
    }
}

pub(super) fn store(text: &mut Text, stats: Option<&StoreStats>, has_retention: bool) {
    let is_up = f64::from(u8::from(stats.is_some()));
    text.gauge(
        "tracewell_store_up",
        "1 if the store answers; the other families of the store are left out if not.",
        is_up,
    );
    let Some(stats) = stats else { return };
    let seconds = |nanos: u64| nanos as f64 / 1e9;
    text.gauge("tracewell_store_spans", "Spans held, duplicates included.", stats.spans as f64);
    text.gauge("tracewell_store_size_bytes", "Bytes of segments and log.", stats.bytes as f64);
    text.gauge(
        "tracewell_store_memtable_bytes",
        "Bytes in memory that are not in a segment yet.",
        stats.memtable_bytes as f64,
    );
    text.gauge(
        "tracewell_store_memtables",
        "Memtables: the one that is filled and those that wait to be written.",
        stats.work.memtables as f64,
    );
    text.gauge("tracewell_store_log_bytes", "Bytes of the log that a restart would replay.", stats.log_bytes as f64);
    text.gauge("tracewell_store_segments", "Segments.", stats.segments as f64);
    text.gauge(
        "tracewell_store_unavailable_segments",
        "Segments that cannot be read at the moment; they are tried again.",
        stats.work.unavailable_segments as f64,
    );
    text.gauge(
        "tracewell_store_damages",
        "Damages found in files, as named by /api/v1/stats and `tracewell fsck`.",
        stats.damages.len() as f64,
    );
    text.gauge(
        "tracewell_store_set_aside_files",
        "Files in the folder `damaged`, from which `tracewell fsck --adopt` takes what can be read.",
        stats.set_aside.len() as f64,
    );
    if let Some(oldest) = stats.oldest_unix_nano {
        text.gauge(
            "tracewell_store_oldest_span_timestamp_seconds",
            "Start of the oldest span held, in Unix time.",
            seconds(oldest),
        );
    }
    if let Some(newest) = stats.newest_unix_nano {
        text.gauge(
            "tracewell_store_newest_span_timestamp_seconds",
            "Start of the newest span held, in Unix time.",
            seconds(newest),
        );
    }
    if has_retention {
        text.gauge(
            "tracewell_retention_lag_seconds",
            "For how long the oldest segment should have been deleted by --retention.",
            seconds(stats.retention.lag_nanos),
        );
    }
    text.gauge(
        "tracewell_clock_doubted",
        "1 while retention deletes nothing, because the clock disagrees with the times of the spans that arrive.",
        f64::from(u8::from(stats.retention.clock_doubt.is_some())),
    );
    let work = &stats.work;
    text.counter("tracewell_store_flushes_total", "Memtables written as segments.", work.flushes as f64);
    text.counter("tracewell_store_flush_duration_seconds_total", "Time spent on that.", seconds(work.flush_nanos));
    text.counter(
        "tracewell_store_flush_failures_total",
        "Memtables that could not be written; they are tried again.",
        work.failed_flushes as f64,
    );
    text.counter("tracewell_store_merges_total", "Merges of small segments into one.", work.merges as f64);
    text.counter("tracewell_store_merge_duration_seconds_total", "Time spent on that.", seconds(work.merge_nanos));
    text.counter(
        "tracewell_store_retired_segments_total",
        "Segments that retention deleted.",
        work.retired_segments as f64,
    );
    if let Some(bucket) = &stats.bucket {
        text.gauge(
            "tracewell_bucket_up",
            "1 if the bucket of the segments can be reached.",
            f64::from(u8::from(bucket.away.is_none())),
        );
        text.gauge(
            "tracewell_bucket_unmoved_segments",
            "Segments that are still to be moved into the bucket.",
            bucket.unmoved_segments as f64,
        );
        text.gauge("tracewell_bucket_unmoved_size_bytes", "Their bytes.", bucket.unmoved_bytes as f64);
        let cache = &bucket.cache;
        text.gauge(
            "tracewell_cache_size_bytes",
            "Bytes of the bucket's segments that the directory holds.",
            cache.bytes as f64,
        );
        text.gauge("tracewell_cache_limit_bytes", "Their bound, --segments-cache.", cache.most_bytes as f64);
        text.counter("tracewell_cache_hits_total", "Reads that the cache answered.", cache.hits as f64);
        text.counter("tracewell_cache_misses_total", "Reads that went to the bucket.", cache.misses as f64);
        text.counter("tracewell_cache_evictions_total", "Pieces that were let go for others.", cache.evictions as f64);
    }
}

/// Of the file system that the directory is on.
pub(super) fn disk(text: &mut Text, data: Option<&Path>) {
    let Some(found) = data.and_then(|data| rustix::fs::statvfs(data).ok()) else { return };
    // What an ordinary user may still take.
    text.gauge(
        "tracewell_disk_free_bytes",
        "Free bytes on the disk of --data.",
        (found.f_bavail * found.f_frsize) as f64,
    );
    text.gauge("tracewell_disk_size_bytes", "Bytes of the disk of --data.", (found.f_blocks * found.f_frsize) as f64);
}
