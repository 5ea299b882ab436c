//! Appends on their way into the log and the active memtable.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::log::LogWriter;
use super::log_read::LogState;
use super::replay::whole_bytes;
use super::{Commit, Frozen, Request, Shared, Waiting, log_path};
use crate::StoreError;
use crate::memtable::Memtable;

/// Bytes of records that one group commit writes at most.
const GROUP_BYTES: usize = 16 << 20;

/// Writes the log: the only writer of the log and of the active memtable.
pub(super) struct LogThread {
    shared: Arc<Shared>,
    /// None as long as no file could be begun.
    writer: Option<LogWriter>,
    number: u64,
    /// How much of the file before this one was acknowledged; none while that cannot be read.
    before: Option<u64>,
    /// After a failed write the end of the file is unknown, so it takes no more.
    failed: bool,
}

impl LogThread {
    /// Begins a file, or tries to: without one the store can still be read.
    pub(super) fn begin(shared: Arc<Shared>, number: u64, before: Option<u64>) -> Self {
        let mut log = Self { shared, writer: None, number, before, failed: true };
        if let Err(error) = log.freeze() {
            log.note_failure(&error);
            tracing::error!(%error, "the store can be read only; spans are refused until its log can be written");
        }
        log
    }

    pub(super) fn run(mut self, mut waiting: mpsc::Receiver<Request>) {
        let mut group = Vec::new();
        while let Some(first) = waiting.blocking_recv() {
            let mut bytes = 0;
            let mut next = Some(first);
            while let Some(request) = next.take() {
                match request {
                    Request::Append(append) => {
                        bytes += append.record.len();
                        group.push(append);
                        if bytes < GROUP_BYTES {
                            next = waiting.try_recv().ok();
                        }
                    }
                    Request::Freeze { done } => {
                        self.commit(&mut group);
                        // The receiver is gone only when its caller is.
                        let _ = done.send(self.freeze());
                    }
                    Request::Retry => self.retry(),
                }
            }
            self.commit(&mut group);
        }
    }

    fn commit(&mut self, group: &mut Vec<Waiting>) {
        if group.is_empty() {
            return;
        }
        let written = if self.failed { self.freeze() } else { Ok(()) }
            .and_then(|()| self.write(group))
            // What a file that nobody finds has taken is not kept.
            .and_then(|()| self.shared.health.check_log(&*self.shared.disk));
        if let Err(error) = written {
            if !self.failed && !self.shared.health.is_lost() && !self.shared.health.is_log_lost() {
                tracing::error!(%error, "cannot write the log; appends are refused until it can be written again");
            }
            self.note_failure(&error);
            self.failed = true;
            let why = match error {
                StoreError::Busy(why) => why,
                other => format!("the log cannot be written: {other}"),
            };
            for append in group.drain(..) {
                self.shared.release(append.kept.bytes());
                let _ = append.done.send(Err(StoreError::Busy(why.clone())));
            }
            return;
        }
        let active_bytes = {
            let mut state = self.shared.state_mut();
            for append in group.iter() {
                state.log_bytes += append.record.len() as u64;
                match state.active.get_mut(&append.tenant) {
                    Some(table) => table.insert(append.kept.clone()),
                    None => state.active.entry(append.tenant.clone()).or_default().insert(append.kept.clone()),
                }
            }
            state.active.values().map(Memtable::bytes).sum::<usize>()
        };
        for append in group.drain(..) {
            let _ = append.done.send(Ok(()));
        }
        if active_bytes >= self.shared.options.freeze_bytes()
            && let Err(error) = self.freeze()
        {
            tracing::error!(%error, "cannot begin a new log file");
        }
    }

    fn write(&mut self, group: &[Waiting]) -> Result<(), StoreError> {
        let sync = self.shared.options.commit == Commit::Group;
        let Some(writer) = &mut self.writer else { return Err(StoreError::Busy("there is no log file".to_owned())) };
        match group {
            [only] => writer.write(&only.record, sync),
            several => {
                let mut records = Vec::with_capacity(several.iter().map(|append| append.record.len()).sum());
                several.iter().for_each(|append| records.extend_from_slice(&append.record));
                writer.write(&records, sync)
            }
        }
    }

    /// Tries again what has failed. What a lost log file had is in memory, and becomes a segment.
    fn retry(&mut self) {
        if self.shared.health.is_log_lost() && self.shared.state().active.is_empty() {
            return;
        }
        if self.failed || self.shared.health.is_log_lost() {
            match self.freeze() {
                Ok(()) => tracing::info!("the log can be written again"),
                Err(error) => self.note_failure(&error),
            }
        }
    }

    fn note_failure(&self, error: &StoreError) {
        self.shared.health.set_unwritable(Some(format!("the log cannot be written: {error}")));
    }

    /// Hands the active memtable with its log file to the flush thread and begins a new file.
    fn freeze(&mut self) -> Result<(), StoreError> {
        self.shared.health.check_folder(&*self.shared.disk)?;
        let Some(old) = self.writer.take_if(|writer| !writer.is_empty()) else {
            if self.failed {
                // Nothing in the file counts, so it is begun anew under its number.
                let before = self.before.or_else(|| whole_bytes(&self.shared, self.number.checked_sub(1)?));
                self.before = before;
                let unknown = || {
                    StoreError::Busy(
                        "the log file before this one cannot be read, so that its end is not known".to_owned(),
                    )
                };
                self.writer = Some(self.create(self.number, before.ok_or_else(unknown)?)?);
                self.failed = false;
            }
            return Ok(());
        };
        let (number, before) = (self.number + 1, old.bytes);
        let writer = match self.create(number, before) {
            Ok(writer) => writer,
            Err(error) => {
                // The new file may be there and say how much of this one counts, so this one takes no more.
                self.writer = Some(old);
                self.failed = true;
                return Err(error);
            }
        };
        self.writer = Some(writer);
        let mut state = self.shared.state_mut();
        let tables = std::mem::take(&mut state.active);
        state.frozen.push(Arc::new(Frozen {
            log_number: self.number,
            log_bytes: old.bytes,
            tables,
            written: Vec::new(),
            log_state: LogState::Whole,
        }));
        drop(state);
        self.before = Some(before);
        self.number = number;
        self.failed = false;
        self.shared.flush.wake();
        Ok(())
    }

    fn create(&self, number: u64, before: u64) -> Result<LogWriter, StoreError> {
        let disk = &*self.shared.disk;
        let path = log_path(&self.shared.folder, number);
        let writer = LogWriter::create(disk, &path, &self.shared.rules(), before)?;
        self.shared.health.set_log(disk, &path);
        Ok(writer)
    }
}
