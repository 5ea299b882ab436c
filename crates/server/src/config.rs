//! What `serve` is told: flags over environment over the file over the defaults.

mod listen;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use serde::{Deserialize, Serialize};
use tracewell_store::{BucketOptions, NameLimits, OddTimes, TimeRules};
use tracewell_wire::Limits;

use crate::api::ApiLimits;
use crate::budget::MemoryBudget;
use crate::net::ConnectionLimits;
use crate::receive::{AllowedOrigins, ReceiveLimits};
pub use listen::Listen;

/// Each question that is answered has threads of its own.
const MAX_CONCURRENT_QUERIES: usize = 1_000;

/// Settings of `tracewell serve`. Each is a flag, an environment variable and a key of the configuration file.
#[derive(Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Directory for the spans; `:memory:` keeps nothing [default: ./tracewell-data]
    #[arg(long, env = "TRACEWELL_DATA", value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Keeps segments in a bucket of S3 or what speaks like it, such as `s3://bucket/prefix`: the directory then holds the
    /// log and a cache. Credentials and region come from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and their
    /// like. Segments that are in the directory already are served from there and moved in the background. A bucket that
    /// is away stops neither a start nor spans from being taken [default: in the directory]
    #[arg(long, env = "TRACEWELL_SEGMENTS", value_name = "URL")]
    pub segments: Option<String>,
    /// Server of the bucket if it is not AWS, such as `https://minio.example:9000`
    #[arg(long, env = "TRACEWELL_SEGMENTS_ENDPOINT", value_name = "URL")]
    #[serde(serialize_with = "shown_without_credentials")]
    pub segments_endpoint: Option<String>,
    /// Address of the UI and the HTTP APIs [default: 127.0.0.1:16686]
    #[arg(long, env = "TRACEWELL_HTTP", value_name = "ADDRESS")]
    pub http: Option<Listen>,
    /// Address of the OTLP/HTTP receiver [default: 127.0.0.1:4318]
    #[arg(long, env = "TRACEWELL_OTLP_HTTP", value_name = "ADDRESS")]
    pub otlp_http: Option<Listen>,
    /// Address of the OTLP/gRPC receiver [default: 127.0.0.1:4317]
    #[arg(long, env = "TRACEWELL_OTLP_GRPC", value_name = "ADDRESS")]
    pub otlp_grpc: Option<Listen>,
    /// Bytes of segments from the bucket that the directory holds, to be read faster [default: 10GiB]
    #[arg(long, env = "TRACEWELL_SEGMENTS_CACHE", value_name = "SIZE")]
    pub segments_cache: Option<String>,
    /// Bytes a second at which segments that the directory has are moved into the bucket; 0 is without limit
    /// [default: 32MiB]
    #[arg(long, env = "TRACEWELL_SEGMENTS_MOVE_RATE", value_name = "SIZE")]
    pub segments_move_rate: Option<String>,
    /// Takes the place of another directory that the bucket belongs to, once that one's server is stopped for good: if it
    /// still runs, it refuses spans from then on. Say it once, not always
    #[arg(long, env = "TRACEWELL_SEGMENTS_TAKE_OVER")]
    #[serde(skip)]
    pub segments_take_over: bool,
    /// Spans older than this are deleted, such as `7d` [default: kept for ever]
    #[arg(long, env = "TRACEWELL_RETENTION", value_name = "AGE")]
    pub retention: Option<String>,
    /// When segments take more bytes than this, the oldest are deleted, such as `10GiB` [default: without limit]
    #[arg(long, env = "TRACEWELL_RETENTION_SIZE", value_name = "SIZE")]
    pub retention_size: Option<String>,
    /// Deletes by what the clock says even while nothing confirms it. Without, a clock that leaps, or that is far from the
    /// times in the store at a start, deletes nothing until it has stayed there for ten minutes and the spans that arrive
    /// agree with it
    #[arg(long, env = "TRACEWELL_TRUST_CLOCK")]
    #[serde(skip_serializing_if = "is_false")]
    pub trust_clock: bool,
    /// A span that starts more than this ahead of the time at which it arrives is odd, as is one before 2000
    /// [default: 24h]
    #[arg(long, env = "TRACEWELL_FUTURE", value_name = "AGE")]
    pub future: Option<String>,
    /// What is done with spans of odd times, which are always counted: `keep`, `refuse`, or `clamp`, which lets them start
    /// when they arrive. Retention goes by the earlier of start and arrival whatever is done [default: keep]
    #[arg(long, env = "TRACEWELL_ODD_TIMES", value_name = "keep|refuse|clamp")]
    pub odd_times: Option<String>,
    /// Spans are refused while less than this is free on the disk of the data directory; questions go on
    /// [default: 1GiB, or 5 % of the disk if that is less]
    #[arg(long, env = "TRACEWELL_MIN_FREE_DISK", value_name = "SIZE")]
    pub min_free_disk: Option<String>,
    /// Memory for the whole process: 3/8 for requests on their way in, 1/4 for spans that are not in segments yet, 3/16 for
    /// questions, 1/16 for answers that are not sent yet, and 1/8 for all else. Over its part, senders and askers are told
    /// to come again. Less than 96MiB only makes segments smaller: the parts stay as they are for 96MiB. [default: half of
    /// what the control group, the machine or the resource limits leave, at most 512MiB]
    #[arg(long, env = "TRACEWELL_MEMORY", value_name = "SIZE")]
    pub memory: Option<String>,
    /// When a request is acknowledged: `group` (on disk, survives power loss) or `none` (survives the process's death)
    /// [default: group]
    #[arg(long, env = "TRACEWELL_COMMIT", value_name = "group|none")]
    pub commit: Option<String>,
    /// Largest body of a request as sent [default: 16MiB]
    #[arg(long, env = "TRACEWELL_BODY_SIZE", value_name = "SIZE")]
    pub body_size: Option<String>,
    /// Largest body of a request after decompression [default: 64MiB]
    #[arg(long, env = "TRACEWELL_DECOMPRESSED_SIZE", value_name = "SIZE")]
    pub decompressed_size: Option<String>,
    /// Memory that what one request says may take once it is decoded; more refuse the request [default: 64MiB]
    #[arg(long, env = "TRACEWELL_DECODED_SIZE", value_name = "SIZE")]
    pub decoded_size: Option<String>,
    /// Memory for requests on their way in, all together: bodies, what they decompress and decode to; over it senders are
    /// told to come again [default: 3/8 of --memory]
    #[arg(long, env = "TRACEWELL_IN_FLIGHT_SIZE", value_name = "SIZE")]
    pub in_flight_size: Option<String>,
    /// Spans in one request; more refuse the request [default: 1000000]
    #[arg(long, env = "TRACEWELL_SPANS_PER_REQUEST", value_name = "N")]
    pub spans_per_request: Option<u32>,
    /// Attributes of a span, event, link, scope or resource; a span with more is refused, its neighbours are kept
    /// [default: 1024]
    #[arg(long, env = "TRACEWELL_ATTRIBUTES_PER_SPAN", value_name = "N")]
    pub attributes_per_span: Option<u32>,
    /// Length of an attribute's key, or of its value; a span with a longer one is refused [default: 256KiB]
    #[arg(long, env = "TRACEWELL_ATTRIBUTE_SIZE", value_name = "SIZE")]
    pub attribute_size: Option<String>,
    /// Length of a span's name, its status message or its trace state; a span with a longer one is refused
    /// [default: 64KiB]
    #[arg(long, env = "TRACEWELL_NAME_SIZE", value_name = "SIZE")]
    pub name_size: Option<String>,
    /// Events of a span [default: 10000]
    #[arg(long, env = "TRACEWELL_EVENTS_PER_SPAN", value_name = "N")]
    pub events_per_span: Option<u32>,
    /// Links of a span [default: 10000]
    #[arg(long, env = "TRACEWELL_LINKS_PER_SPAN", value_name = "N")]
    pub links_per_span: Option<u32>,
    /// How long a question may take before it is ended and answered with 503, such as `30s`; a stream of traces, how long
    /// each part of it may take [default: 30s]
    #[arg(long, env = "TRACEWELL_QUERY_TIMEOUT", value_name = "AGE")]
    pub query_timeout: Option<String>,
    /// Maximum number of questions that are answered at once; others wait for at most the query timeout [default: 16]
    #[arg(long, env = "TRACEWELL_CONCURRENT_QUERIES", value_name = "N")]
    pub concurrent_queries: Option<usize>,
    /// Maximum number of services that are listed; of more, those with the most spans are [default: 10000]
    #[arg(long, env = "TRACEWELL_LISTED_SERVICES", value_name = "N")]
    pub listed_services: Option<usize>,
    /// Maximum number of operations, and of attribute keys, that are listed of each service, at most 4000
    /// [default: 1000]
    #[arg(long, env = "TRACEWELL_NAMES_PER_SERVICE", value_name = "N")]
    pub names_per_service: Option<usize>,
    /// Web origin whose pages may send spans, or `*`; may be repeated. Pages of this machine always may
    #[arg(long, env = "TRACEWELL_CORS_ORIGINS", value_name = "ORIGIN", value_delimiter = ',')]
    pub cors_origin: Vec<String>,
    /// Further host name by which browsers may ask the UI and the APIs, such as that of a proxy; may be repeated
    #[arg(long, env = "TRACEWELL_ALLOWED_HOSTS", value_name = "NAME", value_delimiter = ',')]
    pub allowed_host: Vec<String>,
    /// Maximum number of connections of a port at once; the one that has waited longest for a request makes room for another.
    /// The limit of open files may allow fewer [default: 4096]
    #[arg(long, env = "TRACEWELL_CONNECTIONS", value_name = "N")]
    pub connections: Option<u32>,
    /// Maximum number of requests at once in one HTTP/2 connection [default: 200]
    #[arg(long, env = "TRACEWELL_STREAMS", value_name = "N")]
    pub streams: Option<u32>,
    /// Maximum size of a request's head [default: 64KiB]
    #[arg(long, env = "TRACEWELL_HEADER_SIZE", value_name = "SIZE")]
    pub header_size: Option<String>,
    /// How long the head of a request may take [default: 10s]
    #[arg(long, env = "TRACEWELL_HEADER_TIMEOUT", value_name = "TIME")]
    pub header_timeout: Option<String>,
    /// How long a connection may be without a request [default: 60s]
    #[arg(long, env = "TRACEWELL_IDLE_TIMEOUT", value_name = "TIME")]
    pub idle_timeout: Option<String>,
    /// How long the body of a request may take [default: 30s]
    #[arg(long, env = "TRACEWELL_BODY_TIMEOUT", value_name = "TIME")]
    pub body_timeout: Option<String>,
    /// Minimum bytes a second of a body; 0 is without limit [default: 1KiB]
    #[arg(long, env = "TRACEWELL_BODY_RATE", value_name = "SIZE")]
    pub body_rate: Option<String>,
    /// How long a client may take nothing of an answer before it is cut off [default: 30s]
    #[arg(long, env = "TRACEWELL_WRITE_TIMEOUT", value_name = "TIME")]
    pub write_timeout: Option<String>,
    /// How long requests may take to end after SIGTERM or SIGINT; a second signal ends at once [default: 10s]
    #[arg(long, env = "TRACEWELL_DRAIN", value_name = "TIME")]
    pub drain: Option<String>,
}

/// The settings that hold, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where spans are kept; `None` is in memory only.
    pub data: Option<PathBuf>,
    /// The bucket of the segments; `None` keeps them in the directory.
    pub segments: Option<BucketOptions>,
    /// Address of the UI and the APIs.
    pub http: SocketAddr,
    /// Address of the OTLP/HTTP receiver.
    pub otlp_http: SocketAddr,
    /// Address of the OTLP/gRPC receiver.
    pub otlp_grpc: SocketAddr,
    /// Age after which spans are deleted.
    pub retention_age: Option<Duration>,
    /// Bytes of segments after which the oldest are deleted.
    pub retention_bytes: Option<u64>,
    /// Whether retention goes by a clock that nothing confirms.
    pub trust_clock: bool,
    /// Bytes that stay free on the disk; `None` is the store's default.
    pub min_free_bytes: Option<u64>,
    /// Memory for the whole process.
    pub memory_bytes: usize,
    /// Memory for requests on their way in, if it is not a part of the whole.
    pub in_flight_bytes: Option<usize>,
    /// Whether an acknowledged span survives power loss.
    pub durable: bool,
    /// What is received at most.
    pub receive: ReceiveLimits,
    /// Bounds on questions.
    pub queries: ApiLimits,
    /// How many names are listed.
    pub names: NameLimits,
    /// Web origins that may send spans.
    pub cors_origins: AllowedOrigins,
    /// The host of the UI's address, as it was given.
    pub http_name: String,
    /// Further host names by which the UI and the APIs may be asked.
    pub allowed_hosts: Vec<String>,
    /// Bounds on connections.
    pub connections: ConnectionLimits,
}

impl Config {
    /// The memory budget that these settings give.
    pub fn budget(&self) -> MemoryBudget {
        let budget = MemoryBudget::new(self.memory_bytes);
        match self.in_flight_bytes {
            Some(bytes) => budget.with_ingest_bytes(bytes),
            None => budget,
        }
    }
}

impl Settings {
    /// Reads a configuration file. An unknown key is an error that names it.
    pub fn from_file(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("in {}", path.display()))
    }

    /// These settings, and the others' where these say nothing.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            data: self.data.or(other.data),
            segments: self.segments.or(other.segments),
            segments_endpoint: self.segments_endpoint.or(other.segments_endpoint),
            segments_cache: self.segments_cache.or(other.segments_cache),
            segments_move_rate: self.segments_move_rate.or(other.segments_move_rate),
            segments_take_over: self.segments_take_over,
            http: self.http.or(other.http),
            otlp_http: self.otlp_http.or(other.otlp_http),
            otlp_grpc: self.otlp_grpc.or(other.otlp_grpc),
            retention: self.retention.or(other.retention),
            retention_size: self.retention_size.or(other.retention_size),
            trust_clock: self.trust_clock || other.trust_clock,
            future: self.future.or(other.future),
            odd_times: self.odd_times.or(other.odd_times),
            min_free_disk: self.min_free_disk.or(other.min_free_disk),
            memory: self.memory.or(other.memory),
            commit: self.commit.or(other.commit),
            body_size: self.body_size.or(other.body_size),
            decompressed_size: self.decompressed_size.or(other.decompressed_size),
            decoded_size: self.decoded_size.or(other.decoded_size),
            in_flight_size: self.in_flight_size.or(other.in_flight_size),
            spans_per_request: self.spans_per_request.or(other.spans_per_request),
            attributes_per_span: self.attributes_per_span.or(other.attributes_per_span),
            attribute_size: self.attribute_size.or(other.attribute_size),
            name_size: self.name_size.or(other.name_size),
            events_per_span: self.events_per_span.or(other.events_per_span),
            links_per_span: self.links_per_span.or(other.links_per_span),
            query_timeout: self.query_timeout.or(other.query_timeout),
            concurrent_queries: self.concurrent_queries.or(other.concurrent_queries),
            listed_services: self.listed_services.or(other.listed_services),
            names_per_service: self.names_per_service.or(other.names_per_service),
            cors_origin: if self.cors_origin.is_empty() { other.cors_origin } else { self.cors_origin },
            allowed_host: if self.allowed_host.is_empty() { other.allowed_host } else { self.allowed_host },
            connections: self.connections.or(other.connections),
            streams: self.streams.or(other.streams),
            header_size: self.header_size.or(other.header_size),
            header_timeout: self.header_timeout.or(other.header_timeout),
            idle_timeout: self.idle_timeout.or(other.idle_timeout),
            body_timeout: self.body_timeout.or(other.body_timeout),
            body_rate: self.body_rate.or(other.body_rate),
            write_timeout: self.write_timeout.or(other.write_timeout),
            drain: self.drain.or(other.drain),
        }
    }

    /// Checks every setting and fills in the defaults.
    pub fn check(self) -> Result<Config> {
        let address = |given: &Option<Listen>, name: &str, port| match given {
            None => Ok(SocketAddr::from(([127, 0, 0, 1], port))),
            Some(given) => given.resolve(name),
        };
        let size = |given: Option<String>, name: &str, default: u64| match given {
            None => Ok(default),
            Some(text) => size(&text).with_context(|| format!("{}: {text:?} is not a size such as 64MiB", named(name))),
        };
        let defaults = ReceiveLimits::default();
        let length = |given: Option<String>, name: &str, default: u32| {
            u32::try_from(size(given, name, default.into())?)
                .with_context(|| format!("{}: more than 4GiB", named(name)))
        };
        let times = times(self.odd_times.as_deref(), self.future.as_deref())?;
        let receive = ReceiveLimits {
            times,
            body_bytes: size(self.body_size, "body_size", defaults.body_bytes as u64)? as usize,
            decompressed_bytes: size(self.decompressed_size, "decompressed_size", defaults.decompressed_bytes as u64)?
                as usize,
            decoded_bytes: size(self.decoded_size, "decoded_size", defaults.decoded_bytes as u64)? as usize,
            request: Limits {
                spans_per_request: self.spans_per_request.unwrap_or(defaults.request.spans_per_request),
                attributes_per_span: self.attributes_per_span.unwrap_or(defaults.request.attributes_per_span),
                attribute_bytes: length(self.attribute_size, "attribute_size", defaults.request.attribute_bytes)?,
                events_per_span: self.events_per_span.unwrap_or(defaults.request.events_per_span),
                links_per_span: self.links_per_span.unwrap_or(defaults.request.links_per_span),
                name_bytes: length(self.name_size, "name_size", defaults.request.name_bytes)?,
            },
        };
        let time = |given: Option<String>, name: &str, default: Duration| match given {
            None => Ok(default),
            Some(text) => time(&text).with_context(|| format!("{}: {text:?} is not a time such as 10s", named(name))),
        };
        let limit = |given: Option<String>, name: &str, default: Duration| {
            let limit = time(given, name, default)?;
            anyhow::ensure!(!limit.is_zero(), "{}: it has to be more than 0", named(name));
            Ok(limit)
        };
        let count = |given: Option<u32>, name: &str, default: u32| match given {
            Some(0) => anyhow::bail!("{}: it has to be more than 0", named(name)),
            given => Ok(given.unwrap_or(default)),
        };
        let defaults = ConnectionLimits::default();
        let connections = ConnectionLimits {
            max_connections: count(self.connections, "connections", defaults.max_connections as u32)? as usize,
            max_streams: count(self.streams, "streams", defaults.max_streams)?,
            max_header_bytes: size(self.header_size, "header_size", defaults.max_header_bytes as u64)? as usize,
            header_timeout: limit(self.header_timeout, "header_timeout", defaults.header_timeout)?,
            idle_timeout: limit(self.idle_timeout, "idle_timeout", defaults.idle_timeout)?,
            body_timeout: limit(self.body_timeout, "body_timeout", defaults.body_timeout)?,
            min_body_rate: size(self.body_rate, "body_rate", defaults.min_body_rate)?,
            write_timeout: limit(self.write_timeout, "write_timeout", defaults.write_timeout)?,
            drain: time(self.drain, "drain", defaults.drain)?,
            max_unwanted_bytes: receive.body_bytes.saturating_mul(4),
        };
        anyhow::ensure!(
            connections.max_header_bytes >= 8192,
            "{}: the head of a request may need 8KiB; allow at least that",
            named("header_size")
        );
        let data = self.data.unwrap_or_else(|| PathBuf::from("tracewell-data"));
        for (name, url) in [("segments", &self.segments), ("segments_endpoint", &self.segments_endpoint)] {
            if let Some(shown) = url.as_deref().and_then(without_credentials) {
                anyhow::bail!(
                    "{}: {shown} has a user or a password in it, which a bucket does not take; set AWS_ACCESS_KEY_ID \
                     and AWS_SECRET_ACCESS_KEY instead",
                    named(name)
                );
            }
        }
        let cache_bytes = size(self.segments_cache, "segments_cache", 10 << 30)?;
        let move_bytes_per_second = size(self.segments_move_rate, "segments_move_rate", 32 << 20)?;
        let (endpoint, take_over) = (self.segments_endpoint, self.segments_take_over);
        let segments =
            self.segments.map(|url| BucketOptions { url, endpoint, cache_bytes, take_over, move_bytes_per_second });
        let mut queries = ApiLimits::default();
        if let Some(text) = self.query_timeout {
            let timeout = age(&text).filter(|timeout| !timeout.is_zero());
            queries.query_timeout =
                timeout.with_context(|| format!("query_timeout: {text:?} is not a duration such as 30s"))?;
        }
        let count = |given: Option<usize>, name: &str, default: usize, max: usize| match given {
            None => Ok(default),
            Some(given) => {
                anyhow::ensure!((1..=max).contains(&given), "{name}: {given} is not from 1 to {max}");
                Ok(given)
            }
        };
        queries.concurrent_queries =
            count(self.concurrent_queries, "concurrent_queries", queries.concurrent_queries, MAX_CONCURRENT_QUERIES)?;
        let mut names = NameLimits::default();
        names.services = count(self.listed_services, "listed_services", names.services, 20_000)?;
        names.per_service = count(self.names_per_service, "names_per_service", names.per_service, 4_000)?;
        let in_memory = data.as_os_str() == ":memory:";
        anyhow::ensure!(!in_memory || segments.is_none(), "{}: a store in memory writes none", named("segments"));
        let durable = match self.commit.as_deref() {
            None | Some("group") => true,
            Some("none") => false,
            Some(other) => anyhow::bail!("{}: {other:?} is neither group nor none", named("commit")),
        };
        Ok(Config {
            data: (!in_memory).then_some(data),
            segments,
            http: address(&self.http, "http", 16686)?,
            otlp_http: address(&self.otlp_http, "otlp_http", 4318)?,
            otlp_grpc: address(&self.otlp_grpc, "otlp_grpc", 4317)?,
            retention_age: self
                .retention
                .map(|text| {
                    age(&text).with_context(|| format!("{}: {text:?} is not an age such as 7d", named("retention")))
                })
                .transpose()?,
            retention_bytes: match self.retention_size {
                None => None,
                given => Some(size(given, "retention_size", 0)?),
            },
            trust_clock: self.trust_clock,
            min_free_bytes: match self.min_free_disk {
                None => None,
                given => Some(size(given, "min_free_disk", 0)?),
            },
            memory_bytes: size(self.memory, "memory", MemoryBudget::default_bytes() as u64)? as usize,
            in_flight_bytes: match self.in_flight_size {
                None => None,
                given => Some(size(given, "in_flight_size", 0)? as usize),
            },
            durable,
            receive,
            queries,
            names,
            cors_origins: AllowedOrigins::parse(&self.cors_origin)?,
            http_name: self.http.map_or_else(|| "127.0.0.1".to_owned(), |http| http.host().to_owned()),
            allowed_hosts: self.allowed_host,
            connections,
        })
    }
}

/// A setting as operators know it: its flag, its variable and its key in the file.
fn named(key: &str) -> String {
    format!("--{} (TRACEWELL_{}, {key})", key.replace('_', "-"), key.to_uppercase())
}

/// An address whose user and password are replaced by stars; `None` if it has none.
pub(crate) fn without_credentials(url: &str) -> Option<String> {
    let start = url.find("://").map_or(0, |scheme| scheme + 3);
    let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |length| start + length);
    let at = url[start..end].rfind('@')?;
    Some(format!("{}***@{}", &url[..start], &url[start + at + 1..]))
}

fn shown_without_credentials<S: serde::Serializer>(url: &Option<String>, serializer: S) -> Result<S::Ok, S::Error> {
    url.as_deref().map(|url| without_credentials(url).unwrap_or_else(|| url.to_owned())).serialize(serializer)
}

/// What is done with spans of odd times.
fn times(odd: Option<&str>, future: Option<&str>) -> Result<TimeRules> {
    let odd = match odd {
        None | Some("keep") => OddTimes::Keep,
        Some("refuse") => OddTimes::Refuse,
        Some("clamp") => OddTimes::Clamp,
        Some(other) => anyhow::bail!("{}: {other:?} is neither keep nor refuse nor clamp", named("odd_times")),
    };
    let mut rules = TimeRules { odd, ..TimeRules::default() };
    if let Some(text) = future {
        let future = age(text).with_context(|| format!("{}: {text:?} is not an age such as 24h", named("future")))?;
        rules.future_nanos =
            u64::try_from(future.as_nanos()).with_context(|| format!("{}: {text:?} is too long", named("future")))?;
    }
    Ok(rules)
}

fn is_false(value: &bool) -> bool {
    !value
}

/// A number with a unit: the unit's multiple of it, or `None`.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim()))?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn size(text: &str) -> Option<u64> {
    let units = [
        ("", 1),
        ("B", 1),
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("KB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("TB", 1_000_000_000_000),
    ];
    with_unit(text, &units)
}

fn time(text: &str) -> Option<Duration> {
    let units = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
    with_unit(text, &units).map(Duration::from_millis)
}

fn age(text: &str) -> Option<Duration> {
    let units = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400), ("w", 7 * 86_400)];
    with_unit(text, &units).map(Duration::from_secs)
}
