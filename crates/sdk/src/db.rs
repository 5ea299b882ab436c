//! Spans of database calls, named and tagged by OpenTelemetry's stable semantic conventions for databases.

use crate::{Key, Span, SpanBuilder, SpanKind, Tracer, Value, tracer};

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
    Call { tracer, system, operation, collection: None, namespace: None, query: None, server: None }
}

/// A database call that has not begun.
#[derive(Debug)]
#[must_use = "the span exists only once started"]
pub struct Call<'a> {
    tracer: &'a Tracer,
    system: &'static str,
    operation: &'static str,
    collection: Option<Key>,
    namespace: Option<Key>,
    query: Option<Key>,
    server: Option<(Key, u16)>,
}

impl Call<'_> {
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

    /// Starts the span, named `{operation} {collection}`.
    pub fn start(self) -> Span {
        let name: Key = match &self.collection {
            Some(collection) => format!("{} {collection}", self.operation).into(),
            None => self.operation.into(),
        };
        let span: SpanBuilder<'_> = self
            .tracer
            .span(name)
            .kind(SpanKind::Client)
            .tag("db.system.name", Value::from_static(self.system))
            .tag("db.operation.name", Value::from_static(self.operation));
        let optional =
            [("db.collection.name", self.collection), ("db.namespace", self.namespace), ("db.query.text", self.query)];
        let span = optional.into_iter().fold(span, |span, (key, value)| match value {
            Some(value) => span.tag(key, value),
            None => span,
        });
        match self.server {
            Some((address, port)) => span.tag("server.address", address).tag("server.port", port).start(),
            None => span.start(),
        }
    }
}
