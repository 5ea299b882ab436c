//! Slow and normal traces that may be compared.

use std::collections::BTreeMap;

use crate::observe::Observation;

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
    /// Groups traces by entry; also says how many slow traces have no normal trace to be compared with.
    pub(crate) fn new(slow: &[Observation], normal: &[Observation]) -> (Self, usize) {
        let mut fine: BTreeMap<(u32, u32), Stratum> = BTreeMap::new();
        for (row, trace) in slow.iter().enumerate() {
            fine.entry((trace.entry, trace.coarse_entry)).or_default().slow.push(row);
        }
        for (row, trace) in normal.iter().enumerate() {
            fine.entry((trace.entry, trace.coarse_entry)).or_default().normal.push(row);
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
