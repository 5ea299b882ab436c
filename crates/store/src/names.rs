//! The names in use: services, their operations, their attribute keys.
//!
//! Names are what senders make of them, and one that puts ids into names has millions. So each service has a share of its
//! own, of which the first in alphabetical order are kept, and of too many services those with the most spans: what is
//! known of one service does not depend on what another one sends. What is left out is marked, in memory, in segments and
//! in what is merged of them.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use foldhash::fast::RandomState;

use tracewell_model::{SpanBatch, SpanKind, StrId};

use crate::embedded::{Damaged, Input, put_varint};
use crate::{AttributeScope, Listed, Operation};

/// How many names are remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameLimits {
    /// Services; of more, those with the most spans are kept.
    pub services: usize,
    /// Operations of each service, and attribute keys of each service and part of the span.
    pub per_service: usize,
    /// Bytes of all names together.
    pub bytes: usize,
}

impl Default for NameLimits {
    fn default() -> Self {
        Self { services: 10_000, per_service: 1_000, bytes: 16 << 20 }
    }
}

/// What segments and batches keep: more than what is shown by default, so that more can be shown.
const STORED: NameLimits = NameLimits { services: 20_000, per_service: 4_000, bytes: 8 << 20 };

/// Names in use by some spans.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Names {
    limits: NameLimits,
    services: BTreeMap<String, OfService>,
    /// Keys of which the service is not known, by the number of their part: older segments do not say.
    keys: [BTreeSet<String>; PARTS],
    bytes: usize,
    /// Whether services, or keys of unknown services, were left out.
    is_cut: bool,
}

/// Names in use by one service.
#[derive(Clone, Debug, Default, PartialEq)]
struct OfService {
    spans: u64,
    /// Operations with the number of their kind.
    operations: BTreeSet<(String, u8)>,
    /// Attribute keys by the number of their part.
    keys: [BTreeSet<String>; PARTS],
    bytes: usize,
    are_operations_cut: bool,
    are_keys_cut: bool,
    /// Whether keys of events are among those.
    are_event_keys_cut: bool,
}

/// The parts of a span that have attributes, by number.
const SCOPES: [AttributeScope; PARTS] =
    [AttributeScope::Span, AttributeScope::Resource, AttributeScope::Scope, AttributeScope::Event];
const PARTS: usize = 4;
const EVENT: usize = 3;

/// What an entry takes beside its text, about.
const ENTRY_BYTES: usize = 64;

/// Maximum number of services of which it is told that names were left out.
const MAX_CUT_SERVICES: usize = 100;

/// Maximum number of names in a segment before each service had a share: one that has as many left some out.
const MAX_UNSHARED: usize = 20_000;

/// What follows the names that older versions read.
const HAS_SHARES: u8 = 1;

impl Default for Names {
    /// None yet, within what segments keep.
    fn default() -> Self {
        Self::new(STORED)
    }
}

impl Names {
    pub(crate) fn new(limits: NameLimits) -> Self {
        Self { limits, services: BTreeMap::new(), keys: Default::default(), bytes: 0, is_cut: false }
    }

    pub(crate) fn add(&mut self, batch: &SpanBatch) {
        let spans = batch.spans();
        let mut operations: HashSet<(StrId, StrId, SpanKind), RandomState> = HashSet::default();
        let mut keys: HashSet<(StrId, usize, StrId), RandomState> = HashSet::default();
        let mut counts: HashMap<StrId, u64, RandomState> = HashMap::default();
        for span in batch.iter() {
            let service = batch.resources()[spans.resource[span.row()].index()].service;
            operations.insert((service, spans.name[span.row()], spans.kind[span.row()]));
            *counts.entry(service).or_default() += 1;
            keys.extend(span.attributes().raw_keys().iter().map(|key| (service, 0, *key)));
            keys.extend(span.scope().attributes.iter().map(|(key, _)| (service, 2, *key)));
            for event in span.events() {
                keys.extend(event.attributes().raw_keys().iter().map(|key| (service, EVENT, *key)));
            }
        }
        for resource in batch.resources() {
            keys.extend(resource.attributes.iter().map(|(key, _)| (resource.service, 1, *key)));
        }
        for (service, spans) in counts {
            self.add_spans(batch.string(service), spans);
        }
        for (service, name, kind) in operations {
            self.add_operation(batch.string(service), batch.string(name), kind as u8);
        }
        for (service, part, key) in keys {
            self.add_key(batch.string(service), SCOPES[part], batch.string(key));
        }
    }

    pub(crate) fn merge(&mut self, other: &Names) {
        self.merge_names(other);
        other.services.iter().for_each(|(service, theirs)| self.add_spans(service, theirs.spans));
    }

    /// Merges all but how many spans each service has, which whoever reads the spans counts anew.
    pub(crate) fn merge_names(&mut self, other: &Names) {
        self.is_cut |= other.is_cut;
        for (service, theirs) in &other.services {
            theirs.operations.iter().for_each(|(name, kind)| self.add_operation(service, name, *kind));
            for (part, keys) in theirs.keys.iter().enumerate() {
                keys.iter().for_each(|key| self.add_key(service, SCOPES[part], key));
            }
            let own = self.of_service(service);
            own.are_operations_cut |= theirs.are_operations_cut;
            own.are_keys_cut |= theirs.are_keys_cut;
            own.are_event_keys_cut |= theirs.are_event_keys_cut;
        }
        for (own, theirs) in self.keys.iter_mut().zip(&other.keys) {
            for key in theirs.iter().filter(|key| !own.contains(*key)).cloned().collect::<Vec<_>>() {
                self.bytes += key.len() + ENTRY_BYTES;
                own.insert(key);
            }
        }
        self.keep_within();
    }

    /// Adds spans of a service to its count.
    pub(crate) fn add_spans(&mut self, service: &str, spans: u64) {
        let own = self.of_service(service);
        own.spans = own.spans.saturating_add(spans);
        self.keep_within();
    }

    pub(crate) fn add_operation(&mut self, service: &str, name: &str, kind: u8) {
        let limit = self.limits.per_service;
        let own = self.of_service(service);
        let length = |(name, _): &(String, u8)| name.len();
        let added = add_within(&mut own.operations, (name.to_owned(), kind), limit, length);
        own.are_operations_cut |= added.is_cut;
        own.bytes = (own.bytes + added.more_bytes).saturating_sub(added.less_bytes);
        self.bytes = (self.bytes + added.more_bytes).saturating_sub(added.less_bytes);
        self.keep_within();
    }

    pub(crate) fn add_key(&mut self, service: &str, scope: AttributeScope, key: &str) {
        let limit = self.limits.per_service;
        let part = SCOPES.iter().position(|known| *known == scope).unwrap_or(0);
        let own = self.of_service(service);
        let added = add_within(&mut own.keys[part], key.to_owned(), limit, String::len);
        own.are_keys_cut |= added.is_cut;
        own.are_event_keys_cut |= added.is_cut && part == EVENT;
        own.bytes = (own.bytes + added.more_bytes).saturating_sub(added.less_bytes);
        self.bytes = (self.bytes + added.more_bytes).saturating_sub(added.less_bytes);
        self.keep_within();
    }

    /// Notes that a service has keys that are not known.
    pub(crate) fn leave_out_keys(&mut self, service: &str) {
        self.of_service(service).are_keys_cut = true;
    }

    /// Whether an event may have an attribute with this key.
    pub(crate) fn has_event_key(&self, key: &str) -> bool {
        let may_have = |own: &OfService| own.are_event_keys_cut || own.keys[EVENT].contains(key);
        self.is_cut || self.keys[EVENT].contains(key) || self.services.values().any(may_have)
    }

    /// Bytes held.
    pub(crate) fn size_bytes(&self) -> usize {
        self.bytes
    }

    fn of_service(&mut self, service: &str) -> &mut OfService {
        if !self.services.contains_key(service) {
            self.bytes += service.len() + ENTRY_BYTES;
        }
        self.services.entry(service.to_owned()).or_default()
    }

    /// Leaves out services and names beyond the limits, once they are exceeded by enough that this is worth its time.
    fn keep_within(&mut self) {
        let most_services = self.limits.services + self.limits.services / 4;
        if self.bytes > self.limits.bytes || self.services.len() > most_services {
            self.cut_services();
        }
        if self.bytes > self.limits.bytes {
            self.cut_shares();
        }
    }

    /// Keeps the services with the most spans, and of those with as many the first.
    fn cut_services(&mut self) {
        let mut order: Vec<(Reverse<u64>, &str)> =
            self.services.iter().map(|(name, own)| (Reverse(own.spans), name.as_str())).collect();
        order.sort_unstable();
        let mut bytes = 0;
        let fits = order.iter().take(self.limits.services).take_while(|(_, name)| {
            bytes += name.len() + ENTRY_BYTES;
            bytes <= self.limits.bytes / 4
        });
        let kept = fits.count();
        let left_out: Vec<String> = order[kept..].iter().map(|(_, name)| (*name).to_owned()).collect();
        for name in left_out {
            if let Some(own) = self.services.remove(&name) {
                self.bytes = self.bytes.saturating_sub(name.len() + ENTRY_BYTES + own.bytes);
            }
            self.is_cut = true;
        }
    }

    /// Leaves no service more than its share of the bytes.
    fn cut_shares(&mut self) {
        let share = self.limits.bytes / 2 / (self.services.len() + 1);
        for own in self.services.values_mut() {
            while own.bytes > share {
                let largest = (0..PARTS).max_by_key(|part| own.keys[*part].len()).unwrap_or(0);
                // Of as many, keys go first: an operation says more of a service.
                let length = if own.keys[largest].len() >= own.operations.len() {
                    own.are_keys_cut = true;
                    own.are_event_keys_cut |= largest == EVENT;
                    own.keys[largest].pop_last().map(|key| key.len())
                } else {
                    own.are_operations_cut = true;
                    own.operations.pop_last().map(|(name, _)| name.len())
                };
                let Some(length) = length else { break };
                own.bytes = own.bytes.saturating_sub(length + ENTRY_BYTES);
                self.bytes = self.bytes.saturating_sub(length + ENTRY_BYTES);
            }
        }
        let mut bytes: usize = self.keys.iter().flatten().map(|key| key.len() + ENTRY_BYTES).sum();
        while bytes > share {
            let largest = (0..PARTS).max_by_key(|part| self.keys[*part].len()).unwrap_or(0);
            let Some(key) = self.keys[largest].pop_last() else { break };
            bytes = bytes.saturating_sub(key.len() + ENTRY_BYTES);
            self.bytes = self.bytes.saturating_sub(key.len() + ENTRY_BYTES);
            self.is_cut = true;
        }
    }

    pub(crate) fn services(mut self) -> Listed<String> {
        if self.services.len() > self.limits.services {
            self.cut_services();
        }
        let cut_services = self.cut_services_of(|own| own.are_operations_cut || own.are_keys_cut);
        Listed { items: self.services.into_keys().collect(), complete: !self.is_cut, cut_services }
    }

    fn cut_services_of(&self, is_cut: impl Fn(&OfService) -> bool) -> Vec<String> {
        let cut = self.services.iter().filter(|(_, own)| is_cut(own));
        cut.map(|(name, _)| name.clone()).take(MAX_CUT_SERVICES).collect()
    }

    pub(crate) fn operations(&self, service: Option<&str>, limit: usize) -> Listed<Operation> {
        let wanted = || self.services.iter().filter(|(name, _)| service.is_none_or(|service| service == name.as_str()));
        let (share, is_all) = fair_share(wanted().map(|(_, own)| own.operations.len()), limit);
        let operations: BTreeSet<Operation> = wanted()
            // With more services than there is room for names, the first of them have one each.
            .flat_map(|(_, own)| own.operations.iter().take(share.max(1)))
            .map(|(name, kind)| Operation {
                name: name.clone(),
                kind: SpanKind::from_number(i64::from(*kind)).unwrap_or_default(),
            })
            .collect();
        let is_wanted = |name: &str| service.is_none_or(|service| service == name);
        let mut cut_services = self.cut_services_of(|own| own.are_operations_cut);
        cut_services.retain(|name| is_wanted(name));
        let complete = is_all && !self.is_cut && cut_services.is_empty();
        Listed { items: operations.into_iter().take(limit).collect(), complete, cut_services }
    }

    pub(crate) fn keys(&self, limit: usize) -> Listed<(AttributeScope, String)> {
        let lists =
            || self.services.values().map(|own| &own.keys).chain([&self.keys]).flat_map(|keys| keys.iter().enumerate());
        let distinct: BTreeSet<(usize, &String)> =
            lists().flat_map(|(part, keys)| keys.iter().map(move |key| (part, key))).collect();
        let is_all = distinct.len() <= limit;
        let chosen = if is_all {
            distinct
        } else {
            // The largest share with which there is room for all.
            let chosen_with = |share: usize| -> BTreeSet<(usize, &String)> {
                lists().flat_map(|(part, keys)| keys.iter().take(share).map(move |key| (part, key))).collect()
            };
            let (mut low, mut high) = (0, limit);
            while low < high {
                let share = (low + high).div_ceil(2);
                if chosen_with(share).len() <= limit {
                    low = share;
                } else {
                    high = share - 1;
                }
            }
            chosen_with(low.max(1))
        };
        let cut_services = self.cut_services_of(|own| own.are_keys_cut);
        let items = chosen.into_iter().take(limit).map(|(part, key)| (SCOPES[part], key.clone())).collect();
        Listed { items, complete: is_all && !self.is_cut && cut_services.is_empty(), cut_services }
    }

    /// Appends the names as a segment keeps them.
    pub(crate) fn put(&self, out: &mut Vec<u8>) {
        let text = |out: &mut Vec<u8>, text: &str| {
            put_varint(out, text.len() as u64);
            out.extend_from_slice(text.as_bytes());
        };
        put_varint(out, self.services.len() as u64);
        for (service, own) in &self.services {
            text(out, service);
            put_varint(out, own.operations.len() as u64);
            for (name, kind) in &own.operations {
                text(out, name);
                out.push(*kind);
            }
        }
        let all = self.services.values().map(|own| &own.keys).chain([&self.keys]);
        let keys: BTreeSet<(usize, &String)> = all
            .flat_map(|keys| keys.iter().enumerate())
            .flat_map(|(part, keys)| keys.iter().map(move |key| (part, key)))
            .collect();
        put_varint(out, keys.len() as u64);
        for (part, key) in &keys {
            out.push(*part as u8);
            text(out, key);
        }
        out.push(HAS_SHARES);
        out.push(u8::from(self.is_cut));
        let places: HashMap<(usize, &String), u64, RandomState> = keys.into_iter().zip(0..).collect();
        for own in self.services.values() {
            put_varint(out, own.spans);
            let flags = [own.are_operations_cut, own.are_keys_cut, own.are_event_keys_cut];
            out.push((0..).zip(flags).fold(0, |all, (bit, flag)| all | u8::from(flag) << bit));
            put_varint(out, own.keys.iter().map(BTreeSet::len).sum::<usize>() as u64);
            for (part, keys) in own.keys.iter().enumerate() {
                keys.iter().for_each(|key| put_varint(out, places.get(&(part, key)).copied().unwrap_or(0)));
            }
        }
    }

    /// Reads what [`put`](Self::put) wrote, or what it wrote before services had shares.
    pub(crate) fn get(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut input = Input(bytes);
        let most = bytes.len();
        let mut names = Self::default();
        let mut services: Vec<(String, OfService)> = Vec::new();
        for _ in 0..input.size(most)? {
            let service = input.text()?.to_owned();
            let mut own = OfService::default();
            for _ in 0..input.size(most)? {
                let name = input.text()?.to_owned();
                own.bytes += name.len() + ENTRY_BYTES;
                own.operations.insert((name, input.byte()?));
            }
            names.bytes += service.len() + ENTRY_BYTES;
            services.push((service, own));
        }
        let mut keys: Vec<(usize, String)> = Vec::new();
        for _ in 0..input.size(most)? {
            let part = usize::from(input.byte()?);
            if part >= PARTS {
                return Err(Damaged("a key is of no part of a span"));
            }
            keys.push((part, input.text()?.to_owned()));
        }
        if input.0.is_empty() {
            let operations: usize = services.iter().map(|(_, own)| own.operations.len()).sum();
            names.is_cut = operations >= MAX_UNSHARED || keys.len() >= MAX_UNSHARED;
            services.iter_mut().for_each(|(_, own)| own.are_operations_cut = operations >= MAX_UNSHARED);
            for (part, key) in keys {
                names.bytes += key.len() + ENTRY_BYTES;
                names.keys[part].insert(key);
            }
        } else if input.byte()? == HAS_SHARES {
            names.is_cut = input.byte()? != 0;
            let mut is_of_service = vec![false; keys.len()];
            for (_, own) in &mut services {
                own.spans = input.varint()?;
                let flags = input.byte()?;
                own.are_operations_cut = flags & 1 != 0;
                own.are_keys_cut = flags & 2 != 0;
                own.are_event_keys_cut = flags & 4 != 0;
                for _ in 0..input.size(most)? {
                    let place = input.varint()? as usize;
                    let (part, key) = keys.get(place).ok_or(Damaged("a key is not there"))?;
                    is_of_service[place] = true;
                    own.bytes += key.len() + ENTRY_BYTES;
                    own.keys[*part].insert(key.clone());
                }
            }
            for ((part, key), _) in keys.into_iter().zip(is_of_service).filter(|(_, is_of_service)| !is_of_service) {
                names.bytes += key.len() + ENTRY_BYTES;
                names.keys[part].insert(key);
            }
        } else {
            return Err(Damaged("names of an unknown form"));
        }
        names.bytes += services.iter().map(|(_, own)| own.bytes).sum::<usize>();
        names.services = services.into_iter().collect();
        Ok(names)
    }
}

/// What adding a name changed.
#[derive(Default)]
struct Added {
    is_cut: bool,
    more_bytes: usize,
    less_bytes: usize,
}

/// Adds an entry and keeps the first ones.
fn add_within<T: Ord>(set: &mut BTreeSet<T>, entry: T, limit: usize, length: impl Fn(&T) -> usize) -> Added {
    let bytes = length(&entry) + ENTRY_BYTES;
    if set.len() >= limit && set.last().is_none_or(|last| entry > *last) {
        return Added { is_cut: true, ..Added::default() };
    }
    let more_bytes = if set.insert(entry) { bytes } else { 0 };
    let left_out = if set.len() > limit { set.pop_last() } else { None };
    let less_bytes = left_out.as_ref().map_or(0, |entry| length(entry) + ENTRY_BYTES);
    Added { is_cut: left_out.is_some(), more_bytes, less_bytes }
}

/// How many entries of each list there is room for, if each may have as many as the others, and whether that is all.
fn fair_share(lengths: impl Iterator<Item = usize>, limit: usize) -> (usize, bool) {
    let mut lengths: Vec<usize> = lengths.collect();
    if lengths.iter().sum::<usize>() <= limit {
        return (usize::MAX, true);
    }
    lengths.sort_unstable();
    let mut left = limit;
    let lists = lengths.len();
    for (place, length) in lengths.into_iter().enumerate() {
        let share = left / (lists - place);
        if length > share {
            // Where there is less room than lists, the first names of the first services are shown.
            return (share.max(1), false);
        }
        left -= length;
    }
    (usize::MAX, true)
}

#[cfg(test)]
mod tests;
