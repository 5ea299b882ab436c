//! Where queries run: on threads of their own, which give way to those that take spans.
//!
//! A span that is not taken in time is lost to its sender; an answer only comes later. So queries, from the bytes on the
//! disk to the bytes on the connection, run on a second runtime whose threads have a lower priority: with nothing else
//! to do the processor is theirs, and while spans come in they get a part of it.

use anyhow::{Context, Result};
use tokio::runtime::{Builder, Handle, Runtime};

/// How much the threads give way: at 2 a thread that competes with one of the usual priority gets two fifths of the
/// processor (the kernel's weights are 655 and 1024). What 0, 2 and 5 do to either side is in docs/adr/0015.
#[cfg(target_os = "linux")]
const NICE: i32 = 2;

/// Threads for each query of those that are answered at once: one that the query itself runs on, for what is read ahead, and
/// for what is computed meanwhile. None waits for a thread that another one holds.
const THREADS_A_QUERY: usize = 3;

/// Threads for what is no query.
const MORE_THREADS: usize = 8;

/// The runtime of queries; its threads end when it is dropped.
pub(crate) struct Queries(Option<Runtime>);

impl Queries {
    /// For this number of queries at once.
    pub(crate) fn start(concurrent_queries: usize) -> Result<Self> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let runtime = Builder::new_multi_thread()
            .worker_threads(processors)
            .max_blocking_threads(THREADS_A_QUERY * concurrent_queries + MORE_THREADS)
            .thread_name("query")
            .on_thread_start(give_way)
            .enable_all()
            .build()
            .context("start the threads of queries")?;
        Ok(Self(Some(runtime)))
    }

    pub(crate) fn handle(&self) -> &Handle {
        self.0.as_ref().expect("it is there until it is dropped").handle()
    }
}

impl Drop for Queries {
    fn drop(&mut self) {
        // It may be dropped where waiting is not allowed.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// On Linux a priority is that of a thread; elsewhere it would be the whole process's.
fn give_way() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "queries run with the usual priority");
    }
}
