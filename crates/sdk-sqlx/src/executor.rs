//! Executors that make a span of each query.

use std::fmt;

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use sqlx::error::{BoxDynError, ErrorKind};
use sqlx::{Database, Either, Error, Execute, Executor, SqlStr};
use tracewell::{Context, Span, StreamExt as _, db, with_outcome};

use crate::steps::{next, steps};
use crate::{About, Pool};

/// An executor with a span of each query, see [`Pool::on`].
#[derive(Clone)]
pub struct Traced<E> {
    pub(crate) executor: E,
    pub(crate) about: About,
}

impl<E> fmt::Debug for Traced<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traced").field("system", &self.about.system).finish_non_exhaustive()
    }
}

/// A query whose text was read before it is run.
struct Read<DB: Database> {
    sql: SqlStr,
    statement: Option<DB::Statement>,
    arguments: Option<Result<Option<DB::Arguments>, BoxDynError>>,
    is_persistent: bool,
}

impl<DB: Database> Read<DB> {
    fn of<'q>(mut query: impl Execute<'q, DB>) -> Self {
        Self {
            statement: query.statement().cloned(),
            arguments: Some(query.take_arguments()),
            is_persistent: query.persistent(),
            sql: query.sql(),
        }
    }
}

impl<DB: Database> Execute<'static, DB> for Read<DB> {
    fn sql(self) -> SqlStr {
        self.sql
    }

    fn statement(&self) -> Option<&DB::Statement> {
        self.statement.as_ref()
    }

    fn take_arguments(&mut self) -> Result<Option<DB::Arguments>, BoxDynError> {
        self.arguments.take().unwrap_or(Ok(None))
    }

    fn persistent(&self) -> bool {
        self.is_persistent
    }
}

/// What comes back of a query: first the rows, then how many were changed.
pub(crate) type Step<DB> = Either<<DB as Database>::QueryResult, <DB as Database>::Row>;

impl<'c, E: Executor<'c>> Executor<'c> for Traced<E> {
    type Database = E::Database;

    fn fetch_many<'e, 'q: 'e, Q>(self, query: Q) -> BoxStream<'e, Result<Step<E::Database>, Error>>
    where
        'c: 'e,
        Q: 'q + Execute<'q, E::Database>,
    {
        let query = Read::of(query);
        let span = self.about.span(&Context::current(), query.sql.as_str());
        let steps = span.in_scope(|| self.executor.fetch_many(query));
        let mut rows = 0_i64;
        Box::pin(steps.in_span_with(span, move |span, step| match step {
            Some(Ok(Either::Right(_))) => rows += 1,
            Some(Ok(Either::Left(_))) => {}
            Some(Err(error)) => note(span, error),
            None => _ = span.tag("db.response.returned_rows", rows),
        }))
    }

    fn fetch_optional<'e, 'q: 'e, Q>(
        self,
        query: Q,
    ) -> BoxFuture<'e, Result<Option<<E::Database as Database>::Row>, Error>>
    where
        'c: 'e,
        Q: 'q + Execute<'q, E::Database>,
    {
        let query = Read::of(query);
        let span = self.about.span(&Context::current(), query.sql.as_str());
        let row = span.in_scope(|| self.executor.fetch_optional(query));
        Box::pin(with_outcome(span, row, |span, row| match row {
            Ok(row) => _ = span.tag("db.response.returned_rows", i64::from(row.is_some())),
            Err(error) => note(span, error),
        }))
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [<E::Database as Database>::TypeInfo],
    ) -> BoxFuture<'e, Result<<E::Database as Database>::Statement, Error>>
    where
        'c: 'e,
    {
        self.executor.prepare_with(sql, parameters)
    }

    #[cfg(feature = "macros")]
    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<sqlx::Describe<E::Database>, Error>>
    where
        'c: 'e,
    {
        self.executor.describe(sql)
    }
}

/// A pool is an executor as often as it is asked. It waits for a connection first: the query's span is the query's.
impl<'p, DB: Database> Executor<'p> for &'p Pool<DB>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    type Database = DB;

    fn fetch_many<'e, 'q: 'e, Q>(self, query: Q) -> BoxStream<'e, Result<Step<DB>, Error>>
    where
        'p: 'e,
        Q: 'q + Execute<'q, DB>,
    {
        let (pool, query, context) = (self.clone(), Read::of(query), Context::current());
        steps(async move |giver| match pool.wait(&context).await {
            Ok(mut connection) => {
                let mut rows = context.in_scope(|| pool.on(&mut *connection).fetch_many(query));
                while let Some(step) = next(&mut rows).await {
                    giver.give(step).await;
                }
            }
            Err(error) => giver.give(Err(error)).await,
        })
    }

    fn fetch_optional<'e, 'q: 'e, Q>(self, query: Q) -> BoxFuture<'e, Result<Option<DB::Row>, Error>>
    where
        'p: 'e,
        Q: 'q + Execute<'q, DB>,
    {
        let (pool, query, context) = (self.clone(), Read::of(query), Context::current());
        Box::pin(async move {
            let mut connection = pool.wait(&context).await?;
            let row = context.in_scope(|| pool.on(&mut *connection).fetch_optional(query));
            row.await
        })
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [DB::TypeInfo],
    ) -> BoxFuture<'e, Result<DB::Statement, Error>>
    where
        'p: 'e,
    {
        self.pool.prepare_with(sql, parameters)
    }

    #[cfg(feature = "macros")]
    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<sqlx::Describe<DB>, Error>>
    where
        'p: 'e,
    {
        self.pool.describe(sql)
    }
}

pub(crate) fn note(span: &Span, error: &Error) {
    let Error::Database(answer) = error else {
        return db::error(span, None, kind(error));
    };
    let kind = match answer.kind() {
        ErrorKind::UniqueViolation => "unique violation",
        ErrorKind::ForeignKeyViolation => "foreign key violation",
        ErrorKind::NotNullViolation => "not null violation",
        ErrorKind::CheckViolation => "check violation",
        ErrorKind::ExclusionViolation => "exclusion violation",
        _ => "database error",
    };
    span.tag("db.collection.name", answer.table()).tag("db.constraint.name", answer.constraint());
    db::error(span, answer.code().as_deref(), kind);
}

/// What went wrong on the way, in a word that there are few of.
fn kind(error: &Error) -> &'static str {
    match error {
        Error::Io(_) => "connection",
        Error::Tls(_) => "tls",
        Error::Protocol(_) => "protocol",
        Error::PoolTimedOut => "pool timeout",
        Error::PoolClosed => "pool closed",
        Error::WorkerCrashed => "worker crashed",
        Error::Encode(_) => "encode",
        Error::Decode(_) | Error::ColumnDecode { .. } => "decode",
        Error::Configuration(_) => "configuration",
        _ => "error",
    }
}
