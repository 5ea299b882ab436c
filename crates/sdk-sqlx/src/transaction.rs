//! Transactions, with a span of their beginning and of their end.

use std::fmt;
use std::ops::{Deref, DerefMut};

use sqlx::{Database, Error};
use tracewell::{Context, with_outcome};

use crate::About;
use crate::executor::note;

/// A transaction of a [`crate::Pool`]. It is rolled back when it is dropped, for which there is no span: sqlx does it later.
pub struct Transaction<'c, DB: Database> {
    transaction: sqlx::Transaction<'c, DB>,
    about: About,
}

impl<DB: Database> Transaction<'static, DB> {
    pub(crate) async fn begin(about: About, connection: sqlx::pool::PoolConnection<DB>) -> Result<Self, Error> {
        let begin = traced(&about, "BEGIN", sqlx::Transaction::begin(connection, None)).await?;
        Ok(Self { transaction: begin, about })
    }
}

impl<'c, DB: Database> Transaction<'c, DB> {
    /// Makes what was done last, with the span `COMMIT`.
    ///
    /// # Errors
    /// The database's.
    pub async fn commit(self) -> Result<(), Error> {
        let Self { transaction, about } = self;
        traced(&about, "COMMIT", transaction.commit()).await
    }

    /// Undoes what was done, with the span `ROLLBACK`.
    ///
    /// # Errors
    /// The database's.
    pub async fn rollback(self) -> Result<(), Error> {
        let Self { transaction, about } = self;
        traced(&about, "ROLLBACK", transaction.rollback()).await
    }

    /// The transaction without spans.
    pub fn into_inner(self) -> sqlx::Transaction<'c, DB> {
        self.transaction
    }
}

async fn traced<T>(about: &About, sql: &str, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let span = about.span(&Context::current(), sql);
    with_outcome(span, work, |span, result| {
        if let Err(error) = result {
            note(span, error);
        }
    })
    .await
}

/// Without spans; for those there is [`crate::Pool::on`].
impl<DB: Database> Deref for Transaction<'_, DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &DB::Connection {
        &self.transaction
    }
}

impl<DB: Database> DerefMut for Transaction<'_, DB> {
    fn deref_mut(&mut self) -> &mut DB::Connection {
        &mut self.transaction
    }
}

impl<DB: Database> fmt::Debug for Transaction<'_, DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("system", &self.about.system()).finish_non_exhaustive()
    }
}
