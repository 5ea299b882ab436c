//! What may be wrong, and how much speaks for it.
//!
//! Four things are looked at, each in a number that the other three do not change:
//!
//! | what            | the number                                             | a cause                              |
//! |-----------------|--------------------------------------------------------|--------------------------------------|
//! | slower          | own time of a call at a place                          | places that one thing would slow     |
//! | more often      | calls of a place for each call of its caller           | a caller and what it calls           |
//! | one by one      | how much of a place's children's time overlaps         | the place                            |
//! | failing         | spans that fail while none of their children does      | the place                            |
//!
//! Slower places are gathered by what would slow them together:
//!
//! ```text
//! network of S     all edges to and from S                 A ──▶ S ──▶ T
//! S itself         all of its own operations                     S
//! all of S         both, and what it waits for: a process without processor time delays all that it does
//! an edge          all calls from one service to another   A ──▶ S
//! a dependency     all calls of one service to one target        S ──▶ database
//! a single place   one operation
//! ```
//!
//! A cause slows most of its places and leaves alone the others. For each way of gathering, the evidence of
//! its places is added up; those that did not get slower speak against it. The best takes its places, and the search goes
//! on with those that are left. Before any evidence, each way of gathering is as likely as the others, and so is each
//! service within one: there are many single places, so that each of them has to show more.

mod calls;
mod errors;
mod forks;
mod merge;
mod slower;

use crate::place::Place;

use super::FindingKind;
use super::study::Study;

/// Something that may be wrong.
#[derive(Clone, Debug)]
pub(crate) struct Cause {
    pub(crate) kind: FindingKind,
    /// The service to look at.
    pub(crate) service: u32,
    pub(crate) operation: u32,
    /// Caller and callee, if it is between two services.
    pub(crate) edge: Option<(u32, u32)>,
    /// What shows it.
    pub(crate) signal: Signal,
    /// The places that it delays, sorted.
    pub(crate) places: Vec<u32>,
    /// Those of them that show it.
    pub(crate) slowed: Vec<u32>,
    /// The logarithm of how much likelier it is than that nothing is wrong, given how many there are to choose from.
    pub(crate) strength: f64,
    /// That number, as a logarithm below zero.
    pub(crate) prior: f64,
    /// By how much the logarithm of a duration drifts from one window to the other.
    pub(crate) drift: f64,
    pub(crate) slower_nanos: f64,
    pub(crate) more_often_nanos: f64,
    /// What it adds at least, beyond chance and drift.
    pub(crate) sure_nanos: f64,
}

/// Which number shows a cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Signal {
    Slower,
    Calls { parent: u32, child: u32 },
    Fork { place: u32 },
    Errors { place: u32 },
}

impl Cause {
    /// What it surely adds, times how likely it is.
    fn expected_nanos(&self) -> f64 {
        self.sure_nanos.max(0.0) / (1.0 + (-self.strength).exp())
    }

    pub(crate) fn added_nanos(&self) -> f64 {
        self.slower_nanos + self.more_often_nanos
    }
}

/// By what factor something at fault is slower, give or take, as a logarithm: a factor of e.
pub(crate) const FAULT: f64 = 1.0;
/// Ways of gathering and other things looked at; all are as likely beforehand.
const FAMILIES: f64 = 9.0;
/// One-sided 95 %.
const SURE: f64 = 1.645;

/// All causes, the one that surely adds the most first.
pub(crate) fn find(study: &Study) -> Vec<Cause> {
    let calls = calls::causes(study);
    let claimed = calls::below(study, calls.iter().filter(|cause| cause.strength > 0.0));
    let mut causes = slower::causes(study, &claimed);
    causes.extend(calls);
    causes.extend(forks::causes(study));
    causes.extend(errors::causes(study));
    calls::drop_consequences(study, &mut causes);
    merge::merge(study, &mut causes);
    causes.sort_by(|left, right| {
        (right.expected_nanos().total_cmp(&left.expected_nanos()))
            .then(right.added_nanos().total_cmp(&left.added_nanos()))
            .then(left.places.cmp(&right.places))
    });
    causes
}

fn edge_of(place: Place) -> Option<(u32, u32)> {
    match place {
        Place::Edge { from, to, .. } => Some((from, to)),
        _ => None,
    }
}
