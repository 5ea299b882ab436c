//! A request to a receiver: the first byte chooses path, type, compression and protocol, the rest is the body.

#![no_main]

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Request, header};
use libfuzzer_sys::fuzz_target;
use tracewell_fuzz::{ask, runtime};
use tracewell_server::budget::MemoryBudget;
use tracewell_server::receive::{AllowedOrigins, ReceiveLimits, Receiver};
use tracewell_store::{MemoryOptions, MemoryStore};

const PATHS: [&str; 2] = ["/v1/traces", "/v1/metrics"];
const CALLS: [&str; 2] = [
    "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
    "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
];
const TYPES: [&str; 2] = ["application/x-protobuf", "application/json"];
const ENCODINGS: [&str; 4] = ["identity", "gzip", "deflate", "zstd"];

fuzz_target!(|input: &[u8]| {
    let Some((choice, body)) = input.split_first() else { return };
    let choice = usize::from(*choice);
    let limits = ReceiveLimits { decompressed_bytes: 1 << 20, ..ReceiveLimits::default() };
    let store = Arc::new(MemoryStore::new(MemoryOptions { most_bytes: 1 << 24, ..MemoryOptions::default() }));
    let budget = MemoryBudget::new(1 << 27);
    let receiver = Receiver::new(store, limits, &budget, AllowedOrigins::default());
    let encoding = ENCODINGS[choice / 4 % 4];
    let (router, head) = if choice / 16 % 2 == 0 {
        let head = Request::post(PATHS[choice % 2]).header(header::CONTENT_ENCODING, encoding);
        (receiver.http_router(), head.header(header::CONTENT_TYPE, TYPES[choice / 2 % 2]))
    } else {
        let head = Request::post(CALLS[choice % 2]).header("grpc-encoding", encoding);
        (receiver.grpc_router(), head.header(header::CONTENT_TYPE, "application/grpc"))
    };
    let request = head.body(Body::from(body.to_vec())).expect("it is a request");
    runtime().block_on(ask(&router, request));
});
