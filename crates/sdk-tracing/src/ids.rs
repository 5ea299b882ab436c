//! Ids in log lines.

use std::any::Any;
use std::fmt;

use tracewell::Context;
use tracing_core::{Event, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{Compact, Format, FormatEvent, FormatFields, Full, Pretty, Writer};
use tracing_subscriber::fmt::time::{SystemTime, Uptime};
use tracing_subscriber::registry::LookupSpan;

/// Adds `trace_id`, `span_id`, `trace_flags` and `request_id` of the current context to each line that the format writes: at the end of a line
/// of text, or as members of a JSON object. Lines outside of any span stay as they are. Lines keep their colours with
/// the formats of `tracing_subscriber` and its clocks `SystemTime`, `Uptime` and none; with others lines with ids have none.
///
/// ```
/// use tracing_subscriber::fmt::format;
///
/// let text = tracing_subscriber::fmt().event_format(tracewell_tracing::with_ids(format()));
/// # drop(text);
/// ```
///
/// For JSON tell the fields' format, too, as its format demands:
/// `fmt().fmt_fields(JsonFields::new()).event_format(with_ids(format().json()))`.
pub fn with_ids<F: 'static>(format: F) -> WithIds<F> {
    WithIds { coloured: coloured(&format), format }
}

/// The same format with colours whatever it writes to, if it is known.
fn coloured<F: 'static>(format: &F) -> Option<F> {
    let any = format as &dyn Any;
    let mut coloured: Option<Box<dyn Any>> = None;
    macro_rules! try_formats {
        ($($layout:ty, $timer:ty;)*) => {
            $(if let Some(format) = any.downcast_ref::<Format<$layout, $timer>>() {
                coloured = Some(Box::new(format.clone().with_ansi(true)));
            })*
        };
    }
    try_formats! {
        Full, SystemTime; Full, Uptime; Full, ();
        Compact, SystemTime; Compact, Uptime; Compact, ();
        Pretty, SystemTime; Pretty, Uptime; Pretty, ();
    }
    coloured?.downcast().ok().map(|format| *format)
}

/// See [`with_ids`].
#[derive(Clone, Debug)]
pub struct WithIds<F> {
    format: F,
    coloured: Option<F>,
}

impl<S, N, F> FormatEvent<S, N> for WithIds<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(&self, scope: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let ids = tracewell::ids().to_string();
        if ids.is_empty() {
            return self.format.format_event(scope, writer, event);
        }
        let mut line = String::new();
        // Nothing but the subscriber's own writer says that it takes colours, so that the format has to be told.
        let format = self.coloured.as_ref().filter(|_| writer.has_ansi_escapes());
        let is_coloured = format.is_some();
        format.unwrap_or(&self.format).format_event(scope, Writer::new(&mut line), event)?;
        let body = line.trim_end_matches('\n');
        match body.strip_suffix('}').filter(|_| body.starts_with('{')) {
            Some(members) => {
                writer.write_str(members)?;
                let comma = if members.len() > 1 { "," } else { "" };
                write_members(&mut writer, comma)?;
                writer.write_char('}')?;
            }
            None if is_coloured => write!(writer, "{body} \x1b[2m{ids}\x1b[0m")?,
            None => write!(writer, "{body} {ids}")?,
        }
        writer.write_str(&line[body.len()..])
    }
}

/// The ids as members of a JSON object, after `comma`.
fn write_members(writer: &mut Writer<'_>, comma: &str) -> fmt::Result {
    let context = Context::current();
    let span = context.span_context();
    let mut comma = comma;
    if span.is_valid() {
        write!(writer, "{comma}\"trace_id\":\"{}\",\"span_id\":\"{}\"", span.trace_id, span.span_id)?;
        write!(writer, ",\"trace_flags\":\"{:02x}\"", span.flags.to_byte())?;
        comma = ",";
    }
    let Some(id) = context.request_id() else { return Ok(()) };
    write!(writer, "{comma}\"request_id\":\"")?;
    for c in id.chars() {
        match c {
            '"' | '\\' => write!(writer, "\\{c}")?,
            c if c.is_control() => write!(writer, "\\u{:04x}", u32::from(c))?,
            c => writer.write_char(c)?,
        }
    }
    writer.write_char('"')
}
