//! The load: bodies made beforehand, sent over a fixed number of connections, each acknowledgement timed.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::ensure;
use donjon_tests::Client;

/// How the alerts of a body are put together.
#[derive(Clone, Copy)]
pub enum Shape {
    /// Lines of JSON.
    Lines,
    /// A JSON list.
    List,
}

/// Bodies to send.
pub struct Load {
    bodies: Vec<String>,
    /// Alerts in all.
    pub alerts: usize,
    /// Alerts of one request.
    pub batch: usize,
}

/// What came back.
pub struct Sent {
    /// When the first request was sent.
    pub begun: Instant,
    /// One an acknowledged request.
    pub latencies: Vec<Duration>,
}

impl Load {
    /// Several alerts a request.
    pub fn batched(alerts: &[String], batch: usize, shape: Shape) -> Load {
        let body = |chunk: &[String]| match shape {
            Shape::Lines => chunk.join("\n"),
            Shape::List => format!("[{}]", chunk.join(",")),
        };
        Load {
            bodies: alerts.chunks(batch).map(body).collect(),
            alerts: alerts.len(),
            batch,
        }
    }

    /// Sends everything; every request must be answered 2xx.
    pub fn send(&self, url: &str, path: &str, kind: &str, connections: usize) -> anyhow::Result<Sent> {
        let next = AtomicUsize::new(0);
        let latencies = Mutex::new(Vec::with_capacity(self.bodies.len()));
        let begun = Instant::now();
        let outcomes: Vec<anyhow::Result<()>> = std::thread::scope(|scope| {
            let one = || -> anyhow::Result<()> {
                let mut client = Client::new(url);
                let mut mine = Vec::new();
                while let Some(body) = self.bodies.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let sent = Instant::now();
                    let answer = client.post_bytes(path, kind, body.as_bytes())?;
                    ensure!(
                        answer.status / 100 == 2,
                        "answered {}: {}",
                        answer.status,
                        answer.text()
                    );
                    mine.push(sent.elapsed());
                }
                if let Ok(mut all) = latencies.lock() {
                    all.extend(mine);
                }
                Ok(())
            };
            let running: Vec<_> = (0..connections).map(|_| scope.spawn(one)).collect();
            running.into_iter().filter_map(|thread| thread.join().ok()).collect()
        });
        outcomes.into_iter().collect::<anyhow::Result<()>>()?;
        let mut latencies = latencies.into_inner().unwrap_or_default();
        latencies.sort_unstable();
        Ok(Sent { begun, latencies })
    }
}
