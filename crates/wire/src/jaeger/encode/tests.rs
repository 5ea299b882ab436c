//! What is written here and what serde writes of the same spans are the same values.

mod reference;

use proptest::prelude::*;
use serde_json::Value as Json;
use tracewell_model::{NewSpan, SpanBatch};

use super::*;

/// A generator of numbers, so that one seed is one batch.
struct Random(u64);

impl Random {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }

    fn text(&mut self) -> &'static str {
        const TEXTS: [&str; 12] = [
            "",
            "service.name",
            "opentracing.ref_type",
            "child_of",
            "GET /",
            "quote \" and \\ back",
            "line\nbreak\ttab\r",
            "\u{0}\u{1}\u{1f}\u{7f}\u{80}",
            "größe 漢字 🦀",
            "</script>",
            "tracewell.pending",
            "a text that is longer than the words that processors look at in one step: 0123456789 0123456789",
        ];
        TEXTS[self.below(TEXTS.len() as u64) as usize]
    }

    fn value(&mut self, batch: &mut SpanBatch) -> Value {
        const NUMBERS: [i64; 6] = [0, 1, -1, 500, i64::MIN, i64::MAX];
        const DOUBLES: [f64; 8] = [0.0, -0.0, 0.1, 1e300, 5e-324, f64::NAN, f64::INFINITY, 2.0];
        match self.below(8) {
            0 => Value::Empty,
            1 => Value::Bool(self.below(2) == 0),
            2 => Value::Int(NUMBERS[self.below(6) as usize]),
            3 => Value::Double(DOUBLES[self.below(8) as usize]),
            4 => Value::Bytes(batch.add_blob(self.text().as_bytes())),
            5 => {
                let nested = tracewell_model::AnyValue::Array(vec![
                    tracewell_model::AnyValue::Str(self.text().to_owned()),
                    tracewell_model::AnyValue::Int(7),
                ]);
                batch.add_value(&nested)
            }
            _ => Value::Str(batch.intern(self.text())),
        }
    }

    fn attributes(&mut self, batch: &mut SpanBatch) -> Vec<(StrId, Value)> {
        (0..self.below(4)).map(|_| (batch.intern(self.text()), self.value(batch))).collect()
    }

    fn number(&mut self) -> u64 {
        [0, 1, 999, 1_000, 1_700_000_000_123_456_789, u64::MAX][self.below(6) as usize]
    }

    /// Spans of a few traces, with all that senders get wrong.
    fn batch(&mut self) -> SpanBatch {
        let mut batch = SpanBatch::new();
        for _ in 0..self.below(12) {
            let resource = self.attributes(&mut batch);
            let resource = batch.add_resource(&resource, 0, "");
            let scope = self.attributes(&mut batch);
            let scope = batch.add_scope(self.text(), self.text(), &scope, 0, "");
            for (key, value) in self.attributes(&mut batch) {
                batch.push_attribute(key, value);
            }
            for _ in 0..self.below(3) {
                for (key, value) in self.attributes(&mut batch) {
                    batch.push_event_attribute(key, value);
                }
                let name = batch.intern(self.text());
                batch.push_event(self.number(), name, 0);
            }
            for _ in 0..self.below(3) {
                for (key, value) in self.attributes(&mut batch) {
                    batch.push_link_attribute(key, value);
                }
                let trace_state = batch.intern(self.text());
                batch.push_link(
                    TraceId::from_u128(u128::from(self.number())),
                    SpanId::from_u64(self.number()),
                    trace_state,
                    0,
                    0,
                );
            }
            let name = batch.intern(self.text());
            let status_message = batch.intern(self.text());
            let trace_state = batch.intern(self.text());
            batch.push_span(NewSpan {
                trace_id: TraceId::from_u128(u128::MAX / u128::from(1 + self.below(3))),
                span_id: SpanId::from_u64(self.below(5)),
                parent_span_id: SpanId::from_u64(self.below(5)),
                start_unix_nano: self.number(),
                end_unix_nano: self.number(),
                name,
                kind: SpanKind::ALL[self.below(SpanKind::ALL.len() as u64) as usize],
                status_code: StatusCode::ALL[self.below(StatusCode::ALL.len() as u64) as usize],
                status_message,
                trace_state,
                flags: self.below(4) as u32,
                ..NewSpan::new(resource, scope)
            });
        }
        batch
    }
}

fn written(batch: &SpanBatch, enough_bytes: usize) -> Vec<u8> {
    let traces = Trace::rows_by_trace(batch).into_iter().map(|rows| Trace::in_order(batch, rows)).collect();
    let mut encoder = TracesEncoder::new(batch, traces, false);
    let mut all = ENVELOPE_START.to_vec();
    loop {
        let mut portion = Vec::new();
        let done = encoder.write(&mut portion, enough_bytes);
        assert!(done || portion.len() >= enough_bytes, "a portion is cut short");
        all.extend_from_slice(&portion);
        if done {
            break;
        }
    }
    all.extend_from_slice(ENVELOPE_END);
    all.extend_from_slice(b"null}");
    all
}

/// The values, and the tags of processes by name, whose order says nothing.
fn values(json: &[u8]) -> Json {
    serde_json::from_slice(json).unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(json)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn traces_are_written_as_serde_writes_them_joined(seed: u64, enough_bytes in 1usize..4_000) {
        let batch = Random(seed).batch();
        let traces = Trace::assemble_all(&batch);
        let expected = values(&reference::encode_traces(&traces));
        prop_assert_eq!(&values(&encode_traces(&traces)), &expected);
        prop_assert_eq!(&values(&written(&batch, enough_bytes)), &expected);
    }
}
