//! OpenTelemetry SDKs that nobody here wrote: what arrives equals what the SDK itself saw, field by field.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::process::Command;

use tracewell_e2e::normal::{self, Spans};
use tracewell_e2e::{Child, Server, clients};

/// Runs a client to its end against a fresh server and compares every span.
fn what_arrives_is_what_the_sdk_saw(client: impl FnOnce(&Server) -> Command, least_spans: usize) {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path()).unwrap();
    let printed = Child::start(&mut client(&server)).unwrap().finish().unwrap();
    let seen = normal::from_lines(&printed);
    assert!(seen.len() >= least_spans, "the client recorded {} spans:\n{printed}", seen.len());
    let trace_id = normal::text(seen.values().next().unwrap(), "traceId").to_owned();
    let arrived = normal::from_otlp_json(&server.trace(&trace_id).unwrap().expect("the trace arrived"));
    assert_same(&seen, &arrived);
    server.stop().unwrap();
}

fn assert_same(seen: &Spans, arrived: &Spans) {
    assert_eq!(seen.keys().collect::<Vec<_>>(), arrived.keys().collect::<Vec<_>>());
    for (id, span) in seen {
        for (field, value) in span.as_object().unwrap() {
            assert_eq!(&arrived[id][field], value, "{field} of span {id} ({})", span["name"]);
        }
    }
}

#[test]
fn python_over_http() {
    what_arrives_is_what_the_sdk_saw(
        |server| {
            let mut command = clients::python();
            command.args(["spans", "http", server.address("otlp_http")]);
            command
        },
        4,
    );
}

#[test]
fn python_over_grpc() {
    what_arrives_is_what_the_sdk_saw(
        |server| {
            let mut command = clients::python();
            command.args(["spans", "grpc", server.address("otlp_grpc")]);
            command
        },
        4,
    );
}

#[test]
fn node_over_http_in_json() {
    what_arrives_is_what_the_sdk_saw(|server| node("json", server.address("otlp_http")), 4);
}

#[test]
fn node_over_http_in_protobuf() {
    what_arrives_is_what_the_sdk_saw(|server| node("proto", server.address("otlp_http")), 4);
}

#[test]
fn node_over_grpc() {
    what_arrives_is_what_the_sdk_saw(|server| node("grpc", server.address("otlp_grpc")), 4);
}

fn node(protocol: &str, endpoint: &str) -> Command {
    let mut command = clients::node();
    command.args(["spans", protocol, endpoint]);
    command
}

#[test]
fn go_over_http_with_gzip() {
    what_arrives_is_what_the_sdk_saw(|server| go("http", server.address("otlp_http")), 4);
}

#[test]
fn go_over_grpc_with_gzip() {
    what_arrives_is_what_the_sdk_saw(|server| go("grpc", server.address("otlp_grpc")), 4);
}

fn go(protocol: &str, endpoint: &str) -> Command {
    let mut command = clients::go();
    command.args(["spans", protocol, endpoint]);
    command
}
