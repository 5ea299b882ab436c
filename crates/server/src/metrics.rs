//! `GET /metrics`: what this process does, in the text format of Prometheus.
//!
//! | part       | does                                                            |
//! |------------|-----------------------------------------------------------------|
//! | `requests` | times requests at each port, by route and status                |
//! | `process`  | what the kernel says about this process                         |
//! | `collect`  | what receivers and store count already, as families             |
//! | `text`     | families as text: names, units, escaped labels                  |
//!
//! Written here and not with a crate: all but the request times are atomics that exist anyway, and a registry would keep
//! each of them twice. `docs/metrics.md` lists every name, which a test compares.

mod collect;
mod process;
mod requests;
#[cfg(test)]
mod tests;
mod text;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};

use crate::api::ApiState;
pub(crate) use requests::Port;
use requests::Requests;
use text::{Dialect, Text};

/// What is measured in this process. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    started: SystemTime,
    requests: Requests,
    /// The directory of the spans, if there is one.
    data: Option<PathBuf>,
    retention_age: Option<Duration>,
}

impl Metrics {
    /// Measures a server with these settings.
    #[must_use]
    pub fn new(data: Option<PathBuf>, retention_age: Option<Duration>) -> Self {
        Self(Arc::new(Inner { started: SystemTime::now(), requests: Requests::default(), data, retention_age }))
    }

    /// Times the requests of a port.
    pub(crate) fn layer(&self, port: Port, router: Router) -> Router {
        requests::layer(self.clone(), port, router)
    }

    /// All families now.
    async fn render(&self, state: &ApiState, dialect: Dialect) -> String {
        let mut text = Text::new(dialect);
        collect::build(&mut text);
        collect::memory(&mut text, &state.budget);
        collect::connections(&mut text, &state.connections());
        collect::receivers(&mut text, &state.receivers());
        self.0.requests.write(&mut text);
        // Everything else is told when the store has nothing to say, too.
        let stats = state.store.stats(&state.tenant).await;
        collect::store(&mut text, stats.as_ref().ok(), self.0.retention_age.is_some());
        collect::disk(&mut text, self.0.data.as_deref());
        process::write(&mut text, self.0.started);
        text.finish()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new(None, None)
    }
}

/// Answers in OpenMetrics to those that ask for it, else in the text format 0.0.4, which every scraper reads.
pub(crate) async fn metrics(State(state): State<ApiState>, headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let dialect =
        if accept.contains("application/openmetrics-text") { Dialect::OpenMetrics } else { Dialect::Prometheus };
    let text = state.metrics.render(&state, dialect).await;
    ([(header::CONTENT_TYPE, dialect.content_type())], text).into_response()
}
