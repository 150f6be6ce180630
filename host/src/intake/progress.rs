//! How far the two sides of the journal are, and how long each has been at what it does: what probes and limits look at.
//! Knows no entry.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use donjon_core::Seq;

/// For people, with what to do.
pub(super) const DISK_IS_FULL: &str =
    "the disk is full, less than storage.min_free_bytes is free; free some space, then it goes on by itself";

/// Since when something is under way.
#[derive(Debug, Default)]
struct Watch(Mutex<Option<Instant>>);

impl Watch {
    fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    fn during<T>(&self, work: impl FnOnce() -> T) -> T {
        self.set(Some(Instant::now()));
        let done = work();
        self.set(None);
        done
    }

    fn lasts(&self) -> Duration {
        let since = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

/// How far the two sides of the journal are.
#[derive(Debug, Default)]
pub struct Progress {
    pub(super) accepted: AtomicU64,
    pub(super) applied: AtomicU64,
    pub(super) flushed: AtomicU64,
    pub(super) waiting_bytes: AtomicU64,
    pub(super) checkpointed: AtomicU64,
    checkpoint_wanted: AtomicBool,
    writing: Watch,
    journal_works: Watch,
    journal_broke: OnceLock<String>,
    disk_is_full: AtomicBool,
}

impl Progress {
    /// Starts at what was found on disk.
    pub fn new(accepted: Seq, applied: Seq) -> Progress {
        Progress {
            accepted: AtomicU64::new(accepted.0),
            applied: AtomicU64::new(applied.0),
            flushed: AtomicU64::new(applied.0),
            ..Progress::default()
        }
    }

    /// The newest accepted position.
    pub fn accepted(&self) -> Seq {
        Seq(self.accepted.load(Ordering::SeqCst))
    }

    /// Entries up to here are applied.
    pub fn applied(&self) -> Seq {
        Seq(self.applied.load(Ordering::SeqCst))
    }

    /// What is applied up to here survives a crash of the machine.
    pub fn flushed(&self) -> Seq {
        Seq(self.flushed.load(Ordering::SeqCst))
    }

    /// Memory that entries take which are accepted and not yet applied.
    pub fn waiting_bytes(&self) -> u64 {
        self.waiting_bytes.load(Ordering::SeqCst)
    }

    /// Told by the worker once entries are applied.
    pub fn release_bytes(&self, bytes: u64) {
        self.waiting_bytes.fetch_sub(bytes, Ordering::SeqCst);
    }

    /// Runs a write of derived state so that others can see how long it takes.
    pub fn while_writing<T>(&self, write: impl FnOnce() -> T) -> T {
        self.writing.during(write)
    }

    /// How long the write of derived state that is under way takes already.
    pub fn writing_for(&self) -> Duration {
        self.writing.lasts()
    }

    /// Runs a turn of the journal's thread so that others can see how long it takes.
    pub(super) fn while_journal_works<T>(&self, turn: impl FnOnce() -> T) -> T {
        self.journal_works.during(turn)
    }

    /// How long the turn of the journal's thread takes that is under way: appending, syncing, freeing.
    pub fn journal_works_for(&self) -> Duration {
        self.journal_works.lasts()
    }

    /// The journal takes nothing any more. The first reason counts.
    pub(super) fn journal_breaks(&self, why: String) {
        // It is broken already.
        let _ = self.journal_broke.set(why);
    }

    /// Why the journal takes nothing any more until a restart, if so.
    pub fn journal_broke(&self) -> Option<&str> {
        self.journal_broke.get().map(String::as_str)
    }

    /// The reserve on the disk is touched, or not any more. Answers whether that is news.
    pub(super) fn set_disk_is_full(&self, full: bool) -> bool {
        self.disk_is_full.swap(full, Ordering::SeqCst) != full
    }

    /// Why alerts are refused, for people.
    pub fn refuses_alerts(&self) -> Option<&'static str> {
        self.disk_is_full.load(Ordering::SeqCst).then_some(DISK_IS_FULL)
    }

    /// Derived state up to here can be had again without the journal, from either of two checkpoints.
    pub fn checkpointed(&self) -> Seq {
        Seq(self.checkpointed.load(Ordering::SeqCst))
    }

    /// Set after each checkpoint.
    pub fn set_checkpointed(&self, seq: Seq) {
        self.checkpointed.store(seq.0, Ordering::SeqCst);
    }

    /// Whether days of the journal could go, were there newer checkpoints.
    pub fn checkpoint_wanted(&self) -> bool {
        self.checkpoint_wanted.load(Ordering::SeqCst)
    }

    /// Set by the journal's thread whenever it looks for such days.
    pub fn set_checkpoint_wanted(&self, wanted: bool) {
        self.checkpoint_wanted.store(wanted, Ordering::SeqCst);
    }

    /// Set by the worker after each flush of derived state.
    pub fn set_flushed(&self, seq: Seq) {
        self.flushed.store(seq.0, Ordering::SeqCst);
    }

    /// Set by the worker after each commit.
    pub fn set_applied(&self, seq: Seq) {
        self.applied.store(seq.0, Ordering::SeqCst);
    }
}
