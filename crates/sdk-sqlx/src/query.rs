//! A query whose text has been looked at.

use sqlx::error::BoxDynError;
use sqlx::{Database, Execute, SqlStr, Statement as _};
use std::marker::PhantomData;
use tracewell::Span;

/// The span of a query, and the query to go on with: looking at its text uses it up, so it is put together again.
pub(crate) fn started<'q, DB: Database, Q: Execute<'q, DB>>(mut query: Q) -> (Span, Looked<'q, DB, Q>) {
    let system = system(DB::NAME);
    if let Some(statement) = query.statement() {
        let span = tracewell::db::statement(system, statement.sql().as_str()).start();
        return (span, Looked::AsItWas(query));
    }
    let (arguments, persistent) = (query.take_arguments(), query.persistent());
    let sql = query.sql();
    let span = tracewell::db::statement(system, sql.as_str()).start();
    (span, Looked::Again { sql, arguments: Some(arguments), persistent, _query: PhantomData })
}

/// The database's name in the semantic conventions.
fn system(name: &str) -> &'static str {
    match name {
        "PostgreSQL" => "postgresql",
        "SQLite" => "sqlite",
        "MySQL" => "mysql",
        _ => "other_sql",
    }
}

type Arguments<DB> = Result<Option<<DB as Database>::Arguments>, BoxDynError>;

/// See [`started`].
pub(crate) enum Looked<'q, DB: Database, Q> {
    AsItWas(Q),
    Again { sql: SqlStr, arguments: Option<Arguments<DB>>, persistent: bool, _query: PhantomData<&'q ()> },
}

impl<'q, DB: Database, Q: Execute<'q, DB>> Execute<'q, DB> for Looked<'q, DB, Q> {
    fn sql(self) -> SqlStr {
        match self {
            Self::AsItWas(query) => query.sql(),
            Self::Again { sql, .. } => sql,
        }
    }

    fn statement(&self) -> Option<&DB::Statement> {
        match self {
            Self::AsItWas(query) => query.statement(),
            Self::Again { .. } => None,
        }
    }

    fn take_arguments(&mut self) -> Arguments<DB> {
        match self {
            Self::AsItWas(query) => query.take_arguments(),
            Self::Again { arguments, .. } => arguments.take().unwrap_or(Ok(None)),
        }
    }

    fn persistent(&self) -> bool {
        match self {
            Self::AsItWas(query) => query.persistent(),
            Self::Again { persistent, .. } => *persistent,
        }
    }
}
