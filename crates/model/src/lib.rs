//! Spans as Tracewell holds them.
//!
//! Everything in the house speaks in these types: receivers append to a [`SpanBatch`], stores keep and return one,
//! queries and insight read it. There is no object per span: a batch is a set of columns with interned strings, and
//! [`SpanRef`] is a cheap view of one row.
//!
//! | module    | holds                                                                        |
//! |-----------|------------------------------------------------------------------------------|
//! | `id`      | [`TraceId`], [`SpanId`] and their textual forms                              |
//! | `kind`    | [`SpanKind`], [`StatusCode`]                                                 |
//! | `time`    | [`TimeRange`]: half-open ranges of Unix nanoseconds                          |
//! | `strings` | [`StringTable`]: each distinct string once                                   |
//! | `value`   | [`Value`] in a batch, [`ValueRef`] on the way out, [`AnyValue`] owned        |
//! | `batch`   | [`SpanBatch`]: the columns, and how rows get in                              |
//! | `copy`    | [`BatchCopier`]: rows from one batch to another                              |
//! | `view`    | [`SpanRef`], [`EventRef`], [`LinkRef`], [`Attributes`]: how rows are read    |
//! | `trace`   | [`Trace`]: the spans of one request, joined into a tree                      |
//! | `summary` | [`TraceSummary`]: what a list says of a trace                                |
//!
//! No I/O, no clock, no serde.
//!
//! ```
//! use tracewell_model::{NewSpan, SpanBatch, SpanId, Trace, TraceId, Value};
//!
//! let mut batch = SpanBatch::new();
//! let key = batch.intern("service.name");
//! let name = batch.intern("checkout");
//! let resource = batch.add_resource(&[(key, Value::Str(name))], 0, "");
//! let scope = batch.add_scope("my-library", "1.0", &[], 0, "");
//! let operation = batch.intern("GET /cart");
//! batch.push_span(NewSpan {
//!     trace_id: TraceId::from_u128(0xabc),
//!     span_id: SpanId::from_u64(1),
//!     start_unix_nano: 1_000,
//!     end_unix_nano: 3_500,
//!     name: operation,
//!     ..NewSpan::new(resource, scope)
//! });
//! let trace = Trace::assemble(batch);
//! let root = trace.span(trace.roots()[0]);
//! assert_eq!(root.service(), "checkout");
//! assert_eq!(root.duration_nanos(), 2_500);
//! ```

mod batch;
mod copy;
mod id;
mod kind;
mod strings;
mod summary;
mod time;
mod trace;
mod value;
mod view;

pub use batch::{
    AttributeColumns, EventColumns, LinkColumns, NewSpan, Resource, ResourceId, Scope, ScopeId, SpanBatch, SpanColumns,
};
pub use copy::BatchCopier;
pub use id::{ParseIdError, SpanId, TraceId};
pub use kind::{SpanKind, StatusCode};
pub use strings::{StrId, StringTable};
pub use summary::{ServiceCount, TraceSummary};
pub use time::TimeRange;
pub use trace::{Nesting, PENDING, Trace, TraceNotes};
pub use value::{AnyValue, BlobId, DecodeValueError, KeyValue, MAX_VALUE_DEPTH, Value, ValueRef};
pub use view::{Attributes, EventRef, LinkRef, SpanRef};

/// The service name given to spans whose resource has no `service.name`, as the OpenTelemetry resource conventions
/// have it.
pub const UNKNOWN_SERVICE: &str = "unknown_service";
