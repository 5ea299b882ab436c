//! The names in use: services, operations, attribute keys.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashSet};

use tracewell_model::{SpanBatch, SpanKind, StrId, TimeRange, Value, ValueRef};

use crate::embedded::{Damaged, Input, put_varint};
use crate::{AttributeScope, Operation};

/// Names beyond these counts are not remembered, so that a sender that puts ids into names cannot fill the memory.
const MOST_OPERATIONS: usize = 20_000;
const MOST_KEYS: usize = 20_000;

/// The names that some spans use.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Names {
    /// Operations with the number of their kind, by service.
    services: BTreeMap<String, BTreeSet<(String, u8)>>,
    /// Attribute keys with the number of their scope.
    keys: BTreeSet<(u8, String)>,
    operations: usize,
}

const SCOPES: [AttributeScope; 4] =
    [AttributeScope::Span, AttributeScope::Resource, AttributeScope::Scope, AttributeScope::Event];

impl Names {
    pub(crate) fn add(&mut self, batch: &SpanBatch) {
        let spans = batch.spans();
        let mut seen: BTreeSet<(StrId, StrId, SpanKind)> = BTreeSet::new();
        for row in 0..batch.len() {
            let service = batch.resources()[spans.resource[row].index()].service;
            seen.insert((service, spans.name[row], spans.kind[row]));
        }
        for (service, name, kind) in seen {
            self.add_operation(batch.string(service), batch.string(name), kind as u8);
        }
        let distinct = |keys: &[StrId]| keys.iter().copied().collect::<BTreeSet<_>>();
        let shared = |keys: Vec<StrId>| distinct(&keys);
        let resources = batch.resources().iter().flat_map(|r| r.attributes.iter().map(|(key, _)| *key)).collect();
        let scopes = batch.scopes().iter().flat_map(|s| s.attributes.iter().map(|(key, _)| *key)).collect();
        let by_scope = [
            distinct(&batch.span_attributes().key),
            shared(resources),
            shared(scopes),
            distinct(&batch.event_attributes().key),
        ];
        for (scope, keys) in by_scope.into_iter().enumerate() {
            for key in keys {
                self.add_key(SCOPES[scope], batch.string(key));
            }
        }
    }

    pub(crate) fn merge(&mut self, other: &Names) {
        for (service, operations) in &other.services {
            for (name, kind) in operations {
                self.add_operation(service, name, *kind);
            }
        }
        for (scope, key) in &other.keys {
            if self.keys.len() < MOST_KEYS && !self.keys.contains(&(*scope, key.clone())) {
                self.keys.insert((*scope, key.clone()));
            }
        }
    }

    pub(crate) fn add_operation(&mut self, service: &str, name: &str, kind: u8) {
        if self.operations >= MOST_OPERATIONS {
            return;
        }
        if !self.services.contains_key(service) {
            self.services.insert(service.to_owned(), BTreeSet::new());
        }
        if let Some(operations) = self.services.get_mut(service) {
            self.operations += usize::from(operations.insert((name.to_owned(), kind)));
        }
    }

    pub(crate) fn add_key(&mut self, scope: AttributeScope, key: &str) {
        let number = SCOPES.iter().position(|known| *known == scope).unwrap_or(0) as u8;
        if self.keys.len() < MOST_KEYS {
            self.keys.insert((number, key.to_owned()));
        }
    }

    /// Whether an event has an attribute with this key.
    pub(crate) fn has_event_key(&self, key: &str) -> bool {
        self.keys.len() >= MOST_KEYS || self.keys.iter().any(|(scope, known)| *scope == 3 && known == key)
    }

    /// Appends the names as a segment keeps them.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        let text = |out: &mut Vec<u8>, text: &str| {
            put_varint(out, text.len() as u64);
            out.extend_from_slice(text.as_bytes());
        };
        put_varint(out, self.services.len() as u64);
        for (service, operations) in &self.services {
            text(out, service);
            put_varint(out, operations.len() as u64);
            for (name, kind) in operations {
                text(out, name);
                out.push(*kind);
            }
        }
        put_varint(out, self.keys.len() as u64);
        for (scope, key) in &self.keys {
            out.push(*scope);
            text(out, key);
        }
    }

    /// Reads what [`put`](Self::put) wrote.
    pub(crate) fn get(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut input = Input(bytes);
        let most = bytes.len();
        let mut names = Self::default();
        for _ in 0..input.size(most)? {
            let service = input.text()?.to_owned();
            let mut operations = BTreeSet::new();
            for _ in 0..input.size(most)? {
                let name = input.text()?.to_owned();
                operations.insert((name, input.byte()?));
            }
            names.operations += operations.len();
            names.services.insert(service, operations);
        }
        for _ in 0..input.size(most)? {
            let scope = input.byte()?;
            names.keys.insert((scope, input.text()?.to_owned()));
        }
        Ok(names)
    }

    pub(crate) fn services(&self) -> Vec<String> {
        self.services.keys().cloned().collect()
    }

    pub(crate) fn operations(&self, service: Option<&str>, limit: usize) -> Vec<Operation> {
        let wanted = self.services.iter().filter(|(name, _)| service.is_none_or(|service| service == name.as_str()));
        let operations: BTreeSet<Operation> = wanted
            .flat_map(|(_, operations)| operations)
            .map(|(name, kind)| Operation {
                name: name.clone(),
                kind: SpanKind::from_number(i64::from(*kind)).unwrap_or_default(),
            })
            .collect();
        operations.into_iter().take(limit).collect()
    }

    pub(crate) fn keys(&self, limit: usize) -> Vec<(AttributeScope, String)> {
        let keys = self.keys.iter().take(limit);
        keys.filter_map(|(scope, key)| Some((*SCOPES.get(usize::from(*scope))?, key.clone()))).collect()
    }
}

/// A question for the values of an attribute.
pub(crate) struct ValuesOf<'a> {
    pub(crate) key: &'a str,
    pub(crate) prefix: &'a str,
    pub(crate) time: TimeRange,
    pub(crate) limit: usize,
    /// How many values of columns that hardly repeat are still to be looked at: there is no end of them, and who wants
    /// suggestions does not want to wait for it.
    pub(crate) rare_left: Cell<usize>,
}

/// Of values that hardly repeat, the newest so many are looked at, which takes some milliseconds.
const MOST_RARE_VALUES: usize = 1 << 16;

impl<'a> ValuesOf<'a> {
    pub(crate) fn new(key: &'a str, prefix: &'a str, time: TimeRange, limit: usize) -> Self {
        Self { key, prefix, time, limit, rare_left: Cell::new(MOST_RARE_VALUES) }
    }

    /// Takes so many values from those that are still to be looked at.
    pub(crate) fn look_at_rare(&self, values: usize) {
        self.rare_left.set(self.rare_left.get().saturating_sub(values));
    }

    pub(crate) fn is_exhausted(&self) -> bool {
        self.rare_left.get() == 0
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
                let is_late = out.len() >= self.limit && out.last().is_none_or(|last| text >= last.as_str());
                if !is_late && text.starts_with(self.prefix) && !out.contains(text) {
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
        out.insert(text);
        if out.len() > self.limit {
            out.pop_last();
        }
    }
}
