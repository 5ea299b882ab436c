//! The configuration that the environment has, in OpenTelemetry's variables. `docs/environment-variables.md` lists them.

use super::Config;
use crate::baggage::percent_decode;
use crate::otlp::{check_header, check_url, shown};
use crate::{Propagators, Sampler};
use std::fmt::Display;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Reads variables, and remembers what is wrong with them.
struct Env<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    problems: Vec<String>,
}

pub(super) fn read(service_name: &str, lookup: &dyn Fn(&str) -> Option<String>) -> Config {
    let mut env = Env { lookup, problems: Vec::new() };
    let mut config = Config::new(service_name);
    config.is_quiet = env.get("OTEL_LOG_LEVEL").is_some_and(|level| ["none", "off"].contains(&&*level.to_lowercase()));
    config.disabled = env.boolean("OTEL_SDK_DISABLED").unwrap_or(false);
    env.resource(&mut config);
    env.sampler(&mut config);
    env.propagators(&mut config);
    env.exporters(&mut config);
    env.receiver(&mut config);
    let before = std::mem::take(&mut env.problems);
    env.protocol(&config);
    env.compression(&mut config);
    config.exporter_problems = std::mem::replace(&mut env.problems, before);
    env.batches(&mut config);
    env.limits(&mut config);
    for name in ["OTEL_CONFIG_FILE", "OTEL_EXPERIMENTAL_CONFIG_FILE"] {
        if env.get(name).is_some() {
            env.problem(format!("{name} is not supported; the other variables count"));
        }
    }
    config.problems = env.problems;
    config
}

impl Env<'_> {
    fn get(&self, name: &str) -> Option<String> {
        (self.lookup)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// The variable for traces, or else the one for all signals: its name and value.
    fn otlp(&self, suffix: &str) -> Option<(String, String)> {
        let names = [format!("OTEL_EXPORTER_OTLP_TRACES_{suffix}"), format!("OTEL_EXPORTER_OTLP_{suffix}")];
        let values = names.map(|name| self.get(&name).map(|value| (name, value)));
        values.into_iter().flatten().next()
    }

    fn problem(&mut self, problem: String) {
        // One variable may be for several settings.
        if !self.problems.contains(&problem) {
            self.problems.push(problem);
        }
    }

    /// `value` must not be a secret.
    fn ignored(&mut self, name: &str, value: &str, expected: impl Display) {
        self.problem(format!("{name}={value:?} is ignored: {expected}"));
    }

    fn boolean(&mut self, name: &str) -> Option<bool> {
        let value = self.get(name)?;
        match value.to_ascii_lowercase().as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => {
                self.ignored(name, &value, "it is true or false");
                None
            }
        }
    }

    /// A number in a range.
    fn number<N: FromStr + PartialOrd>(&mut self, name: &str, least: N, expected: &str) -> Option<N> {
        let value = self.get(name)?;
        let number = value.parse().ok().filter(|number| *number >= least);
        if number.is_none() {
            self.ignored(name, &value, expected);
        }
        number
    }

    fn millis(&mut self, name: &str) -> Option<Duration> {
        self.number(name, 0, "it is a whole number of milliseconds").map(Duration::from_millis)
    }

    fn resource(&mut self, config: &mut Config) {
        let name = "OTEL_RESOURCE_ATTRIBUTES";
        for (key, value) in self.get(name).map(|list| self.pairs(name, &list)).unwrap_or_default() {
            config.resource.set(key, value);
        }
        if let Some(name) = self.get("OTEL_SERVICE_NAME") {
            config.resource.set("service.name", name);
        }
    }

    fn sampler(&mut self, config: &mut Config) {
        let argument = self.get("OTEL_TRACES_SAMPLER_ARG");
        let Some(name) = self.get("OTEL_TRACES_SAMPLER") else { return };
        let ratio = argument.as_deref().map(|text| text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio)));
        match Sampler::named(&name, ratio.flatten().unwrap_or(1.0)) {
            Some(sampler) => config.sampler = sampler,
            None => {
                let known = "it is always_on, always_off or traceidratio, or parentbased_ and one of them";
                return self.ignored("OTEL_TRACES_SAMPLER", &name, format_args!("{known}; recording every trace"));
            }
        }
        if name.ends_with("traceidratio") && ratio == Some(None) {
            let expected = "it is a number from 0 to 1; recording every trace";
            self.ignored("OTEL_TRACES_SAMPLER_ARG", &argument.unwrap_or_default(), expected);
        }
    }

    fn propagators(&mut self, config: &mut Config) {
        let Some(names) = self.get("OTEL_PROPAGATORS") else { return };
        let known = names.split(',').map(str::trim).filter(|name| !name.is_empty()).filter_map(|name| {
            Propagators::from_names(name)
                .inspect_err(|name| {
                    let known = "known are tracecontext, baggage, b3, b3multi, jaeger and none";
                    self.ignored("OTEL_PROPAGATORS", name, known);
                })
                .ok()
        });
        if let Some(propagators) = known.reduce(|all, one| all | one) {
            config.propagators = propagators;
        }
    }

    /// `OTEL_TRACES_EXPORTER`: one or several.
    fn exporters(&mut self, config: &mut Config) {
        let Some(names) = self.get("OTEL_TRACES_EXPORTER") else { return };
        let (mut otlp, mut none, mut console) = (false, false, false);
        for name in names.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match name {
                "otlp" => otlp = true,
                "none" => none = true,
                "console" | "logging" => console = true,
                _ => self.ignored("OTEL_TRACES_EXPORTER", name, "known are otlp, console and none"),
            }
        }
        if none && !otlp && !console {
            config.disabled = true;
        } else if none {
            self.ignored("OTEL_TRACES_EXPORTER", &names, "none stands for itself alone");
        }
        if otlp || console {
            (config.otlp, config.console) = (otlp, console);
        }
    }

    /// Where the receiver is, and how it is spoken to.
    fn receiver(&mut self, config: &mut Config) {
        let insecure = ["OTEL_EXPORTER_OTLP_TRACES_INSECURE", "OTEL_EXPORTER_OTLP_INSECURE"];
        let insecure = insecure.map(|name| self.boolean(name)).into_iter().flatten().next();
        let mut is_elsewhere = false;
        for (name, url) in [
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &mut config.traces_endpoint),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", &mut config.endpoint),
        ] {
            let Some(mut value) = self.get(name) else { continue };
            if let (false, Some(insecure)) = (value.contains("://"), insecure) {
                value = format!("{}://{value}", if insecure { "http" } else { "https" });
            }
            match check_url(&value) {
                Ok(()) => *url = Some(value),
                Err(problem) => {
                    is_elsewhere = true;
                    self.ignored(name, &shown(&value), problem);
                }
            }
        }
        // Credentials are for the receiver that was meant, and not for the one on this machine.
        is_elsewhere &= config.traces_endpoint.is_none() && config.endpoint.is_none();
        let headers = self.otlp("HEADERS").map(|(name, list)| {
            let pairs = self.pairs(&name, &list).into_iter();
            pairs
                .filter(|(key, value)| {
                    check_header(key, value).map_err(|problem| self.problem(format!("{name}: {problem}"))).is_ok()
                })
                .collect::<Vec<_>>()
        });
        config.headers = headers.filter(|_| !is_elsewhere).unwrap_or_default();
        if is_elsewhere {
            self.problem(format!("spans go to {}, without headers", config.url()));
        }
        if let Some((name, _)) = self.otlp("TIMEOUT")
            && let Some(timeout) = self.millis(&name)
        {
            config.export_timeout = timeout;
        }
        let file = |suffix| self.otlp(suffix).map(|(_, path)| PathBuf::from(path));
        config.ca_certificate = file("CERTIFICATE");
        config.client_key = file("CLIENT_KEY");
        config.client_certificate = file("CLIENT_CERTIFICATE");
        for problem in crate::otlp::check_files(config) {
            self.problem(problem);
        }
    }

    fn protocol(&mut self, config: &Config) {
        let Some((name, value)) = self.otlp("PROTOCOL").filter(|(_, value)| value != "http/protobuf") else { return };
        let url = config.url();
        let is_grpc_port = url.parse::<http::Uri>().is_ok_and(|url| url.port_u16() == Some(4317));
        if value == "grpc" && is_grpc_port {
            let hint = "gRPC is spoken by tracewell_tonic::OtlpExporter alone, and port 4317 takes nothing else: nothing will arrive. Set the endpoint to port 4318 with http/protobuf";
            self.ignored(&name, &value, hint);
        } else {
            self.ignored(&name, &value, format_args!("spans go to {} as http/protobuf, the only one", shown(&url)));
        }
    }

    fn compression(&mut self, config: &mut Config) {
        let Some((name, value)) = self.otlp("COMPRESSION") else { return };
        match value.as_str() {
            "none" => {}
            "gzip" if cfg!(feature = "gzip") => config.gzip = true,
            "gzip" => self.ignored(&name, &value, "it needs tracewell's feature `gzip`; not compressing"),
            _ => self.ignored(&name, &value, "it is gzip or none; not compressing"),
        }
    }

    /// `OTEL_BSP_*`.
    fn batches(&mut self, config: &mut Config) {
        if let Some(delay) = self.millis("OTEL_BSP_SCHEDULE_DELAY") {
            config.export_interval = delay.max(Duration::from_millis(1));
        }
        if let Some(timeout) = self.millis("OTEL_BSP_EXPORT_TIMEOUT") {
            config.retry.max_elapsed = Some(timeout).filter(|timeout| !timeout.is_zero());
        }
        const POSITIVE: &str = "it is a whole number from 1";
        if let Some(spans) = self.number("OTEL_BSP_MAX_QUEUE_SIZE", 1, POSITIVE) {
            config.max_queue_spans = spans;
        }
        if let Some(spans) = self.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 1, POSITIVE) {
            config.max_batch_spans = spans;
            if spans > config.max_queue_spans {
                let expected = format!("it is at most the size of the queue, {}", config.max_queue_spans);
                self.ignored("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", &spans.to_string(), expected);
            }
        }
        // The exporter is called for a whole batch, which has to fit.
        config.max_batch_spans = config.max_batch_spans.min(config.max_queue_spans);
    }

    /// Those of spans before those of everything.
    fn limits(&mut self, config: &mut Config) {
        let mut limit = |names: &[&str]| {
            let limits: Vec<_> = names.iter().map(|name| self.number(name, 0, "it is a whole number")).collect();
            limits.into_iter().flatten().next()
        };
        let limits = &mut config.limits;
        for (bound, names) in [
            (&mut limits.tags, &["OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT"][..]),
            (&mut limits.events, &["OTEL_SPAN_EVENT_COUNT_LIMIT"]),
            (&mut limits.links, &["OTEL_SPAN_LINK_COUNT_LIMIT"]),
            (&mut limits.event_tags, &["OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "OTEL_ATTRIBUTE_COUNT_LIMIT"]),
            (&mut limits.value_chars, &["OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"]),
        ] {
            if let Some(limit) = limit(names) {
                *bound = limit;
            }
        }
    }

    /// `key=value` pairs, percent-encoded. They may be secrets, and are not shown.
    fn pairs(&mut self, name: &str, list: &str) -> Vec<(String, String)> {
        let mut pairs = Vec::new();
        for (at, pair) in list.split(',').enumerate().filter(|(_, pair)| !pair.trim().is_empty()) {
            match pair.split_once('=') {
                Some((key, value)) if !key.trim().is_empty() => {
                    pairs.push((percent_decode(key.trim()), percent_decode(value.trim())));
                }
                _ => self.problem(format!("{name}: entry {} is ignored: it is not key=value", at + 1)),
            }
        }
        pairs
    }
}
