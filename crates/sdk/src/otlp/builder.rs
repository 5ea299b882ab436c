//! Making an exporter apart from a tracer's configuration.

use super::{OtlpExporter, Receiver, traces_url};
use crate::Error;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Where an exporter sends to, and how: see [`OtlpExporter::builder`].
pub struct OtlpBuilder {
    receiver: Receiver,
}

impl OtlpExporter {
    /// To the receiver with this base URL, to whose path `/v1/traces` is appended; a user and password in it become a header.
    #[must_use]
    pub fn builder(endpoint: &str) -> OtlpBuilder {
        let timeout = Some(Duration::from_secs(10));
        OtlpBuilder { receiver: Receiver { url: traces_url(endpoint), timeout, ..Receiver::default() } }
    }
}

impl OtlpBuilder {
    /// The whole URL instead.
    #[must_use]
    pub fn traces_endpoint(mut self, url: &str) -> Self {
        self.receiver.url = url.to_owned();
        self
    }

    /// A header of each export, such as `authorization`.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.receiver.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Whether to compress exports; needs the feature `gzip`.
    #[must_use]
    pub fn gzip(mut self, gzip: bool) -> Self {
        self.receiver.gzip = gzip;
        self
    }

    /// How long one attempt may take; 10 s unless told. Zero is no limit.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.receiver.timeout = Some(timeout).filter(|timeout| !timeout.is_zero());
        self
    }

    /// See [`crate::Config::ca_certificate`].
    #[must_use]
    pub fn ca_certificate(mut self, path: impl Into<PathBuf>) -> Self {
        self.receiver.ca_certificate = Some(path.into());
        self
    }

    /// See [`crate::Config::client_certificate`].
    #[must_use]
    pub fn client_certificate(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.receiver.client_certificate = Some(certificate.into());
        self.receiver.client_key = Some(key.into());
        self
    }

    /// The exporter. It connects when it has something to send.
    ///
    /// # Errors
    /// When the URL, a header or a file cannot be used.
    pub fn build(self) -> Result<OtlpExporter, Error> {
        OtlpExporter::of(self.receiver).map_err(Error::Config)
    }
}

impl fmt::Debug for OtlpBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers are left out: they carry credentials.
        f.debug_struct("OtlpBuilder").field("url", &super::shown(&self.receiver.url)).finish_non_exhaustive()
    }
}
