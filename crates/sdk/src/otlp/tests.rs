//! Against a small HTTP server, and against the generated types of the protocol.

use super::*;
use crate::{Config, Sampler, Span, SpanKind, Status, Tracer};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
use prost::Message as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;

const LONG: Duration = Duration::from_secs(30);

#[derive(Debug)]
struct Received {
    request_line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Received {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    fn spans(&self) -> Vec<opentelemetry_proto::tonic::trace::v1::Span> {
        let request = ExportTraceServiceRequest::decode(&self.body[..]).unwrap();
        request.resource_spans.into_iter().flat_map(|r| r.scope_spans).flat_map(|s| s.spans).collect()
    }
}

fn read_request(reader: &mut BufReader<TcpStream>) -> Option<Received> {
    let mut request_line = String::new();
    if reader.read_line(&mut request_line).ok()? == 0 {
        return None;
    }
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut received = Received { request_line: request_line.trim_end().to_owned(), headers, body: Vec::new() };
    received.body = vec![0; received.header("content-length")?.parse().ok()?];
    reader.read_exact(&mut received.body).ok()?;
    Some(received)
}

/// Serves connections one after the other, answers in turn (then 200s), and ends with its last connection.
fn serve(answers: Vec<Vec<u8>>) -> (String, mpsc::Receiver<Received>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut answers = answers.into_iter();
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            while let Some(received) = read_request(&mut reader) {
                let answer = answers.next().unwrap_or_else(|| answer("200 OK", "", b""));
                reader.get_mut().write_all(&answer).unwrap();
                if sender.send(received).is_err() {
                    return;
                }
            }
        }
    });
    (endpoint, receiver)
}

fn answer(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 {status}\r\n{headers}content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn exporter(endpoint: &str) -> OtlpExporter {
    let receiver = Receiver { url: format!("{endpoint}/v1/traces"), timeout: Some(LONG), ..Receiver::default() };
    OtlpExporter::of(receiver).unwrap()
}

fn post_to(endpoint: &str) -> Result<(), ExportError> {
    let mut exporter = exporter(endpoint);
    exporter.post(&exporter.target.clone(), &[], exporter.timeout)
}

#[test]
fn how_long_to_wait_is_read_from_the_details_of_a_status() {
    use crate::proto::{bytes, message, number};
    let details = |url: &str, seconds: u64, nanos: u64| {
        let mut status = Vec::new();
        number(&mut status, 1, 14);
        message(&mut status, 3, |any| bytes(any, 1, b"type.googleapis.com/google.rpc.Other"));
        message(&mut status, 3, |any| {
            bytes(any, 1, url.as_bytes());
            message(any, 2, |info| {
                message(info, 1, |delay| {
                    number(delay, 1, seconds);
                    number(delay, 2, nanos);
                });
            });
        });
        shared::retry_after(&status)
    };
    let retry_info = "type.googleapis.com/google.rpc.RetryInfo";
    assert_eq!(details(retry_info, 3, 500_000_000), Some(Duration::from_millis(3500)));
    assert_eq!(details(retry_info, 0, 0), Some(Duration::ZERO));
    assert_eq!(details(retry_info, -3_i64 as u64, u64::MAX), Some(Duration::ZERO));
    assert_eq!(details("type.googleapis.com/google.rpc.Help", 3, 0), None);
    assert_eq!(shared::retry_after(&[0xff; 9]), None);
}

fn text(value: &str) -> Any {
    Any::StringValue(value.to_owned())
}

fn values(values: Vec<Any>) -> Any {
    Any::ArrayValue(ArrayValue { values: values.into_iter().map(|v| AnyValue { value: Some(v) }).collect() })
}

fn tag(tags: &[KeyValue], key: &str) -> Option<Any> {
    tags.iter().find(|tag| tag.key == key)?.value.clone()?.value
}

#[test]
fn every_field_arrives_as_it_was_recorded() {
    let (endpoint, received) = serve(vec![]);
    let config = Config::new("gallery").endpoint(&endpoint).header("x-tenant", "a").sampler(Sampler::always());
    // All of it in one request, however slowly it is recorded.
    let config = config.export_interval(Duration::from_secs(3600));
    let tracer = Tracer::new(config.resource_tag("service.version", "1.2")).unwrap();
    let headers = vec![
        ("traceparent".to_owned(), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
        ("tracestate".to_owned(), "vendor=1".to_owned()),
    ];
    let linked = tracer.span("linked").start().span_context().clone();
    let span: Span = tracer.span("work").kind(SpanKind::Server).parent(&crate::extract(&headers)).link(&linked).start();
    span.tag("empty", "").tag("zero", 0).tag("false", false).tag("zero float", 0.0);
    span.tag("long", "x".repeat(300)).tag("negative", i64::MIN).tag("great", u64::MAX).tag("pi", 3.25);
    span.tag("texts", ["a", ""]).tag("ints", [1, -1]).tag("floats", vec![0.5]).tag("bools", vec![true, false]);
    span.event_with("happened", |event| {
        event.tag("n", 1);
    });
    span.error("it broke");
    let context = span.span_context().clone();
    span.end();
    tracer.span("ok").parent(&crate::Context::new().with_span_context(context.clone())).start().status(Status::Ok);
    tracer.shutdown(LONG).unwrap();

    let received = received.recv_timeout(LONG).unwrap();
    assert_eq!(received.request_line, "POST /v1/traces HTTP/1.1");
    assert_eq!(received.header("content-type"), Some("application/x-protobuf"));
    assert_eq!(received.header("x-tenant"), Some("a"));
    assert!(received.header("traceparent").is_none(), "the exporter does not trace itself");
    let request = ExportTraceServiceRequest::decode(&received.body[..]).unwrap();
    assert_eq!(request.encode_to_vec(), received.body, "byte for byte what the generated code writes");
    let resource = request.resource_spans[0].resource.as_ref().unwrap();
    assert_eq!(tag(&resource.attributes, "service.name"), Some(text("gallery")));
    assert_eq!(tag(&resource.attributes, "service.version"), Some(text("1.2")));
    assert_eq!(tag(&resource.attributes, "telemetry.sdk.language"), Some(text("rust")));
    assert_eq!(tag(&resource.attributes, "process.pid"), Some(Any::IntValue(std::process::id().into())));
    let scope = request.resource_spans[0].scope_spans[0].scope.as_ref().unwrap();
    assert_eq!(scope.name, "tracewell");

    let spans = received.spans();
    assert_eq!(spans.iter().map(|span| span.name.as_str()).collect::<Vec<_>>(), ["linked", "work", "ok"]);
    let work = &spans[1];
    assert_eq!(work.trace_id, context.trace_id.to_bytes());
    assert_eq!(work.span_id, context.span_id.to_bytes());
    assert_eq!(work.parent_span_id, [0xb7, 0xad, 0x6b, 0x71, 0x69, 0x20, 0x33, 0x31]);
    assert_eq!(work.trace_state, "vendor=1");
    assert_eq!((work.kind, work.flags), (2, 0x301));
    assert!(
        work.start_time_unix_nano > 1_600_000_000_000_000_000 && work.end_time_unix_nano >= work.start_time_unix_nano
    );
    for (key, expected) in [
        ("empty", text("")),
        ("zero", Any::IntValue(0)),
        ("false", Any::BoolValue(false)),
        ("zero float", Any::DoubleValue(0.0)),
        ("long", text(&"x".repeat(300))),
        ("negative", Any::IntValue(i64::MIN)),
        ("great", text("18446744073709551615")),
        ("pi", Any::DoubleValue(3.25)),
        ("texts", values(vec![text("a"), text("")])),
        ("ints", values(vec![Any::IntValue(1), Any::IntValue(-1)])),
        ("floats", values(vec![Any::DoubleValue(0.5)])),
        ("bools", values(vec![Any::BoolValue(true), Any::BoolValue(false)])),
    ] {
        assert_eq!(tag(&work.attributes, key), Some(expected), "{key}");
    }
    assert_eq!(work.events[0].name, "happened");
    assert_eq!(tag(&work.events[0].attributes, "n"), Some(Any::IntValue(1)));
    assert_eq!(work.links[0].span_id, linked.span_id.to_bytes());
    let status = work.status.as_ref().unwrap();
    assert_eq!((status.code, status.message.as_str()), (2, "it broke"));
    assert_eq!((spans[0].flags, spans[0].parent_span_id.len()), (0x103, 0));
    assert_eq!(spans[2].status.as_ref().unwrap().code, 1);
    assert_eq!(spans[2].parent_span_id, context.span_id.to_bytes());
}

#[test]
fn an_overloaded_receiver_is_tried_again_when_it_said_and_loses_nothing() {
    let answers = vec![
        answer("503 Service Unavailable", "retry-after: 7\r\n", b""),
        answer("429 Too Many Requests", "", b"slow down"),
        answer("200 OK", "", b""),
    ];
    let (endpoint, received) = serve(answers);
    let (sender, waits) = mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    let mut config = Config::new("gallery").endpoint(&endpoint);
    config.retry.wait = Some(std::sync::Arc::new(move |delay| sender.lock().unwrap().send(delay).unwrap()));
    let tracer = Tracer::new(config).unwrap();
    tracer.span("work").start().end();
    tracer.shutdown(LONG).unwrap();
    assert_eq!(tracer.stats().exported, 1);
    let bodies: Vec<_> = (0..3).map(|_| received.recv_timeout(LONG).unwrap().body).collect();
    assert!(bodies.iter().all(|body| *body == bodies[0]));
    let first: Duration = waits.try_recv().unwrap();
    assert!(first >= Duration::from_secs(7), "{first:?}");
    assert_eq!(waits.try_iter().count(), 1);
}

#[test]
fn answers_mean_what_the_protocol_says() {
    let partial = |rejected_spans| {
        let error_message = "too long".to_owned();
        let partial_success = Some(ExportTracePartialSuccess { rejected_spans, error_message });
        ExportTraceServiceResponse { partial_success }.encode_to_vec()
    };
    let answers = vec![
        answer("200 OK", "", &partial(3)),
        answer("200 OK", "", &partial(0)),
        answer("200 OK", "", b"\xff\xff not protobuf"),
        answer("400 Bad Request", "", b""),
        answer("302 Found", "location: http://127.0.0.1:1/\r\n", b""),
        answer("500 Internal Server Error", "", b""),
        answer("504 Gateway Timeout", "retry-after: Wed, 21 Oct 2015 07:28:00 GMT\r\n", b""),
        b"nonsense\r\n\r\n".to_vec(),
    ];
    let (endpoint, _received) = serve(answers);
    let mut exporter = exporter(&endpoint);
    let mut export = || exporter.post(&exporter.target.clone(), &[], exporter.timeout);
    assert_eq!(export(), Err(ExportError::PartlyRejected { rejected: 3, reason: "too long".to_owned() }));
    assert_eq!(export(), Ok(()));
    assert_eq!(export(), Ok(()));
    for _ in 0..3 {
        let result = export();
        assert!(matches!(result, Err(ExportError::Rejected(_))), "{result:?}");
    }
    assert!(matches!(export(), Err(ExportError::Retry { after: None, .. })));
    assert!(matches!(export(), Err(ExportError::Retry { after: None, .. })));
}

#[test]
fn what_has_become_of_spans_is_told_at_the_end_as_metrics() {
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
    use opentelemetry_proto::tonic::metrics::v1::metric::Data;
    use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
    let (endpoint, received) = serve(vec![answer("200 OK", "", b""), answer("400 Bad Request", "", b"")]);
    let tracer = Tracer::new(Config::new("gallery").endpoint(&endpoint)).unwrap();
    tracer.span("kept").start().end();
    tracer.flush(LONG).unwrap();
    tracer.span("refused").start().end();
    tracer.shutdown(LONG).unwrap();
    let [_, _, metrics] = [(); 3].map(|()| received.recv_timeout(LONG).unwrap());
    assert_eq!(metrics.request_line, "POST /v1/metrics HTTP/1.1");
    let request = ExportMetricsServiceRequest::decode(&metrics.body[..]).unwrap();
    let resource = request.resource_metrics[0].resource.as_ref().unwrap();
    assert_eq!(tag(&resource.attributes, "service.name"), Some(text("gallery")));
    let exported = &request.resource_metrics[0].scope_metrics[0].metrics[0];
    assert_eq!(exported.name, "otel.sdk.exporter.span.exported");
    let Some(Data::Sum(sum)) = &exported.data else { panic!("{exported:?}") };
    assert_eq!((sum.aggregation_temporality, sum.is_monotonic), (2, true));
    let points: Vec<_> = sum.data_points.iter().map(|p| (tag(&p.attributes, "error.type"), p.value.unwrap())).collect();
    let expected =
        [(None, 1), (Some("queue_full"), 0), (Some("rejected"), 1), (Some("unreachable"), 0), (Some("shutdown"), 0)];
    assert_eq!(points, expected.map(|(error, count)| (error.map(text), Value::AsInt(count))));
    assert!(sum.data_points[0].time_unix_nano >= sum.data_points[0].start_time_unix_nano);
}

#[test]
fn nobody_listening_is_a_reason_to_try_again() {
    // Nobody listens on port 1, whereas a port that is free now may be taken by another test.
    let result = post_to("http://127.0.0.1:1");
    assert!(matches!(result, Err(ExportError::Unreachable(_))), "{result:?}");
}

#[cfg(feature = "gzip")]
#[test]
fn a_compressed_body_says_so_and_is_the_same_inside() {
    let (endpoint, received) = serve(vec![]);
    let tracer = Tracer::new(Config::new("gallery").endpoint(&endpoint).gzip(true)).unwrap();
    tracer.span("work").start().end();
    tracer.shutdown(LONG).unwrap();
    let mut received = received.recv_timeout(LONG).unwrap();
    assert_eq!(received.header("content-encoding"), Some("gzip"));
    let compressed = std::mem::take(&mut received.body);
    flate2::read::GzDecoder::new(&compressed[..]).read_to_end(&mut received.body).unwrap();
    assert_eq!(received.spans()[0].name, "work");
}

#[test]
fn what_this_build_cannot_do_is_refused_when_it_is_configured() {
    let make = |url: &str, headers: &[(&str, &str)], gzip| {
        let headers: Vec<_> = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        OtlpExporter::of(Receiver { url: url.to_owned(), headers, gzip, ..Receiver::default() }).map(drop)
    };
    assert_eq!(make("https://x", &[], false).is_ok(), cfg!(feature = "tls"));
    assert_eq!(make("http://x", &[], true).is_ok(), cfg!(feature = "gzip"));
    let error = make("http://x", &[("authorization", "secret\n")], false).unwrap_err();
    assert!(error.contains("authorization") && !error.contains("secret"), "{error}");
}
