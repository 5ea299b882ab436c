//! Spans as exporters see them, and the words that describe them.

use crate::{Key, SpanContext, SpanId, Value};
use std::borrow::Cow;

/// The role of a span in a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum SpanKind {
    /// Work inside the service.
    #[default]
    Internal,
    /// Handles a request of another process.
    Server,
    /// Sends a request to another process and waits for the answer.
    Client,
    /// Puts a message in a queue.
    Producer,
    /// Takes a message from a queue.
    Consumer,
}

/// What becomes of a span that ended: see [`crate::Config::on_end`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnEnd {
    /// It is exported.
    Keep,
    /// It is not, and is counted in [`crate::Stats::dropped_on_end`].
    Drop,
}

/// How a span's work went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// Nobody said.
    #[default]
    Unset,
    /// Declared good, whatever it may look like.
    Ok,
    /// Failed; the text says how.
    Error(Cow<'static, str>),
}

/// Something that happened at one moment of a span.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Event {
    /// What happened.
    pub name: Key,
    /// When, in nanoseconds since the Unix epoch.
    pub unix_nanos: u64,
    /// Tags of the event alone.
    pub tags: Vec<(Key, Value)>,
    /// Tags beyond the limit.
    pub dropped_tags: u32,
}

/// A span, as exporters get it once it has ended.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct SpanData {
    /// The identity.
    pub context: SpanContext,
    /// The parent; `None` for the first span of a trace.
    pub parent_span_id: Option<SpanId>,
    /// Whether the parent is another process's.
    pub parent_is_remote: bool,
    /// The operation.
    pub name: Key,
    /// The role.
    pub kind: SpanKind,
    /// Nanoseconds since the Unix epoch.
    pub start_unix_nanos: u64,
    /// Nanoseconds since the Unix epoch; at least the start.
    pub end_unix_nanos: u64,
    /// Each key once, in the order first set.
    pub tags: Vec<(Key, Value)>,
    /// In the order they happened.
    pub events: Vec<Event>,
    /// Other spans that led to this one.
    pub links: Vec<SpanContext>,
    /// How it went.
    pub status: Status,
    /// Tags beyond the limit.
    pub dropped_tags: u32,
    /// Events beyond the limit.
    pub dropped_events: u32,
    /// Links beyond the limit.
    pub dropped_links: u32,
}

impl SpanData {
    /// The value of a tag.
    #[must_use]
    pub fn tag_value(&self, key: &str) -> Option<&Value> {
        self.tags.iter().find(|(other, _)| other == key).map(|(_, value)| value)
    }

    /// Sets a tag, in the place of an earlier one of that key.
    pub fn set_tag(&mut self, key: impl Into<Key>, value: impl Into<Value>) {
        let (key, value) = (key.into(), value.into());
        match self.tags.iter_mut().find(|(other, _)| *other == key) {
            Some((_, earlier)) => *earlier = value,
            None => self.tags.push((key, value)),
        }
    }

    /// Takes a tag out.
    pub fn remove_tag(&mut self, key: &str) -> Option<Value> {
        let at = self.tags.iter().position(|(other, _)| other == key)?;
        Some(self.tags.remove(at).1)
    }
}
