//! Transactions, with a span of their beginning and of their end.

use std::fmt;
use std::ops::{Deref, DerefMut};

use sqlx::{Database, Error, SqlStr};
use tracewell::{Context, with_outcome};

use crate::About;
use crate::connection::{Connection, Held};
use crate::executor::note;

/// A transaction; queries are sent to `&mut *transaction`. It is rolled back when it is dropped, for which there is no span:
/// sqlx does it later.
pub struct Transaction<'c, DB: Database> {
    connection: Connection<'c, DB>,
    /// Within another one.
    is_savepoint: bool,
}

impl<'c, DB: Database> Transaction<'c, DB> {
    pub(crate) fn new(transaction: sqlx::Transaction<'c, DB>, about: About, is_savepoint: bool) -> Self {
        Self { connection: Connection { held: Held::Transaction(transaction), about }, is_savepoint }
    }

    /// Makes what was done last, with the span `COMMIT`.
    ///
    /// # Errors
    /// The database's.
    pub async fn commit(self) -> Result<(), Error> {
        let sql = if self.is_savepoint { "RELEASE SAVEPOINT" } else { "COMMIT" };
        let Connection { held, about } = self.connection;
        let Held::Transaction(transaction) = held else { return Ok(()) };
        traced(&about, &Context::current(), sql, transaction.commit()).await
    }

    /// Undoes what was done, with the span `ROLLBACK`.
    ///
    /// # Errors
    /// The database's.
    pub async fn rollback(self) -> Result<(), Error> {
        let sql = if self.is_savepoint { "ROLLBACK TO SAVEPOINT" } else { "ROLLBACK" };
        let Connection { held, about } = self.connection;
        let Held::Transaction(transaction) = held else { return Ok(()) };
        traced(&about, &Context::current(), sql, transaction.rollback()).await
    }
}

impl<DB: Database> Transaction<'static, DB> {
    pub(crate) async fn begin(
        about: About,
        connection: sqlx::pool::PoolConnection<DB>,
        statement: Option<SqlStr>,
    ) -> Result<Self, Error> {
        let text = statement.as_ref().map_or("BEGIN", |statement| statement.as_str()).to_owned();
        let begin = sqlx::Transaction::begin(connection, statement);
        let begun = traced(&about, &Context::current(), &text, begin).await?;
        Ok(Self::new(begun, about, false))
    }
}

pub(crate) async fn traced<T>(
    about: &About,
    context: &Context,
    sql: &str,
    work: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let span = about.span(context, sql);
    with_outcome(span, work, |span, result| {
        if let Err(error) = result {
            note(span, error);
        }
    })
    .await
}

impl<'c, DB: Database> Deref for Transaction<'c, DB> {
    type Target = Connection<'c, DB>;

    fn deref(&self) -> &Self::Target {
        &self.connection
    }
}

impl<DB: Database> DerefMut for Transaction<'_, DB> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.connection
    }
}

impl<DB: Database> fmt::Debug for Transaction<'_, DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("system", &self.connection.about.system()).finish_non_exhaustive()
    }
}
