//! Everything that the program prints. Nothing else writes to standard output or standard error, which a test checks, so
//! that no text from a span, a server or an argument reaches a terminal with characters that the terminal acts on.

mod visible;

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::os::fd::AsFd;

use anyhow::Result;
use serde_json::Value;
use tracing_subscriber::fmt::MakeWriter;

pub(crate) use visible::{visible, visible_json};
use visible::{visible_lines, visible_styled};

/// How a piece of a line is shown where there are colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    Bold,
    Red,
    Dim,
}

/// A line of which some pieces are styled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Line {
    pieces: Vec<(Option<Style>, String)>,
}

impl Line {
    /// Adds a piece.
    pub(crate) fn with(mut self, style: Option<Style>, text: impl Into<String>) -> Self {
        self.pieces.push((style, text.into()));
        self
    }

    fn render(&self, colour: bool) -> String {
        let mut out = String::new();
        for (style, text) in &self.pieces {
            let text = visible(text);
            match style.filter(|_| colour) {
                Some(style) => {
                    let code = match style {
                        Style::Bold => 1,
                        Style::Dim => 2,
                        Style::Red => 31,
                    };
                    out.push_str(&format!("\u{1b}[{code}m{text}\u{1b}[0m"));
                }
                None => out.push_str(&text),
            }
        }
        out.truncate(out.trim_end().len());
        out
    }
}

impl From<String> for Line {
    fn from(text: String) -> Self {
        Self::default().with(None, text)
    }
}

/// As it is shown without colours.
impl std::fmt::Display for Line {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.render(false))
    }
}

/// Writes a line to standard output; unlike `println!`, without a panic when nobody reads on.
pub(crate) fn print_line(text: &str) -> Result<()> {
    write_line(&visible(text))
}

/// Writes a line with colours where standard output shows them.
pub(crate) fn print_styled(line: &Line) -> Result<()> {
    let colour = io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    write_line(&line.render(colour))
}

/// Writes JSON to standard output.
pub(crate) fn print_json(value: &Value) -> Result<()> {
    write_line(&visible_json(&serde_json::to_string_pretty(value)?))
}

fn write_line(line: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(line.as_bytes())?;
    out.write_all(b"\n")?;
    Ok(())
}

/// Standard output for the bytes of a file format; text goes through [`visible_json`] first.
pub(crate) fn data() -> BufWriter<StdoutLock<'static>> {
    BufWriter::new(io::stdout().lock())
}

/// Whether a person reads standard output.
pub(crate) fn is_terminal() -> bool {
    io::stdout().is_terminal()
}

/// Columns of the terminal that standard output goes to.
pub(crate) fn terminal_columns() -> Option<usize> {
    terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| usize::from(width.0))
}

/// Has standard error written by a thread from now on: a line that cannot be written neither fails nor holds up who says it.
pub(crate) fn start() {
    crate::logging::start(io::stderr().as_fd().try_clone_to_owned().ok().map(File::from));
}

/// Writes a hint, a warning or an error to standard error, if anybody reads it.
pub(crate) fn say(text: &str) {
    write_error(&visible_lines(text));
}

fn write_error(shown: &str) {
    let line = format!("{shown}\n");
    if !crate::logging::put(line.as_bytes()) {
        let _ = io::stderr().lock().write_all(line.as_bytes());
    }
}

/// What is being done, on one line of a terminal that each call replaces; an empty text clears it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    is_shown: bool,
}

impl Progress {
    /// Shown only if standard error is a terminal.
    pub(crate) fn new() -> Self {
        Self { is_shown: io::stderr().is_terminal() }
    }

    /// Whether anybody sees it.
    pub(crate) fn is_shown(self) -> bool {
        self.is_shown
    }

    /// Replaces the line.
    pub(crate) fn show(self, text: &str) {
        if self.is_shown {
            let _ = write!(io::stderr().lock(), "\r\u{1b}[K{}", visible(text));
        }
    }
}

/// Prints what clap says instead of running a command: help and version to standard output, errors to standard error
/// without colours, since they repeat arguments.
pub(crate) fn print_usage(usage: &clap::Error) {
    let text = usage.render();
    if usage.use_stderr() {
        let lines = text.to_string();
        let shown: Vec<_> = lines.lines().map(visible).collect();
        let _ = writeln!(io::stderr().lock(), "{}", shown.join("\n"));
        return;
    }
    let colour = is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let shown = visible_styled(&if colour { text.ansi().to_string() } else { text.to_string() });
    let _ = io::stdout().lock().write_all(shown.as_bytes());
}

/// Makes a panic's message pass through here, too.
pub(crate) fn show_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let backtrace = std::backtrace::Backtrace::capture();
        say(&format!("thread '{}' {panic}", thread.name().unwrap_or("<unnamed>")));
        if backtrace.status() == std::backtrace::BacktraceStatus::Captured {
            say(&backtrace.to_string());
        }
    }));
}

/// Where the log goes: standard error, an event a line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Log {
    colour: bool,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self { colour: io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() }
    }

    /// Whether events may have colours.
    pub(crate) fn colour(self) -> bool {
        self.colour
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        *self
    }
}

impl Write for Log {
    /// An event comes as one piece that ends with a line feed.
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let line = text.trim_end_matches('\n');
        let shown = if self.colour { visible_styled(line).replace('\n', "\\u{a}") } else { visible(line).into_owned() };
        write_error(&shown);
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn styles_are_the_programs_own() {
        let line = Line::default().with(Some(Style::Red), "a\u{1b}[1m").with(None, " b\n ");
        assert_eq!(line.render(true), "\u{1b}[31ma\\u{1b}[1m\u{1b}[0m b\\u{a}");
        assert_eq!(line.to_string(), "a\\u{1b}[1m b\\u{a}");
    }

    /// Sources of this crate with what they write past this module.
    fn bypasses(folder: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                bypasses(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("src/output.rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                for way in [
                    "print!(",
                    "println!(",
                    "stdout()",
                    "stderr()",
                    "/dev/tty",
                    ".print()",
                    ".exit()",
                    "EnvFilter::new(",
                    "dbg!(",
                ] {
                    if text.contains(way) {
                        found.push(format!("{}: {way}", path.display()));
                    }
                }
            }
        }
    }

    #[test]
    fn nothing_is_printed_but_through_this_module() {
        let mut found = Vec::new();
        bypasses(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
        assert!(found.is_empty(), "print with crate::output instead: {found:#?}");
    }
}
