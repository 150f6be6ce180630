//! When a checkpoint of derived state is made, and by whom: a thread of its own, while the worker goes on. Knows nothing
//! of what is in it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use donjon_core::Seq;
use donjon_store::{CheckpointError, Checkpoints, State};

use crate::disk_space::{DiskSpace, Line};
use crate::intake::Progress;
use crate::telemetry::Metrics;

/// How long to wait after a checkpoint that was not made.
const RETRY: Duration = Duration::from_secs(60);
/// Records compress well: a checkpoint was never seen to need that part of what sled takes on disk.
const PLANNED_DIVISOR: u64 = 4;

/// Decides, starts and watches.
pub struct CheckpointKeeper {
    folder: Arc<Mutex<Checkpoints>>,
    disk_space: DiskSpace,
    metrics: Arc<Metrics>,
    every_entries: u64,
    newest: Seq,
    confirmed: Seq,
    running: Option<Running>,
    not_before: Option<Instant>,
}

struct Running {
    thread: JoinHandle<Result<Done, CheckpointError>>,
    stop: Arc<AtomicBool>,
    began: Instant,
}

/// What the thread did.
enum Done {
    /// Read those that were there; what is wrong with some.
    Verified(Vec<String>),
    /// Made a new one.
    Made(Seq),
}

impl CheckpointKeeper {
    /// One after at least `every_entries` entries of the journal, and whenever retention waits for one. Those found at
    /// the start are read in full before anything is freed on their word.
    pub fn new(
        folder: Checkpoints,
        every_entries: u64,
        disk_space: &DiskSpace,
        metrics: &Arc<Metrics>,
    ) -> CheckpointKeeper {
        let newest = folder.newest();
        let mut keeper = CheckpointKeeper {
            newest: newest.unwrap_or_default(),
            confirmed: Seq(0),
            folder: Arc::new(Mutex::new(folder)),
            disk_space: disk_space.clone(),
            metrics: Arc::clone(metrics),
            every_entries,
            running: None,
            not_before: None,
        };
        if newest.is_some() {
            keeper.spawn(|folder, stop| {
                let go_on = || if stop() { Err(CheckpointError::Stopped) } else { Ok(()) };
                folder.verify(go_on).map(Done::Verified)
            });
        }
        keeper
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
        let may = self.running.is_none() && self.not_before.is_none_or(|from| Instant::now() >= from);
        let new = progress.applied().0.saturating_sub(self.newest.0);
        let wanted = progress.checkpoint_wanted();
        if !may || !(wanted || new >= self.every_entries) {
            return;
        }
        // The cursor of the state may be behind progress: entries that do not read are never applied.
        let Ok(applied) = state.reader().applied() else {
            return;
        };
        if wanted && self.confirmed < applied {
            self.begin(state, Line::Floor);
        } else if applied.0.saturating_sub(self.newest.0) >= self.every_entries {
            self.begin(state, Line::Reserve);
        }
    }

    /// A checkpoint that lets days of the journal go may use the reserve: it makes room.
    fn begin(&mut self, state: &Arc<State>, line: Line) {
        let planned = state.reader().size_on_disk().unwrap_or(0) / PLANNED_DIVISOR;
        if let Err(shortage) = self.disk_space.fits(line, planned) {
            return self.failed(&CheckpointError::NoRoom(shortage.to_string()).to_string());
        }
        let (state, space) = (Arc::clone(state), self.disk_space.clone());
        self.spawn(move |folder, stop| {
            let go_on = || match space.fits(line, 0) {
                _ if stop() => Err(CheckpointError::Stopped),
                Err(shortage) => Err(CheckpointError::NoRoom(shortage.to_string())),
                Ok(()) => Ok(()),
            };
            folder.take(&state, go_on).map(Done::Made)
        });
    }

    fn spawn(
        &mut self,
        work: impl FnOnce(&mut Checkpoints, &dyn Fn() -> bool) -> Result<Done, CheckpointError> + Send + 'static,
    ) {
        let stop = Arc::new(AtomicBool::new(false));
        let (folder, stopped) = (Arc::clone(&self.folder), Arc::clone(&stop));
        let run = move || work(&mut lock(&folder), &|| stopped.load(Ordering::Relaxed));
        match std::thread::Builder::new().name("checkpoint".into()).spawn(run) {
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
            Ok(Ok(Done::Made(seq))) => {
                let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                tracing::info!(%seq, took_ms, "made a checkpoint of derived state");
            }
            Ok(Ok(Done::Verified(damaged))) => {
                for damaged in damaged {
                    tracing::error!("checkpoint does not read and does not count any more: {damaged}");
                }
            }
            Ok(Err(CheckpointError::Stopped)) => {}
            Ok(Err(error)) => self.failed(&error.to_string()),
            Err(_) => self.failed("panic; its place is on standard error"),
        }
        self.tell(progress);
    }

    /// Tells up to where the journal is not needed to make derived state again.
    fn tell(&mut self, progress: &Progress) {
        let (newest, confirmed) = {
            let folder = lock(&self.folder);
            (folder.newest(), folder.confirmed())
        };
        self.newest = newest.unwrap_or_default();
        self.confirmed = confirmed.unwrap_or_default();
        progress.set_checkpointed(self.confirmed);
        // Whether one more is wanted is for the journal's thread to say, which looks again soon.
        progress.set_checkpoint_wanted(false);
        let newest = i64::try_from(self.newest.0).unwrap_or(i64::MAX);
        self.metrics.checkpoint_seq.set(newest);
    }

    fn failed(&mut self, why: &str) {
        tracing::error!(
            "checkpoint of derived state was not made; days of the journal are kept until there is one; trying again in \
             {} seconds: {why}",
            RETRY.as_secs()
        );
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

fn lock(folder: &Mutex<Checkpoints>) -> MutexGuard<'_, Checkpoints> {
    folder.lock().unwrap_or_else(PoisonError::into_inner)
}
