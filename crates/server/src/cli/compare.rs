//! `tracewell compare`: two traces, or two sets of traces, side by side.

use anyhow::Result;
use clap::Args;
use serde_json::{Value, json};
use tracewell_insight::{ComparedPath, PathStats, compare};

use super::ServerArgs;
use super::client::{Client, print_json, print_line};
use super::fetch;
use super::table::{duration, fit, width};

/// Arguments of `tracewell compare`.
#[derive(Args, Clone, Debug)]
pub(super) struct CompareArgs {
    /// A trace id, or several, separated by commas
    first: String,
    /// What to compare with, written alike
    second: String,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) fn run(args: &CompareArgs) -> Result<()> {
    let client = Client::new(&args.server.url);
    let first = fetch::by_id(&client, args.first.split(','))?;
    let second = fetch::by_id(&client, args.second.split(','))?;
    let rows = compare(&first, &second);
    if args.server.json {
        return print_json(&Value::Array(rows.iter().map(view).collect()));
    }
    for line in lines(&rows, width()) {
        print_line(&line)?;
    }
    Ok(())
}

fn view(row: &ComparedPath) -> Value {
    let side = |stats: &PathStats| {
        json!({
            "calls": stats.calls,
            "duration_nanos": stats.duration_nanos,
            "self_nanos": stats.self_nanos,
            "critical_nanos": stats.critical_nanos,
            "errors": stats.errors,
        })
    };
    json!({
        "depth": row.depth,
        "service": row.service,
        "operation": row.operation,
        "kind": row.kind.as_str(),
        "first": side(&row.first),
        "second": side(&row.second),
    })
}

/// A line a call path; each figure is a mean a trace. The critical path says what the difference costs the request.
fn lines(rows: &[ComparedPath], width: usize) -> Vec<String> {
    let mut lines =
        vec![format!("{:>8} {:>8}  {:>9} {:>9}  {:>10}  CALL PATH", "CALLS", "", "DURATION", "", "CRITICAL")];
    for row in rows {
        let calls = |stats: &PathStats| if stats.calls == 0.0 { "-".to_owned() } else { format!("{:.1}", stats.calls) };
        let time = |stats: &PathStats| {
            if stats.calls == 0.0 { "-".to_owned() } else { duration(stats.duration_nanos) }
        };
        let change = row.second.critical_nanos - row.first.critical_nanos;
        let sign = if change >= 0.5 { "+" } else { "" };
        let errors = if row.first.errors + row.second.errors > 0.0 {
            format!("  errors {:.1} / {:.1}", row.first.errors, row.second.errors)
        } else {
            String::new()
        };
        let line = format!(
            "{:>8} {:>8}  {:>9} {:>9}  {:>10}  {}{}: {}{errors}",
            calls(&row.first),
            calls(&row.second),
            time(&row.first),
            time(&row.second),
            format!("{sign}{}", duration(change)),
            "  ".repeat(row.depth),
            row.service,
            row.operation,
        );
        lines.push(fit(&line, width));
    }
    lines
}

#[cfg(test)]
mod tests {
    use tracewell_model::SpanKind;

    use super::*;

    #[test]
    fn a_path_that_one_side_lacks_is_shown_with_dashes() {
        let stats = PathStats { calls: 1.0, duration_nanos: 2e6, critical_nanos: 2e6, ..PathStats::default() };
        let row = ComparedPath {
            depth: 1,
            service: "cart".to_owned(),
            operation: "GET".to_owned(),
            kind: SpanKind::Client,
            first: PathStats::default(),
            second: stats,
        };
        let shown = lines(&[row], 100);
        assert_eq!(shown[1].trim_start(), "-      1.0          -      2 ms       +2 ms    cart: GET");
    }
}
