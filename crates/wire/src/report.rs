//! What is said of refused spans: the first few reasons, with how often each occurred.

/// How many different reasons are told.
const MOST_REASONS: usize = 5;

/// How long a reason may be.
const MAX_REASON_BYTES: usize = 512;

/// Counts refused spans and remembers why.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) rejected: u64,
    reasons: Vec<(String, u64)>,
    others: u64,
}

impl Report {
    /// A span was refused. `reason` names the field and must not hold what differs from span to span.
    pub(crate) fn reject(&mut self, reason: String) {
        self.reject_many(reason, 1);
    }

    /// Several spans were refused for one reason.
    pub(crate) fn reject_many(&mut self, reason: String, spans: u64) {
        self.rejected += spans;
        self.note(reason, spans);
    }

    /// Something was changed, and nothing refused.
    pub(crate) fn note(&mut self, mut reason: String, times: u64) {
        if reason.len() > MAX_REASON_BYTES {
            // It may quote what was sent.
            let whole = (0..=MAX_REASON_BYTES).rev().find(|length| reason.is_char_boundary(*length));
            reason.truncate(whole.unwrap_or(0));
        }
        if let Some((_, count)) = self.reasons.iter_mut().find(|(known, _)| *known == reason) {
            *count += times;
        } else if self.reasons.len() < MOST_REASONS {
            self.reasons.push((reason, times));
        } else {
            self.others += times;
        }
    }

    /// One line for people; empty if there is nothing to say.
    pub(crate) fn message(&self) -> String {
        let mut parts: Vec<String> = self
            .reasons
            .iter()
            .map(|(reason, times)| if *times == 1 { reason.clone() } else { format!("{reason} ({times} times)") })
            .collect();
        if self.others > 0 {
            parts.push(format!("and {} for other reasons", self.others));
        }
        parts.join("; ")
    }
}
