//! Slow and normal traces that may be compared.

use std::collections::{BTreeMap, BTreeSet};

use crate::observe::Observed;

/// Slow and normal traces by entry.
#[derive(Clone, Debug, Default)]
pub(crate) struct Strata {
    pub(crate) strata: Vec<Stratum>,
}

/// Rows of traces with one entry; neither side is empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stratum {
    pub(crate) slow: Vec<usize>,
    pub(crate) normal: Vec<usize>,
    /// The part of all compared slow traces that are here; weights add up to 1.
    pub(crate) weight: f64,
}

/// Below this many traces on a side, the finer entry (behind a gateway) is given up for the root alone.
const MIN_TRACES_BEHIND: usize = 3;

impl Strata {
    /// Groups traces by entry, those that are on a side: `true` for the slow one. Also says how many slow traces have no
    /// normal trace to be compared with.
    pub(crate) fn new(traces: &[Observed], sides: &[Option<bool>]) -> (Self, usize) {
        // Behind an entry that always leads to the same place, nothing is told apart: one more call there, and the trace
        // would be taken for another kind of request.
        let mut ways: BTreeMap<u32, BTreeSet<u32>> = BTreeMap::new();
        let normal = traces.iter().zip(sides).filter(|(_, side)| **side == Some(false)).map(|(trace, _)| trace);
        for trace in normal.filter(|trace| trace.entry != trace.coarse_entry) {
            ways.entry(trace.coarse_entry).or_default().insert(trace.entry);
        }
        let key = |trace: &Observed| {
            let is_told_apart = ways.get(&trace.coarse_entry).is_some_and(|ways| ways.len() > 1);
            (if is_told_apart { trace.entry } else { trace.coarse_entry }, trace.coarse_entry)
        };
        let mut fine: BTreeMap<(u32, u32), Stratum> = BTreeMap::new();
        for (row, (trace, side)) in traces.iter().zip(sides).enumerate() {
            let Some(is_slow) = *side else { continue };
            let stratum = fine.entry(key(trace)).or_default();
            if is_slow { stratum.slow.push(row) } else { stratum.normal.push(row) }
        }
        let mut coarse: BTreeMap<u32, Stratum> = BTreeMap::new();
        let mut strata = Vec::new();
        for ((_, coarse_entry), stratum) in fine {
            if stratum.slow.len().min(stratum.normal.len()) >= MIN_TRACES_BEHIND {
                strata.push(stratum);
            } else {
                let rest = coarse.entry(coarse_entry).or_default();
                rest.slow.extend(stratum.slow);
                rest.normal.extend(stratum.normal);
            }
        }
        let mut unmatched = 0;
        for stratum in coarse.into_values() {
            if stratum.normal.is_empty() {
                unmatched += stratum.slow.len();
            } else if !stratum.slow.is_empty() {
                strata.push(stratum);
            }
        }
        let compared: usize = strata.iter().map(|stratum| stratum.slow.len()).sum();
        for stratum in &mut strata {
            stratum.weight = stratum.slow.len() as f64 / compared as f64;
        }
        (Self { strata }, unmatched)
    }
}
