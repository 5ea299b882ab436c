//! What a single span may hold.

/// What a single span may hold; the rest is counted as dropped.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) tags: usize,
    pub(crate) events: usize,
    pub(crate) links: usize,
    pub(crate) value_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { tags: 128, events: 128, links: 128, value_bytes: 16 << 10 }
    }
}
