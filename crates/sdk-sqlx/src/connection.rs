//! Connections whose queries are spans.

use std::fmt;
use std::ops::{Deref, DerefMut};

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use sqlx::{Acquire, Database, Error, Execute, Executor, SqlStr};
use tracewell::Context;

use crate::executor::{Step, Traced};
use crate::transaction::{Transaction, traced};
use crate::{About, Pool};

/// What queries of one connection go to, each with a span: `&mut *transaction` or `&mut *connection` where `sqlx` asks for an
/// executor. A function that is given one takes `&mut Connection<'_, Postgres>`.
///
/// It does not turn into `sqlx`'s own connection by itself, which would make no spans: [`Connection::untraced`] does.
pub struct Connection<'c, DB: Database> {
    pub(crate) held: Held<'c, DB>,
    pub(crate) about: About,
}

/// What the connection belongs to.
pub(crate) enum Held<'c, DB: Database> {
    Pool(sqlx::pool::PoolConnection<DB>),
    Transaction(sqlx::Transaction<'c, DB>),
}

impl<DB: Database> Connection<'_, DB> {
    /// The connection without spans.
    pub fn untraced(&mut self) -> &mut DB::Connection {
        match &mut self.held {
            Held::Pool(connection) => connection,
            Held::Transaction(transaction) => transaction,
        }
    }

    /// A transaction, or within one a savepoint, with the spans of its beginning and its end.
    ///
    /// # Errors
    /// The database's.
    pub async fn begin(&mut self) -> Result<Transaction<'_, DB>, Error> {
        let about = self.about.clone();
        let connection = self.untraced();
        let is_savepoint = sqlx::Connection::is_in_transaction(connection);
        let sql = if is_savepoint { "SAVEPOINT" } else { "BEGIN" };
        let begun = traced(&about, &Context::current(), sql, sqlx::Connection::begin(connection)).await?;
        Ok(Transaction::new(begun, about, is_savepoint))
    }
}

/// The databases whose connections are executors: all. It stands for that where to say so would make the compiler ask in
/// circles whether a [`Connection`] is one.
pub trait Executes: Database {
    #[doc(hidden)]
    fn fetch_many<'e, 'q: 'e, Q: 'q + Execute<'q, Self>>(
        connection: Traced<&'e mut Self::Connection>,
        query: Q,
    ) -> BoxStream<'e, Result<Step<Self>, Error>>;

    #[doc(hidden)]
    fn fetch_optional<'e, 'q: 'e, Q: 'q + Execute<'q, Self>>(
        connection: Traced<&'e mut Self::Connection>,
        query: Q,
    ) -> BoxFuture<'e, Result<Option<Self::Row>, Error>>;

    #[doc(hidden)]
    fn prepare_with<'e>(
        connection: &'e mut Self::Connection,
        sql: SqlStr,
        parameters: &'e [Self::TypeInfo],
    ) -> BoxFuture<'e, Result<Self::Statement, Error>>;

    #[cfg(feature = "macros")]
    #[doc(hidden)]
    fn describe(connection: &mut Self::Connection, sql: SqlStr) -> BoxFuture<'_, Result<sqlx::Describe<Self>, Error>>;
}

impl<DB: Database> Executes for DB
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
{
    fn fetch_many<'e, 'q: 'e, Q: 'q + Execute<'q, DB>>(
        connection: Traced<&'e mut DB::Connection>,
        query: Q,
    ) -> BoxStream<'e, Result<Step<DB>, Error>> {
        connection.fetch_many(query)
    }

    fn fetch_optional<'e, 'q: 'e, Q: 'q + Execute<'q, DB>>(
        connection: Traced<&'e mut DB::Connection>,
        query: Q,
    ) -> BoxFuture<'e, Result<Option<DB::Row>, Error>> {
        connection.fetch_optional(query)
    }

    fn prepare_with<'e>(
        connection: &'e mut DB::Connection,
        sql: SqlStr,
        parameters: &'e [DB::TypeInfo],
    ) -> BoxFuture<'e, Result<DB::Statement, Error>> {
        connection.prepare_with(sql, parameters)
    }

    #[cfg(feature = "macros")]
    fn describe(connection: &mut DB::Connection, sql: SqlStr) -> BoxFuture<'_, Result<sqlx::Describe<DB>, Error>> {
        connection.describe(sql)
    }
}

impl<'e, DB: Executes> Executor<'e> for &'e mut Connection<'_, DB> {
    type Database = DB;

    fn fetch_many<'f, 'q: 'f, Q>(self, query: Q) -> BoxStream<'f, Result<Step<DB>, Error>>
    where
        'e: 'f,
        Q: 'q + Execute<'q, DB>,
    {
        let about = self.about.clone();
        DB::fetch_many(Traced { executor: self.untraced(), about }, query)
    }

    fn fetch_optional<'f, 'q: 'f, Q>(self, query: Q) -> BoxFuture<'f, Result<Option<DB::Row>, Error>>
    where
        'e: 'f,
        Q: 'q + Execute<'q, DB>,
    {
        let about = self.about.clone();
        DB::fetch_optional(Traced { executor: self.untraced(), about }, query)
    }

    fn prepare_with<'f>(
        self,
        sql: SqlStr,
        parameters: &'f [DB::TypeInfo],
    ) -> BoxFuture<'f, Result<DB::Statement, Error>>
    where
        'e: 'f,
    {
        DB::prepare_with(self.untraced(), sql, parameters)
    }

    #[cfg(feature = "macros")]
    fn describe<'f>(self, sql: SqlStr) -> BoxFuture<'f, Result<sqlx::Describe<DB>, Error>>
    where
        'e: 'f,
    {
        DB::describe(self.untraced(), sql)
    }
}

/// What asks for this gets `sqlx`'s own connection, whose queries have no spans.
impl<'e, DB: Database> Acquire<'e> for &'e mut Connection<'_, DB> {
    type Database = DB;
    type Connection = &'e mut DB::Connection;

    fn acquire(self) -> BoxFuture<'e, Result<Self::Connection, Error>> {
        Box::pin(std::future::ready(Ok(self.untraced())))
    }

    fn begin(self) -> BoxFuture<'e, Result<sqlx::Transaction<'e, DB>, Error>> {
        Box::pin(sqlx::Connection::begin(self.untraced()))
    }
}

/// What asks for this, such as `sqlx::migrate!`, gets `sqlx`'s own connection, whose queries have no spans.
impl<'e, DB: Database> Acquire<'e> for &Pool<DB> {
    type Database = DB;
    type Connection = sqlx::pool::PoolConnection<DB>;

    fn acquire(self) -> BoxFuture<'e, Result<Self::Connection, Error>> {
        Box::pin(self.untraced().acquire())
    }

    fn begin(self) -> BoxFuture<'e, Result<sqlx::Transaction<'e, DB>, Error>> {
        Acquire::begin(self.untraced())
    }
}

impl<DB: Database> fmt::Debug for Connection<'_, DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("system", &self.about.system()).finish_non_exhaustive()
    }
}

/// A connection of a [`Pool`], to which it goes back when it is dropped. Queries are sent to `&mut *connection`.
#[derive(Debug)]
pub struct PoolConnection<DB: Database> {
    connection: Connection<'static, DB>,
}

impl<DB: Database> PoolConnection<DB> {
    pub(crate) fn new(connection: sqlx::pool::PoolConnection<DB>, about: About) -> Self {
        Self { connection: Connection { held: Held::Pool(connection), about } }
    }
}

impl<DB: Database> Deref for PoolConnection<DB> {
    type Target = Connection<'static, DB>;

    fn deref(&self) -> &Self::Target {
        &self.connection
    }
}

impl<DB: Database> DerefMut for PoolConnection<DB> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.connection
    }
}
