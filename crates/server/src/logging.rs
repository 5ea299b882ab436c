//! What the program says of itself, on standard error.
//!
//! A line that cannot be written must not stop who writes it: lines wait in a queue of bounded size for a thread that
//! writes them. When nobody reads standard error, or it cannot be written, lines are dropped, counted, and the number is
//! said once it can be written again.

use std::fs::File;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Lines that wait to be written.
const MAX_LINES: usize = 4096;
/// Bytes of these lines.
const MAX_BYTES: usize = 1 << 20;
/// A longer line is cut.
const MAX_LINE_BYTES: usize = 16 << 10;
/// How long the end of the program waits for what is still to be written.
const FLUSH: Duration = Duration::from_secs(1);
/// How often what may happen all the time is said.
const SELDOM: Duration = Duration::from_secs(60);

static QUEUE: OnceLock<Queue> = OnceLock::new();

/// Lines on their way to standard error. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    lines: SyncSender<Message>,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    waiting_bytes: AtomicUsize,
    dropped: AtomicU64,
}

#[derive(Debug)]
enum Message {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// Has all lines written to a file by a thread from now on; without a file they are dropped.
pub(crate) fn start(file: Option<File>) {
    QUEUE.get_or_init(|| match file {
        Some(file) => Queue::start(file),
        None => Queue::start(io::sink()),
    });
}

/// Takes lines to be written, without waiting and without failing; says whether there is a thread that writes.
pub(crate) fn put(lines: &[u8]) -> bool {
    QUEUE.get().map(|queue| queue.put(lines)).is_some()
}

/// Waits until what was said is written, for a while.
pub(crate) fn flush() {
    if let Some(queue) = QUEUE.get() {
        queue.flush(FLUSH);
    }
}

/// Lines that were not written since the start.
pub fn dropped_lines() -> u64 {
    QUEUE.get().map_or(0, |queue| queue.state.dropped.load(Relaxed))
}

impl Queue {
    fn start(out: impl Write + Send + 'static) -> Self {
        let (lines, waiting) = sync_channel(MAX_LINES);
        let state = Arc::<State>::default();
        let writing = state.clone();
        let thread = std::thread::Builder::new().name("tracewell-stderr".to_owned());
        // Without the thread every line is dropped, which is counted; there is nobody to tell.
        let _ = thread.spawn(move || write(out, &waiting, &writing));
        Self { lines, state }
    }

    fn put(&self, line: &[u8]) {
        let line = cut(line);
        let bytes = line.len();
        if self.state.waiting_bytes.fetch_add(bytes, Relaxed) + bytes > MAX_BYTES
            || self.lines.try_send(Message::Line(line)).is_err()
        {
            self.state.waiting_bytes.fetch_sub(bytes, Relaxed);
            self.state.dropped.fetch_add(1, Relaxed);
        }
    }

    fn flush(&self, patience: Duration) {
        let (done, flushed) = sync_channel(1);
        let begin = Instant::now();
        let mut message = Message::Flush(done);
        while let Err(error) = self.lines.try_send(message) {
            let (std::sync::mpsc::TrySendError::Full(back) | std::sync::mpsc::TrySendError::Disconnected(back)) = error;
            message = back;
            if begin.elapsed() > patience {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        // Whoever does not read what is written does not get the end of it.
        let _ = flushed.recv_timeout(patience.saturating_sub(begin.elapsed()));
    }
}

fn cut(line: &[u8]) -> Vec<u8> {
    if line.len() <= MAX_LINE_BYTES {
        return line.to_vec();
    }
    let mut cut = line[..MAX_LINE_BYTES].to_vec();
    cut.extend_from_slice("… (the line is cut)\n".as_bytes());
    cut
}

fn write(mut out: impl Write, waiting: &Receiver<Message>, state: &State) {
    let mut said = 0;
    while let Ok(message) = waiting.recv() {
        match message {
            Message::Line(line) => {
                let written = write_all(&mut out, &line);
                state.waiting_bytes.fetch_sub(line.len(), Relaxed);
                if written.is_err() {
                    state.dropped.fetch_add(1, Relaxed);
                    continue;
                }
                let dropped = state.dropped.load(Relaxed);
                if dropped > said {
                    let lines = dropped - said;
                    let note = format!("{lines} lines of the log were dropped: standard error could not be written\n");
                    if write_all(&mut out, note.as_bytes()).is_ok() {
                        said = dropped;
                    }
                }
            }
            // Who asked may have given up.
            Message::Flush(done) => drop(done.try_send(())),
        }
    }
}

/// Standard error may have been made one that does not wait, by another process that has it, too.
fn write_all(out: &mut impl Write, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match out.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(Duration::from_millis(10)),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Says what may happen all the time at most once a minute, with how often it happened.
#[derive(Debug, Default)]
pub(crate) struct Seldom {
    last: std::sync::Mutex<Option<Instant>>,
    times: AtomicU64,
}

impl Seldom {
    pub(crate) fn say(&self, say: impl FnOnce(u64)) {
        self.times.fetch_add(1, Relaxed);
        // Whoever finds it locked need not say it: another one is about to.
        let Ok(mut last) = self.last.try_lock() else { return };
        if last.is_none_or(|last| last.elapsed() >= SELDOM) {
            *last = Some(Instant::now());
            say(self.times.swap(0, Relaxed));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Fails, waits or takes what is written, as it is told.
    #[derive(Clone, Default)]
    struct Out(Arc<Mutex<(bool, Vec<u8>)>>);

    impl Write for Out {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut out = self.0.lock().unwrap();
            if out.0 {
                return Err(io::ErrorKind::BrokenPipe.into());
            }
            out.1.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_cannot_be_written_is_dropped_and_said_when_it_can() {
        let out = Out::default();
        let queue = Queue::start(out.clone());
        out.0.lock().unwrap().0 = true;
        queue.put(b"lost\n");
        queue.put(b"lost too\n");
        queue.flush(Duration::from_secs(60));
        out.0.lock().unwrap().0 = false;
        queue.put(b"kept\n");
        queue.put(b"kept as well\n");
        queue.flush(Duration::from_secs(60));
        let text = String::from_utf8(out.0.lock().unwrap().1.clone()).unwrap();
        let note = "2 lines of the log were dropped: standard error could not be written\n";
        assert_eq!(text, format!("kept\n{note}kept as well\n"));
    }

    #[test]
    fn nobody_waits_for_a_reader_who_does_not_read() {
        let out = Out::default();
        let queue = Queue::start(out.clone());
        let blocked = out.0.lock().unwrap();
        (0..3 * MAX_LINES).for_each(|_| queue.put(b"a line\n"));
        queue.put(&vec![b'x'; 10 * MAX_LINE_BYTES]);
        let dropped = queue.state.dropped.load(Relaxed) as usize;
        assert!(dropped >= 2 * MAX_LINES - 1, "{dropped}");
        queue.flush(Duration::ZERO);
        drop(blocked);
        queue.flush(Duration::from_secs(60));
        queue.put(b"the last\n");
        queue.flush(Duration::from_secs(60));
        let text = String::from_utf8(out.0.lock().unwrap().1.clone()).unwrap();
        assert!(text.contains("lines of the log were dropped") && text.contains("the last"), "{}", text.len());
    }

    #[test]
    fn what_happens_all_the_time_is_said_once() {
        let seldom = Seldom::default();
        let mut said = 0;
        (0..5).for_each(|_| seldom.say(|_| said += 1));
        assert_eq!(said, 1);
    }
}
