//! Reads the whole journal beside everything else, soon after the start and once a day: a damaged place is told while a
//! backup still has what it held, not when somebody asks for it. Knows nothing of what to do about it.

use std::time::{Duration, Instant};

use donjon_core::Seq;
use donjon_store::journal::JournalReader;
use tokio_util::sync::CancellationToken;

/// Between two passes.
const EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// After a segment it rests so many times as long as it read: at most a fifth of one core and of the disk.
const REST_FACTOR: u32 = 4;
/// How often it looks whether it is to stop.
const STOP_POLL: Duration = Duration::from_millis(200);

/// The check of the journal.
pub struct JournalCheck {
    reader: JournalReader,
}

impl JournalCheck {
    /// Of what a reader reads. What it finds is noted there, and told by the journal's thread.
    pub fn new(reader: JournalReader) -> JournalCheck {
        JournalCheck { reader }
    }

    /// Checks until a stop is asked for. Nobody waits for its end: it only reads.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn spawn(self, stopping: CancellationToken) -> std::io::Result<()> {
        let run = move || {
            while !stopping.is_cancelled() {
                self.pass(&stopping);
                rest(EVERY, &stopping);
            }
        };
        std::thread::Builder::new().name("journal-check".into()).spawn(run)?;
        Ok(())
    }

    /// All sealed segments, oldest first.
    fn pass(&self, stopping: &CancellationToken) {
        let mut at = Seq(0);
        while !stopping.is_cancelled() {
            let began = Instant::now();
            match self.reader.check_segment(at) {
                Ok(Some(next)) => at = next,
                Ok(None) => return,
                Err(error) => {
                    let from = at.0;
                    return tracing::error!(from, %error, "journal cannot be checked; trying again tomorrow");
                }
            }
            rest(began.elapsed() * REST_FACTOR, stopping);
        }
    }
}

fn rest(time: Duration, stopping: &CancellationToken) {
    let end = Instant::now() + time;
    while !stopping.is_cancelled() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        std::thread::sleep(left.min(STOP_POLL));
    }
}
