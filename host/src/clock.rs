//! The one place that reads the time of day. With `--manual-clock` time stands still until a test moves it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use donjon_core::Timestamp;

/// Where `now` comes from.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The system's time.
    System,
    /// Milliseconds since the epoch, moved by `POST /-/test/clock`.
    Manual(Arc<AtomicU64>),
}

impl Clock {
    /// A clock that starts at the system's time and then stands still.
    pub fn manual() -> Clock {
        Clock::Manual(Arc::new(AtomicU64::new(system_now().0)))
    }

    /// The present time.
    pub fn now(&self) -> Timestamp {
        match self {
            Clock::System => system_now(),
            Clock::Manual(ms) => Timestamp(ms.load(Ordering::SeqCst)),
        }
    }

    /// Moves a manual clock and answers its new time; `None` for the system's clock.
    pub fn advance(&self, by_ms: u64) -> Option<Timestamp> {
        match self {
            Clock::System => None,
            Clock::Manual(ms) => Some(Timestamp(ms.fetch_add(by_ms, Ordering::SeqCst) + by_ms)),
        }
    }
}

fn system_now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
