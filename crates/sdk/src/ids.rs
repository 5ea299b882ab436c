//! Ids for log lines.

use crate::Context;
use std::fmt;

/// The ids of the current context, to be put into a log line: `trace_id=... span_id=... trace_flags=.. request_id=...`, or
/// nothing where there are none. The flags say whether the trace is recorded: then their last bit is set.
///
/// ```
/// println!("cache miss {}", tracewell::ids());
/// ```
#[must_use]
pub fn ids() -> Ids {
    Ids(Context::current())
}

/// See [`ids`].
#[derive(Clone, Debug)]
pub struct Ids(Context);

impl fmt::Display for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let span = self.0.span_context();
        let mut space = "";
        if span.is_valid() {
            let flags = span.flags.to_byte();
            write!(f, "trace_id={} span_id={} trace_flags={flags:02x}", span.trace_id, span.span_id)?;
            space = " ";
        }
        match self.0.request_id() {
            Some(id) => write!(f, "{space}request_id={id}"),
            None => Ok(()),
        }
    }
}
