//! The commit line and what surrounds it: room on the disk before, flushes and checkpoints between. Knows nothing of what
//! a batch says.

use std::time::Instant;

use donjon_core::Seq;
use donjon_core::working::{Working, WorkingLimits};
use donjon_store::StateReader;

use super::pieces::MAX_FOUND_BYTES;
use super::{RETRY, Worker, WorkerError, WorkerParts};
use crate::disk_space::Line;
use crate::telemetry::Stage;

/// For people, with what to do.
const FULL_DISK: &str =
    "disk is full: less than a quarter of storage.min_free_bytes is free; free some space, then it goes on by itself";

/// What the worker sees of derived state, with nothing changed yet.
pub(super) fn working_over(parts: &WorkerParts) -> Working<StateReader> {
    let limits = WorkingLimits {
        changes_per_commit: parts.changes_per_commit,
        ..WorkingLimits::default()
    };
    Working::new(parts.state.reader().clone(), limits)
}

impl Worker {
    /// Waits while the disk is all but full: sled does not survive a write that fails, and nothing is lost by waiting.
    pub(super) fn wait_for_room(&mut self) -> Result<(), WorkerError> {
        let mut held = false;
        while let Err(shortage) = self.parts.disk_space.fits(Line::Floor, 0) {
            held = true;
            self.parts.line.hold(FULL_DISK, &shortage.to_string());
            if self.parts.stopping.is_cancelled() {
                return Err(WorkerError::Held);
            }
            (self.parts.pause)(RETRY);
            // A checkpoint that ends now may let days of the journal go.
            let parts = &mut self.parts;
            parts.checkpoints.look_after(&parts.state, &parts.progress);
        }
        if held {
            self.parts.line.release();
        }
        Ok(())
    }

    /// The commit line: everything the batch changed, and the cursor, in one atomic step. Answers its bytes.
    pub(super) fn commit(&mut self, applied: Seq) -> Result<usize, WorkerError> {
        let changes = self.working.take_changes(applied);
        let before = self.parts.progress.applied();
        let opened = changes
            .incidents
            .iter()
            .filter(|incident| incident.created_seq > before)
            .count();
        let (state, progress) = (&self.parts.state, &self.parts.progress);
        let write = || progress.while_writing(|| state.commit(&changes));
        let bytes = match self.parts.metrics.stages.time(Stage::Commit, write) {
            Ok(bytes) => bytes,
            Err(error) => {
                // It counts the changes as committed.
                self.forget_changes();
                return Err(error.into());
            }
        };
        self.parts.metrics.incidents_opened.inc_by(opened as u64);
        self.parts.pending_kv.clear();
        self.parts.progress.set_applied(applied);
        self.parts
            .metrics
            .applied_seq
            .set(i64::try_from(applied.0).unwrap_or(i64::MAX));
        self.parts.committed.send_replace(applied);
        Ok(bytes)
    }

    /// Begins anew on committed state: what the batch changed so far is not to be committed.
    pub(super) fn forget_changes(&mut self) {
        self.working = working_over(&self.parts);
        self.parts.pending_kv.clear();
    }

    /// After the commit of a batch of so many entries: how many the next one may have.
    pub(super) fn adapt_batches(&mut self, entries: usize, committed_bytes: usize, found_bytes: usize) {
        let most = self.parts.max_batch_entries;
        let by_found = entries_within(entries, found_bytes, MAX_FOUND_BYTES);
        let next = next_batch_entries(self.batch_entries, entries, committed_bytes, most);
        self.batch_entries = next.min(by_found).max(1);
    }

    /// What derived state needs between batches.
    pub(super) fn look_after_state(&mut self) -> Result<(), WorkerError> {
        let parts = &mut self.parts;
        parts.checkpoints.look_after(&parts.state, &parts.progress);
        if self.last_flush.elapsed() < self.parts.flush_every {
            Ok(())
        } else {
            self.flush()
        }
    }

    /// Makes what is applied survive a crash of the machine.
    ///
    /// # Errors
    /// When derived state cannot be written.
    pub fn flush(&mut self) -> Result<(), WorkerError> {
        self.last_flush = Instant::now();
        let applied = self.parts.progress.applied();
        let (state, progress) = (&self.parts.state, &self.parts.progress);
        let write = || progress.while_writing(|| state.flush());
        self.parts.metrics.stages.time(Stage::Flush, write)?;
        self.parts.progress.set_flushed(applied);
        Ok(())
    }
}

/// A commit is to stay about as large as sled takes without trouble (`FORMAT.md`); what an entry makes depends on rules
/// and plugins, so the size of the last commit is the measure. Where batches end changes nothing (I10).
const COMMIT_BYTES: usize = 3 << 20;

/// How many entries come to at most so many bytes, if they are like these.
fn entries_within(entries: usize, bytes: usize, most: usize) -> usize {
    entries.saturating_mul(most).checked_div(bytes).unwrap_or(usize::MAX)
}

fn next_batch_entries(now: usize, entries: usize, bytes: usize, most: usize) -> usize {
    if bytes > COMMIT_BYTES {
        entries_within(entries, bytes, COMMIT_BYTES).clamp(1, most.max(1))
    } else {
        now.saturating_mul(2).clamp(1, most.max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_shrink_with_what_they_commit_and_grow_again() {
        assert_eq!(next_batch_entries(2048, 2048, COMMIT_BYTES * 4, 2048), 512);
        assert_eq!(next_batch_entries(512, 1, COMMIT_BYTES * 40, 2048), 1);
        assert_eq!(next_batch_entries(1, 1, 100, 2048), 2);
        assert_eq!(next_batch_entries(1500, 10, 100, 2048), 2048);
        assert_eq!(next_batch_entries(1, 1, 100, 1), 1);
    }
}
