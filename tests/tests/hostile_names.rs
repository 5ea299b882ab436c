//! Names that senders choose reach no terminal as anything but text.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tracewell_e2e::{Server, tracewell};

/// One of each kind: escape sequences, C1, DEL, line ends, direction, zero-width, separators, fillers, tags.
const HOSTILE: &str = "A\u{1b}]0;owned\u{7}\u{1b}[2J\u{1b}[31mB\u{9b}31mC\u{90}D\u{7f}E\r\nF\u{202e}egnp\u{202c}\u{2066}G\
                       \u{200b}\u{feff}H\u{2028}\u{85}I\tJ\u{8}K\u{ad}L\u{e0041}M\u{61c}";

/// What no output may hold; written apart from the program's own table, so that a gap there shows.
fn hidden(text: &str) -> Vec<char> {
    let is_hidden = |c: &char| {
        (c.is_control() && *c != '\n')
            || "\u{ad}\u{61c}\u{feff}\u{e0041}\u{2028}\u{2029}\u{200b}\u{202a}\u{202c}\u{202e}\u{2066}\u{2069}"
                .contains(*c)
    };
    text.chars().filter(is_hidden).collect()
}

/// The same without the colours that a waterfall, a help page or a log line has of its own.
fn without_colours(text: &str) -> String {
    ["0", "1", "2", "31", "4"].iter().fold(text.to_owned(), |text, code| text.replace(&format!("\u{1b}[{code}m"), ""))
}

/// Spans with the text in every place that a sender fills.
fn fill(server: &Server) -> Vec<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64 - 10_000_000_000;
    let attributes = json!([{"key": HOSTILE, "value": {"stringValue": HOSTILE}}]);
    let mut ids = Vec::new();
    for number in 1..=60u64 {
        let slow = if number.is_multiple_of(10) { 1_000_000_000 } else { 1_000_000 };
        let start = now + number * 10_000_000;
        let id = format!("{number:032x}");
        let span = |span: u64, parent: u64, took: u64| {
            json!({
                "traceId": id, "spanId": format!("{span:016x}"), "parentSpanId": if parent == 0 { String::new() } else { format!("{parent:016x}") },
                "name": format!("{HOSTILE} {parent}"), "kind": 2, "traceState": HOSTILE,
                "startTimeUnixNano": start.to_string(), "endTimeUnixNano": (start + took).to_string(), "attributes": attributes,
                "status": {"code": 2, "message": HOSTILE},
                "events": [{"timeUnixNano": start.to_string(), "name": HOSTILE, "attributes": attributes}],
            })
        };
        let resource = json!({"attributes": [{"key": "service.name", "value": {"stringValue": HOSTILE}}]});
        let body = json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{
            "scope": {"name": HOSTILE}, "spans": [span(number * 10, 0, slow + 100_000), span(number * 10 + 1, number * 10, slow)],
        }]}]});
        let (status, answer) = server.post("application/json", body.to_string().as_bytes()).unwrap();
        assert_eq!((status, String::from_utf8_lossy(&answer).as_ref()), (200, "{}"));
        ids.push(id);
    }
    ids
}

/// Runs a program on a terminal of so many columns; what came out, and what went to standard error.
fn on_terminal(command: &mut Command) -> (String, String) {
    let (master, slave) = terminal();
    let mut child = command.stdin(Stdio::null()).stdout(slave).stderr(Stdio::piped()).spawn().unwrap();
    // The command keeps its end of the terminal open, and the reader would wait for it.
    command.stdout(Stdio::null());
    let mut errors = child.stderr.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        // Linux says EIO when the last writer has closed.
        let _ = std::fs::File::from(master).read_to_end(&mut bytes);
        bytes
    });
    let mut said = String::new();
    errors.read_to_string(&mut said).unwrap();
    child.wait().unwrap();
    // The terminal turns each line feed into both.
    (String::from_utf8(reader.join().unwrap()).unwrap().replace("\r\n", "\n"), said)
}

#[allow(unsafe_code, reason = "the standard library opens no pseudo-terminals")]
fn terminal() -> (OwnedFd, OwnedFd) {
    let (mut master, mut slave) = (-1, -1);
    let null = std::ptr::null_mut();
    // SAFETY: both places are valid for a write, and null asks for the defaults.
    let opened = unsafe { libc::openpty(&mut master, &mut slave, null, null.cast(), null.cast()) };
    assert_eq!(opened, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: openpty succeeded, so both are open and nobody else's.
    unsafe { (OwnedFd::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) }
}

#[test]
fn no_command_prints_what_a_terminal_acts_on() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Server::start(&data).unwrap();
    let ids = fill(&server);
    let (a, b) = (ids[0].as_str(), ids[9].as_str());
    let picture = folder.path().join("path.svg");
    let picture = picture.to_str().unwrap();
    let question = format!("operation='{}'", HOSTILE.replace('\'', ""));
    let commands: &[&[&str]] = &[
        &["search"],
        &["search", "--json"],
        &["search", "--service", HOSTILE],
        &["search", "--service", "none such", "--from", HOSTILE],
        &["search", "--cursor", HOSTILE],
        &["trace", a],
        &["trace", a, "--json"],
        &["trace", HOSTILE],
        &["why"],
        &["why", "--service", HOSTILE],
        &["why", "--json"],
        &["compare", a, b],
        &["compare", a, b, "--json"],
        &["compare", &question, b],
        &["critical-path"],
        &["critical-path", a],
        &["critical-path", "--svg", picture],
        &["critical-path", "--svg", &format!("/none such/{HOSTILE}")],
        &["services"],
        &["services", "--json"],
        &["stats"],
        &["stats", "--json"],
        &["export"],
        &["export", "--format", "jaeger-json"],
        &["import", &format!("/none such/{HOSTILE}")],
        &["fsck", "--data", &format!("/none such/{HOSTILE}")],
        &["store", "stats", "--data", data.to_str().unwrap()],
        &["store", "stats", "--json", "--data", data.to_str().unwrap()],
        &["serve", "--http", HOSTILE],
        &["serve", "--config", &format!("/none such/{HOSTILE}")],
        &["serve", "--print-config", "--retention", HOSTILE],
        &[HOSTILE],
        &["search", HOSTILE],
        &["--log", HOSTILE, "version"],
        &["search", "--help"],
        &["--url", "http://[", "services"],
    ];
    for columns in ["40", "120", "300"] {
        for arguments in commands {
            let command = || {
                let mut command = Command::new(tracewell());
                command.args(*arguments).env("COLUMNS", columns).env("TRACEWELL_URL", server.url());
                command
            };
            let piped = command().output().unwrap();
            for text in [&piped.stdout, &piped.stderr] {
                let text = std::str::from_utf8(text).unwrap();
                assert_eq!(hidden(text), [], "{arguments:?} in a pipe of {columns} columns: {text:?}");
            }
            let (text, said) = on_terminal(&mut command());
            let text = without_colours(&text);
            assert_eq!(hidden(&text), [], "{arguments:?} on a terminal of {columns} columns: {text:?}");
            assert_eq!(hidden(&said), [], "{arguments:?} on a terminal of {columns} columns: {said:?}");
        }
    }
    let services = server.run(&["services"]).unwrap().1;
    assert_eq!(services.lines().count(), 1, "a service is a line: {services:?}");
    assert!(services.starts_with("A\\u{1b}]0;owned\\u{7}"), "{services:?}");
    let json: Value = serde_json::from_str(&server.run(&["services", "--json"]).unwrap().1).unwrap();
    assert_eq!(json["services"][0], HOSTILE, "the JSON says the same as before");
    let exported = server.run(&["export"]).unwrap().1;
    assert_eq!(exported.lines().count(), 60);
    assert!(exported.lines().all(|line| line.contains("\\u001b]0;owned") && line.contains("\\u202e")));
    let svg = std::fs::read_to_string(picture).unwrap();
    assert!(svg.chars().all(|c| c == '\n' || (!c.is_control() && !('\u{fffe}'..='\u{ffff}').contains(&c))), "{svg:?}");
    server.stop().unwrap();
    let checked = Command::new(tracewell()).args(["fsck", "--data", data.to_str().unwrap()]).output().unwrap();
    assert!(checked.status.success());
    assert_eq!(hidden(std::str::from_utf8(&checked.stdout).unwrap()), []);
}

#[test]
fn binary_data_is_not_written_to_a_terminal() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).unwrap();
    let mut command = Command::new(tracewell());
    let (text, said) =
        on_terminal(command.args(["export", "--format", "otlp-protobuf"]).env("TRACEWELL_URL", server.url()));
    assert!(text.is_empty() && said.contains("--output"), "{text:?} {said:?}");
}

/// A server that answers every request alike.
fn answering(status: &'static str, body: String) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut head = [0; 4096];
            let _ = connection.read(&mut head);
            let _ = write!(
                connection,
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
        }
    });
    url
}

#[test]
fn a_hostile_server_forges_no_line() {
    let forged = format!("no\nerror: forged {HOSTILE}");
    let refusing = json!({"error": {"code": "x", "field": HOSTILE, "message": forged}}).to_string();
    let strange = json!({"services": [HOSTILE, "a\nb"], "traces": [{"trace_id": HOSTILE, "root_service": HOSTILE}], "next_cursor": HOSTILE,
        "summary": HOSTILE, "findings": [{"kind": HOSTILE, "service": HOSTILE, "operation": HOSTILE, "sentence": HOSTILE, "since_unix_nano": HOSTILE, "examples": [HOSTILE]}],
        "caveats": [HOSTILE], "store": {"bucket": {"url": HOSTILE, "away": HOSTILE}}, "refused": [{"reason": HOSTILE}],
        "sdks": [{"service": HOSTILE, "dropped": [{"reason": HOSTILE}], "last_unix_nano": HOSTILE}], "paths": [{"service": HOSTILE, "operation": HOSTILE}],
        "spans": [{"service": HOSTILE, "name": HOSTILE}], "start_unix_nano": HOSTILE}).to_string();
    let file = tempfile::Builder::new().suffix(".jsonl").tempfile().unwrap();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    std::fs::write(file.path(), r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331","name":"a"}]}]}]}"#).unwrap();
    for url in [answering("400 Bad Request", refusing), answering("200 OK", strange)] {
        for arguments in [
            &["services"][..],
            &["search"],
            &["trace", "ab"],
            &["why"],
            &["stats"],
            &["compare", "a", "b"],
            &["export"],
        ] {
            let output = Command::new(tracewell()).args(arguments).env("TRACEWELL_URL", &url).output().unwrap();
            for text in [&output.stdout, &output.stderr] {
                let text = String::from_utf8_lossy(text);
                assert_eq!(hidden(&text), [], "{arguments:?}: {text:?}");
                assert!(text.lines().all(|line| !line.starts_with("error: forged")), "{arguments:?}: {text}");
            }
        }
        let import =
            Command::new(tracewell()).args(["import", &path(file.path()), "--otlp-url", &url]).output().unwrap();
        assert_eq!(hidden(&String::from_utf8_lossy(&import.stderr)), []);
    }
}
