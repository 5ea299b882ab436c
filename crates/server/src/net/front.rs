//! The thread that accepts on all ports, and the end of them all.
//!
//! Nothing that may take long runs on it, so that a server that is busy with questions still says that it lives.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::Router;
use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::first::{self, First};
use super::limits::ConnectionLimits;
use super::open::{Conn, End, Open, Place};
use super::serve::{self, Serving};
use super::stats::{ConnectionStats, PortCounters, add};
use super::stream::Stream;
use crate::guard::Guard;
use crate::health::Health;
use crate::logging::Seldom;

/// File descriptors that connections leave to the store.
const STORE_DESCRIPTORS: usize = 32;
/// Without descriptors there still have to be a few connections.
const FEWEST_CONNECTIONS: usize = 4;
/// How long no connection is accepted after a failure to: from, and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// What is read of a connection to see what it is.
const FIRST_BYTES: usize = 1024;
/// What a connection gets for which there is no place; every client of HTTP/1 understands it.
const FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\nretry-after: 1\r\nconnection: close\r\n\
    content-length: 53\r\n\r\ntoo many connections are open (limit --connections)\r\n";

/// What is served on a port.
pub(crate) struct Port {
    /// Bound by [`Front::bind`].
    pub(crate) listener: TcpListener,
    /// What answers.
    pub(crate) router: Router,
    /// Where it answers.
    pub(crate) runtime: Handle,
    /// Whether its requests may keep that runtime busy: then those who begin with a question for health stay on the front's.
    pub(crate) may_be_busy: bool,
    /// Who may ask.
    pub(crate) guard: Option<Guard>,
}

/// The accepting thread.
pub(crate) struct Front {
    runtime: Option<Runtime>,
    limits: ConnectionLimits,
    stats: ConnectionStats,
    health: Health,
    open: Vec<Open>,
    stop: watch::Sender<bool>,
    accepting: JoinSet<&'static str>,
}

/// File descriptors that connections may take: those that are not taken yet and not left to the store.
pub(crate) fn free_descriptors() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let limit = limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let taken =
        std::fs::read_dir("/proc/self/fd").or_else(|_| std::fs::read_dir("/dev/fd")).map_or(32, Iterator::count);
    let kept = STORE_DESCRIPTORS.max(limit / 8);
    limit.saturating_sub(taken + kept)
}

impl Front {
    /// Starts the thread.
    pub(crate) fn start(limits: ConnectionLimits, stats: ConnectionStats, health: Health) -> Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(1).thread_name("front").enable_all().build();
        let runtime = runtime.context("start the thread that accepts connections")?;
        let (stop, _) = watch::channel(false);
        let accepting = JoinSet::new();
        Ok(Self { runtime: Some(runtime), limits, stats, health, open: Vec::new(), stop, accepting })
    }

    fn handle(&self) -> &Handle {
        self.runtime.as_ref().expect("it is there until it is dropped").handle()
    }

    /// Listens on an address.
    pub(crate) async fn bind(&self, address: SocketAddr) -> io::Result<TcpListener> {
        self.handle().spawn(TcpListener::bind(address)).await.map_err(io::Error::other)?
    }

    /// Serves a port, the next in the order of the counters, with at most so many connections at once.
    pub(crate) fn serve(&mut self, port: Port, max_connections: usize) {
        let index = self.open.len();
        let open = Open::default();
        self.open.push(open.clone());
        let Port { listener, router, runtime, may_be_busy, guard } = port;
        let serving = Serving {
            router,
            limits: self.limits,
            stats: self.stats.clone(),
            index,
            health: self.health.clone(),
            guard,
            stopped: self.stop.subscribe(),
        };
        let door = Arc::new(Door {
            serving: Arc::new(serving),
            runtime,
            may_be_busy,
            open: open.clone(),
            max_connections: max_connections.max(FEWEST_CONNECTIONS),
            full: Seldom::default(),
            strange: Seldom::default(),
        });
        let (stats, limits) = (self.stats.clone(), self.limits);
        let handle = self.handle().clone();
        self.accepting.spawn_on(door.clone().accept(listener), &handle);
        self.accepting.spawn_on(
            async move {
                let counters = stats.port(index);
                loop {
                    tokio::time::sleep(limits.sweep()).await;
                    open.sweep(&limits, |end| match end {
                        End::Header => add(&counters.timeout_header),
                        End::Idle => add(&counters.timeout_idle),
                        End::Write => add(&counters.timeout_write),
                        End::Evicted | End::Stop => {}
                    });
                }
            },
            &handle,
        );
    }

    /// Waits until a part of the front has ended, which none should; says which.
    pub(crate) async fn failed(&mut self) -> String {
        match self.accepting.join_next().await {
            Some(Ok(name)) => format!("{name} ended"),
            Some(Err(error)) => error.to_string(),
            None => std::future::pending().await,
        }
    }

    /// Accepts no more, lets requests end within the limit of time, and cuts off those that do not.
    pub(crate) async fn drain(mut self) {
        self.accepting.abort_all();
        while self.accepting.join_next().await.is_some() {}
        // Fails only if nobody listens, who then has nothing to end.
        let _ = self.stop.send(true);
        let deadline = Instant::now() + self.limits.drain;
        let all_end = async {
            for open in &self.open {
                open.empty().await;
            }
        };
        if tokio::time::timeout_at(deadline, all_end).await.is_ok() {
            return;
        }
        for (index, open) in self.open.iter().enumerate() {
            let cut = open.cut_off();
            if cut > 0 {
                self.stats.port(index).cut_by_stop.fetch_add(cut as u64, std::sync::atomic::Ordering::Relaxed);
                tracing::warn!(
                    port = self.stats.name(index),
                    connections = cut,
                    "requests did not end within {:?} (limit --drain); they are cut off",
                    self.limits.drain
                );
            }
        }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        // It may be dropped where waiting is not allowed.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Where connections of one port come in.
struct Door {
    serving: Arc<Serving>,
    runtime: Handle,
    may_be_busy: bool,
    open: Open,
    max_connections: usize,
    full: Seldom,
    strange: Seldom,
}

impl Door {
    fn counters(&self) -> &PortCounters {
        self.serving.counters()
    }

    async fn accept(self: Arc<Self>, listener: TcpListener) -> &'static str {
        let mut back_off = BACK_OFF.0;
        let failing = Seldom::default();
        loop {
            match listener.accept().await {
                Ok((socket, peer)) => {
                    back_off = BACK_OFF.0;
                    self.take(socket, peer);
                }
                Err(error) if is_of_one(&error) => add(&self.counters().accept_errors),
                Err(error) => {
                    add(&self.counters().accept_errors);
                    let made_room = self.open.make_room();
                    failing.say(|times| {
                        let port = self.serving.name();
                        tracing::error!(port, %error, times, made_room, "cannot accept connections; trying again");
                    });
                    tokio::time::sleep(back_off).await;
                    back_off = (back_off * 2).min(BACK_OFF.1);
                }
            }
        }
    }

    fn take(self: &Arc<Self>, socket: TcpStream, peer: SocketAddr) {
        let counters = self.counters();
        add(&counters.accepted);
        let conn = Arc::new(Conn::new());
        let Some((place, made_room)) = self.open.enter(&conn, self.max_connections) else {
            add(&counters.refused_full);
            self.say_full("a connection is refused: all others are at work");
            // A new connection has room for this; if not, the end says it as well.
            let _ = socket.try_write(FULL);
            return;
        };
        if made_room {
            add(&counters.evicted);
            self.say_full("the connection that waited longest made room for another");
        }
        let door = self.clone();
        tokio::spawn(async move {
            let _open = OpenNow::new(&door.serving);
            door.greet(socket, peer, conn, place).await;
        });
    }

    fn say_full(&self, what: &str) {
        self.full.say(|times| {
            let (port, connections) = (self.serving.name(), self.max_connections);
            tracing::warn!(port, connections, times, "{what} (limit --connections, or the limit of open files)");
        });
    }

    /// Reads the first bytes, and sends the connection to where it is served.
    async fn greet(&self, mut socket: TcpStream, peer: SocketAddr, conn: Arc<Conn>, place: Place) {
        // The end of an answer does not wait until its beginning is acknowledged; without it, answers only come later.
        let _ = socket.set_nodelay(true);
        let mut bytes = BytesMut::new();
        let mut stopped = self.serving.stopped.clone();
        let first = loop {
            let read = async {
                socket.readable().await?;
                bytes.reserve(FIRST_BYTES);
                socket.read_buf(&mut bytes).await
            };
            tokio::select! {
                read = read => match read {
                    Ok(0) | Err(_) => return,
                    Ok(_) => match first::read(&bytes) {
                        First::Unknown => {}
                        first => break first,
                    },
                },
                _ = conn.ordered(None) => return,
                // An error means that the sender is gone, which is a reason to stop, too.
                _ = stopped.wait_for(|stopped| *stopped) => return,
            }
        };
        let is_http2 = match first {
            First::Http2 => true,
            First::Http1 { .. } | First::Unknown => false,
            First::Tls => {
                add(&self.counters().tls);
                self.strange.say(|times| {
                    let port = self.serving.name();
                    tracing::warn!(port, %peer, times, "a client speaks TLS to a port without it: send to http://, not https://");
                });
                return;
            }
            First::Garbage => {
                add(&self.counters().not_http);
                self.strange.say(|times| {
                    let (port, bytes) = (self.serving.name(), bytes[..bytes.len().min(16)].escape_ascii());
                    tracing::warn!(port, %peer, times, "a client does not speak HTTP; it began with \"{bytes}\"");
                });
                return;
            }
        };
        let first_bytes = bytes.freeze();
        let serving = self.serving.clone();
        let stays = matches!(first, First::Http1 { is_health: true }) || (is_http2 && self.may_be_busy);
        if stays {
            let stream = Stream::new(first_bytes, socket, conn.clone());
            return serve::connection(serving, Some(self.runtime.clone()), stream, conn, place, is_http2).await;
        }
        let Ok(socket) = socket.into_std() else { return };
        let served = self.runtime.spawn(async move {
            // Fails only where there are no descriptors.
            let Ok(socket) = TcpStream::from_std(socket) else { return };
            let stream = Stream::new(first_bytes, socket, conn.clone());
            serve::connection(serving, None, stream, conn, place, is_http2).await;
        });
        // It panics only with its runtime.
        let _ = served.await;
    }
}

/// Counts a connection as open while it is.
struct OpenNow(Arc<Serving>);

impl OpenNow {
    fn new(serving: &Arc<Serving>) -> Self {
        add(&serving.counters().open);
        Self(serving.clone())
    }
}

impl Drop for OpenNow {
    fn drop(&mut self) {
        self.0.counters().open.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    }
}

/// Whether a failure is that of one connection, after which the next can be accepted.
fn is_of_one(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted, NotConnected};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted | NotConnected)
}
