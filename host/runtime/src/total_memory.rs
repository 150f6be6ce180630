//! The memory of all plugins together: every copy takes what it grows by out of one budget and gives it back when it ends,
//! so that many plugins within their own limits cannot add up to more than the machine has. Before it refuses, copies that
//! nobody uses at the moment are let go, the largest first. Knows no wasmtime.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Copies that are not in use at the moment and can be made again.
pub(crate) trait Idle: Send + Sync {
    /// Bytes of the largest one; 0 if there is none.
    fn largest(&self) -> usize;
    /// Lets the largest one go, and answers its bytes.
    fn let_go(&self) -> usize;
}

/// One budget for all copies of all plugins.
pub(crate) struct TotalMemory {
    limit: usize,
    taken: AtomicUsize,
    refused: AtomicU64,
    idle: Mutex<Vec<Weak<dyn Idle>>>,
}

impl TotalMemory {
    pub(crate) fn of(limit: usize) -> Arc<TotalMemory> {
        Arc::new(TotalMemory {
            limit,
            taken: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            idle: Mutex::default(),
        })
    }

    /// From now on these copies may be let go.
    pub(crate) fn may_let_go(&self, idle: Weak<dyn Idle>) {
        let mut all = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|idle| idle.strong_count() > 0);
        all.push(idle);
    }

    /// Lets the largest idle copy of all plugins go; false if there is none.
    fn let_one_go(&self) -> bool {
        let all = self.idle.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let idle = all.iter().filter_map(Weak::upgrade);
        let largest = idle.max_by_key(|idle| idle.largest());
        largest.is_some_and(|idle| idle.let_go() > 0)
    }

    /// The part of one copy, nothing yet.
    pub(crate) fn share(total: &Arc<TotalMemory>) -> MemoryShare {
        MemoryShare {
            total: Arc::clone(total),
            taken: 0,
        }
    }

    /// Bytes that copies have now.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// How often a copy was refused to grow.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

/// What one copy has taken; given back when it is dropped.
pub(crate) struct MemoryShare {
    total: Arc<TotalMemory>,
    taken: usize,
}

impl MemoryShare {
    /// Takes so many bytes if there are so many left.
    pub(crate) fn take(&mut self, bytes: usize) -> bool {
        let limit = self.total.limit;
        let grown = |taken: usize| taken.checked_add(bytes).filter(|taken| *taken <= limit);
        let total = &self.total;
        let try_it = || total.taken.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown);
        let may_ever_fit = self.taken.checked_add(bytes).is_some_and(|taken| taken <= limit);
        let mut fits = try_it().is_ok();
        while !fits && may_ever_fit && total.let_one_go() {
            fits = try_it().is_ok();
        }
        if fits {
            self.taken += bytes;
        } else {
            self.total.refused.fetch_add(1, Ordering::Relaxed);
        }
        fits
    }

    /// Gives back what was taken just before and not used.
    pub(crate) fn give_back(&mut self, bytes: usize) {
        let bytes = bytes.min(self.taken);
        self.taken -= bytes;
        self.total.taken.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn limit(&self) -> usize {
        self.total.limit
    }
}

impl Drop for MemoryShare {
    fn drop(&mut self) {
        self.give_back(self.taken);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Copies of so many bytes that are idle.
    struct Copies(Mutex<Vec<MemoryShare>>);

    impl Idle for Copies {
        fn largest(&self) -> usize {
            self.0.lock().unwrap().iter().map(|copy| copy.taken).max().unwrap_or(0)
        }

        fn let_go(&self) -> usize {
            let largest = self.largest();
            let mut copies = self.0.lock().unwrap();
            let at = copies.iter().position(|copy| copy.taken == largest);
            at.map_or(0, |at| copies.remove(at).taken)
        }
    }

    fn idle(total: &Arc<TotalMemory>, sizes: &[usize]) -> Arc<Copies> {
        let copy = |size: &usize| {
            let mut share = TotalMemory::share(total);
            assert!(share.take(*size));
            share
        };
        let copies = Arc::new(Copies(Mutex::new(sizes.iter().map(copy).collect())));
        let weak: Weak<Copies> = Arc::downgrade(&copies);
        total.may_let_go(weak);
        copies
    }

    #[test]
    fn the_largest_idle_copies_of_all_plugins_are_let_go_before_a_copy_is_refused() {
        let total = TotalMemory::of(100);
        let (first, second) = (idle(&total, &[10, 40]), idle(&total, &[30, 20]));
        let mut busy = TotalMemory::share(&total);
        assert!(busy.take(45));
        assert_eq!((first.largest(), second.largest()), (10, 20), "40 and 30 went");
        assert_eq!((total.taken(), total.refused()), (75, 0));
        assert!(busy.take(40));
        assert!(!busy.take(20), "more than there is even without all others");
        assert_eq!((first.largest(), second.largest(), total.refused()), (10, 0, 1));
        drop(first);
        assert!(busy.take(15));
        assert_eq!(total.taken(), 100);
    }
}
