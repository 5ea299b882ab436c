//! Spans of the queries of [`sqlx`], by the semantic conventions for databases.
//!
//! ```no_run
//! # async fn example(pool: sqlx::SqlitePool) -> sqlx::Result<()> {
//! use tracewell_sqlx::Traced;
//!
//! // Wherever an executor is taken: `&pool`, `&mut *connection`, `&mut *transaction`.
//! let rows = sqlx::query("SELECT title FROM images WHERE id = ?").bind(7).fetch_all(Traced(&pool)).await?;
//! # drop(rows);
//! # Ok(())
//! # }
//! ```
//!
//! A span is named by what the statement does and its table, `SELECT images`, and lasts from the call to the last row.
//! Literals in the text of a statement are replaced by `?`; bound values are not recorded.

mod query;
mod stream;

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use query::started;
use sqlx::{Database, Either, Error, Execute, Executor, SqlStr};
use stream::SpanStream;
use tracewell::FutureExt as _;

/// Makes a span of each query of an executor, child of the current one.
#[derive(Clone, Copy, Debug)]
pub struct Traced<E>(pub E);

impl<'c, E: Executor<'c>> Executor<'c> for Traced<E> {
    type Database = E::Database;

    fn fetch_many<'e, 'q: 'e, Q>(
        self,
        query: Q,
    ) -> BoxStream<'e, Result<Either<<E::Database as Database>::QueryResult, <E::Database as Database>::Row>, Error>>
    where
        'c: 'e,
        Q: 'q + Execute<'q, E::Database>,
    {
        let (span, query) = started::<E::Database, Q>(query);
        let rows = span.in_scope(|| self.0.fetch_many(query));
        Box::pin(SpanStream::new(rows, span))
    }

    fn fetch_optional<'e, 'q: 'e, Q>(
        self,
        query: Q,
    ) -> BoxFuture<'e, Result<Option<<E::Database as Database>::Row>, Error>>
    where
        'c: 'e,
        Q: 'q + Execute<'q, E::Database>,
    {
        let (span, query) = started::<E::Database, Q>(query);
        let row = async move {
            let row = self.0.fetch_optional(query).await;
            if let Err(error) = &row {
                stream::note(error);
            }
            row
        };
        Box::pin(row.in_span(span))
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [<E::Database as Database>::TypeInfo],
    ) -> BoxFuture<'e, Result<<E::Database as Database>::Statement, Error>>
    where
        'c: 'e,
    {
        self.0.prepare_with(sql, parameters)
    }
}
