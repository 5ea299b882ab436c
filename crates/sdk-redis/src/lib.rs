//! Spans of Redis commands: a connection that makes one of each command, and is otherwise the connection that it was.
//!
//! ```no_run
//! use redis::AsyncCommands as _;
//!
//! # async fn example() -> redis::RedisResult<()> {
//! let client = redis::Client::open("redis://127.0.0.1/")?;
//! let connection = client.get_multiplexed_async_connection().await?;
//! let mut connection = tracewell_redis::traced(connection).server("127.0.0.1", 6379);
//! let title: String = connection.get("image:7").await?;
//! # Ok(())
//! # }
//! ```
//!
//! Works with every connection of the `redis` crate, synchronous ones too. Neither keys nor values are recorded, and no
//! text of an error, which may quote them: its code is.
//!
//! # Features
//! `tokio-comp` (default) or `smol-comp`: the runtime of asynchronous connections.

mod packed;

use redis::aio::ConnectionLike as AsyncConnectionLike;
use redis::{Arg, Cmd, ConnectionLike, Pipeline, RedisError, RedisFuture, RedisResult, Value};
use tracewell::{Key, Span, Tracer, db};

/// Placeholders beyond these tell nothing more.
const MOST_PLACEHOLDERS: usize = 8;
/// Of an encoded pipeline so many commands are read; the name is that of these.
const MOST_READ: usize = 64;

/// The connection with a span of each command.
pub fn traced<C>(connection: C) -> Traced<C> {
    Traced { connection, tracer: None, server: None }
}

/// See [`traced`].
#[derive(Clone, Debug)]
pub struct Traced<C> {
    connection: C,
    tracer: Option<Tracer>,
    server: Option<(Key, u16)>,
}

impl<C> Traced<C> {
    /// With this tracer instead of the global one.
    #[must_use]
    pub fn tracer(mut self, tracer: Tracer) -> Self {
        self.tracer = Some(tracer);
        self
    }

    /// Tells where the server is, which a connection does not know: `server.address` and `server.port`.
    #[must_use]
    pub fn server(mut self, address: impl Into<Key>, port: u16) -> Self {
        self.server = Some((address.into(), port));
        self
    }

    /// The connection itself.
    pub fn into_inner(self) -> C {
        self.connection
    }

    fn call(&self, database: i64) -> db::Call<'_> {
        let tracer = self.tracer.as_ref().unwrap_or_else(|| tracewell::tracer());
        let call = db::call_of(tracer, "redis", "").namespace(database.to_string());
        match &self.server {
            Some((address, port)) => call.server(address.clone(), *port),
            None => call,
        }
    }

    fn command(&self, database: i64, command: &Cmd) -> Span {
        let (name, text) = describe(command);
        self.call(database).operation(name).query(text).start()
    }

    fn pipeline(&self, database: i64, pipeline: &Pipeline) -> Span {
        let described: Vec<_> = pipeline.cmd_iter().map(describe).collect();
        self.batch(database, &described, described.len(), pipeline.is_transaction())
    }

    /// `described` are the first of `size` commands.
    fn batch(&self, database: i64, described: &[(Key, String)], size: usize, is_transaction: bool) -> Span {
        let kind = if is_transaction { "MULTI" } else { "PIPELINE" };
        let name = match described.first().map(|(name, _)| name) {
            Some(first) if !is_transaction && size == 1 => first.clone(),
            Some(first) if described.iter().all(|(name, _)| name == first) => format!("{kind} {first}").into(),
            _ => kind.into(),
        };
        let shown = described.iter().take(MOST_PLACEHOLDERS).map(|(_, text)| text.as_str());
        let call = self.call(database).operation(name).query(shown.collect::<Vec<_>>().join("; "));
        if size == 1 { call.start() } else { call.batch(size).start() }
    }
}

/// The command's name, and the command with placeholders.
fn describe(command: &Cmd) -> (Key, String) {
    let mut arguments = command.args_iter();
    let name = match arguments.next() {
        Some(Arg::Simple(name)) => name,
        _ => b"",
    };
    describe_parts(name, arguments.len())
}

fn describe_parts(name: &[u8], count: usize) -> (Key, String) {
    // A name that a server knows is short and plain; any other may be data that slipped in.
    let is_plain = name.iter().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(b));
    let name = if is_plain && (1..=24).contains(&name.len()) {
        String::from_utf8_lossy(name).to_ascii_uppercase()
    } else {
        "OTHER".to_owned()
    };
    let mut text = name.clone();
    text.extend(std::iter::repeat_n(" ?", count.min(MOST_PLACEHOLDERS)));
    if count > MOST_PLACEHOLDERS {
        text.push_str(" …");
    }
    (name.into(), text)
}

fn note(span: &Span, error: &RedisError) {
    let kind = if error.is_timeout() {
        "timeout"
    } else if error.is_io_error() || error.is_connection_dropped() {
        "connection"
    } else {
        "redis error"
    };
    db::error(span, error.code(), kind);
}

/// Servers' errors come as values, too.
fn note_value(span: &Span, value: &Value) {
    if let Value::ServerError(error) = value {
        db::error(span, Some(error.code()), "redis error");
    }
}

fn note_one(span: &Span, result: &RedisResult<Value>) {
    match result {
        Ok(value) => note_value(span, value),
        Err(error) => note(span, error),
    }
}

fn note_all(span: &Span, result: &RedisResult<Vec<Value>>) {
    match result {
        Ok(values) => values.iter().for_each(|value| note_value(span, value)),
        Err(error) => note(span, error),
    }
}

impl<C: AsyncConnectionLike + Send> AsyncConnectionLike for Traced<C> {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        let span = self.command(self.connection.get_db(), command);
        let work = span.in_scope(|| self.connection.req_packed_command(command));
        Box::pin(tracewell::with_outcome(span, work, note_one))
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        let span = self.pipeline(self.connection.get_db(), pipeline);
        let work = span.in_scope(|| self.connection.req_packed_commands(pipeline, offset, count));
        Box::pin(tracewell::with_outcome(span, work, note_all))
    }

    fn get_db(&self) -> i64 {
        self.connection.get_db()
    }
}

impl<C: ConnectionLike> ConnectionLike for Traced<C> {
    fn req_packed_command(&mut self, command: &[u8]) -> RedisResult<Value> {
        // Already encoded: what it is has to be read back.
        let described = packed::commands(command, 1).pop();
        let (name, text) = described.unwrap_or_else(|| describe_parts(b"", 0));
        let span = self.call(self.connection.get_db()).operation(name).query(text).start();
        let result = span.in_scope(|| self.connection.req_packed_command(command));
        note_one(&span, &result);
        result
    }

    fn req_packed_commands(&mut self, commands: &[u8], offset: usize, count: usize) -> RedisResult<Vec<Value>> {
        // A transaction is sent as MULTI, its commands, EXEC, and the answers to all but the last are passed over.
        let mut described = packed::commands(commands, MOST_READ);
        let is_transaction = offset > 0 && described.first().is_some_and(|(name, _)| name == "MULTI");
        let size = if is_transaction { offset.saturating_sub(1) } else { count };
        if is_transaction {
            described.remove(0);
        }
        described.truncate(size);
        let span = self.batch(self.connection.get_db(), &described, size, is_transaction);
        let result = span.in_scope(|| self.connection.req_packed_commands(commands, offset, count));
        note_all(&span, &result);
        result
    }

    fn req_command(&mut self, command: &Cmd) -> RedisResult<Value> {
        let span = self.command(self.connection.get_db(), command);
        let result = span.in_scope(|| self.connection.req_command(command));
        note_one(&span, &result);
        result
    }

    fn get_db(&self) -> i64 {
        self.connection.get_db()
    }

    fn supports_pipelining(&self) -> bool {
        self.connection.supports_pipelining()
    }

    fn check_connection(&mut self) -> bool {
        self.connection.check_connection()
    }

    fn is_open(&self) -> bool {
        self.connection.is_open()
    }
}

/// Compiles what the readme shows.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
