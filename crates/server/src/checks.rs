//! What is looked at once a second to know whether the server can do its work.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::runtime::Handle;
use tracewell_store::{EmbeddedStore, SpanStore, StoreStats, Tenant};

use crate::config::Config;
use crate::health::Health;
use crate::receive::Receiver;

/// With less space than this the next log file may not fit.
const FULL_BYTES: u64 = 1 << 20;

/// What the store's numbers say of one part, if it has a problem.
type Problem = fn(&StoreStats) -> Option<String>;

/// Registers the checks of all parts.
pub(crate) fn watch(health: &Health, config: &Config, store: &Arc<dyn SpanStore>, receiver: &Receiver) {
    let receiver = receiver.clone();
    health.check("store", move || receiver.problem());
    if let Some(folder) = &config.data {
        let mut directory = Directory::new(folder);
        health.check("directory", move || directory.problem());
        let folder = folder.clone();
        health.check("disk", move || disk_problem(&folder));
    }
    for (component, problem) in [("damages", damage as Problem), ("reads", failing_read), ("bucket", bucket)] {
        let (store, runtime) = (Arc::downgrade(store), Handle::current());
        health.check(component, move || match runtime.block_on(store.upgrade()?.stats(&Tenant::default())) {
            Ok(stats) => problem(&stats),
            Err(error) => Some(error.to_string()),
        });
    }
}

/// Ends the server when a thread of the store has ended: nothing would be kept from then on, or all of it in memory, and
/// what is acknowledged is in the log, which a new start reads back.
pub(crate) fn watch_threads(health: &Health, store: &Arc<EmbeddedStore>) {
    let (store, told) = (Arc::downgrade(store), health.clone());
    health.check("threads", move || {
        let message = format!("the thread {} ended; the log says why", store.upgrade()?.ended_thread()?);
        told.fail("store", message.clone());
        Some(message)
    });
}

fn damage(stats: &StoreStats) -> Option<String> {
    // The end that a crash cut off was never acknowledged, as far as can be known, and no repair brings it back.
    let mut lost = stats.damages.iter().filter(|damage| !damage.contains("never acknowledged"));
    let first = lost.next()?;
    let more = lost.count();
    Some(format!(
        "{first}{}; see `tracewell fsck`",
        if more > 0 { format!(", and {more} more") } else { String::new() }
    ))
}

/// Files that cannot be read at the moment: answers that need them are refused.
fn failing_read(stats: &StoreStats) -> Option<String> {
    let waiting = stats.unavailable.first().map(|file| format!("{}: {}", file.name, file.why));
    waiting.or_else(|| stats.failing_read.clone())
}

fn bucket(stats: &StoreStats) -> Option<String> {
    stats.bucket.as_ref()?.away.clone()
}

/// The data directory, as it was at the start.
struct Directory {
    folder: PathBuf,
    identity: Option<(u64, u64)>,
}

impl Directory {
    fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), identity: identity(folder).ok() }
    }

    fn problem(&mut self) -> Option<String> {
        let folder = self.folder.display();
        match identity(&self.folder) {
            Ok(identity) if Some(identity) == self.identity => None,
            Ok(_) => Some(format!(
                "{folder} is another directory than at the start: what is kept in the old one is not in it"
            )),
            Err(error) => Some(format!("{folder} cannot be found: {error}")),
        }
    }
}

/// What a directory is, whatever its name.
fn identity(folder: &Path) -> std::io::Result<(u64, u64)> {
    std::fs::metadata(folder).map(|metadata| (metadata.dev(), metadata.ino()))
}

fn disk_problem(folder: &Path) -> Option<String> {
    let space = match rustix::fs::statvfs(folder) {
        Ok(space) => space,
        // The directory's own check says so.
        Err(rustix::io::Errno::NOENT) => return None,
        Err(error) => return Some(format!("the disk of {} cannot be asked for its space: {error}", folder.display())),
    };
    // What is kept for the superuser is there for a server that is one.
    let blocks = if rustix::process::geteuid().is_root() { space.f_bfree } else { space.f_bavail };
    let free = blocks.saturating_mul(space.f_frsize);
    (free < FULL_BYTES).then(|| format!("the disk of {} is full: {free} bytes are free", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_deleted_or_replaced_is_noticed() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("data");
        std::fs::create_dir(&folder).unwrap();
        let mut directory = Directory::new(&folder);
        assert_eq!(directory.problem(), None);
        std::fs::rename(&folder, parent.path().join("old")).unwrap();
        assert!(directory.problem().unwrap().contains("cannot be found"));
        std::fs::create_dir(&folder).unwrap();
        assert!(directory.problem().unwrap().contains("another directory"));
        assert_eq!(disk_problem(&folder), None);
    }
}
