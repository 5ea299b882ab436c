//! Writes the seeds of all targets, from the project's own encoders and a real store:
//! `cargo run --package tracewell-e2e --example fuzz_seeds`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use tracewell_e2e::{Server, workspace};
use tracewell_model::Trace;
use tracewell_sim::Workload;
use tracewell_wire::{jaeger, otlp};

const METRICS: &str = r#"{"resourceMetrics":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"a"}}]},
"scopeMetrics":[{"metrics":[{"name":"otel.sdk.exporter.span.exported","sum":{"aggregationTemporality":2,"isMonotonic":true,
"dataPoints":[{"startTimeUnixNano":"1","timeUnixNano":"2","asInt":"7","attributes":[{"key":"error.type","value":{"stringValue":"rejected"}}]}]}}]}]}]}"#;

fn main() -> anyhow::Result<()> {
    let spans = Workload::new(7).spans(24).requests(24).next().context("there is a batch")?;
    let (protobuf, json) = (otlp::encode_protobuf(&spans), otlp::encode_json(&spans));
    seed("otlp_protobuf", "spans", &protobuf)?;
    seed("otlp_json", "spans", &json)?;
    seed("jaeger_json", "traces", &jaeger::encode_traces(&Trace::assemble_all(&spans)))?;
    seed("metrics", "json", &[b"\x01", METRICS.as_bytes()].concat())?;
    seed("metrics", "protobuf", &[b"\0", &otlp::encode_protobuf(&spans)[..64]].concat())?;
    seed("texts", "cursor", "0123456789abcdef".repeat(6).as_bytes())?;
    seed("texts", "trace_id", b"4bf92f3577b34da6a3ce929d0e0e4736")?;
    seed("receive", "protobuf", &[b"\0", &protobuf[..]].concat())?;
    seed("receive", "json", &[b"\x02", &json[..]].concat())?;
    let length = u32::try_from(protobuf.len())?.to_be_bytes();
    seed("receive", "grpc", &[b"\x10\0", &length[..], &protobuf].concat())?;
    seed("receive", "metrics", &[b"\x03", METRICS.as_bytes()].concat())?;
    for (name, question) in [
        ("search", "/api/v1/traces?start=0&end=now&min_duration=1us&tag=a%3Db&limit=3"),
        ("why", "/api/v1/why?start=0&end=1900000000000000000"),
        ("compare", "/api/v1/compare?a=limit=3%20start=0&b=operation%3D%22GET%20/%22%20start=0"),
        ("dependencies", "/api/v1/dependencies?start=0"),
        ("operations", "/api/v1/operations?service=gallery&limit=5"),
        ("values", "/api/v1/attributes/http.request.method/values?prefix=G&start=-1d"),
        ("jaeger", "/api/traces?service=gallery&lookback=1h&limit=20&minDuration=1ms&tags=%7B%22a%22%3A%22b%22%7D"),
        ("export", "/api/v1/export?start=2020-01-01T00:00:00Z"),
    ] {
        seed("api", name, &[question.as_bytes(), b"\n", &protobuf[..]].concat())?;
    }
    stored(&protobuf)
}

/// Files of a store with these spans: the log before there was a segment, then segment and catalog.
fn stored(body: &[u8]) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let server = Server::start(folder.path())?;
    server.send(body)?;
    let log = std::fs::read(only(&folder.path().join("log"))?)?;
    seed("log_catalog", "log", &[b"\0", &log[..]].concat())?;
    // Its end writes a segment.
    server.stop()?;
    seed("segment", "spans", &std::fs::read(only(&folder.path().join("segments"))?)?)?;
    let catalog = std::fs::read(folder.path().join("catalog.json"))?;
    seed("log_catalog", "catalog", &[b"\x01", &catalog[..]].concat())
}

fn only(folder: &Path) -> anyhow::Result<PathBuf> {
    let mut entries = std::fs::read_dir(folder)?;
    Ok(entries.next().with_context(|| format!("{} is empty", folder.display()))??.path())
}

fn seed(target: &str, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
    let folder = workspace().join("fuzz/seeds").join(target);
    std::fs::create_dir_all(&folder)?;
    Ok(std::fs::write(folder.join(name), bytes)?)
}
