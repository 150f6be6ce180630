//! The way into the journal: one thread appends what all requests bring, and all that arrive while one `fdatasync` is
//! under way share the next (group commit). A request is answered only once its entries are on stable storage (I1).
//! Knows nothing of HTTP, and nothing of what entries mean.

mod check;
mod progress;
mod rejudged;
mod size;
mod thread;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TrySendError};
use donjon_core::command::{Command, CommandOutcome, Guard};
use donjon_core::digest::ContentDigest;
use donjon_core::{Alert, EventId, IncidentId, Seq, TenantId, Timestamp};
use donjon_store::DataDir;
use donjon_store::journal::{Journal, RetentionPolicy};
use tokio::sync::oneshot;

use crate::clock::Clock;
use crate::disk_space::DiskSpace;
use crate::telemetry::{Kind, Metrics};
pub use check::JournalCheck;
pub use progress::Progress;
use rejudged::Rejudged;
pub(crate) use size::memory_of;
use size::{ItemSize, sizes_of};
pub(crate) use thread::JournalThread;

/// Requests waiting for the journal. What they hold stays counted where bodies are read (`Holding`) until it counts as
/// waiting to be applied, whether or not somebody still waits for the answer.
const QUEUE_REQUESTS: usize = 4096;
/// How long a request waits for the journal: below what probes call standing still, so that senders are answered before.
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);
/// Entries and bytes above the limits on lag up to which commands are taken: people must be able to act while alerts are
/// refused, and not without end.
const COMMAND_RESERVE_ENTRIES: u64 = 10_000;
pub const COMMAND_RESERVE_BYTES: u64 = 64 << 20;

/// The memory that a request took at the door.
pub trait Holding: Send + Sync {
    /// Gives it back: from here on the limits on lag count what was brought.
    fn release(&self);
}

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
        /// When it is applied.
        guard: Guard,
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
    /// What it takes of memory, about: of an alert the parsed tree, not its text.
    pub bytes: u64,
    /// Where it comes from.
    pub origin: Origin,
}

/// Where an accepted entry comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A request.
    Request,
    /// The journal.
    Journal,
    /// The journal, and it does not read back as the alert that it was taken as.
    Unreadable,
}

impl Accepted {
    /// What it counts for the limit on waiting bytes until it is released (`Progress::release_bytes`): what is read back
    /// waits in the journal.
    pub fn waiting_bytes(&self) -> u64 {
        match self.origin {
            Origin::Request => self.bytes,
            Origin::Journal | Origin::Unreadable => 0,
        }
    }
}

/// Why entries were not accepted. None of them is in the journal then, but for `NotKnown`, and `Broken` after a sync.
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
    /// Nobody says whether they are in the journal: the one refusal after which they may be.
    #[error(
        "whether this was stored is not known, and it may still be; see /healthz, then look, or send it again (the same \
         alert twice counts as a duplicate): {0}"
    )]
    NotKnown(&'static str),
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
    /// What it holds at the door; the journal's thread gives it back.
    holding: Option<Arc<dyn Holding>>,
    arrived: Instant,
    reply: oneshot::Sender<Result<Seq, Refused>>,
}

/// What waits for the answer of the journal.
struct Asked {
    answer: oneshot::Receiver<Result<Seq, Refused>>,
    applied: Option<oneshot::Receiver<Vec<Option<Applied>>>>,
}

impl Request {
    fn is_command(&self) -> bool {
        matches!(self.items.first(), Some(Item::Command { .. }))
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
    metrics: Arc<Metrics>,
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
            // With the thread ends the worker, which was not asked to: that stops the server.
            if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| thread.run())).is_err() {
                let why = "panic of its thread; its place is on standard error";
                tracing::error!("journal stopped; nothing acknowledged is lost: {why}");
                thread.progress.journal_breaks(why.to_owned());
            }
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
            metrics: Arc::clone(&metrics),
            max_lag_entries: options.max_lag_entries,
            max_lag_bytes: options.max_lag_bytes,
        };
        let thread = JournalThread {
            quiet_since: Seq(0),
            disk_full_at: None,
            rejudged: Rejudged::unknown_up_to(journal.reader().last_seq()),
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
    /// able to act. What holds memory at the door is held, and the items are counted, until the journal has them, even if
    /// nobody waits for this any more.
    ///
    /// # Errors
    /// When the items were refused as a whole, or nobody knows.
    pub async fn accept_holding(
        &self,
        tenant: TenantId,
        items: Vec<Item>,
        wait: bool,
        holding: Option<Arc<dyn Holding>>,
    ) -> Result<Receipt, Refused> {
        if items.is_empty() {
            return Ok(self.nothing_to_do(wait));
        }
        let alerts = alerts_in(&items);
        let asked = self.hand_over(tenant, items, wait, holding);
        let Asked { answer, applied } = asked.inspect_err(|_| count_items(&self.metrics, "refused", alerts))?;
        let first = answer_within(ANSWER_PATIENCE, answer).await?;
        Ok(Receipt { first, applied })
    }

    /// The same of what holds nothing.
    #[cfg(test)]
    pub async fn accept(&self, tenant: TenantId, items: Vec<Item>, wait: bool) -> Result<Receipt, Refused> {
        self.accept_holding(tenant, items, wait, None).await
    }

    fn nothing_to_do(&self, wait: bool) -> Receipt {
        let applied = wait.then(|| {
            let (done, applied) = oneshot::channel();
            // The other end is right here.
            let _ = done.send(Vec::new());
            applied
        });
        Receipt {
            first: self.progress.accepted(),
            applied,
        }
    }

    /// Puts a request into the queue before the journal.
    fn hand_over(
        &self,
        tenant: TenantId,
        items: Vec<Item>,
        wait: bool,
        holding: Option<Arc<dyn Holding>>,
    ) -> Result<Asked, Refused> {
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
            holding,
            arrived: Instant::now(),
            reply,
        };
        match self.sender.try_send(request) {
            Ok(()) => Ok(Asked { answer, applied }),
            Err(TrySendError::Full(_)) => Err(Refused::Busy),
            Err(TrySendError::Disconnected(_)) => Err(Refused::Stopping),
        }
    }
}

/// Nobody waits without end for a disk that hangs, or for a thread that is gone.
async fn answer_within(patience: Duration, answer: oneshot::Receiver<Result<Seq, Refused>>) -> Result<Seq, Refused> {
    let answer = tokio::time::timeout(patience, answer).await;
    let answer = answer.map_err(|_| Refused::NotKnown("the journal does not answer"))?;
    answer.map_err(|_| Refused::NotKnown("the journal ended before it answered"))?
}

/// Items that are no commands.
fn alerts_in(items: &[Item]) -> usize {
    let is_alert = |item: &&Item| !matches!(item, Item::Command { .. });
    items.iter().filter(is_alert).count()
}

fn count_items(metrics: &Metrics, kind: &'static str, count: usize) {
    if count > 0 {
        metrics.ingest_items.get_or_create(&Kind { kind }).inc_by(count as u64);
    }
}
