//! Export over gRPC to a real server: OpenTelemetry's own service.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::path::PathBuf;
use std::sync::{Mutex, mpsc};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use tonic::metadata::MetadataMap;
use tonic::transport::server::TcpIncoming;
use tonic::transport::{Certificate, Identity, Server, ServerTlsConfig};
use tonic::{Code, Request, Response, Status};
use tracewell::{Config, ExportError, Exporter as _, InMemoryExporter, Tracer};
use tracewell_tonic::OtlpExporter;

const LONG: Duration = Duration::from_secs(30);

type Answer = Result<ExportTraceServiceResponse, Status>;
type Received = (MetadataMap, ExportTraceServiceRequest);

/// Answers what the test tells it, then that all is well.
struct Receiver {
    answers: Mutex<Vec<Answer>>,
    received: mpsc::Sender<Received>,
}

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let (metadata, _, message) = request.into_parts();
        self.received.send((metadata, message)).ok();
        let answer = self.answers.lock().unwrap().pop();
        answer.unwrap_or_else(|| Ok(ExportTraceServiceResponse::default())).map(Response::new)
    }
}

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../sdk/tests/fixtures/tls").join(name)
}

/// A server on a runtime of its own; its address.
fn serve(answers: Vec<Answer>, is_encrypted: bool) -> (String, mpsc::Receiver<Received>) {
    serve_traced(answers, is_encrypted, Tracer::noop())
}

fn serve_traced(answers: Vec<Answer>, is_encrypted: bool, tracer: Tracer) -> (String, mpsc::Receiver<Received>) {
    let (sender, received) = mpsc::channel();
    let (address_sender, address) = mpsc::channel();
    let service = Receiver { answers: Mutex::new(answers), received: sender };
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            address_sender.send(format!("localhost:{}", listener.local_addr().unwrap().port())).unwrap();
            let mut server = Server::builder();
            if is_encrypted {
                let read = |name| std::fs::read(file(name)).unwrap();
                let identity = Identity::from_pem(read("server.pem"), read("server.key"));
                let tls = ServerTlsConfig::new().identity(identity);
                server = server.tls_config(tls.client_ca_root(Certificate::from_pem(read("ca.pem")))).unwrap();
            }
            let service = TraceServiceServer::new(service);
            let mut server = server.layer(tracewell_tonic::ServerLayer::new().tracer(tracer));
            server.add_service(service).serve_with_incoming(TcpIncoming::from(listener)).await.unwrap();
        });
    });
    (address.recv().unwrap(), received)
}

/// One span, to be offered to an exporter.
fn recorded() -> InMemoryExporter {
    let recorded = InMemoryExporter::new();
    let tracer = Tracer::new(Config::new("gallery").exporter(recorded.clone())).unwrap();
    tracer.span("work").start().end();
    tracer.shutdown(LONG).unwrap();
    recorded
}

fn exporter(endpoint: &str) -> OtlpExporter {
    OtlpExporter::new(&Config::new("gallery").endpoint(endpoint).export_timeout(LONG)).unwrap()
}

#[test]
fn a_tracers_spans_arrive_with_the_headers_that_the_environment_names() {
    let (address, received) = serve(Vec::new(), false);
    let config = Config::from_lookup("gallery", |name| match name {
        "OTEL_EXPORTER_OTLP_ENDPOINT" => Some(format!("http://{address}")),
        "OTEL_EXPORTER_OTLP_PROTOCOL" => Some("grpc".to_owned()),
        "OTEL_EXPORTER_OTLP_COMPRESSION" => Some("gzip".to_owned()),
        "OTEL_EXPORTER_OTLP_HEADERS" => Some("Api-Key=a%20b".to_owned()),
        _ => None,
    });
    let exporter = OtlpExporter::new(&config).unwrap();
    assert!(!format!("{exporter:?}").contains("a b"), "{exporter:?}");
    // Nothing is wrong with the environment: `strict` refuses what is.
    let tracer = Tracer::new(config.strict().exporter(exporter)).unwrap();
    tracer.span("work").tag("n", 1).start().end();
    let report = tracer.shutdown(LONG).unwrap();
    assert_eq!((report.stats.exported, report.lost()), (1, 0), "{report}");
    let (metadata, request) = received.recv_timeout(LONG).unwrap();
    assert_eq!(metadata.get("api-key").unwrap(), "a b");
    let spans = &request.resource_spans[0].scope_spans[0].spans;
    assert_eq!((spans.len(), &*spans[0].name), (1, "work"));
}

#[test]
fn what_the_receiver_answers_decides_whether_it_is_tried_again() {
    use ExportError::{PartlyRejected, Rejected, Retry};
    // `google.rpc.Status { details: [Any { type_url, value: RetryInfo { retry_delay: 3 s } }] }`
    let url = b"type.googleapis.com/google.rpc.RetryInfo";
    let mut retry_info = vec![0x1a, 48, 0x0a, 40];
    retry_info.extend_from_slice(url);
    retry_info.extend_from_slice(&[0x12, 4, 0x0a, 2, 0x08, 3]);
    let with_details = |code| Status::with_details(code, "busy", retry_info.clone().into());
    let partial = ExportTracePartialSuccess { rejected_spans: 1, error_message: "too old".to_owned() };
    let partly = ExportTraceServiceResponse { partial_success: Some(partial) };
    let answers = vec![
        Ok(partly),
        Err(Status::invalid_argument("no")),
        Err(Status::resource_exhausted("full")),
        Err(with_details(Code::ResourceExhausted)),
        Err(with_details(Code::Unavailable)),
        Err(Status::aborted("later")),
    ];
    let (address, _received) = serve(answers, false);
    let (recorded, mut exporter) = (recorded(), exporter(&format!("http://{address}")));
    let mut attempt = || recorded.export_to(&mut exporter).unwrap_err();
    let after = |seconds: Option<u64>, reason: &str| Retry {
        after: seconds.map(Duration::from_secs),
        reason: format!("the receiver answers {reason}"),
    };
    assert_eq!(attempt(), after(None, "Aborted: later"));
    assert_eq!(attempt(), after(Some(3), "Unavailable: busy"));
    assert_eq!(attempt(), after(Some(3), "ResourceExhausted: busy"));
    assert_eq!(attempt(), Rejected("the receiver answers ResourceExhausted: full".to_owned()));
    assert_eq!(attempt(), Rejected("the receiver answers InvalidArgument: no".to_owned()));
    assert_eq!(attempt(), PartlyRejected { rejected: 1, reason: "too old".to_owned() });
    assert_eq!(recorded.export_to(&mut exporter), Ok(()));
}

#[test]
fn a_program_ends_at_once_when_nobody_listens() {
    // Nobody listens on port 1.
    let error = recorded().export_to(&mut exporter("http://127.0.0.1:1")).unwrap_err();
    assert!(matches!(&error, ExportError::Unreachable(_)), "{error:?}");
    let error = recorded().export_to(&mut exporter("http://no-such-host.invalid:4317")).unwrap_err();
    assert!(matches!(&error, ExportError::Unreachable(_)), "{error:?}");
}

#[test]
fn a_receiver_that_never_answers_is_waited_for_as_long_as_is_told() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let config = Config::new("gallery").endpoint(&format!("http://{}", listener.local_addr().unwrap()));
    let mut exporter = OtlpExporter::new(&config.export_timeout(Duration::from_millis(50))).unwrap();
    let error = recorded().export_to(&mut exporter).unwrap_err();
    assert!(matches!(&error, ExportError::Retry { .. }), "{error:?}");
}

#[test]
fn an_encrypted_receiver_is_verified_and_shown_the_clients_certificate() {
    let (address, received) = serve(Vec::new(), true);
    let config = || Config::new("gallery").endpoint(&format!("https://{address}")).export_timeout(LONG);
    let known = config().ca_certificate(file("ca.pem")).client_certificate(file("client.pem"), file("client.key"));
    recorded().export_to(&mut OtlpExporter::new(&known).unwrap()).unwrap();
    assert_eq!(received.try_iter().count(), 1);
    recorded().export_to(&mut OtlpExporter::new(&config()).unwrap()).unwrap_err();
    assert_eq!(received.try_iter().count(), 0);
}

#[test]
fn what_it_cannot_be_made_of_is_named_without_secrets() {
    let problem = |config: Config| OtlpExporter::new(&config).unwrap_err().to_string();
    let to = |url: &str| Config::new("gallery").endpoint(url);
    assert!(problem(to("http://user:secret@host")).contains("authorization"));
    assert!(!problem(to("http://user:secret@host")).contains("secret"));
    assert!(problem(to("host:4317")).contains("http://"));
    assert!(problem(to("http://host").header("api key", "secret")).contains("\"api key\""));
    assert!(problem(to("https://host").ca_certificate("missing.pem")).contains("missing.pem"));
}

#[test]
fn a_receiver_without_metrics_is_not_told_of_them_again() {
    let asked = InMemoryExporter::new();
    let tracer = Tracer::new(Config::new("receiver").exporter(asked.clone())).unwrap();
    let (address, _received) = serve_traced(Vec::new(), false, tracer.clone());
    let mut exporter = exporter(&format!("http://{address}"));
    let stats = tracewell::Stats::default();
    exporter.report(&tracewell::Report::new(&stats, &[]));
    exporter.report(&tracewell::Report::new(&stats, &[]));
    // It goes on with spans.
    recorded().export_to(&mut exporter).unwrap();
    tracer.flush(LONG).unwrap();
    let names: Vec<_> = asked.spans().into_iter().map(|span| span.name).collect();
    assert_eq!(names, ["_OTHER", "opentelemetry.proto.collector.trace.v1.TraceService/Export"]);
}
