//! `tracewell search`.

use anyhow::Result;
use clap::Args;
use serde_json::Value;
use tracewell_insight::duration;

use super::client::Client;
use super::table::{cell, fit, moment, width};
use super::{FilterArgs, ServerArgs};
use crate::output::{print_json, print_line, say, visible};

/// Arguments of `tracewell search`.
#[derive(Args, Clone, Debug)]
pub(super) struct SearchArgs {
    #[command(flatten)]
    filter: FilterArgs,
    /// At most so many traces
    #[arg(long, short = 'n', default_value_t = 20)]
    limit: usize,
    /// Goes on where a search before ended
    #[arg(long)]
    cursor: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) fn run(args: &SearchArgs) -> Result<()> {
    let mut query = args.filter.query();
    query.push(("limit", args.limit.to_string()));
    query.extend(args.cursor.clone().map(|cursor| ("cursor", cursor)));
    let answer = Client::new(&args.server.url)?.get("/api/v1/traces", &query)?;
    if args.server.json {
        return print_json(&answer);
    }
    let traces = answer["traces"].as_array().map_or(&[][..], Vec::as_slice);
    if traces.is_empty() {
        say(&format!("no trace meets these conditions between {} and {}", args.filter.time.from, args.filter.time.to));
        return Ok(());
    }
    for line in lines(traces, width()) {
        print_line(&line)?;
    }
    if let Some(cursor) = answer["next_cursor"].as_str() {
        say(&format!("there are more: add --cursor {}", visible(cursor)));
    }
    Ok(())
}

/// Narrower terminals show a trace in two lines.
const ONE_LINE: usize = 80;

fn lines(traces: &[Value], width: usize) -> Vec<String> {
    if width < ONE_LINE {
        return traces.iter().flat_map(|trace| two_lines(trace, width)).collect();
    }
    // What is fixed takes 32 + 24 + 10 + 6 + 4 columns and the gaps; a narrow terminal goes without the time.
    let with_time = width >= 110;
    let fixed = 32 + 2 + 10 + 2 + 6 + 2 + 4 + 2 + if with_time { 26 } else { 0 };
    let name_width = width.saturating_sub(fixed).max(12);
    let mut lines = vec![format!(
        "{}  {}{:>10}  {:>6}  {:>4}  {}",
        cell("TRACE", 32),
        if with_time { cell("START", 26) } else { String::new() },
        "DURATION",
        "SPANS",
        "ERR",
        fit("ROOT", name_width)
    )];
    for trace in traces {
        let text = |field: &str| trace[field].as_str().unwrap_or_default();
        let root = format!("{}: {}", text("root_service"), text("root_operation"));
        lines.push(format!(
            "{}  {}{:>10}  {:>6}  {:>4}  {}",
            cell(text("trace_id"), 32),
            if with_time { cell(&moment(text("start_unix_nano")), 26) } else { String::new() },
            duration(trace["duration_nanos"].as_f64().unwrap_or(0.0)),
            trace["spans"].as_u64().unwrap_or(0),
            match trace["errors"].as_u64().unwrap_or(0) {
                0 => String::new(),
                errors => errors.to_string(),
            },
            fit(&root, name_width)
        ));
    }
    lines
}

/// Root and duration; below, the id and what it consists of.
fn two_lines(trace: &Value, width: usize) -> [String; 2] {
    let text = |field: &str| trace[field].as_str().unwrap_or_default();
    let took = duration(trace["duration_nanos"].as_f64().unwrap_or(0.0));
    let root = format!("{}: {}", text("root_service"), text("root_operation"));
    let room = width.saturating_sub(took.chars().count() + 2);
    let errors = match trace["errors"].as_u64().unwrap_or(0) {
        0 => String::new(),
        errors => format!(", {errors} failed"),
    };
    let consists = format!("  {}  {} spans{errors}", text("trace_id"), trace["spans"].as_u64().unwrap_or(0));
    [format!("{}  {took}", cell(&root, room)), fit(&consists, width)]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_fits_the_terminal() {
        let trace = json!({
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "root_service": "gallery", "root_operation": "GET /images/{id}",
            "start_unix_nano": "1700000000123000000", "duration_nanos": 1_500_000_000u64, "spans": 12, "errors": 1,
        });
        assert_eq!(
            lines(std::slice::from_ref(&trace), 120)[1],
            "4bf92f3577b34da6a3ce929d0e0e4736  2023-11-14T22:13:20.123Z       1.5 s      12     1  gallery: GET /images/{id}"
        );
        for width in [40, 60, 80, 200] {
            for line in lines(std::slice::from_ref(&trace), width) {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
        }
        assert_eq!(
            lines(std::slice::from_ref(&trace), 60),
            [
                "gallery: GET /images/{id}                              1.5 s",
                "  4bf92f3577b34da6a3ce929d0e0e4736  12 spans, 1 failed"
            ]
        );
    }
}
