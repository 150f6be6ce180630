//! How the calls of a plugin went, for status pages and metrics. Reads the wall clock, and only to say when something
//! failed.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use donjon_core::TenantId;
use donjon_core::limits::MAX_ERROR_TEXT_BYTES;
use donjon_core::text::one_line;

use crate::errors::CallError;
use crate::occurrences::Occurrences;

/// How the calls of a plugin went so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PluginCounters {
    /// Calls made.
    pub calls: u64,
    /// Calls that failed.
    pub failures: u64,
    /// Times it was given rules, on a copy that serves or beside it.
    pub configures: u64,
    /// Copies made again because calls made them grow far beyond what they had before.
    pub replaced: u64,
    /// Parts of answers that were not taken.
    pub dropped: u64,
    /// The same by reason.
    pub dropped_by_reason: BTreeMap<&'static str, u64>,
    /// Time spent in calls.
    pub busy: Duration,
    /// The newest failure.
    pub last_error: Option<CallFailure>,
}

/// A failed call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallFailure {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What happened, in one line.
    pub message: String,
    /// Whose batch or rules it was about; none if it concerns nobody's. The text may quote them.
    pub tenant: Option<TenantId>,
}

#[derive(Default)]
pub(crate) struct Counters {
    calls: AtomicU64,
    failures: AtomicU64,
    configures: AtomicU64,
    replaced: Mutex<Occurrences>,
    /// Parts of answers, by reason.
    dropped: Mutex<BTreeMap<&'static str, Occurrences>>,
    busy_ns: AtomicU64,
    last_error: Mutex<Option<CallFailure>>,
}

impl Counters {
    pub(crate) fn count(&self, took: Duration, error: Option<&CallError>, tenant: Option<&TenantId>) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.busy_ns
            .fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        let Some(error) = error else { return };
        self.failures.fetch_add(1, Ordering::Relaxed);
        let failure = CallFailure {
            at_ms: now_ms(),
            message: one_line(&error.to_string(), MAX_ERROR_TEXT_BYTES),
            tenant: tenant.cloned(),
        };
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(failure);
    }

    pub(crate) fn count_configure(&self, took: Duration, error: Option<&CallError>, tenant: &TenantId) {
        self.configures.fetch_add(1, Ordering::Relaxed);
        self.count(took, error, Some(tenant));
    }

    /// Answers how many were dropped for this reason since it was last told, if it is to be told again.
    pub(crate) fn add_dropped(&self, reason: &'static str, dropped: u64, now: Instant) -> Option<u64> {
        self.lock_dropped().entry(reason).or_default().add(dropped, now)
    }

    /// A copy was made again; answers how many since it was last told, if it is to be told again.
    pub(crate) fn add_replaced(&self, now: Instant) -> Option<u64> {
        self.lock_replaced().add(1, now)
    }

    fn lock_replaced(&self) -> MutexGuard<'_, Occurrences> {
        self.replaced.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_dropped(&self) -> MutexGuard<'_, BTreeMap<&'static str, Occurrences>> {
        self.dropped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn read(&self) -> PluginCounters {
        let dropped_by_reason: BTreeMap<&'static str, u64> = {
            let all = self.lock_dropped();
            all.iter().map(|(reason, dropped)| (*reason, dropped.count())).collect()
        };
        PluginCounters {
            calls: self.calls.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            configures: self.configures.load(Ordering::Relaxed),
            replaced: self.lock_replaced().count(),
            dropped: dropped_by_reason.values().sum(),
            dropped_by_reason,
            busy: Duration::from_nanos(self.busy_ns.load(Ordering::Relaxed)),
            last_error: self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropped_parts_of_answers_are_told_once_a_reason_and_a_minute_and_all_are_counted() {
        let counters = Counters::default();
        let start = Instant::now();
        let add = |reason, seconds| counters.add_dropped(reason, 2, start + Duration::from_secs(seconds));
        assert_eq!(
            (add("a", 0), add("a", 1), add("b", 1), add("a", 59)),
            (Some(2), None, Some(2), None)
        );
        assert_eq!((add("a", 60), add("a", 61)), (Some(6), None));
        let read = counters.read();
        assert_eq!((read.dropped, read.dropped_by_reason["a"]), (12, 10));
    }
}
