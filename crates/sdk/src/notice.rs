//! What the library has to say: to the program's log, or to stderr when it has none.

use std::fmt;
use std::io::Write as _;

/// Warns. Nobody would ever know what is wrong with tracing if it were said only to a log that nobody installed.
pub(crate) fn say(is_quiet: bool, message: fmt::Arguments<'_>) {
    if log::max_level() != log::LevelFilter::Off {
        log::warn!(target: "tracewell", "{message}");
    } else if !is_quiet && !cfg!(feature = "loom") {
        // There is nobody to tell that stderr is closed.
        let _ = writeln!(std::io::stderr(), "tracewell: {message}");
    }
}
