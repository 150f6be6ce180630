//! The memory of all plugins together: every copy takes what it grows by out of one budget and gives it back when it ends,
//! so that many plugins within their own limits cannot add up to more than the machine has. Before it refuses, copies that
//! nobody uses at the moment are let go, those used longest ago first. Knows no wasmtime.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use crate::occurrences::Occurrences;

/// Copies that are not in use at the moment and can be made again.
pub(crate) trait Idle: Send + Sync {
    /// Those that have memory.
    fn idle(&self) -> Vec<IdleCopy>;
    /// Lets one of them go and answers its bytes; 0 if it is in use by now, or gone.
    fn let_go(&self, copy: IdleCopy) -> usize;
}

/// Copies are let go in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct IdleCopy {
    pub(crate) kind: IdleKind,
    pub(crate) used: Used,
}

/// What letting a copy go costs: the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum IdleKind {
    /// Has older rules: the next change of rules compiles all of them.
    Former,
    /// Serves: the next call waits for it to be made again.
    Serving,
    /// Was just given the rules that are about to be in force: they are compiled once more.
    Ready,
}

/// When a copy was used last, in uses of all copies. No two are the same, so it tells copies apart too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Used(u64);

/// One budget for all copies of all plugins.
pub(crate) struct TotalMemory {
    limit: usize,
    taken: AtomicUsize,
    refused: AtomicU64,
    uses: AtomicU64,
    let_go: Mutex<Occurrences>,
    idle: Mutex<Vec<Weak<dyn Idle>>>,
}

impl TotalMemory {
    pub(crate) fn of(limit: usize) -> Arc<TotalMemory> {
        Arc::new(TotalMemory {
            limit,
            taken: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
            uses: AtomicU64::new(0),
            let_go: Mutex::default(),
            idle: Mutex::default(),
        })
    }

    /// From now on these copies may be let go.
    pub(crate) fn may_let_go(&self, idle: Weak<dyn Idle>) {
        let mut all = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|idle| idle.strong_count() > 0);
        all.push(idle);
    }

    /// A copy is used now.
    pub(crate) fn use_now(&self) -> Used {
        Used(self.uses.fetch_add(1, Ordering::Relaxed))
    }

    /// Lets the first copy go that is idle; false if there is none.
    fn let_one_go(&self) -> bool {
        let all = self.idle.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let all: Vec<Arc<dyn Idle>> = all.iter().filter_map(Weak::upgrade).collect();
        let copies = all
            .iter()
            .flat_map(|idle| idle.idle().into_iter().map(move |copy| (copy, idle)));
        let mut copies: Vec<_> = copies.collect();
        copies.sort_by_key(|(copy, _)| *copy);
        // One that was idle when it was looked at may be in use by now: then it is the turn of the next.
        let bytes = copies
            .iter()
            .map(|(copy, idle)| idle.let_go(*copy))
            .find(|bytes| *bytes > 0);
        let Some(bytes) = bytes else { return false };
        if let Some(let_go) = self.lock_let_go().add(1, Instant::now()) {
            let limit = self.limit;
            tracing::warn!(
                let_go,
                bytes,
                limit,
                "idle copies of plugins were let go for the memory of others and are made again when they are needed; raise \
                 plugin_host.total_memory_bytes if this goes on"
            );
        }
        true
    }

    fn lock_let_go(&self) -> MutexGuard<'_, Occurrences> {
        self.let_go.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The part of one copy, nothing yet.
    pub(crate) fn share(total: &Arc<TotalMemory>) -> MemoryShare {
        MemoryShare {
            total: Arc::clone(total),
            taken: 0,
        }
    }

    /// Whether so many bytes are left without letting anybody go.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.taken().checked_add(bytes).is_some_and(|taken| taken <= self.limit)
    }

    /// Bytes that copies have now.
    pub(crate) fn taken(&self) -> usize {
        self.taken.load(Ordering::Relaxed)
    }

    /// How often a copy was refused to grow.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// How many idle copies were let go for the memory of others.
    pub(crate) fn let_go(&self) -> u64 {
        self.lock_let_go().count()
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

    /// Copies, each of a kind, and whether one is taken into use as soon as somebody wants to let it go.
    struct Copies(Mutex<Vec<(IdleCopy, MemoryShare, bool)>>);

    impl Copies {
        fn sizes(&self) -> Vec<usize> {
            self.0.lock().unwrap().iter().map(|(_, share, _)| share.taken).collect()
        }
    }

    impl Idle for Copies {
        fn idle(&self) -> Vec<IdleCopy> {
            self.0.lock().unwrap().iter().map(|(copy, ..)| *copy).collect()
        }

        fn let_go(&self, copy: IdleCopy) -> usize {
            let mut copies = self.0.lock().unwrap();
            let at = copies.iter().position(|(idle, _, is_used)| *idle == copy && !is_used);
            at.map_or(0, |at| copies.remove(at).1.taken)
        }
    }

    fn idle(total: &Arc<TotalMemory>, copies: &[(IdleKind, usize, bool)]) -> Arc<Copies> {
        let copy = |(kind, size, is_used): &(IdleKind, usize, bool)| {
            let mut share = TotalMemory::share(total);
            assert!(share.take(*size));
            let used = total.use_now();
            (IdleCopy { kind: *kind, used }, share, *is_used)
        };
        let copies = Arc::new(Copies(Mutex::new(copies.iter().map(copy).collect())));
        let weak: Weak<Copies> = Arc::downgrade(&copies);
        total.may_let_go(weak);
        copies
    }

    #[test]
    fn copies_used_longest_ago_are_let_go_before_a_copy_is_refused_and_those_that_wait_to_take_over_last() {
        use IdleKind::{Former, Ready, Serving};
        let total = TotalMemory::of(100);
        let first = idle(&total, &[(Ready, 10, false), (Serving, 10, false), (Former, 10, false)]);
        let second = idle(&total, &[(Serving, 30, false), (Former, 20, false)]);
        let mut busy = TotalMemory::share(&total);
        assert!(busy.take(20) && busy.take(30));
        assert_eq!(
            (first.sizes(), second.sizes()),
            (vec![10, 10], vec![30]),
            "older rules went"
        );
        assert!(busy.take(10));
        assert_eq!(
            (first.sizes(), second.sizes()),
            (vec![10], vec![30]),
            "then what was used longest ago"
        );
        assert!(!busy.take(50), "more than there is even without all others");
        assert_eq!(
            (first.sizes(), second.sizes()),
            (vec![10], vec![30]),
            "nobody goes for what cannot be"
        );
        assert!(busy.take(40));
        assert_eq!((total.taken(), total.refused(), total.let_go()), (100, 1, 5));
    }

    #[test]
    fn a_copy_that_is_taken_into_use_in_between_does_not_keep_the_next_from_going() {
        let total = TotalMemory::of(100);
        let kind = IdleKind::Serving;
        let copies = idle(
            &total,
            &[(kind, 40, true), (kind, 20, true), (kind, 10, false), (kind, 30, true)],
        );
        let mut busy = TotalMemory::share(&total);
        assert!(busy.take(10));
        assert_eq!((copies.sizes(), total.refused()), (vec![40, 20, 30], 0));
        assert!(!busy.take(10), "all others are in use");
        assert_eq!(
            (copies.sizes(), total.refused(), total.let_go()),
            (vec![40, 20, 30], 1, 1)
        );
    }
}
