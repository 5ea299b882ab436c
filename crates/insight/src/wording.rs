//! Findings as sentences.

use std::collections::BTreeSet;

use crate::place::Place;
use crate::why::causes::Cause;
use crate::why::study::Study;
use crate::why::{Edge, Finding, FindingKind, Why};

/// What a sentence says of the places of a finding that the finding itself does not hold.
pub(crate) struct Scope {
    /// How many places take part.
    places: usize,
    /// How many ways between services these are.
    edges: usize,
    /// What the service waits for, if it is something external.
    target: String,
}

impl Scope {
    pub(crate) fn of(study: &Study, cause: &Cause) -> Self {
        let places = &study.observer.places;
        let target = cause.places.iter().find_map(|place| match places.get(*place) {
            Place::External { target, operation, .. } if operation == cause.operation => Some(target),
            _ => None,
        });
        let edges: BTreeSet<(u32, u32)> = cause
            .places
            .iter()
            .filter_map(|place| match places.get(*place) {
                Place::Edge { from, to, .. } => Some((from, to)),
                _ => None,
            })
            .collect();
        Self { places: cause.places.len(), edges: edges.len(), target: places.text(target.unwrap_or(0)).to_owned() }
    }
}

/// One sentence for a tired person.
pub(crate) fn summary(why: &Why, enough: bool) -> String {
    if why.slow.traces == 0 && why.normal.traces == 0 {
        return "There are no traces to compare.".to_owned();
    }
    if why.slow.traces == 0 || why.normal.traces == 0 {
        let missing = if why.slow.traces == 0 { "slow" } else { "normal" };
        return format!("There are no {missing} traces to compare with.");
    }
    let medians =
        format!("{} instead of {} (median)", duration(why.slow.median_nanos), duration(why.normal.median_nanos));
    // Of several, the first that is more than chance.
    let first = why.findings.iter().find(|finding| finding.significant).or(why.findings.first());
    let Some(first) = first else { return format!("Nothing is slower: requests take {medians}.") };
    let cause = where_is(first);
    if first.significant {
        match first.kind {
            FindingKind::Error => format!("Requests fail: errors begin in {cause}{}.", for_whom(first)),
            _ => format!(
                "Requests take {medians}: {} of the added time is {cause}{}.",
                percent(first.share),
                for_whom(first)
            ),
        }
    } else if why.added_nanos <= 0 {
        format!("Nothing is slower: requests take {medians}.")
    } else if enough {
        format!("Nothing significant: requests take {medians}, which may be chance; if it is not, look at {cause}.")
    } else {
        format!("Too few traces to be sure: requests take {medians}; look at {cause}.")
    }
}

fn where_is(finding: &Finding) -> String {
    let Finding { service, operation, .. } = finding;
    let (from, to) = ends(finding);
    match finding.kind {
        FindingKind::SelfTime => format!("{service}'s own work, most in {operation}"),
        FindingKind::Waiting => format!("{service} waiting in itself ({operation})"),
        FindingKind::External => format!("{service} waiting for {operation}"),
        FindingKind::Edge if service == from => {
            format!("on the way to and from {service}, most between {from} and {to}")
        }
        FindingKind::Edge => format!("between {from} and {to} ({operation})"),
        FindingKind::MoreCalls => format!("more calls of {operation} in {}", caller(finding)),
        FindingKind::NewCall => format!("a new call of {operation} in {}", caller(finding)),
        FindingKind::MissingCall => format!("calls of {operation} that {} no longer makes", caller(finding)),
        FindingKind::Retries => format!("{from} calling {to} again and again ({operation} fails)"),
        FindingKind::Timeout => format!("{from} waiting for {to} until it gives up ({operation})"),
        FindingKind::Serialized => format!("{service}'s {operation} doing one by one what it did at once"),
        FindingKind::Error => format!("{service} ({operation})"),
    }
}

fn ends(finding: &Finding) -> (&str, &str) {
    finding.edge.as_ref().map_or((&finding.service, &finding.service), |Edge { from, to }| (from, to))
}

fn caller(finding: &Finding) -> &str {
    ends(finding).0
}

fn for_whom(finding: &Finding) -> String {
    finding
        .attributes
        .first()
        .map(|attribute| format!(", for {} = {}", attribute.key, attribute.value))
        .unwrap_or_default()
}

/// A finding in words.
pub(crate) fn sentence(finding: &Finding, scope: &Scope) -> String {
    let Finding { service, operation, .. } = finding;
    let added = duration(finding.added_nanos.unsigned_abs());
    let times = if finding.added_nanos < 0 {
        format!("{added} less a request")
    } else {
        format!("{added} more a request, {} of the added time", percent(finding.share))
    };
    let chance = if finding.significant { "" } else { "; this may be chance" };
    let places = if scope.places > 1 { format!("in {} places, most in", scope.places) } else { "in".to_owned() };
    let (from, to) = ends(finding);
    let what = match finding.kind {
        FindingKind::SelfTime => format!("{service} spends more time in its own work, {places} {operation}"),
        FindingKind::Waiting => {
            format!("{service} waits longer in itself, {places} {operation}: for a lock, a pool, or its turn")
        }
        FindingKind::External => {
            let target = if scope.target.is_empty() { "something that records no spans" } else { &scope.target };
            format!("{service} waits longer for {target}, {places} {operation}")
        }
        FindingKind::Edge if scope.edges <= 1 => format!(
            "More time passes between {from} and {to} (calls of {operation}), in neither service's own spans: network, \
             queues or proxies"
        ),
        FindingKind::Edge => format!(
            "More time passes on the way to and from {service}, on {} edges, most between {from} and {to}: network, \
             queues or proxies",
            scope.edges
        ),
        FindingKind::MoreCalls => format!("{} makes more calls of {operation} than before", caller(finding)),
        FindingKind::NewCall => format!("{} calls {operation} of {service}, which it did not before", caller(finding)),
        FindingKind::MissingCall => format!("{} no longer calls {operation} of {service}", caller(finding)),
        FindingKind::Retries => format!("{operation} of {to} fails and {from} calls it again"),
        FindingKind::Timeout => format!("{from} waits for {operation} of {to} until it gives up"),
        FindingKind::Serialized => format!("{service}'s {operation} does one by one what it did at once"),
        FindingKind::Error => {
            return format!(
                "Errors begin in {operation} of {service}: it fails while nothing that it calls does{}{chance}.",
                for_whom(finding)
            );
        }
    };
    format!("{what}{}: {times}{chance}.", for_whom(finding))
}

/// A duration of whole nanoseconds, as it is written everywhere.
pub(crate) fn duration(nanos: u64) -> String {
    crate::duration(nanos as f64)
}

fn percent(part: f64) -> String {
    if part < 0.005 { "less than 1 %".to_owned() } else { format!("{:.0} %", part * 100.0) }
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
    use crate::why::Group;

    fn finding(service: &str, added_nanos: i64, significant: bool) -> Finding {
        Finding {
            rank: 1,
            kind: FindingKind::SelfTime,
            service: service.to_owned(),
            operation: "work".to_owned(),
            edge: None,
            added_nanos,
            share: 0.001,
            confidence: (0, 0),
            slower_nanos: added_nanos,
            more_often_nanos: 0,
            slow_nanos: 0,
            normal_nanos: 0,
            significant,
            traces: 1,
            attributes: Vec::new(),
            since_unix_nano: None,
            examples: Vec::new(),
            normal_examples: Vec::new(),
            sentence: String::new(),
        }
    }

    #[test]
    fn the_summary_is_of_what_is_more_than_chance() {
        let group = Group { traces: 9, median_nanos: 1_000, ..Group::default() };
        let findings = vec![finding("noisy", 2_000, false), finding("slow", 1_000, true)];
        let why = Why { significant: true, slow: group, normal: group, findings, ..Why::default() };
        let words = summary(&why, true);
        assert!(words.contains("slow's own work") && !words.contains("chance"), "{words}");
    }

    #[test]
    fn what_got_faster_takes_less() {
        let scope = Scope { places: 1, edges: 0, target: String::new() };
        assert!(sentence(&finding("a", -1_500, true), &scope).ends_with("in work: 1.5 µs less a request."));
        let words = sentence(&finding("a", 1_500, true), &scope);
        assert!(words.ends_with("1.5 µs more a request, less than 1 % of the added time."), "{words}");
    }
}
