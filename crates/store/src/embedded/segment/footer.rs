//! The end of a segment: what it holds, where its blocks and sections are.
//!
//! A segment tells everything about itself, so that a lost catalog can be made again from the segments.

use std::ops::Range;

use super::coding::{Damaged, Input, put_varint};
use super::index::IndexPlaces;

pub(super) const MAGIC: &[u8; 8] = b"TWSEG\0\0\x02";
/// Length of the footer, its checksum, the magic.
pub(super) const TAIL_BYTES: usize = 4 + 4 + MAGIC.len();

/// A block's place and what its rows are at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockPlace {
    pub(super) offset: u64,
    pub(super) length: u32,
    pub(super) header_length: u32,
    pub(super) header_checksum: u32,
    pub(super) rows: u32,
    pub(super) first_start_unix_nano: u64,
    pub(super) last_start_unix_nano: u64,
    /// The longest duration of a span that ends after it starts.
    pub(super) longest_nanos: u64,
}

/// A section's place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SectionPlace {
    pub(super) offset: u64,
    pub(super) length: u64,
    pub(super) checksum: u32,
}

impl SectionPlace {
    fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.offset);
        put_varint(out, self.length);
        out.extend_from_slice(&self.checksum.to_le_bytes());
    }

    fn get(input: &mut Input<'_>) -> Result<Self, Damaged> {
        Ok(Self { offset: input.varint()?, length: input.varint()?, checksum: input.u32()? })
    }
}

/// Where the spans of a segment came from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The log file that held them, if they came from one.
    pub(crate) log: Option<u64>,
    /// The segments that this one replaces.
    pub(crate) merged: Vec<u64>,
    /// Whether more of the log file's spans are in other segments, which were written after this one.
    pub(crate) has_more: bool,
    /// The earliest and the latest date of a span, if they are known.
    pub(crate) dates: Option<(u64, u64)>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Footer {
    pub(super) tenant: String,
    pub(super) origin: Origin,
    pub(super) spans: u64,
    pub(super) traces: u64,
    pub(super) blocks: Vec<BlockPlace>,
    pub(super) table: SectionPlace,
    pub(super) dictionaries: SectionPlace,
    pub(super) names: SectionPlace,
    pub(super) index: SectionPlace,
    pub(super) filter: SectionPlace,
    pub(super) filter_lines: u64,
    pub(super) places: IndexPlaces,
    /// Segments of before have none.
    pub(super) postings: Option<SectionPlace>,
}

impl Footer {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        put_varint(out, self.tenant.len() as u64);
        out.extend_from_slice(self.tenant.as_bytes());
        put_varint(out, self.origin.log.map_or(0, |log| log + 1));
        put_varint(out, self.origin.merged.len() as u64);
        self.origin.merged.iter().for_each(|number| put_varint(out, *number));
        put_varint(out, self.spans);
        put_varint(out, self.traces);
        put_varint(out, self.blocks.len() as u64);
        for block in &self.blocks {
            put_varint(out, block.offset);
            put_varint(out, u64::from(block.length));
            put_varint(out, u64::from(block.header_length));
            out.extend_from_slice(&block.header_checksum.to_le_bytes());
            put_varint(out, u64::from(block.rows));
            put_varint(out, block.first_start_unix_nano);
            put_varint(out, block.last_start_unix_nano);
            put_varint(out, block.longest_nanos);
        }
        let sections = [self.table, self.dictionaries, self.names, self.index, self.filter];
        sections.iter().for_each(|section| section.put(out));
        put_varint(out, self.filter_lines);
        self.places.put(out);
        self.postings.iter().for_each(|section| section.put(out));
        put_varint(out, u64::from(self.origin.has_more));
        if let Some((first, last)) = self.origin.dates {
            put_varint(out, first);
            put_varint(out, last);
        }
    }

    /// The parts of a file of some length that questions need before any row, those that matter most last: the filter spares
    /// reads, without table and index no span is found, and without the footer the file is not opened.
    pub(super) fn preferred(&self, length_bytes: u64) -> [Range<u64>; 3] {
        let filter = self.filter.offset..self.filter.offset.saturating_add(self.filter.length);
        [filter.clone(), self.table.offset..filter.start, filter.end..length_bytes]
    }

    pub(super) fn get(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut input = Input(bytes);
        let input = &mut input;
        let most = bytes.len();
        let narrow = |number: u64| u32::try_from(number).map_err(|_| Damaged("a number is too large"));
        let tenant = input.text()?.to_owned();
        let log = input.varint()?.checked_sub(1);
        let merged = (0..input.size(most)?).map(|_| input.varint()).collect::<Result<Vec<u64>, _>>()?;
        let (spans, traces) = (input.varint()?, input.varint()?);
        let blocks = (0..input.size(most)?)
            .map(|_| {
                Ok(BlockPlace {
                    offset: input.varint()?,
                    length: narrow(input.varint()?)?,
                    header_length: narrow(input.varint()?)?,
                    header_checksum: input.u32()?,
                    rows: narrow(input.varint()?)?,
                    first_start_unix_nano: input.varint()?,
                    last_start_unix_nano: input.varint()?,
                    longest_nanos: input.varint()?,
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let mut section = || SectionPlace::get(input);
        let (table, dictionaries, names, index, filter) = (section()?, section()?, section()?, section()?, section()?);
        let filter_lines = input.varint()?;
        let places = IndexPlaces::get(input)?;
        let postings = (!input.0.is_empty()).then(|| SectionPlace::get(input)).transpose()?;
        let has_more = !input.0.is_empty() && input.varint()? != 0;
        let dates = if input.0.is_empty() { None } else { Some((input.varint()?, input.varint()?)) };
        let fits = blocks.iter().all(|block| {
            block.header_length <= block.length && (1..=super::block::MOST_BLOCK_ROWS as u32).contains(&block.rows)
        });
        if !fits {
            return Err(Damaged("a block's place makes no sense"));
        }
        Ok(Self {
            tenant,
            origin: Origin { log, merged, has_more, dates },
            spans,
            traces,
            blocks,
            table,
            dictionaries,
            names,
            index,
            filter,
            filter_lines,
            places,
            postings,
        })
    }
}
