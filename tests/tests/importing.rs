//! `tracewell import`: whatever tools write, told by what is in it, and nothing lost without a word.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tracewell_e2e::{Server, tracewell};

/// An OTLP request of one span.
fn otlp(trace: u32) -> Value {
    json!({"resourceSpans": [{"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "shop"}}]},
        "scopeSpans": [{"scope": {"name": "lib"}, "spans": [{"traceId": format!("{trace:032x}"), "spanId": "0000000000000001",
            "name": "op", "startTimeUnixNano": "1785000000000000000", "endTimeUnixNano": "1785000000100000000"}]}]}]})
}

fn jaeger(trace: u32) -> Value {
    json!({"traceID": format!("{trace:x}"), "spans": [{"traceID": format!("{trace:x}"), "spanID": "1", "operationName": "op",
        "startTime": 1_785_000_000_000_000u64, "duration": 5, "processID": "p1"}], "processes": {"p1": {"serviceName": "shop"}}})
}

fn zipkin(trace: u32) -> Value {
    json!({"traceId": format!("{trace:016x}"), "id": "1", "name": "op", "timestamp": 1_785_000_000_000_000u64, "duration": 5,
        "localEndpoint": {"serviceName": "shop"}})
}

fn field(number: u8, content: &[u8]) -> Vec<u8> {
    assert!(content.len() < 128, "one byte holds the length");
    [&[number << 3 | 2, content.len() as u8], content].concat()
}

fn protobuf(trace: u32) -> Vec<u8> {
    let id = [&[0; 12][..], &trace.to_be_bytes()].concat();
    let span = [field(1, &id), field(2, &[1; 8]), field(5, b"op")].concat();
    field(1, &field(2, &field(2, &span)))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A server and a directory of files for it.
struct Place {
    server: Server,
    folder: tempfile::TempDir,
}

struct Outcome {
    code: i32,
    stored: u64,
    said: String,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { server: Server::start(&folder.path().join("data")).unwrap(), folder }
    }

    fn spans(&self) -> u64 {
        self.server.spans().unwrap()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(tracewell());
        command.args(["import", "--url", &self.server.url()]).env_remove("TRACEWELL_OTLP_URL");
        command
    }

    fn file(&self, name: &str, bytes: &[u8]) -> Outcome {
        let path = self.folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        self.paths(&[&path])
    }

    fn paths(&self, paths: &[&Path]) -> Outcome {
        let before = self.spans();
        self.outcome(before, self.command().args(paths).output().unwrap())
    }

    fn outcome(&self, before: u64, output: Output) -> Outcome {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Outcome {
            code: output.status.code().unwrap(),
            stored: self.spans() - before,
            said: text(&output.stdout) + &text(&output.stderr),
        }
    }

    fn reads(&self, what: &str, spans: u64, bytes: &[u8]) {
        let Outcome { code, stored, said } = self.file("spans", bytes);
        assert_eq!((code, stored), (0, spans), "{what}: {said}");
    }
}

#[test]
fn every_format_and_framing_is_told_by_what_is_in_it() {
    let place = Place::new();
    let mut last = 0;
    let mut next = || {
        last += 1;
        last
    };
    let lines = |documents: &[Value]| documents.iter().map(|one| format!("{one}\n")).collect::<String>();
    let (a, b) = (otlp(next()), otlp(next()));
    place.reads("OTLP JSON lines", 2, lines(&[a, b]).as_bytes());
    let indented = format!("{:#}\n{:#}\n", otlp(next()), otlp(next()));
    place.reads("indented documents one after another", 2, indented.as_bytes());
    place.reads("a list of documents", 2, json!([otlp(next()), otlp(next())]).to_string().as_bytes());
    place.reads("an answer of Tempo, v2", 1, json!({"trace": otlp(next())}).to_string().as_bytes());
    let batches = json!({"batches": otlp(next())["resourceSpans"].clone()});
    place.reads("an answer of Tempo, v1", 1, batches.to_string().as_bytes());
    place.reads("an answer of Jaeger, v3", 1, json!({"result": otlp(next())}).to_string().as_bytes());
    let one = otlp(next());
    place.reads("a ResourceSpans alone", 1, one["resourceSpans"][0].to_string().as_bytes());
    let one = otlp(next());
    place.reads("a ScopeSpans alone", 1, one["resourceSpans"][0]["scopeSpans"][0].to_string().as_bytes());
    let data = json!({"data": [jaeger(next()), jaeger(next())], "total": 0, "errors": null});
    place.reads("what Jaeger's UI downloads", 2, data.to_string().as_bytes());
    place.reads("Jaeger's traces, a line each", 2, lines(&[jaeger(next()), jaeger(next())]).as_bytes());
    place.reads("a list of Jaeger's traces, indented", 1, format!("{:#}", json!([jaeger(next())])).as_bytes());
    place.reads("Zipkin's spans", 2, json!([zipkin(next()), zipkin(next())]).to_string().as_bytes());
    place.reads("Zipkin's traces", 2, json!([[zipkin(next())], [zipkin(next())]]).to_string().as_bytes());
    place.reads("Zipkin's spans, a line each", 2, lines(&[zipkin(next()), zipkin(next())]).as_bytes());
    let mixed = lines(&[otlp(next()), jaeger(next()), json!([zipkin(next())])]);
    place.reads("all of them in one file", 3, mixed.as_bytes());

    place.reads("protobuf", 1, &protobuf(next()));
    place.reads("protobuf, joined", 2, &[protobuf(next()), protobuf(next())].concat());
    let delimited = |message: Vec<u8>| [vec![message.len() as u8], message].concat();
    place.reads("protobuf, delimited", 2, &[delimited(protobuf(next())), delimited(protobuf(next()))].concat());
    let framed = |message: Vec<u8>| [(message.len() as u32).to_be_bytes().to_vec(), message].concat();
    place.reads("the Collector's file, protobuf", 2, &[framed(protobuf(next())), framed(protobuf(next()))].concat());
    let compressed = framed(gzip(&protobuf(next())));
    place.reads("the Collector's file, each message packed", 1, &compressed);

    place.reads("gzip without a name for it", 1, &gzip(otlp(next()).to_string().as_bytes()));
    let joined = [gzip(lines(&[otlp(next())]).as_bytes()), gzip(lines(&[otlp(next())]).as_bytes())].concat();
    place.reads("gzip of two members", 2, &joined);
    place.reads("gzip in gzip", 1, &gzip(&gzip(&protobuf(next()))));
    let outcome = place.file("plain.json.gz", otlp(next()).to_string().as_bytes());
    assert_eq!((outcome.code, outcome.stored), (0, 1), "a name that is wrong: {}", outcome.said);

    place.reads("a byte order mark", 2, format!("\u{feff}{}", lines(&[otlp(next()), otlp(next())])).as_bytes());
    place.reads("a mark before Jaeger's", 1, format!("\u{feff}{}", json!({"data": [jaeger(next())]})).as_bytes());
    let utf_16 = |mark: &str, text: &str, bytes: fn(u16) -> [u8; 2]| -> Vec<u8> {
        format!("{mark}{text}").encode_utf16().flat_map(bytes).collect()
    };
    let text = |trace| lines(&[otlp(trace)]).replace("\"op\"", "\"ö𝄞\"");
    for (mark, bytes) in [
        ("\u{feff}", u16::to_le_bytes as fn(u16) -> [u8; 2]),
        ("\u{feff}", u16::to_be_bytes),
        ("", u16::to_le_bytes),
        ("", u16::to_be_bytes),
    ] {
        place.reads("UTF-16", 1, &utf_16(mark, &text(next()), bytes));
    }
    let names = place.server.get("/api/v1/operations?service=shop").unwrap().1.to_string();
    assert!(names.contains("ö𝄞"), "{names}");
    place.server.stop().unwrap();
}

#[test]
fn a_pipe_may_give_one_byte_at_a_time() {
    let place = Place::new();
    let indented = format!("{:#}", json!({"data": [jaeger(1)]}));
    for (input, spans) in [(indented.into_bytes(), 1), (gzip(otlp(2).to_string().as_bytes()), 1), (protobuf(3), 1)] {
        let before = place.spans();
        let mut child = place
            .command()
            .arg("-")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        for byte in input {
            stdin.write_all(&[byte]).unwrap();
            stdin.flush().unwrap();
        }
        drop(stdin);
        let outcome = place.outcome(before, child.wait_with_output().unwrap());
        assert_eq!((outcome.code, outcome.stored), (0, spans), "{}", outcome.said);
    }
    place.server.stop().unwrap();
}

#[test]
fn what_holds_no_spans_is_an_error_that_says_what_it_is() {
    let place = Place::new();
    let console = json!({"name": "work", "context": {"trace_id": "0x1", "span_id": "0x2"}, "parent_id": null, "start_time": "2026"});
    let model = json!({"spans": [{"traceId": "1", "spanId": "2", "operationName": "op"}]});
    for (input, said) in [
        (console.to_string(), "console exporter"),
        (model.to_string(), "storage model"),
        (json!({"hello": 1}).to_string(), "hello"),
        (json!({"resourceLogs": []}).to_string(), "OTLP logs"),
        (String::new(), "empty file"),
        ("{}".to_owned(), "without spans"),
        (json!({"data": []}).to_string(), "nothing"),
        ("just a text\n".to_owned(), "line 1"),
        ("\u{1}\u{2}\u{3}\u{4}\u{5}".to_owned(), "01 02 03 04"),
        ("PK\u{3}\u{4}".to_owned(), "a zip archive"),
        ("BZh91AY&SY".to_owned(), "bzip2"),
    ] {
        let outcome = place.file("file", input.as_bytes());
        assert_eq!((outcome.code, outcome.stored), (1, 0), "{input}: {}", outcome.said);
        assert!(outcome.said.contains(said), "{input}: {}", outcome.said);
        assert!(outcome.said.contains("no span is imported"), "{input}: {}", outcome.said);
    }
    place.server.stop().unwrap();
}

#[test]
fn what_is_broken_loses_itself_only_and_is_named() {
    let place = Place::new();
    let cut = otlp(3).to_string()[..200].to_owned();
    let framed = |message: Vec<u8>| [(message.len() as u32).to_be_bytes().to_vec(), message].concat();
    let bad_message = framed([field(1, &[0x12, 0x7f]), vec![0xff]].concat());
    let mut packed = gzip(format!("{}\n{}\n", otlp(20), otlp(21)).as_bytes());
    packed.truncate(packed.len() - 9);
    for (input, stored, named) in [
        (format!("{}\n{}\n{cut}", otlp(1), otlp(2)).into_bytes(), 2, "line 3"),
        (format!("{}\n10.0.0.1 - - \"POST / HTTP/1.1\" 200 -\n{}", otlp(4), otlp(5)).into_bytes(), 2, "line 2"),
        (format!("{cut}\n{}\n", otlp(6)).into_bytes(), 1, "line 1"),
        (format!("a log line\n{}\n", otlp(7)).into_bytes(), 1, "line 1"),
        (format!("{}\n{{\"hello\": 1}}\n", otlp(8)).into_bytes(), 1, "line 2"),
        (format!("{:#}\n{{\n  \"resourceSpans\": [\n{:#}\n", otlp(9), otlp(10)).into_bytes(), 2, "line"),
        ([framed(protobuf(11)), bad_message, framed(protobuf(12))].concat(), 2, "byte 42"),
        ([framed(protobuf(13)), framed(protobuf(14))[..20].to_vec()].concat(), 1, "ends within a message"),
    ] {
        let outcome = place.file("file", &input);
        assert_eq!((outcome.code, outcome.stored), (3, stored), "{named}: {}", outcome.said);
        assert!(outcome.said.contains(named), "{named}: {}", outcome.said);
    }
    // What could be unpacked is kept.
    let outcome = place.file("file", &packed);
    assert_eq!((outcome.code, outcome.stored > 0), (3, true), "{}", outcome.said);
    // A file that is not there does not stop the others.
    let good = place.folder.path().join("good");
    std::fs::write(&good, otlp(30).to_string()).unwrap();
    let outcome = place.paths(&[Path::new("/no/such/file"), &good]);
    assert_eq!((outcome.code, outcome.stored), (3, 1), "{}", outcome.said);
    assert!(outcome.said.contains("/no/such/file"), "{}", outcome.said);
    // A bad process or reference loses itself, and its spans are kept without a word of failure.
    let mut trace = jaeger(31);
    trace["processes"] = json!({"p1": 7});
    trace["spans"][0]["references"] = json!([{"refType": "CHILD_OF", "traceID": "0", "spanID": "0"}]);
    let outcome = place.file("file", trace.to_string().as_bytes());
    assert_eq!((outcome.code, outcome.stored), (0, 1), "{}", outcome.said);
    assert!(outcome.said.contains("processes"), "{}", outcome.said);
    place.server.stop().unwrap();
}

#[test]
fn batches_are_split_under_the_servers_limits() {
    let folder = tempfile::tempdir().unwrap();
    let limits = ["--spans-per-request", "100", "--body-size", "20KiB"];
    let server = Server::start_with(&folder.path().join("data"), &limits).unwrap();
    let place = Place { server, folder };
    let lines: String = (1..=450).map(|trace| format!("{}\n", otlp(trace))).collect();
    place.reads("450 spans", 450, lines.as_bytes());
    // One that is too large by itself is refused alone.
    let mut large = otlp(1000);
    large["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["name"] = json!("x".repeat(30_000));
    let outcome = place.file("file", format!("{}\n{large}\n{}\n", otlp(1001), otlp(1002)).as_bytes());
    assert_eq!((outcome.code, outcome.stored), (3, 2), "{}", outcome.said);
    assert!(outcome.said.contains("1 spans were refused by the server"), "{}", outcome.said);
    place.server.stop().unwrap();
}

#[test]
fn payloads_of_other_tracers_are_imported() {
    let corpora = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/receivers"));
    if !corpora.exists() {
        eprintln!("skipped: no payloads of others are here");
        return;
    }
    let place = Place::new();
    for folder in ["zipkin-v2", "zipkin-v1", "jaeger-integration/traces", "jaeger-ui", "edge"] {
        for entry in std::fs::read_dir(corpora.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            let is_other =
                ["thrift", "proto", "domain", "es_01", "empty_list"].iter().any(|other| name.contains(other));
            if !name.ends_with(".json") || is_other {
                continue;
            }
            let outcome = place.paths(&[&path]);
            assert_eq!((outcome.code, outcome.stored > 0), (0, true), "{name}: {}", outcome.said);
        }
    }
    place.server.stop().unwrap();
}
