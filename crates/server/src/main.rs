//! The `tracewell` binary.

use std::process::ExitCode;

fn main() -> ExitCode {
    tracewell_server::cli::main()
}
