//! Functions that see each span on its way out: `docs/adr/0053-a-hook-sees-spans-on-their-way-out.md`.

use crate::exporter::Hook;
use crate::recording::PENDING;
use crate::{OnEnd, otlp};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How many spans were kept, and how many of those and of the others had ended.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) kept: usize,
    pub(super) kept_ended: u64,
    pub(super) dropped_ended: u64,
}

/// Shows the encoded spans to the hooks, and writes those that are kept. A span at which a hook panics is not: what should
/// have been taken out of it must not leave.
pub(super) fn show(hooks: &mut [Hook], encoded: &[u8], out: &mut Vec<u8>) -> Shown {
    let mut shown = Shown::default();
    for mut span in otlp::decode_spans(encoded) {
        // Those that have not ended are counted when they do.
        let ended = u64::from(span.tag_value(PENDING).is_none());
        let keeps = |hook: &mut Hook| {
            catch_unwind(AssertUnwindSafe(|| hook(&mut span))).is_ok_and(|decision| decision == OnEnd::Keep)
        };
        if hooks.iter_mut().all(keeps) {
            otlp::span_data(out, &span);
            shown.kept += 1;
            shown.kept_ended += ended;
        } else {
            shown.dropped_ended += ended;
        }
    }
    shown
}

#[cfg(test)]
mod tests;
