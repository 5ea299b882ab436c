//! Questions about spans, answered from any [`SpanStore`].
//!
//! A store gives rows; people ask for traces. This crate stands between: it turns conditions into predicates, rows into
//! whole traces, and pages of rows into pages of traces, and does itself what a store says it cannot
//! (`tracewell_store::Capabilities`).
//!
//! | module         | answers                                                               |
//! |----------------|-----------------------------------------------------------------------|
//! | `conditions`   | what a span must be like: [`Conditions`]                               |
//! | `cursor`       | where the next page begins: [`Cursor`]                                 |
//! | `search`       | which traces have such a span, newest first: [`search`], [`Search`]    |
//! | `large`        | traces of any size, a portion at a time: [`LargeTrace`]                |
//! | `portions`     | such traces as columns, a portion at a time: [`Portions`]              |
//! | `dependencies` | which service calls which: [`dependencies`]                            |
//!
//! Nothing here limits time: a caller that has waited long enough drops the future.

mod any_of;
mod conditions;
mod cursor;
mod dependencies;
mod large;
mod portions;
mod search;
#[cfg(test)]
mod test_store;

use tracewell_model::{Trace, TraceId};
use tracewell_store::{SpanStore, StoreError, Tenant};

pub use conditions::Conditions;
pub use cursor::{Cursor, ParseCursorError};
pub use dependencies::{Dependencies, Dependency, MAX_DEPENDENCY_SPANS, dependencies};
pub use large::{LargeTrace, PORTION_BYTES};
pub use portions::{Portions, PortionsRequest};
pub use search::{Found, Page, Search, SearchRequest, search};

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// A cursor that was given for other conditions: start again without it.
    #[error("the cursor belongs to a search with other conditions")]
    ForeignCursor,
    /// The store did not do its part.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A whole trace.
pub enum Whole {
    /// In memory.
    Small(Box<Trace>),
    /// Too large for that.
    Large(Box<LargeTrace>),
}

/// One whole trace; `None` if there is no span of it.
pub async fn trace(store: &dyn SpanStore, tenant: &Tenant, id: TraceId) -> Result<Option<Whole>, QueryError> {
    let mut reader = store.open_traces(tenant, &[id]).await?;
    let portion = reader.next(PORTION_BYTES).await?;
    if !portion.is_last {
        return Ok(Some(Whole::Large(Box::new(LargeTrace::new(reader, id).await?))));
    }
    Ok((!portion.spans.is_empty()).then(|| Whole::Small(Box::new(Trace::assemble(portion.spans)))))
}
