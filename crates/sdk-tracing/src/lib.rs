//! Tracewell and [`tracing`], both ways.
//!
//! [`layer`] makes Tracewell spans of the spans of `tracing`, so that libraries which use that crate are seen, in their
//! place between the spans of Tracewell's own. [`with_ids`] puts the ids of the trace, the span and the request into the
//! log lines of `tracing_subscriber`.
//!
//! ```no_run
//! use tracing_subscriber::layer::SubscriberExt as _;
//! use tracing_subscriber::util::SubscriberInitExt as _;
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let tracewell = tracewell::init(tracewell::Config::from_env("gallery"))?;
//!     let lines = tracing_subscriber::fmt::layer().event_format(tracewell_tracing::with_ids(
//!         tracing_subscriber::fmt::format(),
//!     ));
//!     tracing_subscriber::registry().with(lines).with(tracewell_tracing::layer()).init();
//!
//!     tracing::info_span!("resize", image.id = 7).in_scope(|| tracing::info!("begun"));
//!
//!     tracewell.shutdown()?;
//!     Ok(())
//! }
//! ```

mod layer;
mod lines;

pub use layer::{Layer, layer};
pub use lines::{WithIds, with_ids};
