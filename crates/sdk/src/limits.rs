//! What a single span may hold.

/// What a single span may hold; the rest is counted as dropped, texts are cut.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) tags: usize,
    pub(crate) events: usize,
    pub(crate) links: usize,
    pub(crate) event_tags: usize,
    /// Of a text in a tag or status.
    pub(crate) value_chars: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { tags: 128, events: 128, links: 128, event_tags: 128, value_chars: 16 << 10 }
    }
}
