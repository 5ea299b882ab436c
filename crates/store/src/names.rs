//! The names in use: services, operations, attribute keys.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use tracewell_model::{SpanBatch, SpanKind, StrId, TimeRange};

use crate::{AttributeScope, Operation};

/// Names beyond these counts are not remembered, so that a sender that puts ids into names cannot fill the memory.
const MOST_OPERATIONS: usize = 20_000;
const MOST_KEYS: usize = 20_000;

/// The names that some spans use.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
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
                self.add_key(scope as u8, batch.string(key));
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
            self.add_key(*scope, key);
        }
    }

    fn add_operation(&mut self, service: &str, name: &str, kind: u8) {
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

    fn add_key(&mut self, scope: u8, key: &str) {
        if self.keys.len() < MOST_KEYS {
            self.keys.insert((scope, key.to_owned()));
        }
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
}

impl ValuesOf<'_> {
    /// Adds the values in a batch; keeps the first `limit` in order.
    pub(crate) fn collect(&self, batch: &SpanBatch, out: &mut BTreeSet<String>) {
        if batch.strings().find(self.key).is_none() {
            return;
        }
        for span in batch.iter().filter(|span| self.time.contains(span.start_unix_nano())) {
            let own = span.attributes().iter();
            let shared = span.resource_attributes().chain(span.scope_attributes());
            for (_, value) in own.chain(shared).filter(|(key, _)| *key == self.key) {
                let text = value.to_string();
                if text.starts_with(self.prefix) && !out.contains(&text) {
                    out.insert(text);
                    if out.len() > self.limit {
                        out.pop_last();
                    }
                }
            }
        }
    }
}
