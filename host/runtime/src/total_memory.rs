//! The memory of all plugins together: every copy takes what it grows by out of one budget and gives it back when it ends,
//! so that many plugins within their own limits cannot add up to more than the machine has. Knows no wasmtime.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// One budget for all copies of all plugins.
pub(crate) struct TotalMemory {
    limit: usize,
    taken: AtomicUsize,
    refused: AtomicU64,
}

impl TotalMemory {
    pub(crate) fn of(limit: usize) -> Arc<TotalMemory> {
        Arc::new(TotalMemory {
            limit,
            taken: AtomicUsize::new(0),
            refused: AtomicU64::new(0),
        })
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
        let fits = self
            .total
            .taken
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown)
            .is_ok();
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
