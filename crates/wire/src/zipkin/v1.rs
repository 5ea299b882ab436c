//! What version 1 says in annotations: which side of a call a span is, when, and where.

use std::borrow::Cow;

use tracewell_model::{AnyValue, SpanKind};

use super::{Decoder, Side};
use crate::forms;
use crate::json::Json;

/// The annotations that begin and end a side of a call, and the address of its other side.
const SIDES: [(SpanKind, &str, &str, &str); 4] = [
    (SpanKind::Client, "cs", "cr", "sa"),
    (SpanKind::Server, "sr", "ss", "ca"),
    (SpanKind::Producer, "ms", "", "ma"),
    (SpanKind::Consumer, "mr", "", "ma"),
];

/// The sides of a span: one, except for a client and its server, or a producer and its consumer, that report as one span.
pub(super) fn sides<'a>(json: &'a Json<'a>, decoder: &mut Decoder<'_>) -> Result<Vec<Side<'a>>, String> {
    let mut whole = decoder.common(json)?;
    let binary = forms::get(json, &["binaryAnnotations"]);
    let binary = forms::objects(binary, &mut decoder.report, "span.binaryAnnotations");
    if whole.kind != SpanKind::Unspecified && binary.is_empty() {
        return Ok(vec![whole]);
    }
    let annotations = std::mem::take(&mut whole.annotations);
    let find = |name: &str| annotations.iter().find(|annotation| !name.is_empty() && text(annotation, "value") == name);
    let mut sides: Vec<Side<'a>> = Vec::new();
    for (kind, begin, end, _) in SIDES {
        let (begin, end) = (find(begin), find(end));
        let Some(any) = begin.or(end) else { continue };
        let time =
            |at: Option<&&'a Json<'a>>| at.map(|at| forms::nanos_of_micros(forms::get(at, &["timestamp"])).value);
        let (begin, end) = (time(begin).filter(|time| *time > 0), time(end).filter(|time| *time > 0));
        sides.push(Side {
            kind,
            start_unix_nano: begin.unwrap_or(0),
            duration_nanos: begin.zip(end).and_then(|(begin, end)| end.checked_sub(begin)),
            local: forms::get(any, &["endpoint"]),
            ..Side::default()
        });
    }
    let is_two = sides.len() > 1;
    match sides.first_mut() {
        None => {
            // Nothing but local work; where it ran stands beside what it noted.
            let ran = |key: &str| binary.iter().find(|one| text(one, "key") == key);
            let noted = binary.iter().find(|one| !is_address(one)).or_else(|| annotations.first());
            let local = ran("lc").or(noted).and_then(|at| forms::get(at, &["endpoint"]));
            sides.push(Side { local, ..Side::default() });
        }
        // The span's own times are those of the side that began it.
        Some(first) if whole.start_unix_nano > 0 => {
            first.start_unix_nano = whole.start_unix_nano;
            first.duration_nanos = whole.duration_nanos.or(first.duration_nanos);
        }
        Some(first) => {
            first.duration_nanos = first.duration_nanos.or(whole.duration_nanos);
            // A server without a start of its own joined the span that the client began.
            first.is_shared = first.kind == SpanKind::Server;
        }
    }
    if let Some(second) = sides.get_mut(1) {
        second.is_shared = true;
    }
    let first = &mut sides[0];
    if first.start_unix_nano == 0 {
        first.start_unix_nano = whole.start_unix_nano;
    }
    first.duration_nanos = first.duration_nanos.or(whole.duration_nanos);
    first.is_shared |= whole.is_shared;
    first.local = whole.local.or(first.local);
    first.remote = whole.remote;
    if first.kind == SpanKind::Unspecified {
        first.kind = whole.kind;
    }
    first.tags = std::mem::take(&mut whole.tags);

    let service =
        |at: &Json<'_>| forms::get(at, &["endpoint"]).map_or(String::new(), |at| text(at, "serviceName").into());
    let services: Vec<String> =
        sides.iter().map(|side| side.local.map_or(String::new(), |at| text(at, "serviceName").into())).collect();
    // What a side noted is told by where it did.
    let owner = |at: &Json<'_>| services.iter().position(|known| is_two && *known == service(at)).unwrap_or(0);
    for annotation in annotations {
        let value = text(annotation, "value");
        if !SIDES.iter().any(|(_, begin, end, _)| !value.is_empty() && (value == *begin || value == *end)) {
            sides[owner(annotation)].annotations.push(annotation);
        }
    }
    for one in binary {
        let key = text(one, "key");
        if is_address(one) {
            let place = sides
                .iter()
                .position(|side| SIDES.iter().any(|(kind, .., address)| *kind == side.kind && *address == key));
            let side = &mut sides[place.unwrap_or(0)];
            side.remote = side.remote.or(forms::get(one, &["endpoint"]));
            if key == "sa" && side.kind == SpanKind::Unspecified {
                // Only clients name a server.
                side.kind = SpanKind::Client;
            }
        } else {
            let Some(value) = forms::get(one, &["value"]) else { continue };
            if key == "lc" && matches!(value, Json::String(text) if text.is_empty()) {
                continue;
            }
            let value = typed(one, value).or_note(&mut decoder.report, "span.binaryAnnotations");
            sides[owner(one)].tags.push((key, value));
        }
    }
    Ok(sides)
}

/// `sa`, `ca` and `ma` say `true` and mean their endpoint.
fn is_address(one: &Json<'_>) -> bool {
    matches!(&*text(one, "key"), "sa" | "ca" | "ma") && forms::boolean(forms::get(one, &["value"])).value
}

fn text<'a>(message: &'a Json<'a>, field: &str) -> Cow<'a, str> {
    forms::text(forms::get(message, &[field])).value
}

fn typed(one: &Json<'_>, value: &Json<'_>) -> forms::Read<AnyValue> {
    match &*text(one, "type").to_ascii_uppercase() {
        "BOOL" => forms::bool_value(value),
        "I16" | "I32" | "I64" => forms::int_value(value),
        "DOUBLE" => forms::double_value(value),
        "BYTES" => forms::bytes_value(value),
        _ => forms::Read {
            value: match value {
                nested @ (Json::Object(_) | Json::Array(_)) => super::text_value(nested),
                plain => forms::bare_value(plain),
            },
            flaw: None,
        },
    }
}
