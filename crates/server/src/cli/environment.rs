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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn an_empty_variable_is_none_for_every_setting() {
        // The variable of this test's own; no other reads it.
        let name = std::env::vars().find(|(_, value)| value.is_empty()).map(|(name, _)| name);
        let command = Command::new("x").arg(Arg::new("a").long("a").env("TRACEWELL_NOT_SET").value_parser(["1"]));
        assert!(without_empty(command).try_get_matches_from(["x"]).is_ok());
        if let Some(name) = name {
            let name: &'static str = name.leak();
            let command = || Command::new("x").arg(Arg::new("a").long("a").env(name).value_parser(["1"]));
            assert!(command().try_get_matches_from(["x"]).is_err(), "it is what clap does by itself");
            assert!(without_empty(command()).try_get_matches_from(["x"]).is_ok());
        }
    }

    #[test]
    fn the_operators_page_has_every_setting() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operate.md");
        let page = std::fs::read_to_string(path).unwrap();
        let mut command = super::super::Cli::command();
        command.build();
        let serve = command.find_subcommand("serve").unwrap();
        let mut table = String::from("\n| flag | variable | |\n|---|---|---|\n");
        for arg in serve.get_arguments() {
            let (Some(flag), Some(variable), Some(help)) = (arg.get_long(), arg.get_env(), arg.get_help()) else {
                continue;
            };
            let help = help.to_string().split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
            table.push_str(&format!("| `--{flag}` | `{}` | {help} |\n", variable.display()));
        }
        let begin = page.find("write them anew -->\n").unwrap() + "write them anew -->\n".len();
        let end = page.find("<!-- end of settings -->").unwrap();
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(path, format!("{}{table}\n{}", &page[..begin], &page[end..])).unwrap();
        } else {
            let there = page[begin..end].trim();
            assert_eq!(
                there,
                table.trim(),
                "write the page anew: UPDATE_DOCS=1 cargo test -p tracewell-server operators"
            );
        }
    }
}
