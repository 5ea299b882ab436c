//! The table and the picture.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::peer::Kind;
use crate::run::Outcome;
use crate::workload::Workload;

/// What stands between these lines of the page is replaced.
const BEGIN: &str = "<!-- begin: store -->";
const END: &str = "<!-- end: store -->";
const PICTURE: &str = "images/bench-store.svg";

pub(crate) struct Report<'a> {
    pub(crate) workload: &'a Workload,
    /// Spans that came in during questions and were in the log at the restart.
    pub(crate) more_spans: usize,
    pub(crate) decode_micros: f64,
    pub(crate) results: &'a [Outcome],
    pub(crate) command: &'a str,
}

impl Report<'_> {
    /// Everything as Markdown.
    pub(crate) fn table(&self) -> String {
        let mut out = String::new();
        let spans = self.workload.spans as f64;
        let _ = writeln!(
            out,
            "{} spans, {} traces (largest {} spans), {} services, {:.0} bytes a span as OTLP; 4 connections, OTLP/HTTP (Zipkin: its \
             JSON) uncompressed, {} requests. Decoding alone, with generated types: {:.2} us a span.\n",
            self.workload.spans,
            self.workload.facts.traces.len(),
            self.workload.facts.traces[&self.workload.facts.largest],
            self.workload.facts.services.len(),
            self.workload.requests.bytes as f64 / spans,
            self.workload.requests.count,
            self.decode_micros,
        );
        let _ = writeln!(out, "| | {} |", self.results.iter().map(|r| r.kind.name()).collect::<Vec<_>>().join(" | "));
        let _ = writeln!(out, "|---|{}", "---|".repeat(self.results.len()));
        let mut row = |name: &str, cell: &dyn Fn(&Outcome) -> String| {
            let _ = writeln!(out, "| {name} | {} |", self.results.iter().map(cell).collect::<Vec<_>>().join(" | "));
        };
        row("version", &|r| r.version.clone());
        row("CPU, us a span", &|r| format!("{:.2}", self.cpu_micros(r)));
        row("CPU, times decoding", &|r| format!("{:.1}", self.cpu_micros(r) / self.decode_micros));
        row("disk, bytes a span", &|r| {
            r.disk_bytes.map_or("-".to_owned(), |bytes| format!("{:.1}", bytes as f64 / spans))
        });
        row("- of it in segments", &|r| {
            r.segment_bytes.map_or("-".to_owned(), |bytes| format!("{:.1}", bytes as f64 / spans))
        });
        row("peak memory taking spans, MiB", &|r| format!("{:.0}", mebibytes(r.peak_bytes)));
        row("peak memory with every question, MiB", &|r| format!("{:.0}", mebibytes(r.peak_asked_bytes)));
        row("spans taken a second", &|r| format!("{:.0}", 1.0 / r.send_seconds));
        row("requests put off", &|r| r.put_off.to_string());
        let questions: Vec<&str> = self
            .results
            .iter()
            .max_by_key(|r| r.answers.len())
            .map(|r| r.answers.iter().map(|answers| answers.question).collect())
            .unwrap_or_default();
        for question in questions {
            row(&format!("{question}, p50 / p95"), &|r| {
                let Some(answers) = r.answers.iter().find(|answers| answers.question == question) else {
                    return "-".to_owned();
                };
                let note = if answers.wrong > 0 {
                    format!(" ({} of {} differ)", answers.wrong, answers.times.len())
                } else {
                    String::new()
                };
                format!("{} / {}{note}", millis(answers.quantile(0.5)), millis(answers.quantile(0.95)))
            });
        }
        row("trace by id while spans come in, p50 / p95", &|r| {
            format!("{} / {}", millis(r.busy.quantile(0.5)), millis(r.busy.quantile(0.95)))
        });
        row("taking spans is slower while asked, by", &|r| {
            format!("{:.0} %", (r.busy_send_seconds / r.calm_send_seconds - 1.0) * 100.0)
        });
        row(&format!("restart with {} spans in the log", self.more_spans), &|r| {
            r.restart.map_or("-".to_owned(), |time| format!("{:.1} s", time.as_secs_f64()))
        });
        self.answers(&mut out);
        out
    }

    /// What Tracewell's answers consist of.
    fn answers(&self, out: &mut String) {
        let Some(own) = self.results.iter().find(|r| r.kind == Kind::Tracewell) else { return };
        let _ = writeln!(out, "\nTracewell's answers, p50 / p95:\n");
        let _ = writeln!(out, "| question | MiB | sending as many bytes takes | answered in | CPU of one |");
        let _ = writeln!(out, "|---|---|---|---|---|");
        for answers in &own.answers {
            let mib = |part| number(mebibytes(answers.bytes_quantile(part) as u64));
            let [median, late] = answers.floor.map(millis);
            let _ = writeln!(
                out,
                "| {} | {} / {} | {median} / {late} | {} / {} | {} |",
                answers.question,
                mib(0.5),
                mib(0.95),
                millis(answers.quantile(0.5)),
                millis(answers.quantile(0.95)),
                millis(answers.cpu / answers.times.len().max(1) as u32),
            );
        }
    }

    fn cpu_micros(&self, outcome: &Outcome) -> f64 {
        outcome.cpu.as_secs_f64() * 1e6 / self.workload.spans as f64
    }

    /// Puts the table and the picture into the page.
    pub(crate) fn write(&self, page: &Path) -> Result<()> {
        let old = std::fs::read_to_string(page).with_context(|| format!("read {}", page.display()))?;
        let (before, rest) =
            old.split_once(BEGIN).with_context(|| format!("{} has no line {BEGIN}", page.display()))?;
        let (_, after) = rest.split_once(END).with_context(|| format!("{} has no line {END}", page.display()))?;
        let section = format!(
            "{BEGIN}\n![CPU, disk, memory and answers]({PICTURE})\n\n`{}`\n\n{}\n{END}",
            self.command,
            self.table().trim_end()
        );
        std::fs::write(page, format!("{before}{section}{after}"))?;
        let picture = page.parent().unwrap_or(Path::new(".")).join(PICTURE);
        std::fs::write(&picture, self.picture()).with_context(|| format!("write {}", picture.display()))
    }

    /// Bars, a panel for each measure: less is better in all.
    fn picture(&self) -> String {
        type Measure<'a> = (&'a str, &'a dyn Fn(&Outcome) -> Option<f64>);
        let spans = self.workload.spans as f64;
        let first = |r: &Outcome, question: &str| {
            r.answers.iter().find(|a| a.question == question).map(|a| a.quantile(0.5).as_secs_f64() * 1e3)
        };
        let measures: [Measure<'_>; 6] = [
            ("CPU, us a span", &|r| Some(self.cpu_micros(r))),
            ("disk, bytes a span", &|r| r.disk_bytes.map(|bytes| bytes as f64 / spans)),
            ("peak memory, MiB", &|r| Some(mebibytes(r.peak_asked_bytes))),
            ("trace by id, ms (p50)", &|r| first(r, "trace by id")),
            ("newest 20 of a service, ms (p50)", &|r| first(r, "newest 20 of a service")),
            ("one unique tag, ms (p50)", &|r| first(r, "one unique tag")),
        ];
        const PANEL_WIDTH: f64 = 400.0;
        const BAR_HEIGHT: f64 = 18.0;
        let panel_height = 34.0 + self.results.len() as f64 * (BAR_HEIGHT + 4.0);
        let height = panel_height * 3.0 + 10.0;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {w} {height}\" font-family=\"sans-serif\" \
             font-size=\"12\"><rect width=\"{w}\" height=\"{height}\" fill=\"#fff\"/>\n",
            w = PANEL_WIDTH * 2.0
        );
        for (place, (name, measure)) in measures.iter().enumerate() {
            let x = (place % 2) as f64 * PANEL_WIDTH + 10.0;
            let y = (place / 2) as f64 * panel_height + 22.0;
            let _ = writeln!(svg, "<text x=\"{x}\" y=\"{y}\" font-weight=\"bold\">{name}</text>");
            let most = self.results.iter().filter_map(measure).fold(f64::MIN_POSITIVE, f64::max);
            for (line, result) in self.results.iter().enumerate() {
                let y = y + 8.0 + line as f64 * (BAR_HEIGHT + 4.0);
                let label = result.kind.name().split([',', ' ']).next().unwrap_or_default();
                let colour = if line == 0 { "#2f6f73" } else { "#b9b4a6" };
                let (width, value) = match measure(result) {
                    Some(value) => ((value / most * 190.0).max(1.0), number(value)),
                    None => (0.0, "none".to_owned()),
                };
                let _ = writeln!(
                    svg,
                    "<text x=\"{x}\" y=\"{text}\">{label}</text><rect x=\"{bar}\" y=\"{y}\" width=\"{width:.1}\" \
                     height=\"{BAR_HEIGHT}\" fill=\"{colour}\"/><text x=\"{end:.1}\" y=\"{text}\">{value}</text>",
                    text = y + 13.0,
                    bar = x + 100.0,
                    end = x + 106.0 + width,
                );
            }
        }
        svg.push_str("</svg>\n");
        svg
    }
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn millis(time: Duration) -> String {
    format!("{} ms", number(time.as_secs_f64() * 1e3))
}

/// Three digits or so.
fn number(value: f64) -> String {
    if value >= 100.0 {
        format!("{value:.0}")
    } else if value >= 10.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.2}")
    }
}
