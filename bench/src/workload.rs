//! What is sent, and what the right answers are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use rustix::time::{ClockId, clock_gettime};
use tracewell_model::{SpanBatch, TraceId, ValueRef};

use crate::requests::Requests;
use crate::zipkin;

/// Spans in a request: what OpenTelemetry's batch processors send by default.
const SPANS_PER_REQUEST: usize = 512;
/// Unique tags that are looked for.
const NEEDLES: usize = 500;

/// Requests, and facts about the spans in them.
pub(crate) struct Workload {
    pub(crate) requests: Requests,
    pub(crate) spans: usize,
    pub(crate) facts: Facts,
}

/// What the right answers are.
pub(crate) struct Facts {
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
        let mut facts = Facts {
            traces: HashMap::new(),
            largest: TraceId::ZERO,
            first_start: u64::MAX,
            last_start: 0,
            services: BTreeMap::new(),
            needles: Vec::new(),
        };
        let mut needles_seen = 0;
        let batches = tracewell_sim::Workload::new(seed).spans(spans).requests(SPANS_PER_REQUEST);
        let bodies = batches.map(|batch| {
            facts.note(&batch, &mut needles_seen);
            Ok(tracewell_wire::otlp::encode_protobuf(&batch))
        });
        let requests = Requests::write(path, "application/x-protobuf", bodies)?;
        let largest = facts.traces.iter().max_by_key(|(id, spans)| (**spans, **id));
        facts.largest = largest.map(|(id, _)| *id).unwrap_or_default();
        Ok(Self { requests, spans, facts })
    }

    /// The same requests for Zipkin.
    pub(crate) fn for_zipkin(&self, path: &Path) -> Result<Requests> {
        let bodies = self.requests.bodies()?.map(|body| zipkin::from_otlp(&body?));
        Requests::write(path, "application/json", bodies)
    }

    /// CPU microseconds a span of decoding every request with the generated types: the unit that others are told in.
    pub(crate) fn decode_micros(&self) -> Result<f64> {
        let (mut spans, mut spent) = (0, Duration::ZERO);
        for body in self.requests.bodies()? {
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

impl Facts {
    fn note(&mut self, batch: &SpanBatch, needles_seen: &mut usize) {
        for span in batch.iter() {
            *self.traces.entry(span.trace_id()).or_default() += 1;
            self.first_start = self.first_start.min(span.start_unix_nano());
            self.last_start = self.last_start.max(span.start_unix_nano());
            if !self.services.contains_key(span.service()) {
                self.services.insert(span.service().to_owned(), Matches::default());
            }
            let Some(matches) = self.services.get_mut(span.service()) else { continue };
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
                        *needles_seen += 1;
                        let needle = (value.to_owned(), span.service().to_owned(), span.trace_id());
                        if self.needles.len() < NEEDLES {
                            self.needles.push(needle);
                        } else {
                            let place = fastrand::Rng::with_seed(*needles_seen as u64).usize(..*needles_seen);
                            if place < NEEDLES {
                                self.needles[place] = needle;
                            }
                        }
                    }
                    _ => {}
                }
            }
        }
    }
}

fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
