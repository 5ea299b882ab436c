//! The stores: how each is started, and where its doors are.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use crate::process::{Process, free_address};

/// A store that can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tracewell,
    Jaeger,
    Zipkin,
    VictoriaTraces,
    Tempo,
}

impl Kind {
    pub(crate) const NAMES: &str = "jaeger, zipkin, victoriatraces, tempo";

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "jaeger" => Self::Jaeger,
            "zipkin" => Self::Zipkin,
            "victoriatraces" => Self::VictoriaTraces,
            "tempo" => Self::Tempo,
            _ => return None,
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Tracewell => "Tracewell",
            Self::Jaeger => "Jaeger, memory (keeps nothing)",
            Self::Zipkin => "Zipkin, memory (keeps nothing)",
            Self::VictoriaTraces => "VictoriaTraces",
            Self::Tempo => "Tempo, local",
        }
    }

    /// Whether it is searched through Jaeger's or Zipkin's query API; Tempo gives single traces only.
    pub(crate) fn searches(self) -> bool {
        self != Self::Tempo
    }

    /// Whether spans outlive the process.
    pub(crate) fn is_durable(self) -> bool {
        !matches!(self, Self::Jaeger | Self::Zipkin)
    }
}

/// A store and its program.
pub(crate) struct Peer {
    pub(crate) kind: Kind,
    pub(crate) binary: PathBuf,
    /// What whoever built it knows, where the program itself does not.
    pub(crate) version: Option<String>,
}

/// A store that runs.
pub(crate) struct Running {
    pub(crate) process: Process,
    /// Where requests are posted to: OTLP/HTTP, but for Zipkin.
    pub(crate) door: String,
    /// What `/traces`, `/traces/{id}` are appended to.
    pub(crate) api: String,
    pub(crate) kind: Kind,
}

impl Peer {
    /// Starts it on free ports with its data in a folder of its own, and waits until it listens.
    pub(crate) fn start(&self, data: &Path) -> Result<Running> {
        self.start_with(data, &[])
    }

    /// The same with further arguments.
    pub(crate) fn start_with(&self, data: &Path, arguments: &[&str]) -> Result<Running> {
        std::fs::create_dir_all(data)?;
        let (otlp, http) = (free_address()?, free_address()?);
        let mut command = Command::new(&self.binary);
        match self.kind {
            Kind::Tracewell => {
                command.args(["--log", "warn", "serve", "--otlp-grpc", "127.0.0.1:0", "--data"]).arg(data);
                command.args(["--http", &http.to_string(), "--otlp-http", &otlp.to_string()]);
            }
            Kind::Jaeger => {
                let config = data.join("jaeger.yaml");
                std::fs::write(&config, jaeger_config(otlp, http))?;
                command.arg("--config").arg(config);
            }
            Kind::Zipkin => {
                command = Command::new("java");
                command.arg("-jar").arg(&self.binary).args([
                    "--armeria.ports[0].ip=127.0.0.1".to_owned(),
                    format!("--armeria.ports[0].port={}", http.port()),
                    "--armeria.ports[0].protocols[0]=http".to_owned(),
                    // As many as come; 500,000 unless told.
                    format!("--zipkin.storage.mem.max-spans={}", i32::MAX),
                ]);
            }
            Kind::VictoriaTraces => {
                // It has one door for everything.
                command.arg(format!("-storageDataPath={}", data.display())).arg(format!("-httpListenAddr={http}"));
                // The spans are of a fixed day, which may be long ago.
                command.args(["-retentionPeriod=100y", "-futureRetention=100y"]);
            }
            Kind::Tempo => {
                let config = data.join("tempo.yaml");
                std::fs::write(&config, tempo_config(data, otlp, http, free_address()?))?;
                command.arg(format!("-config.file={}", config.display()));
            }
        }
        let mut process = Process::start(command.args(arguments))?;
        let has_one_door = matches!(self.kind, Kind::VictoriaTraces | Kind::Zipkin);
        let doors: &[SocketAddr] = if has_one_door { &[http] } else { &[otlp, http] };
        process.wait_for(doors)?;
        let (door, api) = match self.kind {
            Kind::VictoriaTraces => {
                (format!("http://{http}/insert/opentelemetry/v1/traces"), format!("http://{http}/select/jaeger/api"))
            }
            Kind::Zipkin => (format!("http://{http}/api/v2/spans"), format!("http://{http}/api/v2")),
            _ => (format!("http://{otlp}/v1/traces"), format!("http://{http}/api")),
        };
        Ok(Running { process, door, api, kind: self.kind })
    }

    /// What it says its version is.
    pub(crate) fn version(&self) -> String {
        if let Some(version) = &self.version {
            return version.clone();
        }
        let argument = match self.kind {
            Kind::Tracewell | Kind::Jaeger => "version",
            Kind::VictoriaTraces | Kind::Tempo => "--version",
            // Its file's name tells.
            Kind::Zipkin => return self.binary.file_stem().unwrap_or_default().display().to_string(),
        };
        let output = Command::new(&self.binary).arg(argument).output();
        let said = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
        let said = String::from_utf8_lossy(&said).into_owned();
        said.lines().next().unwrap_or_default().trim().to_owned()
    }
}

/// All spans in memory, nothing thrown away, no telemetry of its own.
fn jaeger_config(otlp: SocketAddr, http: SocketAddr) -> String {
    format!(
        r#"
service:
  extensions: [jaeger_storage, jaeger_query]
  pipelines:
    traces: {{receivers: [otlp], exporters: [jaeger_storage_exporter]}}
  telemetry:
    metrics: {{level: none}}
    logs: {{level: error}}
extensions:
  jaeger_query:
    storage: {{traces: memory}}
    http: {{endpoint: "{http}"}}
    grpc: {{endpoint: "127.0.0.1:0"}}
  jaeger_storage:
    backends:
      memory: {{memory: {{max_traces: 100000000}}}}
receivers:
  otlp:
    protocols: {{http: {{endpoint: "{otlp}"}}}}
exporters:
  jaeger_storage_exporter: {{trace_storage: memory}}
"#
    )
}

fn tempo_config(data: &Path, otlp: SocketAddr, http: SocketAddr, grpc: SocketAddr) -> String {
    let data = data.display();
    format!(
        r#"
server: {{http_listen_address: 127.0.0.1, http_listen_port: {http_port}, grpc_listen_address: 127.0.0.1, grpc_listen_port: {grpc_port}, log_level: error}}
distributor:
  receivers: {{otlp: {{protocols: {{http: {{endpoint: "{otlp}"}}}}}}}}
storage:
  trace: {{backend: local, local: {{path: "{data}/blocks"}}, wal: {{path: "{data}/wal"}}}}
overrides:
  defaults:
    global: {{max_bytes_per_trace: 0}}
    ingestion: {{rate_limit_bytes: 1000000000, burst_size_bytes: 1000000000, max_traces_per_user: 0}}
"#,
        http_port = http.port(),
        grpc_port = grpc.port(),
    )
}
