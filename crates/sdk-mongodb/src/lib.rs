//! Spans of the commands of the MongoDB driver, by the semantic conventions for MongoDB.
//!
//! ```no_run
//! # async fn example() -> mongodb::error::Result<()> {
//! let mut options = mongodb::options::ClientOptions::parse("mongodb://127.0.0.1:27017").await?;
//! options.command_event_handler = Some(tracewell_mongodb::command_events());
//! let client = mongodb::Client::with_options(options)?; // spans such as `find images`
//! # drop(client);
//! # Ok(())
//! # }
//! ```
//!
//! Commands' contents are not recorded: they are made of values.

use mongodb::event::EventHandler;
use mongodb::event::command::{CommandEvent, CommandStartedEvent};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use tracewell::{Span, SpanKind};

/// Commands that may be under way at once; the spans of more are not recorded. The driver tells of the end of each, so
/// that this is never reached but by a fault.
const MOST_UNDER_WAY: usize = 10_000;

/// A handler that makes a span of each command, child of the context that is current where the operation is polled.
#[must_use]
pub fn command_events() -> EventHandler<CommandEvent> {
    let under_way: Mutex<HashMap<(i32, String), Span>> = Mutex::default();
    EventHandler::callback(move |event| {
        // Ids of requests are unique in a process, and connections tell servers apart.
        let mut under_way = under_way.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            CommandEvent::Started(started) => {
                if under_way.len() < MOST_UNDER_WAY
                    && let Some(span) = start(&started)
                {
                    under_way.insert((started.request_id, started.connection.address.to_string()), span);
                }
            }
            CommandEvent::Succeeded(done) => {
                under_way.remove(&(done.request_id, done.connection.address.to_string()));
            }
            CommandEvent::Failed(failed) => {
                if let Some(span) = under_way.remove(&(failed.request_id, failed.connection.address.to_string())) {
                    note(&span, &failed.failure);
                }
            }
            _ => {}
        }
    })
}

/// None for what the driver asks for itself, which nobody's request waits for.
fn start(event: &CommandStartedEvent) -> Option<Span> {
    if matches!(
        event.command_name.as_str(),
        "hello" | "isMaster" | "ismaster" | "saslStart" | "saslContinue" | "endSessions"
    ) {
        return None;
    }
    // By convention the command's own field holds the collection; of `getMore` it is the cursor's number.
    let collection = match event.command_name.as_str() {
        "getMore" => event.command.get_str("collection"),
        name => event.command.get_str(name),
    };
    let collection = collection.ok().map(str::to_owned);
    let operation = event.command_name.clone();
    let name = match &collection {
        Some(collection) => format!("{operation} {collection}"),
        None => operation.clone(),
    };
    let (host, port) = match &event.connection.address {
        mongodb::options::ServerAddress::Tcp { host, port } => (Some(host.clone()), Some(port.unwrap_or(27017))),
        _ => (None, None),
    };
    let span = tracewell::span(name)
        .kind(SpanKind::Client)
        .tag("db.system.name", "mongodb")
        .tag("db.operation.name", operation)
        .tag("db.namespace", &event.db)
        .tag("db.collection.name", collection)
        .tag("server.address", host)
        .tag("server.port", port);
    Some(span.start())
}

/// The server's code is recorded, and not its message: it repeats values.
fn note(span: &Span, error: &mongodb::error::Error) {
    use mongodb::error::ErrorKind;
    if let ErrorKind::Command(command) = &*error.kind {
        span.tag("db.response.status_code", command.code.to_string());
        span.tag("error.type", &command.code_name).error(&command.code_name);
    } else {
        span.tag("error.type", "mongodb::error::Error").error("the command failed");
    }
}
