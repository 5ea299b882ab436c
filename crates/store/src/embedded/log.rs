//! The log: what was received, in files of records, until it is in a segment.
//!
//! docs/format.md shows the bytes; `replay` reads them back.

use std::path::{Path, PathBuf};

use tracewell_wire::{Format, Limits};

use super::disk::{Disk, WriteFile};
use crate::{OddTimes, StoreError, Tenant, TimeRules};

pub(super) const MAGIC: &[u8; 8] = b"TWLOG\0\0\x03";
/// Files of before: limits of four bytes each, and records without the time of arrival.
pub(super) const MAGIC_2: &[u8; 8] = b"TWLOG\0\0\x02";
/// The header of files of before.
pub(super) const HEADER_2_BYTES: usize = 8 + 24 + 8 + 4;
/// What every record begins with, to find the next one behind damage.
pub(super) const MARK: &[u8; 4] = b"\xf1TWr";
/// The mark, the length of the content, the checksum of the content.
pub(super) const PREFIX_BYTES: usize = MARK.len() + 4 + 4;
/// Format, tenant length, body length.
pub(super) const CONTENT_2_BYTES: usize = 1 + 1 + 4;
/// The same and the time of arrival.
pub(super) const CONTENT_BYTES: usize = CONTENT_2_BYTES + 8;
/// In the byte of the format: the time of arrival is doubtful.
pub(super) const DOUBTFUL: u8 = 0x80;
/// A header that claims more numbers is damaged.
const MAX_HEADER_NUMBERS: usize = 64;
/// Magic, bytes of the file before, count of numbers, numbers, checksum.
pub(super) const MAX_HEADER_BYTES: usize = 8 + 8 + 4 + MAX_HEADER_NUMBERS * 8 + 4;

/// Under what rules the records of a file became spans: the same bytes under the same rules give the same spans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rules {
    pub(crate) limits: Limits,
    pub(crate) times: TimeRules,
}

/// What a file says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) rules: Rules,
    /// How much of the file before was acknowledged.
    pub(crate) before: u64,
    /// Where the records begin.
    pub(crate) bytes: u64,
    /// Whether records have the time of arrival.
    pub(crate) has_arrival: bool,
}

/// A log file that is being written.
pub(crate) struct LogWriter {
    file: Box<dyn WriteFile>,
    path: PathBuf,
    header_bytes: u64,
    /// Bytes that were written and, if that was asked, synced.
    pub(crate) bytes: u64,
}

/// When a request was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// By the clock of who received it.
    pub(crate) unix_nano: u64,
    /// Whether that clock was behind what was known: retention does not go by it.
    pub(crate) is_doubtful: bool,
}

impl Arrival {
    /// The time that retention may go by.
    pub(crate) fn believed(self) -> Option<u64> {
        (!self.is_doubtful).then_some(self.unix_nano)
    }
}

/// One append, ready to be written.
pub(crate) fn encode_record(tenant: &Tenant, format: Format, body: &[u8], arrival: Arrival) -> Vec<u8> {
    let name = tenant.as_str().as_bytes();
    let start = PREFIX_BYTES + CONTENT_BYTES + name.len();
    let mut out = vec![0; start + lz4_flex::block::get_maximum_output_size(body.len())];
    // The buffer has room for the worst case, which is the only error there is.
    let compressed = lz4_flex::block::compress_into(body, &mut out[start..]).unwrap_or(0);
    out.truncate(start + compressed);
    out[PREFIX_BYTES] = format as u8 | if arrival.is_doubtful { DOUBTFUL } else { 0 };
    out[PREFIX_BYTES + 1] = name.len() as u8;
    out[PREFIX_BYTES + 2..PREFIX_BYTES + 6].copy_from_slice(&(body.len() as u32).to_le_bytes());
    out[PREFIX_BYTES + 6..PREFIX_BYTES + CONTENT_BYTES].copy_from_slice(&arrival.unix_nano.to_le_bytes());
    out[PREFIX_BYTES + CONTENT_BYTES..start].copy_from_slice(name);
    let checksum = crc32fast::hash(&out[PREFIX_BYTES..]);
    let length = (out.len() - PREFIX_BYTES) as u32;
    out[..4].copy_from_slice(MARK);
    out[4..8].copy_from_slice(&length.to_le_bytes());
    out[8..12].copy_from_slice(&checksum.to_le_bytes());
    out
}

impl LogWriter {
    /// Begins a file and makes its name durable. `before` is how much of the file before it was acknowledged.
    pub(crate) fn create(disk: &dyn Disk, path: &Path, rules: &Rules, before: u64) -> Result<Self, StoreError> {
        let context = |source| StoreError::io(format!("create log {}", path.display()), source);
        let mut file = disk.create(path).map_err(context)?;
        let header = encode_header(rules, before);
        file.append(&header).and_then(|()| file.sync()).map_err(context)?;
        if let Some(folder) = path.parent() {
            disk.sync_folder(folder).map_err(context)?;
        }
        let bytes = header.len() as u64;
        Ok(Self { file, path: path.to_owned(), header_bytes: bytes, bytes })
    }

    /// Whether nothing was acknowledged from this file.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == self.header_bytes
    }

    /// Writes records and, if asked, waits until they are on the disk. After an error the file's end is unknown, so no
    /// more may be written to it.
    pub(crate) fn write(&mut self, records: &[u8], sync: bool) -> Result<(), StoreError> {
        let context = |source| StoreError::io(format!("write log {}", self.path.display()), source);
        self.file.append(records).map_err(context)?;
        if sync {
            self.file.sync().map_err(context)?;
        }
        self.bytes += records.len() as u64;
        Ok(())
    }
}

fn encode_header(rules: &Rules, before: u64) -> Vec<u8> {
    let Limits { spans_per_request, attributes_per_span, attribute_bytes, events_per_span, links_per_span, name_bytes } =
        rules.limits;
    let limits = [spans_per_request, attributes_per_span, attribute_bytes, events_per_span, links_per_span, name_bytes];
    let times = [rules.times.odd as u64, rules.times.future_nanos];
    let numbers: Vec<u64> = limits.into_iter().map(u64::from).chain(times).collect();
    let mut header = MAGIC.to_vec();
    header.extend_from_slice(&before.to_le_bytes());
    header.extend_from_slice(&(numbers.len() as u32).to_le_bytes());
    numbers.iter().for_each(|number| header.extend_from_slice(&number.to_le_bytes()));
    let checksum = crc32fast::hash(&header);
    header.extend_from_slice(&checksum.to_le_bytes());
    header
}

/// Reads the header at the beginning of a file; `None` if it is cut off or damaged.
pub(crate) fn decode_header(bytes: &[u8]) -> Option<Header> {
    if bytes.starts_with(MAGIC_2) {
        return decode_header_2(bytes);
    }
    let count = u32_at(bytes, 16).filter(|_| bytes.starts_with(MAGIC))? as usize;
    if count > MAX_HEADER_NUMBERS {
        return None;
    }
    let end = 20 + count * 8;
    if u32_at(bytes, end)? != crc32fast::hash(&bytes[..end]) {
        return None;
    }
    // A number that an older version did not write is the default.
    let number = |place: usize| (place < count).then(|| u64_at(bytes, 20 + place * 8)).flatten();
    let mut rules = Rules::default();
    let Limits { spans_per_request, attributes_per_span, attribute_bytes, events_per_span, links_per_span, name_bytes } =
        &mut rules.limits;
    let limits = [spans_per_request, attributes_per_span, attribute_bytes, events_per_span, links_per_span, name_bytes];
    for (place, limit) in limits.into_iter().enumerate() {
        *limit = number(place).and_then(|number| u32::try_from(number).ok()).unwrap_or(*limit);
    }
    rules.times.odd = number(6).and_then(OddTimes::from_number).unwrap_or_default();
    rules.times.future_nanos = number(7).unwrap_or(rules.times.future_nanos);
    Some(Header { rules, before: u64_at(bytes, 8)?, bytes: end as u64 + 4, has_arrival: true })
}

fn decode_header_2(bytes: &[u8]) -> Option<Header> {
    let end = HEADER_2_BYTES - 4;
    if u32_at(bytes, end)? != crc32fast::hash(&bytes[..end]) {
        return None;
    }
    let number = |place: usize| u32_at(bytes, 8 + place * 4);
    let limits = Limits {
        spans_per_request: number(0)?,
        attributes_per_span: number(1)?,
        attribute_bytes: number(2)?,
        events_per_span: number(3)?,
        links_per_span: number(4)?,
        name_bytes: number(5)?,
    };
    let rules = Rules { limits, times: TimeRules { odd: OddTimes::Keep, ..TimeRules::default() } };
    Some(Header { rules, before: u64_at(bytes, 32)?, bytes: HEADER_2_BYTES as u64, has_arrival: false })
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_says_under_which_rules_its_records_were_received() {
        let rules = Rules {
            limits: Limits { links_per_span: 7, name_bytes: 9, ..Limits::default() },
            times: TimeRules { odd: OddTimes::Clamp, future_nanos: 5_000_000_000 },
        };
        let bytes = encode_header(&rules, 1234);
        let header = decode_header(&bytes).unwrap();
        assert_eq!(header, Header { rules, before: 1234, bytes: bytes.len() as u64, has_arrival: true });
        for place in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[place] ^= 4;
            assert_eq!(decode_header(&damaged), None, "byte {place}");
            assert_eq!(decode_header(&bytes[..place]), None, "cut at {place}");
        }
    }
}
