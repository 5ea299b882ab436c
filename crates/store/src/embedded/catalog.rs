//! The catalog: which segments are live, and from which log file on the log counts.
//!
//! One file of JSON and a checksum, replaced as a whole: whoever opens the store sees the state before a change or after
//! it. If it is damaged it is made again from the segments, which tell where their spans came from.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::checksum;
use super::files::SegmentFiles;
use super::segment::Segment;
use super::upgrade::{self, FORMAT};
use crate::StoreError;

/// The lower bits of the number of a segment or log file count within an epoch of a bucket, those above are the epoch. In
/// a directory there is but epoch 0.
pub(crate) const EPOCH_BITS: u32 = 32;
/// Whether a segment of a bucket is still a file in its owner's directory: those that came from there have no epoch.
#[cfg(feature = "s3")]
pub(crate) fn is_in_directory(number: u64) -> bool {
    number >> EPOCH_BITS == 0
}

/// What stands between the JSON and its CRC-32 in hexadecimal.
const CHECKSUM: &str = "\ncrc32 ";

/// What the store holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Catalog {
    pub(crate) format: u32,
    /// How often the catalog was written: no two attempts to write it have the same bytes.
    pub(crate) writes: u64,
    /// Log files with a smaller number are in segments already.
    pub(crate) first_log: u64,
    pub(crate) next_segment: u64,
    pub(crate) segments: Vec<SegmentEntry>,
    /// Who may change a catalog in a bucket; that of a directory belongs to whoever has the directory's lock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) owner: Option<Owner>,
    /// Directories that owned the bucket before, with what their log files count from.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) former: Vec<FormerOwner>,
    /// Directories whose own catalog was taken in. Their segments are moved into the bucket one by one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) moved: Vec<String>,
    /// The time when it was written, by a clock that was believed: no later start is before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) written_unix_nano: Option<u64>,
}

/// A live segment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SegmentEntry {
    pub(crate) number: u64,
    pub(crate) tenant: String,
    pub(crate) spans: u64,
    pub(crate) bytes: u64,
    pub(crate) first_start_unix_nano: u64,
    pub(crate) last_start_unix_nano: u64,
    /// The earliest and the latest date of a span, which is the earlier of its start and its arrival: what retention goes
    /// by. Unknown of segments from before arrivals were kept, until a clock is believed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) first_date_unix_nano: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_date_unix_nano: Option<u64>,
}

impl SegmentEntry {
    /// The earliest and the latest date, as far as they are known.
    pub(crate) fn dates(&self) -> Option<(u64, u64)> {
        self.first_date_unix_nano.zip(self.last_date_unix_nano)
    }

    /// The latest date; the latest start where that is all that is known.
    pub(crate) fn last_date(&self) -> u64 {
        self.last_date_unix_nano.unwrap_or(self.last_start_unix_nano)
    }
}

/// A process that has claimed a bucket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Owner {
    /// The directory with the log, by a random name of its own.
    pub(crate) directory: String,
    /// The process, likewise.
    pub(crate) session: String,
    /// Counts claims. The numbers of segments begin with it, so that no two owners write the same one.
    pub(crate) epoch: u64,
    /// Where the directory is, for people.
    pub(crate) place: String,
}

/// A directory that owned the bucket before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FormerOwner {
    pub(crate) directory: String,
    pub(crate) first_log: u64,
    /// What is in the directory still, and counts when it owns the bucket again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) segments: Vec<SegmentEntry>,
}

impl Default for Catalog {
    fn default() -> Self {
        Self {
            format: FORMAT,
            writes: 0,
            first_log: 0,
            next_segment: 0,
            segments: Vec::new(),
            owner: None,
            former: Vec::new(),
            moved: Vec::new(),
            written_unix_nano: None,
        }
    }
}

impl Catalog {
    /// Reads the catalog; that of a new store is empty. Damage is an error that says so.
    pub(crate) fn open(files: &dyn SegmentFiles) -> Result<Self, StoreError> {
        let context = |source| StoreError::io(format!("read {}", files.catalog_name()), source);
        match files.read_catalog().map_err(context)? {
            Some(bytes) => Self::decode(&bytes, &files.catalog_name()),
            None => Ok(Self::default()),
        }
    }

    /// Reads a catalog of this format or an older one. `name` is what an error calls it.
    pub(crate) fn decode(bytes: &[u8], name: &str) -> Result<Self, StoreError> {
        let damaged = |what: String| StoreError::Corrupt(format!("{name}: {what}"));
        let text = String::from_utf8_lossy(bytes);
        let (json, checksum) = text.rsplit_once(CHECKSUM).unwrap_or((&text, ""));
        let parsed = serde_json::from_str::<Value>(json);
        // A newer version's checksum may lie elsewhere, so its number is looked at first.
        let format = parsed.as_ref().ok().and_then(|value| value["format"].as_u64());
        if let Some(format) = format {
            upgrade::check(format, name)?;
        }
        if !u32::from_str_radix(checksum.trim(), 16).is_ok_and(|expected| checksum::holds(json.as_bytes(), expected)) {
            return Err(damaged("its checksum is wrong".to_owned()));
        }
        let parsed = parsed.map_err(|error| damaged(error.to_string()))?;
        serde_json::from_value(upgrade::to_this_format(parsed)).map_err(|error| damaged(error.to_string()))
    }

    /// The bytes of the catalog, with its checksum.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, StoreError> {
        let mut text = serde_json::to_string_pretty(self).map_err(|error| StoreError::Corrupt(error.to_string()))?;
        let checksum = crc32fast::hash(text.as_bytes());
        text.push_str(&format!("{CHECKSUM}{checksum:08x}\n"));
        Ok(text.into_bytes())
    }

    /// Makes the catalog again from the segments that can be read: those that no other has replaced. Log files whose
    /// spans a segment has count no more, as far as they have a number of those that are the store's own.
    pub(crate) fn rebuild(files: &dyn SegmentFiles, own_logs: std::ops::Range<u64>) -> Result<Self, StoreError> {
        let mut catalog = Self { first_log: own_logs.start, ..Self::default() };
        let mut replaced = BTreeSet::new();
        // Of a log file that was being written in several segments, all or none count.
        let mut logs: BTreeMap<u64, (bool, Vec<u64>)> = BTreeMap::new();
        let context = |source| StoreError::io(format!("list beside {}", files.catalog_name()), source);
        for number in files.list().map_err(context)? {
            catalog.next_segment = catalog.next_segment.max(number + 1);
            match Segment::find(files, number) {
                Ok((entry, origin)) => {
                    replaced.extend(origin.merged);
                    if let Some(log) = origin.log.filter(|log| own_logs.contains(log)) {
                        let (is_whole, numbers) = logs.entry(log).or_default();
                        *is_whole |= !origin.has_more;
                        numbers.push(number);
                    }
                    catalog.segments.push(entry);
                }
                Err(error @ StoreError::Unavailable(_)) => return Err(error),
                Err(error) => tracing::error!(%error, "a segment cannot be read"),
            }
        }
        for (log, (is_whole, numbers)) in logs {
            if is_whole || !files.has_log(log) {
                catalog.first_log = catalog.first_log.max(log + 1);
            } else {
                replaced.extend(numbers);
            }
        }
        catalog.segments.retain(|entry| !replaced.contains(&entry.number));
        Ok(catalog)
    }

    /// Replaces the catalog; on return the new one is durable.
    pub(crate) fn commit(&mut self, files: &dyn SegmentFiles) -> Result<(), StoreError> {
        self.writes += 1;
        let context = |source| StoreError::io(format!("write {}", files.catalog_name()), source);
        files.swap_catalog(&self.encode()?).map_err(context)
    }
}
