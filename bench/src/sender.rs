//! Sends every request over four connections.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::requests::Requests;

const CONNECTIONS: usize = 4;
/// How often a request is tried again that the store asks to be sent later.
const MOST_TRIES: u32 = 2_000;

/// What sending took.
pub(crate) struct Sent {
    pub(crate) wall: Duration,
    /// Requests that the store put off, and that were sent again.
    pub(crate) put_off: u64,
}

pub(crate) fn send(requests: &Requests, url: &str) -> Result<Sent> {
    let bodies = Mutex::new(requests.bodies()?);
    let begin = Instant::now();
    let put_off = std::thread::scope(|scope| {
        let senders: Vec<_> =
            (0..CONNECTIONS).map(|_| scope.spawn(|| connection(&bodies, requests.content_type, url))).collect();
        let mut put_off = 0;
        for sender in senders {
            match sender.join() {
                Ok(counted) => put_off += counted?,
                Err(_) => bail!("a sender panicked"),
            }
        }
        Ok(put_off)
    })?;
    Ok(Sent { wall: begin.elapsed(), put_off })
}

fn connection(bodies: &Mutex<impl Iterator<Item = Result<Vec<u8>>>>, content_type: &str, url: &str) -> Result<u64> {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut put_off = 0;
    loop {
        let Some(body) = bodies.lock().expect("no sender panics with the lock").next() else { return Ok(put_off) };
        let body = body?;
        for tries in 1.. {
            let mut response = agent.post(url).header("content-type", content_type).send(&body)?;
            let status = response.status().as_u16();
            let answer = response.body_mut().read_to_vec()?;
            match status {
                200..=299 => break,
                429 | 502..=504 if tries < MOST_TRIES => {
                    put_off += 1;
                    std::thread::sleep(Duration::from_millis(20));
                }
                _ => bail!("a request was answered {status}: {}", String::from_utf8_lossy(&answer)),
            }
        }
    }
}
