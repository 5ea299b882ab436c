//! Spans of database calls, named and tagged by OpenTelemetry's stable semantic conventions for databases.

use crate::{Key, Span, SpanBuilder, SpanKind, Status, Tracer, Value, tracer};

mod sql;

/// Describes a call of a database, with the global tracer.
///
/// ```
/// let span = tracewell::db::call("sqlite", "SELECT")
///     .collection("images")
///     .query("SELECT name FROM images WHERE id = ?")
///     .start();
/// let rows = span.in_scope(|| "run the query here");
/// # let _ = rows;
/// ```
pub fn call(system: &'static str, operation: &'static str) -> Call<'static> {
    call_of(tracer(), system, operation)
}

/// As [`call`], with a tracer of the caller's.
pub fn call_of<'a>(tracer: &'a Tracer, system: &'static str, operation: &'static str) -> Call<'a> {
    Call { operation: Some(operation.into()), ..Call::new(tracer, system) }
}

/// Describes a query of an SQL database by its text alone, with the global tracer. The span is named by a summary of it,
/// such as `SELECT images`, and has the text with `?` instead of each literal: nobody's data leaves with it.
///
/// ```
/// let span = tracewell::db::query("postgresql", "SELECT name FROM images WHERE id = $1").start();
/// # drop(span);
/// ```
pub fn query(system: &'static str, sql: &str) -> Call<'static> {
    query_of(tracer(), system, sql)
}

/// As [`query`], with a tracer of the caller's.
pub fn query_of<'a>(tracer: &'a Tracer, system: &'static str, sql: &str) -> Call<'a> {
    let sql::Sql { summary, text } = sql::read(system, sql);
    let summary = Some(summary).filter(|summary| !summary.is_empty()).map(Key::from);
    Call { summary, query: Some(text.into()), ..Call::new(tracer, system) }
}

/// Marks a call's span as failed. `status` is the code that the database answered with, such as an SQLSTATE; without
/// one, `kind` tells what went wrong. Messages of databases quote the data that they are about, so they are not taken.
pub fn error(span: &Span, status: Option<&str>, kind: &'static str) {
    if span.is_recording() {
        span.tag("db.response.status_code", status).tag("error.type", status.unwrap_or(kind));
        span.status(Status::Error(kind.into()));
    }
}

/// A database call that has not begun.
#[derive(Debug)]
#[must_use = "the span exists only once started"]
pub struct Call<'a> {
    tracer: &'a Tracer,
    system: &'static str,
    operation: Option<Key>,
    summary: Option<Key>,
    batch: Option<usize>,
    collection: Option<Key>,
    namespace: Option<Key>,
    query: Option<Key>,
    server: Option<(Key, u16)>,
}

impl<'a> Call<'a> {
    fn new(tracer: &'a Tracer, system: &'static str) -> Self {
        Call {
            tracer,
            system,
            operation: None,
            summary: None,
            batch: None,
            collection: None,
            namespace: None,
            query: None,
            server: None,
        }
    }

    /// The operation, when it is known only at run time. There must be few distinct ones.
    pub fn operation(mut self, name: impl Into<Key>) -> Self {
        self.operation = Some(name.into());
        self
    }

    /// How many operations are sent as one.
    pub fn batch(mut self, size: usize) -> Self {
        self.batch = Some(size);
        self
    }

    /// The table or collection.
    pub fn collection(mut self, name: impl Into<Key>) -> Self {
        self.collection = Some(name.into());
        self
    }

    /// The database, schema or keyspace.
    pub fn namespace(mut self, name: impl Into<Key>) -> Self {
        self.namespace = Some(name.into());
        self
    }

    /// The query's text with placeholders. Never one with values in it: they would be stored with the span.
    pub fn query(mut self, parameterized: impl Into<Key>) -> Self {
        self.query = Some(parameterized.into());
        self
    }

    /// The database's host and port.
    pub fn server(mut self, address: impl Into<Key>, port: u16) -> Self {
        self.server = Some((address.into(), port));
        self
    }

    /// Starts the span, named by the query's summary or `{operation} {collection}`.
    pub fn start(self) -> Span {
        let name: Key = match (&self.summary, &self.operation, &self.collection) {
            (Some(summary), ..) => summary.clone(),
            (None, Some(operation), Some(collection)) => format!("{operation} {collection}").into(),
            (None, Some(operation), None) => operation.clone(),
            (None, None, Some(collection)) => collection.clone(),
            (None, None, None) => self.system.into(),
        };
        let span: SpanBuilder<'_> =
            self.tracer.span(name).kind(SpanKind::Client).tag("db.system.name", Value::from_static(self.system));
        let optional = [
            ("db.operation.name", self.operation),
            ("db.query.summary", self.summary),
            ("db.collection.name", self.collection),
            ("db.namespace", self.namespace),
            ("db.query.text", self.query),
        ];
        let span = optional.into_iter().fold(span, |span, (key, value)| span.tag(key, value));
        let batch = self.batch.map(|size| i64::try_from(size).unwrap_or(i64::MAX));
        let span = span.tag("db.operation.batch.size", batch);
        match self.server {
            Some((address, port)) => span.tag("server.address", address).tag("server.port", port).start(),
            None => span.start(),
        }
    }
}
