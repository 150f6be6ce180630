//! When a checkpoint of derived state is made, and by whom: a thread of its own, while the worker goes on. Knows nothing
//! of what is in it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use donjon_core::Seq;
use donjon_store::{CheckpointError, Checkpoints, State};

use crate::disk_space::{DiskSpace, Room};
use crate::intake::Progress;
use crate::telemetry::Metrics;

/// How long to wait after a checkpoint that was not made.
const RETRY: Duration = Duration::from_secs(60);

/// Decides, starts and watches.
pub struct CheckpointKeeper {
    folder: Arc<Mutex<Checkpoints>>,
    disk_space: DiskSpace,
    metrics: Arc<Metrics>,
    every_entries: u64,
    newest: Seq,
    running: Option<Running>,
    not_before: Option<Instant>,
}

struct Running {
    thread: JoinHandle<Result<Seq, CheckpointError>>,
    stop: Arc<AtomicBool>,
    began: Instant,
}

impl CheckpointKeeper {
    /// One after at least `every_entries` entries of the journal, and whenever retention waits for one.
    pub fn new(
        folder: Checkpoints,
        every_entries: u64,
        disk_space: &DiskSpace,
        metrics: &Arc<Metrics>,
        progress: &Progress,
    ) -> CheckpointKeeper {
        let keeper = CheckpointKeeper {
            newest: folder.newest().unwrap_or_default(),
            folder: Arc::new(Mutex::new(folder)),
            disk_space: disk_space.clone(),
            metrics: Arc::clone(metrics),
            every_entries,
            running: None,
            not_before: None,
        };
        keeper.tell(progress);
        keeper
    }

    /// Tells up to where the journal is not needed to make derived state again.
    fn tell(&self, progress: &Progress) {
        let confirmed = self.folder.lock().unwrap_or_else(PoisonError::into_inner).confirmed();
        progress.set_checkpointed(confirmed.unwrap_or_default());
        let newest = i64::try_from(self.newest.0).unwrap_or(i64::MAX);
        self.metrics.checkpoint_seq.set(newest);
    }

    /// Called between batches: tells the end of a checkpoint, begins the next one when it is due.
    pub(super) fn look_after(&mut self, state: &Arc<State>, progress: &Progress) {
        if self
            .running
            .as_ref()
            .is_some_and(|running| running.thread.is_finished())
        {
            self.end(progress);
        }
        let new = progress.applied().0.saturating_sub(self.newest.0);
        let due = new >= self.every_entries || (progress.checkpoint_wanted() && new > 0);
        let may = self.running.is_none() && self.not_before.is_none_or(|from| Instant::now() >= from);
        if due && may {
            self.begin(state);
        }
    }

    fn begin(&mut self, state: &Arc<State>) {
        // Records compress well: half of what sled takes is more than any checkpoint was seen to need.
        let planned = state.reader().size_on_disk().unwrap_or(0) / 2;
        if let Room::Reserve(shortage) | Room::None(shortage) = self.disk_space.room(planned) {
            tracing::warn!(%shortage, "no room for a checkpoint of derived state; trying again later");
            self.not_before = Some(Instant::now() + RETRY);
            return;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let (folder, state, stopped) = (Arc::clone(&self.folder), Arc::clone(state), Arc::clone(&stop));
        let work = move || {
            let mut folder = folder.lock().unwrap_or_else(PoisonError::into_inner);
            folder.take(&state, || stopped.load(Ordering::Relaxed))
        };
        match std::thread::Builder::new().name("checkpoint".into()).spawn(work) {
            Ok(thread) => {
                self.running = Some(Running {
                    thread,
                    stop,
                    began: Instant::now(),
                });
            }
            Err(error) => self.failed(&error.to_string()),
        }
    }

    fn end(&mut self, progress: &Progress) {
        let Some(Running { thread, began, .. }) = self.running.take() else {
            return;
        };
        match thread.join() {
            Ok(Ok(seq)) => {
                self.newest = seq;
                self.tell(progress);
                let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                tracing::info!(%seq, took_ms, "made a checkpoint of derived state");
            }
            Ok(Err(CheckpointError::Stopped)) => {}
            Ok(Err(error)) => self.failed(&error.to_string()),
            Err(_) => self.failed("panic; its place is on standard error"),
        }
    }

    fn failed(&mut self, why: &str) {
        tracing::error!("checkpoint of derived state was not made; trying again later: {why}");
        self.not_before = Some(Instant::now() + RETRY);
    }
}

impl Drop for CheckpointKeeper {
    /// A stop does not wait for a checkpoint.
    fn drop(&mut self) {
        if let Some(Running { thread, stop, .. }) = self.running.take() {
            stop.store(true, Ordering::Relaxed);
            // Its failure changes nothing: the old checkpoints are as they were.
            let _ = thread.join();
        }
    }
}
