//! Settings that come from variables of the environment.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};

/// The same command, for which a variable that is empty is not there: as `TRACEWELL_X=${X}` in a compose file leaves it, and
/// as OpenTelemetry's specification has it.
pub(super) fn without_empty(command: Command) -> Command {
    command
        .mut_args(|arg| {
            let is_empty = |arg: &Arg| {
                let value = arg.get_env().and_then(std::env::var_os);
                value.is_some_and(|value| value.to_string_lossy().trim().is_empty())
            };
            if is_empty(&arg) { arg.env(None::<&str>) } else { arg }
        })
        .mut_subcommands(without_empty)
}

/// An error about a value, which also says from which variable it is if that is where it came from.
pub(super) fn named(command: &Command, mut error: clap::Error) -> clap::Error {
    if !matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue) {
        return error;
    }
    let Some(ContextValue::String(flag)) = error.get(ContextKind::InvalidArg) else { return error };
    let Some(ContextValue::String(value)) = error.get(ContextKind::InvalidValue) else { return error };
    let flag_name = flag.split([' ', '=']).next().unwrap_or_default().trim_start_matches('-');
    let Some(variable) = variable(command, flag_name) else { return error };
    if std::env::var(&variable).is_ok_and(|text| text.contains(value.as_str())) {
        let name = format!("{flag}' from the variable '{variable}");
        error.insert(ContextKind::InvalidArg, ContextValue::String(name));
    }
    error
}

/// The variable of a flag of the command or of one below it.
fn variable(command: &Command, flag: &str) -> Option<String> {
    let own = command.get_arguments().find(|arg| arg.get_long() == Some(flag)).and_then(Arg::get_env);
    own.map(|name| name.to_string_lossy().into_owned())
        .or_else(|| command.get_subcommands().find_map(|below| variable(below, flag)))
}
