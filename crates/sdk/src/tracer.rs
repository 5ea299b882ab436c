//! The tracer, the global one, and the guard that flushes.

use crate::Stats;
use crate::pipeline::Pipeline;
use crate::span::SpanBuilder;
use crate::sync::Arc;
use crate::{Config, Error, Key, Propagators};
use std::sync::OnceLock;
use std::time::Duration;

static GLOBAL: OnceLock<Tracer> = OnceLock::new();
static NOOP: Tracer = Tracer::noop();

/// Makes spans. Cheap to clone; most programs use the global one through [`crate::span`].
#[derive(Clone, Debug, Default)]
pub struct Tracer {
    /// `None` for a tracer that records nothing.
    pipeline: Option<Arc<Pipeline>>,
    propagators: Propagators,
}

impl Tracer {
    /// Starts a tracer of its own, with its own exporter thread, which lives until [`Tracer::shutdown`]; the global
    /// tracer stays what it is.
    ///
    /// # Errors
    /// When the configuration is invalid or the thread cannot be started.
    pub fn new(config: Config) -> Result<Self, Error> {
        let propagators = config.propagators;
        let pipeline = if config.disabled { None } else { Some(Pipeline::start(config)?) };
        Ok(Self { pipeline, propagators })
    }

    /// A tracer that records nothing and passes the context through.
    #[must_use]
    pub const fn noop() -> Self {
        Self { pipeline: None, propagators: Propagators::DEFAULT }
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
        self.pipeline.as_ref().map_or(Ok(()), |pipeline| pipeline.flush(timeout))
    }

    /// Flushes, and ends the exporter's thread. Spans that end later are counted as dropped.
    ///
    /// # Errors
    /// [`Error::Timeout`] when not everything could be exported in time; the rest is counted as dropped.
    pub fn shutdown(&self, timeout: Duration) -> Result<(), Error> {
        self.pipeline.as_ref().map_or(Ok(()), |pipeline| pipeline.shutdown(timeout))
    }

    /// The formats in which its layers send and understand contexts.
    #[must_use]
    pub fn propagators(&self) -> Propagators {
        self.propagators
    }

    /// What has happened to spans so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.pipeline.as_ref().map_or_else(Stats::default, |pipeline| pipeline.stats())
    }

    #[inline]
    pub(crate) fn pipeline(&self) -> Option<&Arc<Pipeline>> {
        self.pipeline.as_ref()
    }
}

/// Starts the global tracer. Until then all spans do nothing, but contexts still pass through.
///
/// Keep the guard in `main`: what has not been exported is when it is shut down or dropped.
///
/// # Errors
/// When the configuration is invalid, the exporter's thread cannot be started, or it was called before.
pub fn init(config: Config) -> Result<Guard, Error> {
    if GLOBAL.get().is_some() {
        return Err(Error::AlreadyInitialized);
    }
    let shutdown_timeout = config.shutdown_timeout;
    let tracer = Tracer::new(config)?;
    match GLOBAL.set(tracer.clone()) {
        Ok(()) => {
            #[cfg(panic = "abort")]
            flush_before_abort(shutdown_timeout);
            Ok(Guard { tracer, shutdown_timeout, done: false })
        }
        Err(_) => {
            // Another thread was faster; this tracer has no spans.
            tracer.shutdown(Duration::ZERO).ok();
            Err(Error::AlreadyInitialized)
        }
    }
}

/// Where panics do not unwind no guard is dropped: the last moment is the panic's hook.
#[cfg(panic = "abort")]
fn flush_before_abort(timeout: Duration) {
    let others = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        others(panic);
        tracer().shutdown(timeout).ok();
    }));
}

/// The global tracer; one that records nothing before [`init`].
#[must_use]
#[inline]
pub fn tracer() -> &'static Tracer {
    GLOBAL.get().unwrap_or(&NOOP)
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

    /// Exports what there is and stops, within [`Config::shutdown_timeout`].
    ///
    /// # Errors
    /// [`Error::Timeout`] when not everything could be exported in time.
    pub fn shutdown(mut self) -> Result<(), Error> {
        self.done = true;
        self.tracer.shutdown(self.shutdown_timeout)
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
