//! Spans of messages, named and tagged by OpenTelemetry's semantic conventions for messaging.
//!
//! A message takes the context of its sender in its headers; whoever works on it later continues the trace there:
//!
//! ```
//! use std::collections::BTreeMap;
//!
//! // As `rskafka` has a record's headers. `rdkafka`'s are made from a `Vec<(String, String)>`.
//! let mut headers: BTreeMap<String, Vec<u8>> = BTreeMap::new();
//! let sending = tracewell::messaging::send("kafka", "uploads");
//! tracewell::inject(&sending.context(), &mut headers);
//! // send the record with these headers, then:
//! sending.end();
//!
//! let working = tracewell::messaging::process("kafka", "uploads", &tracewell::extract(&headers));
//! # drop(working);
//! ```

use crate::{Context, Span, SpanKind, Tracer, Value, tracer};

/// Starts the span of sending a message to a destination, such as a topic or queue.
pub fn send(system: &'static str, destination: &str) -> Span {
    send_of(tracer(), system, destination)
}

/// As [`send`], with a tracer of the caller's.
pub fn send_of(tracer: &Tracer, system: &'static str, destination: &str) -> Span {
    start(tracer, system, "send", SpanKind::Producer, destination, None)
}

/// Starts the span of working on a message, as a part of the sender's trace. A batch of messages has more than one sender:
/// make its span with [`crate::span()`], and a link to each.
pub fn process(system: &'static str, destination: &str, sender: &Context) -> Span {
    process_of(tracer(), system, destination, sender)
}

/// As [`process`], with a tracer of the caller's.
pub fn process_of(tracer: &Tracer, system: &'static str, destination: &str, sender: &Context) -> Span {
    start(tracer, system, "process", SpanKind::Consumer, destination, Some(sender))
}

fn start(
    tracer: &Tracer,
    system: &'static str,
    operation: &'static str,
    kind: SpanKind,
    destination: &str,
    parent: Option<&Context>,
) -> Span {
    let mut span = tracer.span(format!("{operation} {destination}")).kind(kind);
    if let Some(parent) = parent {
        span = span.parent(parent);
    }
    span.tag("messaging.system", Value::from_static(system))
        .tag("messaging.operation.name", Value::from_static(operation))
        .tag("messaging.operation.type", Value::from_static(operation))
        .tag("messaging.destination.name", destination)
        .start()
}

#[cfg(all(test, not(feature = "off")))]
mod tests {
    use super::*;
    use crate::{Config, InMemoryExporter};
    use std::collections::BTreeMap;
    use std::time::Duration;

    #[test]
    fn a_message_is_worked_on_in_the_trace_of_its_sender() {
        let exporter = InMemoryExporter::new();
        let tracer = Tracer::new(Config::new("test").exporter(exporter.clone())).unwrap();
        let mut headers =
            BTreeMap::from([("Traceparent".to_owned(), b"stale".to_vec()), ("raw".to_owned(), vec![0xff])]);
        let sending = send_of(&tracer, "kafka", "uploads");
        tracer.propagators().inject(&sending.context(), &mut headers);
        sending.end();
        assert_eq!(headers.len(), 2, "{headers:?}");
        process_of(&tracer, "kafka", "uploads", &tracer.propagators().extract(&headers)).end();
        tracer.shutdown(Duration::from_secs(30)).unwrap();
        let (sent, done) = (exporter.span("send uploads").unwrap(), exporter.span("process uploads").unwrap());
        assert_eq!((sent.kind, done.kind), (SpanKind::Producer, SpanKind::Consumer));
        assert_eq!((done.parent_span_id, done.parent_is_remote), (Some(sent.context.span_id), true));
        assert_eq!(done.tag_value("messaging.destination.name"), Some(&"uploads".into()));
    }
}
