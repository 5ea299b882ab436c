//! One connection, from its first request to its last.

use std::convert::Infallible;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, Response, StatusCode, Version, header};
use axum::response::IntoResponse;
use hyper::body::{Body as _, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tower::Service;

use super::body::{Answer, Left, Rest, Timed};
use super::first;
use super::limits::ConnectionLimits;
use super::open::{Conn, End, InWork, Place};
use super::stats::{ConnectionStats, PortCounters, add};
use super::stream::Stream;
use crate::guard::Guard;
use crate::health::Health;

/// What the connections of a port share.
pub(super) struct Serving {
    pub(super) router: Router,
    pub(super) limits: ConnectionLimits,
    pub(super) stats: ConnectionStats,
    /// The port's place in the counters.
    pub(super) index: usize,
    pub(super) health: Health,
    pub(super) guard: Option<Guard>,
    pub(super) stopped: watch::Receiver<bool>,
}

impl Serving {
    pub(super) fn counters(&self) -> &PortCounters {
        self.stats.port(self.index)
    }

    pub(super) fn name(&self) -> &'static str {
        self.stats.name(self.index)
    }
}

/// Serves a connection until it ends. With `elsewhere`, its requests are answered on that runtime.
pub(super) async fn connection(
    serving: Arc<Serving>,
    elsewhere: Option<Handle>,
    stream: Stream,
    conn: Arc<Conn>,
    _place: Place,
    is_http2: bool,
) {
    let service = {
        let (serving, conn) = (serving.clone(), conn.clone());
        service_fn(move |request: Request<Incoming>| {
            // At once, not when it is first polled: until then the connection would look idle.
            let in_work = InWork::begin(&conn);
            answer(serving.clone(), elsewhere.clone(), request, in_work)
        })
    };
    let (limits, io) = (serving.limits, TokioIo::new(stream));
    let ended = if is_http2 {
        conn.speaks_http2();
        let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.max_streams)
            .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX))
            .keep_alive_interval(limits.idle_timeout / 3)
            .keep_alive_timeout(limits.idle_timeout / 3);
        let connection = builder.serve_connection(io, service);
        watched(&serving, &conn, connection, |connection| connection.graceful_shutdown()).await
    } else {
        let mut builder = hyper::server::conn::http1::Builder::new();
        // Its own limit of time for a head holds for an idle connection, too.
        builder.timer(TokioTimer::new()).header_read_timeout(None).max_header_size(limits.max_header_bytes);
        let connection = builder.serve_connection(io, service);
        watched(&serving, &conn, connection, |connection| connection.graceful_shutdown()).await
    };
    if let Some(Err(error)) = ended {
        let counters = serving.counters();
        if error.is_parse_too_large() {
            add(&counters.head_too_large);
        } else if error.is_parse() {
            add(&counters.bad_head);
        } else if error.is_timeout() {
            // A client of HTTP/2 that does not answer to a ping.
            add(&counters.timeout_idle);
        }
        tracing::debug!(port = serving.name(), %error, "a connection failed");
    }
}

/// Drives a connection until it ends by itself or has to; `None` is the latter, and dropping it closes it.
async fn watched<C: Future<Output = hyper::Result<()>>>(
    serving: &Serving,
    conn: &Conn,
    connection: C,
    say_goodbye: impl Fn(Pin<&mut C>),
) -> Option<hyper::Result<()>> {
    let mut connection = pin!(connection);
    let mut stopped = serving.stopped.clone();
    let (mut is_stopping, mut ordered) = (false, None);
    // When it ends if it has no request then.
    let mut goodbye: Option<Instant> = None;
    loop {
        tokio::select! {
            // What is answered is written before it is looked whether the connection has to end.
            biased;
            ended = connection.as_mut() => return Some(ended),
            end = conn.ordered(ordered) => {
                if end != End::Idle || !conn.is_http2() {
                    return None;
                }
                ordered = Some(end);
            }
            // An error means that the sender is gone, which is a reason to stop, too.
            _ = stopped.wait_for(|stopped| *stopped), if !is_stopping => is_stopping = true,
            () = sleep_until(goodbye.unwrap_or_else(Instant::now)), if goodbye.is_some() => {
                if conn.is_idle() {
                    return None;
                }
            }
        }
        say_goodbye(connection.as_mut());
        goodbye = Some(Instant::now() + serving.limits.goodbye());
    }
}

async fn answer(
    serving: Arc<Serving>,
    elsewhere: Option<Handle>,
    request: Request<Incoming>,
    in_work: InWork,
) -> Result<Response<Answer>, Infallible> {
    let (parts, body) = request.into_parts();
    if first::is_health(parts.uri.path().as_bytes()) {
        let refused = serving.guard.as_ref().and_then(|guard| guard.refusal(&parts));
        let response = refused.unwrap_or_else(|| serving.health.answer(&parts));
        return Ok(response.map(|body| Answer::new(body, in_work)));
    }
    let is_http1 = parts.version < Version::HTTP_2;
    let waits_for_leave = parts.headers.contains_key(header::EXPECT);
    let (body, left) = if body.is_end_stream() {
        (Body::empty(), None)
    } else {
        let left = Left::default();
        (Body::new(Timed::new(body, serving.limits, left.clone())), Some(left))
    };
    let call = serving.router.clone().call(Request::from_parts(parts, body));
    let answered = match elsewhere {
        None => caught(call).await,
        Some(runtime) => Spawned(runtime.spawn(caught(call))).await,
    };
    let mut response = answered.unwrap_or_else(|Panicked| {
        add(&serving.counters().panics);
        (StatusCode::INTERNAL_SERVER_ERROR, "answering failed; the server's log says why\n").into_response()
    });
    if let Some(left) = left {
        if left.was_too_slow() {
            add(&serving.counters().timeout_body);
        }
        if is_http1 && left.read_on(waits_for_leave, &serving.limits).await == Rest::Unread {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
    Ok(response.map(|body| Answer::new(body, in_work)))
}

/// The handling of a request panicked; the panic itself is in the log.
struct Panicked;

/// What a call answers, or that it panicked: neither its connection nor its neighbours are to know.
async fn caught(call: impl Future<Output = Result<Response<Body>, Infallible>>) -> Result<Response<Body>, Panicked> {
    let mut call = pin!(call);
    std::future::poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| call.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(Ok(response))) => Poll::Ready(Ok(response)),
        Ok(Poll::Ready(Err(never))) => match never {},
        Err(_) => Poll::Ready(Err(Panicked)),
    })
    .await
}

/// An answer that is made on another runtime, until nobody waits for it any more.
struct Spawned(JoinHandle<Result<Response<Body>, Panicked>>);

impl Future for Spawned {
    type Output = Result<Response<Body>, Panicked>;

    fn poll(mut self: Pin<&mut Self>, context: &mut std::task::Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|joined| joined.unwrap_or(Err(Panicked)))
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        self.0.abort();
    }
}
