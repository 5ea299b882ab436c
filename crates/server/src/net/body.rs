//! Bodies of requests, which have to come, and of answers, which have to be taken.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use super::limits::ConnectionLimits;
use super::open::{InWork, Untaken};

/// An answer is handed over in parts of this size, so that it shows whether they are taken.
const PART_BYTES: usize = 64 << 10;

/// A body that did not come in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BodyTooSlow(String);

impl std::fmt::Display for BodyTooSlow {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(&self.0)
    }
}

impl std::error::Error for BodyTooSlow {}

/// What an error of a body says if it is that it did not come in time.
pub(crate) fn too_slow<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a BodyTooSlow> {
    std::iter::successors(Some(error), |error| error.source()).find_map(|error| error.downcast_ref())
}

/// Where the body of a request is left by who does not want the rest of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Left(Arc<Mutex<LeftBody>>);

#[derive(Debug, Default)]
struct LeftBody {
    body: Option<Incoming>,
    was_asked_for: bool,
    was_too_slow: bool,
}

/// The body of a request.
pub(super) struct Timed {
    body: Option<Incoming>,
    left: Left,
    limits: ConnectionLimits,
    began: Instant,
    window: Instant,
    window_bytes: u64,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Timed {
    pub(super) fn new(body: Incoming, limits: ConnectionLimits, left: Left) -> Self {
        let now = Instant::now();
        Self { body: Some(body), left, limits, began: now, window: now, window_bytes: 0, timer: None }
    }

    /// Looks at the clock once the time is over that was waited for.
    fn look(&mut self) -> Result<(), BodyTooSlow> {
        let now = Instant::now();
        let ConnectionLimits { body_timeout, min_body_rate, .. } = self.limits;
        let window = self.limits.body_window();
        if now >= self.began + body_timeout {
            return Err(BodyTooSlow(format!("the body did not arrive within {body_timeout:?} (limit --body-timeout)")));
        }
        if now >= self.window + window {
            let wanted = (min_body_rate as f64 * window.as_secs_f64()) as u64;
            if self.window_bytes < wanted {
                let bytes = self.window_bytes;
                return Err(BodyTooSlow(format!(
                    "of the body {bytes} bytes arrived within {window:?}, less than {min_body_rate} bytes a second (limit \
                     --body-rate)"
                )));
            }
            (self.window, self.window_bytes) = (now, 0);
        }
        Ok(())
    }

    fn deadline(&self) -> Instant {
        (self.began + self.limits.body_timeout).min(self.window + self.limits.body_window())
    }
}

impl http_body::Body for Timed {
    type Data = Bytes;
    type Error = axum::BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        if this.timer.is_none() && this.window_bytes == 0 {
            this.left.lock().was_asked_for = true;
        }
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(context) {
            if let Some(Ok(frame)) = &frame {
                this.window_bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
            }
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        loop {
            let deadline = this.deadline();
            let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
            if timer.deadline() != deadline {
                timer.as_mut().reset(deadline);
            }
            ready!(timer.as_mut().poll(context));
            if let Err(error) = this.look() {
                this.body = None;
                this.left.lock().was_too_slow = true;
                return Poll::Ready(Some(Err(error.into())));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Incoming::size_hint)
    }
}

impl Drop for Timed {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|body| !http_body::Body::is_end_stream(body)) {
            self.left.lock().body = Some(body);
        }
    }
}

/// What became of the body of a request that is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// All of it was read.
    Read,
    /// Some of it was not, and the connection can carry no other request.
    Unread,
}

impl Left {
    fn lock(&self) -> std::sync::MutexGuard<'_, LeftBody> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the body did not come in time.
    pub(super) fn was_too_slow(&self) -> bool {
        self.lock().was_too_slow
    }

    /// Reads what nobody wants, within bounds: a client that is still sending when the connection closes sees a broken
    /// connection and not the answer that says why. One that waits for leave to send (`Expect: 100-continue`) gets the answer
    /// at once.
    pub(super) async fn read_on(self, waits_for_leave: bool, limits: &ConnectionLimits) -> Rest {
        let (body, was_asked_for) = {
            let mut left = self.lock();
            if left.was_too_slow {
                return Rest::Unread;
            }
            (left.body.take(), left.was_asked_for)
        };
        let Some(mut body) = body else { return Rest::Read };
        if waits_for_leave && !was_asked_for {
            return Rest::Unread;
        }
        let reading = async {
            let mut left = limits.max_unwanted_bytes;
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else { return Rest::Unread };
                match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
                    Some(rest) => left = rest,
                    None => return Rest::Unread,
                }
            }
            Rest::Read
        };
        timeout(limits.unwanted_timeout(), reading).await.unwrap_or(Rest::Unread)
    }
}

/// The body of an answer: handed over in small parts, while its request counts as in work.
pub(super) struct Answer {
    body: Body,
    rest: Bytes,
    /// In HTTP/1 it shows at the socket.
    untaken: Option<Untaken>,
    _in_work: InWork,
}

impl Answer {
    pub(super) fn new(body: Body, in_work: InWork) -> Self {
        let conn = in_work.conn();
        let untaken = conn.is_http2().then(|| Untaken::new(conn.clone()));
        Self { body, rest: Bytes::new(), untaken, _in_work: in_work }
    }

    fn part(&mut self) -> Frame<Bytes> {
        let part = self.rest.split_to(self.rest.len().min(PART_BYTES));
        if let Some(untaken) = &self.untaken
            && !self.is_over()
        {
            untaken.handed_over();
        }
        Frame::data(part)
    }

    fn is_over(&self) -> bool {
        self.rest.is_empty() && http_body::Body::is_end_stream(&self.body)
    }
}

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if !self.rest.is_empty() {
            return Poll::Ready(Some(Ok(self.part())));
        }
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) else {
            // It is the server that is waited for.
            self.untaken.iter().for_each(Untaken::taken);
            return Poll::Pending;
        };
        let Some(frame) = frame.transpose()? else {
            self.untaken.iter().for_each(Untaken::taken);
            return Poll::Ready(None);
        };
        match frame.into_data() {
            Ok(data) => {
                self.rest = data;
                Poll::Ready(Some(Ok(self.part())))
            }
            Err(frame) => Poll::Ready(Some(Ok(frame))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_over()
    }

    fn size_hint(&self) -> SizeHint {
        let mut hint = http_body::Body::size_hint(&self.body);
        let rest = self.rest.len() as u64;
        match hint.exact() {
            Some(exact) => hint.set_exact(exact + rest),
            None => hint.set_lower(hint.lower() + rest),
        }
        hint
    }
}
