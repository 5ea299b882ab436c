//! What senders and askers get wrong: a clear error or a documented normalisation, and the neighbours are kept.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tracewell_e2e::Server;
use tracewell_e2e::protobuf::field;
use tracewell_sim::Workload;
use tracewell_wire::otlp;

const SECOND: u64 = 1_000_000_000;

struct Setup {
    server: Server,
    _data: tempfile::TempDir,
}

impl Setup {
    fn new() -> Self {
        let data = tempfile::tempdir().unwrap();
        Self { server: Server::start(data.path()).unwrap(), _data: data }
    }

    /// Sends spans as OTLP JSON and returns the answer.
    fn send(&self, spans: &[Value]) -> Value {
        let service = json!([{"key": "service.name", "value": {"stringValue": "clumsy"}}]);
        let body = json!({"resourceSpans": [{"resource": {"attributes": service}, "scopeSpans": [{"spans": spans}]}]});
        let (status, answer) = self.server.post("application/json", body.to_string().as_bytes()).unwrap();
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
        serde_json::from_slice(&answer).unwrap()
    }

    fn get(&self, path: &str) -> Value {
        let (status, answer) = self.server.get(path).unwrap();
        assert_eq!(status, 200, "{path}: {answer}");
        answer
    }

    /// A call that must be refused with 400 and blame a parameter.
    fn refused(&self, path: &str) -> (String, String) {
        let (status, answer) = self.server.get(path).unwrap();
        assert_eq!(status, 400, "{path}: {answer}");
        let error = &answer["error"];
        (error["field"].as_str().unwrap_or("").to_owned(), error["message"].as_str().unwrap().to_owned())
    }
}

fn trace_id(number: u8) -> String {
    format!("{number:032x}")
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

/// A span of 100 ms.
fn span(trace: u8, id: u64, parent: u64, start: u64) -> Value {
    let parent = if parent == 0 { String::new() } else { format!("{parent:016x}") };
    json!({
        "traceId": trace_id(trace), "spanId": format!("{id:016x}"), "parentSpanId": parent, "name": format!("op {id}"),
        "startTimeUnixNano": start.to_string(), "endTimeUnixNano": (start + SECOND / 10).to_string(),
    })
}

#[test]
fn trees_that_are_none_are_shown_with_a_note() {
    let setup = Setup::new();
    let start = now();
    let mut backwards = span(5, 1, 0, start);
    backwards["endTimeUnixNano"] = json!((start - SECOND).to_string());
    let twice = span(4, 1, 0, start);
    setup.send(&[
        // A span that is its own parent, two that are each other's, two roots, the same span twice, an end before the
        // start, and a parent that never came.
        span(1, 1, 1, start),
        span(2, 1, 2, start),
        span(2, 2, 1, start),
        span(3, 1, 0, start),
        span(3, 2, 0, start + 1),
        twice.clone(),
        twice,
        backwards,
        span(6, 1, 99, start),
    ]);
    for (trace, note, spans) in [
        (1, Some("self_parents"), 1),
        (2, Some("cycles"), 2),
        (3, None, 2),
        (4, Some("duplicates"), 1),
        (5, Some("negative_durations"), 1),
        (6, Some("orphans"), 1),
    ] {
        let detail = setup.get(&format!("/api/v1/traces/{}", trace_id(trace)));
        assert_eq!(detail["spans"].as_array().unwrap().len(), spans, "trace {trace}");
        for (name, count) in detail["notes"].as_object().unwrap() {
            assert_eq!(count.as_u64().unwrap(), u64::from(Some(name.as_str()) == note), "trace {trace}: {name}");
        }
    }
    let backwards = setup.get(&format!("/api/v1/traces/{}", trace_id(5)));
    assert_eq!(backwards["spans"][0]["duration_nanos"], 0);
    let kept = setup.get(&format!("/api/v1/traces/{}/otlp", trace_id(5)));
    let kept = &kept["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    assert_eq!(kept["endTimeUnixNano"], (start - SECOND).to_string(), "what was sent is given back");
}

#[test]
fn any_time_can_be_found_also_one_that_comes_a_day_late() {
    let setup = Setup::new();
    let start = now();
    let late = start - 86_400 * SECOND;
    // 1970, 2200 and the first nanosecond; and a trace of which half comes a day late.
    let times = [1_000, 7_258_118_400 * SECOND, 1];
    for (number, time) in (10..).zip(times) {
        setup.send(&[span(number, 1, 0, time)]);
    }
    setup.send(&[span(20, 1, 0, start)]);
    setup.send(&[span(20, 2, 1, late)]);
    for number in [10, 11, 12] {
        let detail = setup.get(&format!("/api/v1/traces/{}", trace_id(number)));
        assert_eq!(detail["start_unix_nano"], times[usize::from(number) - 10].to_string());
    }
    let found = setup.get("/api/v1/traces?start=0&end=2300-01-01T00:00:00Z&service=clumsy");
    assert_eq!(found["traces"].as_array().unwrap().len(), 4, "{found}");
    let found = setup.get("/api/v1/traces?start=-25h&end=-23h&service=clumsy");
    assert_eq!(found["traces"][0]["trace_id"], trace_id(20));
    assert_eq!(found["traces"][0]["spans"], 2, "the trace is whole although most of it is out of the window: {found}");
}

#[test]
fn questions_that_make_no_sense_are_told_so() {
    let setup = Setup::new();
    for (path, field) in [
        ("/api/v1/traces/not-hex", "trace_id"),
        ("/api/v1/traces/00000000000000000000000000000000", "trace_id"),
        ("/api/v1/traces/123456789012345678901234567890123", "trace_id"),
        ("/api/v1/traces?start=now&end=-1h", "start"),
        ("/api/v1/traces?min_duration=soon", "min_duration"),
        ("/api/v1/traces?min_duration=2s&max_duration=1s", "min_duration"),
        ("/api/v1/traces?limit=-1", "limit"),
        ("/api/v1/traces?limit=0", "limit"),
        ("/api/v1/traces?tag=novalue", "tag"),
        ("/api/v1/traces?servcie=cart", "servcie"),
        ("/api/v1/traces?cursor=mine", "cursor"),
        ("/api/v1/why?from=now&to=-1h", "from"),
    ] {
        let (blamed, message) = setup.refused(path);
        assert_eq!(blamed, field, "{path}: {message}");
    }
    let (status, _) = setup.server.get("/api/v1/traces/abc").unwrap();
    assert_eq!(status, 404, "an unknown trace is not found");
    // Jaeger's API has its own envelope.
    for (path, wanted) in
        [("/api/traces/not-hex", 400), ("/api/traces/abc", 404), ("/api/traces?service=a&start=2&end=1", 400)]
    {
        let (status, answer) = setup.server.get(path).unwrap();
        assert_eq!(status, wanted, "{path}: {answer}");
        assert_eq!(answer["errors"][0]["code"], wanted, "{path}: {answer}");
        assert!(!answer["errors"][0]["msg"].as_str().unwrap().is_empty());
    }
}

#[test]
fn noise_is_answered_and_harms_nobody() {
    let setup = Setup::new();
    let mut random = 7u64;
    let mut next = move || {
        // xorshift: the same bytes in every run.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    let good = otlp::encode_protobuf(&Workload::new(1).spans(50).requests(50).next().unwrap());
    let mut answers = std::collections::BTreeMap::<u16, usize>::new();
    for round in 0..300 {
        let body = match round % 3 {
            0 => good[..next() as usize % good.len()].to_vec(),
            1 => {
                let mut flipped = good.clone();
                flipped[next() as usize % good.len()] ^= 1 << (next() % 8);
                flipped
            }
            _ => (0..next() % 500).map(|_| next() as u8).collect(),
        };
        let content_type = if round % 2 == 0 { "application/x-protobuf" } else { "application/json" };
        let (status, answer) = setup.server.post(content_type, &body).unwrap();
        assert!(matches!(status, 200 | 400 | 413), "{status}: {}", String::from_utf8_lossy(&answer));
        *answers.entry(status).or_default() += 1;
    }
    assert!(answers[&200] > 10 && answers[&400] > 100, "{answers:?}");

    // Half a request, then nothing: the sender dies.
    let mut socket = TcpStream::connect(setup.server.address("otlp_http")).unwrap();
    write!(socket, "POST /v1/traces HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-protobuf\r\n").unwrap();
    write!(socket, "content-length: {}\r\n\r\n", good.len()).unwrap();
    socket.write_all(&good[..good.len() / 2]).unwrap();
    drop(socket);
    // What is not HTTP at all, at every door.
    for door in ["http", "otlp_http", "otlp_grpc"] {
        let mut socket = TcpStream::connect(setup.server.address(door)).unwrap();
        socket.write_all(&[0x16, 3, 1, 0, 200, 1, 0, 0]).unwrap();
        socket.shutdown(std::net::Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        // It may be answered or hung up on.
        let _ = socket.read_to_end(&mut answer);
    }

    // A body over the limit is read to its end, so that its sender hears why it is refused.
    let (status, answer) = setup.server.post("application/x-protobuf", &vec![0; 40 << 20]).unwrap();
    assert_eq!(status, 413);
    assert!(String::from_utf8_lossy(&answer).contains("--body-size"));

    setup.send(&[span(1, 1, 0, now())]);
    assert_eq!(setup.get(&format!("/api/v1/traces/{}", trace_id(1)))["spans"].as_array().unwrap().len(), 1);
    setup.server.stop().unwrap();
}

#[test]
fn a_span_with_too_much_on_it_is_cut_down_or_refused_and_its_neighbour_is_kept() {
    let setup = Setup::new();
    let start = now();
    let mut wide = span(1, 2, 0, start);
    // So many just fit into a body.
    let attributes = (0..1_000_000).map(|key| json!({"key": format!("{key:x}")}));
    wide["attributes"] = attributes.collect();
    let answer = setup.send(&[wide, span(1, 3, 0, start)]);
    let message = answer["partialSuccess"]["errorMessage"].as_str().unwrap_or_default();
    assert!(message.contains("span.attributes: more than 1024"), "the limit is named: {answer}");
    let detail = setup.get(&format!("/api/v1/traces/{}", trace_id(1)));
    let spans = detail["spans"].as_array().unwrap();
    let rejected: usize = answer["partialSuccess"]["rejectedSpans"].as_str().unwrap().parse().unwrap();
    assert_eq!(spans.len() + rejected, 2);
    assert!(spans.iter().any(|span| span["name"] == "op 3"), "the neighbour is there");
    assert!(spans.iter().all(|span| span["attributes"].as_array().unwrap().len() <= 1_024));
}

#[test]
fn a_value_nested_a_hundred_deep_is_refused_by_name() {
    let setup = Setup::new();
    let depth = 100;
    // JSON cannot be read any further, so the whole body is refused.
    let open = r#"{"arrayValue":{"values":["#.repeat(depth);
    let value = format!("{open}{{}}{}", "]}}".repeat(depth));
    let body = format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"attributes":[{{"key":"deep","value":{value}}}]}}]}}]}}]}}"#
    );
    let (status, answer) = setup.server.post("application/json", body.as_bytes()).unwrap();
    assert_eq!(status, 400);
    assert!(String::from_utf8_lossy(&answer).contains("recursion limit"), "{}", String::from_utf8_lossy(&answer));

    // In protobuf the span alone is refused. Both spans are built by field number, length and content.
    let span = |id: u8, attributes: &[u8]| {
        field(2, &[field(1, &[9; 16]), field(2, &[id; 8]), field(5, b"op"), attributes.to_vec()].concat())
    };
    let value = (0..depth).fold(Vec::new(), |value, _| field(5, &field(1, &value)));
    let deep = field(9, &[field(1, b"deep"), field(2, &value)].concat());
    let body = field(1, &field(2, &[span(1, &deep), span(2, &[])].concat()));
    let (status, answer) = setup.server.post("application/x-protobuf", &body).unwrap();
    assert_eq!(status, 200);
    assert_eq!(otlp::partial_success(&answer).0, 1);
    let detail = setup.get("/api/v1/traces/09090909090909090909090909090909");
    assert_eq!(detail["spans"].as_array().unwrap().len(), 1);
    assert_eq!(detail["spans"][0]["span_id"], "0202020202020202");
}
