//! The log: what was received, in files of records, until it is in a segment.
//!
//! docs/format.md shows the bytes. Reading back skips what is damaged and goes on behind it. Damage at the very end of
//! the last file looks like an append that was cut off by a crash and never acknowledged, and is told as either.

use std::path::{Path, PathBuf};

use tracewell_wire::{Format, Limits};

use super::disk::{Disk, WriteFile};
use crate::{StoreError, Tenant};

const MAGIC: &[u8; 8] = b"TWLOG\0\0\x02";
const LIMITS_BYTES: usize = 24;
/// The magic, the limits, the bytes of the file before that were acknowledged, the header's checksum.
const HEADER_BYTES: usize = MAGIC.len() + LIMITS_BYTES + 8 + 4;
/// What every record begins with, to find the next one behind damage.
const MARK: &[u8; 4] = b"\xf1TWr";
/// The mark, the length of the content, the checksum of the content.
const PREFIX_BYTES: usize = MARK.len() + 4 + 4;
/// Format, tenant length, body length.
const CONTENT_BYTES: usize = 1 + 1 + 4;

/// A log file that is being written.
pub(crate) struct LogWriter {
    file: Box<dyn WriteFile>,
    path: PathBuf,
    /// Bytes that were written and, if that was asked, synced.
    pub(crate) bytes: u64,
}

/// One append, ready to be written.
pub(crate) fn encode_record(tenant: &Tenant, format: Format, body: &[u8]) -> Vec<u8> {
    let name = tenant.as_str().as_bytes();
    let start = PREFIX_BYTES + CONTENT_BYTES + name.len();
    let mut out = vec![0; start + lz4_flex::block::get_maximum_output_size(body.len())];
    // The buffer has room for the worst case, which is the only error there is.
    let compressed = lz4_flex::block::compress_into(body, &mut out[start..]).unwrap_or(0);
    out.truncate(start + compressed);
    out[PREFIX_BYTES] = format as u8;
    out[PREFIX_BYTES + 1] = name.len() as u8;
    out[PREFIX_BYTES + 2..PREFIX_BYTES + 6].copy_from_slice(&(body.len() as u32).to_le_bytes());
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
    pub(crate) fn create(disk: &dyn Disk, path: &Path, limits: &Limits, before: u64) -> Result<Self, StoreError> {
        let context = |source| StoreError::io(format!("create log {}", path.display()), source);
        let mut file = disk.create(path).map_err(context)?;
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(MAGIC);
        for limit in limits_as_numbers(limits) {
            header.extend_from_slice(&limit.to_le_bytes());
        }
        header.extend_from_slice(&before.to_le_bytes());
        let checksum = crc32fast::hash(&header);
        header.extend_from_slice(&checksum.to_le_bytes());
        file.append(&header).and_then(|()| file.sync()).map_err(context)?;
        if let Some(folder) = path.parent() {
            disk.sync_folder(folder).map_err(context)?;
        }
        Ok(Self { file, path: path.to_owned(), bytes: HEADER_BYTES as u64 })
    }

    /// Whether nothing was acknowledged from this file.
    pub(crate) fn is_empty(&self) -> bool {
        self.bytes == HEADER_BYTES as u64
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

/// A record of a log that is read back.
pub(crate) struct Record {
    pub(crate) tenant: Tenant,
    pub(crate) format: Format,
    pub(crate) body: Vec<u8>,
}

/// What reading a log file found besides its records.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct LogEnd {
    /// Bytes of the file, as far as they count.
    pub(crate) bytes: u64,
    /// Ranges of bytes that are no whole records.
    pub(crate) unreadable: Vec<(u64, u64)>,
}

/// How much of the file before one was acknowledged; `None` if that cannot be read.
pub(crate) fn acknowledged_before(disk: &dyn Disk, path: &Path) -> Option<u64> {
    let file = disk.open(path).ok()?;
    let mut bytes = [0; HEADER_BYTES];
    file.read_at(&mut bytes, 0).ok()?;
    header(&bytes).map(|(_, before)| before)
}

/// Reads every whole record of a log file, with the limits that it was written under, up to where it was acknowledged:
/// what lies behind was refused when it was sent, and was sent again.
pub(crate) fn read(
    disk: &dyn Disk,
    path: &Path,
    acknowledged: u64,
    mut each: impl FnMut(Record, &Limits) -> Result<(), StoreError>,
) -> Result<LogEnd, StoreError> {
    let mut bytes = disk.read(path).map_err(|source| StoreError::io(format!("read log {}", path.display()), source))?;
    bytes.truncate(usize::try_from(acknowledged).unwrap_or(usize::MAX));
    let total = bytes.len() as u64;
    let mut end = LogEnd { bytes: total, ..LogEnd::default() };
    let (limits, _) = match header(&bytes) {
        Some(known) => known,
        // The file was begun and nothing was ever acknowledged from it, or its header is damaged: then the usual limits
        // are as good as any.
        None if bytes.len() < HEADER_BYTES => {
            end.unreadable.push((0, total));
            return Ok(end);
        }
        None => {
            end.unreadable.push((0, HEADER_BYTES as u64));
            (Limits::default(), 0)
        }
    };
    let mut offset = HEADER_BYTES;
    while offset < bytes.len() {
        match record(&bytes[offset..]) {
            Some((record, length)) => {
                each(record, &limits)?;
                offset += length;
            }
            None => {
                let next = (offset + 1..bytes.len())
                    .find(|next| bytes[*next..].starts_with(MARK) && record(&bytes[*next..]).is_some());
                let until = next.unwrap_or(bytes.len());
                end.unreadable.push((offset as u64, until as u64));
                offset = until;
            }
        }
    }
    Ok(end)
}

fn header(bytes: &[u8]) -> Option<(Limits, u64)> {
    let header = bytes.get(..HEADER_BYTES)?;
    let (content, checksum) = header.split_at(HEADER_BYTES - 4);
    let is_whole = content.starts_with(MAGIC) && crc32fast::hash(content).to_le_bytes() == checksum;
    let number = |place: usize| {
        let start = MAGIC.len() + place * 4;
        content.get(start..start + 4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes)
    };
    let before = content.get(MAGIC.len() + LIMITS_BYTES..)?.try_into().ok().map(u64::from_le_bytes)?;
    let limits = Limits {
        spans_per_request: number(0)?,
        attributes_per_span: number(1)?,
        attribute_bytes: number(2)?,
        events_per_span: number(3)?,
        links_per_span: number(4)?,
        name_bytes: number(5)?,
    };
    is_whole.then_some((limits, before))
}

/// The record at the beginning of `bytes` with its length; `None` if it is cut off or damaged.
fn record(bytes: &[u8]) -> Option<(Record, usize)> {
    let rest = bytes.strip_prefix(MARK)?;
    let length = u32::from_le_bytes(rest.get(..4)?.try_into().ok()?) as usize;
    let checksum = u32::from_le_bytes(rest.get(4..8)?.try_into().ok()?);
    let content = rest.get(8..8usize.checked_add(length)?)?;
    if content.len() < CONTENT_BYTES || crc32fast::hash(content) != checksum {
        return None;
    }
    let format = match content[0] {
        1 => Format::OtlpProtobuf,
        2 => Format::OtlpJson,
        3 => Format::JaegerJson,
        4 => Format::ZipkinJson,
        _ => return None,
    };
    let tenant_end = CONTENT_BYTES + usize::from(content[1]);
    let body_bytes = u32::from_le_bytes(content[2..6].try_into().ok()?) as usize;
    let tenant = Tenant::new(std::str::from_utf8(content.get(CONTENT_BYTES..tenant_end)?).ok()?).ok()?;
    let body = lz4_flex::decompress(&content[tenant_end..], body_bytes).ok()?;
    Some((Record { tenant, format, body }, PREFIX_BYTES + length))
}

fn limits_as_numbers(limits: &Limits) -> [u32; 6] {
    [
        limits.spans_per_request,
        limits.attributes_per_span,
        limits.attribute_bytes,
        limits.events_per_span,
        limits.links_per_span,
        limits.name_bytes,
    ]
}
