use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value::Value as V,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span::Event, span::Link};
use proptest::prelude::*;
use prost::Message;
use tracewell_model::Trace;

use super::*;
use crate::otlp::{encode_json, encode_protobuf};

fn limits() -> Limits {
    Limits::default()
}

// --- everything a span can say, at random ---------------------------------------------------------------------------

fn any_value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        Just(None),
        ".{0,12}".prop_map(|text| Some(V::StringValue(text))),
        any::<bool>().prop_map(|value| Some(V::BoolValue(value))),
        any::<i64>().prop_map(|value| Some(V::IntValue(value))),
        prop::num::f64::NORMAL.prop_map(|value| Some(V::DoubleValue(value))),
        prop::collection::vec(any::<u8>(), 0..9).prop_map(|bytes| Some(V::BytesValue(bytes))),
    ]
    .prop_map(|value| AnyValue { value });
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3)
                .prop_map(|values| AnyValue { value: Some(V::ArrayValue(ArrayValue { values })) }),
            prop::collection::vec((".{0,4}", inner), 0..3).prop_map(|pairs| AnyValue {
                value: Some(V::KvlistValue(KeyValueList {
                    values: pairs.into_iter().map(|(key, value)| pair(key, Some(value))).collect()
                }))
            }),
        ]
    })
}

fn pair(key: String, value: Option<AnyValue>) -> KeyValue {
    KeyValue { key, value, ..Default::default() }
}

fn attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    prop::collection::vec((".{0,8}", any_value()).prop_map(|(key, value)| pair(key, Some(value))), 0..4)
}

fn id(bytes: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(1..=255u8, bytes)
}

prop_compose! {
    fn event()(time_unix_nano in any::<u64>(), name in ".{0,8}", attributes in attributes(), dropped in 0..9u32) -> Event {
        Event { time_unix_nano, name, attributes, dropped_attributes_count: dropped }
    }
}

prop_compose! {
    fn link()(
        trace_id in id(16), span_id in id(8), trace_state in "[a-z=]{0,8}",
        attributes in attributes(), dropped in 0..9u32, flags in any::<u32>(),
    ) -> Link {
        Link { trace_id, span_id, trace_state, attributes, dropped_attributes_count: dropped, flags }
    }
}

prop_compose! {
    fn span()(
        ids in (id(16), id(8), prop_oneof![Just(Vec::new()), id(8)]),
        texts in (".{0,12}", "[a-z=]{0,8}", ".{0,8}"),
        numbers in (0..6i32, any::<u64>(), any::<u64>(), any::<u32>(), 0..3i32),
        dropped in (0..9u32, 0..9u32, 0..9u32),
        attributes in attributes(),
        events in prop::collection::vec(event(), 0..3),
        links in prop::collection::vec(link(), 0..3),
    ) -> Span {
        Span {
            trace_id: ids.0, span_id: ids.1, parent_span_id: ids.2,
            name: texts.0, trace_state: texts.1,
            kind: numbers.0, start_time_unix_nano: numbers.1, end_time_unix_nano: numbers.2, flags: numbers.3,
            attributes, events, links,
            dropped_attributes_count: dropped.0, dropped_events_count: dropped.1, dropped_links_count: dropped.2,
            status: (numbers.4 != 0 || !texts.2.is_empty())
                .then_some(Status { code: numbers.4, message: texts.2 }),
        }
    }
}

fn request() -> impl Strategy<Value = ExportTraceServiceRequest> {
    let scope_spans = (attributes(), ".{0,6}", ".{0,4}", prop::collection::vec(span(), 1..4), "[a-z:/]{0,6}", 0..3u32)
        .prop_map(|(attributes, name, version, spans, schema_url, dropped_attributes_count)| ScopeSpans {
            scope: Some(InstrumentationScope { name, version, attributes, dropped_attributes_count }),
            spans,
            schema_url,
        });
    let resource_spans = (attributes(), prop::collection::vec(scope_spans, 1..3), "[a-z:/]{0,6}", 0..3u32).prop_map(
        |(attributes, scope_spans, schema_url, dropped_attributes_count)| ResourceSpans {
            resource: Some(Resource { attributes, dropped_attributes_count, ..Default::default() }),
            scope_spans,
            schema_url,
        },
    );
    prop::collection::vec(resource_spans, 0..3).prop_map(|resource_spans| ExportTraceServiceRequest { resource_spans })
}

/// Every span on its own with its resource and scope, so that requests that group differently compare equal.
fn flat(request: &ExportTraceServiceRequest) -> Vec<(Resource, String, InstrumentationScope, String, Span)> {
    let mut out = Vec::new();
    for resource_spans in &request.resource_spans {
        for scope_spans in &resource_spans.scope_spans {
            for span in &scope_spans.spans {
                out.push((
                    resource_spans.resource.clone().unwrap_or_default(),
                    resource_spans.schema_url.clone(),
                    scope_spans.scope.clone().unwrap_or_default(),
                    scope_spans.schema_url.clone(),
                    span.clone(),
                ));
            }
        }
    }
    out.sort_by_key(|parts| parts.4.encode_to_vec());
    out
}

fn reread(batch: &SpanBatch) -> ExportTraceServiceRequest {
    ExportTraceServiceRequest::decode(encode_protobuf(batch).as_slice()).expect("what is written is protobuf")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn protobuf_says_what_the_generated_types_say(request in request()) {
        let decoded = decode(Format::OtlpProtobuf, &request.encode_to_vec(), &limits()).unwrap();
        prop_assert_eq!(decoded.rejected, 0, "{}", decoded.message);
        prop_assert_eq!(flat(&reread(&decoded.batch)), flat(&request));
    }

    #[test]
    fn json_says_what_protobuf_says(request in request()) {
        let batch = decode(Format::OtlpProtobuf, &request.encode_to_vec(), &limits()).unwrap().batch;
        let decoded = decode(Format::OtlpJson, &encode_json(&batch), &limits()).unwrap();
        prop_assert_eq!(decoded.rejected, 0, "{}", decoded.message);
        prop_assert_eq!(flat(&reread(&decoded.batch)), flat(&request));
    }

    #[test]
    fn broken_bytes_never_panic_and_always_decode_alike(
        request in request(), at in any::<prop::sample::Index>(), bit in 0..8u32, cut in any::<prop::sample::Index>(),
    ) {
        for (format, mut bytes) in [
            (Format::OtlpProtobuf, request.encode_to_vec()),
            (Format::OtlpJson, encode_json(&decode(Format::OtlpProtobuf, &request.encode_to_vec(), &limits()).unwrap().batch)),
        ] {
            if bytes.is_empty() { continue }
            let place = at.index(bytes.len());
            bytes[place] ^= 1 << bit;
            bytes.truncate(cut.index(bytes.len()) + 1);
            let first = decode(format, &bytes, &limits());
            let second = decode(format, &bytes, &limits());
            match (first, second) {
                (Ok(first), Ok(second)) => prop_assert_eq!(encode_protobuf(&first.batch), encode_protobuf(&second.batch)),
                (Err(first), Err(second)) => prop_assert_eq!(first, second),
                _ => prop_assert!(false, "the same bytes decoded differently"),
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for format in [Format::OtlpProtobuf, Format::OtlpJson, Format::JaegerJson] {
            let _ = decode(format, &bytes, &limits());
        }
    }
}

// --- bad input, case by case ----------------------------------------------------------------------------------------

fn good_span(id: u8) -> Span {
    Span { trace_id: vec![1; 16], span_id: vec![id; 8], name: format!("span {id}"), ..Default::default() }
}

fn one_scope(spans: Vec<Span>) -> Vec<u8> {
    let scope_spans = vec![ScopeSpans { spans, ..Default::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..Default::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec()
}

/// A bad span between two good ones: the good ones are kept, and the message names the field.
fn refused_alone(bad: Span, field: &str) {
    let decoded = decode(Format::OtlpProtobuf, &one_scope(vec![good_span(1), bad, good_span(3)]), &limits()).unwrap();
    assert_eq!((decoded.batch.len(), decoded.rejected), (2, 1), "{}", decoded.message);
    assert!(decoded.message.contains(field), "{}", decoded.message);
    assert_eq!(decoded.batch.span(1).name(), "span 3");
    assert!(decoded.batch.span(1).attributes().is_empty());
}

#[test]
fn a_span_with_a_bad_id_is_refused_alone() {
    refused_alone(Span { trace_id: vec![1; 15], ..good_span(2) }, "span.trace_id: 15 bytes, not 16");
    refused_alone(Span { trace_id: vec![0; 16], ..good_span(2) }, "span.trace_id");
    refused_alone(Span { span_id: vec![], ..good_span(2) }, "span.span_id");
    refused_alone(Span { parent_span_id: vec![1; 7], ..good_span(2) }, "span.parent_span_id: 7 bytes, not 8");
}

#[test]
fn a_span_with_too_many_attributes_is_refused_alone() {
    let many = (0..1_000_000).map(|i| pair(i.to_string(), None)).collect();
    refused_alone(Span { attributes: many, ..good_span(2) }, "span.attributes: more than 1024");
}

#[test]
fn a_span_with_a_value_nested_too_deep_is_refused_alone() {
    let mut value = AnyValue { value: Some(V::IntValue(1)) };
    for _ in 0..100 {
        value = AnyValue { value: Some(V::ArrayValue(ArrayValue { values: vec![value] })) };
    }
    refused_alone(Span { attributes: vec![pair("deep".into(), Some(value))], ..good_span(2) }, "deeper than 32 levels");
}

#[test]
fn json_nested_too_deep_is_an_error_and_no_overflow() {
    let deep = |levels: usize| {
        let (open, close) = (r#"{"arrayValue":{"values":["#.repeat(levels), "]}}".repeat(levels));
        let value = format!(r#"{open}{{"intValue":"1"}}{close}"#);
        let ids = r#""traceId":"01010101010101010101010101010101","spanId":"0101010101010101""#;
        format!(
            r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{ids},"attributes":[{{"key":"a","value":{value}}}]}}]}}]}}]}}"#
        )
    };
    assert_eq!(decode(Format::OtlpJson, deep(30).as_bytes(), &limits()).unwrap().batch.len(), 1);
    for levels in [33, 100, 100_000] {
        match decode(Format::OtlpJson, deep(levels).as_bytes(), &limits()) {
            Ok(decoded) => assert_eq!((decoded.rejected, decoded.batch.len()), (1, 0), "{levels} levels"),
            Err(DecodeError::Malformed(message)) => assert!(message.contains("recursion limit"), "{message}"),
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn a_string_that_is_not_utf_8_refuses_its_span_alone() {
    let mut body = one_scope(vec![good_span(1), Span { name: "MARKER".into(), ..good_span(2) }, good_span(3)]);
    let place = body.windows(6).position(|window| window == b"MARKER").unwrap();
    body[place] = 0xff;
    let decoded = decode(Format::OtlpProtobuf, &body, &limits()).unwrap();
    assert_eq!((decoded.batch.len(), decoded.rejected), (2, 1));
    assert_eq!(decoded.message, "span.name: not UTF-8");
}

#[test]
fn too_many_spans_refuse_the_request() {
    let few = Limits { spans_per_request: 2, ..limits() };
    let refused = decode(Format::OtlpProtobuf, &one_scope((1..=3).map(good_span).collect()), &few);
    assert!(matches!(refused, Err(DecodeError::LimitExceeded(message)) if message.contains("--spans-per-request")));
}

#[test]
fn a_body_cut_off_anywhere_is_refused_or_shorter_by_whole_messages() {
    let body = one_scope(vec![good_span(1), good_span(2)]);
    for length in 1..body.len() {
        assert!(decode(Format::OtlpProtobuf, &body[..length], &limits()).is_err(), "{length} of {} bytes", body.len());
    }
}

#[test]
fn empty_requests_are_accepted_in_every_format() {
    for (format, body) in [
        (Format::OtlpProtobuf, ""),
        (Format::OtlpJson, ""),
        (Format::OtlpJson, "{}"),
        (Format::OtlpJson, r#"{"resourceSpans":null}"#),
        (Format::JaegerJson, r#"{"data":[]}"#),
    ] {
        let decoded = decode(format, body.as_bytes(), &limits()).unwrap();
        assert_eq!((decoded.batch.len(), decoded.rejected, decoded.message.as_str()), (0, 0, ""), "{body}");
    }
}

// --- what senders write in JSON -------------------------------------------------------------------------------------

#[test]
fn json_takes_what_senders_write() {
    let body = r#"{
        "unknown": {"deeply": ["odd"]},
        "resourceSpans": [{
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "cart"}}]},
            "scopeSpans": [{"scope": null, "spans": [
                {"traceId": "5B8EFFF798038103D269B633813FC60C", "spanId": "EEE19B7EC3C1B174", "parentSpanId": "",
                 "name": "numbers", "kind": 2, "startTimeUnixNano": 1544712660000000000, "endTimeUnixNano": "1544712661000000000",
                 "attributes": [
                    {"key": "text", "value": {"intValue": "-9223372036854775808"}},
                    {"key": "number", "value": {"intValue": 7}},
                    {"key": "nan", "value": {"doubleValue": "NaN"}},
                    {"key": "whole", "value": {"doubleValue": 3}},
                    {"key": "raw", "value": {"bytesValue": "_-8"}},
                    {"key": "none"}
                 ], "status": {"code": "STATUS_CODE_ERROR", "message": "no"}},
                {"trace_id": "5b8efff798038103d269b633813fc60c", "span_id": "eee19b7ec3c1b175", "name": "names",
                 "kind": "SPAN_KIND_CLIENT", "parent_span_id": "eee19b7ec3c1b174", "start_time_unix_nano": "5"}
            ]}]
        }]
    }"#;
    let decoded = decode(Format::OtlpJson, body.as_bytes(), &limits()).unwrap();
    assert_eq!(decoded.rejected, 0, "{}", decoded.message);
    let (first, second) = (decoded.batch.span(0), decoded.batch.span(1));
    assert_eq!((first.service(), first.kind().as_str()), ("cart", "server"));
    assert_eq!(first.start_unix_nano(), 1_544_712_660_000_000_000);
    assert_eq!(first.duration_nanos(), 1_000_000_000);
    assert_eq!((first.is_error(), first.status_message()), (true, "no"));
    let said: Vec<String> = first.attributes().iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(said, ["text=-9223372036854775808", "number=7", "nan=NaN", "whole=3", "raw=ffef", "none="]);
    assert_eq!((second.kind().as_str(), second.start_unix_nano()), ("client", 5));
    assert_eq!(second.parent_span_id(), first.span_id());
}

#[test]
fn json_takes_older_dialects_and_every_way_to_write_an_integer() {
    let body = r#"{"batches": [{
        "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "old"}}]},
        "instrumentationLibrarySpans": [{"instrumentationLibrary": {"name": "library", "version": "1"}, "spans": [
            {"traceId": "W47/95gDgQPSabYzgT/GDA==", "spanId": "7uGbfsPBsXQ=", "name": "base64", "attributes": [
                {"key": "fraction", "value": {"intValue": 3.0}}, {"key": "exponent", "value": {"intValue": "1e2"}}]},
            {"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b175", "name": "part", "attributes": [
                {"key": "half", "value": {"intValue": 0.5}}]}
        ]}]
    }]}"#;
    let decoded = decode(Format::OtlpJson, body.as_bytes(), &limits()).unwrap();
    assert_eq!((decoded.batch.len(), decoded.rejected), (2, 0));
    assert!(decoded.message.contains("intValue"), "{}", decoded.message);
    let span = decoded.batch.span(0);
    assert_eq!(span.trace_id().to_string(), "5b8efff798038103d269b633813fc60c");
    assert_eq!(span.span_id().to_string(), "eee19b7ec3c1b174");
    assert_eq!((span.service(), decoded.batch.string(span.scope().name)), ("old", "library"));
    let said: Vec<String> = span.attributes().iter().map(|(key, value)| format!("{key}={value}")).collect();
    assert_eq!(said, ["fraction=3", "exponent=100"]);
}

#[test]
fn jaeger_spans_are_read_one_by_one_and_keep_their_references() {
    let body = r#"[
        {"traceID": "abc", "spanID": "1", "operationName": "root", "startTime": 1, "process": {"serviceName": "front"}},
        {"traceID": "abc", "spanID": "2", "operationName": "follows", "references":
            [{"refType": "FOLLOWS_FROM", "traceID": "abc", "spanID": "1"}], "process": {"serviceName": "back"}},
        {"traceID": "abc", "spanID": "3", "operationName": "two parents", "references":
            [{"refType": "CHILD_OF", "traceID": "abc", "spanID": "1"}, {"refType": "CHILD_OF", "traceID": "abc", "spanID": "2"}]},
        {"traceID": "abc", "spanID": "4", "startTime": "yesterday"}
    ]"#;
    let decoded = decode(Format::JaegerJson, body.as_bytes(), &limits()).unwrap();
    assert_eq!((decoded.batch.len(), decoded.rejected), (3, 1));
    assert!(decoded.message.contains("span.startTime"), "{}", decoded.message);
    assert_eq!(decoded.batch.span(1).service(), "back");
    let parents: Vec<String> = decoded.batch.iter().map(|span| span.parent_span_id().to_string()).collect();
    assert_eq!(parents, ["0000000000000000", "0000000000000001", "0000000000000001"]);
    let written = jaeger::encode_traces(&[Trace::assemble(decoded.batch.clone())]);
    let text = String::from_utf8_lossy(&written);
    assert_eq!((text.matches("CHILD_OF").count(), text.matches("FOLLOWS_FROM").count()), (3, 1), "{text}");

    let neither = decode(Format::JaegerJson, br#"{"data": [{"traceID": "abc"}]}"#, &limits());
    assert!(matches!(neither, Err(DecodeError::Malformed(message)) if message.contains("spanID")));
}

#[test]
fn jaeger_json_comes_back_as_it_went() {
    let body = r#"{"data": [{"traceID": "abc", "spans": [
        {"traceID": "abc", "spanID": "1", "flags": 1, "operationName": "GET /", "references": [],
         "startTime": 1700000000000000, "duration": 1500, "processID": "p1", "warnings": null,
         "tags": [{"key": "span.kind", "type": "string", "value": "server"},
                  {"key": "http.status_code", "type": "int64", "value": 500},
                  {"key": "error", "type": "bool", "value": true},
                  {"key": "ratio", "type": "float64", "value": 2.0}],
         "logs": [{"timestamp": 1700000000000700, "fields": [
                  {"key": "event", "type": "string", "value": "retry"}, {"key": "attempt", "type": "int64", "value": 2}]}]},
        {"traceID": "abc", "spanID": "2", "operationName": "SELECT", "startTime": 1700000000000100, "duration": 900,
         "references": [{"refType": "CHILD_OF", "traceID": "abc", "spanID": "1"},
                        {"refType": "FOLLOWS_FROM", "traceID": "def", "spanID": "9"}], "processID": "p2", "tags": [], "logs": []}
    ], "processes": {
        "p1": {"serviceName": "front", "tags": [{"key": "hostname", "type": "string", "value": "a"}]},
        "p2": {"serviceName": "db", "tags": []}}}]}"#;
    let decoded = decode(Format::JaegerJson, body.as_bytes(), &limits()).unwrap();
    assert_eq!(decoded.rejected, 0, "{}", decoded.message);
    let trace = Trace::assemble(decoded.batch);
    let root = trace.root().unwrap();
    assert_eq!((root.service(), root.name(), root.kind().as_str()), ("front", "GET /", "server"));
    assert!(root.is_error());
    assert_eq!(root.duration_nanos(), 1_500_000);
    let child = trace.span(trace.children(root.row()).next().unwrap());
    assert_eq!((child.service(), child.links().len()), ("db", 1));

    let written = jaeger::encode_traces(std::slice::from_ref(&trace));
    let again = Trace::assemble(decode(Format::JaegerJson, &written, &limits()).unwrap().batch);
    assert_eq!(encode_protobuf(again.batch()), encode_protobuf(trace.batch()));
}

#[test]
fn the_parts_of_a_json_request_come_in_any_order_and_shape() {
    let span = r#"{"spanId": "0000000000000001", "traceId": "0000000000000000000000000000000a", "name": "a"}"#;
    let service = r#"{"attributes": [{"value": {"stringValue": "shop"}, "key": "service.name"}]}"#;
    let good = |body: String| {
        let decoded =
            decode(Format::OtlpJson, body.as_bytes(), &limits()).unwrap_or_else(|why| panic!("{body}: {why}"));
        decoded.batch.iter().map(|span| format!("{}/{}", span.service(), batch_scope(&span))).collect::<Vec<_>>()
    };
    fn batch_scope(span: &tracewell_model::SpanRef<'_>) -> String {
        span.batch().string(span.scope().name).to_owned()
    }
    // A span before its scope, that before its resource, and what nobody knows in between.
    let scope_spans = format!(r#"{{"spans": [{span}], "more": {{"x": [1, "\u00e9"]}}, "scope": {{"name": "lib"}}}}"#);
    let body = format!(r#"{{"resourceSpans": [{{"scopeSpans": [{scope_spans}], "resource": {service}}}]}}"#);
    assert_eq!(good(body), ["shop/lib"]);
    // The newer name goes before the older, the last of equal names before the first, and `null` is nothing.
    let body = format!(
        r#"{{"resource_spans": [{{"scopeSpans": [{scope_spans}]}}], "resourceSpans": null, "resourceSpans":
            [{{"scope_spans": null, "scopeSpans": [{{"spans": []}}], "scopeSpans": [null, {scope_spans}],
               "schemaUrl": null, "resource": null}}, null]}}"#
    );
    assert_eq!(good(body), ["unknown_service/lib"]);
    // Scopes as they were once called, in what Tempo calls resource spans.
    let library = format!(
        r#"{{"instrumentation_library": {{"name": "old"}}, "scope": {{"name": "not it"}}, "spans": [{span}]}}"#
    );
    let body = format!(
        r#"{{"batches": [{{"instrumentationLibrarySpans": [{library}], "scopeSpans": [{scope_spans}], "resource": {service}}}]}}"#
    );
    assert_eq!(good(body), ["shop/lib", "shop/old"]);
    for (body, why) in [
        ("[]", "not an object"),
        ("7", "not an object"),
        (r#"{"resourceSpans": {}}"#, "resourceSpans"),
        (r#"{"resourceSpans": [null, {}, 0]}"#, "resourceSpans[2] is not an object"),
        (r#"{"resourceSpans": [{"scopeSpans": ["x"]}]}"#, "scopeSpans[0] is not an object"),
        (r#"{"resourceSpans": [[{}]]}"#, "resourceSpans[0] is not an object"),
        (r#"{"resourceSpans": [{"scopeSpans": "x"}]}"#, "scopeSpans"),
        (r#"{"resourceSpans": [{"scopeSpans": [{"spans": 1}]}]}"#, "spans"),
        (r#"{"resourceSpans": [{"scopeSpans": [{"spans": [{"name": "\ud800"}]}]}]}"#, "hex escape"),
        (r#"{"resourceSpans": []} x"#, "trailing"),
    ] {
        match decode(Format::OtlpJson, body.as_bytes(), &limits()) {
            Err(DecodeError::Malformed(message)) => assert!(message.contains(why), "{body}: {message}"),
            other => panic!("{body}: {other:?}"),
        }
    }
    let refused = r#"{"resourceSpans": [{"schemaUrl": [], "scopeSpans": [{"spans": [7]}]}]}"#;
    let decoded = decode(Format::OtlpJson, refused.as_bytes(), &limits()).unwrap();
    assert_eq!((decoded.batch.len(), decoded.rejected), (0, 1));
    assert!(decoded.message.contains("schema_url"), "{}", decoded.message);
    assert!(decoded.message.contains("span: not an object"), "{}", decoded.message);
}

// --- what it takes of memory ----------------------------------------------------------------------------------------

/// Lets so many bytes be taken, and remembers the most.
struct Most {
    max_bytes: usize,
    reached_bytes: usize,
}

impl Meter for Most {
    fn reach(&mut self, bytes: usize) -> Result<(), DecodeError> {
        self.reached_bytes = self.reached_bytes.max(bytes);
        if bytes > self.max_bytes { Err(DecodeError::LimitExceeded("decoded_size".to_owned())) } else { Ok(()) }
    }
}

fn with_most(format: Format, body: &[u8], max_bytes: usize) -> (Result<Decoded, DecodeError>, usize) {
    let mut most = Most { max_bytes, reached_bytes: 0 };
    let decoded = decode_metered(format, body, &limits(), &mut most);
    (decoded, most.reached_bytes)
}

/// A JSON request of one span with this in it.
fn json_span(fields: &str) -> String {
    let ids = r#""traceId":"01010101010101010101010101010101","spanId":"0101010101010101""#;
    format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{ids}{fields}}}]}}]}}]}}"#)
}

fn repeated(item: &str, times: usize) -> String {
    format!("{}{item}", format!("{item},").repeat(times - 1))
}

#[test]
fn what_a_batch_takes_was_told_before() {
    let spans = (1..=250).map(|id| Span {
        attributes: (0..9)
            .map(|n| pair(format!("key {n}"), Some(AnyValue { value: Some(V::StringValue(format!("{id} {n}"))) })))
            .collect(),
        events: vec![Event { name: format!("event {id}"), ..Event::default() }; 40],
        links: vec![Link { trace_id: vec![1; 16], span_id: vec![2; 8], ..Link::default() }; 40],
        ..good_span(id)
    });
    let body = one_scope(spans.collect());
    let (decoded, told) = with_most(Format::OtlpProtobuf, &body, usize::MAX);
    let batch = decoded.unwrap().batch;
    let taken = batch.size_bytes();
    assert!(taken <= told && told < 3 * taken, "{told} bytes were told of {taken}");
    let json = encode_json(&batch);
    let (decoded, told) = with_most(Format::OtlpJson, &json, usize::MAX);
    assert!(decoded.unwrap().batch.size_bytes() <= told);
    for (format, body) in [(Format::OtlpProtobuf, &body), (Format::OtlpJson, &json)] {
        let (refused, told) = with_most(format, body, 500_000);
        assert!(matches!(refused, Err(DecodeError::LimitExceeded(_))), "{format:?}");
        assert!(told < 3_000_000, "it went on to {told} bytes");
    }
}

#[test]
fn what_is_small_when_sent_and_large_when_decoded_is_ended_on_the_way() {
    const MOST: usize = 4 << 20;
    let empties = |tag: u8, times| [tag, 0].repeat(times);
    let spans = |field: u8, times: usize| {
        let message = |id: u8| [good_span(id).encode_to_vec(), empties(field << 3 | 2, times)].concat();
        let framed = |tag: u8, message: Vec<u8>| {
            let mut out = vec![tag];
            prost::encoding::encode_varint(message.len() as u64, &mut out);
            [out, message].concat()
        };
        let spans = (1..=200).flat_map(|id| framed(0x12, message(id))).collect();
        framed(0x0a, framed(0x12, spans))
    };
    let nested = json_span(&format!(
        r#","attributes":[{{"key":"k","value":{{"arrayValue":{{"values":[{}]}}}}}}]"#,
        repeated("{}", 1_000_000)
    ));
    for (what, format, body) in [
        ("events", Format::OtlpProtobuf, spans(11, 9_000)),
        ("links", Format::OtlpProtobuf, spans(13, 9_000)),
        ("attributes", Format::OtlpProtobuf, spans(9, 1_000).repeat(10)),
        (
            "resource spans",
            Format::OtlpJson,
            format!(r#"{{"resourceSpans":[{}]}}"#, repeated("{}", 1_000_000)).into_bytes(),
        ),
        (
            "scope spans",
            Format::OtlpJson,
            format!(r#"{{"resourceSpans":[{{"scopeSpans":[{}]}}]}}"#, repeated("{}", 1_000_000)).into_bytes(),
        ),
        ("a nested value", Format::OtlpJson, nested.into_bytes()),
        (
            "an unknown field",
            Format::OtlpJson,
            json_span(&format!(r#","x":[{}]"#, repeated("[]", 1_000_000))).into_bytes(),
        ),
        ("traces", Format::JaegerJson, format!(r#"{{"data":[{}]}}"#, repeated("0", 1_000_000)).into_bytes()),
        (
            "tags",
            Format::JaegerJson,
            format!(r#"[{{"spanID":"1","tags":[{}]}}]"#, repeated("{}", 1_000_000)).into_bytes(),
        ),
    ] {
        let (refused, told) = with_most(format, &body, MOST);
        assert!(matches!(refused, Err(DecodeError::LimitExceeded(_))), "{what}: {refused:?}");
        assert!(told < 4 * MOST, "{what} went on to {told} bytes");
    }
}

#[test]
fn lists_with_too_much_in_them_refuse_their_span_before_it_is_a_tree() {
    for (fields, why) in [
        (format!(r#","attributes":[{}]"#, repeated("0", 1_000_000)), "span.attributes: more than 1024"),
        (format!(r#","events":[{}]"#, repeated("{}", 1_000_000)), "span.events: more than 10000"),
        (format!(r#","links":[{}]"#, repeated("{}", 1_000_000)), "span.links: more than 10000"),
        (
            format!(r#","events":[{{"attributes":[{}]}}]"#, repeated("{}", 50_000)),
            "span.events.attributes: more than 1024",
        ),
    ] {
        let (decoded, told) = with_most(Format::OtlpJson, json_span(&fields).as_bytes(), 16 << 20);
        let decoded = decoded.unwrap_or_else(|error| panic!("{why}: {error}"));
        assert_eq!((decoded.batch.len(), decoded.rejected), (0, 1), "{why}");
        assert!(decoded.message.contains(why), "{why}: {}", decoded.message);
        assert!(told < 16 << 20, "{why}: {told}");
    }
}

proptest! {
    #[test]
    fn a_request_decoded_in_parts_has_the_same_spans(request in request(), part_bytes in 1usize..2000) {
        let body = request.encode_to_vec();
        let Ok(whole) = decode(Format::OtlpProtobuf, &body, &limits()) else { return Ok(()) };
        let mut parts = SpanBatch::new();
        decode_in_parts(Format::OtlpProtobuf, &body, &limits(), part_bytes, &mut |batch| parts.append(&batch)).unwrap();
        prop_assert_eq!(flat(&reread(&parts)), flat(&reread(&whole.batch)));
    }
}
