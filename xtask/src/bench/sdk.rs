//! `cargo xtask bench sdk`: builds `bench/sdk` and runs it for each library and scenario, several times and in turn.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::run::{self as command, cargo, program, workspace};

const LIBRARIES: [(&str, &str); 4] = [
    ("tracewell", "Tracewell"),
    ("fastrace", "fastrace"),
    ("opentelemetry", "opentelemetry_sdk"),
    ("tracing", "tracing-opentelemetry"),
];

/// Name on the command line, name in the table, goal in nanoseconds.
const SCENARIOS: [(&str, &str, f64); 7] = [
    ("recorded", "recorded span", 100.0),
    ("threads", "recorded span, two threads at once", 100.0),
    ("unsampled", "unsampled span", 15.0),
    ("poll", "poll of a future with a span", 10.0),
    ("inject", "inject W3C into headers", 100.0),
    ("extract", "extract W3C from headers", 100.0),
    ("total", "recorded span, in all with its OTLP bytes", 250.0),
];

const BEGIN: &str = "<!-- begin: sdk -->";
const END: &str = "<!-- end: sdk -->";
const PICTURE: &str = "images/bench-sdk.svg";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Runs of each, of which the least counts
    #[arg(long, default_value_t = 5, value_name = "N")]
    runs: usize,
    /// Prints the table and leaves docs/benchmarks.md as it is
    #[arg(long)]
    dry: bool,
}

/// What one of something costs.
#[derive(Clone, Copy)]
struct Cost {
    nanos: f64,
    allocations: f64,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let target = workspace().join("target/bench-sdk");
    let manifest = workspace().join("bench/sdk/Cargo.toml");
    command::run(
        cargo(&["build", "--release", "--locked", "--manifest-path"]).arg(manifest).env("CARGO_TARGET_DIR", &target),
    )?;
    let binary = target.join("release/tracewell-bench-sdk");
    let mut rows = Vec::new();
    for (scenario, name, goal) in SCENARIOS {
        let mut costs = [Cost { nanos: f64::INFINITY, allocations: f64::INFINITY }; LIBRARIES.len()];
        for _ in 0..args.runs.max(1) {
            for (cost, (library, _)) in costs.iter_mut().zip(LIBRARIES) {
                let measured = measure(&binary, library, scenario)?;
                cost.nanos = cost.nanos.min(measured.nanos);
                cost.allocations = cost.allocations.min(measured.allocations);
            }
        }
        eprintln!("{name}: {}", costs.map(|cost| format!("{:.1}", cost.nanos)).join(", "));
        rows.push((scenario, name, goal, costs));
    }
    let table = table(&rows);
    println!("{table}");
    if args.dry { Ok(()) } else { write(args.runs, &table, &picture(&rows)) }
}

fn measure(binary: &Path, library: &str, scenario: &str) -> Result<Cost> {
    let output = program(binary).args([library, scenario]).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let numbers: Option<Vec<f64>> = text.split_whitespace().map(|number| number.parse().ok()).collect();
    match numbers.as_deref() {
        Some([nanos, allocations]) if output.status.success() => Ok(Cost { nanos: *nanos, allocations: *allocations }),
        _ => bail!("{library} {scenario}: {text}{}", String::from_utf8_lossy(&output.stderr)),
    }
}

type Row = (&'static str, &'static str, f64, [Cost; LIBRARIES.len()]);

fn table(rows: &[Row]) -> String {
    let mut out = format!("| ns (allocations) | goal | {} |\n", LIBRARIES.map(|(_, name)| name).join(" | "));
    let _ = writeln!(out, "|---|---|{}", "---|".repeat(LIBRARIES.len()));
    for (scenario, name, goal, costs) in rows {
        let cells = costs.map(|cost| match *scenario {
            // What other threads allocate is not counted.
            "total" | "threads" => number(cost.nanos),
            _ => format!("{} ({})", number(cost.nanos), (cost.allocations * 10.0).round() / 10.0),
        });
        let _ = writeln!(out, "| {name} | {goal} | {} |", cells.join(" | "));
    }
    out
}

fn number(value: f64) -> String {
    if value >= 10.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}

fn write(runs: usize, table: &str, picture: &str) -> Result<()> {
    let page = workspace().join("docs/benchmarks.md");
    let old = std::fs::read_to_string(&page)?;
    let (before, rest) = old.split_once(BEGIN).with_context(|| format!("docs/benchmarks.md has no line {BEGIN}"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("docs/benchmarks.md has no line {END}"))?;
    let section = format!(
        "{BEGIN}\n![What a span costs]({PICTURE})\n\n`cargo xtask bench sdk --runs {runs}`, on {}.\n\n{}\n{END}",
        machine(),
        table.trim_end()
    );
    std::fs::write(&page, format!("{before}{section}{after}"))?;
    std::fs::write(workspace().join("docs").join(PICTURE), picture)?;
    Ok(())
}

/// The processor's name, as far as the system tells.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(" : unknown processor");
    format!("{} ({cores} cores)", model.trim_start_matches(['\t', ' ', ':']).trim())
}

/// Bars, a panel for each scenario: less is better in all.
fn picture(rows: &[Row]) -> String {
    const WIDTH: f64 = 400.0;
    const BAR: f64 = 18.0;
    let panel = 34.0 + LIBRARIES.len() as f64 * (BAR + 4.0);
    let height = panel * rows.len().div_ceil(2) as f64 + 10.0;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {w} {height}\" font-family=\"sans-serif\" \
         font-size=\"12\"><rect width=\"{w}\" height=\"{height}\" fill=\"#fff\"/>\n",
        w = 2.0 * WIDTH
    );
    for (place, (_, name, _, costs)) in rows.iter().enumerate() {
        let (x, y) = ((place % 2) as f64 * WIDTH + 10.0, (place / 2) as f64 * panel + 22.0);
        let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" font-weight=\"bold\">{name}, ns</text>");
        let most = costs.iter().map(|cost| cost.nanos).fold(f64::MIN_POSITIVE, f64::max);
        for (line, (cost, (library, label))) in costs.iter().zip(LIBRARIES).enumerate() {
            let y = y + 8.0 + line as f64 * (BAR + 4.0);
            let colour = if library == "tracewell" { "#2f6f73" } else { "#b9b4a6" };
            let width = (cost.nanos / most * 170.0).max(1.0);
            let _ = writeln!(
                svg,
                "<text x=\"{x}\" y=\"{text}\">{label}</text><rect x=\"{bar}\" y=\"{y}\" width=\"{width:.1}\" \
                 height=\"{BAR}\" fill=\"{colour}\"/><text x=\"{end:.1}\" y=\"{text}\">{value}</text>",
                text = y + 13.0,
                bar = x + 140.0,
                end = x + 146.0 + width,
                value = number(cost.nanos),
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}
