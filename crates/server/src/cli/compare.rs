//! `tracewell compare`: two traces, or two sets of traces, side by side.

use std::collections::HashSet;

use anyhow::Result;
use clap::Args;
use serde_json::Value;
use tracewell_insight::duration;

use super::ServerArgs;
use super::client::Client;
use super::table::{fit, width, wrap};
use crate::output::{print_json, print_line};

/// Arguments of `tracewell compare`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "Examples:
  tracewell compare 4bf92f3577b34da6a3ce929d0e0e4736 00f067aa0ba902b7a3ce929d0e0e4736
  tracewell compare 'service=cart start=-2h end=-1h' 'service=cart start=-1h'
  tracewell compare -n 20 'operation=pay max_duration=50ms' 'operation=pay min_duration=1s'

Conditions are those of /api/v1/traces, with spaces between and quotes around what has some: service, operation, tag, min_duration, max_duration, status, kind, start, end, and limit, the newest so many traces (100).")]
pub(super) struct CompareArgs {
    /// A trace id; several, separated by commas; or conditions, such as 'service=cart start=-2h end=-1h'
    a: String,
    /// What to compare with, written alike
    b: String,
    /// Shows so many call paths, those that differ the most on the critical path, and what leads to them [default: all]
    #[arg(long, short = 'n', value_name = "COUNT")]
    largest: Option<usize>,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) fn run(args: &CompareArgs) -> Result<()> {
    let query = [("a", args.a.clone()), ("b", args.b.clone())];
    let answer = Client::new(&args.server.url)?.get("/api/v1/compare", &query)?;
    if args.server.json {
        return print_json(&answer);
    }
    for line in lines(&answer, args.largest, width()) {
        print_line(&line)?;
    }
    Ok(())
}

/// Narrower terminals go without the durations.
const WITH_DURATIONS: usize = 100;

/// What differs in words, a line a call path, and what the figures cannot tell. Each figure is a mean a trace; the critical
/// path says what the difference costs the request.
fn lines(comparison: &Value, largest: Option<usize>, width: usize) -> Vec<String> {
    let text = |value: &Value, field: &str| value[field].as_str().unwrap_or_default().to_owned();
    let number = |value: &Value, field: &str| value[field].as_f64().unwrap_or(0.0);
    let mut lines = wrap(&text(comparison, "summary"), width);
    lines.push(String::new());
    let with_durations = width >= WITH_DURATIONS;
    lines.push(if with_durations {
        format!("{:>8} {:>8}  {:>9} {:>9}  {:>10}  CALL PATH", "CALLS A", "B", "TIME A", "B", "CRITICAL")
    } else {
        format!("{:>11}  {:>10}  CALL PATH", "CALLS", "CRITICAL")
    });
    let paths = comparison["paths"].as_array().map_or(&[][..], Vec::as_slice);
    let chosen = largest.map(|count| with_parents(paths, count));
    for (place, path) in paths.iter().enumerate() {
        if chosen.as_ref().is_some_and(|chosen| !chosen.contains(&place)) {
            continue;
        }
        let [a, b] = [&path["a"], &path["b"]];
        let shown = |side: &Value, figure: String| if side["longest"].is_null() { "-".to_owned() } else { figure };
        let calls = |side: &Value| shown(side, mean(number(side, "calls")));
        let time = |side: &Value| shown(side, duration(number(side, "duration_nanos")));
        let added = added_nanos(path);
        // Means leave parts of a nanosecond.
        let change = if added.abs() < 0.5 { "0".to_owned() } else { duration(added) };
        let change = format!("{}{change}", if added >= 0.5 { "+" } else { "" });
        let figures = if with_durations {
            format!("{:>8} {:>8}  {:>9} {:>9}  {change:>10}", calls(a), calls(b), time(a), time(b))
        } else {
            let (before, after) = (calls(a), calls(b));
            let calls = if before == after { after } else { format!("{before} → {after}") };
            format!("{calls:>11}  {change:>10}")
        };
        let errors = if number(a, "errors") + number(b, "errors") > 0.0 {
            format!("  ! {} / {}", mean(number(a, "errors")), mean(number(b, "errors")))
        } else {
            String::new()
        };
        // Deep traces keep some room for names.
        let depth = (path["depth"].as_u64().unwrap_or(0) as usize).min((width - figures.chars().count()) / 6);
        let place = format!("{}{}: {}", "  ".repeat(depth), text(path, "service"), text(path, "operation"));
        let room = width.saturating_sub(figures.chars().count() + 2 + errors.chars().count()).max(4);
        lines.push(format!("{figures}  {}{errors}", fit(&place, room)));
    }
    if lines.iter().any(|line| line.contains("  ! ")) {
        lines.extend([String::new(), fit("! failed spans of A / B", width)]);
    }
    for caveat in comparison["caveats"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        lines.extend(wrap(&format!("note: {caveat}"), width));
    }
    lines
}

fn added_nanos(path: &Value) -> f64 {
    let critical = |side: &str| path[side]["critical_nanos"].as_f64().unwrap_or(0.0);
    critical("b") - critical("a")
}

/// The places of the paths that differ the most, and of all that leads to them.
fn with_parents(paths: &[Value], count: usize) -> HashSet<usize> {
    let mut order: Vec<usize> = (0..paths.len()).collect();
    order.sort_by(|left, right| added_nanos(&paths[*right]).abs().total_cmp(&added_nanos(&paths[*left]).abs()));
    let mut chosen = HashSet::new();
    for place in order.into_iter().take(count) {
        let mut next = Some(place);
        while let Some(place) = next.filter(|place| chosen.insert(*place)) {
            // A parent comes before its children.
            next = paths[place]["parent"].as_u64().map(|parent| parent as usize).filter(|parent| *parent < place);
        }
    }
    chosen
}

/// A mean with at most one decimal, or two if it is small.
fn mean(value: f64) -> String {
    let decimals = 1 + usize::from(value < 1.0);
    format!("{value:.decimals$}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn sample() -> Value {
        let none = json!({"calls": 0.0, "duration_nanos": 0.0, "critical_nanos": 0.0, "errors": 0.0, "longest": null});
        let span = json!({"trace_id": "1", "span_id": "2"});
        let some = json!({"calls": 1.5, "duration_nanos": 2e6, "critical_nanos": 2e6, "errors": 1.0, "longest": span});
        let path = |depth: u32, operation: &str, a: &Value, b: &Value| json!({"depth": depth, "service": "cart", "operation": operation, "a": a, "b": b});
        json!({
            "summary": "B took 2 ms longer than A.",
            "paths": [path(0, "GET /", &some, &some), path(1, "SELECT", &none, &some)],
            "caveats": ["The clocks of 1 trace were brought together, by 3 ms at most."],
        })
    }

    #[test]
    fn a_path_that_one_side_lacks_is_shown_with_dashes() {
        assert_eq!(
            lines(&sample(), None, 100).join("\n"),
            [
                "B took 2 ms longer than A.",
                "",
                " CALLS A        B     TIME A         B    CRITICAL  CALL PATH",
                "     1.5      1.5       2 ms      2 ms           0  cart: GET /  ! 1 / 1",
                "       -      1.5          -      2 ms       +2 ms    cart: SELECT  ! 0 / 1",
                "",
                "! failed spans of A / B",
                "note: The clocks of 1 trace were brought together, by 3 ms at most.",
            ]
            .join("\n")
        );
    }

    #[test]
    fn the_largest_differences_come_with_what_leads_to_them() {
        let path =
            |parent: Option<usize>, nanos: f64| json!({"parent": parent, "a": {}, "b": {"critical_nanos": nanos}});
        let paths = [path(None, 0.0), path(Some(0), 5.0), path(Some(1), -7.0), path(Some(0), 6.0), path(None, 1.0)];
        let chosen = |count| {
            let mut places: Vec<usize> = with_parents(&paths, count).into_iter().collect();
            places.sort_unstable();
            places
        };
        assert_eq!(chosen(0), [0; 0]);
        assert_eq!(chosen(1), [0, 1, 2]);
        assert_eq!(chosen(2), [0, 1, 2, 3]);
        assert_eq!(chosen(9), [0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_narrow_terminal_keeps_room_for_the_path() {
        let lines = lines(&sample(), None, 40);
        assert!(lines.iter().all(|line| line.chars().count() <= 40), "{lines:#?}");
        assert_eq!(lines[4], "    - → 1.5       +2 ms    car…  ! 0 / 1");
    }
}
