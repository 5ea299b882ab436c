//! Which traces are the slow ones, when nobody says.

use std::collections::BTreeMap;

use crate::observe::Observed;

/// Traces in two groups.
#[derive(Clone, Debug, Default)]
pub(crate) struct Split {
    /// Of each trace, in the order given, whether it is slow; `None` if it takes no part.
    pub(crate) sides: Vec<Option<bool>>,
    /// Whether latencies fall into two clear groups; otherwise slow ones are just the slowest.
    pub(crate) two_groups: bool,
    /// What to keep in mind, for people.
    pub(crate) caveats: Vec<String>,
}

/// Splits traces by the duration of their root, each entry operation (the root's service and name) on its own.
///
/// An entry whose durations fall into two clear groups is split between them; if there is any such entry, only those
/// take part. Otherwise each entry's slowest tenth is set against its faster half, with a caveat. Entries with fewer
/// than 4 traces are left out.
///
/// Two clear groups: the best split of the logarithms of the durations (Otsu 1979, the same as 2-means in one
/// dimension) explains at least 80 % of their variance, where a normal distribution's best split explains 64 % and a
/// uniform one's 75 %, and the groups' geometric means are at least a factor of 1.5 apart.
pub(crate) fn split_by_latency(traces: &[Observed]) -> Split {
    let mut entries: BTreeMap<u32, Vec<(u64, usize)>> = BTreeMap::new();
    for (row, trace) in traces.iter().enumerate() {
        entries.entry(trace.entry).or_default().push((trace.total_nanos, row));
    }
    entries.retain(|_, members| members.len() >= MIN_TRACES);
    let mut two_groups = Vec::new();
    let mut one_group = Vec::new();
    for mut members in entries.into_values() {
        members.sort_unstable();
        match clear_split(&members.iter().map(|(nanos, _)| *nanos).collect::<Vec<_>>()) {
            Some(first_slow) => two_groups.push((members, first_slow)),
            None => one_group.push(members),
        }
    }

    let mut sides: Vec<Option<bool>> = vec![None; traces.len()];
    let mut caveats = Vec::new();
    if two_groups.is_empty() {
        for members in &one_group {
            let slowest = members.len().div_ceil(10);
            members.iter().rev().take(slowest).for_each(|(_, place)| sides[*place] = Some(true));
            members.iter().take(members.len() / 2).for_each(|(_, place)| sides[*place] = Some(false));
        }
        if !one_group.is_empty() {
            caveats.push(
                "Latencies do not fall into a slow and a normal group; the slowest tenth was compared with the faster \
                 half, which shows what makes requests slow in general. Give a baseline to compare with another time."
                    .to_owned(),
            );
        }
    }
    for (members, first_slow) in &two_groups {
        members.iter().enumerate().for_each(|(rank, (_, place))| sides[*place] = Some(rank >= *first_slow));
    }
    let left_out = sides.iter().filter(|side| side.is_none()).count();
    if !two_groups.is_empty() && left_out > 0 {
        caveats.push(format!(
            "{left_out} of {} traces were left out: their operations show no slow and normal group.",
            traces.len()
        ));
    }

    Split { sides, caveats, two_groups: !two_groups.is_empty() }
}

/// Whether the latencies of any entry operation fall into two clear groups, as [`split_by_latency`] defines them.
pub(crate) fn has_two_groups(traces: &[Observed]) -> bool {
    split_by_latency(traces).two_groups
}

const MIN_TRACES: usize = 4;
const MIN_EXPLAINED: f64 = 0.8;
const MIN_FACTOR: f64 = 1.5;

/// Where the slow group begins in sorted durations, if there are two clear groups.
fn clear_split(sorted_nanos: &[u64]) -> Option<usize> {
    let count = sorted_nanos.len();
    // A group of one or two among many is an outlier, not a group.
    let smallest_group = if count >= 12 { 3 } else { 1 };
    let logs: Vec<f64> = sorted_nanos.iter().map(|nanos| (*nanos as f64).max(1.0).ln()).collect();
    let sum: f64 = logs.iter().sum();
    let mean = sum / count as f64;
    let variance: f64 = logs.iter().map(|log| (log - mean).powi(2)).sum();
    let mut below = 0.0;
    let mut best: Option<(f64, usize, f64)> = None;
    for first_slow in 1..count {
        below += logs[first_slow - 1];
        if first_slow < smallest_group || count - first_slow < smallest_group {
            continue;
        }
        let (low, high) = (first_slow as f64, (count - first_slow) as f64);
        let apart = (sum - below) / high - below / low;
        let between = low * high / count as f64 * apart * apart;
        if best.is_none_or(|(most, ..)| between > most) {
            best = Some((between, first_slow, apart));
        }
    }
    let (between, first_slow, apart) = best?;
    (between >= MIN_EXPLAINED * variance && apart >= MIN_FACTOR.ln()).then_some(first_slow)
}

#[cfg(test)]
mod tests;
