//! Appends on their way into the log and the active memtable.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::log::LogWriter;
use super::{Commit, Frozen, Request, Shared, Waiting, log_path};
use crate::StoreError;
use crate::memtable::Memtable;

/// Bytes of records that one group commit writes at most.
const GROUP_BYTES: usize = 16 << 20;

/// Writes the log: the only writer of the log and of the active memtable.
pub(super) struct LogThread {
    pub(super) shared: Arc<Shared>,
    pub(super) writer: LogWriter,
    pub(super) number: u64,
    /// How much of the file before this one was acknowledged.
    pub(super) before: u64,
    /// After a failed write the end of the file is unknown, so it takes no more.
    pub(super) failed: bool,
}

impl LogThread {
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
                }
            }
            self.commit(&mut group);
        }
    }

    fn commit(&mut self, group: &mut Vec<Waiting>) {
        if group.is_empty() {
            return;
        }
        let written = if self.failed { self.freeze() } else { Ok(()) }.and_then(|()| self.write(group));
        if let Err(error) = written {
            if !self.failed {
                tracing::error!(%error, "cannot write the log; appends are refused until it can be written again");
            }
            self.failed = true;
            for append in group.drain(..) {
                self.shared.release(append.kept.bytes());
                let _ = append.done.send(Err(StoreError::Busy(format!("the log cannot be written: {error}"))));
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
        match group {
            [only] => self.writer.write(&only.record, sync),
            several => {
                let mut records = Vec::with_capacity(several.iter().map(|append| append.record.len()).sum());
                several.iter().for_each(|append| records.extend_from_slice(&append.record));
                self.writer.write(&records, sync)
            }
        }
    }

    /// Hands the active memtable with its log file to the flush thread and begins a new file.
    fn freeze(&mut self) -> Result<(), StoreError> {
        let (disk, limits) = (&*self.shared.disk, &self.shared.options.limits);
        if self.writer.is_empty() {
            if self.failed {
                // Nothing in the file counts, so it is begun anew under its number.
                let path = log_path(&self.shared.folder, self.number);
                self.writer = LogWriter::create(disk, &path, limits, self.before)?;
                self.failed = false;
            }
            return Ok(());
        }
        let number = self.number + 1;
        let before = self.writer.bytes;
        let path = log_path(&self.shared.folder, number);
        let writer = LogWriter::create(disk, &path, limits, before).inspect_err(|_| {
            // The new file may be there and say how much of this one counts, so this one takes no more.
            self.failed = true;
        })?;
        let old = std::mem::replace(&mut self.writer, writer);
        let mut state = self.shared.state_mut();
        let tables = std::mem::take(&mut state.active);
        state.frozen.push(Arc::new(Frozen { log_number: self.number, log_bytes: old.bytes, tables }));
        drop(state);
        self.before = before;
        self.number = number;
        self.failed = false;
        self.shared.flush.wake();
        Ok(())
    }
}
