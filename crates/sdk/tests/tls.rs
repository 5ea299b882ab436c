//! Export to a receiver whose certificate a private authority has signed.

#![allow(clippy::unwrap_used, reason = "a failure in a test is the message")]

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use tracewell::{Config, ExportError, Exporters, InMemoryExporter, OtlpBuilder, OtlpExporter, Tracer};

const LONG: Duration = Duration::from_secs(30);

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tls").join(name)
}

/// A receiver that answers each connection's first request with 200, and wants to know its clients if told so; its URL.
fn receiver(knows_clients: bool) -> String {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions().unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file("ca.pem")).unwrap()).unwrap();
    let builder = if knows_clients {
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        builder.with_client_cert_verifier(verifier)
    } else {
        builder.with_no_client_auth()
    };
    let chain = vec![CertificateDer::from_pem_file(file("server.pem")).unwrap()];
    let key = PrivateKeyDer::from_pem_file(file("server.key")).unwrap();
    let config = Arc::new(builder.with_single_cert(chain, key).unwrap());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for socket in listener.incoming() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = StreamOwned::new(connection, socket.unwrap());
            // Refused certificates end here.
            if stream.read(&mut [0; 64]).is_ok() {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                stream.conn.send_close_notify();
                let _ = stream.flush();
                // What is left of the request, so that the answer is not lost with the connection.
                let _ = std::io::copy(&mut stream, &mut std::io::sink());
            }
        }
    });
    url
}

/// How many spans of one were sent, by a tracer.
fn exported(config: Config) -> u64 {
    let tracer = Tracer::new(config.shutdown_timeout(LONG)).unwrap();
    tracer.span("work").start().end();
    tracer.shutdown(LONG).unwrap().stats.exported
}

/// What one attempt to send a span comes to.
fn attempt(exporter: OtlpBuilder) -> Result<(), ExportError> {
    let recorded = InMemoryExporter::new();
    let tracer = Tracer::new(Config::new("test").exporter(recorded.clone())).unwrap();
    tracer.span("work").start().end();
    tracer.shutdown(LONG).unwrap();
    recorded.export_to(&mut exporter.timeout(LONG).build().unwrap())
}

#[test]
fn a_private_authority_is_trusted_when_its_certificate_is_named_and_not_else() {
    let url = receiver(false);
    assert_eq!(exported(Config::new("test").endpoint(&url).ca_certificate(file("ca.pem"))), 1);
    let error = attempt(OtlpExporter::builder(&url)).unwrap_err().to_string();
    assert!(error.contains("UnknownIssuer"), "{error}");
}

#[test]
fn a_receiver_that_wants_to_know_its_clients_is_shown_the_certificate() {
    let url = receiver(true);
    let config = Config::new("test").endpoint(&url).ca_certificate(file("ca.pem"));
    assert_eq!(exported(config.client_certificate(file("client.pem"), file("client.key"))), 1);
    attempt(OtlpExporter::builder(&url).ca_certificate(file("ca.pem"))).unwrap_err();
}

#[test]
fn an_exporter_of_its_own_sends_beside_others() {
    let url = receiver(true);
    let exporter = OtlpExporter::builder(&url).ca_certificate(file("ca.pem"));
    let exporter = exporter.client_certificate(file("client.pem"), file("client.key")).build().unwrap();
    let kept = InMemoryExporter::new();
    let both = Exporters::new(exporter).and(kept.clone());
    assert_eq!(exported(Config::new("test").exporter(both)), 1);
    assert_eq!(kept.spans().len(), 1);
}

#[test]
fn what_an_exporter_cannot_be_made_of_is_named_without_secrets() {
    let built = |endpoint: &str| OtlpExporter::builder(endpoint);
    let problem = |builder: OtlpBuilder| builder.build().unwrap_err().to_string();
    assert!(problem(built("ftp://user:secret@host")).contains("ftp://host/v1/traces"));
    assert!(problem(built("https://host").header("api key", "secret")).contains("\"api key\""));
    assert!(problem(built("https://host").ca_certificate("missing.pem")).contains("missing.pem"));
    let shown = format!("{:?}", built("https://user:secret@host?key=secret").header("a", "secret"));
    assert!(shown.contains("https://host/v1/traces") && !shown.contains("secret"), "{shown}");
}

/// Set in the children: what they export to.
const ENDPOINT: &str = "TRACEWELL_TEST_ENDPOINT";

/// On Linux the certificates that the platform trusts are those of a file, which a variable names.
#[test]
#[cfg(target_os = "linux")]
fn what_the_platform_trusts_is_trusted() {
    if let Ok(url) = std::env::var(ENDPOINT) {
        println!("outcome={:?}", attempt(OtlpExporter::builder(&url)));
        return;
    }
    let url = receiver(false);
    let says = |trusted: PathBuf| {
        let test = "what_the_platform_trusts_is_trusted";
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture"])
            .env(ENDPOINT, &url)
            .env("SSL_CERT_FILE", trusted)
            .env_remove("SSL_CERT_DIR")
            .output()
            .unwrap();
        format!("{}{}", String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr))
    };
    let trusting = says(file("ca.pem"));
    assert!(trusting.contains("outcome=Ok"), "{trusting}");
    // A machine without any certificates: the program runs, and says what is to be done.
    let without = says(file("make.sh"));
    assert!(without.contains("outcome=Err"), "{without}");
    assert!(without.contains("OTEL_EXPORTER_OTLP_CERTIFICATE"), "{without}");
}
