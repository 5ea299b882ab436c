//! Spans of queries made with `sqlx`: a pool that makes one of each query, and is otherwise the pool that it was.
//!
//! ```no_run
//! # #[cfg(feature = "sqlite")]
//! # async fn example() -> Result<(), sqlx::Error> {
//! let pool = tracewell_sqlx::Pool::new(sqlx::SqlitePool::connect("sqlite:catalog.db").await?);
//! let image = sqlx::query("SELECT title FROM images WHERE id = ?").bind(7).fetch_one(&pool).await?;
//!
//! // In a transaction, too:
//! let mut transaction = pool.begin().await?;
//! sqlx::query("DELETE FROM images WHERE id = ?").bind(7).execute(&mut *transaction).await?;
//! transaction.commit().await?;
//! # Ok(())
//! # }
//! ```
//!
//! A span is named by what the query does (`SELECT images`), and has its text with `?` instead of each literal. It covers
//! the time until the last row. Parameters are not recorded, and no text of an error, which may quote them: its SQLSTATE,
//! kind, table and constraint are. `BEGIN`, `COMMIT` and `ROLLBACK` are spans, and so is a wait for a connection.
//!
//! Nothing turns by itself into what `sqlx` would use without spans: [`Pool::untraced`] and [`Connection::untraced`] do, for
//! libraries that ask for `sqlx`'s own types. What takes any `sqlx::Acquire`, such as `sqlx::migrate!`, takes `&pool`, and
//! makes no spans.
//!
//! # Features
//! `sqlite` and `postgres`: pools of these. `macros` (default): needed when anything in the program has sqlx's feature
//! `macros`, which changes the trait that is implemented here.

mod connection;
mod executor;
mod steps;
mod transaction;

use std::fmt;
use std::time::{Duration, Instant, SystemTime};

pub use connection::{Connection, Executes, PoolConnection};
pub use executor::Traced;
use sqlx::{Database, Error, SqlSafeStr};
use tracewell::{Context, Key, Span, Tracer, db};
pub use transaction::Transaction;

/// A connection that comes sooner was free.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// A pool with a span of each query.
pub struct Pool<DB: Database> {
    pool: sqlx::Pool<DB>,
    about: About,
}

/// What is told of a database in each span.
#[derive(Clone, Debug)]
pub(crate) struct About {
    tracer: Option<Tracer>,
    system: &'static str,
    namespace: Option<Key>,
    server: Option<(Key, u16)>,
}

impl About {
    pub(crate) fn system(&self) -> &'static str {
        self.system
    }

    fn tracer(&self) -> &Tracer {
        self.tracer.as_ref().unwrap_or_else(|| tracewell::tracer())
    }

    pub(crate) fn span(&self, context: &Context, sql: &str) -> Span {
        let mut call = db::query_of(self.tracer(), self.system, sql);
        if let Some(namespace) = &self.namespace {
            call = call.namespace(namespace.clone());
        }
        if let Some((address, port)) = &self.server {
            call = call.server(address.clone(), *port);
        }
        context.clone().in_scope(|| call.start())
    }

    fn acquire_span(&self, context: &Context, start: SystemTime) -> Span {
        let span = self.tracer().span("acquire connection").parent(context).start_time(start);
        span.tag("db.system.name", self.system).tag("db.namespace", self.namespace.clone()).start()
    }
}

impl<DB: Known> Pool<DB> {
    /// Wraps a pool, and tells from its options what it is connected to.
    #[must_use]
    pub fn new(pool: sqlx::Pool<DB>) -> Self {
        let about = DB::about(&pool.connect_options());
        Self { pool, about }
    }
}

impl<DB: Database> Pool<DB> {
    /// Wraps the pool of a database that tells nothing of itself here, such as MySQL: `system` is a name of OpenTelemetry's
    /// for it, like `mysql`. See [`Pool::namespace`] and [`Pool::server`].
    #[must_use]
    pub fn of_system(pool: sqlx::Pool<DB>, system: &'static str) -> Self {
        Self { pool, about: About { tracer: None, system, namespace: None, server: None } }
    }

    /// Tells the name of the database: `db.namespace`.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<Key>) -> Self {
        self.about.namespace = Some(namespace.into());
        self
    }

    /// Tells where the server is: `server.address` and `server.port`.
    #[must_use]
    pub fn server(mut self, address: impl Into<Key>, port: u16) -> Self {
        self.about.server = Some((address.into(), port));
        self
    }

    /// With this tracer instead of the global one.
    #[must_use]
    pub fn tracer(mut self, tracer: Tracer) -> Self {
        self.about.tracer = Some(tracer);
        self
    }

    /// A connection, with a span of each query. The wait for it is the span `acquire connection` if it takes a millisecond or
    /// fails; that of queries and transactions, too.
    ///
    /// # Errors
    /// When none comes in time, or the pool is closed.
    pub async fn acquire(&self) -> Result<PoolConnection<DB>, Error> {
        let connection = self.wait(&Context::current()).await?;
        Ok(PoolConnection::new(connection, self.about.clone()))
    }

    /// A transaction, with the spans `BEGIN` and `COMMIT` or `ROLLBACK`, and one of each query.
    ///
    /// # Errors
    /// When no connection comes in time, and the database's.
    pub async fn begin(&self) -> Result<Transaction<'static, DB>, Error> {
        let connection = self.wait(&Context::current()).await?;
        Transaction::begin(self.about.clone(), connection, None).await
    }

    /// As [`Pool::begin`], with a statement of the caller's, such as `BEGIN IMMEDIATE`.
    ///
    /// # Errors
    /// When no connection comes in time, and the database's.
    pub async fn begin_with(&self, statement: impl SqlSafeStr) -> Result<Transaction<'static, DB>, Error> {
        let connection = self.wait(&Context::current()).await?;
        Transaction::begin(self.about.clone(), connection, Some(statement.into_sql_str())).await
    }

    /// The pool without spans.
    #[must_use]
    pub fn untraced(&self) -> &sqlx::Pool<DB> {
        &self.pool
    }

    /// Closes the pool, see [`sqlx::Pool::close`].
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Waits for a connection. The span is made afterwards, for before nobody knows whether there is a wait.
    async fn wait(&self, context: &Context) -> Result<sqlx::pool::PoolConnection<DB>, Error> {
        let (begin, start) = (Instant::now(), SystemTime::now());
        let acquired = self.pool.acquire().await;
        if begin.elapsed() >= SHORTEST_WAIT || acquired.is_err() {
            let span = self.about.acquire_span(context, start);
            if let Err(error) = &acquired {
                executor::note(&span, error);
            }
        }
        acquired
    }

    /// `sqlx`'s own connection to this database, got elsewhere, with a span of each query.
    pub fn on<'c>(&self, connection: &'c mut DB::Connection) -> Traced<&'c mut DB::Connection> {
        Traced { executor: connection, about: self.about.clone() }
    }
}

impl<DB: Database> Clone for Pool<DB> {
    fn clone(&self) -> Self {
        Self { pool: self.pool.clone(), about: self.about.clone() }
    }
}

impl<DB: Database> fmt::Debug for Pool<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("system", &self.about.system).finish_non_exhaustive()
    }
}

/// The databases whose connections tell where they lead.
pub trait Known: Database + sealed::Describe {}

impl<DB: Database + sealed::Describe> Known for DB {}

mod sealed {
    use super::{About, Database};

    pub trait Describe: Database {
        #[allow(private_interfaces, reason = "nobody else implements it")]
        fn about(options: &<Self::Connection as sqlx::Connection>::Options) -> About;
    }
}

#[cfg(feature = "sqlite")]
impl sealed::Describe for sqlx::Sqlite {
    #[allow(private_interfaces, reason = "nobody else implements it")]
    fn about(options: &sqlx::sqlite::SqliteConnectOptions) -> About {
        let file = options.get_filename().to_string_lossy().into_owned();
        About { tracer: None, system: "sqlite", namespace: Some(file.into()), server: None }
    }
}

#[cfg(feature = "postgres")]
impl sealed::Describe for sqlx::Postgres {
    #[allow(private_interfaces, reason = "nobody else implements it")]
    fn about(options: &sqlx::postgres::PgConnectOptions) -> About {
        // Unless told, it is the user's.
        let database = options.get_database().unwrap_or_else(|| options.get_username()).to_owned();
        let address = match options.get_socket() {
            Some(socket) => socket.to_string_lossy().into_owned(),
            None => options.get_host().to_owned(),
        };
        About {
            tracer: None,
            system: "postgresql",
            namespace: Some(database.into()),
            server: Some((address.into(), options.get_port())),
        }
    }
}

/// Compiles what the readme shows.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
