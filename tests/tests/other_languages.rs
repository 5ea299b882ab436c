//! The blocks of `docs/other-languages.md` do what they say: each is taken from the page, run as it stands, and its span is
//! there.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::path::Path;
use std::process::Command;

use tracewell_e2e::{Server, clients, workspace};

/// The first block of code below a heading.
fn block(heading: &str) -> String {
    let page = std::fs::read_to_string(workspace().join("docs/other-languages.md")).unwrap();
    let section = page.split(&format!("\n## {heading}\n")).nth(1).expect("the page has the section");
    let code = section.split("```").nth(1).expect("the section has a block");
    code.split_once('\n').expect("a block begins with its language").1.to_owned()
}

fn its_span_arrives(service: &str, command: impl FnOnce() -> Command) {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).unwrap();
    let endpoint = format!("http://{}", server.address("otlp_http"));
    let variables = [
        ("OTEL_SERVICE_NAME", service),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
    ];
    let output = command().envs(variables).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (_, found) = server.get(&format!("/api/v1/traces?service={service}&operation=upload")).unwrap();
    assert_eq!(found["traces"].as_array().map(Vec::len), Some(1), "{found}");
    server.stop().unwrap();
}

#[test]
fn go() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("main.go");
    std::fs::write(&file, block("Go")).unwrap();
    its_span_arrives("gallery-go", || {
        let mut command = Command::new("go");
        command.arg("run").arg(&file).current_dir(workspace().join("tests/clients/go"));
        command
    });
}

#[test]
fn python() {
    its_span_arrives("gallery-python", || {
        let mut command = Command::new(clients::python().get_program());
        command.args(["-c", &block("Python")]);
        command
    });
}

#[test]
fn node() {
    its_span_arrives("gallery-node", || {
        let client = clients::node();
        let beside = Path::new(client.get_args().next().unwrap()).with_file_name("other-languages.mjs");
        std::fs::write(&beside, block("Node")).unwrap();
        let mut command = Command::new("node");
        command.arg(beside);
        command
    });
}

#[test]
fn java_is_started_as_the_page_says() {
    // The agent itself is run by `sdks`; here it is the page that must name it so.
    assert!(block("Java").contains("-javaagent:opentelemetry-javaagent.jar"));
    let client = clients::java();
    let arguments: Vec<String> = client.get_args().map(|arg| arg.to_string_lossy().into_owned()).collect();
    assert!(arguments.iter().any(|arg| arg.starts_with("-javaagent:") && arg.ends_with("opentelemetry-javaagent.jar")));
}
