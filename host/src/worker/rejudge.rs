//! The command that makes good: alerts that no correlator saw, or that a plugin failed on, are judged again from their
//! documents in the journal. Decides by the journal and derived state alone, so a replay does the same (I10).

use donjon_core::admit::{Admission, Dedup};
use donjon_core::incident::MemberView;
use donjon_core::limits::MAX_REJUDGED_POSITIONS;
use donjon_core::settle::CommandMeta;
use donjon_core::state::StateError;
use donjon_core::{AlertState, Event, Seq};
use donjon_runtime::PluginSet;

use super::judging::Pending;
use super::pieces::Load;
use super::stages::Interrupted;
use super::tally::Tally;
use super::{Worker, WorkerError, replay, required};
use crate::intake::{Item, Origin};

/// Most positions of a command that an older version wrote.
const MAX_STORED_POSITIONS: u64 = 10_000;
/// Bytes read and judged at a time.
const READ_BYTES: usize = 16 << 20;

const _: () = assert!(
    MAX_REJUDGED_POSITIONS <= MAX_STORED_POSITIONS,
    "what is written today is one atomic step"
);

/// What to judge again.
pub(super) struct Range {
    pub(super) from: Seq,
    pub(super) to: Seq,
    /// Also what was judged.
    pub(super) all: bool,
}

impl Worker {
    /// Judges the newest events of alerts again where they are in the range; answers how many. Changes are committed
    /// together with the command. An alert that had a newer event since was judged with that one.
    ///
    /// Older versions wrote longer ranges into one command; these are done in steps, each in a commit of its own with the
    /// cursor before the command. Should the process die in between, what still fails is counted once more.
    pub(super) fn rejudge(&mut self, meta: &CommandMeta, range: &Range) -> Result<u64, WorkerError> {
        let to = range.to.0.min(range.from.0.saturating_add(MAX_STORED_POSITIONS - 1));
        let (mut next, mut count) = (range.from, 0);
        while next.0 <= to {
            if next > range.from {
                self.commit(self.parts.progress.applied())?;
                self.wait_for_room()?;
            }
            let end = to.min(next.0.saturating_add(MAX_REJUDGED_POSITIONS - 1));
            count += self.rejudge_step(meta, (next, Seq(end)), range.all)?;
            next = Seq(end).next();
        }
        Ok(count)
    }

    /// One atomic step, by one set of plugins (I9): it begins anew where another one takes over.
    fn rejudge_step(&mut self, meta: &CommandMeta, range: (Seq, Seq), all: bool) -> Result<u64, WorkerError> {
        loop {
            required::wait_for_required(&self.parts)?;
            let plugins = self.parts.plugins.load_full();
            // Old entries are settled once more; what it changes is told with the command.
            self.working.begin_entry(&meta.tenant, meta.seq)?;
            match self.rejudge_by(&plugins, meta, range, all) {
                Ok((count, tallies)) => {
                    tallies.into_iter().for_each(|tally| tally.count(&self.parts.metrics));
                    return Ok(count);
                }
                Err(Interrupted::Ended(error)) => return Err(error),
                // However much is found is settled together here.
                Err(Interrupted::PluginsChanged | Interrupted::TooMuch) => self.forget_changes(),
            }
        }
    }

    fn rejudge_by(
        &mut self,
        plugins: &PluginSet,
        meta: &CommandMeta,
        (from, to): (Seq, Seq),
        all: bool,
    ) -> Result<(u64, Vec<Tally>), Interrupted> {
        let (mut next, mut count, mut tallies) = (from, 0, Vec::new());
        while next <= to {
            let most = usize::try_from(to.0 - next.0 + 1).unwrap_or(usize::MAX);
            let read = self.parts.journal.read_from(next, most, READ_BYTES);
            let entries = read.map_err(|error| WorkerError::Journal(error.to_string()))?;
            let Some(last) = entries.last().map(|entry| entry.seq) else {
                break;
            };
            next = last.next();
            let mut pending = Vec::new();
            for entry in entries {
                if entry.seq <= to && entry.tenant == meta.tenant {
                    pending.extend(self.once_more(entry, all)?);
                }
            }
            count += pending.len() as u64;
            let judged = self.judge_tenants(plugins, &mut pending, meta.accepted, &mut Load::unbounded())?;
            for judged in judged {
                tallies.push(self.settle_judged(judged, &mut pending)?);
            }
        }
        Ok((count, tallies))
    }

    /// The event of an entry as it was admitted, if it is to be judged again.
    fn once_more(&mut self, entry: donjon_store::journal::Entry, all: bool) -> Result<Option<Pending>, StateError> {
        let accepted = replay::accepted(entry);
        if accepted.origin == Origin::Unreadable {
            self.parts.metrics.journal_unreadable.inc();
        }
        let Item::Alert(new) = accepted.item else {
            return Ok(None);
        };
        let state = self.working.alert(&accepted.tenant, &new.alert.fingerprint)?;
        let wanted =
            |state: &&AlertState| state.last_event.seq == accepted.seq && (all || state.plugin_failure.is_some());
        let Some(admission) = state.filter(wanted).map(admission_of) else {
            return Ok(None);
        };
        let event = Event {
            seq: accepted.seq,
            accepted: accepted.at,
            tenant: accepted.tenant,
            event_id: new.event_id,
            digest: new.digest,
            alert: new.alert,
        };
        let sender = (new.provider, new.api_key_name);
        Ok(Some(Pending::new(event, sender, admission, None)))
    }
}

/// Nothing about the alert changed, but for what plugins say.
fn admission_of(state: &AlertState) -> Admission {
    let view = MemberView {
        status: state.status(),
        severity: state.severity,
        unresolved: state.unresolved(),
    };
    Admission {
        dedup: if state.event_count > 1 {
            Dedup::Update
        } else {
            Dedup::First
        },
        before: Some(view),
        after: view,
        stored: state.last_event,
        first_accepted: (state.event_count > 1).then_some(state.first_accepted),
    }
}
