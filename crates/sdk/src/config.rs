//! Configuration: built in code, read from OpenTelemetry's environment variables, or both.

use crate::baggage::percent_decode;
use crate::clock::TimeSource;
use crate::limits::Limits;
use crate::otlp::OtlpExporter;
use crate::retry::RetryPolicy;
use crate::{Clock, Error, Exporter, Key, Propagators, Resource, Sampler, StdoutExporter, Value};
use std::fmt;
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
    exporter: Option<Box<dyn Exporter>>,
    endpoint: Option<String>,
    traces_endpoint: Option<String>,
    headers: Vec<(String, String)>,
    gzip: bool,
    export_timeout: Duration,
    /// The first thing found wrong, which `init` reports.
    problem: Option<String>,
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
            exporter: None,
            endpoint: None,
            traces_endpoint: None,
            headers: Vec::new(),
            gzip: false,
            export_timeout: Duration::from_secs(10),
            problem: None,
        }
    }

    /// The defaults, overruled by the environment. An empty variable counts as not set; a wrong one makes
    /// [`crate::init`] fail with its name.
    ///
    /// | variable | |
    /// |---|---|
    /// | `OTEL_SDK_DISABLED` | `true` records nothing |
    /// | `OTEL_SERVICE_NAME` | instead of the given name |
    /// | `OTEL_RESOURCE_ATTRIBUTES` | `key=value,key=value`, percent-encoded |
    /// | `OTEL_TRACES_SAMPLER`, `OTEL_TRACES_SAMPLER_ARG` | such as `parentbased_traceidratio` and `0.1` |
    /// | `OTEL_PROPAGATORS` | such as `tracecontext,baggage,b3`; also `b3multi`, `jaeger`, `none` |
    /// | `OTEL_EXPORTER_OTLP_ENDPOINT` | such as `http://localhost:4318`; `/v1/traces` is appended |
    /// | `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` | the whole URL, used as it is |
    /// | `OTEL_TRACES_EXPORTER` | `otlp`, `console` for the standard output, or `none`, which records nothing |
    /// | `OTEL_EXPORTER_OTLP_PROTOCOL`, `..._TRACES_PROTOCOL` | `http/protobuf`, the only one |
    /// | `OTEL_EXPORTER_OTLP_HEADERS`, `..._TRACES_HEADERS` | `name=value,name=value`, percent-encoded |
    /// | `OTEL_EXPORTER_OTLP_TIMEOUT`, `..._TRACES_TIMEOUT` | milliseconds |
    /// | `OTEL_EXPORTER_OTLP_COMPRESSION`, `..._TRACES_COMPRESSION` | `gzip` (with the feature `gzip`) or `none` |
    #[must_use]
    pub fn from_env(service_name: &str) -> Self {
        Self::from_lookup(service_name, |name| std::env::var(name).ok())
    }

    /// As [`Config::from_env`], with variables from elsewhere.
    #[must_use]
    pub fn from_lookup(service_name: &str, lookup: impl Fn(&str) -> Option<String>) -> Self {
        let get = |name: &str| lookup(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
        let traces_or_general = |suffix: &str| {
            get(&format!("OTEL_EXPORTER_OTLP_TRACES_{suffix}")).or_else(|| get(&format!("OTEL_EXPORTER_OTLP_{suffix}")))
        };
        let mut config = Self::new(service_name);
        config.disabled = get("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
        if let Some(list) = get("OTEL_RESOURCE_ATTRIBUTES") {
            for (key, value) in config.pairs("OTEL_RESOURCE_ATTRIBUTES", &list) {
                config.resource.set(key, value);
            }
        }
        if let Some(name) = get("OTEL_SERVICE_NAME") {
            config.resource.set("service.name", name);
        }
        if let Some(name) = get("OTEL_TRACES_SAMPLER") {
            match Sampler::from_names(&name, get("OTEL_TRACES_SAMPLER_ARG").as_deref()) {
                Ok(sampler) => config.sampler = sampler,
                Err(problem) => config.report(problem.to_owned()),
            }
        }
        if let Some(names) = get("OTEL_PROPAGATORS") {
            match Propagators::from_names(&names) {
                Ok(propagators) => config.propagators = propagators,
                Err(name) => config.report(format!("OTEL_PROPAGATORS names {name:?}, which is not known")),
            }
        }
        config.endpoint = get("OTEL_EXPORTER_OTLP_ENDPOINT");
        config.traces_endpoint = get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT");
        if let Some(list) = traces_or_general("HEADERS") {
            config.headers = config.pairs("OTEL_EXPORTER_OTLP_HEADERS", &list);
        }
        if let Some(timeout) = traces_or_general("TIMEOUT") {
            match timeout.parse() {
                Ok(millis) => config.export_timeout = Duration::from_millis(millis),
                Err(_) => config.report("OTEL_EXPORTER_OTLP_TIMEOUT must be a number of milliseconds".to_owned()),
            }
        }
        match traces_or_general("PROTOCOL").as_deref() {
            None | Some("http/protobuf") => {}
            Some(_) => config.report("OTEL_EXPORTER_OTLP_PROTOCOL must be http/protobuf, here as port 4318".to_owned()),
        }
        match get("OTEL_TRACES_EXPORTER").as_deref() {
            None | Some("otlp") => {}
            Some("none") => config.disabled = true,
            Some("console") => config = config.exporter(StdoutExporter),
            Some(_) => config.report("OTEL_TRACES_EXPORTER must be otlp, console or none".to_owned()),
        }
        match traces_or_general("COMPRESSION").as_deref() {
            None | Some("none") => {}
            Some("gzip") => config.gzip = true,
            Some(_) => config.report("OTEL_EXPORTER_OTLP_COMPRESSION must be gzip or none".to_owned()),
        }
        config
    }

    /// Where to send spans: the base URL of an OTLP/HTTP receiver. `/v1/traces` is appended.
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

    /// How long one attempt to export may take; 10 s unless told.
    #[must_use]
    pub fn export_timeout(mut self, timeout: Duration) -> Self {
        self.export_timeout = timeout;
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

    /// The exporter, given or made; called once.
    pub(crate) fn take_exporter(&mut self) -> Result<Box<dyn Exporter>, Error> {
        if let Some(problem) = self.problem.take() {
            return Err(Error::Config(problem));
        }
        if let Some(exporter) = self.exporter.take() {
            return Ok(exporter);
        }
        let exporter = OtlpExporter::new(&self.url(), &self.headers, self.gzip, self.export_timeout);
        exporter.map(|exporter| Box::new(exporter) as Box<dyn Exporter>).map_err(Error::Config)
    }

    fn url(&self) -> String {
        match (&self.traces_endpoint, &self.endpoint) {
            (Some(url), _) => url.clone(),
            (None, Some(base)) => format!("{}/v1/traces", base.trim_end_matches('/')),
            (None, None) => "http://localhost:4318/v1/traces".to_owned(),
        }
    }

    fn pairs(&mut self, name: &str, list: &str) -> Vec<(String, String)> {
        let mut pairs = Vec::new();
        for pair in list.split(',').filter(|pair| !pair.trim().is_empty()) {
            match pair.split_once('=') {
                Some((key, value)) if !key.trim().is_empty() => {
                    pairs.push((percent_decode(key.trim()), percent_decode(value.trim())));
                }
                _ => self.report(format!("{name} must be key=value pairs separated by commas")),
            }
        }
        pairs
    }

    fn report(&mut self, problem: String) {
        self.problem.get_or_insert(problem);
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers are left out: they carry credentials.
        f.debug_struct("Config")
            .field("resource", &self.resource)
            .field("sampler", &self.sampler)
            .field("disabled", &self.disabled)
            .field("endpoint", &self.endpoint)
            .field("traces_endpoint", &self.traces_endpoint)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
