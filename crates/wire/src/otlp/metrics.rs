//! What SDKs tell of themselves in an `ExportMetricsServiceRequest`: how many spans they exported and dropped, and what
//! that took. All other metrics are passed over, unread.
//!
//! The names are those of OpenTelemetry's semantic conventions (`otel.sdk.*`), and two of our own SDK's.

mod json;
mod protobuf;

use std::hash::{DefaultHasher, Hash, Hasher};

use super::Encoding;
use crate::meter::{Meter, Unmetered};
use crate::report::Report;
use crate::{DecodeError, Limits};

/// Longer texts (a service's name, a reason) are cut: they are kept for as long as the server runs.
const MOST_TEXT_BYTES: usize = 256;

/// It is told what is taken whenever so much was added.
const TOLD_BYTES: usize = 64 * 1024;

/// What a number counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SdkMetric {
    /// `otel.sdk.exporter.span.exported`: spans that the exporter is done with; with a reason those that failed.
    Exported,
    /// `otel.sdk.processor.span.processed`, of which only those with a reason are given: they never reached the exporter.
    Processed,
    /// `tracewell.sdk.exporter.bytes`.
    ExportedBytes,
    /// `tracewell.sdk.exporter.time`, or the sum of `otel.sdk.exporter.operation.duration` of exporters of spans.
    ExportNanos,
}

/// One number, of one SDK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SdkPoint {
    /// `service.name`.
    pub service: String,
    /// The same for all numbers that count on from each other: those of one resource, metric and set of attributes.
    pub series: u64,
    /// What is counted.
    pub metric: SdkMetric,
    /// `error.type`; empty when nothing went wrong.
    pub reason: String,
    /// How many, since `start_unix_nano`.
    pub value: u64,
    /// When counting began.
    pub start_unix_nano: u64,
    /// When it was read.
    pub time_unix_nano: u64,
    /// Whether it counts from the point before, and not from the process's beginning.
    pub is_delta: bool,
}

/// What an export of metrics held.
#[derive(Clone, Debug, Default)]
pub struct SdkMetrics {
    /// What SDKs tell of themselves.
    pub points: Vec<SdkPoint>,
    /// What had to be changed or left out, for people; empty if there is nothing to say.
    pub message: String,
}

/// Reads the body of an export of metrics.
///
/// # Errors
/// When the body is not OTLP, or has more of these points than a request may have spans.
pub fn decode(encoding: Encoding, body: &[u8], limits: &Limits) -> Result<SdkMetrics, DecodeError> {
    decode_metered(encoding, body, limits, &mut Unmetered)
}

/// The same, with somebody who is told what it takes of memory, before it is taken, and may end it.
///
/// # Errors
/// As [`decode`], and when there is no memory for it.
pub fn decode_metered(
    encoding: Encoding,
    body: &[u8],
    limits: &Limits,
    meter: &mut dyn Meter,
) -> Result<SdkMetrics, DecodeError> {
    let most = limits.spans_per_request as usize;
    let report = Report::default();
    let mut points = Points { points: Vec::new(), most, report, meter, bytes: 0, told_bytes: 0 };
    match encoding {
        Encoding::Protobuf => protobuf::request(body, &mut points)?,
        Encoding::Json => json::request(body, &mut points)?,
    }
    Ok(SdkMetrics { message: points.report.message(), points: points.points })
}

/// A metric that is not passed over.
#[derive(Clone, Copy)]
struct Known {
    metric: SdkMetric,
    is_histogram: bool,
}

fn known(name: &str) -> Option<Known> {
    let (metric, is_histogram) = match name {
        "otel.sdk.exporter.span.exported" => (SdkMetric::Exported, false),
        "otel.sdk.processor.span.processed" => (SdkMetric::Processed, false),
        "tracewell.sdk.exporter.bytes" => (SdkMetric::ExportedBytes, false),
        "tracewell.sdk.exporter.time" => (SdkMetric::ExportNanos, false),
        "otel.sdk.exporter.operation.duration" => (SdkMetric::ExportNanos, true),
        _ => return None,
    };
    Some(Known { metric, is_histogram })
}

/// The resource that metrics are of.
struct Resource {
    service: String,
    hash: u64,
}

/// A point as both encodings have it.
#[derive(Default)]
struct Raw<'a> {
    reason: &'a str,
    component_type: &'a str,
    attributes_hash: u64,
    value: Number,
    start_unix_nano: u64,
    time_unix_nano: u64,
}

#[derive(Clone, Copy, Default)]
enum Number {
    #[default]
    None,
    Int(i64),
    Double(f64),
}

struct Points<'m> {
    points: Vec<SdkPoint>,
    most: usize,
    report: Report,
    meter: &'m mut dyn Meter,
    /// What they take, and take beside them.
    bytes: usize,
    told_bytes: usize,
}

impl Points<'_> {
    /// Adds to what is taken, and tells of it now and then.
    fn hold(&mut self, bytes: usize) -> Result<(), DecodeError> {
        self.bytes += bytes;
        if self.bytes < self.told_bytes + TOLD_BYTES {
            return Ok(());
        }
        self.told_bytes = self.bytes;
        self.meter.reach(self.bytes)
    }

    fn add(&mut self, resource: &Resource, known: Known, is_delta: bool, raw: &Raw<'_>) -> Result<(), DecodeError> {
        let value = match raw.value {
            Number::Int(value) => u64::try_from(value).ok(),
            // Seconds.
            Number::Double(sum) if known.is_histogram => whole(sum * 1e9),
            Number::Double(value) => whole(value),
            Number::None => None,
        };
        let Some(value) = value else { return Ok(()) };
        let of_other_signals = known.is_histogram && !raw.component_type.contains("span");
        // Without a reason they went on to the exporter, which counts them again.
        let counted_later = known.metric == SdkMetric::Processed && raw.reason.is_empty();
        if of_other_signals || counted_later {
            return Ok(());
        }
        if self.points.len() >= self.most {
            return Err(DecodeError::LimitExceeded(format!(
                "the request has more than {} points of SDKs (limit --spans-per-request)",
                self.most
            )));
        }
        // A list that has just grown has room for as many again.
        self.hold(2 * size_of::<SdkPoint>() + resource.service.len() + raw.reason.len().min(MOST_TEXT_BYTES))?;
        self.points.push(SdkPoint {
            service: resource.service.clone(),
            series: hash(&(resource.hash, known.metric, raw.attributes_hash)),
            metric: known.metric,
            reason: cut(raw.reason).to_owned(),
            value,
            start_unix_nano: raw.start_unix_nano,
            time_unix_nano: raw.time_unix_nano,
            is_delta,
        });
        Ok(())
    }
}

fn whole(number: f64) -> Option<u64> {
    (0.0..1.8e19).contains(&number).then_some(number as u64)
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The beginning of a text, in whole characters.
fn cut(text: &str) -> &str {
    let end = (0..=text.len().min(MOST_TEXT_BYTES)).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests;
