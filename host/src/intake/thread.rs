//! The journal's thread: appends what all waiting requests bring, one `fdatasync` for the group, then answers them and
//! hands their items to the worker. It also frees old days, and tells what is wrong with the journal or the clock,
//! whoever noticed it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use donjon_core::command::Command;
use donjon_core::{Seq, Timestamp};
use donjon_store::Day;
use donjon_store::journal::{EntryBody, Journal, JournalError, NewEntry, freeable};

use super::progress::DISK_IS_FULL;
use super::{Accepted, IntakeOptions, Item, Origin, Progress, Refused, Rejudged, Request, alerts_in, count_items};
use crate::clock::{Clock, ClockNews};
use crate::disk_space::{Line, Shortage};
use crate::telemetry::{Metrics, Stage};

/// Entries of one group commit; larger requests make a group of their own.
const GROUP_ENTRIES: usize = 8192;
/// How often the thread looks whether it is to stop.
const STOP_POLL: Duration = Duration::from_millis(100);
/// How often the journal is looked through for days that may go.
const RETENTION_EVERY: Duration = Duration::from_secs(2);
/// A full disk is over once there was space for so long: at the border every batch that is applied moves it.
const DISK_SETTLES: Duration = Duration::from_secs(10);

/// Everything the thread owns.
pub(crate) struct JournalThread {
    pub(super) journal: Journal,
    pub(super) requests: Receiver<Request>,
    pub(super) to_worker: Sender<Vec<Accepted>>,
    pub(super) clock: Clock,
    pub(super) progress: Arc<Progress>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) options: IntakeOptions,
    pub(super) retention_looked: Instant,
    /// Set by `Intake::stop`: clients that never end their requests must not keep the thread.
    pub(super) stopping: Arc<AtomicBool>,
    /// The time of the newest entry.
    pub(super) last_at: Timestamp,
    /// The next position when the journal was last looked after: the same again means that nothing came.
    pub(super) quiet_since: Seq,
    /// When the reserve on the disk was touched last, until that is over.
    pub(super) disk_full_at: Option<Instant>,
    /// What commands that judge again still need.
    pub(super) rejudged: Rejudged,
}

impl JournalThread {
    /// Works until all intake handles, or the worker, are gone.
    pub(super) fn run(&mut self) {
        self.serve();
        // Whoever is not answered must take it that the thread died.
        refuse_all(self.requests.try_iter().collect(), &Refused::Stopping, &self.metrics);
        self.mark_synced();
    }

    fn serve(&mut self) {
        let progress = Arc::clone(&self.progress);
        loop {
            let first = match self.requests.recv_timeout(STOP_POLL) {
                Ok(first) => Some(first),
                Err(RecvTimeoutError::Timeout) if !self.stopping.load(Ordering::SeqCst) => None,
                Err(_) => return,
            };
            let goes_on = progress.while_journal_works(|| {
                let goes_on = first.is_none_or(|first| self.take_turn(first));
                self.look_around();
                goes_on
            });
            if !goes_on {
                return;
            }
        }
    }

    /// Takes a request, and all that wait behind it, into the journal. False once the worker is gone.
    fn take_turn(&mut self, first: Request) -> bool {
        let mut entries = first.items.len();
        let mut group = vec![first];
        while entries < GROUP_ENTRIES
            && let Ok(request) = self.requests.try_recv()
        {
            entries += request.items.len();
            group.push(request);
        }
        let group = self.that_fits(group);
        group.is_empty() || self.commit(group)
    }

    /// One turn without a thread: false if nothing waits, or nobody applies any more.
    #[cfg(test)]
    pub(crate) fn turn(&mut self) -> bool {
        match self.requests.try_recv() {
            Ok(first) => self.take_turn(first),
            Err(_) => false,
        }
    }

    /// Between two groups, and ten times a second while there are none.
    fn look_around(&mut self) {
        // A look keeps the believed time going, so that a jump is noticed when it happens.
        self.clock.now();
        for news in self.clock.take_news() {
            match news {
                ClockNews::Agrees => tracing::warn!("{news}"),
                _ => tracing::error!("{news}"),
            }
        }
        self.metrics.clock_ahead_ms.set(self.clock.ahead_ms());
        self.look_for_the_end_of_the_journal();
        self.look_at_the_disk();
        let reader = self.journal.reader();
        for damage in reader.take_untold_damage() {
            tracing::error!("journal is damaged: {damage}");
        }
        self.metrics
            .journal_damage
            .set(i64::try_from(reader.damage_count()).unwrap_or(i64::MAX));
        self.free_old_days_if_due();
    }

    /// After a failed sync the journal refuses everything, for good: probes must know.
    fn look_for_the_end_of_the_journal(&mut self) {
        // Nothing is left to sync after a turn: this only asks.
        if let Err(error @ JournalError::Poisoned { .. }) = self.journal.sync()
            && self.progress.journal_broke().is_none()
        {
            tracing::error!("nothing is taken any more, and nothing acknowledged is lost: {error}");
            self.progress.journal_breaks(error.to_string());
        }
    }

    /// Whether alerts are refused is told when it begins and when it ends, also where none comes in between.
    fn look_at_the_disk(&mut self) {
        let waiting = self.progress.waiting_bytes();
        match self.options.disk_space.fits(Line::Reserve, waiting) {
            Err(shortage) => self.disk_is_full(&shortage),
            Ok(()) if self.disk_full_at.is_some_and(|at| at.elapsed() >= DISK_SETTLES) => {
                self.disk_full_at = None;
                self.progress.set_disk_is_full(false);
                tracing::info!("there is space on the disk again: alerts are taken");
            }
            Ok(()) => {}
        }
    }

    fn disk_is_full(&mut self, shortage: &Shortage) {
        self.disk_full_at = Some(Instant::now());
        if self.progress.set_disk_is_full(true) {
            tracing::error!("alerts are refused: {DISK_IS_FULL}: {shortage}");
        }
    }

    /// The requests that the disk has room for; the others are refused. What waits to be applied counts as if it were
    /// written already: derived state will need about as much once more.
    fn that_fits(&mut self, group: Vec<Request>) -> Vec<Request> {
        let sizes = group.iter().flat_map(|request| &request.sizes);
        let planned: u64 = sizes.map(|size| size.entry).sum();
        let waiting = self.progress.waiting_bytes();
        let space = &self.options.disk_space;
        let Err(shortage) = space.fits(Line::Reserve, planned.saturating_add(waiting)) else {
            return group;
        };
        let may_act = space.fits(Line::Floor, 0).is_ok();
        let (taken, refused): (Vec<_>, Vec<_>) = group.into_iter().partition(|request| may_act && request.is_command());
        self.disk_is_full(&shortage);
        refuse_all(refused, &Refused::DiskFull(shortage.to_string()), &self.metrics);
        taken
    }

    fn free_old_days_if_due(&mut self) {
        if self.retention_looked.elapsed() >= RETENTION_EVERY {
            self.retention_looked = Instant::now();
            self.free_old_days();
            self.mark_if_quiet();
        }
    }

    /// While requests come, each group says of the one before that it was synced, and derived state proves what it has
    /// flushed. Where neither comes (a held line), a mark in the journal's folder does.
    pub(crate) fn mark_if_quiet(&mut self) {
        let next = self.journal.next_seq();
        let quiet = std::mem::replace(&mut self.quiet_since, next) == next;
        if quiet && self.progress.flushed().next() < next {
            self.mark_synced();
        }
    }

    /// For a quiet journal, and for the end.
    pub(crate) fn mark_synced(&mut self) {
        if let Err(error) = self.journal.mark_synced() {
            tracing::warn!(%error, "could not note down up to where the journal is synced");
        }
    }

    /// Frees days below every cursor (I8): the worker's, as far as it survives a crash of the machine, and that of the
    /// checkpoints, without which derived state could not be made again; and below what a command reads that a replay
    /// from there comes to (I10). Asks for a checkpoint where only that keeps a day.
    pub(crate) fn free_old_days(&mut self) {
        let today = Day::of(self.clock.now());
        let (segments, policy) = (self.journal.reader().segments(), &self.options.retention);
        let (flushed, checkpointed) = (self.progress.flushed(), self.progress.checkpointed());
        let could = freeable(&segments, &[flushed], policy, today);
        let unread = self.rejudged.freeable_to(flushed.min(checkpointed));
        let days = freeable(&segments, &[flushed, checkpointed, unread], policy, today);
        self.progress.set_checkpoint_wanted(days.len() < could.len());
        if days.is_empty() && !self.journal.has_unremoved() {
            return;
        }
        match self.journal.free(&days) {
            Ok(_) => tracing::info!(days = days.len(), "freed old days of the journal"),
            Err(error) => tracing::warn!(%error, "old days of the journal could not be freed; trying again later"),
        }
    }

    /// One group commit. False once the worker is gone.
    fn commit(&mut self, mut group: Vec<Request>) -> bool {
        let at = self.clock.now();
        if at < self.last_at {
            // A clock that was wrong was put right, and told so.
            self.journal.go_back_to(at);
        }
        self.last_at = at;
        self.keep_what_is_rejudged(&mut group);
        let entries: Vec<Vec<NewEntry>> = group.iter_mut().map(|request| entries_of(request, at)).collect();
        let first = match self.append(&mut group, entries) {
            Ok(Some(first)) => first,
            Ok(None) => return true,
            Err(error) => {
                let count: usize = group.iter().map(|request| request.items.len()).sum();
                tracing::error!(%error, "journal refused {count} entries; their senders were told");
                refuse_all(group, &refusal(&error), &self.metrics);
                return true;
            }
        };
        let count = group.iter().map(|request| request.items.len() as u64).sum::<u64>();
        let last = Seq(first.0 + count - 1);
        self.progress.accepted.store(last.0, Ordering::SeqCst);
        self.metrics.journal_seq.set(i64::try_from(last.0).unwrap_or(i64::MAX));
        #[expect(clippy::cast_precision_loss, reason = "a group has few entries")]
        self.metrics.journal_group_entries.observe(count as f64);
        let sizes = group.iter().flat_map(|request| &request.sizes);
        let bytes = sizes.map(|size| size.memory).sum();
        self.progress.waiting_bytes.fetch_add(bytes, Ordering::SeqCst);
        // Counted there before it is given back here, so that no moment counts it nowhere.
        for holding in group.iter().filter_map(|request| request.holding.as_ref()) {
            holding.release();
        }
        let accepted = acknowledge(group, first, at, &self.metrics);
        self.to_worker.send(accepted).is_ok()
    }

    /// Whether days would go if no command needed them.
    #[cfg(test)]
    pub(crate) fn keeps_days_for_commands(&mut self) -> bool {
        let confirmed = self.progress.flushed().min(self.progress.checkpointed());
        let unread = self.rejudged.freeable_to(confirmed);
        let segments = self.journal.reader().segments();
        let today = Day::of(self.clock.now());
        let free = |cursors: &[Seq]| freeable(&segments, cursors, &self.options.retention, today).len();
        free(&[confirmed, unread]) < free(&[confirmed])
    }

    /// A command that judges again says in the journal from where on there were documents, and keeps them: whenever it is
    /// replayed, it reads neither more nor fewer than the first time. Noted before it is written: an entry whose sync
    /// failed may be found at the next start.
    fn keep_what_is_rejudged(&mut self, group: &mut [Request]) {
        let there = self.journal.reader().first_seq();
        let items = group.iter_mut().flat_map(|request| &mut request.items);
        for (item, at) in items.zip(self.journal.next_seq().0..) {
            if let Item::Command {
                command: Command::Rejudge { from, .. },
                ..
            } = item
            {
                *from = there.max(*from);
                self.rejudged.note(Seq(at), *from);
            }
        }
    }

    /// Writes the entries of a group, makes them durable, and gives the position of the first; none if nothing is left
    /// of the group. One entry that cannot be written at all refuses its own request and no other. (`accept` refuses
    /// what is too large before it comes here; this is for what nobody thought of.)
    fn append(&mut self, group: &mut Vec<Request>, entries: Vec<Vec<NewEntry>>) -> Result<Option<Seq>, JournalError> {
        let lengths: Vec<usize> = entries.iter().map(Vec::len).collect();
        let all: Vec<NewEntry> = entries.into_iter().flatten().collect();
        let stages = &self.metrics.stages;
        let error = match stages.time(Stage::Append, || self.journal.append(&all)) {
            Ok(seqs) => {
                let synced = stages.time(Stage::Sync, || self.journal.sync());
                return synced.map(|()| Some(*seqs.start()));
            }
            Err(error @ (JournalError::EntryTooLarge { .. } | JournalError::Codec { .. })) => error,
            Err(error) => return Err(error),
        };
        tracing::error!(%error, "an entry cannot be written; trying the requests of its group one by one");
        let mut rest = all.as_slice();
        let mut first = None;
        let mut taken = Vec::with_capacity(group.len());
        for (request, length) in group.drain(..).zip(lengths) {
            let (own, others) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            rest = others;
            match self.journal.append(own) {
                Ok(seqs) => {
                    first.get_or_insert(*seqs.start());
                    taken.push(request);
                }
                Err(error) => refuse_all(vec![request], &refusal(&error), &self.metrics),
            }
        }
        *group = taken;
        self.journal.sync().map(|()| first)
    }
}

/// Answers every request of a durable group and hands its items on.
fn acknowledge(group: Vec<Request>, first: Seq, at: Timestamp, metrics: &Metrics) -> Vec<Accepted> {
    let mut seq = first;
    let mut accepted = Vec::new();
    for request in group {
        let request_first = seq;
        let is_letter = |item: &&Item| matches!(item, Item::DeadLetter { .. });
        let letters = request.items.iter().filter(is_letter).count();
        count_items(metrics, "invalid", letters);
        count_items(metrics, "accepted", alerts_in(&request.items) - letters);
        for (index, (item, size)) in request.items.into_iter().zip(request.sizes).enumerate() {
            let waiter = request.waiter.as_ref().map(|waiter| (Arc::clone(waiter), index));
            accepted.push(Accepted {
                seq,
                at,
                tenant: request.tenant.clone(),
                item,
                waiter,
                bytes: size.memory,
                origin: Origin::Request,
            });
            seq = seq.next();
        }
        metrics
            .journal_commit_seconds
            .observe(request.arrived.elapsed().as_secs_f64());
        // The client may have gone away; its alerts are accepted all the same.
        let _ = request.reply.send(Ok(request_first));
    }
    accepted
}

fn refuse_all(group: Vec<Request>, refused: &Refused, metrics: &Metrics) {
    for request in group {
        count_items(metrics, "refused", alerts_in(&request.items));
        let _ = request.reply.send(Err(refused.clone()));
    }
}

fn refusal(error: &JournalError) -> Refused {
    match error {
        JournalError::DiskFull { .. } => Refused::DiskFull(error.to_string()),
        JournalError::EntryTooLarge { limit, found } => Refused::TooLarge {
            limit: *limit,
            found: *found,
        },
        _ => Refused::Broken(error.to_string()),
    }
}

/// The journal's entries of a request. Documents and raw bytes move there; the worker needs only the parsed alert.
fn entries_of(request: &mut Request, at: Timestamp) -> Vec<NewEntry> {
    let tenant = &request.tenant;
    let entry = |body| NewEntry {
        accepted: at,
        tenant: tenant.clone(),
        body,
    };
    request.items.iter_mut().map(|item| entry(body_of(item))).collect()
}

fn body_of(item: &mut Item) -> EntryBody {
    match item {
        Item::Alert(new) => EntryBody::Alert {
            event_id: new.event_id.clone(),
            provider: new.provider.clone(),
            api_key_name: new.api_key_name.clone(),
            document: std::mem::take(&mut new.document),
            id_generated: new.alert.id_generated,
        },
        Item::DeadLetter { provider, reason, raw } => EntryBody::DeadLetter {
            provider: provider.clone(),
            reason: reason.clone(),
            raw: std::mem::take(raw),
        },
        Item::Command { actor, guard, command } => EntryBody::Command {
            guard: guard.clone(),
            actor: actor.clone(),
            command: command.clone(),
        },
    }
}

#[cfg(test)]
#[path = "thread_tests.rs"]
mod tests;
