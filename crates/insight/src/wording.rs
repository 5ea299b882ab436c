//! Findings as sentences.

use crate::place::Place;
use crate::why::causes::Cause;
use crate::why::{Finding, Why};

/// One sentence for a tired person.
pub(crate) fn summary(why: &Why, first_cause: Option<&Cause<'_>>, enough: bool) -> String {
    if why.slow.traces == 0 && why.normal.traces == 0 {
        return "There are no traces to compare.".to_owned();
    }
    if why.slow.traces == 0 || why.normal.traces == 0 {
        let missing = if why.slow.traces == 0 { "slow" } else { "normal" };
        return format!("There are no {missing} traces to compare with.");
    }
    let medians =
        format!("{} instead of {} (median)", duration(why.slow.median_nanos), duration(why.normal.median_nanos));
    let (Some(first), Some(cause), true) = (why.findings.first(), first_cause, why.added_nanos > 0) else {
        return format!("Nothing is slower: requests take {medians}.");
    };
    let cause = format!("{} of the added time is {}", percent(first.share), where_is(cause));
    if why.significant && first.significant {
        format!("Requests take {medians}: {cause}.")
    } else if why.significant {
        format!("Requests take {medians}, but no single place stands out beyond chance; the most, {cause}.")
    } else if enough {
        format!("Nothing significant: requests take {medians}, which may be chance; if it is not, {cause}.")
    } else {
        format!("Too few traces to be sure: requests take {medians}; {cause}.")
    }
}

fn where_is(cause: &Cause<'_>) -> String {
    let service = cause.service;
    match cause.main() {
        Place::Own { operation, .. } if is_mostly_one(cause) => format!("{service}'s own work in {operation}"),
        Place::Own { operation, .. } => format!("{service}'s own work, most of it in {operation}"),
        Place::External { operation, .. } => format!("{service} waiting for {operation}"),
        Place::Edge { from, to, operation } if is_mostly_one(cause) => {
            format!("between {from} and {to} ({operation})")
        }
        Place::Edge { from, to, .. } => format!("on the way to and from {service}, most between {from} and {to}"),
    }
}

/// Whether naming the main place says it all.
fn is_mostly_one(cause: &Cause<'_>) -> bool {
    cause.places.len() == 1 || cause.places[0].1 > 0.9 * cause.added_nanos
}

/// A finding in words.
pub(crate) fn sentence(finding: &Finding, cause: &Cause<'_>) -> String {
    let times = format!(
        "{} a request instead of {}, {} of the added time",
        duration(finding.slow_nanos),
        duration(finding.normal_nanos),
        percent(finding.share)
    );
    let main_part = cause.places[0].1 / cause.added_nanos;
    let mostly = |what: &str| {
        if is_mostly_one(cause) {
            what.to_owned()
        } else {
            format!("{} places, most {what} ({})", cause.places.len(), percent(main_part))
        }
    };
    let chance = if finding.significant { "" } else { "; this may be chance" };
    let service = cause.service;
    match cause.main() {
        Place::Own { operation, .. } => {
            format!(
                "{service} spends more time in its own work, {}: {times}{chance}.",
                mostly(&format!("in {operation}"))
            )
        }
        Place::External { target, operation, .. } => {
            let target = if target.is_empty() { "something that records no spans" } else { target };
            format!("{service} waits longer for {target}, {}: {times}{chance}.", mostly(&format!("in {operation}")))
        }
        Place::Edge { from, to, operation } if is_mostly_one(cause) => format!(
            "More time passes between {from} and {to} (calls of {operation}), in neither service's own spans: network, \
             queues or proxies: {times}{chance}."
        ),
        Place::Edge { from, to, .. } => format!(
            "More time passes on the way to and from {service}, on {} edges, most between {from} and {to} ({}): \
             network, queues or proxies: {times}{chance}.",
            cause.places.len(),
            percent(main_part)
        ),
    }
}

/// A duration with three digits: `950 ns`, `12.3 ms`, `2.05 s`, `3 min 20 s`.
pub(crate) fn duration(nanos: u64) -> String {
    let (value, unit) = match nanos {
        0..1_000 => return format!("{nanos} ns"),
        1_000..1_000_000 => (nanos as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => (nanos as f64 / 1e6, "ms"),
        1_000_000_000..120_000_000_000 => (nanos as f64 / 1e9, "s"),
        _ => {
            let seconds = (nanos as f64 / 1e9).round() as u64;
            return format!("{} min {} s", seconds / 60, seconds % 60);
        }
    };
    let decimals = if value < 10.0 { 2 } else { usize::from(value < 100.0) };
    format!("{value:.decimals$} {unit}")
}

fn percent(part: f64) -> String {
    format!("{:.0} %", part * 100.0)
}

/// `1 trace`, `2 traces`.
pub(crate) fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

/// `1 trace was`, `2 traces were`.
pub(crate) fn were(number: usize, noun: &str) -> String {
    format!("{} {}", count(number, noun), if number == 1 { "was" } else { "were" })
}

/// `1 trace has`, `2 traces have`.
pub(crate) fn have(number: usize, noun: &str) -> String {
    format!("{} {}", count(number, noun), if number == 1 { "has" } else { "have" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        let words = [950, 1_500, 12_340_000, 2_050_000_000, 200_000_000_000].map(duration);
        assert_eq!(words, ["950 ns", "1.50 µs", "12.3 ms", "2.05 s", "3 min 20 s"]);
    }
}
