//! Where the time and the bytes of a span go, on a workload like production's.
//!
//! `cargo run --release -p tracewell-store --example micro -- [SPANS] [DIR]` prints CPU microseconds a span for each step
//! of keeping spans, beside decoding the same bytes with generated types, which is the unit to compare machines by; then
//! bytes a span on disk, and how long reads take. `TRACEWELL_MICRO_SETTLED=1` reads what an earlier run left in DIR,
//! `TRACEWELL_MICRO_KEEP_ONLY=1` reads nothing.
//!
//! `steps SPANS ROUNDS` and `step NAME SPANS ROUNDS` are what `cargo xtask bench micro` runs: see [`steps`].

mod steps;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use tracewell_model::{TimeRange, Trace, TraceId};
use tracewell_query::{Conditions, SearchRequest};
use tracewell_sim::Workload;
use tracewell_store::{Append, EmbeddedOptions, EmbeddedStore, Projection, Scan, SpanStore, StoreError, Tenant};
use tracewell_wire::{Format, Limits, jaeger, otlp};

const SPANS_PER_REQUEST: usize = 512;
const SENDERS: usize = 4;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// What the readers need to know of the workload.
#[derive(Default)]
struct Known {
    ids: Vec<TraceId>,
    largest: Option<(TraceId, usize)>,
    request_ids: Vec<String>,
    spans: usize,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["steps", spans, rounds] => return steps::all(spans.parse()?, rounds.parse()?),
        ["step", name, spans, rounds] => return steps::one(name, spans.parse()?, rounds.parse()?),
        _ => {}
    }
    let mut arguments = arguments.into_iter();
    let spans: usize = arguments.next().map_or(Ok(1_000_000), |text| text.parse())?;
    let temporary = tempfile::tempdir()?;
    let folder = arguments.next().map_or(temporary.path().join("data"), PathBuf::from);
    let settled = std::env::var_os("TRACEWELL_MICRO_SETTLED").is_some();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;

    let known = learn(spans);
    if !settled {
        decoding(spans.min(200_000))?;
        ingest(&runtime, &folder, spans)?;
    }
    if std::env::var_os("TRACEWELL_MICRO_KEEP_ONLY").is_some() {
        return Ok(());
    }
    let start = Instant::now();
    let store = EmbeddedStore::open(&folder, EmbeddedOptions::default())?;
    println!("open{:>50.1} ms", start.elapsed().as_secs_f64() * 1e3);
    runtime.block_on(reads(&store, &known))?;
    println!("peak memory{:>42} MiB", status("VmHWM:")? / 1024);
    drop(store);
    restart(&runtime, &temporary.path().join("restart"), spans.min(1_000_000))
}

fn workload(spans: usize) -> Workload {
    Workload::new(7).spans(spans)
}

fn learn(spans: usize) -> Known {
    let mut known = Known { spans, ..Known::default() };
    for (number, trace) in workload(spans).traces().enumerate() {
        let id = trace.span(0).trace_id();
        if known.largest.is_none_or(|(_, size)| trace.len() > size) {
            known.largest = Some((id, trace.len()));
        }
        if number % 7 == 0 {
            known.ids.push(id);
            let tag = trace.iter().find_map(|span| span.attributes().get("request.id").map(|value| value.to_string()));
            known.request_ids.extend(tag);
        }
    }
    known
}

fn bodies(spans: usize) -> impl Iterator<Item = Bytes> {
    workload(spans).requests(SPANS_PER_REQUEST).map(|batch| Bytes::from(otlp::encode_protobuf(&batch)))
}

/// CPU seconds of this process so far.
fn cpu() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    // Fields 14 and 15 of proc(5), in hundredths of a second; the first two stand before the name's end.
    Ok((fields[11].parse::<f64>()? + fields[12].parse::<f64>()?) / 100.0)
}

fn status(field: &str) -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find(|line| line.starts_with(field)).ok_or("no such field")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse()?)
}

fn report(step: &str, spans: usize, seconds: f64) {
    println!("{step:<40}{:>10.2} us/span", seconds * 1e6 / spans as f64);
}

fn decoding(spans: usize) -> Result<()> {
    let bodies: Vec<Bytes> = bodies(spans).collect();
    let bytes: usize = bodies.iter().map(Bytes::len).sum();
    println!("{:<40}{:>10.1} B/span", "as OTLP", bytes as f64 / spans as f64);
    // The best of a few: others share the machine.
    let mut best = [f64::MAX; 3];
    for _ in 0..5 {
        let before = cpu()?;
        for body in &bodies {
            std::hint::black_box(ExportTraceServiceRequest::decode(body.clone())?);
        }
        best[0] = best[0].min(cpu()? - before);
        let before = cpu()?;
        for body in &bodies {
            std::hint::black_box(tracewell_wire::decode(Format::OtlpProtobuf, body, &Limits::default())?);
        }
        best[1] = best[1].min(cpu()? - before);
        let before = cpu()?;
        let mut log_bytes = 0;
        for body in &bodies {
            log_bytes += std::hint::black_box(lz4_flex::compress(body)).len();
        }
        best[2] = best[2].min(cpu()? - before);
        std::hint::black_box(log_bytes);
    }
    report("decode with generated types", spans, best[0]);
    report("decode", spans, best[1]);
    report("compress the log", spans, best[2]);
    Ok(())
}

fn ingest(runtime: &tokio::runtime::Runtime, folder: &Path, spans: usize) -> Result<()> {
    let store = Arc::new(EmbeddedStore::open(folder, EmbeddedOptions::default())?);
    // Made ahead in portions, so that making them is neither measured nor held in memory.
    let (mut appending, mut settling, mut wall) = (0.0, 0.0, Duration::ZERO);
    let mut all = bodies(spans);
    loop {
        let portion: Vec<Bytes> = all.by_ref().take(400).collect();
        if portion.is_empty() {
            break;
        }
        let (before, start) = (cpu()?, Instant::now());
        let portion = Arc::new(portion);
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let (store, portion) = (store.clone(), portion.clone());
                runtime.spawn(async move {
                    for body in portion.iter().skip(sender).step_by(SENDERS) {
                        let decoded = tracewell_wire::decode(Format::OtlpProtobuf, body, &Limits::default());
                        let Ok(decoded) = decoded else { continue };
                        let append = Append {
                            batch: decoded.batch,
                            body: body.clone(),
                            format: Format::OtlpProtobuf,
                            arrival_unix_nano: u64::MAX,
                        };
                        while let Err(StoreError::Busy(_)) = store.append(&Tenant::default(), append.clone()).await {
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                    }
                })
            })
            .collect();
        for sender in senders {
            runtime.block_on(sender)?;
        }
        appending += cpu()? - before;
        wall += start.elapsed();
    }
    let (before, start) = (cpu()?, Instant::now());
    runtime.block_on(store.flush())?;
    runtime.block_on(store.settle())?;
    settling += cpu()? - before;
    let waited = start.elapsed();
    let stats = runtime.block_on(store.stats(&Tenant::default()))?;
    report("keep: decode to acknowledge, flushing", spans, appending);
    report("keep: flushed and merged afterwards", spans, settling);
    report("keep: all", spans, appending + settling);
    println!("{:<40}{:>10.0} spans/s", "rate", spans as f64 / wall.as_secs_f64());
    println!("{:<40}{:>10.2} s", "flush and merge afterwards, wall", waited.as_secs_f64());
    println!("{:<40}{:>10.2} B/span in {} segments", "disk", stats.bytes as f64 / spans as f64, stats.segments);
    println!("{:<40}{:>10} MiB", "peak memory while keeping", status("VmHWM:")? / 1024);
    assert_eq!(stats.spans, spans as u64, "every span is there");
    for (column, bytes) in store.bytes_by_column()? {
        let each = bytes as f64 / spans as f64;
        if each >= 0.005 {
            println!("  {column:<38}{each:>10.2} B/span");
        }
    }
    Ok(())
}

/// How long a store takes to open that has all spans in its log.
fn restart(runtime: &tokio::runtime::Runtime, folder: &Path, spans: usize) -> Result<()> {
    // So much memory that nothing is flushed.
    let options = EmbeddedOptions { memory_bytes: 8 << 30, ..EmbeddedOptions::default() };
    let store = EmbeddedStore::open(folder, options.clone())?;
    for body in bodies(spans) {
        let decoded = tracewell_wire::decode(Format::OtlpProtobuf, &body, &Limits::default())?;
        let append = Append { batch: decoded.batch, body, format: Format::OtlpProtobuf, arrival_unix_nano: u64::MAX };
        runtime.block_on(store.append(&Tenant::default(), append))?;
    }
    drop(store);
    // With the usual memory, most of it is flushed on the way.
    let (before, start) = (cpu()?, Instant::now());
    let store = EmbeddedStore::open(folder, EmbeddedOptions::default())?;
    let (used, waited) = (cpu()? - before, start.elapsed().as_secs_f64());
    let held = runtime.block_on(store.stats(&Tenant::default()))?.spans;
    assert_eq!(held, spans as u64, "every span is there");
    println!("restart with {spans} spans in the log: {waited:.2} s, {used:.2} s CPU");
    Ok(())
}

/// Prints the median and the 95th percentile of the times that some calls take.
async fn times<T, F: Future<Output = Result<T>>>(
    name: &str,
    calls: usize,
    mut call: impl FnMut(usize) -> F,
) -> Result<()> {
    let mut times = Vec::new();
    let before = cpu()?;
    for number in 0..calls {
        let start = Instant::now();
        std::hint::black_box(call(number).await?);
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    // On a machine that others use, too, CPU tells more than time; it is exact to 10 ms over all calls.
    let each = (cpu()? - before) * 1e3 / calls as f64;
    println!("{name:<40}{:>10.2} ms p50{:>10.2} ms p95{each:>10.2} ms CPU", at(0.5), at(0.95));
    Ok(())
}

async fn reads(store: &EmbeddedStore, known: &Known) -> Result<()> {
    let tenant = Tenant::default();
    let hour = 3_600_000_000_000u64;
    let begin = 1_767_225_600_000_000_000u64;
    times("trace by id", 500, |number| {
        let id = known.ids[number * 7919 % known.ids.len()];
        let tenant = &tenant;
        async move { Ok(Trace::assemble(store.traces(tenant, &[id]).await?)) }
    })
    .await?;
    if let Some((id, size)) = known.largest {
        let tenant = &tenant;
        times(&format!("trace of {size} spans"), 9, |_| async move {
            Ok(Trace::assemble(store.traces(tenant, &[id]).await?))
        })
        .await?;
        times(&format!("trace of {size} spans, as Jaeger JSON"), 9, |_| async move {
            let trace = Trace::assemble(store.traces(tenant, &[id]).await?);
            Ok(jaeger::encode_traces(&[trace]))
        })
        .await?;
    }
    let services = store.services(&tenant).await?.items;
    let found_spans = std::sync::atomic::AtomicUsize::new(0);
    let found = &found_spans;
    let report_found = |calls: usize| {
        let spans = found.swap(0, std::sync::atomic::Ordering::Relaxed);
        println!("{:<40}{:>10} spans each", "  in the traces found", spans / calls);
    };
    let search = |conditions: Conditions, time: TimeRange| {
        let tenant = tenant.clone();
        async move {
            let request = SearchRequest { tenant, conditions, time, limit: 20, cursor: None };
            let page = tracewell_query::search(store, &request).await?;
            if page.items.is_empty() {
                return Err("nothing was found".into());
            }
            let spans = page.items.iter().map(|item| item.spans).sum();
            found.fetch_add(spans, std::sync::atomic::Ordering::Relaxed);
            Ok(page)
        }
    };
    // Windows that end at different moments, as people who look at "now" have them.
    let window = |number: usize| TimeRange::new(0, begin + hour / 4 + (number as u64 * 37 % 100) * hour / 120);
    let service = |number: usize| Some(services[number % services.len()].clone());
    times("newest 20 of a service", 100, |number| {
        search(Conditions { service: service(number), ..Conditions::default() }, window(number))
    })
    .await?;
    report_found(100);
    let tag = |key: &str, value: &str| vec![(key.to_owned(), value.to_owned())];
    times("http.response.status_code=500", 100, |number| {
        search(Conditions { tags: tag("http.response.status_code", "500"), ..Conditions::default() }, window(number))
    })
    .await?;
    report_found(100);
    times("slower than 1 s", 100, |number| {
        let conditions = Conditions { min_duration_nanos: Some(1_000_000_000), ..Conditions::default() };
        search(conditions, window(number))
    })
    .await?;
    report_found(100);
    times("errors of a service", 100, |number| {
        let conditions = Conditions {
            service: service(number),
            status: Some(tracewell_model::StatusCode::Error),
            ..Conditions::default()
        };
        search(conditions, TimeRange::ALL)
    })
    .await?;
    report_found(100);
    times("one unique tag", 100, |number| {
        let id = &known.request_ids[number * 7919 % known.request_ids.len()];
        search(Conditions { tags: tag("request.id", id), ..Conditions::default() }, TimeRange::ALL)
    })
    .await?;
    report_found(100);
    times("a tag that no span has", 100, |_| async {
        let conditions = Conditions { tags: tag("request.id", "req-none"), ..Conditions::default() };
        let request =
            SearchRequest { tenant: tenant.clone(), conditions, time: TimeRange::ALL, limit: 20, cursor: None };
        Ok(tracewell_query::search(store, &request).await?)
    })
    .await?;
    for (name, projection) in [("ids", Projection::Ids), ("core", Projection::Core), ("all", Projection::All)] {
        let start = Instant::now();
        let mut scan = Scan { time: TimeRange::ALL, predicates: Vec::new(), projection, after: None, limit: 8192 };
        let mut rows = 0;
        while rows < known.spans.min(300_000) {
            let page = store.scan(&tenant, &scan).await?;
            rows += page.spans.len();
            scan.after = page.next;
            if scan.after.is_none() {
                break;
            }
        }
        report(&format!("scan of {rows} rows, {name}"), rows, start.elapsed().as_secs_f64());
    }
    times("services", 20, |_| async { Ok(store.services(&tenant).await?) }).await?;
    times("attribute keys", 20, |_| async { Ok(store.attribute_keys(&tenant, 1000).await?) }).await?;
    for key in ["http.response.status_code", "k8s.pod.name", "request.id"] {
        let tenant = &tenant;
        times(&format!("values of {key}"), 5, |_| async move {
            Ok(store.attribute_values(tenant, key, "", TimeRange::ALL, 100).await?)
        })
        .await?;
    }
    Ok(())
}
