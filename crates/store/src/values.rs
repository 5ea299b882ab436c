//! The values of an attribute.

use std::cell::Cell;
use std::collections::{BTreeSet, HashSet};

use tracewell_model::{SpanBatch, StrId, TimeRange, Value, ValueRef};

use crate::Listed;

/// A question for the values of an attribute.
pub(crate) struct ValuesOf<'a> {
    pub(crate) key: &'a str,
    pub(crate) prefix: &'a str,
    pub(crate) time: TimeRange,
    pub(crate) limit: usize,
    /// How many values of columns that hardly repeat are still to be looked at: there is no end of them, and who wants
    /// suggestions does not want to wait for it.
    rare_left: Cell<usize>,
    /// Whether some values were left out or not read.
    is_cut: Cell<bool>,
    /// Bytes of the values that are kept.
    bytes: Cell<usize>,
}

/// Bytes of all values in one answer.
const MAX_VALUE_BYTES: usize = 4 << 20;

/// Maximum number of values that hardly repeat and are read, the newest first, which takes some milliseconds.
const MOST_RARE_VALUES: usize = 1 << 16;

impl<'a> ValuesOf<'a> {
    pub(crate) fn new(key: &'a str, prefix: &'a str, time: TimeRange, limit: usize) -> Self {
        Self {
            key,
            prefix,
            time,
            limit,
            rare_left: Cell::new(MOST_RARE_VALUES),
            is_cut: Cell::new(false),
            bytes: Cell::new(0),
        }
    }

    /// Takes a number of values from those that are still to be read.
    pub(crate) fn look_at_rare(&self, values: usize) {
        self.rare_left.set(self.rare_left.get().saturating_sub(values));
    }

    /// Whether no more of those are to be read, of which this is a question about more of them.
    pub(crate) fn is_exhausted(&self) -> bool {
        let is_exhausted = self.rare_left.get() == 0;
        self.is_cut.set(self.is_cut.get() || is_exhausted);
        is_exhausted
    }

    /// The values that were found.
    pub(crate) fn listed(&self, found: BTreeSet<String>) -> Listed<String> {
        Listed { items: found.into_iter().collect(), complete: !self.is_cut.get(), ..Listed::default() }
    }

    /// Adds the values in a batch; keeps the first `limit` in order.
    pub(crate) fn collect(&self, batch: &SpanBatch, out: &mut BTreeSet<String>) {
        let Some(key) = batch.strings().find(self.key) else { return };
        let spans = batch.spans();
        let is_inside = |row: &usize| self.time.contains(spans.start_unix_nano[*row]);
        let mut seen: HashSet<StrId> = HashSet::new();
        let mut add = |value: Value, out: &mut BTreeSet<String>| match value {
            Value::Str(id) if !seen.insert(id) => {}
            value => self.add(batch.value(value), out),
        };
        let mut resources = vec![false; batch.resources().len()];
        let mut scopes = vec![false; batch.scopes().len()];
        for row in (0..batch.len()).filter(is_inside) {
            resources[spans.resource[row].index()] = true;
            scopes[spans.scope[row].index()] = true;
            let attributes = batch.span(row).attributes();
            for (known, value) in attributes.raw_keys().iter().zip(attributes.raw_values()) {
                if *known == key {
                    add(*value, out);
                }
            }
        }
        let of_resources = batch.resources().iter().zip(resources).map(|(resource, seen)| (&resource.attributes, seen));
        let of_scopes = batch.scopes().iter().zip(scopes).map(|(scope, seen)| (&scope.attributes, seen));
        for (attributes, _) in of_resources.chain(of_scopes).filter(|(_, seen)| *seen) {
            attributes.iter().filter(|(known, _)| *known == key).for_each(|(_, value)| add(*value, out));
        }
    }

    /// Adds a value; keeps the first `limit` in order.
    pub(crate) fn add(&self, value: ValueRef<'_>, out: &mut BTreeSet<String>) {
        match value {
            // Most are texts that are not among the first, or that are known: these are not copied.
            ValueRef::Str(text) => {
                if !text.starts_with(self.prefix) {
                    return;
                }
                let is_full = out.len() >= self.limit || self.bytes.get() + text.len() > MAX_VALUE_BYTES;
                if is_full && out.last().is_none_or(|last| text > last.as_str()) {
                    self.is_cut.set(true);
                } else if !out.contains(text) {
                    self.insert(text.to_owned(), out);
                }
            }
            other => {
                let text = other.to_string();
                if text.starts_with(self.prefix) {
                    self.insert(text, out);
                }
            }
        }
    }

    fn insert(&self, text: String, out: &mut BTreeSet<String>) {
        let length = text.len();
        if out.insert(text) {
            self.bytes.set(self.bytes.get() + length);
        }
        while out.len() > self.limit || self.bytes.get() > MAX_VALUE_BYTES {
            let Some(last) = out.pop_last() else { break };
            self.bytes.set(self.bytes.get() - last.len());
            self.is_cut.set(true);
        }
    }
}
