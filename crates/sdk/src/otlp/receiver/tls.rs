//! Certificates and keys, from files.

use super::super::client::Tls;
use super::Receiver;
use crate::Config;
use rustls::client::WantsClientCert;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};
use std::path::Path;
use std::sync::Arc;

type Verified = ConfigBuilder<ClientConfig, WantsClientCert>;

/// Takes files that cannot be used out of the configuration; what is wrong with them.
pub(super) fn check_files(config: &mut Config) -> Vec<String> {
    let mut problems = Vec::new();
    let mut check = |path: &mut Option<std::path::PathBuf>, problem: Option<String>| {
        if let Some(problem) = problem {
            *path = None;
            problems.push(problem);
        }
    };
    let problem = config.ca_certificate.as_deref().and_then(|path| certificates(path).err());
    check(&mut config.ca_certificate, problem);
    let problem = config.client_certificate.as_deref().and_then(|path| certificates(path).err());
    check(&mut config.client_certificate, problem);
    let problem = config.client_key.as_deref().and_then(|path| key(path).err());
    check(&mut config.client_key, problem);
    if config.client_certificate.is_some() != config.client_key.is_some() {
        (config.client_certificate, config.client_key) = (None, None);
        problems.push("a client certificate needs its key, and the key its certificate: both are ignored".to_owned());
    }
    problems
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(certificates) if certificates.is_empty() => Err(format!("{} has no certificate", path.display())),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(feature = "webpki-roots")]
fn trusting_the_platform(builder: ConfigBuilder<ClientConfig, WantsVerifier>) -> Verified {
    builder.with_root_certificates(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() })
}

/// What is missing on the machine keeps no program from starting: exports fail, and it is said why.
#[cfg(not(feature = "webpki-roots"))]
fn trusting_the_platform(builder: ConfigBuilder<ClientConfig, WantsVerifier>) -> Verified {
    use rustls_platform_verifier::BuilderVerifierExt as _;
    builder.clone().with_platform_verifier().unwrap_or_else(|error| {
        let hint = "name a file in OTEL_EXPORTER_OTLP_CERTIFICATE, or build with tracewell's feature `webpki-roots`";
        crate::notice::say(false, format_args!("no receiver's certificate will be trusted ({error}): {hint}"));
        builder.with_root_certificates(RootCertStore::empty())
    })
}

pub(super) fn config(receiver: &Receiver) -> Result<Tls, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    let builder = match &receiver.ca_certificate {
        None => trusting_the_platform(builder),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).map_err(|error| format!("{}: {error}", path.display()))?;
            }
            builder.with_root_certificates(roots)
        }
    };
    let config = match (&receiver.client_certificate, &receiver.client_key) {
        (Some(certificate), Some(path)) => builder
            .with_client_auth_cert(certificates(certificate)?, key(path)?)
            .map_err(|error| format!("{}: {error}", certificate.display()))?,
        (None, None) => builder.with_no_client_auth(),
        _ => return Err("a client certificate needs its key, and the key its certificate".to_owned()),
    };
    Ok(Tls { config: Arc::new(config) })
}
