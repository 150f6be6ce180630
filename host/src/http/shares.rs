//! What one tenant may hold of something that all share: permits to read, answers in memory, event streams. Where there
//! is a single tenant it may hold all; where there are several, each leaves a quarter to the others. Knows no route.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use donjon_core::TenantId;
use tokio::sync::Semaphore;

/// How many tenants share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tenants {
    /// Nobody else can be kept waiting.
    One,
    /// Each leaves something to the others.
    Several,
}

impl Tenants {
    /// The share of one tenant in `all`; never nothing.
    #[must_use]
    pub fn share_of(self, all: usize) -> usize {
        match self {
            Tenants::One => all,
            Tenants::Several => all.saturating_sub(all.div_ceil(4)).max(1),
        }
    }
}

/// Permits of each tenant, to be had before those of all: who has used up its own waits for itself.
pub struct Shares {
    each: usize,
    // As many as there are tenants in the configuration.
    tenants: Mutex<HashMap<TenantId, Arc<Semaphore>>>,
}

impl Shares {
    /// Shares in `all` permits.
    #[must_use]
    pub fn new(tenants: Tenants, all: usize) -> Shares {
        Shares {
            each: tenants.share_of(all).min(Semaphore::MAX_PERMITS),
            tenants: Mutex::new(HashMap::new()),
        }
    }

    /// Permits of one tenant.
    #[must_use]
    pub fn each(&self) -> usize {
        self.each
    }

    /// The permits of a tenant.
    pub fn of(&self, tenant: &TenantId) -> Arc<Semaphore> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(Semaphore::new(self.each));
        Arc::clone(tenants.entry(tenant.clone()).or_insert_with(new))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_several_tenants_leaves_something_to_the_others() {
        let check = |all: usize, one: usize, several: usize| {
            assert_eq!(Tenants::One.share_of(all), one);
            assert_eq!(Tenants::Several.share_of(all), several);
        };
        check(1, 1, 1);
        check(2, 2, 1);
        check(4, 4, 3);
        check(64, 64, 48);
        check(1000, 1000, 750);
    }
}
