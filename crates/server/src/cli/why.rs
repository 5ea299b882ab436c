//! `tracewell why`: the answer in words, then the table.

use anyhow::Result;
use clap::Args;
use serde_json::Value;
use tracewell_insight::duration;

use super::client::Client;
use super::table::{fit, moment, width, wrap};
use super::{ServerArgs, TimeArgs};
use crate::output::{print_json, print_line};

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
    let answer = Client::new(&args.server.url)?.get("/api/v1/why", &query)?;
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
    let mut lines = wrap(why["summary"].as_str().unwrap_or_default(), width);
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
        let figures = format!(
            "{:>9}  {:>6}  {:<13}",
            duration(finding["added_nanos"].as_f64().unwrap_or(0.0)),
            percent(finding["share"].as_f64().unwrap_or(0.0)),
            words(text("kind")),
        );
        let chance = if finding["significant"] == true { "" } else { " (chance?)" };
        let room = width.saturating_sub(figures.chars().count() + 2 + chance.len());
        lines.push(format!("{figures}  {}{chance}", fit(&place, room)));
    }
    if let Some(first) = findings.first() {
        lines.push(String::new());
        lines.extend(wrap(first["sentence"].as_str().unwrap_or_default(), width));
        let nanos = |value: &Value| duration(value.as_f64().unwrap_or(0.0));
        let because = match (first["slower_nanos"].as_i64(), first["more_often_nanos"].as_i64()) {
            (_, Some(0)) => "because calls take longer".to_owned(),
            (Some(0), _) => "because of how many calls there are".to_owned(),
            _ => format!(
                "{} because calls take longer, {} because of how many there are",
                nanos(&first["slower_nanos"]),
                nanos(&first["more_often_nanos"])
            ),
        };
        let (low, high) = (nanos(&first["confidence"][0]), nanos(&first["confidence"][1]));
        let range = if low == high { format!("About {low}") } else { format!("Between {low} and {high}") };
        lines.extend(wrap(&format!("{range} a request (95 %): {because}."), width));
        if let Some(since) = first["since_unix_nano"].as_str() {
            lines.push(format!("Since {}.", moment(since)));
        }
        for attribute in first["attributes"].as_array().into_iter().flatten() {
            let text = |field: &str| attribute[field].as_str().unwrap_or_default();
            let number = |field: &str| attribute[field].as_f64().unwrap_or(0.0);
            let line = format!(
                "For {} = {}: {:.1} times as often as elsewhere, {:.0} % of it is gone without (p {:.0e}).",
                text("key"),
                text("value"),
                number("lift"),
                100.0 * number("explained"),
                number("p_value"),
            );
            lines.extend(wrap(&line, width));
        }
    }
    if let Some(first) = findings.first() {
        let examples: Vec<&str> =
            first["examples"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        if !examples.is_empty() {
            lines.push(String::new());
            lines.push("Traces that show it:".to_owned());
            lines.extend(examples.iter().take(3).map(|id| format!("  tracewell trace {id}")));
            if let Some(normal) = first["normal_examples"][0].as_str() {
                lines.push("Beside a normal one:".to_owned());
                // As one word each, to be copied: not wrapped.
                lines.push(format!("  tracewell compare {normal} {}", examples[0]));
            }
        }
    }
    for caveat in why["caveats"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        lines.extend(wrap(&format!("note: {caveat}"), width));
    }
    lines
}

/// A part in percent; what is little is not nothing.
fn percent(part: f64) -> String {
    if part > 0.0 && part < 0.005 { "< 1%".to_owned() } else { format!("{:.0}%", part * 100.0) }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_but_commands_is_wider_than_the_terminal() {
        let finding = json!({
            "kind": "external", "service": "catalog", "operation": "SELECT images of everybody", "edge": null,
            "added_nanos": 702_000_000, "share": 0.002, "significant": false, "confidence": [701_000_000, 702_000_000],
            "slower_nanos": 702_000_000, "more_often_nanos": 0, "attributes": [], "since_unix_nano": null,
            "examples": ["2af2b87a3210686c3b4a534a2d161e03"], "normal_examples": ["a2f7f544f9afb6bf86f441fe31547fab"],
            "sentence": "catalog waits longer for sqlite, in SELECT images: 702 ms more a request.",
        });
        let why = json!({
            "summary": "Requests take 705 ms instead of 1.84 ms (median): most of it is catalog waiting for SELECT images.",
            "findings": [finding], "caveats": ["There are more traces than can be looked at: one in 4 was."],
        });
        let lines = lines(&why, 60);
        assert_eq!(lines[4], "   702 ms    < 1%  waits for      catalog: SELECT… (chance?)");
        let text: Vec<&String> = lines.iter().filter(|line| !line.starts_with("  tracewell ")).collect();
        assert!(text.iter().all(|line| line.chars().count() <= 60), "{text:#?}");
        assert!(lines.contains(&"Between 701 ms and 702 ms a request (95 %): because calls".to_owned()), "{lines:#?}");
    }
}
