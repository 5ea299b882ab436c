//! Configuration: built in code, read from OpenTelemetry's environment variables, or both.

mod env;

use crate::clock::TimeSource;
use crate::exporter::{Exporters, Hook};
use crate::limits::Limits;
use crate::otlp::{OtlpExporter, Receiver, traces_url};
use crate::retry::RetryPolicy;
use crate::{Clock, Error, Exporter, Key, OnEnd, Propagators, Resource, Sampler, SpanData, StdoutExporter, Value};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// How to trace. Later calls overrule earlier ones, so code after [`Config::from_env`] overrules the environment.
pub struct Config {
    pub(crate) resource: Resource,
    pub(crate) sampler: Sampler,
    pub(crate) propagators: Propagators,
    pub(crate) disabled: bool,
    pub(crate) clock: TimeSource,
    pub(crate) limits: Limits,
    pub(crate) max_queue_spans: usize,
    pub(crate) max_queue_bytes: usize,
    pub(crate) max_batch_spans: usize,
    pub(crate) max_batch_bytes: usize,
    pub(crate) export_interval: Duration,
    pub(crate) shutdown_timeout: Duration,
    pub(crate) retry: RetryPolicy,
    pub(crate) pending_after: Option<Duration>,
    /// What to say when the exports fail and nobody listens to the log.
    pub(crate) is_quiet: bool,
    exporter: Option<Box<dyn Exporter>>,
    /// Print spans, too, or instead.
    console: bool,
    otlp: bool,
    endpoint: Option<String>,
    traces_endpoint: Option<String>,
    headers: Vec<(String, String)>,
    gzip: bool,
    export_timeout: Duration,
    pub(crate) on_end: Vec<Hook>,
    pub(crate) ca_certificate: Option<PathBuf>,
    pub(crate) client_certificate: Option<PathBuf>,
    pub(crate) client_key: Option<PathBuf>,
    /// What is wrong in the environment.
    problems: Vec<String>,
    /// And with what it asks of the exporter, which one of the program's own does not have to be able to.
    exporter_problems: Vec<String>,
    is_strict: bool,
}

impl Config {
    /// The defaults: everything sampled unless the parent says otherwise, sent to `http://localhost:4318`.
    #[must_use]
    pub fn new(service_name: &str) -> Self {
        Self {
            resource: Resource::detect(service_name),
            sampler: Sampler::default(),
            propagators: Propagators::default(),
            disabled: false,
            clock: TimeSource::System,
            limits: Limits::default(),
            max_queue_spans: 16_384,
            max_queue_bytes: 16 << 20,
            max_batch_spans: 2_048,
            max_batch_bytes: 1 << 20,
            export_interval: Duration::from_secs(1),
            shutdown_timeout: Duration::from_secs(2),
            retry: RetryPolicy::default(),
            pending_after: None,
            is_quiet: false,
            exporter: None,
            console: false,
            otlp: true,
            endpoint: None,
            traces_endpoint: None,
            headers: Vec::new(),
            gzip: false,
            export_timeout: Duration::from_secs(10),
            on_end: Vec::new(),
            ca_certificate: None,
            client_certificate: None,
            client_key: None,
            problems: Vec::new(),
            exporter_problems: Vec::new(),
            is_strict: false,
        }
    }

    /// The defaults, overruled by OpenTelemetry's environment variables: `OTEL_SERVICE_NAME`,
    /// `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_TRACES_SAMPLER` and the others in
    /// [environment-variables.md](https://github.com/tracewell/tracewell/blob/main/docs/environment-variables.md).
    ///
    /// An empty variable counts as not set. A value that is not understood is ignored with a warning in the log (or, when
    /// the program has none, on stderr): these variables are often set for all services of a cluster, and none of them may
    /// keep one from starting. [`Config::strict`] makes them errors.
    #[must_use]
    pub fn from_env(service_name: &str) -> Self {
        Self::from_lookup(service_name, |name| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()))
    }

    /// As [`Config::from_env`], with variables from elsewhere.
    #[must_use]
    pub fn from_lookup(service_name: &str, lookup: impl Fn(&str) -> Option<String>) -> Self {
        env::read(service_name, &lookup)
    }

    /// Makes [`crate::init`] fail when an environment variable has a value that is not understood, instead of ignoring it
    /// with a warning.
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.is_strict = true;
        self
    }

    /// Where to send spans: the base URL of an OTLP/HTTP receiver. `/v1/traces` is appended to its path; a query stays, a
    /// user and password become a header.
    #[must_use]
    pub fn endpoint(mut self, url: &str) -> Self {
        self.endpoint = Some(url.to_owned());
        self.traces_endpoint = None;
        self
    }

    /// Where to send spans: the whole URL.
    #[must_use]
    pub fn traces_endpoint(mut self, url: &str) -> Self {
        self.traces_endpoint = Some(url.to_owned());
        self
    }

    /// A header of each export, such as `authorization`.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Whether to compress exports; needs the feature `gzip`.
    #[must_use]
    pub fn gzip(mut self, gzip: bool) -> Self {
        self.gzip = gzip;
        self
    }

    /// How long one attempt to export may take; 10 s unless told. Zero is no limit.
    #[must_use]
    pub fn export_timeout(mut self, timeout: Duration) -> Self {
        self.export_timeout = timeout;
        self
    }

    /// How long the attempts to export one batch may take together; zero, the default, is no limit but the number of
    /// attempts, which take about a minute.
    #[must_use]
    pub fn batch_timeout(mut self, timeout: Duration) -> Self {
        self.retry.max_elapsed = Some(timeout).filter(|timeout| !timeout.is_zero());
        self
    }

    /// A file (PEM) with the certificates that the receiver's may be signed by, instead of those that the platform trusts.
    /// For `https://` endpoints, with the feature `tls`.
    #[must_use]
    pub fn ca_certificate(mut self, path: impl Into<PathBuf>) -> Self {
        self.ca_certificate = Some(path.into());
        self
    }

    /// Files (PEM) with the certificate chain and the key that the receiver knows this service by.
    #[must_use]
    pub fn client_certificate(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        self.client_certificate = Some(certificate.into());
        self.client_key = Some(key.into());
        self
    }

    /// The service's name.
    #[must_use]
    pub fn service_name(self, name: &str) -> Self {
        self.resource_tag("service.name", name)
    }

    /// A tag of the whole process, such as `service.version` or `deployment.environment.name`.
    #[must_use]
    pub fn resource_tag(mut self, key: impl Into<Key>, value: impl Into<Value>) -> Self {
        self.resource.set(key, value);
        self
    }

    /// Which traces are recorded.
    #[must_use]
    pub fn sampler(mut self, sampler: Sampler) -> Self {
        self.sampler = sampler;
        self
    }

    /// The formats in which contexts are sent and understood.
    #[must_use]
    pub fn propagators(mut self, propagators: Propagators) -> Self {
        self.propagators = propagators;
        self
    }

    /// Whether to record nothing at all; contexts still pass through.
    #[must_use]
    pub fn disabled(mut self, disabled: bool) -> Self {
        self.disabled = disabled;
        self
    }

    /// Another exporter than OTLP/HTTP, such as [`crate::InMemoryExporter`].
    #[must_use]
    pub fn exporter(mut self, exporter: impl Exporter) -> Self {
        self.exporter = Some(Box::new(exporter));
        self.exporter_problems.clear();
        (self.console, self.otlp) = (false, false);
        self
    }

    /// Shows each span to a function on its way out, which may change it or drop it: to take out what is secret, to add what is
    /// known, to send less. Of several, each sees what the ones before have left. It runs on the exporter's thread, where it
    /// may take its time, and does not see the context that the span ended in. A span at which it panics is dropped. Spans that
    /// are reported before their end ([`Config::report_pending_after`]) are shown, too.
    ///
    /// ```
    /// use tracewell::{Config, OnEnd};
    ///
    /// let config = Config::new("gallery").on_end(|span| {
    ///     span.remove_tag("user.email");
    ///     span.set_tag("deployment.ring", "canary");
    ///     if span.name == "GET /health" { OnEnd::Drop } else { OnEnd::Keep }
    /// });
    /// # drop(config);
    /// ```
    #[must_use]
    pub fn on_end(mut self, hook: impl FnMut(&mut SpanData) -> OnEnd + Send + 'static) -> Self {
        self.on_end.push(Box::new(hook));
        self
    }

    /// The greatest number of tags of one span, 128 unless told. More are dropped and counted in the span.
    #[must_use]
    pub fn max_tags(mut self, tags: usize) -> Self {
        self.limits.tags = tags;
        self
    }

    /// The greatest number of events of one span, 128 unless told. More are dropped and counted in the span.
    #[must_use]
    pub fn max_events(mut self, events: usize) -> Self {
        self.limits.events = events;
        self
    }

    /// The greatest number of links of one span, 128 unless told. More are dropped and counted in the span.
    #[must_use]
    pub fn max_links(mut self, links: usize) -> Self {
        self.limits.links = links;
        self
    }

    /// The greatest number of tags of one event, 128 unless told. More are dropped and counted in the event.
    #[must_use]
    pub fn max_event_tags(mut self, tags: usize) -> Self {
        self.limits.event_tags = tags;
        self
    }

    /// The greatest length of a text in a tag or status, in characters; 16,384 unless told. Longer ones are cut.
    #[must_use]
    pub fn max_value_chars(mut self, chars: usize) -> Self {
        self.limits.value_chars = chars;
        self
    }

    /// Another clock.
    #[must_use]
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = TimeSource::Custom(Arc::new(clock));
        self
    }

    /// Spans that may wait for the exporter (16,384 unless told); more are dropped and counted. Each thread may hold
    /// 64 more, and the batch being exported counts extra.
    #[must_use]
    pub fn max_queue_spans(mut self, spans: usize) -> Self {
        self.max_queue_spans = spans.max(1);
        self
    }

    /// Bytes of spans that may wait for the exporter (16 MiB unless told); more are dropped and counted. Each thread may
    /// hold 16 KiB more.
    #[must_use]
    pub fn max_queue_bytes(mut self, bytes: usize) -> Self {
        self.max_queue_bytes = bytes.max(1);
        self
    }

    /// Reports spans that are open for longer than this as they are, with the tag `tracewell.pending`, so that a request
    /// that hangs and a process that dies are seen. They are sent again, whole, when they end. Looked for once an
    /// [`Config::export_interval`]; off unless told.
    #[must_use]
    pub fn report_pending_after(mut self, open_for: Duration) -> Self {
        self.pending_after = Some(open_for);
        self
    }

    /// The greatest number of spans of one export; 2,048 unless told.
    #[must_use]
    pub fn max_batch_spans(mut self, spans: usize) -> Self {
        self.max_batch_spans = spans.max(1);
        self
    }

    /// About the greatest size of one export before compression; 1 MiB unless told. A span that is larger goes alone.
    #[must_use]
    pub fn max_batch_bytes(mut self, bytes: usize) -> Self {
        self.max_batch_bytes = bytes.max(1);
        self
    }

    /// How long a span may wait for others to be exported with; 1 s unless told.
    #[must_use]
    pub fn export_interval(mut self, interval: Duration) -> Self {
        self.export_interval = interval.max(Duration::from_millis(1));
        self
    }

    /// How long the guard may take to export the rest when it is dropped; 2 s unless told.
    #[must_use]
    pub fn shutdown_timeout(mut self, timeout: Duration) -> Self {
        self.shutdown_timeout = timeout;
        self
    }

    /// Says what is wrong in the environment, or fails for it.
    pub(crate) fn check(&mut self) -> Result<(), Error> {
        let mut problems = std::mem::take(&mut self.problems);
        problems.append(&mut self.exporter_problems);
        if self.is_strict && !problems.is_empty() {
            return Err(Error::Config(problems.join("; ")));
        }
        for problem in problems {
            crate::notice::say(self.is_quiet, format_args!("{problem}"));
        }
        Ok(())
    }

    /// The exporter, given or made; called once.
    pub(crate) fn take_exporter(&mut self) -> Result<Box<dyn Exporter>, Error> {
        if let Some(exporter) = self.exporter.take() {
            return Ok(exporter);
        }
        let otlp = if self.otlp { Some(self.otlp_exporter()?) } else { None };
        Ok(match (otlp, self.console) {
            (Some(otlp), true) => Box::new(Exporters::new(StdoutExporter).and(otlp)),
            (Some(otlp), false) => Box::new(otlp),
            (None, _) => Box::new(StdoutExporter),
        })
    }

    /// What it says of the receiver, for an exporter over gRPC.
    #[doc(hidden)]
    #[must_use]
    pub fn __receiver(&self) -> crate::__otlp::Receiver {
        let timeout = [Some(self.export_timeout).filter(|timeout| !timeout.is_zero()), self.retry.max_elapsed];
        crate::__otlp::Receiver {
            url: self.traces_endpoint.clone().or_else(|| self.endpoint.clone()),
            headers: self.headers.clone(),
            timeout: timeout.into_iter().flatten().min(),
            ca_certificate: self.ca_certificate.clone(),
            client_certificate: self.client_certificate.clone(),
            client_key: self.client_key.clone(),
        }
    }

    fn otlp_exporter(&mut self) -> Result<OtlpExporter, Error> {
        // The attempts of a batch are not longer than all of them together.
        let timeout = [Some(self.export_timeout).filter(|timeout| !timeout.is_zero()), self.retry.max_elapsed];
        let receiver = Receiver {
            url: self.url(),
            headers: std::mem::take(&mut self.headers),
            gzip: self.gzip,
            timeout: timeout.into_iter().flatten().min(),
            ca_certificate: self.ca_certificate.take(),
            client_certificate: self.client_certificate.take(),
            client_key: self.client_key.take(),
        };
        OtlpExporter::of(receiver).map_err(Error::Config)
    }

    fn url(&self) -> String {
        match (&self.traces_endpoint, &self.endpoint) {
            (Some(url), _) => url.clone(),
            (None, Some(base)) => traces_url(base),
            (None, None) => "http://localhost:4318/v1/traces".to_owned(),
        }
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers are left out: they carry credentials.
        f.debug_struct("Config")
            .field("resource", &self.resource)
            .field("sampler", &self.sampler)
            .field("disabled", &self.disabled)
            .field("url", &crate::otlp::shown(&self.url()))
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
