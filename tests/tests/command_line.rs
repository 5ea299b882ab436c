//! The command line as its user meets it.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tracewell_e2e::{Server, normal, tracewell};
use tracewell_sim::Workload;
use tracewell_wire::otlp;

fn run(arguments: &[&str]) -> Output {
    Command::new(tracewell()).args(arguments).output().unwrap()
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A server with a thousand spans.
fn filled(data: &Path) -> Server {
    let server = Server::start(data).unwrap();
    for batch in Workload::new(3).spans(1_000).requests(1_000) {
        let (status, _) = server.post("application/x-protobuf", &otlp::encode_protobuf(&batch)).unwrap();
        assert_eq!(status, 200);
    }
    server
}

const ALWAYS: [&str; 4] = ["--from", "2000-01-01T00:00:00Z", "--to", "2100-01-01T00:00:00Z"];

/// Every trace of a server as lines of OTLP JSON, sorted.
fn everything(server: &Server) -> BTreeSet<String> {
    let (exported, text) = server.run(&[&["export"], &ALWAYS[..]].concat()).unwrap();
    assert!(exported);
    // A line is a trace; how spans are grouped within it is the exporter's choice.
    text.lines()
        .flat_map(|line| normal::from_otlp_json(&serde_json::from_str::<Value>(line).unwrap()))
        .map(|(_, span)| span.to_string())
        .collect()
}

#[test]
fn what_is_exported_imports_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let source = filled(&folder.path().join("source"));
    let original = everything(&source);
    assert_eq!(original.len(), 1_000);
    for (format, file) in [
        ("otlp-json", "traces.jsonl"),
        ("otlp-json", "traces.jsonl.gz"),
        ("otlp-json", "traces.jsonl.zst"),
        ("otlp-protobuf", "traces.pb"),
        ("otlp-protobuf", "traces.pb.zst"),
        ("jaeger-json", "traces.json"),
    ] {
        let path = folder.path().join(file);
        let path = path.to_str().unwrap();
        let (exported, _) = source.run(&[&["export", "--format", format, "-f", path], &ALWAYS[..]].concat()).unwrap();
        assert!(exported, "{file}");
        let target = Server::start(&folder.path().join(format!("to-{file}"))).unwrap();
        let (imported, _) = target.run(&["import", path]).unwrap();
        assert!(imported, "{file}");
        let copy = everything(&target);
        if format == "jaeger-json" {
            // Jaeger's format has microseconds and no scope attributes: the spans are there, not every digit.
            assert_eq!(copy.len(), original.len(), "{file}");
        } else {
            assert!(
                copy == original,
                "{file}: {} spans, of which {} equal",
                copy.len(),
                copy.intersection(&original).count()
            );
        }
    }
}

#[test]
fn questions_are_answered_for_people_and_for_machines() {
    let folder = tempfile::tempdir().unwrap();
    let server = filled(folder.path());
    let (_, services) = server.run(&["services"]).unwrap();
    let (_, json) = server.run(&["services", "--json"]).unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        services.lines().collect::<Vec<_>>(),
        json["services"].as_array().unwrap().iter().map(|s| s.as_str().unwrap()).collect::<Vec<_>>()
    );

    let (_, found) = server.run(&[&["search", "--json"], &ALWAYS[..]].concat()).unwrap();
    let found: Value = serde_json::from_str(&found).unwrap();
    let trace_id = found["traces"][0]["trace_id"].as_str().unwrap();
    let (_, table) = server.run(&[&["search"], &ALWAYS[..]].concat()).unwrap();
    assert!(table.contains(trace_id), "{table}");

    let (_, waterfall) = server.run(&["trace", trace_id]).unwrap();
    let operation = found["traces"][0]["root_operation"].as_str().unwrap();
    assert!(waterfall.contains(operation.split(' ').next().unwrap()), "{waterfall}");
    // Without leading zeros and in capitals it is the same trace.
    let (_, same) = server.run(&["trace", &trace_id.trim_start_matches('0').to_uppercase()]).unwrap();
    assert_eq!(same, waterfall);

    let (answered, why) = server.run(&[&["why"], &ALWAYS[..]].concat()).unwrap();
    assert!(answered && !why.is_empty());
    let (missing, _) = server.run(&["trace", "abc"]).unwrap();
    assert!(!missing, "an unknown trace is an error");

    // Compared with itself, nothing differs: each call path is there on both sides.
    let (_, compared) = server.run(&["compare", trace_id, trace_id, "--json"]).unwrap();
    let compared: Value = serde_json::from_str(&compared).unwrap();
    let paths = compared["paths"].as_array().unwrap();
    assert!(!paths.is_empty() && paths.iter().all(|path| path["a"] == path["b"]), "{compared}");
    assert_eq!(paths[0]["operation"], operation);
    let (_, table) = server.run(&["compare", trace_id, trace_id]).unwrap();
    assert_eq!(table.lines().skip_while(|line| !line.contains("CALL PATH")).count(), paths.len() + 1, "{table}");
    assert!(table.contains("Both make the same calls"), "{table}");

    let (_, folded) = server.run(&["critical-path", trace_id]).unwrap();
    let micros: u64 = folded.lines().map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum();
    let nanos = found["traces"][0]["duration_nanos"].as_u64().unwrap();
    let stacks = folded.lines().count() as u64;
    assert!((nanos / 1_000..=nanos / 1_000 + stacks).contains(&micros), "{micros} us of {nanos} ns: {folded}");
    let picture = folder.path().join("path.svg");
    let (drawn, _) =
        server.run(&[&["critical-path", "--svg", picture.to_str().unwrap()], &ALWAYS[..]].concat()).unwrap();
    assert!(drawn && std::fs::read_to_string(picture).unwrap().contains("<rect"));
}

#[test]
fn why_without_spans_says_where_to_send_them_and_otherwise_how_far_to_look_back() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(&folder.path().join("empty")).unwrap();
    let (answered, why) = server.run(&["why"]).unwrap();
    let (_, port) = server.address("otlp_http").rsplit_once(':').unwrap();
    assert!(
        answered && why.contains("There are no spans yet") && why.contains(&format!("port {port} (HTTP)")),
        "{why}"
    );

    let server = filled(&folder.path().join("filled"));
    let (_, why) = server.run(&["why", "--from", "2099-01-01T00:00:00Z", "--to", "2100-01-01T00:00:00Z"]).unwrap();
    let (_, newest) = why.split_once("the newest is from ").unwrap();
    let newest = newest.split([',', ' ']).next().unwrap().trim_end_matches('.');
    // What it names is understood as the start of a time, and reaches back far enough.
    let (_, why) = server.run(&["why", "--from", newest, "--to", "2100-01-01T00:00:00Z"]).unwrap();
    assert!(!why.contains("No spans are from this time"), "{why}");
}

#[test]
fn a_server_that_is_not_there_is_an_error_with_a_hint() {
    // Nobody listens on port 1.
    let address = "127.0.0.1:1";
    for arguments in [
        &["services"][..],
        &["search"],
        &["trace", "abc"],
        &["why"],
        &["export"],
        &["compare", "a", "b"],
        &["critical-path"],
    ] {
        let output = run(&[arguments, &["--url", &format!("http://{address}")]].concat());
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        let error = error(&output);
        assert!(error.contains(address) && error.contains("tracewell serve"), "{arguments:?}: {error}");
    }
}

#[test]
fn bad_arguments_name_themselves() {
    let version = run(&["version"]);
    assert!(version.status.success());
    assert!(String::from_utf8(version.stdout).unwrap().starts_with("tracewell 0."));

    assert_eq!(run(&["serve", "--http", "nonsense"]).status.code(), Some(2));
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("tracewell.toml");
    std::fs::write(&config, "memroy = \"1GiB\"\n").unwrap();
    let output = run(&["serve", "--config", config.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(error(&output).contains("memroy"), "{}", error(&output));

    let output = run(&["import", "/no/such/file.jsonl"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(error(&output).contains("/no/such/file.jsonl"), "{}", error(&output));
}

#[test]
fn a_door_or_a_directory_in_use_is_refused_and_said() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path()).unwrap();
    let free = ["--otlp-http", "127.0.0.1:0", "--otlp-grpc", "127.0.0.1:0"];

    let other = folder.path().join("other");
    let output =
        run(&[&["serve", "--data", other.to_str().unwrap(), "--http", server.address("http")], &free[..]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(error(&output).contains("--http") && error(&output).contains(server.address("http")), "{}", error(&output));

    let data = folder.path().to_str().unwrap();
    let output = run(&[&["serve", "--data", data, "--http", "127.0.0.1:0"], &free[..]].concat());
    assert_eq!(output.status.code(), Some(1));
    assert!(
        error(&output).contains("in use by another process") && error(&output).contains(data),
        "{}",
        error(&output)
    );

    let url = server.url();
    server.stop().unwrap();
    let gone = run(&["services", "--url", &url]);
    assert_eq!(gone.status.code(), Some(1), "after SIGTERM nobody answers");
    // And the next one takes the directory over.
    Server::start(folder.path()).unwrap().stop().unwrap();
}
