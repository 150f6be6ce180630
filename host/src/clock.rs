//! The time of everything that becomes an entry of the journal, and of what is derived from that: the clock of the
//! machine as far as it can be believed (`believed.rs`). (When a plugin was loaded or failed last is shown to people in
//! the machine's own time.) With `--manual-clock` time stands still until a test moves it.

mod believed;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use donjon_core::Timestamp;

use believed::BelievedTime;
pub use believed::ClockNews;

/// Where `now` comes from; cheap to clone, all clones are one clock.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    source: Source,
    believed: BelievedTime,
}

#[derive(Debug)]
enum Source {
    /// The system's clocks.
    System { began: Instant },
    /// Both clocks of a test, moved by `POST /-/test/clock`.
    Manual { wall_ms: u64, monotonic_ms: u64 },
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Clock {
        Clock::new(Source::System { began: Instant::now() })
    }

    /// A clock that starts at the system's time and then stands still.
    pub fn manual() -> Clock {
        Clock::new(Source::Manual {
            wall_ms: system_ms(),
            monotonic_ms: 0,
        })
    }

    /// A clock of the simulation: it starts at this time and then stands still.
    #[cfg(test)]
    pub fn manual_at(wall_ms: u64) -> Clock {
        Clock::new(Source::Manual {
            wall_ms,
            monotonic_ms: 0,
        })
    }

    fn new(source: Source) -> Clock {
        let (wall_ms, monotonic_ms) = source.read();
        let believed = BelievedTime::new(wall_ms, monotonic_ms);
        Clock(Arc::new(Mutex::new(Inner { source, believed })))
    }

    /// Goes on after the newest entry of the journal, unless a clock that was wrong gave it its time.
    pub fn go_on_after(&self, newest: Timestamp) {
        self.lock().believed.go_on_after(newest.0);
    }

    /// The present time. It goes back only where a clock that was wrong for long, or at the last start, was put right.
    pub fn now(&self) -> Timestamp {
        let mut inner = self.lock();
        let (wall_ms, monotonic_ms) = inner.source.read();
        Timestamp(inner.believed.look(wall_ms, monotonic_ms))
    }

    /// By how much the machine's clock is ahead of `now` (behind, if negative).
    pub fn ahead_ms(&self) -> i64 {
        self.lock().believed.clock_ahead_ms()
    }

    /// What happened to the machine's clock since the last call.
    pub fn take_news(&self) -> Vec<ClockNews> {
        self.lock().believed.take_news()
    }

    /// Lets time pass for a manual clock; nothing for the system's.
    pub fn advance(&self, by_ms: u64) {
        if let Source::Manual { wall_ms, monotonic_ms } = &mut self.lock().source {
            *wall_ms = wall_ms.saturating_add(by_ms);
            *monotonic_ms = monotonic_ms.saturating_add(by_ms);
        }
    }

    /// Sets a manual clock ahead, or back, while no time passes; nothing for the system's.
    pub fn jump(&self, by_ms: i64) {
        if let Source::Manual { wall_ms, .. } = &mut self.lock().source {
            *wall_ms = wall_ms.saturating_add_signed(by_ms);
        }
    }

    /// A panic of another thread cannot leave a half-done look behind that matters.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source {
    /// The time of day and the monotonic time, in milliseconds.
    fn read(&self) -> (u64, u64) {
        match self {
            Source::System { began } => {
                let monotonic_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                (system_ms(), monotonic_ms)
            }
            Source::Manual { wall_ms, monotonic_ms } => (*wall_ms, *monotonic_ms),
        }
    }
}

fn system_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
