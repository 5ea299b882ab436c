//! Spans of the commands of [`redis`], by the semantic conventions for Redis.
//!
//! ```no_run
//! # async fn example(client: redis::Client) -> redis::RedisResult<()> {
//! use redis::AsyncCommands as _;
//!
//! let connection = client.get_multiplexed_async_connection().await?;
//! let mut connection = tracewell_redis::traced(connection);
//! let title: String = connection.get("image:7").await?; // a span `GET`
//! # drop(title);
//! # Ok(())
//! # }
//! ```
//!
//! Keys and values are not recorded: `SET ? ?`.

use redis::aio::ConnectionLike;
use redis::{Cmd, Pipeline, RedisError, RedisFuture, Value};
use tracewell::{FutureExt as _, Span, SpanKind};

/// Makes a span of each command and each pipeline of a connection, child of the current one.
pub fn traced<C: ConnectionLike>(connection: C) -> Traced<C> {
    Traced { connection }
}

/// A connection with spans; made by [`traced`].
#[derive(Clone, Debug)]
pub struct Traced<C> {
    connection: C,
}

impl<C> Traced<C> {
    /// The connection inside.
    pub fn into_inner(self) -> C {
        self.connection
    }
}

impl<C: ConnectionLike + Send> ConnectionLike for Traced<C> {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        let name = name_of(command);
        let span = start(name.clone(), self.get_db());
        span.tag_with("db.query.text", || {
            let arguments = command.args_iter().count().saturating_sub(1);
            format!("{name}{}", " ?".repeat(arguments.min(32)))
        });
        let answer = self.connection.req_packed_command(command);
        Box::pin(async move { noted(answer.await) }.in_span(span))
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        let span = start("PIPELINE".to_owned(), self.get_db());
        span.tag("db.operation.batch.size", pipeline.cmd_iter().count());
        let answer = self.connection.req_packed_commands(pipeline, offset, count);
        Box::pin(async move { noted(answer.await) }.in_span(span))
    }

    fn get_db(&self) -> i64 {
        self.connection.get_db()
    }
}

fn start(operation: String, database: i64) -> Span {
    tracewell::span(operation.clone())
        .kind(SpanKind::Client)
        .tag("db.system.name", "redis")
        .tag("db.operation.name", operation)
        .tag_with("db.namespace", || database.to_string())
        .start()
}

/// The command's name in capitals. One that is no word is not made a span's name of.
fn name_of(command: &Cmd) -> String {
    match command.args_iter().next() {
        Some(redis::Arg::Simple(name)) if name.iter().all(|byte| byte.is_ascii_alphabetic()) && name.len() <= 32 => {
            String::from_utf8_lossy(name).to_ascii_uppercase()
        }
        _ => "COMMAND".to_owned(),
    }
}

fn noted<T>(result: Result<T, RedisError>) -> Result<T, RedisError> {
    if let Err(error) = &result {
        match error.code() {
            Some(code) => tracewell::tag("db.response.status_code", code),
            None => tracewell::tag("error.type", "redis::RedisError"),
        }
        tracewell::error(error);
    }
    result
}
