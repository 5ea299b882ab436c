//! What cannot be read: log files that wait to be read, files that were set aside, and what is said of both.

use std::path::Path;
use std::time::{Duration, Instant};

use super::flush::Flusher;
use super::log_read::{LogReader, LogState, acknowledged_before};
use super::replay::{TORN_LOG, retire_log, set_aside_in};
use super::segment::Segment;
use super::{SegmentEntry, Shared, files, log_path, logs_in};
use crate::{SetAsideFile, StoreError, UnavailableFile};

/// Pauses before what could not be read is tried again: the first, and the longest. What is damaged is hardly ever mended
/// by itself.
const FIRST_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 1 } else { 500 });
const MAX_PAUSE: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 8_000 });
const MAX_DAMAGED_PAUSE: Duration = Duration::from_secs(600);

/// A segment that is known and could not be opened, with the reason.
#[derive(Clone, Debug)]
pub(super) struct Unopened {
    pub(super) number: u64,
    /// What the catalog says of it; nothing, if the catalog was rebuilt without it.
    pub(super) entry: Option<SegmentEntry>,
    pub(super) why: String,
    /// Whether it could be read and is damaged. If not, that may pass.
    pub(super) is_damaged: bool,
    tries: u32,
    pub(super) next_try: Instant,
}

/// A file that was set aside, as far as it is known what it holds.
#[derive(Clone, Debug)]
pub(super) struct SetAside {
    pub(super) name: String,
    pub(super) entry: Option<SegmentEntry>,
    /// Whether spans that were acknowledged may be in it and nowhere else.
    pub(super) is_missing: bool,
}

fn pause(tries: u32, is_damaged: bool) -> Duration {
    let max = if is_damaged { MAX_DAMAGED_PAUSE } else { MAX_PAUSE };
    (FIRST_PAUSE * 2u32.pow(tries.min(16))).min(max)
}

impl Unopened {
    pub(super) fn known(entry: SegmentEntry, error: &StoreError) -> Self {
        let is_damaged = matches!(error, StoreError::Corrupt(_));
        let why = error.to_string();
        let number = entry.number;
        Self { number, entry: Some(entry), why, is_damaged, tries: 0, next_try: Instant::now() + pause(0, is_damaged) }
    }

    /// One of which only the number is known. It is tried at once.
    pub(super) fn unknown(number: u64, why: String) -> Self {
        Self { number, entry: None, why, is_damaged: false, tries: 0, next_try: Instant::now() }
    }

    pub(super) fn failed_again(&mut self, again: Self) {
        self.tries += 1;
        self.why = again.why;
        self.is_damaged = again.is_damaged;
        self.next_try = Instant::now() + pause(self.tries, self.is_damaged);
    }
}

impl Shared {
    /// Looks at what was set aside, which is the record of what is missing.
    pub(super) fn look_aside(&self) {
        if self.files.is_away() {
            // It would be waited for in vain. What is there is listed when the bucket is claimed.
            return;
        }
        let mut found = Vec::new();
        match self.files.list_aside() {
            Ok(listed) => {
                for aside in listed.into_iter().filter(|aside| !aside.is_repaired()) {
                    let file = self.files.open_aside(&aside).ok();
                    let segment = file.and_then(|file| Segment::from_file(aside.number, aside.name.clone(), file).ok());
                    let entry = segment.map(|segment| segment.entry);
                    let name = format!("{}/{}", files::DAMAGED_FOLDER, aside.name);
                    found.push(SetAside { name, entry, is_missing: true });
                }
            }
            Err(error) => {
                tracing::warn!(%error, "cannot list what was set aside");
                found.extend(self.state().aside.iter().filter(|aside| !aside.is_log()).cloned());
            }
        }
        for path in set_aside_in(&*self.disk, &self.folder) {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let name = format!("{}/{name}", files::DAMAGED_FOLDER);
            let is_missing = !name.ends_with(TORN_LOG);
            found.push(SetAside { name, entry: None, is_missing });
        }
        self.state_mut().aside = found;
    }
}

impl Shared {
    /// When something that could not be read is to be tried again.
    pub(super) fn next_try(&self) -> Option<Instant> {
        let state = self.state();
        state.unopened.iter().map(|unopened| unopened.next_try).min()
    }

    /// What is to be said of files that cannot be served, and are not just unavailable.
    pub(super) fn missing_files(&self) -> Vec<String> {
        let state = self.state();
        let damaged = state.unopened.iter().filter(|unopened| unopened.is_damaged).map(|unopened| {
            let spans = unopened.entry.as_ref().map_or(0, |entry| entry.spans);
            format!("{}: its {spans} spans are missing", unopened.why)
        });
        let aside = state.aside.iter().map(|aside| match (&aside.entry, aside.is_missing) {
            (Some(entry), _) => {
                format!(
                    "{} was set aside: its {} spans are missing until `tracewell fsck --adopt`",
                    aside.name, entry.spans
                )
            }
            (None, true) => format!("{} was set aside: it cannot be read, and spans in it are missing", aside.name),
            (None, false) => {
                format!("{} was set aside: it ends with bytes that were never acknowledged, or are damaged", aside.name)
            }
        });
        damaged.chain(aside).collect()
    }

    pub(super) fn set_aside_files(&self) -> Vec<SetAsideFile> {
        let state = self.state();
        let files = state.aside.iter().map(|aside| SetAsideFile {
            name: aside.name.clone(),
            spans: aside.entry.as_ref().map(|entry| entry.spans),
            starts_unix_nano: aside.entry.as_ref().map(SegmentEntry::starts),
            is_missing: aside.is_missing,
        });
        files.collect()
    }

    pub(super) fn unavailable_files(&self) -> Vec<UnavailableFile> {
        let state = self.state();
        let segments = state.unopened.iter().filter(|unopened| !unopened.is_damaged).map(|unopened| UnavailableFile {
            name: self.files.name(unopened.number),
            spans: unopened.entry.as_ref().map(|entry| entry.spans),
            starts_unix_nano: unopened.entry.as_ref().map(SegmentEntry::starts),
            why: unopened.why.clone(),
        });
        let logs = state.unread_log.iter().map(|why| UnavailableFile {
            name: self.folder.join("log").display().to_string(),
            spans: None,
            starts_unix_nano: None,
            why: why.clone(),
        });
        segments.chain(logs).collect()
    }
}

impl SetAside {
    /// A log file that is about to be set aside.
    pub(super) fn damaged_log(path: &Path) -> Self {
        Self { name: path.display().to_string(), entry: None, is_missing: true }
    }

    pub(super) fn is_log(&self) -> bool {
        !self.name.trim_end_matches(".repaired").ends_with(".segment")
    }
}

impl Flusher {
    /// Deletes log files that are in segments, as far as they can be read as a whole.
    pub(super) fn remove_flushed_logs(&mut self, shared: &Shared) {
        for number in logs_in(&*shared.disk, &shared.folder).unwrap_or_default() {
            if number >= self.catalog.first_log {
                continue;
            }
            let next = log_path(&shared.folder, number + 1);
            let acknowledged = acknowledged_before(&*shared.disk, &next);
            match log_state(shared, number, acknowledged) {
                Ok(state) => retire_log(shared, number, state),
                Err(error) => tracing::warn!(%error, "a log file that is in a segment cannot be read; it stays"),
            }
        }
    }
}

/// How much of a log file can be read.
fn log_state(shared: &Shared, number: u64, acknowledged: Option<u64>) -> Result<LogState, StoreError> {
    let mut reader = LogReader::open(&*shared.disk, &log_path(&shared.folder, number), acknowledged)?;
    while reader.next()?.is_some() {}
    Ok(reader.end().state(acknowledged))
}
