//! The tracer, the global one, and the guard that flushes.

use crate::context::with_current;
use crate::pipeline::Pipeline;
use crate::span::SpanBuilder;
use crate::sync::Arc;
use crate::{Config, Context, Error, Key, Propagators, ShutdownReport, Stats, fork};
use std::sync::OnceLock;
use std::time::Duration;

/// The tracer that [`init`] started, and the one that it started after the process was forked.
struct Global {
    tracer: Tracer,
    /// See [`fork::count`].
    forks: u32,
    after_fork: OnceLock<Box<Self>>,
}

static GLOBAL: OnceLock<Global> = OnceLock::new();
static INHERITING: Tracer = Tracer { pipeline: None, propagators: Propagators::DEFAULT, inherits: true };

/// Makes spans. Cheap to clone; most programs use the global one through [`crate::span`].
#[derive(Clone, Debug, Default)]
pub struct Tracer {
    /// `None` for a tracer that records nothing.
    pipeline: Option<Arc<Pipeline>>,
    propagators: Propagators,
    /// It stands for the tracer of the current context, and else for the global one.
    inherits: bool,
}

impl Tracer {
    /// Starts a tracer of its own, with its own exporter thread, which lives until [`Tracer::shutdown`]; the global
    /// tracer stays what it is. Inside of its spans, [`crate::span`] and all that make spans without being given a tracer
    /// use it, too.
    ///
    /// # Errors
    /// When the configuration is invalid or the thread cannot be started.
    pub fn new(config: Config) -> Result<Self, Error> {
        let propagators = config.propagators;
        let pipeline = if config.disabled { None } else { Some(Pipeline::start(config)?) };
        Ok(Self { pipeline, propagators, inherits: false })
    }

    /// A tracer that records nothing and passes the context through.
    #[must_use]
    pub const fn noop() -> Self {
        Self { pipeline: None, propagators: Propagators::DEFAULT, inherits: false }
    }

    /// A span of this tracer, child of the current context unless told otherwise.
    #[inline(always)]
    pub fn span(&self, name: impl Into<Key>) -> SpanBuilder<'_> {
        SpanBuilder::new(self, name.into())
    }

    /// Hands all spans that have ended to the exporter and waits until it is done with them.
    ///
    /// # Errors
    /// [`Error::Timeout`] when it is not in time; it goes on in the background.
    pub fn flush(&self, timeout: Duration) -> Result<(), Error> {
        self.with_pipeline(|pipeline| pipeline.map_or(Ok(()), |pipeline| pipeline.flush(timeout)))
    }

    /// Flushes, and ends the exporter's thread. Spans that end later are counted as dropped.
    ///
    /// What could not be exported in time, or at all, is in the report: it is no error of the program.
    ///
    /// # Errors
    /// [`Error::Forked`].
    pub fn shutdown(&self, timeout: Duration) -> Result<ShutdownReport, Error> {
        self.with_pipeline(|pipeline| pipeline.map_or_else(|| Ok(ShutdownReport::default()), |p| p.shutdown(timeout)))
    }

    /// The formats in which its layers send and understand contexts.
    #[must_use]
    pub fn propagators(&self) -> Propagators {
        if !self.inherits {
            return self.propagators;
        }
        with_current(propagators_of)
    }

    /// What has happened to spans so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.with_pipeline(|pipeline| pipeline.map_or_else(Stats::default, |pipeline| pipeline.stats()))
    }

    /// Does something with its pipeline in the current context.
    pub(crate) fn with_pipeline<R>(&self, work: impl FnOnce(Option<&Arc<Pipeline>>) -> R) -> R {
        if !self.inherits {
            return work(self.pipeline.as_ref());
        }
        // Not while the current context is read: the work may wait, or change it.
        let pipeline = with_current(|around| self.pipeline_around(around).cloned());
        work(pipeline.as_ref())
    }

    /// Its pipeline in this context.
    #[inline]
    pub(crate) fn pipeline_around<'a>(&'a self, around: &'a Context) -> Option<&'a Arc<Pipeline>> {
        if !self.inherits {
            return self.pipeline.as_ref();
        }
        match around.recording() {
            Some(recording) if !recording.pipeline().is_forked() => Some(recording.pipeline()),
            _ => global()?.pipeline.as_ref(),
        }
    }
}

/// Those of the tracer that records the context's span, or else of the global one.
pub(crate) fn propagators_of(context: &Context) -> Propagators {
    match context.recording() {
        Some(recording) => recording.pipeline().propagators,
        None => global().map_or(Propagators::DEFAULT, |tracer| tracer.propagators),
    }
}

/// Starts the global tracer. Until then all spans do nothing, but contexts still pass through.
///
/// Keep the guard in `main`: what has not been exported is when it is shut down or dropped. A process that was forked may
/// start it again.
///
/// # Errors
/// When the configuration is invalid, the exporter's thread cannot be started, or it was called before.
pub fn init(config: Config) -> Result<Guard, Error> {
    // Before anything is started: the usual reason to fail.
    if global_slot().is_none() {
        return Err(Error::AlreadyInitialized);
    }
    let shutdown_timeout = config.shutdown_timeout;
    let tracer = Tracer::new(config)?;
    let new = || Global { tracer: tracer.clone(), forks: fork::count(), after_fork: OnceLock::new() };
    let is_set = match global_slot() {
        Some(Slot::First) => GLOBAL.set(new()).is_ok(),
        Some(Slot::AfterFork(slot)) => slot.set(Box::new(new())).is_ok(),
        None => false,
    };
    if !is_set {
        // Another thread was faster; this tracer has no spans.
        tracer.shutdown(Duration::ZERO).ok();
        return Err(Error::AlreadyInitialized);
    }
    #[cfg(panic = "abort")]
    flush_before_abort(tracer.clone(), shutdown_timeout);
    Ok(Guard { tracer, shutdown_timeout, done: false })
}

/// Where a global tracer may be put.
enum Slot {
    First,
    AfterFork(&'static OnceLock<Box<Global>>),
}

/// `None` when there is one in this process.
fn global_slot() -> Option<Slot> {
    let Some(mut global) = GLOBAL.get() else { return Some(Slot::First) };
    while global.forks != fork::count() {
        match global.after_fork.get() {
            Some(next) => global = next,
            None => return Some(Slot::AfterFork(&global.after_fork)),
        }
    }
    None
}

/// The tracer that was started last.
#[inline]
fn global() -> Option<&'static Tracer> {
    let mut global = GLOBAL.get()?;
    while global.forks != fork::count()
        && let Some(next) = global.after_fork.get()
    {
        global = next;
    }
    Some(&global.tracer)
}

/// Where panics do not unwind no guard is dropped: the last moment is the panic's hook.
#[cfg(panic = "abort")]
fn flush_before_abort(tracer: Tracer, timeout: Duration) {
    let others = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        others(panic);
        tracer.shutdown(timeout).ok();
    }));
}

/// The tracer that records the current span, or else the global one, which records nothing before [`init`]. It stands for
/// them: which one it is is asked each time that it is used.
#[must_use]
#[inline]
pub fn tracer() -> &'static Tracer {
    &INHERITING
}

/// Flushes and stops the global tracer when shut down or dropped.
#[derive(Debug)]
#[must_use = "spans are flushed when the guard is dropped, which would be at once"]
pub struct Guard {
    tracer: Tracer,
    shutdown_timeout: Duration,
    done: bool,
}

impl Guard {
    /// The tracer.
    #[must_use]
    pub fn tracer(&self) -> &Tracer {
        &self.tracer
    }

    /// Exports what there is and stops, within [`Config::shutdown_timeout`]; at once when nobody listens where spans go.
    ///
    /// What was lost is in the report, and said in the log: a receiver that is not there is no reason for a program to fail.
    ///
    /// # Errors
    /// None so far. In a forked process there is nothing to do, and the report is empty.
    pub fn shutdown(mut self) -> Result<ShutdownReport, Error> {
        self.done = true;
        match self.tracer.shutdown(self.shutdown_timeout) {
            Err(Error::Forked) => Ok(ShutdownReport::default()),
            result => result,
        }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.done {
            // Nobody is left to tell; the statistics count what was lost.
            self.tracer.shutdown(self.shutdown_timeout).ok();
        }
    }
}
