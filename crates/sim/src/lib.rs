//! Workloads that look like production, the same for the same seed, with faults where a test wants them.
//!
//! | module     | holds                                                                                |
//! |------------|--------------------------------------------------------------------------------------|
//! | `topology` | [`Topology`]: services, their operations, who calls whom                             |
//! | `workload` | [`Workload`]: how much of it, when, and the traces one by one                        |
//! | `request`  | one request walking through the services, leaving spans                              |
//! | `describe` | attributes by OpenTelemetry's semantic conventions                                   |
//! | `scenario` | [`Scenario`]: two windows of one mesh, the second with a fault, and what it is       |
//! | `mesh`     | services whose operations have plans, what goes wrong in them, and their requests    |
//! | `batches`  | [`Requests`]: the spans as services would send them, a trace scattered over requests |
//! | `expected` | [`Expected`]: what a store must give back                                            |
//!
//! A [`Workload`] is for stores: its requests take any way through the services, and its spans look like production's in
//! number, size and attributes. A [`Scenario`] is for `why`: an operation does the same steps each time, as programs do,
//! until a fault is planted.
//!
//! Sizes of a workload's traces are heavy-tailed (median about 10 spans, mean about 86, at most 20,000), and so are
//! durations. A span has about 350 bytes in OTLP.
//!
//! ```
//! use tracewell_sim::{Expected, Workload};
//!
//! let workload = Workload::new(7).spans(500);
//! let mut expected = Expected::default();
//! workload.traces().for_each(|trace| expected.add(&trace));
//! assert_eq!(expected.spans(), 500);
//!
//! let mut sent = Expected::default();
//! workload.requests(64).for_each(|request| sent.add(&request));
//! assert_eq!(sent, expected);
//! ```

mod batches;
mod describe;
mod expected;
mod mesh;
mod request;
mod scenario;
mod topology;
mod workload;

pub use batches::Requests;
pub use expected::Expected;
pub use mesh::fault::{FaultKind, Truth};
pub use scenario::{Scenario, Windows};
pub use topology::Topology;
pub use workload::{Traces, Workload};
