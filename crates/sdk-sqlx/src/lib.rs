//! Spans of queries made with `sqlx`: a pool that makes one of each query, and is otherwise the pool that it was.
//!
//! ```no_run
//! # #[cfg(feature = "sqlite")]
//! # async fn example() -> Result<(), sqlx::Error> {
//! let pool = tracewell_sqlx::Pool::new(sqlx::SqlitePool::connect("sqlite:catalog.db").await?);
//! let image = sqlx::query("SELECT title FROM images WHERE id = ?").bind(7).fetch_one(&pool).await?;
//!
//! // In a transaction:
//! let mut transaction = pool.begin().await?;
//! sqlx::query("DELETE FROM images WHERE id = ?").bind(7).execute(pool.on(&mut *transaction)).await?;
//! transaction.commit().await?;
//! # Ok(())
//! # }
//! ```
//!
//! A span is named by what the query does (`SELECT images`), and has its text with `?` instead of each literal. It covers
//! the time until the last row. Parameters are not recorded, and no text of an error, which may quote them: its SQLSTATE,
//! kind, table and constraint are. `BEGIN`, `COMMIT` and `ROLLBACK` are spans, and so is a wait for a connection.
//!
//! # Features
//! `sqlite` and `postgres`: pools of these. `macros` (default): needed when anything in the program has sqlx's feature
//! `macros`, which changes the trait that is implemented here.

mod executor;
mod steps;
mod transaction;

use std::fmt;
use std::ops::Deref;
use std::time::{Duration, Instant, SystemTime};

pub use executor::Traced;
use sqlx::pool::PoolConnection;
use sqlx::{Connection, Database, Error};
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
    /// With this tracer instead of the global one.
    #[must_use]
    pub fn tracer(mut self, tracer: Tracer) -> Self {
        self.about.tracer = Some(tracer);
        self
    }

    /// A connection, without spans of its own ([`Pool::on`] makes them). The wait for it is the span `acquire connection` if
    /// it takes a millisecond or fails; that of queries and transactions, too.
    ///
    /// # Errors
    /// When none comes in time, or the pool is closed.
    pub async fn acquire(&self) -> Result<PoolConnection<DB>, Error> {
        self.wait(&Context::current()).await
    }

    /// A transaction, with the spans `BEGIN` and `COMMIT` or `ROLLBACK`.
    ///
    /// # Errors
    /// When no connection comes in time, and the database's.
    pub async fn begin(&self) -> Result<Transaction<'static, DB>, Error> {
        let connection = self.acquire().await?;
        Transaction::begin(self.about.clone(), connection).await
    }

    /// Waits for a connection. The span is made afterwards, for before nobody knows whether there is a wait.
    async fn wait(&self, context: &Context) -> Result<PoolConnection<DB>, Error> {
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

    /// A connection or transaction of this pool, with a span of each query: `pool.on(&mut *transaction)`.
    pub fn on<E>(&self, executor: E) -> Traced<E> {
        Traced { executor, about: self.about.clone() }
    }
}

impl<DB: Database> Deref for Pool<DB> {
    type Target = sqlx::Pool<DB>;

    fn deref(&self) -> &sqlx::Pool<DB> {
        &self.pool
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
    use super::{About, Connection, Database};

    pub trait Describe: Database {
        #[allow(private_interfaces, reason = "nobody else implements it")]
        fn about(options: &<Self::Connection as Connection>::Options) -> About;
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
