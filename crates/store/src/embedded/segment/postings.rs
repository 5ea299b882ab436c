//! In which blocks a service has spans of a template, and how long they last there at most: a scan mostly asks for few
//! templates of a service, and these are in few blocks.

use std::ops::Range;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use tracewell_model::{StrId, StringTable};

use super::coding::{Damaged, Input, put_varint};

/// Collects what a segment's blocks hold.
#[derive(Default)]
pub(super) struct PostingsBuilder {
    /// By service and template.
    lists: HashMap<(StrId, u32), List, RandomState>,
}

/// The blocks with rows of a service and a template, counted from 1.
#[derive(Default)]
struct List {
    /// All but the last, as they will lie.
    bytes: Vec<u8>,
    before_last: u64,
    last: u64,
    /// How long rows in the last block take at most.
    longest_nanos: u64,
}

impl List {
    /// Writes the last block down.
    fn end_block(&mut self) {
        if self.last > 0 {
            put_varint(&mut self.bytes, self.last - self.before_last);
            self.bytes.push(coarse(self.longest_nanos));
            self.before_last = self.last;
        }
    }
}

/// The quarter of a doubling that a duration lies in, numbered in order.
fn coarse(nanos: u64) -> u8 {
    match nanos {
        0..4 => nanos as u8,
        _ => {
            let bit = nanos.ilog2();
            ((bit - 1) * 4 + (nanos >> (bit - 2) & 3) as u32) as u8
        }
    }
}

impl PostingsBuilder {
    /// Notes rows of a service and a template in a block, which is none before those that were noted already.
    pub(super) fn add(&mut self, block: usize, service: StrId, template: u32, longest_nanos: u64) {
        let list = self.lists.entry((service, template)).or_default();
        let block = block as u64 + 1;
        if list.last != block {
            list.end_block();
            list.last = block;
            list.longest_nanos = 0;
        }
        list.longest_nanos = list.longest_nanos.max(longest_nanos);
    }

    /// Every service with each of its templates.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (StrId, u32)> {
        self.lists.keys().copied()
    }

    /// A list for each template of each service. Lists of one service follow one another, with its name before them.
    pub(super) fn put(self, strings: &StringTable, out: &mut Vec<u8>) {
        let mut lists: Vec<((StrId, u32), List)> = self.lists.into_iter().collect();
        lists.sort_unstable_by_key(|(pair, _)| *pair);
        let by_service = || lists.chunk_by(|((left, _), _), ((right, _), _)| left == right);
        put_varint(out, by_service().count() as u64);
        let mut services = Vec::new();
        for chunk in by_service() {
            services.push((chunk[0].0.0, chunk.len()));
        }
        let mut lists = lists.into_iter();
        for (service, templates) in services {
            let name = strings.get(service);
            put_varint(out, name.len() as u64);
            out.extend_from_slice(name.as_bytes());
            put_varint(out, templates as u64);
            for ((_, template), mut list) in lists.by_ref().take(templates) {
                list.end_block();
                put_varint(out, u64::from(template));
                put_varint(out, list.bytes.len() as u64);
                out.extend_from_slice(&list.bytes);
            }
        }
    }
}

/// What [`PostingsBuilder`] wrote.
pub(super) struct Postings {
    bytes: Vec<u8>,
    services: Vec<Service>,
}

struct Service {
    name: String,
    /// Templates, and where in the bytes their lists are.
    lists: Vec<(u32, Range<usize>)>,
}

impl Postings {
    /// Those of a segment with so many templates and blocks.
    pub(super) fn get(bytes: Vec<u8>, templates: usize, blocks: usize) -> Result<Self, Damaged> {
        let mut input = Input(&bytes);
        let most = templates.checked_sub(1).ok_or(Damaged("there are no templates"))?;
        let services = (0..input.size(bytes.len())?)
            .map(|_| {
                let name = input.text()?.to_owned();
                let lists = (0..input.size(bytes.len())?)
                    .map(|_| {
                        let template = input.size(most)? as u32;
                        let list = input.slice()?;
                        for entry in entries(list) {
                            entry.ok().filter(|(block, _)| *block < blocks).ok_or(Damaged("there is no such block"))?;
                        }
                        let end = bytes.len() - input.0.len();
                        Ok((template, end - list.len()..end))
                    })
                    .collect::<Result<_, Damaged>>()?;
                Ok(Service { name, lists })
            })
            .collect::<Result<_, Damaged>>()?;
        Ok(Self { services, bytes })
    }

    pub(super) fn size_bytes(&self) -> usize {
        let lists: usize = self.services.iter().map(|service| service.lists.len()).sum();
        self.bytes.len() + lists * size_of::<(u32, Range<usize>)>()
    }

    /// For each block, whether it has a row that lasts so long, of a service and a template for which `takes` says yes:
    /// it is asked for a service first, what it then asks of templates. And the templates of these rows.
    pub(super) fn find<T: Fn(u32) -> bool>(
        &self,
        blocks: usize,
        least_nanos: u64,
        takes: impl Fn(&str) -> T,
    ) -> (Vec<bool>, Vec<u32>) {
        let least = coarse(least_nanos);
        let mut found = vec![false; blocks];
        let mut taken = Vec::new();
        for service in &self.services {
            let takes = takes(&service.name);
            for (template, range) in service.lists.iter().filter(|(template, _)| takes(*template)) {
                let mut is_taken = false;
                for (block, longest) in entries(&self.bytes[range.clone()]).flatten() {
                    found[block] |= longest >= least;
                    is_taken |= longest >= least;
                }
                if is_taken {
                    taken.push(*template);
                }
            }
        }
        (found, taken)
    }
}

/// The blocks of a list, each with how long rows in it take at most.
fn entries(list: &[u8]) -> impl Iterator<Item = Result<(usize, u8), Damaged>> {
    let mut input = Input(list);
    let mut next = 0usize;
    std::iter::from_fn(move || {
        if input.0.is_empty() {
            return None;
        }
        let mut entry = || {
            next = input.size(usize::MAX)?.checked_add(next).ok_or(Damaged("a block's number is too large"))?;
            let block = next.checked_sub(1).ok_or(Damaged("a list begins before the first block"))?;
            Ok((block, input.byte()?))
        };
        Some(entry())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_their_order() {
        let mut before = 0;
        for nanos in (0..64).flat_map(|bit| (0..100u64).map(move |part| (1u64 << bit) + (1u64 << bit) / 100 * part)) {
            assert!(coarse(nanos) >= before, "{nanos}");
            before = coarse(nanos);
        }
        assert_eq!((coarse(0), coarse(3), coarse(4), coarse(u64::MAX)), (0, 3, 4, 251));
        assert!(coarse(1_000_000_000) > coarse(800_000_000));
    }

    #[test]
    fn blocks_are_found_by_service_template_and_duration() {
        let mut strings = StringTable::default();
        let (web, db) = (strings.intern("web"), strings.intern("db"));
        let mut builder = PostingsBuilder::default();
        for block in 0..300 {
            builder.add(block, web, 1, 10);
            builder.add(block, web, 1, if block == 7 { 1_000_000 } else { 20 });
            if block % 100 == 3 {
                builder.add(block, web, 2, 5);
                builder.add(block, db, 2, 5_000);
            }
        }
        assert_eq!(builder.pairs().count(), 3);
        let mut bytes = Vec::new();
        builder.put(&strings, &mut bytes);
        let get = |bytes: &[u8], templates, blocks| Postings::get(bytes.to_vec(), templates, blocks);
        let postings = get(&bytes, 3, 300).unwrap();
        let found = |least_nanos, service: &str, template| -> Vec<usize> {
            let takes = |name: &str| {
                let is_it = name == service;
                move |number| is_it && number == template
            };
            let (found, taken) = postings.find(300, least_nanos, takes);
            let blocks: Vec<usize> = (0..300).filter(|block| found[*block]).collect();
            assert_eq!(taken, if blocks.is_empty() { vec![] } else { vec![template] });
            blocks
        };
        assert_eq!(found(0, "web", 1).len(), 300);
        assert_eq!(found(900_000, "web", 1), [7]);
        assert_eq!(found(0, "web", 2), [3, 103, 203]);
        assert_eq!(found(1_000, "web", 2), Vec::<usize>::new());
        assert_eq!(found(1_000, "db", 2), [3, 103, 203]);
        assert_eq!(found(0, "db", 1), Vec::<usize>::new());
        assert!(get(&bytes, 3, 299).is_err(), "a block that is not there");
        assert!(get(&bytes, 2, 300).is_err(), "a template that is not there");
        for length in 0..bytes.len() {
            assert!(get(&bytes[..length], 3, 300).is_err(), "cut off at {length}");
        }
    }
}
