//! Calls between a real client and a real server: OpenTelemetry's own service, for it is at hand.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use tokio::sync::Notify;
use tonic::transport::{Channel, Server};
use tonic::{Code, Request, Response, Status};
use tracewell::{Config, FutureExt as _, InMemoryExporter, SpanData, SpanKind, Tracer};

const METHOD: &str = "opentelemetry.proto.collector.trace.v1.TraceService/Export";

/// Answers as the metadata `wanted` tells, from within a span of its own; and says when it will never answer.
struct Service(Tracer, Arc<Notify>);

#[tonic::async_trait]
impl TraceService for Service {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        tokio::task::yield_now().await;
        let request_id = tracewell::Context::current().request_id().map(str::to_owned);
        self.0.span("handler").tag("request", request_id).start().end();
        match request.metadata().get("wanted").map(|wanted| wanted.to_str().unwrap()) {
            Some("missing") => Err(Status::not_found("secret")),
            Some("broken") => Err(Status::internal("secret")),
            Some("never") => {
                self.1.notify_one();
                std::future::pending().await
            }
            _ => Ok(Response::new(ExportTraceServiceResponse::default())),
        }
    }
}

fn tracer(name: &str) -> (Tracer, InMemoryExporter) {
    let exporter = InMemoryExporter::new();
    (Tracer::new(Config::new(name).exporter(exporter.clone())).unwrap(), exporter)
}

fn wanting(wanted: &'static str) -> Request<ExportTraceServiceRequest> {
    let mut request = Request::new(ExportTraceServiceRequest::default());
    request.metadata_mut().insert("wanted", wanted.parse().unwrap());
    request
}

fn text(span: &SpanData, key: &str) -> String {
    span.tag_value(key).and_then(|value| value.as_str()).unwrap_or("").to_owned()
}

#[tokio::test]
async fn a_call_is_one_trace_on_both_sides_and_ends_with_its_status() {
    let (client_tracer, client_spans) = tracer("client");
    let (server_tracer, server_spans) = tracer("server");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let never = Arc::new(Notify::new());
    let service = TraceServiceServer::new(Service(server_tracer.clone(), never.clone()));
    let layer = tracewell_tonic::ServerLayer::new().tracer(server_tracer.clone());
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    let server = tokio::spawn(Server::builder().layer(layer).add_service(service).serve_with_incoming(incoming));

    let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
    let layer = tracewell_tonic::ClientLayer::new().tracer(client_tracer.clone()).server(address.to_string());
    let mut client = TraceServiceClient::new(tower_layer::Layer::layer(&layer, channel.clone()));
    let parent = client_tracer.span("parent").start();
    let parent_id = parent.span_context().span_id;
    let work = async {
        let named = tracewell::Context::current().with_request_id("r-42");
        client.export(wanting("answer")).with_context(named).await.unwrap();
        assert_eq!(client.export(wanting("missing")).await.unwrap_err().code(), Code::NotFound);
        assert_eq!(client.export(wanting("broken")).await.unwrap_err().code(), Code::Internal);
        // Given up when it has come to the server.
        tokio::select! {
            answer = client.export(wanting("never")) => panic!("{answer:?}"),
            () = never.notified() => {}
        }
        // A method that the server does not have.
        let unknown = http::uri::PathAndQuery::from_static("/shop.Catalog/Find7");
        let mut grpc = tonic::client::Grpc::new(tower_layer::Layer::layer(&layer, channel));
        grpc.ready().await.unwrap();
        let codec = tonic_prost::ProstCodec::<ExportTraceServiceRequest, ExportTraceServiceResponse>::default();
        assert_eq!(grpc.unary(wanting("x"), unknown, codec).await.unwrap_err().code(), Code::Unimplemented);
    };
    work.in_span(parent).await;
    drop(client);
    server.abort();
    let _ = server.await;
    client_tracer.shutdown(Duration::from_secs(30)).unwrap();
    server_tracer.shutdown(Duration::from_secs(30)).unwrap();

    let mine = client_spans.spans();
    let theirs = server_spans.spans();
    let with_code = |spans: &[SpanData], code: &str| {
        let found: Vec<_> =
            spans.iter().filter(|span| text(span, "rpc.response.status_code") == code).cloned().collect();
        assert_eq!(found.len(), 1, "{code}: {spans:#?}");
        found[0].clone()
    };
    for (code, client_error, server_error) in [
        ("OK", false, false),
        ("NOT_FOUND", true, false),
        ("INTERNAL", true, true),
        ("CANCELLED", true, false),
        ("UNIMPLEMENTED", true, true),
    ] {
        let (client, server) = (with_code(&mine, code), with_code(&theirs, code));
        assert_eq!((client.kind, client.parent_span_id), (SpanKind::Client, Some(parent_id)), "{code}");
        assert_eq!((server.kind, server.parent_span_id), (SpanKind::Server, Some(client.context.span_id)), "{code}");
        assert_eq!(client.tag_value("error.type").is_some(), client_error, "{code}");
        assert_eq!(server.tag_value("error.type").is_some(), server_error, "{code}");
        assert_eq!(text(&client, "rpc.system.name"), "grpc");
        assert_eq!(text(&client, "server.address"), "127.0.0.1");
        assert_eq!(client.tag_value("server.port"), Some(&i64::from(address.port()).into()));
        if code != "UNIMPLEMENTED" {
            assert_eq!((&*client.name, &*server.name), (METHOD, METHOD));
            assert_eq!(text(&server, "rpc.method"), METHOD);
            let handler =
                |span: &&SpanData| span.name == "handler" && span.parent_span_id == Some(server.context.span_id);
            assert!(theirs.iter().any(|span| handler(&span)), "{code}");
        }
    }
    // The request's id goes along, and is made up where there is none.
    let requests: Vec<_> =
        theirs.iter().filter(|span| span.name == "handler").map(|span| text(span, "request")).collect();
    assert_eq!(text(&with_code(&theirs, "OK"), "request.id"), "r-42");
    assert_eq!(requests.iter().filter(|id| *id == "r-42").count(), 1, "{requests:?}");
    assert!(requests.iter().all(|id| id == "r-42" || id.len() == 32), "{requests:?}");
    let unknown = with_code(&theirs, "UNIMPLEMENTED");
    assert_eq!((&*unknown.name, text(&unknown, "rpc.method_original").as_str()), ("_OTHER", "shop.Catalog/Find7"));
    assert!(!format!("{mine:?}{theirs:?}").contains("secret"));
}
