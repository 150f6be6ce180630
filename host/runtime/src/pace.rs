//! How many alerts the next call of a plugin gets, from what an alert has cost so far: calls stay far below their time
//! limit however many rules there are, and what is new begins with few. Reads no clock.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::roles::Role;

/// Most alerts of one call.
pub(crate) const MOST_ALERTS: usize = 512;
/// Alerts of the first call, and after a time-out of fewer.
const FIRST_ALERTS: usize = 32;
/// How long a call is meant to take.
const AIM: Duration = Duration::from_millis(75);
/// How much of the average a new measurement is: one part in so many.
const SHARE: u64 = 4;

/// One a role that is called with alerts: what an alert costs one of them says nothing about the other.
#[derive(Default)]
pub(crate) struct Paces {
    correlating: Pace,
    enriching: Pace,
}

impl Paces {
    /// The roles that nobody calls with alerts need none.
    pub(crate) fn of(&self, role: Role) -> &Pace {
        match role {
            Role::Enricher => &self.enriching,
            Role::Correlator | Role::Archiver | Role::Exporter => &self.correlating,
        }
    }
}

#[derive(Default)]
pub(crate) struct Pace(Mutex<Measured>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Measured {
    /// Moving average; 0 before the first call.
    ns_per_alert: u64,
    /// Doubled by each call that succeeds, a quarter of what timed out.
    most: usize,
}

impl Default for Measured {
    fn default() -> Measured {
        Measured {
            ns_per_alert: 0,
            most: FIRST_ALERTS,
        }
    }
}

impl Pace {
    /// Alerts for the next call.
    pub(crate) fn alerts(&self) -> usize {
        let measured = *self.lock();
        let aim = u64::try_from(AIM.as_nanos()).unwrap_or(u64::MAX);
        let by_cost = aim
            .checked_div(measured.ns_per_alert)
            .map_or(MOST_ALERTS, |alerts| usize::try_from(alerts).unwrap_or(MOST_ALERTS));
        by_cost.min(measured.most).clamp(1, MOST_ALERTS)
    }

    /// A call succeeded.
    pub(crate) fn took(&self, alerts: usize, time: Duration) {
        let alerts = alerts.max(1);
        let each = u64::try_from(time.as_nanos() / alerts as u128)
            .unwrap_or(u64::MAX)
            .max(1);
        let mut measured = self.lock();
        measured.ns_per_alert = match measured.ns_per_alert {
            0 => each,
            known => known - known / SHARE + each / SHARE,
        };
        if alerts >= measured.most {
            measured.most = measured.most.saturating_mul(2).min(MOST_ALERTS);
        }
    }

    /// A call with so many alerts took all the time there is.
    pub(crate) fn timed_out(&self, alerts: usize) {
        let mut measured = self.lock();
        measured.most = measured.most.min(alerts / 4).max(1);
    }

    fn lock(&self) -> MutexGuard<'_, Measured> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Calls of a plugin that needs so long an alert, each as long as asked for.
    fn after(pace: &Pace, calls: usize, each: Duration) -> usize {
        for _ in 0..calls {
            let alerts = pace.alerts();
            pace.took(alerts, each * u32::try_from(alerts).unwrap());
        }
        pace.alerts()
    }

    #[test]
    fn calls_grow_until_they_take_as_long_as_they_are_meant_to() {
        let pace = Pace::default();
        assert_eq!(pace.alerts(), 32);
        assert_eq!(after(&pace, 10, Duration::from_micros(20)), 512);
        let slow = after(&pace, 20, Duration::from_millis(1));
        assert!((70..=80).contains(&slow), "{slow}");
        assert_eq!(after(&pace, 20, Duration::from_millis(500)), 1);
        assert_eq!(after(&pace, 60, Duration::from_micros(20)), 512, "and grow again");
    }

    #[test]
    fn after_a_time_out_calls_are_a_quarter() {
        let pace = Pace::default();
        after(&pace, 10, Duration::from_micros(1));
        pace.timed_out(512);
        assert_eq!(pace.alerts(), 128);
        pace.timed_out(2);
        assert_eq!(pace.alerts(), 1);
    }
}
