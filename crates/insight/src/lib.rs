//! Where the time of requests goes: pure functions over traces. No I/O, no clock, no randomness.
//!
//! | module          | answers                                                                        |
//! |-----------------|--------------------------------------------------------------------------------|
//! | `self_time`     | [`self_time_nanos`]: how long each span did work of its own                    |
//! | `critical_path` | [`critical_path`]: what the request was waiting for, at each moment            |
//! | `outline`       | one trace in numbers, whether it comes as a trace or as columns                |
//! | `timeline`      | clocks that disagree, brought together as far as the spans allow               |
//! | `place`         | where a piece of a critical path belongs: a service's own work, an edge, a dependency |
//! | `observe`       | one trace as the few numbers a place that a comparison needs                   |
//! | `postings`      | such numbers of many traces, packed                                            |
//! | `split`         | which of many traces are the slow ones                                         |
//! | `survey`        | [`Survey`]: what is known of many traces, taken in a few at a time             |
//! | `why`           | [`why`], [`Inquiry`]: where the added time of slow traces went, ranked         |
//! | `slack`         | [`leeway`]: drag and slack of each span                                        |
//! | `compare`       | [`Comparer`]: two traces, or two sets, side by side by structure               |
//! | `flame`         | [`Flame`]: critical paths of many traces as folded stacks and as a picture     |
//! | `wording`       | findings as sentences                                                          |
//! | `duration`      | [`duration()`]: durations as people read them                                  |
//!
//! `docs/why.md` defines the words and draws them.
//!
//! ```
//! use tracewell_insight::{Options, critical_path, explain, self_time_nanos};
//! use tracewell_model::{SpanBatch, Trace};
//!
//! let trace = Trace::assemble(SpanBatch::new());
//! assert!(critical_path(&trace).is_empty());
//! assert!(self_time_nanos(&trace).is_empty());
//! let why = explain(&[trace], &Options::default());
//! assert!(!why.significant);
//! println!("{}", why.summary);
//! ```

mod compare;
mod critical_path;
mod duration;
#[cfg(test)]
mod extremes;
mod flame;
mod observe;
mod outline;
mod place;
mod postings;
mod self_time;
mod slack;
mod split;
mod statistics;
mod survey;
mod symbols;
mod timeline;
mod why;
mod wording;

pub use compare::{ComparedPath, ComparedSide, Comparer, Comparison, PathStats};
pub use critical_path::{Piece, PieceKind, critical_path};
pub use duration::duration;
pub use flame::Flame;
pub use self_time::self_time_nanos;
pub use slack::{Leeway, leeway};
pub use survey::{Sampling, Survey};
pub use why::{Attribution, Edge, Finding, FindingKind, Group, Inquiry, Options, Why, explain, why};
