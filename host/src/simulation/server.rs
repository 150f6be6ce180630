//! One life of the server: the real journal, intake, worker and state over the simulated disk, driven turn by turn. Dies
//! by being dropped. Opens its data as `serve/opening.rs` does, in memory.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use crossbeam_channel::Receiver;
use donjon_core::{Seq, Timestamp};
use donjon_runtime::PluginSet;
use donjon_store::journal::{Journal, JournalOptions, JournalReader, RetentionPolicy};
use donjon_store::simulation::SimulatedDisk;
use donjon_store::{Checkpoints, DataDir, State};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::scripts::{Correlator, Direction, Enricher};
use crate::clock::Clock;
use crate::disk_space::DiskSpace;
use crate::intake::{Accepted, Intake, IntakeOptions, JournalThread, Progress};
use crate::line::{LineStatus, Policy};
use crate::plugin_kv::{PendingKv, PluginKv};
use crate::serve::missing_after;
use crate::telemetry::Metrics;
use crate::worker::{CheckpointKeeper, Pause, Worker, WorkerError, WorkerParts};

/// Times that a worker waits in its life before that counts as for ever.
const MAX_PAUSES: u64 = 10_000;

/// What stays when a server dies.
pub struct Ground {
    pub dir: TempDir,
    pub disk: SimulatedDisk,
    /// What the clock of the machine says when a life begins.
    pub clock_ms: u64,
    pub max_batch_entries: usize,
    /// Most changes of a command in one commit: few, so that commands take several.
    pub changes_per_commit: usize,
    pub max_lag_entries: u64,
    /// Whether plugins hold the line while they fail: only such may stall, for what others miss is told and gone.
    pub required: bool,
    pub direction: Direction,
}

/// The running parts.
pub struct Server {
    pub intake: Intake,
    pub thread: JournalThread,
    pub state: Arc<State>,
    pub journal: JournalReader,
    pub progress: Arc<Progress>,
    pub clock: Clock,
    /// Entries that were cut off with a group that was never synced, although they read.
    pub cut_entries: u64,
    checkpoints: Checkpoints,
    worker: Worker,
    groups: Receiver<Vec<Accepted>>,
    /// Handed to the worker and not yet applied.
    queue: VecDeque<Accepted>,
    plugins: Arc<ArcSwap<PluginSet>>,
    pending_kv: PendingKv,
}

/// Segments and blocks so small that a run has many of them.
fn options(seen: Seq) -> JournalOptions {
    JournalOptions {
        seen,
        segment_bytes: 6 * 1024,
        block_raw_bytes: 2 * 1024,
        block_entries: 8,
        ..JournalOptions::default()
    }
}

impl Server {
    /// Opens what the life before left and applies what the journal holds beyond the cursor.
    pub fn open(ground: &Ground) -> Result<Server, String> {
        let text = |error: &dyn std::fmt::Display| error.to_string();
        let data_dir = DataDir::open(ground.dir.path()).map_err(|error| text(&error))?;
        let seen = ground
            .disk
            .open_state()?
            .reader()
            .applied()
            .map_err(|error| text(&error))?;
        let (mut journal, report) =
            Journal::open_with(data_dir.journal(), options(seen), ground.disk.files()).map_err(|error| text(&error))?;
        let mut checkpoints = Checkpoints::open(data_dir.checkpoints()).map_err(|error| text(&error))?;
        let state = open_state(ground, &journal.reader(), &mut checkpoints)?;
        let applied = state.reader().applied().map_err(|error| text(&error))?;
        if let Some(why) = missing_after(&journal.reader(), applied).map_err(|error| text(&error))? {
            return Err(format!("the start is refused: {why}"));
        }
        journal.continue_after(applied);
        // Nothing on this disk rots.
        if let (1.., damage) = journal.reader().damage() {
            return Err(format!("taken for damage: {damage:?}"));
        }
        let (reader, state, metrics) = (journal.reader(), Arc::new(state), Arc::new(Metrics::default()));
        let replay_to = reader.last_seq();
        let progress = Arc::new(Progress::new(replay_to.max(applied), applied));
        let intake_options = intake_options(ground, data_dir, report.last_accepted);
        let clock = Clock::manual_at(ground.clock_ms);
        clock.go_on_after(report.last_accepted);
        let (intake, groups, thread) = Intake::prepare(
            journal,
            intake_options,
            clock.clone(),
            Arc::clone(&progress),
            Arc::clone(&metrics),
        );
        let pending_kv = PendingKv::default();
        let plugins = Arc::new(ArcSwap::from_pointee(plugins(&state, &pending_kv, &ground.direction)));
        let parts = Parts {
            state: &state,
            reader: &reader,
            progress: &progress,
            plugins: &plugins,
            metrics: &metrics,
            pending_kv: pending_kv.clone(),
            replay_to,
            max_batch_entries: ground.max_batch_entries,
            changes_per_commit: ground.changes_per_commit,
        };
        let mut worker = worker(ground, parts)?;
        worker.replay().map_err(|error| text(&error))?;
        let mut server = Server {
            intake,
            thread,
            state,
            journal: reader,
            progress,
            clock,
            cut_entries: report.torn.map_or(0, |torn| torn.good_entries),
            checkpoints,
            worker,
            groups,
            queue: VecDeque::new(),
            plugins,
            pending_kv,
        };
        server.verify_checkpoints();
        Ok(server)
    }

    /// Takes over what the journal accepted.
    fn fetch(&mut self) {
        while let Ok(group) = self.groups.try_recv() {
            self.queue.extend(group);
        }
    }

    /// Entries that wait for the worker.
    pub fn waiting(&mut self) -> usize {
        self.fetch();
        self.queue.len()
    }

    /// Lets the worker apply the next entries, wherever that cuts the groups.
    pub fn apply(&mut self, entries: usize) -> Result<(), WorkerError> {
        self.fetch();
        let count = entries.min(self.queue.len());
        let batch: Vec<Accepted> = self.queue.drain(..count).collect();
        self.worker.apply(batch)
    }

    pub fn flush(&mut self) -> Result<(), WorkerError> {
        self.worker.flush()
    }

    /// Another generation of the same plugins takes over: they know no rules yet.
    pub fn reload_plugins(&self, ground: &Ground) {
        let mut next = plugins(&self.state, &self.pending_kv, &ground.direction);
        next.generation = self.plugins.load().generation + 1;
        self.plugins.store(Arc::new(next));
    }

    pub fn checkpoint(&mut self) -> Result<(), String> {
        let made = self.checkpoints.take(&self.state, || Ok(()));
        made.map_err(|error| error.to_string())?;
        self.tell_checkpoints();
        Ok(())
    }

    fn verify_checkpoints(&mut self) {
        let damaged = self.checkpoints.verify(|| Ok(())).unwrap();
        assert_eq!(damaged, [""; 0], "a checkpoint does not read");
        self.tell_checkpoints();
    }

    fn tell_checkpoints(&self) {
        let confirmed = self.checkpoints.confirmed().unwrap_or_default();
        self.progress.set_checkpointed(confirmed);
    }
}

fn intake_options(ground: &Ground, data_dir: DataDir, last_accepted: Timestamp) -> IntakeOptions {
    IntakeOptions {
        max_lag_entries: ground.max_lag_entries,
        max_lag_bytes: 1 << 20,
        disk_space: DiskSpace::new(ground.dir.path().to_owned(), 0),
        data_dir,
        last_accepted,
        retention: RetentionPolicy {
            max_age_days: Some(0),
            max_bytes: None,
        },
    }
}

/// As the last life left it; from a checkpoint where it is gone, or misses days that the journal has no more.
fn open_state(ground: &Ground, journal: &JournalReader, checkpoints: &mut Checkpoints) -> Result<State, String> {
    let state = ground.disk.open_state()?;
    let found = state.reader().applied().map_err(|error| error.to_string())?;
    let missing = Seq(journal.first_seq().0.saturating_sub(1));
    if found > Seq(0) && found >= missing {
        return Ok(state);
    }
    if checkpoints.newest().is_none_or(|newest| newest <= found) {
        assert!(found >= missing, "days were freed that nothing knows any more");
        return Ok(state);
    }
    drop(state);
    // A restore works beside the state and takes its place once it is whole.
    ground.disk.heal();
    ground.disk.lose_state();
    let state = ground.disk.open_state()?;
    let restored = checkpoints.restore(&state, found, |_| {});
    let restored = restored.map_err(|error| error.to_string())?;
    assert_eq!(restored.damaged, [""; 0], "a checkpoint does not read");
    Ok(state)
}

/// What a worker is made of, beside what never matters here.
pub struct Parts<'a> {
    pub state: &'a Arc<State>,
    pub reader: &'a JournalReader,
    pub progress: &'a Arc<Progress>,
    pub plugins: &'a Arc<ArcSwap<PluginSet>>,
    pub metrics: &'a Arc<Metrics>,
    pub pending_kv: PendingKv,
    pub replay_to: Seq,
    pub max_batch_entries: usize,
    pub changes_per_commit: usize,
}

/// A worker whose turns somebody else takes.
pub fn worker(ground: &Ground, parts: Parts<'_>) -> Result<Worker, String> {
    let dir = ground.dir.path();
    let disk_space = DiskSpace::new(dir.to_owned(), 0);
    // Checkpoints are taken by the run, not by a thread: the keeper's own folder stays empty.
    let unused = Checkpoints::open(dir.join("unused")).map_err(|error| error.to_string())?;
    let keeper = CheckpointKeeper::new(unused, u64::MAX, &disk_space, parts.metrics);
    let (committed, _) = watch::channel(Seq(0));
    let (replayed, _) = watch::channel(false);
    let (_, nothing) = crossbeam_channel::unbounded();
    let policy = if ground.required {
        Policy::Required
    } else {
        Policy::Optional
    };
    let policies = [Enricher::NAME, Correlator::NAME]
        .map(|name| (name.to_owned(), policy))
        .into();
    Worker::new(WorkerParts {
        state: Arc::clone(parts.state),
        checkpoints: keeper,
        journal: parts.reader.clone(),
        groups: nothing,
        disk_space,
        plugins: Arc::clone(parts.plugins),
        pending_kv: parts.pending_kv,
        stopping: CancellationToken::new(),
        line: Arc::new(LineStatus::new(policies, Arc::clone(parts.plugins), Arc::default())),
        pause: pause(parts.plugins),
        replay_to: parts.replay_to,
        progress: Arc::clone(parts.progress),
        committed,
        replayed,
        metrics: Arc::clone(parts.metrics),
        max_batch_entries: parts.max_batch_entries,
        changes_per_commit: parts.changes_per_commit,
        flush_every: Duration::MAX,
    })
    .map_err(|error| error.to_string())
}

/// Waits no time. Now and then other plugins take over meanwhile, and nobody waits for ever.
fn pause(plugins: &Arc<ArcSwap<PluginSet>>) -> Pause {
    let (pauses, plugins) = (AtomicU64::new(0), Arc::clone(plugins));
    Arc::new(move |_| {
        let pauses = pauses.fetch_add(1, Ordering::SeqCst) + 1;
        assert!(pauses < MAX_PAUSES, "the line is held for ever");
        // Ever more seldom: a batch that begins anew each time would never end.
        if pauses.is_power_of_two() {
            let set = plugins.load_full();
            plugins.store(Arc::new(PluginSet {
                generation: set.generation + 1,
                plugins: set.plugins.clone(),
            }));
        }
    })
}

/// The scripted plugins, reading their data as real ones do.
pub fn plugins(state: &State, pending: &PendingKv, direction: &Direction) -> PluginSet {
    let kv = Arc::new(PluginKv {
        committed: state.reader().clone(),
        pending: pending.clone(),
    });
    PluginSet::default()
        .with(Arc::new(Enricher::new(kv, direction.clone())))
        .with(Arc::new(Correlator::new(direction.clone())))
}
