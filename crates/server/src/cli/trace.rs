//! `tracewell trace`: a waterfall in the terminal.

use anyhow::Result;
use clap::Args;
use serde_json::Value;
use tracewell_insight::duration;

use super::ServerArgs;
use super::client::Client;
use super::table::{cell, fit, moment, picture_width};
use crate::output::{Line, Style, print_json, print_styled};

/// Arguments of `tracewell trace`.
#[derive(Args, Clone, Debug)]
pub(super) struct TraceArgs {
    /// The trace id, in any case, leading zeros optional
    id: String,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) fn run(args: &TraceArgs) -> Result<()> {
    let trace = Client::new(&args.server.url)?.get(&format!("/api/v1/traces/{}", args.id), &[])?;
    if args.server.json {
        return print_json(&trace);
    }
    waterfall(&trace, picture_width()).iter().try_for_each(print_styled)
}

/// A header, a line a span, a legend. The critical path is drawn with a heavy line, so that it shows without colour.
fn waterfall(trace: &Value, width: usize) -> Vec<Line> {
    let text = |value: &Value, field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let number = |value: &Value, field: &str| value[field].as_f64().unwrap_or(0.0);
    let empty = Vec::new();
    let spans = trace["spans"].as_array().unwrap_or(&empty);
    let critical = trace["critical_path"].as_array().unwrap_or(&empty);
    let total = number(trace, "duration_nanos").max(1.0);

    let mut lines = vec![
        Line::default().with(
            Some(Style::Bold),
            fit(&format!("{}: {}", text(trace, "root_service"), text(trace, "root_operation")), width),
        ),
        fit(
            &format!(
                "{}  {}  {} spans  {}",
                text(trace, "trace_id"),
                duration(number(trace, "duration_nanos")),
                spans.len(),
                moment(&text(trace, "start_unix_nano")),
            ),
            width,
        )
        .into(),
        Line::default(),
    ];
    let duration_width = 9;
    let bar_width = (width / 2).clamp(16, 100).min(width.saturating_sub(duration_width + 14));
    let name_width = width.saturating_sub(bar_width + duration_width + 3).max(8);
    let column = |nanos: f64| ((nanos / total * bar_width as f64) as usize).min(bar_width.saturating_sub(1));
    for (place, span) in spans.iter().enumerate() {
        let depth = span["depth"].as_u64().unwrap_or(0) as usize;
        let failed = span["status"]["code"] == "error";
        let name = format!(
            "{}{}{} {}",
            // Deep traces keep some room for names.
            " ".repeat(depth.min(name_width / 3)),
            if failed { "! " } else { "" },
            text(span, "service"),
            text(span, "name")
        );
        let (start, length) = (number(span, "start_nanos"), number(span, "duration_nanos"));
        let (first, last) = (column(start), column(start + length));
        let mut bar: Vec<char> = vec![' '; bar_width];
        bar[first..=last].fill('─');
        for piece in critical.iter().filter(|piece| piece["span"].as_u64() == Some(place as u64)) {
            let (start, length) = (number(piece, "start_nanos"), number(piece, "duration_nanos"));
            bar[column(start)..=column(start + length)].fill('━');
        }
        let bar: String = bar.into_iter().collect();
        let on_path = bar.contains('━');
        let name = cell(&name, name_width);
        let name_style = match (failed, on_path) {
            (true, _) => Some(Style::Red),
            (false, true) => Some(Style::Bold),
            (false, false) => None,
        };
        let took = format!(" {:>duration_width$}  ", duration(length));
        let bar_style = if on_path { Style::Bold } else { Style::Dim };
        lines.push(Line::default().with(name_style, name).with(None, took).with(Some(bar_style), bar));
    }
    lines.push(Line::default());
    lines.push(fit("━ critical path: what the request waited for   ! failed", width).into());
    if trace["complete"] == false {
        let (shown, all) = (spans.len(), &trace["total_spans"]);
        let note = format!("note: the first {shown} of {all} spans; tracewell export has all of them");
        lines.push(fit(&note, width).into());
    }
    let notes = &trace["notes"];
    for (field, said) in [
        ("orphans", "spans name a parent that is not in the trace"),
        ("cycles", "cycles of parents were cut"),
        ("self_parents", "spans named themselves as parent"),
        ("duplicates", "spans came twice and are shown once"),
        ("negative_durations", "spans end before they start"),
    ] {
        if let Some(count) = notes[field].as_u64().filter(|count| *count > 0) {
            lines.push(fit(&format!("note: {count} {said}"), width).into());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sample() -> Value {
        json!({
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "root_service": "gallery", "root_operation": "GET /images",
            "start_unix_nano": "1700000000000000000", "duration_nanos": 100_000_000u64,
            "notes": {"orphans": 1},
            "critical_path": [
                {"span": 0, "start_nanos": 0, "duration_nanos": 10_000_000},
                {"span": 1, "start_nanos": 10_000_000, "duration_nanos": 80_000_000},
                {"span": 0, "start_nanos": 90_000_000, "duration_nanos": 10_000_000},
            ],
            "spans": [
                {"depth": 0, "service": "gallery", "name": "GET /images", "start_nanos": 0, "duration_nanos": 100_000_000,
                 "status": {"code": "unset"}},
                {"depth": 1, "service": "catalog", "name": "SELECT", "start_nanos": 10_000_000,
                 "duration_nanos": 80_000_000, "status": {"code": "error"}},
            ],
        })
    }

    #[test]
    fn a_waterfall_shows_spans_and_critical_path() {
        let lines = waterfall(&sample(), 60).iter().map(Line::to_string).collect::<Vec<_>>();
        assert_eq!(
            lines.join("\n"),
            "gallery: GET /images\n\
             4bf92f3577b34da6a3ce929d0e0e4736  100 ms  2 spans  2023-11-…\n\
             \n\
             gallery GET /imag…    100 ms  ━━━━───────────────────────━━━\n \
             ! catalog SELECT      80 ms     ━━━━━━━━━━━━━━━━━━━━━━━━━\n\
             \n\
             ━ critical path: what the request waited for   ! failed\n\
             note: 1 spans name a parent that is not in the trace"
        );
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for width in [40, 60, 120, 200] {
            for line in waterfall(&sample(), width) {
                assert!(line.to_string().chars().count() <= width, "{width}: {line}");
            }
        }
    }
}
