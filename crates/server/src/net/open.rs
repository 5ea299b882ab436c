//! The connections that are open: what each is doing since when, which overran its time, and which goes when there are too
//! many.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::limits::ConnectionLimits;

/// One connection, as those see it who watch over its time.
#[derive(Debug)]
pub(super) struct Conn {
    epoch: Instant,
    /// When the head of a request began, or the connection went idle; which of the two is in `in_head`.
    since: AtomicU64,
    in_head: AtomicBool,
    is_http2: AtomicBool,
    /// Requests in work.
    requests: AtomicU32,
    /// Since when the socket takes no bytes, plus one; 0 while it does.
    blocked: AtomicU64,
    /// Parts of answers that wait for the client to take them, by number, with the time since when.
    untaken: Mutex<HashMap<u64, u64>>,
    next_answer: AtomicU64,
    order: AtomicU8,
    ordered: Notify,
}

/// Why a connection ends before its client ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum End {
    /// A head that did not come in time.
    Header = 1,
    /// Nothing to do for too long. HTTP/2 is told so first.
    Idle,
    /// The client takes nothing.
    Write,
    /// Another one needs the place.
    Evicted,
    /// The server stops, and the time for it is over.
    Stop,
}

impl End {
    fn from_number(number: u8) -> Option<Self> {
        [Self::Header, Self::Idle, Self::Write, Self::Evicted, Self::Stop].into_iter().find(|end| *end as u8 == number)
    }
}

impl Conn {
    pub(super) fn new() -> Self {
        Self {
            epoch: Instant::now(),
            since: AtomicU64::new(0),
            in_head: AtomicBool::new(true),
            is_http2: AtomicBool::new(false),
            requests: AtomicU32::new(0),
            blocked: AtomicU64::new(0),
            untaken: Mutex::default(),
            next_answer: AtomicU64::new(0),
            order: AtomicU8::new(0),
            ordered: Notify::new(),
        }
    }

    fn now(&self) -> u64 {
        self.epoch.elapsed().as_millis() as u64
    }

    pub(super) fn speaks_http2(&self) {
        self.is_http2.store(true, SeqCst);
        self.goes_idle();
    }

    pub(super) fn is_http2(&self) -> bool {
        self.is_http2.load(SeqCst)
    }

    fn goes_idle(&self) {
        self.since.store(self.now(), SeqCst);
        self.in_head.store(false, SeqCst);
    }

    /// Bytes were read. In HTTP/1 they begin a head if no request is in work.
    pub(super) fn was_read(&self) {
        if self.is_idle() && !self.is_http2() && !self.in_head.load(SeqCst) {
            self.since.store(self.now(), SeqCst);
            self.in_head.store(true, SeqCst);
        }
    }

    /// The socket takes no more bytes, or some again.
    pub(super) fn is_blocked(&self, blocked: bool) {
        match (blocked, self.blocked.load(SeqCst)) {
            (true, 0) => self.blocked.store(self.now() + 1, SeqCst),
            (true, _) | (false, 0) => {}
            (false, _) => self.blocked.store(0, SeqCst),
        }
    }

    /// No request is in work.
    pub(super) fn is_idle(&self) -> bool {
        self.requests.load(SeqCst) == 0
    }

    /// Orders an end. The first order counts, unless it is that of the end of all; says whether it counts.
    pub(super) fn order(&self, end: End) -> bool {
        let counts = match end {
            End::Stop => self.order.swap(end as u8, SeqCst) != end as u8,
            _ => self.order.compare_exchange(0, end as u8, SeqCst, SeqCst).is_ok(),
        };
        self.ordered.notify_one();
        counts
    }

    /// Waits for an order to end other than this one.
    pub(super) async fn ordered(&self, other_than: Option<End>) -> End {
        loop {
            match End::from_number(self.order.load(SeqCst)) {
                end if end == other_than => self.ordered.notified().await,
                Some(end) => return end,
                None => self.ordered.notified().await,
            }
        }
    }

    /// Which limit is overrun.
    fn overrun(&self, limits: &ConnectionLimits) -> Option<End> {
        let now = self.now();
        let over = |since: u64, limit: Duration| now.saturating_sub(since) >= limit.as_millis() as u64;
        let blocked = self.blocked.load(SeqCst);
        let untaken =
            || self.is_http2() && lock(&self.untaken).values().any(|since| over(*since, limits.write_timeout));
        if (blocked > 0 && over(blocked - 1, limits.write_timeout)) || untaken() {
            return Some(End::Write);
        }
        if !self.is_idle() {
            return None;
        }
        let since = self.since.load(SeqCst);
        match self.in_head.load(SeqCst) {
            true => over(since, limits.header_timeout).then_some(End::Header),
            false => over(since, limits.idle_timeout).then_some(End::Idle),
        }
    }
}

/// A request in work: while it lives, its connection is not idle.
#[derive(Debug)]
pub(super) struct InWork(Arc<Conn>);

impl InWork {
    pub(super) fn begin(conn: &Arc<Conn>) -> Self {
        conn.requests.fetch_add(1, SeqCst);
        Self(conn.clone())
    }

    pub(super) fn conn(&self) -> &Arc<Conn> {
        &self.0
    }
}

impl Drop for InWork {
    fn drop(&mut self) {
        // The time first: whoever sees no request sees since when.
        self.0.goes_idle();
        self.0.requests.fetch_sub(1, SeqCst);
    }
}

/// A part of an answer that the client has still to take.
#[derive(Debug)]
pub(super) struct Untaken {
    conn: Arc<Conn>,
    number: u64,
}

impl Untaken {
    pub(super) fn new(conn: Arc<Conn>) -> Self {
        let number = conn.next_answer.fetch_add(1, SeqCst);
        Self { conn, number }
    }

    /// A part was handed over, and the next will be asked for when it is taken.
    pub(super) fn handed_over(&self) {
        lock(&self.conn.untaken).insert(self.number, self.conn.now());
    }

    /// All that there is was taken.
    pub(super) fn taken(&self) {
        lock(&self.conn.untaken).remove(&self.number);
    }
}

impl Drop for Untaken {
    fn drop(&mut self) {
        self.taken();
    }
}

/// The open connections of a port. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct Open(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    conns: Mutex<HashMap<u64, Arc<Conn>>>,
    next: AtomicU64,
    emptied: Notify,
}

/// A place among the open connections, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    open: Open,
    number: u64,
}

impl Open {
    /// A place for a connection; over `max`, in the place of the one that has waited longest for a head or for a request, or
    /// `None` if all are at work. The second is whether another one had to go.
    pub(super) fn enter(&self, conn: &Arc<Conn>, max: usize) -> Option<(Place, bool)> {
        let mut conns = lock(&self.0.conns);
        let is_full = conns.len() >= max.max(1);
        if is_full && !evict(&mut conns) {
            return None;
        }
        let number = self.0.next.fetch_add(1, SeqCst);
        conns.insert(number, conn.clone());
        Some((Place { open: self.clone(), number }, is_full))
    }

    /// Ends the connection that has waited longest, if one does.
    pub(super) fn make_room(&self) -> bool {
        evict(&mut lock(&self.0.conns))
    }

    /// Orders those to end that overran a limit, and counts them by what they overran.
    pub(super) fn sweep(&self, limits: &ConnectionLimits, mut each: impl FnMut(End)) {
        for conn in lock(&self.0.conns).values() {
            if let Some(end) = conn.overrun(limits)
                && conn.order(end)
            {
                each(end);
            }
        }
    }

    /// Orders all to end; the number of those.
    pub(super) fn cut_off(&self) -> usize {
        let conns = lock(&self.0.conns);
        conns.values().for_each(|conn| {
            conn.order(End::Stop);
        });
        conns.len()
    }

    /// Waits until none is open.
    pub(super) async fn empty(&self) {
        loop {
            let emptied = self.0.emptied.notified();
            tokio::pin!(emptied);
            emptied.as_mut().enable();
            if lock(&self.0.conns).is_empty() {
                return;
            }
            emptied.await;
        }
    }
}

/// A head that does not come goes before a connection without a request, and of either the one that has waited longest.
fn evict(conns: &mut HashMap<u64, Arc<Conn>>) -> bool {
    let waiting = conns.iter().filter(|(_, conn)| conn.is_idle() && conn.blocked.load(SeqCst) == 0);
    let longest =
        waiting.max_by_key(|(_, conn)| (conn.in_head.load(SeqCst), conn.now().saturating_sub(conn.since.load(SeqCst))));
    let Some(number) = longest.map(|(number, _)| *number) else { return false };
    let conn = conns.remove(&number).expect("it was just found");
    conn.order(End::Evicted);
    true
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut conns = lock(&self.open.0.conns);
        conns.remove(&self.number);
        if conns.is_empty() {
            self.open.0.emptied.notify_waiters();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_half_head_that_waits_longest_goes_first_and_nothing_at_work_goes() {
        let open = Open::default();
        let conns: Vec<Arc<Conn>> = (0..4).map(|_| Arc::new(Conn::new())).collect();
        let places: Vec<Place> = conns.iter().map(|conn| open.enter(conn, 4).unwrap().0).collect();
        conns[0].goes_idle();
        let work = InWork::begin(&conns[1]);
        conns[2].since.store(0, SeqCst);
        std::thread::sleep(Duration::from_millis(2));
        conns[3].since.store(conns[3].now(), SeqCst);
        let ended = |conn: &Arc<Conn>| End::from_number(conn.order.load(SeqCst));
        let mut entered = Vec::new();
        for expected in [2, 3] {
            let late = Arc::new(Conn::new());
            let (place, made_room) = open.enter(&late, 4).unwrap();
            let late_work = InWork::begin(&late);
            entered.push((place, late_work));
            assert!(made_room);
            assert_eq!(ended(&conns[expected]), Some(End::Evicted), "{expected}");
        }
        assert_eq!((ended(&conns[0]), ended(&conns[1])), (None, None));
        assert!(open.make_room());
        assert_eq!(ended(&conns[0]), Some(End::Evicted));
        let late = Arc::new(Conn::new());
        let place = open.enter(&late, 4).unwrap();
        let late_work = InWork::begin(&late);
        assert!(open.enter(&Arc::new(Conn::new()), 4).is_none(), "all are at work");
        drop((late_work, place, work, places, entered));
        assert_eq!(open.cut_off(), 0);
    }
}
