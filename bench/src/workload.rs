//! What is sent, and what the right answers are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use rustix::time::{ClockId, clock_gettime};
use tracewell_model::{TraceId, ValueRef};

/// Spans in a request: what OpenTelemetry's batch processors send by default.
const SPANS_PER_REQUEST: usize = 512;
/// Unique tags that are looked for.
const NEEDLES: usize = 500;

/// Requests in a file, and facts about the spans in them.
pub(crate) struct Workload {
    path: PathBuf,
    pub(crate) spans: usize,
    pub(crate) requests: usize,
    pub(crate) bytes: u64,
    /// Spans of each trace.
    pub(crate) traces: HashMap<TraceId, u32>,
    pub(crate) largest: TraceId,
    pub(crate) first_start: u64,
    pub(crate) last_start: u64,
    /// By service: the traces with a span of it, with one that failed with status 500, with one over a second.
    pub(crate) services: BTreeMap<String, Matches>,
    /// A unique tag's value, the service that has it, and the trace that it is in.
    pub(crate) needles: Vec<(String, String, TraceId)>,
}

/// The traces that a search of a service has to find.
#[derive(Default)]
pub(crate) struct Matches {
    pub(crate) any: BTreeSet<TraceId>,
    pub(crate) failed: BTreeSet<TraceId>,
    pub(crate) slow: BTreeSet<TraceId>,
}

impl Workload {
    /// Makes a workload, the same for the same seed and number of spans.
    pub(crate) fn make(seed: u64, spans: usize, path: &Path) -> Result<Self> {
        let mut file = BufWriter::with_capacity(1 << 20, File::create(path).context("create the file of requests")?);
        let mut made = Self {
            path: path.to_owned(),
            spans,
            requests: 0,
            bytes: 0,
            traces: HashMap::new(),
            largest: TraceId::ZERO,
            first_start: u64::MAX,
            last_start: 0,
            services: BTreeMap::new(),
            needles: Vec::new(),
        };
        let mut needles = 0usize;
        for batch in tracewell_sim::Workload::new(seed).spans(spans).requests(SPANS_PER_REQUEST) {
            let body = tracewell_wire::otlp::encode_protobuf(&batch);
            file.write_all(&(body.len() as u32).to_le_bytes())?;
            file.write_all(&body)?;
            made.requests += 1;
            made.bytes += body.len() as u64;
            for span in batch.iter() {
                *made.traces.entry(span.trace_id()).or_default() += 1;
                made.first_start = made.first_start.min(span.start_unix_nano());
                made.last_start = made.last_start.max(span.start_unix_nano());
                if !made.services.contains_key(span.service()) {
                    made.services.insert(span.service().to_owned(), Matches::default());
                }
                let Some(matches) = made.services.get_mut(span.service()) else { continue };
                matches.any.insert(span.trace_id());
                if span.duration_nanos() >= 1_000_000_000 {
                    matches.slow.insert(span.trace_id());
                }
                for (key, value) in span.attributes().iter() {
                    match (key, value) {
                        ("http.response.status_code", ValueRef::Int(500)) => {
                            matches.failed.insert(span.trace_id());
                        }
                        ("request.id", ValueRef::Str(value)) => {
                            // An even sample over the whole workload, whatever its size: reservoir sampling.
                            needles += 1;
                            let needle = (value.to_owned(), span.service().to_owned(), span.trace_id());
                            if made.needles.len() < NEEDLES {
                                made.needles.push(needle);
                            } else {
                                let place = fastrand::Rng::with_seed(needles as u64).usize(..needles);
                                if place < NEEDLES {
                                    made.needles[place] = needle;
                                }
                            }
                        }
                        _ => {}
                    }
                }
            }
        }
        file.flush()?;
        made.largest =
            made.traces.iter().max_by_key(|(id, spans)| (**spans, **id)).map(|(id, _)| *id).unwrap_or_default();
        Ok(made)
    }

    /// The requests in their order.
    pub(crate) fn bodies(&self) -> Result<impl Iterator<Item = Result<Vec<u8>>> + use<>> {
        let mut file = BufReader::with_capacity(1 << 20, File::open(&self.path)?);
        let mut left = self.requests;
        Ok(std::iter::from_fn(move || {
            left = left.checked_sub(1)?;
            let mut body = || -> Result<Vec<u8>> {
                let mut length = [0; 4];
                file.read_exact(&mut length)?;
                let mut body = vec![0; u32::from_le_bytes(length) as usize];
                file.read_exact(&mut body)?;
                Ok(body)
            };
            Some(body())
        }))
    }

    /// CPU microseconds a span of decoding every request with the generated types: the unit that others are told in.
    pub(crate) fn decode_micros(&self) -> Result<f64> {
        let (mut spans, mut spent) = (0, Duration::ZERO);
        for body in self.bodies()? {
            let body = body?;
            let begin = thread_cpu();
            let request = ExportTraceServiceRequest::decode(body.as_slice())?;
            spans += request
                .resource_spans
                .iter()
                .flat_map(|resource| &resource.scope_spans)
                .map(|scope| scope.spans.len())
                .sum::<usize>();
            drop(request);
            spent += thread_cpu() - begin;
        }
        Ok(spent.as_secs_f64() * 1e6 / spans.max(1) as f64)
    }
}

fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
