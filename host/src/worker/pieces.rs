//! Bounds what a batch holds before it is committed: an alert may match many rules, and each verdict is an incident, a link
//! and an explanation. A batch of which plugins find too much is not settled; it is read back from the journal and applied
//! in pieces, which changes nothing about the outcome (I10). Decides nothing about incidents.

use std::collections::{HashMap, HashSet};

use donjon_core::batch::KvWrite;
use donjon_core::limits::{MAX_EXPLANATION_BYTES, MAX_NAME_VALUE_BYTES};
use donjon_core::{IncidentId, Seq};

use super::judging::Pending;
use super::stages::Found;
use super::unstorable::{Judging, Tried, Waiting};
use super::{MAX_BATCH_BYTES, Worker, WorkerError, replay};
use crate::intake::Accepted;

/// Most bytes that the verdicts on a batch may come to, by estimate; a single entry may come to more. Derived state and its
/// encoded records take several times as much until they are committed.
pub(super) const MAX_FOUND_BYTES: usize = 16 << 20;
/// What a verdict is counted as, beside its texts: records of an incident, its group and a link.
const VERDICT_BYTES: usize = 1 << 10;
/// What an open incident of an alert is counted as: its record is written again.
const FOLLOWED_BYTES: usize = 1 << 10;
/// What a write of a plugin to its own data is counted as, beside key and value.
const WRITE_BYTES: usize = 2 << 10;
/// What a column that a verdict read is counted as, beside its value.
const READ_BYTES: usize = 64;
/// How often a group is held until it is committed.
const GROUP_COPIES: usize = 4;
/// Bytes of the journal read at a time.
const PIECE_BYTES: usize = 8 << 20;

const _: () = assert!(
    MAX_FOUND_BYTES / VERDICT_BYTES >= 64,
    "one plugin's verdicts on one alert fit into a batch"
);

/// How much was found so far, on how many alerts.
#[derive(Clone)]
pub(super) struct Load {
    bytes: usize,
    judged: usize,
    entries: usize,
    /// Whether a plugin was refused a write that it may do in a smaller batch.
    wrote_too_much: bool,
}

impl Load {
    /// For a batch of so many entries.
    pub(super) fn of(entries: usize) -> Load {
        Load {
            bytes: 0,
            judged: 0,
            entries,
            wrote_too_much: false,
        }
    }

    /// For entries that are applied together however much is found.
    pub(super) fn unbounded() -> Load {
        Load::of(1)
    }

    /// Counts the verdicts on one alert of so many bytes.
    pub(super) fn add(&mut self, verdicts: &[Found], alert_bytes: usize) {
        self.judged += 1;
        let bytes = |found: &Found| {
            let read = alert_bytes + READ_BYTES * found.verdict.read.len();
            let names = found.rule.template.as_ref().map_or(0, |template| {
                alert_bytes.min(MAX_NAME_VALUE_BYTES) * template.placeholders()
            });
            let group: usize = found.verdict.group_key.iter().map(String::len).sum();
            VERDICT_BYTES + read.min(MAX_EXPLANATION_BYTES) + names + GROUP_COPIES * group
        };
        self.bytes += verdicts.iter().map(bytes).sum::<usize>();
    }

    /// Counts the open incidents of the alerts of a batch.
    pub(super) fn follow(&mut self, incidents: usize) {
        self.bytes += incidents * FOLLOWED_BYTES;
    }

    /// Counts what a plugin writes to its own data.
    pub(super) fn write(&mut self, write: &KvWrite) {
        let value = write.value.as_ref().map_or(0, |value| value.bytes.len());
        self.bytes += WRITE_BYTES + write.key.len() + value;
    }

    /// A plugin was refused a write that it may do in a smaller batch.
    pub(super) fn write_too_much(&mut self) {
        self.wrote_too_much = true;
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// How many entries a piece may have, if this is too much for one commit: fewer than now.
    pub(super) fn fewer_entries(&self) -> Option<usize> {
        if self.entries <= 1 || !self.wrote_too_much && self.bytes <= MAX_FOUND_BYTES {
            return None;
        }
        if self.bytes <= MAX_FOUND_BYTES {
            return Some(self.entries / 2);
        }
        let judged = if self.judged == 0 { self.entries } else { self.judged };
        let fit = judged.saturating_mul(MAX_FOUND_BYTES) / self.bytes;
        Some(fit.clamp(1, self.entries / 2))
    }
}

/// A batch that was not settled. Nothing is changed.
pub(super) struct Returned {
    /// Its entries.
    pub(super) first: Seq,
    pub(super) last: Seq,
    /// Who waits for them.
    pub(super) waiters: HashMap<Seq, Waiting>,
}

impl Worker {
    /// Counts the open incidents that the new events of a batch bring up to date.
    pub(super) fn count_followed(&mut self, pending: &[Pending], load: &mut Load) -> Result<(), WorkerError> {
        let mut followed: HashSet<IncidentId> = HashSet::new();
        for event in pending.iter().filter(|event| event.is_new()) {
            let alert = self
                .working
                .alert(&event.event.tenant, &event.event.alert.fingerprint)?;
            followed.extend(alert.iter().flat_map(|alert| &alert.open_links));
        }
        load.follow(followed.len());
        Ok(())
    }

    /// Applies the entries of a batch, so many at a time, fewer where these are too many, and more again behind what was.
    pub(super) fn apply_in_pieces(&mut self, mut batch: Returned, mut entries: usize) -> Result<(), WorkerError> {
        tracing::debug!(
            first = batch.first.0,
            last = batch.last.0,
            entries,
            "plugins find or write too much for one commit; the batch is applied in pieces"
        );
        let mut next = batch.first;
        while next <= batch.last {
            self.wait_for_room()?;
            let read = self.parts.journal.read_from(next, entries, PIECE_BYTES);
            let mut read = read.map_err(|error| WorkerError::Journal(error.to_string()))?;
            read.retain(|entry| entry.seq <= batch.last);
            let (mut piece, mut bytes) = (Vec::new(), 0);
            for entry in read {
                if bytes >= MAX_BATCH_BYTES {
                    break;
                }
                let waiter = batch.waiters.remove(&entry.seq).flatten();
                let entry = Accepted {
                    waiter,
                    ..replay::accepted(entry)
                };
                bytes += entry.bytes;
                piece.push(entry);
            }
            // Damaged entries in between are passed over, and told by whoever reads them.
            let Some(end) = piece.last().map(|entry| entry.seq.next()) else {
                break;
            };
            match self.try_batch(piece, &Judging::ByPlugins)? {
                Tried::Applied => (next, entries) = (end, self.batch_entries),
                Tried::Refused(refused, why) => {
                    self.apply_each(refused, &why)?;
                    (next, entries) = (end, self.batch_entries);
                }
                Tried::TooMuch(piece, fewer) => {
                    batch.waiters.extend(piece.waiters);
                    entries = fewer;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "pieces_tests.rs"]
mod tests;
