//! Somebody who looks at lists and acknowledges incidents while alerts come in: what a storm looks like from a chair.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::ensure;
use donjon_tests::Client;
use serde_json::json;

/// A person with a page that refreshes itself does not look more often.
const EVERY: Duration = Duration::from_millis(100);

/// A thread that acts until it is stopped.
pub struct Operator {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<Acts>>,
}

#[derive(Default)]
struct Acts {
    reads: Vec<Duration>,
    acknowledgements: Vec<Duration>,
}

impl Operator {
    /// Begins at once.
    pub fn start(url: &str) -> Operator {
        let stop = Arc::new(AtomicBool::new(false));
        let (url, stopped) = (url.to_owned(), Arc::clone(&stop));
        let thread = std::thread::spawn(move || act(&url, &stopped));
        Operator { stop, thread }
    }

    /// What was done, and how long it took.
    pub fn stop(self) -> anyhow::Result<String> {
        self.stop.store(true, Ordering::Relaxed);
        let acts = self
            .thread
            .join()
            .map_err(|_| anyhow::anyhow!("the operator panicked"))??;
        let p95 = |mut times: Vec<Duration>| {
            times.sort_unstable();
            let at = (times.len() * 95 / 100).min(times.len().saturating_sub(1));
            times.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e3)
        };
        Ok(format!(
            "{} reads, p95 {:.0} ms; {} acknowledgements, p95 {:.0} ms",
            acts.reads.len(),
            p95(acts.reads.clone()),
            acts.acknowledgements.len(),
            p95(acts.acknowledgements.clone())
        ))
    }
}

fn act(url: &str, stop: &AtomicBool) -> anyhow::Result<Acts> {
    let mut client = Client::new(url);
    let mut acts = Acts::default();
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        let incidents = client.get("/incidents?limit=25")?;
        ensure!(incidents.status == 200, "GET /incidents: {}", incidents.text());
        acts.reads.push(begun.elapsed());
        let begun = Instant::now();
        let alerts = client.get("/alerts?limit=25")?;
        ensure!(alerts.status == 200, "GET /alerts: {}", alerts.text());
        acts.reads.push(begun.elapsed());
        if let Some(id) = incidents.json()["items"][0]["id"].as_str() {
            let begun = Instant::now();
            let body = json!({"status": "acknowledged"});
            let answer = client.post(&format!("/incidents/{id}/status"), &body)?;
            ensure!(answer.status == 200, "acknowledge: {}", answer.text());
            acts.acknowledgements.push(begun.elapsed());
        }
        std::thread::sleep(EVERY);
    }
    Ok(acts)
}
