//! The catalog: which segments are live, and from which log file on the log counts.
//!
//! One file of JSON and a checksum, replaced as a whole: whoever opens the store sees the state before a change or after
//! it. If it is damaged it is made again from the segments, which tell where their spans came from.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::checksum;
use super::files::SegmentFiles;
use super::segment::{Origin, Segment};
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
    /// Segments whose spans are in others or are to go: their files may be deleted. A file that no catalog names is deleted
    /// only for a reason such as this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) dropped: Vec<u64>,
    /// Files of segments that could not be read when the catalog was rebuilt: they may hold spans of no other segment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) unread: Vec<u64>,
    /// Log files from `first_log` on that are in segments as a whole, as found when the catalog was rebuilt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) in_segments: Vec<u64>,
    /// The `next_segment` of earlier epochs of a bucket when each ended: no catalog named a larger number of that epoch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) ends: Vec<u64>,
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

    /// The earliest and the latest start of its spans.
    pub(crate) fn starts(&self) -> (u64, u64) {
        (self.first_start_unix_nano, self.last_start_unix_nano)
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
    /// As those of the catalog, of files in the directory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) dropped: Vec<u64>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) unread: Vec<u64>,
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
            dropped: Vec::new(),
            unread: Vec::new(),
            in_segments: Vec::new(),
            ends: Vec::new(),
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

    /// Rebuilds the catalog from the segments. Files that cannot be read are kept as [`unread`](Self::unread), and of the
    /// log files that are there, all count but for those parts that a segment says it holds. `own_logs` are the numbers
    /// that may be the store's own, `logs` the files that are there.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] if what segments are in cannot be reached at all.
    pub(crate) fn rebuild(
        files: &dyn SegmentFiles,
        own_logs: std::ops::Range<u64>,
        logs: &[u64],
    ) -> Result<Self, StoreError> {
        let mut catalog = Self::default();
        let mut in_segments: BTreeMap<u64, (bool, Vec<u64>)> = BTreeMap::new();
        let context = |source| StoreError::io(format!("list beside {}", files.catalog_name()), source);
        let found = files.list().map_err(context)?;
        let aside = files.list_aside().map_err(context)?;
        // A number that was used once is not used again, wherever its file is now.
        let numbers = found.iter().copied().chain(aside.iter().map(|aside| aside.number));
        catalog.next_segment = numbers.max().map_or(0, |last| last + 1);
        let mut origins = BTreeMap::new();
        for number in found {
            match Segment::find(files, number) {
                Ok((entry, origin)) => {
                    if let Some(log) = origin.log.filter(|log| own_logs.contains(log)) {
                        let (is_whole, numbers): &mut (bool, Vec<u64>) = in_segments.entry(log).or_default();
                        *is_whole |= !origin.has_more;
                        numbers.push(number);
                    }
                    origins.insert(number, origin);
                    catalog.segments.push(entry);
                }
                Err(error @ StoreError::Unavailable(_)) if files.is_remote(number) => return Err(error),
                Err(error) => {
                    tracing::error!(%error, "a segment cannot be read; its file is kept");
                    catalog.unread.push(number);
                }
            }
        }
        catalog.drop_replaced(files, &origins)?;
        // A file that is still there is read back, unless segments hold all of it: one that cannot be read may have been the
        // only other place of its spans. Of a file that was being written in several segments, all or none count.
        for (log, (is_whole, numbers)) in in_segments {
            if is_whole || !files.has_log(log) {
                catalog.first_log = catalog.first_log.max(log + 1);
                catalog.in_segments.push(log);
            } else {
                catalog.segments.retain(|entry| !numbers.contains(&entry.number));
                catalog.dropped.extend(numbers);
            }
        }
        let there = logs.iter().copied().find(|log| own_logs.contains(log));
        catalog.first_log = there.unwrap_or(catalog.first_log.max(own_logs.start));
        let first_log = catalog.first_log;
        catalog.in_segments.retain(|log| *log >= first_log);
        Ok(catalog)
    }

    /// Drops segments that others have replaced. Where both are there, the other is read as a whole first: if it is
    /// damaged, those that it replaced count, and not it.
    fn drop_replaced(&mut self, files: &dyn SegmentFiles, origins: &BTreeMap<u64, Origin>) -> Result<(), StoreError> {
        // Later segments first: what they replace need not be read.
        for (number, origin) in origins.iter().rev() {
            let here: Vec<u64> = origin.merged.iter().copied().filter(|merged| origins.contains_key(merged)).collect();
            if here.is_empty() || self.dropped.contains(number) {
                continue;
            }
            let Some(entry) = self.segments.iter().find(|entry| entry.number == *number) else { continue };
            if !is_whole(files, entry)? {
                // Where some of what it replaced is gone, it counts beside the rest: a span twice is better than none.
                if here.len() == origin.merged.len() {
                    self.segments.retain(|entry| entry.number != *number);
                    self.unread.push(*number);
                }
                continue;
            }
            self.segments.retain(|entry| !here.contains(&entry.number));
            self.dropped.extend(here);
        }
        Ok(())
    }

    /// Whether no catalog can have named a segment, by its number: then its spans are where they came from.
    /// `next_segment` is that of the catalog that was committed last.
    pub(crate) fn was_never_committed(&self, number: u64, next_segment: u64) -> bool {
        let end = std::iter::once(&next_segment).chain(&self.ends);
        end.into_iter().any(|end| number >> EPOCH_BITS == end >> EPOCH_BITS && number >= *end)
    }

    /// Replaces the catalog; on return the new one is durable.
    pub(crate) fn commit(&mut self, files: &dyn SegmentFiles) -> Result<(), StoreError> {
        self.writes += 1;
        let context = |source| StoreError::io(format!("write {}", files.catalog_name()), source);
        files.swap_catalog(&self.encode()?).map_err(context)
    }
}

/// Whether every byte of a segment can be read.
pub(crate) fn is_whole(files: &dyn SegmentFiles, entry: &SegmentEntry) -> Result<bool, StoreError> {
    let mut is_whole = true;
    let read = Segment::open(files, entry.clone()).and_then(|segment| segment.verify(|_| is_whole = false));
    match read {
        Err(error @ StoreError::Unavailable(_)) if files.is_remote(entry.number) => Err(error),
        read => Ok(read.is_ok_and(|spans| spans == entry.spans) && is_whole),
    }
}
