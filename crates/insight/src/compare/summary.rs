//! What differs, in a few sentences.

use super::{ComparedPath, ComparedSide};
use crate::wording::duration;

/// Below this part of the longer one, two durations are called alike.
const ALIKE: f64 = 0.02;

pub(super) fn summary(sides: &[ComparedSide; 2], paths: &[ComparedPath]) -> String {
    let [a, b] = sides;
    if a.traces == 0 || b.traces == 0 {
        return "There are no traces to compare.".to_owned();
    }
    let added = b.duration_nanos - a.duration_nanos;
    let is_alike = added.abs() <= ALIKE * a.duration_nanos.max(b.duration_nanos);
    let mut sentences = vec![how_long(sides, added, is_alike)];
    if (&a.root_service, &a.root_operation) != (&b.root_service, &b.root_operation) {
        sentences.push("They are different kinds of request, so their calls cannot be aligned.".to_owned());
    } else {
        // The first of equals comes first, as it is called.
        let towards = |path: &&ComparedPath| path.added_nanos() * added.signum();
        let most = paths.iter().rev().max_by(|left, right| towards(left).total_cmp(&towards(right)));
        if let Some(most) = most.filter(|most| !is_alike && towards(most) > 0.0) {
            let sign = if added < 0.0 { '−' } else { '+' };
            let part = nanos(most.added_nanos().abs());
            let (service, operation) = (&most.service, &most.operation);
            let part = format!("The largest part, {sign}{part}, is at {service}: {operation}{}.", how_often(most));
            sentences.push(part);
        }
        sentences.push(which_calls(paths, a.traces + b.traces > 2));
    }
    if a.errors + b.errors > 0 {
        let failed = |side: &ComparedSide| figure(side.errors as f64 / side.traces as f64);
        let each = if a.traces + b.traces > 2 { " a request" } else { "" };
        sentences.push(format!("Failed spans{each}: {} in A, {} in B.", failed(a), failed(b)));
    }
    sentences.join(" ")
}

fn how_long([a, b]: &[ComparedSide; 2], added: f64, is_alike: bool) -> String {
    let (before, after) = (nanos(a.duration_nanos), nanos(b.duration_nanos));
    let on_average = if a.traces + b.traces > 2 { " on average" } else { "" };
    if is_alike {
        return format!("B took about as long as A{on_average}: {after} and {before}.");
    }
    let how = if added > 0.0 { "longer" } else { "less" };
    format!("B took {} {how} than A{on_average}: {after} instead of {before}.", nanos(added.abs()))
}

fn which_calls(paths: &[ComparedPath], are_means: bool) -> String {
    let said = |count: usize, side: &str, what: &str| match count {
        0 => None,
        1 => Some(format!("1 call path of {side} is {what}")),
        count => Some(format!("{count} call paths of {side} are {what}")),
    };
    let fresh = said(paths.iter().filter(|path| path.is_new()).count(), "B", "new");
    let gone = said(paths.iter().filter(|path| path.is_missing()).count(), "A", "missing");
    let others: Vec<String> = fresh.into_iter().chain(gone).collect();
    if !others.is_empty() {
        return format!("{}.", others.join(", "));
    }
    // Means of many traces are hardly ever equal.
    let differ = |path: &&ComparedPath| figure(path.sides[0].calls) != figure(path.sides[1].calls);
    match paths.iter().filter(differ).count() {
        0 if are_means => "Both have the same call paths, as often.".to_owned(),
        0 => "Both make the same calls.".to_owned(),
        1 => "Both have the same call paths, one of them another number of times.".to_owned(),
        count => format!("Both have the same call paths, {count} of them another number of times."),
    }
}

fn how_often(path: &ComparedPath) -> String {
    if path.is_new() {
        return ", which A does not call".to_owned();
    }
    if path.is_missing() {
        return ", which B does not call".to_owned();
    }
    let [before, after] = path.sides.map(|side| figure(side.calls));
    let times = |figure: &str| match figure {
        "1" => "once".to_owned(),
        "2" => "twice".to_owned(),
        figure => format!("{figure} times"),
    };
    if before == after { String::new() } else { format!(", called {} instead of {}", times(&after), times(&before)) }
}

/// A mean with at most one decimal, or two if it is small.
fn figure(mean: f64) -> String {
    let decimals = 1 + usize::from(mean < 1.0);
    format!("{mean:.decimals$}").trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn nanos(value: f64) -> String {
    duration(value.round() as u64)
}
