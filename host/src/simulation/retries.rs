//! What must be true of commands that are sent again under their key: derived state is that of a run in which each was
//! given once, and all of one key are answered alike. Has an idea of its own of which those are.

use std::collections::BTreeMap;

use donjon_core::command::{Command, CommandKey, CommandOutcome, Guard};
use donjon_core::{IncidentId, TenantId, Timestamp};
use donjon_store::journal::{Entry, EntryBody};

use super::ledger::Ledger;
use super::oracle::History;

/// For so long a key is known.
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// The first use of each key, until it is forgotten.
#[derive(Default)]
struct Keys(BTreeMap<(TenantId, [u8; 32]), First>);

struct First {
    request: [u8; 32],
    accepted: Timestamp,
    /// What was told of it, or of a repetition.
    told: Option<CommandOutcome>,
}

/// What an entry is.
enum Use<'a> {
    First,
    Again(&'a mut First),
}

impl Keys {
    fn look(&mut self, entry: &Entry, key: &CommandKey) -> Use<'_> {
        let place = (entry.tenant.clone(), key.key);
        let lapsed = |first: &First| first.accepted.0 + DAY_MS < entry.accepted.0;
        if self.0.get(&place).is_none_or(lapsed) {
            let first = First {
                request: key.request,
                accepted: entry.accepted,
                told: None,
            };
            self.0.insert(place, first);
            return Use::First;
        }
        Use::Again(self.0.get_mut(&place).unwrap())
    }
}

fn key_of(entry: &Entry) -> Option<CommandKey> {
    match &entry.body {
        EntryBody::Command { guard, .. } => guard.once,
        EntryBody::Alert { .. } | EntryBody::DeadLetter { .. } => None,
    }
}

/// The history with something that changes nothing in the place of every command whose key was used before; and how many
/// there are.
pub fn each_key_once(history: &History) -> (History, u64) {
    let (mut keys, mut once, mut again) = (Keys::default(), history.clone(), 0);
    for (seq, entry) in history {
        let Some(key) = key_of(entry) else { continue };
        if let Use::Again(_) = keys.look(entry, &key) {
            again += 1;
            let nothing = EntryBody::Command {
                actor: "nobody".to_owned(),
                guard: Guard::default(),
                command: Command::ConfirmIncident {
                    incident: IncidentId([7; 16]),
                },
            };
            let entry = Entry {
                body: nothing,
                ..entry.clone()
            };
            once.insert(*seq, entry);
        }
    }
    (once, again)
}

/// A repetition is told what the first one was told; another request under the same key that it is another.
pub fn are_answered_alike(history: &History, ledger: &Ledger) -> Result<(), String> {
    let mut keys = Keys::default();
    for (seq, entry) in history {
        let (Some(key), EntryBody::Command { actor, .. }) = (key_of(entry), &entry.body) else {
            continue;
        };
        let told = ledger.outcomes.get(actor);
        let first = match keys.look(entry, &key) {
            Use::Again(first) if first.request != key.request => {
                if told.is_some_and(|told| *told != CommandOutcome::KeyReused) {
                    return Err(format!(
                        "entry {seq} used the key of another request and was told: {told:?}"
                    ));
                }
                continue;
            }
            Use::Again(first) => first,
            Use::First => match keys.look(entry, &key) {
                Use::Again(first) => first,
                Use::First => continue,
            },
        };
        match (&first.told, told) {
            (Some(first), Some(told)) if first != told => {
                return Err(format!(
                    "entry {seq} was sent again and told {told:?}, the first one {first:?}"
                ));
            }
            (None, Some(told)) => first.told = Some(told.clone()),
            _ => {}
        }
    }
    Ok(())
}
