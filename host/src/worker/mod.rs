//! The one loop that writes derived state (I3): take a batch off the journal, admit, enrich, correlate, settle, commit in
//! one atomic step with the cursor (I2), and only then tell anybody. Control flow lives here; the steps are pure and in
//! `donjon-core`, or calls of plugins in `stages`.

mod checkpoints;
mod commands;
mod commit;
mod computed;
mod handed;
mod judging;
mod patches;
mod pieces;
mod policies;
mod probes;
mod rejudge;
mod replay;
mod required;
mod rule_sets;
#[cfg(test)]
mod scripted;
mod slices;
mod stages;
mod tally;
#[cfg(test)]
mod tests;
mod unstorable;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use donjon_core::admit::{Dedup, admit};
use donjon_core::command::DeadLetter;
use donjon_core::limits::{MAX_ERROR_TEXT_BYTES, cut};
use donjon_core::state::StateError;
use donjon_core::working::Working;
use donjon_core::{Event, Seq, TenantId};
use donjon_runtime::PluginSet;
use donjon_store::journal::JournalReader;
use donjon_store::{CommitError, State, StateReader};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::disk_space::DiskSpace;
use crate::intake::{Accepted, Applied, Item, Origin, Progress};
use crate::line::LineStatus;
use crate::plugin_kv::PendingKv;
use crate::telemetry::{Kind, Metrics, Stage};
pub use checkpoints::CheckpointKeeper;
use judging::Pending;
use pieces::{Load, Returned};
pub use policies::check as check_policies;
use probes::Probes;
#[cfg(test)]
pub(crate) use replay::accepted as accepted_again;
use rule_sets::TenantRules;
use unstorable::{Judging, Tried, refused_record};

/// How long the worker waits for work before it looks after other things.
const IDLE: Duration = Duration::from_millis(200);
/// Most memory that the alerts of a batch take, parsed, one entry beyond it excepted.
const MAX_BATCH_BYTES: u64 = 8 << 20;
/// How long it waits before it tries a failed batch again.
const RETRY: Duration = Duration::from_millis(500);

/// Waits a while.
pub type Pause = Arc<dyn Fn(Duration) + Send + Sync>;

/// What the worker needs.
pub struct WorkerParts {
    /// Derived state; nobody else writes to it.
    pub state: Arc<State>,
    /// Makes its checkpoints.
    pub checkpoints: CheckpointKeeper,
    /// For what was accepted before the start.
    pub journal: JournalReader,
    /// What is accepted from now on.
    pub groups: Receiver<Vec<Accepted>>,
    /// How much may still be written: below the floor the worker waits.
    pub disk_space: DiskSpace,
    /// The plugins that serve.
    pub plugins: Arc<ArcSwap<PluginSet>>,
    /// What plugins wrote in the running batch, for their own later calls.
    pub pending_kv: PendingKv,
    /// A stop was asked for: a held line is let go, and replayed at the next start.
    pub stopping: CancellationToken,
    /// What holds the line, and whose failure does.
    pub line: Arc<LineStatus>,
    /// Waits a while: the one way in which the worker sleeps, so that a test may drive it.
    pub pause: Pause,
    /// The newest entry of the journal before anything new was accepted: up to there it is read back.
    pub replay_to: Seq,
    /// How far we are.
    pub progress: Arc<Progress>,
    /// Told after each commit: how far it is.
    pub committed: watch::Sender<Seq>,
    /// Told once everything found at the start is applied.
    pub replayed: watch::Sender<bool>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// Most entries of one batch.
    pub max_batch_entries: usize,
    /// Most changes of a command in one commit.
    pub changes_per_commit: usize,
    /// How often derived state is flushed.
    pub flush_every: Duration,
}

/// The worker and what it remembers between batches.
pub struct Worker {
    parts: WorkerParts,
    working: Working<StateReader>,
    rule_books: HashMap<TenantId, TenantRules>,
    probes: Probes,
    last_flush: Instant,
    /// Most entries of the next batch.
    batch_entries: usize,
}

/// Derived state cannot be read or written any more; the process must stop, nothing accepted is lost.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Reading.
    #[error(transparent)]
    State(#[from] StateError),
    /// Writing.
    #[error("commit derived state: {0}")]
    Commit(#[from] CommitError),
    /// A stop was asked for while a required plugin, or a full disk, held the line.
    #[error("stopped while the line was held, see above; the next start goes on from there")]
    Held,
    /// The journal's own past cannot be read.
    #[error("read the journal: {0}")]
    Journal(String),
}

impl Worker {
    /// Prepares a worker on committed state.
    ///
    /// # Errors
    /// When committed state cannot be read.
    pub fn new(parts: WorkerParts) -> Result<Worker, WorkerError> {
        let working = commit::working_over(&parts);
        let batch_entries = parts.max_batch_entries;
        Ok(Worker {
            parts,
            working,
            rule_books: HashMap::new(),
            probes: Probes::default(),
            last_flush: Instant::now(),
            batch_entries,
        })
    }

    /// Applies what the journal holds beyond the cursor, then whatever is accepted, until the journal's thread ends.
    ///
    /// # Errors
    /// When derived state cannot be read or written: nothing accepted is lost, the next start replays it.
    pub fn run(mut self) -> Result<(), WorkerError> {
        self.replay()?;
        // A receiver that is gone only means that the server stops already.
        let _ = self.parts.replayed.send(true);
        loop {
            match self.parts.groups.recv_timeout(IDLE) {
                Ok(mut batch) => {
                    let mut bytes = bytes_of(&batch);
                    while batch.len() < self.batch_entries
                        && bytes < MAX_BATCH_BYTES
                        && let Ok(more) = self.parts.groups.try_recv()
                    {
                        bytes = bytes.saturating_add(bytes_of(&more));
                        batch.extend(more);
                    }
                    self.apply(batch)?;
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.look_after_state()?;
        }
        self.flush()
    }

    /// Applies what the journal holds beyond the cursor.
    ///
    /// # Errors
    /// Like [`Worker::run`].
    pub fn replay(&mut self) -> Result<(), WorkerError> {
        replay::run(self)
    }

    /// Applies entries in order, each batch committed with the cursor. A command is a batch of its own, so that no batch
    /// sees two rule sets. Reads no clock to decide anything, and needs no thread.
    ///
    /// # Errors
    /// Like [`Worker::run`].
    pub fn apply(&mut self, entries: impl IntoIterator<Item = Accepted>) -> Result<(), WorkerError> {
        let mut run = Vec::new();
        let mut bytes: u64 = 0;
        for entry in entries {
            let is_command = matches!(entry.item, Item::Command { .. });
            let full = run.len() >= self.batch_entries || bytes >= MAX_BATCH_BYTES;
            // The end of a batch decides what of plugins' data expired: times that go back begin another one.
            let goes_back = run.last().is_some_and(|before: &Accepted| before.at > entry.at);
            if (is_command || full || goes_back) && !run.is_empty() {
                bytes = 0;
                self.apply_alerts(std::mem::take(&mut run))?;
            }
            bytes = bytes.saturating_add(entry.bytes);
            if is_command {
                self.apply_command(entry)?;
            } else {
                run.push(entry);
            }
        }
        if run.is_empty() { Ok(()) } else { self.apply_alerts(run) }
    }

    /// One batch of alerts and dead letters.
    fn apply_alerts(&mut self, entries: Vec<Accepted>) -> Result<(), WorkerError> {
        self.wait_for_room()?;
        let waiting_bytes = entries.iter().map(Accepted::waiting_bytes).sum();
        match self.try_batch(entries, &Judging::ByPlugins)? {
            Tried::Applied => {}
            Tried::Refused(refused, why) => self.apply_each(refused, &why)?,
            Tried::TooMuch(batch, entries) => self.apply_in_pieces(batch, entries)?,
        }
        self.parts.progress.release_bytes(waiting_bytes);
        Ok(())
    }

    /// Applies a batch and commits it, unless the store refuses a record of it, or plugins find too much.
    fn try_batch(&mut self, entries: Vec<Accepted>, judging: &Judging) -> Result<Tried, WorkerError> {
        let started = Instant::now();
        let first = entries.first().map_or(Seq(0), |entry| entry.seq);
        let Some((last, now)) = entries.last().map(|entry| (entry.seq, entry.at)) else {
            return Ok(Tried::Applied);
        };
        let unreadable = entries
            .iter()
            .filter(|entry| entry.origin == Origin::Unreadable)
            .count();
        let metrics = Arc::clone(&self.parts.metrics);
        let admitted = metrics.stages.time(Stage::Admit, || self.admit_entries(entries))?;
        let (mut pending, waiters) = admitted;
        let entries = pending.len() + waiters.len();
        let mut load = Load::of(entries);
        let mut tallies = Vec::new();
        match judging {
            Judging::ByPlugins => {
                self.count_followed(&pending, &mut load)?;
                let judged = self.judge_batch(&mut pending, now, &mut load)?;
                let Some(judged) = judged else {
                    let fewer = load.fewer_entries().unwrap_or(1);
                    self.batch_entries = fewer;
                    self.forget_changes();
                    return Ok(Tried::TooMuch(returned((first, last), pending, waiters), fewer));
                };
                let settle = || {
                    let settled = judged
                        .into_iter()
                        .map(|judged| self.settle_judged(judged, &mut pending));
                    settled.collect::<Result<Vec<_>, WorkerError>>()
                };
                tallies = metrics.stages.time(Stage::Settle, settle)?;
            }
            Judging::ByNobody(why) => self.settle_unjudged(&mut pending, why)?,
        }
        self.working.judged_up_to(now);
        match self.commit(last) {
            Ok(bytes) => self.adapt_batches(entries, bytes, load.bytes()),
            Err(error) => {
                let why = refused_record(error)?;
                return Ok(Tried::Refused(returned((first, last), pending, waiters), why));
            }
        }
        tallies.into_iter().for_each(|tally| tally.count(&metrics));
        metrics
            .journal_unreadable
            .inc_by(i64::try_from(unreadable).unwrap_or(i64::MAX));
        self.count(&pending, started);
        answer(pending, waiters);
        Ok(Tried::Applied)
    }

    /// Tells new events from known ones, and keeps dead letters.
    fn admit_entries(&mut self, entries: Vec<Accepted>) -> Result<(Vec<Pending>, Vec<Settled>), WorkerError> {
        let mut pending = Vec::with_capacity(entries.len());
        let mut waiters = Vec::with_capacity(entries.len());
        for entry in entries {
            match entry.item {
                Item::Alert(new) => {
                    let event = Event {
                        seq: entry.seq,
                        accepted: entry.at,
                        tenant: entry.tenant,
                        event_id: new.event_id,
                        digest: new.digest,
                        alert: new.alert,
                    };
                    let admission = admit(&mut self.working, &event)?;
                    let sender = (new.provider, new.api_key_name);
                    pending.push(Pending::new(event, sender, admission, entry.waiter));
                }
                Item::DeadLetter { provider, reason, .. } => {
                    let letter = DeadLetter {
                        reason: cut(&reason, MAX_ERROR_TEXT_BYTES).to_owned(),
                        accepted: entry.at,
                        provider,
                    };
                    self.working.put_dead_letter(&entry.tenant, entry.seq, letter);
                    waiters.push((entry.seq, entry.waiter, Applied::DeadLetter));
                }
                Item::Command { .. } => {}
            }
        }
        Ok((pending, waiters))
    }

    fn count(&self, pending: &[Pending], started: Instant) {
        let metrics = &self.parts.metrics;
        for dedup in [Dedup::First, Dedup::Update, Dedup::Duplicate] {
            let count = pending.iter().filter(|event| event.admission.dedup == dedup).count() as u64;
            if count > 0 {
                metrics
                    .worker_events
                    .get_or_create(&Kind {
                        kind: outcome_name(dedup),
                    })
                    .inc_by(count);
            }
        }
        metrics.worker_batch_seconds.observe(started.elapsed().as_secs_f64());
    }
}

/// An entry whose outcome is known: its position, who waits for it, and the outcome.
type Settled = (Seq, Option<(Arc<crate::intake::Waiter>, usize)>, Applied);

/// A batch that is not settled, with those who wait for it.
fn returned((first, last): (Seq, Seq), pending: Vec<Pending>, letters: Vec<Settled>) -> Returned {
    let events = pending.into_iter().map(|event| (event.event.seq, event.waiter));
    let letters = letters.into_iter().map(|(seq, waiter, _)| (seq, waiter));
    Returned {
        first,
        last,
        waiters: events.chain(letters).collect(),
    }
}

fn bytes_of(entries: &[Accepted]) -> u64 {
    entries.iter().map(|entry| entry.bytes).sum()
}

/// Tells whoever waits what became of the entries of a committed batch.
fn answer(pending: Vec<Pending>, letters: Vec<(Seq, unstorable::Waiting, Applied)>) {
    for event in pending {
        let failure = event.failure();
        let applied = Applied::Event {
            outcome: outcome_name(event.admission.dedup),
            incidents: event.incidents,
            failure,
        };
        settle_waiter(event.waiter, applied);
    }
    for (_, waiter, applied) in letters {
        settle_waiter(waiter, applied);
    }
}

fn outcome_name(dedup: Dedup) -> &'static str {
    match dedup {
        Dedup::First => "first",
        Dedup::Update => "update",
        Dedup::Duplicate => "duplicate",
    }
}

fn settle_waiter(waiter: Option<(Arc<crate::intake::Waiter>, usize)>, applied: Applied) {
    if let Some((waiter, index)) = waiter {
        waiter.settle(index, applied);
    }
}
