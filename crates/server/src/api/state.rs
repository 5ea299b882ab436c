//! What the handlers share, and the bounds on their work.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{Instant, timeout, timeout_at};
use tracewell_query::PORTION_BYTES;
use tracewell_store::{LeftOut, SpanStore, Tenant};

use crate::budget::{Held, MemoryBudget};
use crate::metrics::Metrics;
use crate::net::PortConnections;

/// What every query has of the memory for queries: what it reads at once, and its answer. Those that take more take more.
const QUERY_BYTES: usize = PORTION_BYTES;

/// What every handler has. Cheap to clone.
#[derive(Clone)]
pub struct ApiState {
    pub(crate) store: Arc<dyn SpanStore>,
    pub(crate) tenant: Tenant,
    pub(crate) limits: ApiLimits,
    pub(crate) addresses: Option<OtlpAddresses>,
    /// What questions and answers take memory from.
    pub(crate) budget: MemoryBudget,
    pub(crate) metrics: Metrics,
    receivers: Arc<dyn Fn() -> ReceiverStats + Send + Sync>,
    connections: Arc<dyn Fn() -> Vec<PortConnections> + Send + Sync>,
    clock: Arc<dyn Fn() -> u64 + Send + Sync>,
    places: Arc<Semaphore>,
    /// Held by the one `why` that is being answered: it keeps more than other queries.
    pub(crate) why: Arc<tokio::sync::Mutex<()>>,
    /// What the answer to one question leaves out.
    pub(crate) left_out: Arc<LeftOut>,
}

/// Bounds on queries, each of which an operator can set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ApiLimits {
    /// A query that takes longer is ended and answered with `busy`. An export is bounded by its client's patience.
    pub query_timeout: Duration,
    /// Queries that run at once; others wait for their turn, at most `query_timeout`.
    pub concurrent_queries: usize,
    /// Spans on each side after which `why` reads no further trace; of more, it takes a sample.
    pub why_spans: usize,
    /// Bytes that `why` keeps of what it read, about; if there is more to keep, it takes a sample. One `why` is answered
    /// at a time.
    pub why_bytes: usize,
}

impl Default for ApiLimits {
    fn default() -> Self {
        Self {
            query_timeout: Duration::from_secs(30),
            concurrent_queries: 16,
            why_spans: 12_000_000,
            why_bytes: 144 << 20,
        }
    }
}

/// Where the receivers listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct OtlpAddresses {
    /// OTLP over HTTP.
    pub otlp_http: SocketAddr,
    /// OTLP over gRPC.
    pub otlp_grpc: SocketAddr,
}

/// What the receivers did since the process started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ReceiverStats {
    /// What was accepted.
    pub received: Received,
    /// What was refused and said so to the sender, by reason.
    pub refused: Vec<Loss>,
    /// What was acknowledged and lost after all, by reason.
    pub dropped: Vec<Loss>,
    /// What the services' SDKs tell of themselves.
    pub sdks: Vec<SdkStats>,
    /// Numbers that were told and not kept, because of too many services.
    pub sdk_points_left_out: u64,
    /// Spans of odd times, whatever was done with them.
    pub odd_times: OddTimesStats,
    /// The same by port, which `/metrics` shows.
    #[serde(skip)]
    pub ports: Vec<PortStats>,
}

/// Spans whose start makes no sense.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OddTimesStats {
    /// Spans that start more than `--future` after they arrive.
    pub future: u64,
    /// Spans that start before 2000.
    pub past: u64,
}

/// What one receiver did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortStats {
    /// Its name: `otlp_http` or `otlp_grpc`.
    pub port: &'static str,
    /// What was accepted.
    pub received: Received,
    /// What was refused, by reason.
    pub refused: Vec<Loss>,
}

impl ReceiverStats {
    /// With requests whose heads could not be read, and those whose heads were too large.
    #[must_use]
    pub(crate) fn with_bad_heads(mut self, (bad, too_large): (u64, u64)) -> Self {
        for (reason, requests) in [("bad_head", bad), ("head_too_large", too_large)] {
            if requests > 0 {
                self.refused.push(Loss { reason: reason.to_owned(), requests, spans: 0 });
            }
        }
        self
    }
}

/// What the SDKs of one service tell of themselves, all its processes together, since these were started.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SdkStats {
    /// The service's name.
    pub service: String,
    /// Spans that ended: exported and dropped.
    pub recorded: u64,
    /// Spans that a receiver took.
    pub exported: u64,
    /// Spans that no receiver took, by reason.
    pub dropped: Vec<SdkDrops>,
    /// Bytes of the requests that were taken, before compression; 0 from SDKs that do not tell.
    pub exported_bytes: u64,
    /// Time that was spent on sending, waits for the receiver included; 0 from SDKs that do not tell.
    pub export_nanos: u64,
    /// When it was told last, as Unix nanoseconds.
    pub last_unix_nano: String,
}

/// Spans that an SDK dropped for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SdkDrops {
    /// Why, in a word: `queue_full`, `rejected`, `unreachable`, `shutdown`, or what another SDK says.
    pub reason: String,
    /// How many.
    pub spans: u64,
}

/// What was accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Received {
    /// Requests.
    pub requests: u64,
    /// Spans in them.
    pub spans: u64,
    /// Bytes of their bodies, uncompressed.
    pub bytes: u64,
}

/// What was not kept for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// Why, in a word: `body_too_large`, `malformed`, `busy`.
    pub reason: String,
    /// Whole requests.
    pub requests: u64,
    /// Spans, as far as they were counted.
    pub spans: u64,
}

impl ApiState {
    /// Answers from a store, for the default tenant and under the default limits.
    pub fn new(store: Arc<dyn SpanStore>) -> Self {
        let limits = ApiLimits::default();
        Self {
            store,
            tenant: Tenant::default(),
            limits,
            addresses: None,
            budget: MemoryBudget::default(),
            metrics: Metrics::default(),
            receivers: Arc::new(ReceiverStats::default),
            connections: Arc::new(Vec::new),
            clock: Arc::new(system_clock),
            places: Arc::new(Semaphore::new(limits.concurrent_queries)),
            why: Arc::default(),
            left_out: Arc::default(),
        }
    }

    /// The same for one question, whose answer leaves out what is collected.
    #[must_use]
    pub(crate) fn asking(mut self, left_out: Arc<LeftOut>) -> Self {
        self.store = self.store.view(left_out.clone()).unwrap_or(self.store);
        self.left_out = left_out;
        self
    }

    /// With other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: ApiLimits) -> Self {
        self.places = Arc::new(Semaphore::new(limits.concurrent_queries.max(1)));
        self.limits = limits;
        self
    }

    /// With the process's memory budget.
    #[must_use]
    pub fn with_budget(mut self, budget: MemoryBudget) -> Self {
        self.budget = budget;
        self
    }

    /// With the receivers' counters, which `/stats` shows.
    #[must_use]
    pub fn with_receivers(mut self, receivers: impl Fn() -> ReceiverStats + Send + Sync + 'static) -> Self {
        self.receivers = Arc::new(receivers);
        self
    }

    /// With the counters of connections by port, which `/stats` shows.
    #[must_use]
    pub fn with_connections(mut self, connections: impl Fn() -> Vec<PortConnections> + Send + Sync + 'static) -> Self {
        self.connections = Arc::new(connections);
        self
    }

    /// With the receivers' addresses, which `/stats` shows.
    #[must_use]
    pub fn with_addresses(mut self, addresses: OtlpAddresses) -> Self {
        self.addresses = Some(addresses);
        self
    }

    /// With what `/metrics` shows beside the counters of receivers and store.
    #[must_use]
    pub fn with_metrics(mut self, metrics: Metrics) -> Self {
        self.metrics = metrics;
        self
    }

    /// With a clock of Unix nanoseconds instead of the system's.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    pub(crate) fn now_unix_nano(&self) -> u64 {
        (self.clock)()
    }

    pub(crate) fn receivers(&self) -> ReceiverStats {
        (self.receivers)()
    }

    pub(crate) fn connections(&self) -> Vec<PortConnections> {
        (self.connections)()
    }

    /// Takes `bytes` of the memory for queries, or half of what all queries together have if that is less. It waits
    /// until the deadline for it.
    pub(crate) async fn hold(&self, bytes: usize, deadline: Instant) -> Result<Held, String> {
        let queries = self.budget.queries();
        let bytes = bytes.min(queries.limit_bytes() / 2);
        queries.take(bytes, deadline).await.map_err(|short| short.to_string())
    }

    /// When a query that begins now has to end.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.limits.query_timeout
    }

    /// A place among the queries that run at once.
    pub(crate) async fn place(&self) -> Result<OwnedSemaphorePermit, String> {
        match timeout(self.limits.query_timeout, self.places.clone().acquire_owned()).await {
            Ok(Ok(place)) => Ok(place),
            _ => Err("too many queries are running".to_owned()),
        }
    }

    /// Runs a query within the bounds; the error says which one it met. It runs on a thread of its own, so that what it
    /// computes holds up nobody, and ends where it next waits for something once its time is over or its caller is gone. Its
    /// place is free when it has ended.
    pub(crate) async fn bounded<T: Send + 'static>(
        &self,
        query: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, String> {
        let deadline = self.deadline();
        let place = self.place().await?;
        let held = self.hold(QUERY_BYTES, deadline).await?;
        let answer = timeout_at(deadline, detached((place, held), query)).await;
        answer
            .map_err(|_| self.too_slow())?
            .ok_or_else(|| "the query ended early; the server's log says why".to_owned())
    }

    /// What is said of a query that met its bound of time.
    pub(crate) fn too_slow(&self) -> String {
        let seconds = self.limits.query_timeout.as_secs_f64();
        format!("the query took longer than {seconds} s; ask for a shorter time or add conditions")
    }
}

/// Runs a future on a blocking thread until it is done, or until whoever waits for it is gone; `held` is dropped then.
/// `None` if it panicked.
pub(crate) async fn detached<T: Send + 'static>(
    held: impl Send + 'static,
    work: impl Future<Output = T> + Send + 'static,
) -> Option<T> {
    // Dropped together with this future, which tells the thread.
    let (_awaited, abandoned) = oneshot::channel::<()>();
    let runtime = Handle::current();
    let run = move || {
        let _held = held;
        runtime.block_on(async move {
            tokio::select! {
                biased;
                _ = abandoned => None,
                done = work => Some(done),
            }
        })
    };
    match tokio::task::spawn_blocking(run).await {
        Ok(done) => done,
        Err(error) => {
            tracing::error!(%error, "a query ended early");
            None
        }
    }
}

fn system_clock() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use tracewell_store::{MemoryOptions, MemoryStore};

    use super::*;

    fn state(limits: ApiLimits) -> ApiState {
        ApiState::new(Arc::new(MemoryStore::new(MemoryOptions::default()))).with_limits(limits)
    }

    #[tokio::test]
    async fn a_query_that_takes_too_long_is_ended() {
        let state = state(ApiLimits { query_timeout: Duration::from_millis(1), ..ApiLimits::default() });
        let error = state.bounded(std::future::pending::<()>()).await.unwrap_err();
        assert!(error.contains("took longer"), "{error}");
    }

    #[tokio::test]
    async fn a_query_that_nobody_waits_for_ends_and_gives_its_place_back() {
        let state = state(ApiLimits { concurrent_queries: 1, ..ApiLimits::default() });
        let (begun, has_begun) = oneshot::channel();
        let waiting = tokio::spawn({
            let state = state.clone();
            async move {
                let query = async move {
                    begun.send(()).unwrap();
                    std::future::pending::<()>().await;
                };
                state.bounded(query).await
            }
        });
        has_begun.await.unwrap();
        waiting.abort();
        assert_eq!(state.bounded(async { 1 }).await, Ok(1), "its place is free");
    }

    #[tokio::test]
    async fn a_query_that_computes_holds_up_no_other() {
        let state = state(ApiLimits::default());
        let (go, wait) = std::sync::mpsc::channel::<()>();
        let computes = tokio::spawn({
            let state = state.clone();
            async move { state.bounded(async move { wait.recv().unwrap() }).await }
        });
        // This runtime has one thread, which would wait for ever.
        assert_eq!(state.bounded(async { 1 }).await, Ok(1));
        go.send(()).unwrap();
        assert_eq!(computes.await.unwrap(), Ok(()));
    }

    #[tokio::test]
    async fn no_more_queries_run_at_once_than_allowed() {
        let limits = ApiLimits { query_timeout: Duration::ZERO, concurrent_queries: 1, ..ApiLimits::default() };
        let state = state(limits);
        let place = state.place().await.unwrap();
        let error = state.bounded(async {}).await.unwrap_err();
        assert!(error.contains("too many"), "{error}");
        drop(place);
        assert!(state.place().await.is_ok());
    }
}
