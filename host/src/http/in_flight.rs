//! What requests hold in memory between their first byte and the journal, bounded in sum: counted from the
//! content-length on, before anything is read. Knows neither HTTP nor JSON.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Requests with bodies up to here may use all of the budget, others three quarters of it: who sends large bodies slowly
/// does not shut ordinary senders out. What is made of a body is manifold and does not decide.
pub const SMALL_BODY_BYTES: u64 = 256 << 10;

/// Why a request gets no more memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    /// Others have it; later there will be some.
    #[error("requests in flight take all of ingest.max_inflight_bytes; try again later")]
    Busy,
    /// There will never be enough.
    #[error("body takes more memory than ingest.max_inflight_bytes allows one request; send less at a time: {0}")]
    TooLarge(u64),
}

/// The bytes that all requests may hold together.
#[derive(Debug)]
pub struct ByteBudget {
    limit: u64,
    used: AtomicU64,
}

impl ByteBudget {
    /// A budget of `limit` bytes.
    pub fn new(limit: u64) -> Arc<ByteBudget> {
        Arc::new(ByteBudget {
            limit,
            used: AtomicU64::new(0),
        })
    }

    /// What is held at present.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::SeqCst)
    }
}

/// What one request holds; given back when it is dropped, at the latest.
#[derive(Debug)]
pub struct InFlight {
    budget: Arc<ByteBudget>,
    taken: AtomicU64,
    /// What of it is its body, as it came and as it was decompressed.
    body: AtomicU64,
}

impl InFlight {
    /// A request that holds nothing yet.
    pub fn new(budget: &Arc<ByteBudget>) -> InFlight {
        InFlight {
            budget: Arc::clone(budget),
            taken: AtomicU64::new(0),
            body: AtomicU64::new(0),
        }
    }

    /// Takes `bytes` more for the body, or what it is decompressed to.
    ///
    /// # Errors
    /// Like [`InFlight::take`].
    pub fn take_body(&self, bytes: u64) -> Result<(), NoRoom> {
        self.body.fetch_add(bytes, Ordering::SeqCst);
        self.take(bytes)
    }

    /// Takes `bytes` more for what is made of the body.
    ///
    /// # Errors
    /// When they are not there; what was taken before stays taken.
    pub fn take(&self, bytes: u64) -> Result<(), NoRoom> {
        let wanted = self.taken.load(Ordering::SeqCst).saturating_add(bytes);
        let limit = if self.body.load(Ordering::SeqCst) > SMALL_BODY_BYTES {
            self.budget.limit / 4 * 3
        } else {
            self.budget.limit
        };
        if wanted > limit {
            return Err(NoRoom::TooLarge(limit));
        }
        let more = |used: u64| used.checked_add(bytes).filter(|used| *used <= limit);
        self.budget
            .used
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, more)
            .map_err(|_| NoRoom::Busy)?;
        self.taken.fetch_add(bytes, Ordering::SeqCst);
        Ok(())
    }

    /// Gives everything back: from here on the journal and the limits on lag count it.
    pub fn release(&self) {
        let taken = self.taken.swap(0, Ordering::SeqCst);
        self.budget.used.fetch_sub(taken, Ordering::SeqCst);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_all_requests_stays_in_the_budget_and_small_ones_keep_a_part() {
        let budget = ByteBudget::new(4 << 20);
        let (large, other) = (InFlight::new(&budget), InFlight::new(&budget));
        assert_eq!(large.take_body(4 << 20), Err(NoRoom::TooLarge(3 << 20)), "never fits");
        large.take_body(2 << 20).unwrap();
        assert_eq!(other.take_body(2 << 20), Err(NoRoom::Busy));
        other.take_body(1 << 20).unwrap();
        assert_eq!(other.take(1), Err(NoRoom::Busy), "three quarters are full");
        let small: Vec<InFlight> = (0..5).map(|_| InFlight::new(&budget)).collect();
        let taken = small
            .iter()
            .filter(|one| one.take_body(SMALL_BODY_BYTES).is_ok())
            .count();
        assert_eq!((taken, budget.used()), (4, 4 << 20), "the rest is left to small ones");
        large.release();
        drop((other, small));
        assert_eq!(budget.used(), 0);
        drop(large);
        assert_eq!(budget.used(), 0, "given back once");
    }

    #[test]
    fn a_small_body_stays_small_whatever_is_made_of_it() {
        let budget = ByteBudget::new(4 << 20);
        let (large, small) = (InFlight::new(&budget), InFlight::new(&budget));
        large.take_body(3 << 20).unwrap();
        small.take_body(45 << 10).unwrap();
        small.take(900 << 10).unwrap();
        assert_eq!(
            small.take(200 << 10),
            Err(NoRoom::Busy),
            "the budget is a bound for all"
        );
        assert_eq!(large.take(1), Err(NoRoom::TooLarge(3 << 20)));
    }

    #[test]
    fn a_small_body_that_is_decompressed_to_a_large_one_is_large() {
        let budget = ByteBudget::new(4 << 20);
        let bomb = InFlight::new(&budget);
        bomb.take_body(10 << 10).unwrap();
        assert_eq!(bomb.take_body(3 << 20), Err(NoRoom::TooLarge(3 << 20)));
    }
}
