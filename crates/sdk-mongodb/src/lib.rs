//! Spans of commands that the `mongodb` driver sends, through the events that it tells of them: one line for each client.
//!
//! ```no_run
//! # async fn example() -> mongodb::error::Result<()> {
//! let mut options = mongodb::options::ClientOptions::parse("mongodb://127.0.0.1").await?;
//! options.command_event_handler = Some(tracewell_mongodb::handler());
//! let client = mongodb::Client::with_options(options)?;
//! # Ok(())
//! # }
//! ```
//!
//! A span is a child of the current one, named by the command and its collection (`find images`). Neither documents nor
//! filters are recorded, and no text of an error, which may quote them: its code is. A command whose future is dropped
//! before it is answered ends only when [`MOST_OPEN`] younger ones are open: the driver does not tell of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use mongodb::bson::Document;
use mongodb::error::{Error, ErrorKind};
use mongodb::event::EventHandler;
use mongodb::event::command::{CommandEvent, CommandStartedEvent, CommandSucceededEvent};
use mongodb::options::ServerAddress;
use tracewell::{Span, Tracer, db};

/// How many commands may be open at once.
pub const MOST_OPEN: usize = 4096;

/// The handler that makes spans, with the global tracer as it is when a command is sent.
#[must_use]
pub fn handler() -> EventHandler<CommandEvent> {
    handler_of(None)
}

/// As [`handler`], with this tracer.
#[must_use]
pub fn handler_with(tracer: Tracer) -> EventHandler<CommandEvent> {
    handler_of(Some(tracer))
}

fn handler_of(tracer: Option<Tracer>) -> EventHandler<CommandEvent> {
    let commands = Commands { tracer, open: Mutex::default() };
    EventHandler::Callback(Arc::new(move |event| commands.handle(event)))
}

/// The spans of the commands that were sent and not answered.
struct Commands {
    tracer: Option<Tracer>,
    /// By the driver's number, which grows.
    open: Mutex<BTreeMap<i32, Span>>,
}

impl Commands {
    fn handle(&self, event: CommandEvent) {
        match event {
            CommandEvent::Started(started) => self.start(&started),
            CommandEvent::Succeeded(succeeded) => {
                if let Some(span) = self.take(succeeded.request_id) {
                    note_reply(&span, &succeeded);
                }
            }
            CommandEvent::Failed(failed) => {
                if let Some(span) = self.take(failed.request_id) {
                    note(&span, &failed.failure);
                }
            }
            _ => {}
        }
    }

    fn start(&self, command: &CommandStartedEvent) {
        let tracer = self.tracer.as_ref().unwrap_or_else(|| tracewell::tracer());
        let mut call = db::call_of(tracer, "mongodb", "").operation(command.command_name.clone());
        if let Some(collection) = collection(&command.command_name, &command.command) {
            call = call.collection(collection.to_owned());
        }
        call = call.namespace(command.db.clone());
        call = match &command.connection.address {
            ServerAddress::Tcp { host, port } => call.server(host.clone(), port.unwrap_or(27017)),
            other => call.server(other.to_string(), 0),
        };
        let span = call.start();
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let replaced = open.insert(command.request_id, span);
        let oldest = if open.len() > MOST_OPEN { open.pop_first() } else { None };
        drop(open);
        if let Some(span) = replaced.or(oldest.map(|(_, span)| span)) {
            span.event("cancelled");
        }
    }

    fn take(&self, request: i32) -> Option<Span> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&request)
    }
}

/// The commands that work on a collection name it as their own value, but for one. The values of others may be anything.
fn collection<'a>(name: &str, command: &'a Document) -> Option<&'a str> {
    const NAMING: [&str; 14] = [
        "aggregate",
        "collStats",
        "count",
        "create",
        "createIndexes",
        "delete",
        "distinct",
        "drop",
        "dropIndexes",
        "find",
        "findAndModify",
        "insert",
        "listIndexes",
        "update",
    ];
    if name == "getMore" {
        return command.get_str("collection").ok();
    }
    NAMING.contains(&name).then(|| command.get_str(name).ok())?
}

/// A command that was carried out may still have failed to write.
fn note_reply(span: &Span, succeeded: &CommandSucceededEvent) {
    let Ok(errors) = succeeded.reply.get_array("writeErrors") else { return };
    let code = errors.first().and_then(|error| error.as_document()?.get_i32("code").ok());
    db::error(span, code.map(|code| code.to_string()).as_deref(), "write error");
}

fn note(span: &Span, error: &Error) {
    let (code, kind) = match &*error.kind {
        ErrorKind::Command(answer) => (Some(answer.code), "command error"),
        ErrorKind::Write(_) | ErrorKind::InsertMany(_) | ErrorKind::BulkWrite(_) => (None, "write error"),
        ErrorKind::Authentication { .. } => (None, "authentication"),
        ErrorKind::Io(_) | ErrorKind::ConnectionPoolCleared { .. } => (None, "connection"),
        _ => (None, "error"),
    };
    db::error(span, code.map(|code| code.to_string()).as_deref(), kind);
}

/// Compiles what the readme shows.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
