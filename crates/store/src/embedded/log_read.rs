//! Reading a log file back, a record at a time: memory does not grow with the file.
//!
//! What is damaged is skipped, and reading goes on behind it. Damage at the very end of the last file looks like an
//! append that was cut off by a crash and never acknowledged, and is told as either.

use std::io;
use std::path::{Path, PathBuf};

use tracewell_wire::Format;

use super::disk::{Disk, ReadFile};
use super::log::{
    Arrival, CONTENT_2_BYTES, CONTENT_BYTES, DOUBTFUL, Header, MARK, MAX_HEADER_BYTES, PREFIX_BYTES, Rules,
    decode_header, u32_at, u64_at,
};
use crate::{StoreError, Tenant};

/// How much of the file is in memory, or one record if that is larger.
const WINDOW_BYTES: usize = 256 * 1024;
/// LZ4 cannot say more than this with one byte.
const MAX_EXPANSION: u64 = 255;

/// A record whose checksum is right.
pub(crate) struct Record {
    /// Where it lies in the file, mark and checksum included.
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    pub(crate) tenant: Tenant,
    pub(crate) format: Format,
    /// When it was received; files of before do not say.
    pub(crate) arrival: Option<Arrival>,
    /// Bytes of the body that it unpacks to.
    pub(crate) body_bytes: usize,
    /// Where the packed body begins.
    packed_at: u64,
}

/// What reading a log file found besides its records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LogEnd {
    /// Bytes of the file, as far as they count.
    pub(crate) bytes: u64,
    /// Ranges of bytes that are no whole records.
    pub(crate) unreadable: Vec<(u64, u64)>,
    /// Whether the last of them reaches to the end and has something in it.
    is_torn: bool,
}

/// What is known of a log file once it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogState {
    /// Everything that was acknowledged was read.
    Whole,
    /// It ends with bytes that were never acknowledged, or are damaged.
    Torn,
    /// Something that was acknowledged could not be read.
    Damaged,
}

/// Says instead of how much was acknowledged that this is not known.
pub(crate) const UNKNOWN_END: u64 = u64::MAX;

impl LogEnd {
    /// What that says of the file; `acknowledged` is how many of its bytes were, if that is known.
    pub(crate) fn state(&self, acknowledged: Option<u64>) -> LogState {
        let is_cut_off = acknowledged.is_some_and(|acknowledged| acknowledged > self.bytes);
        let is_damage = |(from, to): &(u64, u64)| from < to && (*to < self.bytes || acknowledged.is_some());
        if is_cut_off || self.unreadable.iter().any(is_damage) {
            LogState::Damaged
        } else if self.is_torn {
            LogState::Torn
        } else {
            LogState::Whole
        }
    }

    /// The bytes up to the last whole record.
    pub(crate) fn whole_bytes(&self) -> u64 {
        match self.unreadable.last() {
            Some((from, to)) if *to == self.bytes => *from,
            _ => self.bytes,
        }
    }
}

/// A log file that is read.
pub(crate) struct LogReader {
    file: Box<dyn ReadFile>,
    path: PathBuf,
    header: Header,
    /// What of a record stands before the tenant's name: both kinds are tried where the header does not say.
    content_bytes: &'static [usize],
    at: u64,
    end: LogEnd,
    window: Vec<u8>,
    window_at: u64,
}

/// How much of the file before one was acknowledged; `None` if that is not known.
pub(crate) fn acknowledged_before(disk: &dyn Disk, path: &Path) -> Option<u64> {
    let file = disk.open(path).ok()?;
    read_header(&*file, file.length().ok()?).ok()?.map(|header| header.before).filter(|before| *before != UNKNOWN_END)
}

fn read_header(file: &dyn ReadFile, length: u64) -> io::Result<Option<Header>> {
    let mut bytes = vec![0; length.min(MAX_HEADER_BYTES as u64) as usize];
    file.read_at(&mut bytes, 0)?;
    Ok(decode_header(&bytes))
}

impl LogReader {
    /// Opens a file, of which so many bytes count if that is known: what lies behind was refused when it was sent, and
    /// was sent again.
    pub(crate) fn open(disk: &dyn Disk, path: &Path, acknowledged: Option<u64>) -> Result<Self, StoreError> {
        let context = |source| StoreError::io(format!("read log {}", path.display()), source);
        let file = disk.open(path).map_err(context)?;
        let bytes = file.length().map_err(context)?.min(acknowledged.unwrap_or(u64::MAX));
        let known = read_header(&*file, bytes).map_err(context)?;
        let mut end = LogEnd { bytes, ..LogEnd::default() };
        let header = known.unwrap_or_else(|| {
            // The file was begun and nothing was ever acknowledged from it, or its header is damaged: then the usual
            // limits are as good as any, and the records are looked for.
            end.unreadable.push((0, bytes));
            Header { rules: Rules::default(), before: 0, bytes: 0, has_arrival: true }
        });
        let content_bytes: &[usize] = match known {
            Some(Header { has_arrival: true, .. }) => &[CONTENT_BYTES],
            Some(_) => &[CONTENT_2_BYTES],
            None => &[CONTENT_BYTES, CONTENT_2_BYTES],
        };
        let mut reader = Self {
            file,
            path: path.to_owned(),
            header,
            content_bytes,
            at: header.bytes.min(bytes),
            end,
            window: Vec::new(),
            window_at: 0,
        };
        if known.is_none() {
            reader.at = reader.find_next(0)?;
            reader.end.unreadable = vec![(0, reader.at)];
        }
        Ok(reader)
    }

    /// The rules under which its records were received.
    pub(crate) fn rules(&self) -> &Rules {
        &self.header.rules
    }

    /// What was found besides records, once all are read.
    pub(crate) fn end(&self) -> &LogEnd {
        &self.end
    }

    /// The next record; `None` at the end.
    pub(crate) fn next(&mut self) -> Result<Option<Record>, StoreError> {
        while self.at < self.end.bytes {
            if let Some(record) = self.record_at(self.at)? {
                self.at += record.bytes;
                return Ok(Some(record));
            }
            let next = self.find_next(self.at + 1)?;
            self.end.unreadable.push((self.at, next));
            self.at = next;
        }
        self.end.is_torn = self.has_torn_end();
        Ok(None)
    }

    /// Whether something other than zeros, which a file system may leave behind after a crash, stands behind the last record.
    /// What cannot be read may be anything.
    fn has_torn_end(&mut self) -> bool {
        let (mut at, end) = match self.end.unreadable.last() {
            Some((from, to)) if *to == self.end.bytes => (*from, *to),
            _ => return false,
        };
        while at < end {
            let length = (end - at).min(WINDOW_BYTES as u64);
            match self.slice(at, length as usize) {
                Ok(bytes) if bytes.iter().all(|byte| *byte == 0) => at += length,
                _ => return true,
            }
        }
        false
    }

    /// Leaves out a range that could not be read, and goes on behind it.
    pub(crate) fn skip_unreadable(&mut self) {
        let next = (self.at / 4096 + 1).saturating_mul(4096).min(self.end.bytes);
        match self.end.unreadable.last_mut() {
            Some((_, to)) if *to == self.at => *to = next,
            _ => self.end.unreadable.push((self.at, next)),
        }
        self.at = next;
    }

    /// The body of a record; `None` if it does not unpack.
    pub(crate) fn body(&mut self, record: &Record) -> Result<Option<Vec<u8>>, StoreError> {
        let length = record.offset + record.bytes - record.packed_at;
        let packed = self.slice(record.packed_at, length as usize)?;
        Ok(lz4_flex::decompress(packed, record.body_bytes).ok())
    }

    /// The bytes of a record as they lie in the file.
    pub(crate) fn raw(&mut self, record: &Record) -> Result<&[u8], StoreError> {
        self.slice(record.offset, record.bytes as usize)
    }

    /// The first place from here on where a whole record begins; the end if there is none.
    fn find_next(&mut self, from: u64) -> Result<u64, StoreError> {
        let mut at = from;
        while at < self.end.bytes {
            let length = ((self.end.bytes - at) as usize).min(WINDOW_BYTES);
            let found = self.slice(at, length)?.windows(MARK.len()).position(|bytes| bytes == MARK);
            match found {
                Some(place) => {
                    at += place as u64;
                    if self.record_at(at)?.is_some() {
                        return Ok(at);
                    }
                    at += 1;
                }
                // A mark may lie across the end of the window.
                None if length > MARK.len() => at += (length - MARK.len() + 1) as u64,
                None => break,
            }
        }
        Ok(self.end.bytes)
    }

    /// The record at an offset; `None` if it is cut off or damaged.
    fn record_at(&mut self, offset: u64) -> Result<Option<Record>, StoreError> {
        let (left, kinds) = (self.end.bytes - offset, self.content_bytes);
        let head = self.slice(offset, (left as usize).min(PREFIX_BYTES + CONTENT_BYTES + 64))?;
        let Some(head) = head.strip_prefix(MARK) else { return Ok(None) };
        let (Some(length), Some(checksum)) = (u32_at(head, 0), u32_at(head, 4)) else { return Ok(None) };
        let bytes = PREFIX_BYTES as u64 + u64::from(length);
        if bytes > left {
            return Ok(None);
        }
        let content = &head[8..];
        let found = kinds.iter().find_map(|known| parse(content, *known, offset, bytes));
        let Some(record) = found else { return Ok(None) };
        let is_whole = self.checksum(offset + PREFIX_BYTES as u64, u64::from(length))? == checksum;
        Ok(is_whole.then_some(record))
    }

    fn checksum(&mut self, offset: u64, length: u64) -> Result<u32, StoreError> {
        if length <= WINDOW_BYTES as u64 {
            return Ok(crc32fast::hash(self.slice(offset, length as usize)?));
        }
        let mut hasher = crc32fast::Hasher::new();
        let mut at = offset;
        while at < offset + length {
            let piece = (offset + length - at).min(WINDOW_BYTES as u64);
            hasher.update(self.slice(at, piece as usize)?);
            at += piece;
        }
        Ok(hasher.finalize())
    }

    /// Bytes of the file, which are there.
    fn slice(&mut self, offset: u64, length: usize) -> Result<&[u8], StoreError> {
        let is_held = offset >= self.window_at && offset + length as u64 <= self.window_at + self.window.len() as u64;
        if !is_held {
            let wanted = length.max(WINDOW_BYTES.min((self.end.bytes - offset) as usize));
            if self.window.capacity() > 2 * WINDOW_BYTES {
                self.window = Vec::new();
            }
            self.window.resize(wanted, 0);
            self.window_at = offset;
            let mut read = self.file.read_at(&mut self.window, offset);
            if read.is_err() && wanted > length {
                // What cannot be read may lie behind what is asked for.
                self.window.truncate(length);
                read = self.file.read_at(&mut self.window, offset);
            }
            if let Err(source) = read {
                self.window.clear();
                return Err(StoreError::io(format!("read log {} at offset {offset}", self.path.display()), source));
            }
        }
        let start = (offset - self.window_at) as usize;
        Ok(&self.window[start..start + length])
    }
}

/// What the beginning of a record's content says; `None` if it makes no sense.
fn parse(content: &[u8], content_bytes: usize, offset: u64, bytes: u64) -> Option<Record> {
    let first = *content.first()?;
    let format = match first & !DOUBTFUL {
        1 => Format::OtlpProtobuf,
        2 => Format::OtlpJson,
        3 => Format::JaegerJson,
        4 => Format::ZipkinJson,
        _ => return None,
    };
    let tenant_end = content_bytes + usize::from(*content.get(1)?);
    let body_bytes = u32_at(content, 2)?;
    let arrival = if content_bytes == CONTENT_BYTES {
        Some(Arrival { unix_nano: u64_at(content, CONTENT_2_BYTES)?, is_doubtful: first & DOUBTFUL != 0 })
    } else {
        None
    };
    let tenant = Tenant::new(std::str::from_utf8(content.get(content_bytes..tenant_end)?).ok()?).ok()?;
    let packed_at = offset + (PREFIX_BYTES + tenant_end) as u64;
    let packed_bytes = (offset + bytes).checked_sub(packed_at)?;
    // Whoever wrote it may not be trusted with more memory than its bytes can fill.
    (u64::from(body_bytes) <= packed_bytes.saturating_mul(MAX_EXPANSION)).then_some(Record {
        offset,
        bytes,
        tenant,
        format,
        arrival,
        body_bytes: body_bytes as usize,
        packed_at,
    })
}
