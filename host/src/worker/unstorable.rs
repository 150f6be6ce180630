//! What is done about a record that the store refuses. The caps of the domain are to keep it from happening (const
//! assertions in `donjon-store`); should one be wrong, it costs the entry that it happens with, never the line: what is
//! refused here would be refused at every replay.
//!
//! The batch is read back from the journal and applied entry by entry; an entry that is refused alone is applied again
//! without what plugins made of it; one that is refused even then becomes a dead letter with the reason.

use std::sync::Arc;

use donjon_core::Seq;
use donjon_core::command::DeadLetter;
use donjon_core::limits::MAX_ERROR_TEXT_BYTES;
use donjon_core::text::one_line;
use donjon_store::{CommitError, Entry};

use super::pieces::Returned;
use super::{Worker, WorkerError, replay, settle_waiter};
use crate::intake::{Accepted, Applied, Item, Waiter};

/// Who waits for an entry, and under which index.
pub(super) type Waiting = Option<(Arc<Waiter>, usize)>;

/// Whether plugins are asked about a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Judging {
    /// As always.
    ByPlugins,
    /// By nobody, for this reason.
    ByNobody(String),
}

/// What became of a batch.
pub(super) enum Tried {
    /// It is committed.
    Applied,
    /// The store refused a record of it, for this reason. Nothing is changed.
    Refused(Returned, String),
    /// Plugins found too much for one commit: so many entries may be applied at a time. Nothing is changed.
    TooMuch(Returned, usize),
}

/// The reason, if it is a record that cannot be stored; other failures are the store's.
pub(super) fn refused_record(error: WorkerError) -> Result<String, WorkerError> {
    match error {
        WorkerError::Commit(error @ CommitError::Record { .. }) => {
            Ok(one_line(&error.to_string(), MAX_ERROR_TEXT_BYTES))
        }
        other => Err(other),
    }
}

impl Worker {
    /// Applies the entries of a refused batch one by one.
    pub(super) fn apply_each(&mut self, mut refused: Returned, why: &str) -> Result<(), WorkerError> {
        tracing::error!(
            first = refused.first.0,
            last = refused.last.0,
            "a batch cannot be stored, applying its entries one by one: {why}"
        );
        let mut seq = refused.first;
        while seq <= refused.last {
            // Damaged entries in between are passed over, and told by whoever reads them.
            let Some(entry) = self.read_next(seq)?.filter(|entry| entry.seq <= refused.last) else {
                break;
            };
            seq = entry.seq.next();
            let waiter = refused.waiters.remove(&entry.seq).flatten();
            self.apply_alone(Accepted {
                waiter,
                ..replay::accepted(entry)
            })?;
        }
        Ok(())
    }

    fn apply_alone(&mut self, entry: Accepted) -> Result<(), WorkerError> {
        let seq = entry.seq;
        let Tried::Refused(mut refused, why) = self.try_batch(vec![entry], &Judging::ByPlugins)? else {
            return Ok(());
        };
        let waiter = refused.waiters.remove(&seq).flatten();
        let Some(again) = self.entry_again(seq, waiter)? else {
            return Ok(());
        };
        let reason = format!("applied without plugins: {why}");
        let Tried::Refused(mut refused, why) = self.try_batch(vec![again], &Judging::ByNobody(reason))? else {
            tracing::error!(
                seq = seq.0,
                "alert cannot be stored with what plugins made of it: {why}"
            );
            return Ok(());
        };
        let waiter = refused.waiters.remove(&seq).flatten();
        match self.entry_again(seq, waiter)? {
            Some(entry) => self.put_aside(entry, &why),
            None => Ok(()),
        }
    }

    /// Keeps an entry that cannot be applied as a dead letter.
    fn put_aside(&mut self, entry: Accepted, why: &str) -> Result<(), WorkerError> {
        tracing::error!(
            seq = entry.seq.0,
            "entry cannot be stored; it is kept as a dead letter: {why}"
        );
        let provider = match entry.item {
            Item::Alert(new) => new.provider,
            Item::DeadLetter { provider, .. } => provider,
            Item::Command { .. } => String::new(),
        };
        let reason = format!("accepted, but what it makes cannot be stored: {why}");
        let letter = DeadLetter {
            reason: one_line(&reason, MAX_ERROR_TEXT_BYTES),
            accepted: entry.at,
            provider,
        };
        let failure = Some(letter.reason.clone());
        self.working.put_dead_letter(&entry.tenant, entry.seq, letter);
        self.commit(entry.seq)?;
        let applied = Applied::Event {
            outcome: "invalid",
            incidents: Vec::new(),
            failure,
        };
        settle_waiter(entry.waiter, applied);
        Ok(())
    }

    /// The entry at a position as it was accepted.
    fn entry_again(&self, seq: Seq, waiter: Waiting) -> Result<Option<Accepted>, WorkerError> {
        let entry = self.read_next(seq)?.filter(|entry| entry.seq == seq);
        Ok(entry.map(replay::accepted).map(|entry| Accepted { waiter, ..entry }))
    }

    /// The entry at a position, or the next one that reads.
    fn read_next(&self, seq: Seq) -> Result<Option<Entry>, WorkerError> {
        let read = self.parts.journal.read_from(seq, 1, usize::MAX);
        let read = read.map_err(|error| WorkerError::Journal(error.to_string()))?;
        Ok(read.into_iter().next())
    }
}
