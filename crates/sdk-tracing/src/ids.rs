//! Ids in log lines.

use std::fmt;

use tracewell::Context;
use tracing_core::{Event, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

/// Adds `trace_id`, `span_id` and `request_id` of the current context to each line that the format writes: at the end of a line of text,
/// as members of a JSON object, and at the beginning of a coloured line. Lines outside of any span stay as they are.
///
/// ```
/// use tracing_subscriber::fmt::format;
///
/// let text = tracing_subscriber::fmt().event_format(tracewell_tracing::with_ids(format()));
/// # drop(text);
/// ```
///
/// For JSON tell the fields' format, too, as [`tracing_subscriber::fmt::format::Json`] demands:
/// `fmt().fmt_fields(JsonFields::new()).event_format(with_ids(format().json()))`.
pub fn with_ids<F>(format: F) -> WithIds<F> {
    WithIds { format }
}

/// See [`with_ids`].
#[derive(Clone, Debug)]
pub struct WithIds<F> {
    format: F,
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
        self.format.format_event(scope, Writer::new(&mut line), event)?;
        if writer.has_ansi_escapes() && !line.starts_with('{') {
            // Nothing but the subscriber's own writer takes colours, and what it was given it does not give back.
            write!(writer, "\x1b[2m{ids}\x1b[0m ")?;
            return self.format.format_event(scope, writer, event);
        }
        let body = line.trim_end_matches('\n');
        match body.strip_suffix('}').filter(|_| body.starts_with('{')) {
            Some(members) => {
                writer.write_str(members)?;
                let comma = if members.len() > 1 { "," } else { "" };
                write_members(&mut writer, comma)?;
                writer.write_char('}')?;
            }
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
