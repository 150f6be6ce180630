//! Counts what may happen thousands of times a second, and says when it is time to tell of it again. Knows neither what is
//! counted nor where it is told.

use std::time::{Duration, Instant};

/// Something is told so often.
const TELL_EVERY: Duration = Duration::from_secs(60);

/// How often something happened.
#[derive(Default)]
pub(crate) struct Occurrences {
    count: u64,
    untold: u64,
    told_at: Option<Instant>,
}

impl Occurrences {
    /// It happened so often more; answers how often since it was told last, if it is to be told now.
    pub(crate) fn add(&mut self, times: u64, now: Instant) -> Option<u64> {
        self.count += times;
        self.untold += times;
        let was_told = self
            .told_at
            .is_some_and(|at| now.saturating_duration_since(at) < TELL_EVERY);
        (!was_told).then(|| {
            self.told_at = Some(now);
            std::mem::take(&mut self.untold)
        })
    }

    /// How often in all.
    pub(crate) fn count(&self) -> u64 {
        self.count
    }
}
