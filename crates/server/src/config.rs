//! What `serve` is told: flags over environment over the file over the defaults.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use serde::{Deserialize, Serialize};
use tracewell_store::BucketOptions;
use tracewell_wire::Limits;

use crate::budget::MemoryBudget;
use crate::receive::ReceiveLimits;

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
    pub segments_endpoint: Option<String>,
    /// Address of the UI and the HTTP APIs [default: 127.0.0.1:16686]
    #[arg(long, env = "TRACEWELL_HTTP", value_name = "ADDRESS")]
    pub http: Option<SocketAddr>,
    /// Address of the OTLP/HTTP receiver [default: 127.0.0.1:4318]
    #[arg(long, env = "TRACEWELL_OTLP_HTTP", value_name = "ADDRESS")]
    pub otlp_http: Option<SocketAddr>,
    /// Address of the OTLP/gRPC receiver [default: 127.0.0.1:4317]
    #[arg(long, env = "TRACEWELL_OTLP_GRPC", value_name = "ADDRESS")]
    pub otlp_grpc: Option<SocketAddr>,
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
    /// Web origin whose pages may send spans, or `*`; may be repeated. Pages of this machine always may
    #[arg(long, env = "TRACEWELL_CORS_ORIGINS", value_name = "ORIGIN", value_delimiter = ',')]
    pub cors_origin: Vec<String>,
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
    /// Memory for the whole process.
    pub memory_bytes: usize,
    /// Memory for requests on their way in, if it is not a part of the whole.
    pub in_flight_bytes: Option<usize>,
    /// Whether an acknowledged span survives power loss.
    pub durable: bool,
    /// What is received at most.
    pub receive: ReceiveLimits,
    /// Web origins that may send spans.
    pub cors_origins: Vec<String>,
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
            cors_origin: if self.cors_origin.is_empty() { other.cors_origin } else { self.cors_origin },
        }
    }

    /// Checks every setting and fills in the defaults.
    pub fn check(self) -> Result<Config> {
        let address = |given: Option<SocketAddr>, port| given.unwrap_or(SocketAddr::from(([127, 0, 0, 1], port)));
        let size = |given: Option<String>, name: &str, default: u64| match given {
            None => Ok(default),
            Some(text) => size(&text).with_context(|| format!("{}: {text:?} is not a size such as 64MiB", named(name))),
        };
        let defaults = ReceiveLimits::default();
        let length = |given: Option<String>, name: &str, default: u32| {
            u32::try_from(size(given, name, default.into())?)
                .with_context(|| format!("{}: more than 4GiB", named(name)))
        };
        let receive = ReceiveLimits {
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
        let data = self.data.unwrap_or_else(|| PathBuf::from("tracewell-data"));
        let cache_bytes = size(self.segments_cache, "segments_cache", 10 << 30)?;
        let move_bytes_per_second = size(self.segments_move_rate, "segments_move_rate", 32 << 20)?;
        let (endpoint, take_over) = (self.segments_endpoint, self.segments_take_over);
        let segments =
            self.segments.map(|url| BucketOptions { url, endpoint, cache_bytes, take_over, move_bytes_per_second });
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
            http: address(self.http, 16686),
            otlp_http: address(self.otlp_http, 4318),
            otlp_grpc: address(self.otlp_grpc, 4317),
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
            memory_bytes: size(self.memory, "memory", MemoryBudget::default_bytes() as u64)? as usize,
            in_flight_bytes: match self.in_flight_size {
                None => None,
                given => Some(size(given, "in_flight_size", 0)? as usize),
            },
            durable,
            receive,
            // A list with a comma too many has an empty member.
            cors_origins: self.cors_origin.into_iter().filter(|origin| !origin.trim().is_empty()).collect(),
        })
    }
}

/// A setting as operators know it: its flag, its variable and its key in the file.
fn named(key: &str) -> String {
    format!("--{} (TRACEWELL_{}, {key})", key.replace('_', "-"), key.to_uppercase())
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

fn age(text: &str) -> Option<Duration> {
    let units = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400), ("w", 7 * 86_400)];
    with_unit(text, &units).map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_go_before_the_file_and_the_file_before_defaults() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tracewell.toml");
        std::fs::write(&path, "http = \"127.0.0.1:1\"\notlp_http = \"127.0.0.1:2\"\nretention = \"7d\"\n").unwrap();
        let flags = Settings { http: Some("127.0.0.1:9".parse().unwrap()), ..Settings::default() };
        let config = flags.or(Settings::from_file(&path).unwrap()).check().unwrap();
        assert_eq!(config.http.port(), 9);
        assert_eq!(config.otlp_http.port(), 2);
        assert_eq!(config.otlp_grpc.port(), 4317);
        assert_eq!(config.retention_age, Some(Duration::from_secs(7 * 86_400)));
        assert_eq!(config.receive, ReceiveLimits::default());
        assert!(config.http.ip().is_loopback());
    }

    #[test]
    fn an_unknown_key_and_a_bad_value_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tracewell.toml");
        std::fs::write(&path, "htpp = \"127.0.0.1:1\"\n").unwrap();
        let error = format!("{:#}", Settings::from_file(&path).unwrap_err());
        assert!(error.contains("htpp"), "{error}");
        let settings = Settings { memory: Some("lots".to_owned()), ..Settings::default() };
        let error = format!("{:#}", settings.check().unwrap_err());
        assert!(error.contains("memory") && error.contains("lots"), "{error}");
    }

    #[test]
    fn every_limit_can_be_set() {
        let text = "body_size = \"1MiB\"\ndecompressed_size = \"2MiB\"\ndecoded_size = \"4MiB\"\nin_flight_size = \"3MiB\"\nspans_per_request = 4\n\
                    attributes_per_span = 5\nattribute_size = \"6KiB\"\nevents_per_span = 7\nlinks_per_span = 8\n\
                    name_size = \"9KiB\"\n";
        let config = toml::from_str::<Settings>(text).unwrap().check().unwrap();
        assert_eq!(config.budget().ingest().limit_bytes(), 3 << 20);
        let limits = config.receive;
        assert_eq!((limits.body_bytes, limits.decompressed_bytes, limits.decoded_bytes), (1 << 20, 2 << 20, 4 << 20));
        let request = limits.request;
        assert_eq!((request.spans_per_request, request.attributes_per_span, request.attribute_bytes), (4, 5, 6 << 10));
        assert_eq!((request.events_per_span, request.links_per_span, request.name_bytes), (7, 8, 9 << 10));
        let settings = Settings { attribute_size: Some("1TiB".to_owned()), ..Settings::default() };
        assert!(settings.check().unwrap_err().to_string().contains("attribute_size"));
    }

    #[test]
    fn segments_go_into_a_bucket_from_the_file_or_a_flag() {
        let text = "segments = \"s3://spans/a\"\nsegments_endpoint = \"http://127.0.0.1:1\"\nsegments_cache = \"5MiB\"\n\
             segments_move_rate = \"7MB\"\n";
        let settings: Settings = toml::from_str(text).unwrap();
        let flags =
            Settings { segments: Some("s3://spans/b".to_owned()), segments_take_over: true, ..Settings::default() };
        let bucket = flags.or(settings).check().unwrap().segments.unwrap();
        let expected = BucketOptions {
            cache_bytes: 5 << 20,
            take_over: true,
            move_bytes_per_second: 7_000_000,
            ..BucketOptions::new("s3://spans/b".to_owned(), Some("http://127.0.0.1:1".to_owned()))
        };
        assert_eq!(bucket, expected);
        assert!(toml::from_str::<Settings>("segments_take_over = true").is_err(), "it is no lasting setting");
        let in_memory = "data = \":memory:\"\nsegments = \"s3://spans\"";
        let refused = toml::from_str::<Settings>(in_memory).unwrap().check().unwrap_err();
        assert!(refused.to_string().contains("segments"), "{refused}");
    }

    #[test]
    fn sizes_and_ages_have_units() {
        assert_eq!(size("64MiB"), Some(64 << 20));
        assert_eq!(size("1 gb"), Some(1_000_000_000));
        assert_eq!(size("12"), Some(12));
        assert_eq!(size("99999999999TiB"), None);
        assert_eq!(age("90m"), Some(Duration::from_secs(5_400)));
        assert_eq!(age("soon"), None);
    }
}
