//! Applies what the journal holds beyond the cursor: after a crash, or after derived state had to be rebuilt. Reads
//! documents back into alerts; knows nothing of why they were not applied.

use donjon_core::digest::content_digest;
use donjon_core::{Alert, Value};
use donjon_store::journal::{Entry, EntryBody};

use super::{Worker, WorkerError};
use crate::ingest::normalise;
use crate::intake::{Accepted, Item, NewAlert, Origin, memory_of};
use crate::json;

/// Entries and bytes read at a time.
const READ_ENTRIES: usize = 4096;
const READ_BYTES: usize = 8 << 20;
/// A line of progress for so many entries.
const SAY_EVERY: u64 = 200_000;

/// Runs up to the newest entry that was in the journal at the start.
pub(super) fn run(worker: &mut Worker) -> Result<(), WorkerError> {
    let journal_error = |error: donjon_store::journal::JournalError| WorkerError::Journal(error.to_string());
    let end = worker.parts.replay_to;
    let begin = worker.parts.progress.applied();
    if begin >= end {
        return Ok(());
    }
    tracing::info!(
        from = begin.0 + 1,
        to = end.0,
        "applying journal entries that were accepted and not yet applied"
    );
    let mut next = begin.next();
    let mut said = begin.0;
    while next <= end {
        let entries = worker
            .parts
            .journal
            .read_from(next, READ_ENTRIES, READ_BYTES)
            .map_err(journal_error)?;
        let Some(last) = entries.last().map(|entry| entry.seq) else {
            break;
        };
        next = last.next();
        // Read back batch by batch: parsed alerts are many times as large as their text.
        let entries = entries.into_iter().filter(|entry| entry.seq <= end);
        worker.apply(entries.map(accepted))?;
        worker.look_after_state()?;
        if next.0 - said > SAY_EVERY {
            said = next.0;
            tracing::info!(applied = next.0 - 1, to = end.0, "still applying");
        }
    }
    if worker.parts.progress.applied() < end {
        // What is left does not read: the reader noted it, the journal's thread tells it, and at the start somebody
        // accepted it. The cursor goes past it, or the next start would ask again.
        worker.commit(end)?;
        // Clients may see the cursor from now on: what a torn tail named must not be given again after a crash.
        worker.flush()?;
    }
    tracing::info!(applied = end.0, "journal is applied");
    Ok(())
}

/// An entry as it was on its way to the worker. One that was taken as an alert and does not read as that any more is a
/// refused item with the reason: its document stays in the journal, where people find it.
pub(crate) fn accepted(entry: Entry) -> Accepted {
    let mut origin = Origin::Journal;
    let item = match entry.body {
        EntryBody::Alert {
            event_id,
            provider,
            api_key_name,
            document,
            id_generated,
        } => match read_back(&document, &provider, id_generated) {
            Ok(alert) => {
                let digest = content_digest(&alert.attributes, id_generated);
                Item::Alert(Box::new(NewAlert {
                    event_id,
                    provider,
                    api_key_name,
                    digest,
                    alert,
                    document: Vec::new(),
                }))
            }
            Err(why) => {
                tracing::error!(
                    seq = entry.seq.0,
                    "alert of the journal does not read back; it is kept as a refused item: {why}"
                );
                origin = Origin::Unreadable;
                Item::DeadLetter {
                    provider,
                    reason: format!("{UNREADABLE}: {why}"),
                    raw: Vec::new(),
                }
            }
        },
        EntryBody::Command { actor, guard, command } => Item::Command { actor, guard, command },
        EntryBody::DeadLetter { provider, reason, .. } => Item::DeadLetter {
            provider,
            reason,
            raw: Vec::new(),
        },
    };
    Accepted {
        seq: entry.seq,
        at: entry.accepted,
        tenant: entry.tenant,
        bytes: memory_of(&item),
        item,
        waiter: None,
        origin,
    }
}

/// How the reason of a refused item begins that was taken as an alert.
const UNREADABLE: &str = "accepted as an alert, but its document does not read back";

fn read_back(document: &[u8], provider: &str, id_generated: bool) -> Result<Alert, String> {
    match json::parse_bytes(document) {
        Ok(Value::Object(attributes)) => {
            normalise::reread(attributes, provider, id_generated).map_err(|error| error.to_string())
        }
        Ok(_) => Err("it is no object".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
