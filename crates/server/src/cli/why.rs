//! `tracewell why`: the answer in words, then the table.

use anyhow::Result;
use clap::Args;
use serde_json::Value;

use super::client::{Client, print_json, print_line};
use super::table::{duration, fit, moment, width};
use super::{ServerArgs, TimeArgs};

/// Arguments of `tracewell why`.
#[derive(Args, Clone, Debug)]
pub(super) struct WhyArgs {
    /// Service whose requests are looked at [default: every entry service]
    #[arg(long, short)]
    service: Option<String>,
    /// Operation of that service
    #[arg(long, short)]
    operation: Option<String>,
    #[command(flatten)]
    time: TimeArgs,
    /// Start of a window of normal requests to compare with; without one, fast and slow ones of the same window
    #[arg(long, allow_hyphen_values = true, value_name = "TIME", requires = "baseline_to")]
    baseline_from: Option<String>,
    /// End of that window
    #[arg(long, allow_hyphen_values = true, value_name = "TIME", requires = "baseline_from")]
    baseline_to: Option<String>,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) fn run(args: &WhyArgs) -> Result<()> {
    let mut query = vec![("start", args.time.from.clone()), ("end", args.time.to.clone())];
    for (name, value) in [
        ("service", &args.service),
        ("operation", &args.operation),
        ("baseline_start", &args.baseline_from),
        ("baseline_end", &args.baseline_to),
    ] {
        query.extend(value.clone().map(|value| (name, value)));
    }
    let answer = Client::new(&args.server.url).get("/api/v1/why", &query)?;
    if args.server.json {
        return print_json(&answer);
    }
    for line in lines(&answer, width()) {
        print_line(&line)?;
    }
    Ok(())
}

/// The summary, a line a finding, what is known of the first, and what the spans cannot tell.
pub(super) fn lines(why: &Value, width: usize) -> Vec<String> {
    let mut lines = vec![why["summary"].as_str().unwrap_or_default().to_owned()];
    let findings = why["findings"].as_array().map_or(&[][..], Vec::as_slice);
    if !findings.is_empty() {
        lines.push(String::new());
        lines.push(format!("{:>9}  {:>6}  {:<13}  WHERE", "ADDED", "SHARE", "WHAT"));
    }
    for finding in findings {
        let text = |field: &str| finding[field].as_str().unwrap_or_default();
        let place = match (finding["edge"]["from"].as_str(), finding["edge"]["to"].as_str()) {
            (Some(from), Some(to)) => format!("{from} → {to}: {}", text("operation")),
            _ => format!("{}: {}", text("service"), text("operation")),
        };
        let line = format!(
            "{:>9}  {:>5.0}%  {:<13}  {place}{}",
            duration(finding["added_nanos"].as_f64().unwrap_or(0.0)),
            finding["share"].as_f64().unwrap_or(0.0) * 100.0,
            words(text("kind")),
            if finding["significant"] == true { "" } else { " (may be chance)" },
        );
        lines.push(fit(&line, width));
    }
    if let Some(first) = findings.first() {
        lines.push(String::new());
        lines.push(first["sentence"].as_str().unwrap_or_default().to_owned());
        let nanos = |value: &Value| duration(value.as_f64().unwrap_or(0.0));
        lines.push(format!(
            "Between {} and {} a request (95 %): {} because calls take longer, {} because there are more.",
            nanos(&first["confidence"][0]),
            nanos(&first["confidence"][1]),
            nanos(&first["slower_nanos"]),
            nanos(&first["more_often_nanos"]),
        ));
        if let Some(since) = first["since_unix_nano"].as_str() {
            lines.push(format!("Since {}.", moment(since)));
        }
        for attribute in first["attributes"].as_array().into_iter().flatten() {
            let text = |field: &str| attribute[field].as_str().unwrap_or_default();
            let number = |field: &str| attribute[field].as_f64().unwrap_or(0.0);
            lines.push(format!(
                "For {} = {}: {:.1} times as often as elsewhere, {:.0} % of it is gone without (p {:.0e}).",
                text("key"),
                text("value"),
                number("lift"),
                100.0 * number("explained"),
                number("p_value"),
            ));
        }
    }
    if let Some(first) = findings.first() {
        let examples: Vec<&str> =
            first["examples"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if !examples.is_empty() {
            lines.push(String::new());
            lines.push("Traces that show it:".to_owned());
            lines.extend(examples.iter().take(3).map(|id| format!("  tracewell trace {id}")));
        }
    }
    for caveat in why["caveats"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        lines.push(format!("note: {caveat}"));
    }
    lines
}

/// A kind of finding in a few letters.
fn words(kind: &str) -> &str {
    match kind {
        "self_time" => "own work",
        "edge" => "between",
        "external" => "waits for",
        "waiting" => "waits inside",
        "more_calls" => "more calls",
        "new_call" => "new call",
        "missing_call" => "missing call",
        "serialized" => "one by one",
        "error" => "errors",
        other => other,
    }
}
