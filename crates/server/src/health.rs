//! Whether the server lives and can do its work: what `/livez`, `/readyz` and `/healthz` answer.
//!
//! Each part of the server tells its problems, or has a check that is made once a second on a thread of its own, so that
//! an answer never waits for a disk. `docs/api.md` says what the answers mean.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde::Serialize;
use tokio::sync::Notify;

/// How often checks are made.
const EVERY: Duration = Duration::from_secs(1);
/// A check that takes longer is a problem of its own.
const STUCK: Duration = Duration::from_secs(4);

/// What is known of the server's health. Cheap to clone.
#[derive(Clone, Default)]
pub struct Health(Arc<Inner>);

#[derive(Default)]
struct Inner {
    told: Mutex<BTreeMap<&'static str, String>>,
    checks: Mutex<Vec<Check>>,
    /// What the checks found last.
    found: Mutex<BTreeMap<&'static str, String>>,
    checking: Mutex<Option<(&'static str, Instant)>>,
    fatal: Mutex<Option<Problem>>,
    ended: Notify,
}

type Check = (&'static str, Box<dyn FnMut() -> Option<String> + Send>);

/// Why the server cannot do all of its work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// The part of the server, in a word: `store`, `disk`, `damages`.
    pub component: &'static str,
    /// What is wrong, and what can be done.
    pub message: String,
}

#[derive(Serialize)]
struct View<'a> {
    status: &'a str,
    reasons: &'a [Problem],
}

impl Health {
    /// Tells the problem of a part, or that it has none any more.
    pub fn tell(&self, component: &'static str, problem: Option<String>) {
        let mut told = lock(&self.0.told);
        match problem {
            Some(message) => drop(told.insert(component, message)),
            None => drop(told.remove(component)),
        }
    }

    /// Has a part checked once a second; the check says what is wrong, if anything is. It may take its time.
    pub fn check(&self, component: &'static str, check: impl FnMut() -> Option<String> + Send + 'static) {
        lock(&self.0.checks).push((component, Box::new(check)));
    }

    /// Tells that the server cannot go on: it ends in order, with this as its error.
    pub fn fail(&self, component: &'static str, message: String) {
        lock(&self.0.fatal).get_or_insert(Problem { component, message });
        self.0.ended.notify_waiters();
    }

    /// Waits until the server cannot go on.
    pub async fn failed(&self) -> Problem {
        loop {
            let ended = self.0.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if let Some(problem) = lock(&self.0.fatal).clone() {
                return problem;
            }
            ended.await;
        }
    }

    /// Starts the thread that makes the checks.
    pub(crate) fn start(&self) -> std::io::Result<()> {
        let inner = Arc::downgrade(&self.0);
        std::thread::Builder::new().name("tracewell-health".to_owned()).spawn(move || {
            while let Some(inner) = inner.upgrade() {
                inner.look();
                drop(inner);
                std::thread::sleep(EVERY);
            }
        })?;
        Ok(())
    }

    /// Why the server is not ready; nothing if it is.
    pub fn problems(&self) -> Vec<Problem> {
        let mut problems: Vec<Problem> = lock(&self.0.fatal).iter().cloned().collect();
        let mut add = |component, message: &String| problems.push(Problem { component, message: message.clone() });
        lock(&self.0.told).iter().for_each(|(component, message)| add(component, message));
        lock(&self.0.found).iter().for_each(|(component, message)| add(component, message));
        if let Some((component, since)) = *lock(&self.0.checking)
            && since.elapsed() > STUCK
        {
            add(component, &format!("its check has been waiting for {} s", since.elapsed().as_secs()));
        }
        problems
    }

    /// Answers `/livez`, `/readyz` or `/healthz`.
    pub(crate) fn answer(&self, request: &Parts) -> Response<Body> {
        let mut response = if request.method != Method::GET && request.method != Method::HEAD {
            let allow = [(header::ALLOW, HeaderValue::from_static("GET, HEAD"))];
            (StatusCode::METHOD_NOT_ALLOWED, allow, "this is a GET; nothing is received here\n").into_response()
        } else if request.uri.path() == "/readyz" {
            let excluded = excluded(request.uri.query().unwrap_or(""));
            let mut problems = self.problems();
            problems.retain(|problem| !excluded.contains(&problem.component));
            view(if problems.is_empty() { "ready" } else { "not_ready" }, &problems)
        } else {
            let fatal: Vec<Problem> = lock(&self.0.fatal).iter().cloned().collect();
            view(if fatal.is_empty() { "ok" } else { "failed" }, &fatal)
        };
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response.headers_mut().insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        response
    }
}

/// The parts that whoever asks does not want to hear of: `exclude=damages&exclude=bucket`.
fn excluded(query: &str) -> Vec<&str> {
    query.split('&').filter_map(|pair| pair.strip_prefix("exclude=")).collect()
}

fn view(status: &str, reasons: &[Problem]) -> Response<Body> {
    let code = if reasons.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, axum::Json(View { status, reasons })).into_response()
}

impl Inner {
    fn look(&self) {
        // Checks may be long, and none is added after the start.
        let mut checks = std::mem::take(&mut *lock(&self.checks));
        for (component, check) in &mut checks {
            *lock(&self.checking) = Some((component, Instant::now()));
            let problem = std::panic::catch_unwind(std::panic::AssertUnwindSafe(check));
            let problem = problem.unwrap_or_else(|_| Some("its check panicked; the server's log says why".to_owned()));
            let mut found = lock(&self.found);
            if found.get(component) != problem.as_ref() {
                match &problem {
                    Some(message) => tracing::warn!(component, "not ready: {message}"),
                    None => tracing::info!(component, "ready again"),
                }
            }
            match problem {
                Some(message) => drop(found.insert(component, message)),
                None => drop(found.remove(component)),
            }
        }
        *lock(&self.checking) = None;
        let mut added = lock(&self.checks);
        checks.append(&mut added);
        *added = checks;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use axum::http::Request;
    use http_body_util::BodyExt;

    use super::*;

    async fn ask(health: &Health, method: &str, path: &str) -> (u16, String) {
        let request = Request::builder().method(method).uri(path).body(()).unwrap();
        let response = health.answer(&request.into_parts().0);
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn readiness_names_the_problem_until_it_is_gone_and_liveness_does_not_care() {
        let health = Health::default();
        let full = Arc::new(AtomicBool::new(true));
        let is_full = full.clone();
        health.check("disk", move || is_full.load(Ordering::SeqCst).then(|| "it is full".to_owned()));
        assert_eq!(ask(&health, "GET", "/readyz").await.0, 200);
        health.0.look();
        let (status, body) = ask(&health, "GET", "/readyz").await;
        assert_eq!(status, 503);
        assert!(body.contains(r#""component":"disk","message":"it is full""#), "{body}");
        assert_eq!(ask(&health, "GET", "/readyz?exclude=disk").await.0, 200);
        assert_eq!(ask(&health, "GET", "/livez").await, (200, r#"{"status":"ok","reasons":[]}"#.to_owned()));
        full.store(false, Ordering::SeqCst);
        health.0.look();
        assert_eq!(ask(&health, "GET", "/readyz").await.0, 200);
        health.tell("store", Some("it refuses".to_owned()));
        assert_eq!(ask(&health, "HEAD", "/readyz").await.0, 503);
        health.tell("store", None);
        assert_eq!(ask(&health, "GET", "/readyz").await.0, 200);
        assert_eq!(ask(&health, "POST", "/healthz").await.0, 405, "a body that is posted is not taken");
    }

    #[tokio::test]
    async fn what_cannot_go_on_is_no_longer_alive() {
        let health = Health::default();
        health.check("odd", || panic!("a check that panics is a problem, no more"));
        health.0.look();
        assert!(health.problems()[0].message.contains("panicked"));
        health.fail("store", "its thread ended".to_owned());
        assert_eq!(health.failed().await.component, "store");
        for path in ["/livez", "/healthz", "/readyz"] {
            assert_eq!(ask(&health, "GET", path).await.0, 503, "{path}");
        }
    }
}
