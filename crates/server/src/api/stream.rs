//! Answers that are sent while they are made.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::Frame;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::error::ApiError;

/// Portions that wait for a slow client.
const PORTIONS_WAITING: usize = 2;

/// A pipe from who makes an answer to the connection. A client that takes nothing for so long is taken to be gone.
pub(crate) fn pipe(patience: Duration) -> (Outlet, Portions) {
    let (sender, receiver) = mpsc::channel(PORTIONS_WAITING);
    (Outlet { sender, patience }, Portions { first: None, receiver, done: false })
}

/// Nobody takes the rest of an answer.
#[derive(Debug)]
pub(crate) struct Gone;

/// Where an answer goes in.
pub(crate) struct Outlet {
    sender: mpsc::Sender<Result<Portion, ApiError>>,
    patience: Duration,
}

struct Portion {
    bytes: Bytes,
    is_last: bool,
}

impl Outlet {
    pub(crate) async fn send(&self, bytes: Vec<u8>) -> Result<(), Gone> {
        self.put(Ok(Portion { bytes: bytes.into(), is_last: false })).await
    }

    /// Ends the answer, and waits until the client has it: what the answer holds is held until then.
    pub(crate) async fn end(self, bytes: Vec<u8>) {
        if self.put(Ok(Portion { bytes: bytes.into(), is_last: true })).await.is_ok() {
            // Whoever does not take the end in time is taken to be gone, too.
            let _ = timeout(self.patience, self.sender.closed()).await;
        }
    }

    /// Cuts the answer off, which a client notices: the end is missing.
    pub(crate) async fn fail(self, error: ApiError) {
        let _ = self.put(Err(error)).await;
    }

    /// Done when nobody takes the answer any more.
    pub(crate) fn gone(&self) -> impl Future<Output = ()> + use<> {
        let sender = self.sender.clone();
        async move { sender.closed().await }
    }

    async fn put(&self, portion: Result<Portion, ApiError>) -> Result<(), Gone> {
        match timeout(self.patience, self.sender.send(portion)).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Gone),
        }
    }
}

/// Where an answer comes out.
pub(crate) struct Portions {
    first: Option<Bytes>,
    receiver: mpsc::Receiver<Result<Portion, ApiError>>,
    done: bool,
}

impl Portions {
    /// The answer's body, once its first portion is there: a query that fails at once has a status to say so, and an
    /// answer of one portion has a length.
    pub(crate) async fn body(mut self) -> Result<Body, ApiError> {
        match self.receiver.recv().await {
            Some(Ok(Portion { bytes, is_last: true })) => Ok(Body::from(bytes)),
            Some(Ok(Portion { bytes, is_last: false })) => {
                self.first = Some(bytes);
                Ok(Body::new(self))
            }
            Some(Err(error)) => Err(error),
            None => Err(ApiError::internal("the query ended early; the server's log says why")),
        }
    }
}

impl http_body::Body for Portions {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(Frame::data(first))));
        }
        if self.done {
            return Poll::Ready(None);
        }
        self.receiver.poll_recv(context).map(|portion| match portion {
            Some(Ok(Portion { bytes, is_last })) => {
                self.done = is_last;
                Some(Ok(Frame::data(bytes)))
            }
            Some(Err(error)) => Some(Err(std::io::Error::other(error.message))),
            None => Some(Err(std::io::Error::other("the answer ended early"))),
        })
    }
}
