//! What is small when it is sent and large when it is read: the server stays within its memory and goes on serving.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tracewell_e2e::protobuf::field;
use tracewell_e2e::{OrSkip, Server};
use tracewell_model::SpanBatch;
use tracewell_sim::Workload;
use tracewell_wire::otlp;

const MIB: usize = 1 << 20;
const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// A request of so many spans, each with this in it.
fn spans(count: u32, content: &[u8]) -> Vec<u8> {
    let span = |id: u32| {
        let ids = [field(1, &[7; 16]), field(2, &u64::from(id + 1).to_be_bytes())].concat();
        field(2, &[&ids, content].concat())
    };
    field(1, &field(2, &(0..count).flat_map(span).collect::<Vec<u8>>()))
}

/// A request of one span with a field that nobody knows, of so many zeros.
fn padded(zeros: usize) -> Vec<u8> {
    [spans(1, &[]), field(15, &vec![0; zeros])].concat()
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

fn zstd(body: &[u8]) -> Vec<u8> {
    zstd::encode_all(body, 3).unwrap()
}

/// A body with how it is written.
struct Sent {
    content_type: &'static str,
    encoding: &'static str,
    body: Vec<u8>,
}

impl Sent {
    fn new(content_type: &'static str, encoding: &'static str, plain: &[u8]) -> Self {
        let body = match encoding {
            "gzip" => gzip(plain),
            "zstd" => zstd(plain),
            _ => plain.to_vec(),
        };
        Self { content_type, encoding, body }
    }

    /// The status, over HTTP.
    fn post(&self, server: &Server) -> u16 {
        let agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(120)))
            .build();
        let post = ureq::Agent::from(agent)
            .post(format!("http://{}/v1/traces", server.address("otlp_http")))
            .header("content-type", self.content_type)
            .header("content-encoding", self.encoding)
            .send(&self.body[..]);
        post.unwrap().status().as_u16()
    }
}

/// Sends these at once: the statuses.
fn at_once(server: &Server, sent: &Sent, times: usize) -> Vec<u16> {
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..times).map(|_| scope.spawn(|| sent.post(server))).collect();
        senders.into_iter().map(|sender| sender.join().unwrap()).collect()
    })
}

/// An ordinary sender is served.
fn assert_serves(server: &Server) {
    let batch = Workload::new(3).spans(100).requests(100).next().unwrap();
    server.send(&otlp::encode_protobuf(&batch)).unwrap();
    let trace = batch.span(0).trace_id().to_string();
    assert!(server.trace(&trace).unwrap().is_some(), "what was acknowledged is there");
}

fn peak_mebibytes(server: &Server) -> u64 {
    server.peak_bytes().unwrap() >> 20
}

#[test]
fn a_list_of_zeros_is_refused_at_the_first() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).unwrap();
    let zeros = |before: &str, after: &str| [before, &"0,".repeat(30 * MIB), "0", after].concat();
    for (path, before, after) in [
        ("resourceSpans[0]", r#"{"resourceSpans":["#, "]}"),
        ("scopeSpans[0]", r#"{"resourceSpans":[{"scopeSpans":["#, "]}]}"),
    ] {
        let body = gzip(zeros(before, after).as_bytes());
        let answer = ureq::Agent::from(ureq::Agent::config_builder().http_status_as_error(false).build())
            .post(format!("http://{}/v1/traces", server.address("otlp_http")))
            .header("content-type", JSON)
            .header("content-encoding", "gzip")
            .send(&body[..])
            .unwrap();
        assert_eq!(answer.status().as_u16(), 400);
        let text = answer.into_body().read_to_string().unwrap();
        assert!(text.contains(path), "{text}");
    }
    let objects = ["{\"resourceSpans\":[", &"{},".repeat(20 * MIB), "{}]}"].concat();
    assert_eq!(Sent::new(JSON, "gzip", objects.as_bytes()).post(&server), 413);
    assert!(peak_mebibytes(&server) <= 512, "{} MiB", peak_mebibytes(&server));
    assert_serves(&server);
    server.stop().unwrap();
}

#[test]
fn bombs_at_once_are_charged_as_they_go_off() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).unwrap();
    for encoding in ["gzip", "zstd"] {
        let statuses = at_once(&server, &Sent::new(PROTOBUF, encoding, &padded(63 * MIB)), 32);
        assert!(statuses.iter().all(|status| matches!(status, 200 | 503)), "{statuses:?}");
        assert!(statuses.contains(&200), "one at a time they are taken: {statuses:?}");
    }
    assert!(peak_mebibytes(&server) <= 768, "{} MiB", peak_mebibytes(&server));
    assert_serves(&server);
    server.stop().unwrap();
}

#[test]
fn two_bytes_that_become_forty_are_charged_as_what_they_become() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).unwrap();
    for (what, content) in [("links", [0x6a, 0].repeat(10_000)), ("events", [0x5a, 0].repeat(10_000))] {
        let statuses = at_once(&server, &Sent::new(PROTOBUF, "gzip", &spans(3_000, &content)), 6);
        assert!(statuses.iter().all(|status| matches!(status, 413 | 503)), "{what}: {statuses:?}");
        let few = at_once(&server, &Sent::new(PROTOBUF, "gzip", &spans(20, &content)), 6);
        assert!(few.iter().all(|status| matches!(status, 200 | 503)), "{what}: {few:?}");
    }
    assert!(peak_mebibytes(&server) <= 768, "{} MiB", peak_mebibytes(&server));
    assert_serves(&server);
    server.stop().unwrap();
}

/// A unary call over HTTP/2, written by hand, up to the end of its answer.
fn call(server: &Server, encoding: &'static str, message: &[u8]) -> std::io::Result<()> {
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    };
    // HPACK: literal fields, not indexed, without Huffman codes.
    let literal = |name: &str, value: &str| {
        let text = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
        [vec![0], text(name), text(value)].concat()
    };
    let mut headers = Vec::new();
    for (name, value) in [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", "/opentelemetry.proto.collector.trace.v1.TraceService/Export"),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        headers.extend(literal(name, value));
    }
    if !encoding.is_empty() {
        headers.extend(literal("grpc-encoding", encoding));
    }
    let prefix = [&[u8::from(!encoding.is_empty())][..], &(message.len() as u32).to_be_bytes()].concat();
    let body = [&prefix, message].concat();
    let mut socket = TcpStream::connect(server.address("otlp_grpc")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
    let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    out.extend(frame(4, 0, 0, &[]));
    out.extend(frame(1, 4, 1, &headers));
    let parts = body.chunks(16_384).collect::<Vec<_>>();
    for (place, part) in parts.iter().enumerate() {
        out.extend(frame(0, u8::from(place + 1 == parts.len()), 1, part));
    }
    socket.write_all(&out)?;
    loop {
        let mut head = [0; 9];
        socket.read_exact(&mut head)?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        socket.read_exact(&mut payload)?;
        // Settings and pings are to be acknowledged, or the connection counts as dead.
        if matches!(head[3], 4 | 6) && head[4] & 1 == 0 {
            let echo = if head[3] == 6 { &payload[..] } else { &[] };
            socket.write_all(&frame(head[3], 1, 0, echo))?;
        }
        let is_end = matches!(head[3], 0 | 1) && head[4] & 1 == 1;
        // The end of the stream, or a reset of it.
        if is_end || head[3] == 3 {
            return Ok(());
        }
    }
}

/// A body of at most 64 KiB that is meant to do harm.
fn harmful(random: &mut fastrand::Rng, good: &[u8], good_json: &[u8]) -> Sent {
    let encodings = ["", "gzip", "zstd"];
    let mut encoding = encodings[random.usize(..3)];
    let many = |random: &mut fastrand::Rng| 1usize << random.u32(4..23);
    let (content_type, plain) = match random.u8(..10) {
        0 | 1 => {
            let mut body = good.to_vec();
            (0..random.usize(..8)).for_each(|_| body[random.usize(..good.len())] ^= 1 << random.u8(..8));
            (PROTOBUF, body)
        }
        2 => {
            let mut body = good_json.to_vec();
            (0..random.usize(..4)).for_each(|_| body[random.usize(..good_json.len())] ^= 1 << random.u8(..7));
            (JSON, body)
        }
        3 => {
            encoding = "gzip";
            (PROTOBUF, padded(random.usize(..63 * MIB)))
        }
        4 => {
            encoding = "zstd";
            (PROTOBUF, padded(random.usize(..63 * MIB)))
        }
        5 => {
            let content = [[0x4a, 0x5a, 0x6a][random.usize(..3)], 0].repeat(random.usize(..10_000));
            (PROTOBUF, spans(random.u32(1..1_500), &content))
        }
        6 => {
            let item = ["0", "null", "\"\"", "[]", "{}", "{\"a\":0}"][random.usize(..6)];
            let list = format!("[{}{item}]", format!("{item},").repeat(many(random) / item.len()));
            let place = random.usize(..6);
            let names = ["", "resourceSpans", "scopeSpans", "spans", "attributes", "x"];
            let mut body = list;
            for name in names[1..=place.clamp(1, 5)].iter().rev() {
                body = format!("{{\"{name}\":{body}}}");
                if *name != "resourceSpans" {
                    body = format!("[{body}]");
                }
            }
            (JSON, body.into_bytes())
        }
        7 => (JSON, ["[", "{\"a\":"][random.usize(..2)].repeat(many(random) / 4).into_bytes()),
        8 => {
            let key = "\\u0041".repeat(many(random) / 6);
            (
                JSON,
                format!("{{\"resourceSpans\":[{{\"scopeSpans\":[{{\"spans\":[{{\"{key}\":\"{key}\"}}]}}]}}]}}")
                    .into_bytes(),
            )
        }
        _ => (PROTOBUF, (0..random.usize(..2_000)).map(|_| random.u8(..)).collect()),
    };
    let mut sent = Sent::new(content_type, encoding, &plain);
    if sent.body.len() > 60 << 10 {
        sent = Sent::new(content_type, "zstd", &plain);
    }
    sent.body.truncate(60 << 10);
    sent
}

#[test]
fn nothing_of_64_kib_ends_a_server_with_a_gibibyte_of_addresses() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_under("ulimit -v 1048576", data.path(), &[]).unwrap();
    let good = Workload::new(5).spans(100).requests(100).next().unwrap();
    let (good, good_json) = (otlp::encode_protobuf(&good), otlp::encode_json(&good));
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= 1_000 {
                        return;
                    }
                    let sent = harmful(&mut fastrand::Rng::with_seed(number as u64), &good, &good_json);
                    if number % 3 == 2 {
                        let called = call(&server, sent.encoding, &sent.body);
                        called.unwrap_or_else(|error| panic!("call {number} of {} bytes: {error}", sent.body.len()));
                    } else {
                        let status = sent.post(&server);
                        assert!(matches!(status, 200 | 400 | 413 | 503), "request {number} was answered {status}");
                    }
                }
            });
        }
    });
    assert_serves(&server);
    server.stop().unwrap();
}

/// A control group with a limit of memory; removed when dropped.
struct Group(PathBuf);

impl Group {
    fn new(bytes: usize) -> Option<Self> {
        let name = format!("tracewell-test-{}", std::process::id());
        let found = [("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")]
            .iter()
            .find_map(|(root, file)| {
                let group = PathBuf::from(root).join(&name);
                std::fs::create_dir(&group).ok()?;
                if std::fs::write(group.join(file), bytes.to_string()).is_err() {
                    let _ = std::fs::remove_dir(&group);
                    return None;
                }
                Some(Self(group))
            });
        found.or_skip("no control group can be made here")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let begin = Instant::now();
        // The process that was in it takes a moment to be gone.
        while std::fs::remove_dir(&self.0).is_err() && begin.elapsed() < Duration::from_secs(10) {
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn a_container_of_512_mib_survives_the_worst_mix() {
    let Some(group) = Group::new(512 * MIB) else { return };
    let data = tempfile::tempdir().unwrap();
    let enter = format!("echo $$ > {}/cgroup.procs", group.0.display());
    let server = Server::start_under(&enter, data.path(), &[]).unwrap();
    let mut large = SpanBatch::new();
    Workload::new(7).spans(18_000).requests(500).for_each(|batch| large.append(&batch));
    let large = otlp::encode_json(&large);
    assert!((8 * MIB..16 * MIB).contains(&large.len()), "{}", large.len());
    let mix = [
        Sent::new(JSON, "", &large),
        Sent::new(PROTOBUF, "zstd", &padded(63 * MIB)),
        Sent::new(PROTOBUF, "gzip", &spans(500, &[0x6a, 0].repeat(2_000))),
        Sent::new(JSON, "gzip", ["{\"resourceSpans\":[", &"{},".repeat(20 * MIB), "{}]}"].concat().as_bytes()),
    ];
    std::thread::scope(|scope| {
        for sender in 0..16 {
            let (server, mix) = (&server, &mix);
            scope.spawn(move || {
                for round in 0..4 {
                    let sent = &mix[if sender < 8 { 0 } else { (sender + round) % 4 }];
                    let status = sent.post(server);
                    assert!(matches!(status, 200 | 413 | 503), "{status}");
                }
            });
        }
    });
    assert_serves(&server);
    server.stop().unwrap();
    drop(group);
}
