//! The log: what was received, on disk before it is acknowledged.
//!
//! A log file is a header and records; docs/format.md shows the bytes. All integers are little-endian. A record that is
//! cut off or whose checksum is wrong at the end of the last file is an append that was never acknowledged; anywhere else it
//! is damage.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use tracewell_wire::{Format, Limits};

use crate::{StoreError, Tenant};

const MAGIC: &[u8; 8] = b"TWLOG\0\0\x01";
const LIMITS_BYTES: usize = 24;
const HEADER_BYTES: usize = MAGIC.len() + LIMITS_BYTES;
/// Length, checksum, format, tenant length, body length.
const RECORD_BYTES: usize = 4 + 4 + 1 + 1 + 4;

/// A log file that is being written.
pub(crate) struct LogWriter {
    file: File,
    path: PathBuf,
    pub(crate) bytes: u64,
}

/// One append, ready to be written.
pub(crate) fn encode_record(tenant: &Tenant, format: Format, body: &[u8]) -> Vec<u8> {
    let compressed = lz4_flex::compress(body);
    let mut out = Vec::with_capacity(RECORD_BYTES + tenant.as_str().len() + compressed.len());
    out.extend_from_slice(&[0; 8]);
    out.push(format as u8);
    out.push(tenant.as_str().len() as u8);
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(tenant.as_str().as_bytes());
    out.extend_from_slice(&compressed);
    let length = (out.len() - 8) as u32;
    let checksum = crc32fast::hash(&out[8..]);
    out[..4].copy_from_slice(&length.to_le_bytes());
    out[4..8].copy_from_slice(&checksum.to_le_bytes());
    out
}

impl LogWriter {
    /// Begins a new file, which must not exist, and makes its name durable.
    pub(crate) fn create(path: &Path, limits: &Limits) -> Result<Self, StoreError> {
        let context = |source| StoreError::Io { context: format!("create log {}", path.display()), source };
        let mut file = File::create_new(path).map_err(context)?;
        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(MAGIC);
        for limit in limits_as_numbers(limits) {
            header.extend_from_slice(&limit.to_le_bytes());
        }
        file.write_all(&header).and_then(|()| file.sync_all()).map_err(context)?;
        if let Some(folder) = path.parent() {
            super::sync_folder(folder)?;
        }
        Ok(Self { file, path: path.to_owned(), bytes: HEADER_BYTES as u64 })
    }

    /// Writes records and, if asked, waits until they are on the disk. After an error the file's end is unknown, so no
    /// more may be written to it.
    pub(crate) fn write(&mut self, records: &[u8], sync: bool) -> Result<(), StoreError> {
        let context = |source| StoreError::Io { context: format!("write log {}", self.path.display()), source };
        self.file.write_all(records).map_err(context)?;
        if sync {
            self.file.sync_data().map_err(context)?;
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
pub(crate) struct LogEnd {
    /// Bytes behind the last whole record.
    pub(crate) torn_bytes: u64,
    /// Bytes of the file.
    pub(crate) bytes: u64,
}

/// Reads every whole record of a log file, with the limits that it was written under.
pub(crate) fn read(
    path: &Path,
    mut each: impl FnMut(Record, &Limits) -> Result<(), StoreError>,
) -> Result<LogEnd, StoreError> {
    let context = |source| StoreError::Io { context: format!("read log {}", path.display()), source };
    let mut bytes = Vec::new();
    File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)).map_err(context)?;
    let total = bytes.len() as u64;
    if bytes.len() < HEADER_BYTES {
        // The file was begun and nothing was ever acknowledged from it.
        return Ok(LogEnd { torn_bytes: total, bytes: total });
    }
    if &bytes[..MAGIC.len()] != MAGIC {
        return Err(StoreError::Corrupt(format!("{} is not a log of this version", path.display())));
    }
    let numbers: Vec<u32> = bytes[MAGIC.len()..HEADER_BYTES]
        .chunks_exact(4)
        .map(|chunk| u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]))
        .collect();
    let limits = Limits {
        spans_per_request: numbers[0],
        attributes_per_span: numbers[1],
        attribute_bytes: numbers[2],
        events_per_span: numbers[3],
        links_per_span: numbers[4],
        name_bytes: numbers[5],
    };
    let mut offset = HEADER_BYTES;
    while let Some((record, length)) = record(&bytes[offset..]) {
        each(record, &limits)?;
        offset += length;
    }
    Ok(LogEnd { torn_bytes: total - offset as u64, bytes: total })
}

/// The record at the beginning of `bytes` with its length; `None` if it is cut off or damaged.
fn record(bytes: &[u8]) -> Option<(Record, usize)> {
    let length = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?) as usize;
    let checksum = u32::from_le_bytes(bytes.get(4..8)?.try_into().ok()?);
    let content = bytes.get(8..8usize.checked_add(length)?)?;
    if content.len() < 6 || crc32fast::hash(content) != checksum {
        return None;
    }
    let format = match content[0] {
        1 => Format::OtlpProtobuf,
        2 => Format::OtlpJson,
        3 => Format::JaegerJson,
        _ => return None,
    };
    let tenant_bytes = usize::from(content[1]);
    let body_bytes = u32::from_le_bytes(content[2..6].try_into().ok()?) as usize;
    let tenant = Tenant::new(std::str::from_utf8(content.get(6..6 + tenant_bytes)?).ok()?).ok()?;
    let body = lz4_flex::decompress(&content[6 + tenant_bytes..], body_bytes).ok()?;
    Some((Record { tenant, format, body }, 8 + length))
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
