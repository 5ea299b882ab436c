//! Every form of every field, in every decoder.

use serde_json::{Value as Json, json};
use tracewell_model::{SpanBatch, SpanRef};

use crate::{Decoded, Format, Limits, decode};

/// One field of one format: where it stands in a document, and what of a span comes from it.
struct Field {
    format: Format,
    path: &'static str,
    read: fn(SpanRef<'_>) -> String,
}

const fn field(format: Format, path: &'static str, read: fn(SpanRef<'_>) -> String) -> Field {
    Field { format, path, read }
}

fn document(format: Format) -> Json {
    match format {
        Format::JaegerJson => {
            json!({"data": [{"traceID": "a", "processes": {"p1": {"serviceName": "shop", "tags": []}},
            "spans": [{"traceID": "a", "spanID": "1", "operationName": "op", "startTime": 7, "duration": 3, "flags": 1,
                "processID": "p1", "parentSpanID": "2", "references": [], "tags": [],
                "logs": [{"timestamp": 8, "fields": [{"key": "event", "value": "e"}]}]}]}]})
        }
        Format::ZipkinJson => json!([{"traceId": "a", "id": "1", "parentId": "2", "name": "op", "timestamp": 7,
            "duration": 3, "kind": "CLIENT", "shared": false, "debug": false, "localEndpoint": {"serviceName": "shop"},
            "remoteEndpoint": {"serviceName": "db", "ipv4": "10.0.0.1", "port": 1}, "tags": {"a": "b"},
            "annotations": [{"timestamp": 8, "value": "e"}]}]),
        _ => json!({"resourceSpans": [{"schemaUrl": "", "resource": {"droppedAttributesCount": 0, "attributes":
            [{"key": "service.name", "value": {"stringValue": "shop"}}]}, "scopeSpans": [{"schemaUrl": "",
            "scope": {"name": "lib", "version": "1", "attributes": [], "droppedAttributesCount": 0}, "spans": [
            {"traceId": "0000000000000000000000000000000a", "spanId": "0000000000000001", "name": "op", "kind": 3,
             "parentSpanId": "0000000000000002", "traceState": "", "flags": 1, "startTimeUnixNano": "7",
             "endTimeUnixNano": "9", "attributes": [], "droppedAttributesCount": 0, "droppedEventsCount": 0,
             "droppedLinksCount": 0, "status": {"code": 0, "message": ""},
             "events": [{"timeUnixNano": "8", "name": "e", "attributes": [], "droppedAttributesCount": 0}],
             "links": [{"traceId": "0000000000000000000000000000000b", "spanId": "0000000000000003", "flags": 0,
                "traceState": "", "attributes": [], "droppedAttributesCount": 0}]}]}]}]}),
    }
}

/// The document with another value in a field; `None` takes the field out.
fn changed(field: &Field, value: Option<&Json>) -> String {
    let mut document = document(field.format);
    let (parent, name) = field.path.rsplit_once('/').unwrap();
    let parent = document.pointer_mut(parent).unwrap_or_else(|| panic!("{} has a parent", field.path));
    match value {
        Some(value) => parent[name] = value.clone(),
        None => drop(parent.as_object_mut().unwrap().remove(name).unwrap_or_else(|| panic!("{} is there", field.path))),
    }
    document.to_string()
}

fn read(field: &Field, value: Option<&Json>) -> (Decoded, String) {
    let body = changed(field, value);
    let decoded =
        decode(field.format, body.as_bytes(), &Limits::default()).unwrap_or_else(|why| panic!("{body}: {why}"));
    let text = if decoded.batch.is_empty() { "no span".to_owned() } else { (field.read)(decoded.batch.span(0)) };
    (decoded, text)
}

const OTLP_SPAN: &str = "/resourceSpans/0/scopeSpans/0/spans/0";

/// Fields that are numbers, each read back in the unit in which it is written.
fn numbers() -> Vec<Field> {
    let (otlp, jaeger, zipkin) = (Format::OtlpJson, Format::JaegerJson, Format::ZipkinJson);
    fn event(span: SpanRef<'_>) -> u64 {
        span.events().next().unwrap().time_unix_nano()
    }
    vec![
        field(otlp, "/resourceSpans/0/scopeSpans/0/spans/0/startTimeUnixNano", |s| s.start_unix_nano().to_string()),
        field(otlp, "/resourceSpans/0/scopeSpans/0/spans/0/endTimeUnixNano", |s| s.end_unix_nano().to_string()),
        field(otlp, "/resourceSpans/0/scopeSpans/0/spans/0/flags", |s| s.flags().to_string()),
        field(otlp, "/resourceSpans/0/scopeSpans/0/spans/0/droppedAttributesCount", |s| {
            s.dropped_attributes_count().to_string()
        }),
        field(otlp, "/resourceSpans/0/scopeSpans/0/spans/0/droppedEventsCount", |s| {
            s.dropped_events_count().to_string()
        }),
        field(otlp, "/resourceSpans/0/scopeSpans/0/spans/0/droppedLinksCount", |s| s.dropped_links_count().to_string()),
        field(otlp, "/resourceSpans/0/scopeSpans/0/spans/0/events/0/timeUnixNano", |s| event(s).to_string()),
        field(otlp, "/resourceSpans/0/scopeSpans/0/spans/0/events/0/droppedAttributesCount", |s| {
            s.events().next().unwrap().dropped_attributes_count().to_string()
        }),
        field(otlp, "/resourceSpans/0/scopeSpans/0/spans/0/links/0/flags", |s| {
            s.links().next().unwrap().flags().to_string()
        }),
        field(otlp, "/resourceSpans/0/scopeSpans/0/spans/0/links/0/droppedAttributesCount", |s| {
            s.links().next().unwrap().dropped_attributes_count().to_string()
        }),
        field(otlp, "/resourceSpans/0/resource/droppedAttributesCount", |s| {
            s.batch().resources()[0].dropped_attributes_count.to_string()
        }),
        field(otlp, "/resourceSpans/0/scopeSpans/0/scope/droppedAttributesCount", |s| {
            s.batch().scopes()[0].dropped_attributes_count.to_string()
        }),
        field(jaeger, "/data/0/spans/0/startTime", |s| (s.start_unix_nano() / 1000).to_string()),
        field(jaeger, "/data/0/spans/0/duration", |s| (s.duration_nanos() / 1000).to_string()),
        field(jaeger, "/data/0/spans/0/flags", |s| s.flags().to_string()),
        field(jaeger, "/data/0/spans/0/logs/0/timestamp", |s| (event(s) / 1000).to_string()),
        field(zipkin, "/0/duration", |s| (s.duration_nanos() / 1000).to_string()),
        field(zipkin, "/0/annotations/0/timestamp", |s| (event(s) / 1000).to_string()),
    ]
}

#[test]
fn a_number_means_the_same_in_every_form_and_field() {
    for field in numbers() {
        // What is not there is whatever this format has for it, and so are null and an empty text.
        let (absent, nothing) = read(&field, None);
        assert_eq!((absent.rejected, absent.message.as_str()), (0, ""), "{}", field.path);
        for form in [json!(null), json!("")] {
            let (decoded, text) = read(&field, Some(&form));
            assert_eq!((text, decoded.message.as_str()), (nothing.clone(), ""), "{} = {form}", field.path);
        }
        for form in
            [json!(5), json!("5"), json!(5.0), json!("5.0"), json!(5e0), json!("5e0"), json!(" 5 "), json!("+5")]
        {
            let (decoded, text) = read(&field, Some(&form));
            let got = (decoded.batch.len(), text.as_str(), decoded.message.as_str());
            assert_eq!(got, (1, "5", ""), "{} = {form}", field.path);
        }
        let (decoded, text) = read(&field, Some(&json!(true)));
        assert_eq!((text.as_str(), decoded.message.as_str()), ("1", ""), "{}", field.path);
        for form in [json!(-1), json!("-1"), json!(-1.5)] {
            let (decoded, text) = read(&field, Some(&form));
            assert_eq!((decoded.batch.len(), text.as_str()), (1, "0"), "{} = {form}", field.path);
            assert!(decoded.message.contains("negative"), "{} = {form}: {}", field.path, decoded.message);
        }
        for form in [json!(1e30), json!("1e30"), json!("99999999999999999999999")] {
            let (decoded, _) = read(&field, Some(&form));
            assert_eq!(decoded.batch.len(), 1, "{} = {form}", field.path);
            assert!(decoded.message.contains("too large"), "{} = {form}: {}", field.path, decoded.message);
        }
        let is_start = field.path.ends_with("startTime") || field.path.ends_with("startTimeUnixNano");
        for form in [json!("soon"), json!({}), json!([]), json!([5])] {
            let (decoded, _) = read(&field, Some(&form));
            assert_eq!(decoded.batch.len(), usize::from(!is_start), "{} = {form}: {}", field.path, decoded.message);
            assert!(decoded.message.contains("not a number"), "{} = {form}: {}", field.path, decoded.message);
        }
    }
}

#[test]
fn numbers_beyond_what_a_double_holds_are_exact() {
    let field = field(Format::OtlpJson, "/resourceSpans/0/scopeSpans/0/spans/0/startTimeUnixNano", |s| {
        s.start_unix_nano().to_string()
    });
    for form in [json!(1_785_000_000_123_456_789u64), json!("1785000000123456789"), json!("1785000000123456789.9")] {
        assert_eq!(read(&field, Some(&form)).1, "1785000000123456789", "{form}");
    }
    assert_eq!(read(&field, Some(&json!(u64::MAX))).1, u64::MAX.to_string());
    // Microseconds may have a part that is nanoseconds.
    let field = self::field(Format::JaegerJson, "/data/0/spans/0/duration", |s| s.duration_nanos().to_string());
    for (form, nanos) in [(json!(5.5), "5500"), (json!("5.25"), "5250"), (json!("0.001"), "1"), (json!(2e3), "2000000")]
    {
        assert_eq!(read(&field, Some(&form)).1, nanos, "{form}");
    }
}

#[test]
fn a_text_may_be_a_number_and_what_is_no_text_loses_itself() {
    let (otlp, jaeger, zipkin) = (Format::OtlpJson, Format::JaegerJson, Format::ZipkinJson);
    let fields = [
        field(otlp, "/resourceSpans/0/scopeSpans/0/spans/0/name", |s| s.name().to_owned()),
        field(otlp, "/resourceSpans/0/scopeSpans/0/spans/0/traceState", |s| s.trace_state().to_owned()),
        field(otlp, "/resourceSpans/0/scopeSpans/0/spans/0/status/message", |s| s.status_message().to_owned()),
        field(otlp, "/resourceSpans/0/scopeSpans/0/spans/0/events/0/name", |s| {
            s.events().next().unwrap().name().to_owned()
        }),
        field(otlp, "/resourceSpans/0/scopeSpans/0/spans/0/links/0/traceState", |s| {
            s.links().next().unwrap().trace_state().to_owned()
        }),
        field(otlp, "/resourceSpans/0/scopeSpans/0/scope/name", |s| s.batch().string(s.scope().name).to_owned()),
        field(otlp, "/resourceSpans/0/scopeSpans/0/scope/version", |s| s.batch().string(s.scope().version).to_owned()),
        field(otlp, "/resourceSpans/0/schemaUrl", |s| s.batch().string(s.batch().resources()[0].schema_url).to_owned()),
        field(otlp, "/resourceSpans/0/scopeSpans/0/schemaUrl", |s| s.batch().string(s.scope().schema_url).to_owned()),
        field(jaeger, "/data/0/spans/0/operationName", |s| s.name().to_owned()),
        field(jaeger, "/data/0/spans/0/logs/0/fields/0/value", |s| s.events().next().unwrap().name().to_owned()),
        field(zipkin, "/0/name", |s| s.name().to_owned()),
        field(zipkin, "/0/annotations/0/value", |s| s.events().next().unwrap().name().to_owned()),
    ];
    for field in fields {
        let (absent, nothing) = read(&field, None);
        assert_eq!((absent.batch.len(), absent.message.as_str(), nothing.as_str()), (1, "", ""), "{}", field.path);
        let forms = [(json!(null), ""), (json!(""), ""), (json!("a"), "a"), (json!(7), "7"), (json!(true), "true")];
        for (form, meant) in forms {
            let (decoded, text) = read(&field, Some(&form));
            assert_eq!((text.as_str(), decoded.message.as_str()), (meant, ""), "{} = {form}", field.path);
        }
        for form in [json!({}), json!(["a"])] {
            let (decoded, text) = read(&field, Some(&form));
            assert_eq!((decoded.batch.len(), text.as_str()), (1, ""), "{} = {form}", field.path);
            assert!(decoded.message.contains("not a string"), "{} = {form}: {}", field.path, decoded.message);
        }
    }
}

#[test]
fn a_list_may_be_nothing_and_what_is_no_list_or_no_member_loses_itself() {
    let (otlp, jaeger, zipkin) = (Format::OtlpJson, Format::JaegerJson, Format::ZipkinJson);
    fn counts(span: SpanRef<'_>) -> String {
        let attributes = span.attributes().iter().filter(|(key, _)| *key == "k").count();
        format!("{attributes} {} {}", span.events().count(), span.links().count())
    }
    let pair = json!({"key": "k", "value": {"stringValue": "v"}});
    let link = json!({"traceId": "0000000000000000000000000000000b", "spanId": "0000000000000003"});
    let reference = json!({"refType": "FOLLOWS_FROM", "traceID": "b", "spanID": "3"});
    let cases = [
        (field(otlp, "/resourceSpans/0/scopeSpans/0/spans/0/attributes", counts), pair, "1 1 1", "0 1 1"),
        (field(otlp, "/resourceSpans/0/scopeSpans/0/spans/0/events", counts), json!({"name": "e"}), "0 1 1", "0 0 1"),
        (field(otlp, "/resourceSpans/0/scopeSpans/0/spans/0/links", counts), link, "0 1 1", "0 1 0"),
        (field(jaeger, "/data/0/spans/0/tags", counts), json!({"key": "k", "value": "v"}), "1 1 0", "0 1 0"),
        (field(jaeger, "/data/0/spans/0/logs", counts), json!({"timestamp": 1, "fields": []}), "0 1 0", "0 0 0"),
        (field(jaeger, "/data/0/spans/0/references", counts), reference, "0 1 1", "0 1 0"),
        (field(zipkin, "/0/annotations", counts), json!({"timestamp": 1, "value": "e"}), "0 1 0", "0 0 0"),
    ];
    for (field, member, one, none) in cases {
        for form in [json!(null), json!([]), json!([null]), json!("")] {
            let (decoded, text) = read(&field, Some(&form));
            assert_eq!((text.as_str(), decoded.message.as_str()), (none, ""), "{} = {form}", field.path);
        }
        let (decoded, text) = read(&field, Some(&json!([null, member, null])));
        assert_eq!((text.as_str(), decoded.message.as_str()), (one, ""), "{}", field.path);
        let (decoded, text) = read(&field, Some(&json!([7, member, "x", [], true])));
        assert_eq!((decoded.batch.len(), text.as_str()), (1, one), "{}", field.path);
        assert!(decoded.message.contains("not an object, left out (4 times)"), "{}: {}", field.path, decoded.message);
        for form in [json!(7), json!("x"), json!({}), json!(true)] {
            let (decoded, text) = read(&field, Some(&form));
            assert_eq!((decoded.batch.len(), text.as_str()), (1, none), "{} = {form}", field.path);
            assert!(decoded.message.contains("not a list, left out"), "{} = {form}: {}", field.path, decoded.message);
        }
    }
}

#[test]
fn a_bad_reference_is_worth_less_than_its_span() {
    let (otlp, jaeger, zipkin) = (Format::OtlpJson, Format::JaegerJson, Format::ZipkinJson);
    fn parent(span: SpanRef<'_>) -> String {
        format!("{:x} {}", span.parent_span_id().as_u64(), span.links().len())
    }
    let parents = [
        field(otlp, "/resourceSpans/0/scopeSpans/0/spans/0/parentSpanId", parent),
        field(jaeger, "/data/0/spans/0/parentSpanID", parent),
        field(zipkin, "/0/parentId", parent),
    ];
    for field in parents {
        let links = if field.format == otlp { 1 } else { 0 };
        for form in [json!(null), json!(""), json!("0000000000000000")] {
            let (decoded, text) = read(&field, Some(&form));
            assert_eq!((text, decoded.message.as_str()), (format!("0 {links}"), ""), "{} = {form}", field.path);
        }
        for form in [json!("xyz"), json!(7), json!({}), json!("123456789012345678901"), json!([])] {
            let (decoded, text) = read(&field, Some(&form));
            assert_eq!((decoded.batch.len(), text), (1, format!("0 {links}")), "{} = {form}", field.path);
            assert!(decoded.message.starts_with("span.parent"), "{} = {form}: {}", field.path, decoded.message);
        }
    }
    let references = field(jaeger, "/data/0/spans/0/references", parent);
    for (reference, meant, is_said) in [
        (json!({"refType": "CHILD_OF", "traceID": "0", "spanID": "0"}), "2 0", false),
        (json!({"refType": "CHILD_OF", "traceID": "", "spanID": ""}), "2 0", false),
        (json!({"refType": "CHILD_OF", "spanID": "2"}), "2 0", false),
        (json!({"refType": "FOLLOWS_FROM", "traceID": "ff", "spanID": "0"}), "2 0", false),
        (json!({"refType": "FOLLOWS_FROM", "traceID": "ff", "spanID": "1"}), "2 1", false),
        (json!({"traceID": "xx", "spanID": "1"}), "2 0", true),
        (json!({"refType": null, "traceID": null, "spanID": 7}), "2 0", true),
    ] {
        let (decoded, text) = read(&references, Some(&json!([reference])));
        assert_eq!((decoded.batch.len(), text.as_str()), (1, meant), "{reference}");
        assert_eq!(decoded.message.contains("the reference is left out"), is_said, "{reference}: {}", decoded.message);
    }
    let links = field(otlp, "/resourceSpans/0/scopeSpans/0/spans/0/links/0/traceId", parent);
    for form in [json!("abc"), json!(7), json!("z".repeat(32))] {
        let (decoded, text) = read(&links, Some(&form));
        assert_eq!((decoded.batch.len(), text.as_str()), (1, "2 0"), "{form}");
        assert!(decoded.message.contains("the link is left out"), "{form}: {}", decoded.message);
    }
}

#[test]
fn a_span_without_its_own_ids_is_refused_by_name() {
    for (format, trace, span) in [
        (
            Format::OtlpJson,
            "/resourceSpans/0/scopeSpans/0/spans/0/traceId",
            "/resourceSpans/0/scopeSpans/0/spans/0/spanId",
        ),
        (Format::JaegerJson, "/data/0/spans/0/traceID", "/data/0/spans/0/spanID"),
        (Format::ZipkinJson, "/0/traceId", "/0/id"),
    ] {
        for path in [trace, span] {
            let field = field(format, path, |_| String::new());
            for form in [None, Some(json!(null)), Some(json!("")), Some(json!("0")), Some(json!("xx")), Some(json!({}))]
            {
                // A loose Jaeger span without an id of its own is no span; one in a trace is a span that is refused.
                let (decoded, _) = read(&field, form.as_ref());
                assert_eq!((decoded.batch.len(), decoded.rejected), (0, 1), "{path} = {form:?}: {}", decoded.message);
                assert!(decoded.message.starts_with("span."), "{path} = {form:?}: {}", decoded.message);
            }
        }
    }
}

#[test]
fn an_id_is_read_in_hexadecimal_and_in_base64() {
    let otlp = |path| field(Format::OtlpJson, path, |s| format!("{} {}", s.trace_id(), s.span_id()));
    let trace = otlp("/resourceSpans/0/scopeSpans/0/spans/0/traceId");
    for form in [
        "5b8efff798038103d269b633813fc60c",
        "5B8EFFF798038103D269B633813FC60C",
        "0x5b8efff798038103d269b633813fc60c",
        "W47/95gDgQPSabYzgT/GDA==",
        "W47/95gDgQPSabYzgT/GDA",
        "W47_95gDgQPSabYzgT_GDA",
    ] {
        assert_eq!(read(&trace, Some(&json!(form))).1, "5b8efff798038103d269b633813fc60c 0000000000000001", "{form}");
    }
    let span = otlp("/resourceSpans/0/scopeSpans/0/spans/0/spanId");
    for form in ["eee19b7ec3c1b174", "EEE19B7EC3C1B174", "7uGbfsPBsXQ=", "7uGbfsPBsXQ"] {
        let text = read(&span, Some(&json!(form))).1;
        assert_eq!(text, "0000000000000000000000000000000a eee19b7ec3c1b174", "{form}");
    }
}

#[test]
fn an_enum_is_a_number_or_a_name() {
    let kind = field(Format::OtlpJson, "/resourceSpans/0/scopeSpans/0/spans/0/kind", |s| s.kind().to_string());
    for form in
        [json!(2), json!("2"), json!(2.0), json!("SPAN_KIND_SERVER"), json!("server"), json!("span_kind_server")]
    {
        let (decoded, text) = read(&kind, Some(&form));
        assert_eq!((text.as_str(), decoded.message.as_str()), ("server", ""), "{form}");
    }
    for form in [json!(null), json!(""), json!(0), json!("SPAN_KIND_UNSPECIFIED")] {
        let (decoded, text) = read(&kind, Some(&form));
        assert_eq!((text.as_str(), decoded.message.as_str()), ("unspecified", ""), "{form}");
    }
    for form in [json!(77), json!("SPAN_KIND_X"), json!(-1), json!({}), json!([])] {
        let (decoded, text) = read(&kind, Some(&form));
        assert_eq!((decoded.batch.len(), text.as_str()), (1, "unspecified"), "{form}");
        assert!(decoded.message.contains("span.kind"), "{form}: {}", decoded.message);
    }
    let status =
        field(Format::OtlpJson, "/resourceSpans/0/scopeSpans/0/spans/0/status", |s| s.status_code().to_string());
    for form in
        [json!({"code": 2}), json!({"code": "2"}), json!({"code": "STATUS_CODE_ERROR"}), json!({"code": "Error"})]
    {
        assert_eq!(read(&status, Some(&form)).1, "error", "{form}");
    }
    let kind = field(Format::ZipkinJson, "/0/kind", |s| s.kind().to_string());
    for form in [json!("SERVER"), json!("server")] {
        assert_eq!(read(&kind, Some(&form)).1, "server", "{form}");
    }
}

#[test]
fn a_value_is_what_it_means_or_else_its_text() {
    let otlp = |value: Json| {
        let field = field(Format::OtlpJson, "/resourceSpans/0/scopeSpans/0/spans/0/attributes", |s| {
            format!("{:?}", s.attributes().iter().next().unwrap().1)
        });
        let (decoded, text) = read(&field, Some(&json!([{"key": "k", "value": value}])));
        (text, decoded.message)
    };
    for (value, meant) in [
        (json!({"intValue": "9007199254740993"}), "Int(9007199254740993)"),
        (json!({"intValue": 9_007_199_254_740_993i64}), "Int(9007199254740993)"),
        (json!({"int_value": 1e3}), "Int(1000)"),
        (json!({"intValue": "1.0"}), "Int(1)"),
        (json!({"intValue": true}), "Int(1)"),
        (json!({"intValue": "-9223372036854775808"}), "Int(-9223372036854775808)"),
        (json!({"intValue": ""}), "Empty"),
        (json!({"doubleValue": "1"}), "Double(1.0)"),
        (json!({"doubleValue": "Infinity"}), "Double(inf)"),
        (json!({"doubleValue": "-Infinity"}), "Double(-inf)"),
        (json!({"double_value": "NaN"}), "Double(NaN)"),
        (json!({"boolValue": "true"}), "Bool(true)"),
        (json!({"boolValue": 1}), "Bool(true)"),
        (json!({"bool_value": "0"}), "Bool(false)"),
        (json!({"stringValue": 7}), "Str(\"7\")"),
        (json!({"stringValue": null, "intValue": 2}), "Int(2)"),
        (json!({"bytesValue": "AQI="}), "Bytes([1, 2])"),
        (json!({}), "Empty"),
        (json!(null), "Empty"),
        (json!("bare"), "Str(\"bare\")"),
        (json!(7), "Int(7)"),
        (json!(true), "Bool(true)"),
    ] {
        assert_eq!(otlp(value.clone()), (meant.to_owned(), String::new()), "{value}");
    }
    for (value, meant) in [
        (json!({"intValue": 0.5}), "Double(0.5)"),
        (json!({"intValue": "18446744073709551616"}), "Double(1.8446744073709552e19)"),
        (json!({"intValue": "many"}), "Str(\"many\")"),
        (json!({"doubleValue": [1]}), "Empty"),
        (json!({"stringValue": {"a": 1}}), "Str(\"\")"),
        (json!({"boolValue": "maybe"}), "Str(\"maybe\")"),
        (json!({"bytesValue": "not base64!"}), "Str(\"not base64!\")"),
    ] {
        let (text, message) = otlp(value.clone());
        assert_eq!(text, meant, "{value}");
        assert!(message.starts_with("span.attributes: "), "{value}: {message}");
    }
    let jaeger = |tag: Json| {
        let field = field(Format::JaegerJson, "/data/0/spans/0/tags", |s| {
            format!("{:?}", s.attributes().iter().next().unwrap().1)
        });
        read(&field, Some(&json!([tag]))).1
    };
    for (tag, meant) in [
        (json!({"key": "k", "type": null, "value": "x"}), "Str(\"x\")"),
        (json!({"key": "k", "type": "int64", "value": "9007199254740993"}), "Int(9007199254740993)"),
        (json!({"key": "k", "type": "int64", "value": 5.0}), "Int(5)"),
        (json!({"key": "k", "type": "float64", "value": "2.5"}), "Double(2.5)"),
        (json!({"key": "k", "type": "float64", "value": 2}), "Double(2.0)"),
        (json!({"key": "k", "type": "bool", "value": "true"}), "Bool(true)"),
        (json!({"key": "k", "type": "bool", "value": 1}), "Bool(true)"),
        (json!({"key": "k", "type": "string", "value": 5}), "Str(\"5\")"),
        (json!({"key": "k", "type": "binary", "value": "AQI="}), "Bytes([1, 2])"),
        (json!({"key": "k", "value": 5}), "Int(5)"),
        (json!({"key": "k", "value": {"a": [1]}}), "Str(\"{\\\"a\\\":[1]}\")"),
        (json!({"key": "k", "value": null}), "Empty"),
    ] {
        assert_eq!(jaeger(tag.clone()), meant, "{tag}");
    }
}

#[test]
fn a_bad_process_loses_itself_only() {
    let field = field(Format::JaegerJson, "/data/0/processes", |s| s.service().to_owned());
    for form in
        [json!(null), json!({}), json!([]), json!(7), json!({"p1": null}), json!({"p1": 7}), json!({"p1": {"tags": 7}})]
    {
        let (decoded, text) = read(&field, Some(&form));
        assert_eq!((decoded.batch.len(), text.as_str()), (1, "unknown_service"), "{form}: {}", decoded.message);
    }
    let (decoded, text) = read(&field, Some(&json!({"p1": {"serviceName": "shop", "tags": [null, 7, {"key": "a"}]}})));
    assert_eq!((decoded.batch.len(), text.as_str()), (1, "shop"), "{}", decoded.message);
}

#[test]
fn one_wrong_span_among_good_ones_is_refused_alone() {
    let batch = |format: Format, path: &str| -> SpanBatch {
        let mut document = document(format);
        let spans = document.pointer_mut(path).unwrap().as_array_mut().unwrap();
        let good = spans[0].clone();
        spans.extend([json!(7), json!(null), json!("x"), good]);
        let decoded = decode(format, document.to_string().as_bytes(), &Limits::default()).unwrap();
        assert!(decoded.message.contains("span: not an object"), "{format:?}: {}", decoded.message);
        decoded.batch
    };
    assert_eq!(batch(Format::OtlpJson, &format!("{}/spans", OTLP_SPAN.strip_suffix("/spans/0").unwrap())).len(), 2);
    assert_eq!(batch(Format::JaegerJson, "/data/0/spans").len(), 2);
    assert_eq!(batch(Format::ZipkinJson, "").len(), 2);
}
