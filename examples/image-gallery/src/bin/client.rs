//! Users of the gallery: a bounded number of requests from a few of them at once, and what they had to wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use image_gallery::peer::Peer;

#[derive(Parser)]
#[command(about = "Users of the Image Gallery")]
struct Client {
    /// The gallery's URL
    #[arg(long)]
    gallery: String,
    /// How many requests are made in all
    #[arg(long, default_value_t = 100)]
    requests: usize,
    /// How many users there are at once
    #[arg(long, default_value_t = 4)]
    users: usize,
}

#[tokio::main]
async fn main() -> Result<()> {
    let args = Client::parse();
    let gallery = Peer::new(&args.gallery, 0);
    let made = Arc::new(AtomicUsize::new(0));
    let users: Vec<_> = (0..args.users)
        .map(|user| {
            let (gallery, made) = (gallery.clone(), made.clone());
            tokio::spawn(async move {
                let mut random = fastrand::Rng::with_seed(user as u64);
                let (mut waited, mut failed) = (Vec::new(), 0);
                while made.fetch_add(1, Ordering::Relaxed) < args.requests {
                    let path = match random.u32(0..10) {
                        0..5 => format!("/images?tag={}", ["sea", "city", "forest", "people"][random.usize(0..4)]),
                        _ => format!("/images/{}", random.u32(1..=300)),
                    };
                    let begin = Instant::now();
                    failed += usize::from(gallery.get(&path).await.is_err());
                    waited.push(begin.elapsed());
                }
                (waited, failed)
            })
        })
        .collect();
    let (mut waited, mut failed) = (Vec::new(), 0);
    for user in users {
        let (more, failures) = user.await.context("a user panicked")?;
        waited.extend(more);
        failed += failures;
    }
    waited.sort_unstable();
    let at = |share: f64| -> Duration {
        waited
            .get(((waited.len() as f64 * share) as usize).min(waited.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    };
    let answer = serde_json::json!({
        "requests": waited.len(), "failed": failed,
        "p50_nanos": at(0.5).as_nanos() as u64, "p95_nanos": at(0.95).as_nanos() as u64,
        "max_nanos": at(1.0).as_nanos() as u64,
    });
    println!("{answer}");
    Ok(())
}
