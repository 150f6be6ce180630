//! The way into the journal: one thread appends what all requests bring, and all that arrive while one `fdatasync` is
//! under way share the next (group commit). A request is answered only once its entries are on stable storage (I1).
//! Knows nothing of HTTP, and nothing of what entries mean.

mod check;
mod size;
mod thread;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use donjon_core::command::{Command, CommandOutcome};
use donjon_core::digest::ContentDigest;
use donjon_core::{Alert, EventId, IncidentId, Seq, TenantId, Timestamp};
use donjon_store::DataDir;
use donjon_store::journal::{Journal, RetentionPolicy};
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::disk_space::DiskSpace;
use crate::telemetry::Metrics;
pub use check::JournalCheck;
use size::{ItemSize, sizes_of};
pub(crate) use thread::JournalThread;

/// Requests waiting for the journal. Their bytes are bounded at the door, where bodies are read.
const QUEUE_REQUESTS: usize = 4096;
/// Entries and bytes above the limits on lag up to which commands are taken: people must be able to act while alerts are
/// refused, and not without end.
const COMMAND_RESERVE_ENTRIES: u64 = 10_000;
const COMMAND_RESERVE_BYTES: u64 = 64 << 20;

/// What a request brings.
#[derive(Debug)]
pub enum Item {
    /// A valid alert.
    Alert(Box<NewAlert>),
    /// An item that is not one.
    DeadLetter {
        /// Where it was sent to.
        provider: String,
        /// Why it was refused.
        reason: String,
        /// What was sent.
        raw: Vec<u8>,
    },
    /// A command of a person.
    Command {
        /// Who gave it.
        actor: String,
        /// The command.
        command: Command,
    },
}

/// A normalised alert on its way into the journal.
#[derive(Debug)]
pub struct NewAlert {
    /// The occurrence.
    pub event_id: EventId,
    /// Where it was sent to; empty for the generic endpoint.
    pub provider: String,
    /// Whose key sent it.
    pub api_key_name: String,
    /// The content.
    pub digest: ContentDigest,
    /// The alert.
    pub alert: Alert,
    /// Its canonical JSON.
    pub document: Vec<u8>,
}

/// What became of an entry once the worker applied it.
#[derive(Clone, Debug)]
pub enum Applied {
    /// An alert.
    Event {
        /// `first`, `update` or `duplicate`.
        outcome: &'static str,
        /// The incidents it belongs to by its rules.
        incidents: Vec<IncidentId>,
        /// Why a plugin did not contribute.
        failure: Option<String>,
    },
    /// A dead letter.
    DeadLetter,
    /// A command.
    Command(CommandOutcome),
}

/// Collects the outcomes of one request.
pub struct Waiter {
    outcomes: std::sync::Mutex<WaiterState>,
}

struct WaiterState {
    outcomes: Vec<Option<Applied>>,
    missing: usize,
    done: Option<oneshot::Sender<Vec<Option<Applied>>>>,
}

impl Waiter {
    fn new(count: usize, done: oneshot::Sender<Vec<Option<Applied>>>) -> Arc<Waiter> {
        let state = WaiterState {
            outcomes: vec![None; count],
            missing: count,
            done: Some(done),
        };
        Arc::new(Waiter {
            outcomes: std::sync::Mutex::new(state),
        })
    }

    /// Stores the outcome of one entry; the last one answers the request.
    pub fn settle(&self, index: usize, applied: Applied) {
        let mut state = self.outcomes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(slot) = state.outcomes.get_mut(index)
            && slot.replace(applied).is_none()
        {
            state.missing -= 1;
        }
        if state.missing == 0
            && let Some(done) = state.done.take()
        {
            // The client may have gone away.
            let _ = done.send(std::mem::take(&mut state.outcomes));
        }
    }
}

/// An accepted entry on its way to the worker.
pub struct Accepted {
    /// Its position.
    pub seq: Seq,
    /// When it was accepted.
    pub at: Timestamp,
    /// Whose it is.
    pub tenant: TenantId,
    /// What it is. Documents stay in the journal.
    pub item: Item,
    /// Who waits for its outcome, and under which index.
    pub waiter: Option<(Arc<Waiter>, usize)>,
    /// What it takes of memory: counts for the limit on waiting bytes until it is released (`Progress::release_bytes`).
    pub bytes: u64,
}

/// Why entries were not accepted. None of them is in the journal then.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Refused {
    /// The journal runs too far ahead of the worker.
    #[error("too many accepted entries wait to be applied; try again later: {0}")]
    Behind(u64),
    /// Too many requests at once.
    #[error("too many requests wait for the journal; try again later")]
    Busy,
    /// One of the items is larger than an entry of the journal may be.
    #[error("too large for one entry of the journal; send less at a time: limit {limit} bytes, found {found}")]
    TooLarge {
        /// The limit.
        limit: usize,
        /// The size.
        found: usize,
    },
    /// No space.
    #[error("disk is full; free some space, then alerts are taken again: {0}")]
    DiskFull(String),
    /// The journal cannot be written.
    #[error("journal cannot be written: {0}")]
    Broken(String),
    /// The server stops.
    #[error("server is stopping; try again later")]
    Stopping,
}

/// Proof that entries are durable, and what to wait for.
pub struct Receipt {
    /// Position of the first entry.
    pub first: Seq,
    /// The outcomes, once applied; only where they were asked for.
    applied: Option<oneshot::Receiver<Vec<Option<Applied>>>>,
}

impl Receipt {
    /// The outcomes; none if they were not asked for, or the entries are not applied in time. They are durable all the
    /// same, and will be applied.
    pub async fn outcomes(self, patience: Duration) -> Option<Vec<Option<Applied>>> {
        tokio::time::timeout(patience, self.applied?).await.ok()?.ok()
    }
}

struct Request {
    tenant: TenantId,
    items: Vec<Item>,
    /// One an item.
    sizes: Vec<ItemSize>,
    waiter: Option<Arc<Waiter>>,
    arrived: Instant,
    reply: oneshot::Sender<Result<Seq, Refused>>,
}

impl Request {
    fn is_command(&self) -> bool {
        matches!(self.items.first(), Some(Item::Command { .. }))
    }
}

/// How far the two sides of the journal are.
#[derive(Debug, Default)]
pub struct Progress {
    accepted: AtomicU64,
    applied: AtomicU64,
    flushed: AtomicU64,
    waiting_bytes: AtomicU64,
    checkpointed: AtomicU64,
    checkpoint_wanted: AtomicBool,
    writing_since: std::sync::Mutex<Option<Instant>>,
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
        let set = |since| {
            *self
                .writing_since
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner) = since
        };
        set(Some(Instant::now()));
        let written = write();
        set(None);
        written
    }

    /// How long the write of derived state that is under way takes already.
    pub fn writing_for(&self) -> Duration {
        let since = *self
            .writing_since
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        since.map_or(Duration::ZERO, |since| since.elapsed())
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

/// Limits of the intake.
#[derive(Debug)]
pub struct IntakeOptions {
    /// Accepted and not applied entries above which alerts are refused.
    pub max_lag_entries: u64,
    /// Memory that they take above which alerts are refused.
    pub max_lag_bytes: u64,
    /// How much may still be written.
    pub disk_space: DiskSpace,
    /// Where the journal is; locked as long as it is used.
    #[expect(dead_code, reason = "kept for its lock")]
    pub data_dir: DataDir,
    /// When the newest entry of the journal was accepted.
    pub last_accepted: Timestamp,
    /// Which days of the journal may go.
    pub retention: RetentionPolicy,
}

/// A handle for requests; cheap to clone.
#[derive(Clone)]
pub struct Intake {
    sender: Sender<Request>,
    progress: Arc<Progress>,
    stopping: Arc<AtomicBool>,
    max_lag_entries: u64,
    max_lag_bytes: u64,
}

impl Intake {
    /// Starts the journal's thread. It ends, and with it the worker, after `stop` or once all handles are gone.
    pub fn start(
        journal: Journal,
        options: IntakeOptions,
        clock: Clock,
        progress: Arc<Progress>,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<(Intake, Receiver<Vec<Accepted>>, std::thread::JoinHandle<Journal>)> {
        let (intake, groups, mut thread) = Intake::prepare(journal, options, clock, progress, metrics);
        let handle = std::thread::Builder::new().name("journal".into()).spawn(move || {
            thread.run();
            thread.journal
        })?;
        Ok((intake, groups, handle))
    }

    /// Everything but the thread itself: the simulation takes its turns one by one.
    pub(crate) fn prepare(
        journal: Journal,
        options: IntakeOptions,
        clock: Clock,
        progress: Arc<Progress>,
        metrics: Arc<Metrics>,
    ) -> (Intake, Receiver<Vec<Accepted>>, JournalThread) {
        let (sender, requests) = crossbeam_channel::bounded(QUEUE_REQUESTS);
        // Bounded by the two limits on lag, which `accept` checks (for commands with a reserve above), and by what the
        // queue before the journal held when they were reached: a bound here would keep senders, and people, waiting
        // without an answer.
        let (to_worker, groups) = crossbeam_channel::unbounded();
        let intake = Intake {
            sender,
            progress: Arc::clone(&progress),
            stopping: Arc::new(AtomicBool::new(false)),
            max_lag_entries: options.max_lag_entries,
            max_lag_bytes: options.max_lag_bytes,
        };
        let thread = JournalThread {
            quiet_since: Seq(0),
            journal,
            requests,
            to_worker,
            clock,
            progress,
            metrics,
            last_at: options.last_accepted,
            options,
            retention_looked: Instant::now(),
            stopping: Arc::clone(&intake.stopping),
        };
        (intake, groups, thread)
    }

    /// How far journal and worker are.
    pub fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Refuses everything from now on; the journal's thread ends once what is under way is durable.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    /// Makes items durable. Commands are taken even while alerts are refused for lag, up to a reserve: people must be
    /// able to act.
    ///
    /// # Errors
    /// When the items were refused as a whole.
    pub async fn accept(&self, tenant: TenantId, items: Vec<Item>, wait: bool) -> Result<Receipt, Refused> {
        if self.stopping.load(Ordering::SeqCst) {
            return Err(Refused::Stopping);
        }
        let lag = self.progress.accepted().0.saturating_sub(self.progress.applied().0);
        let command = matches!(items.first(), Some(Item::Command { .. }));
        let (more_entries, more_bytes) = if command {
            (COMMAND_RESERVE_ENTRIES, COMMAND_RESERVE_BYTES)
        } else {
            (0, 0)
        };
        if lag >= self.max_lag_entries.saturating_add(more_entries)
            || self.progress.waiting_bytes() >= self.max_lag_bytes.saturating_add(more_bytes)
        {
            return Err(Refused::Behind(lag));
        }
        let sizes = sizes_of(&tenant, &items)?;
        if items.is_empty() {
            return Ok(Receipt {
                first: self.progress.accepted(),
                applied: wait.then(|| {
                    let (done, applied) = oneshot::channel();
                    // The other end is right here.
                    let _ = done.send(Vec::new());
                    applied
                }),
            });
        }
        let (waiter, applied) = if wait {
            let (done, applied) = oneshot::channel();
            (Some(Waiter::new(items.len(), done)), Some(applied))
        } else {
            (None, None)
        };
        let (reply, answer) = oneshot::channel();
        let request = Request {
            tenant,
            items,
            sizes,
            waiter,
            arrived: Instant::now(),
            reply,
        };
        match self.sender.try_send(request) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => return Err(Refused::Busy),
            Err(TrySendError::Disconnected(_)) => return Err(Refused::Stopping),
        }
        let first = answer.await.map_err(|_| Refused::Stopping)??;
        Ok(Receipt { first, applied })
    }
}
