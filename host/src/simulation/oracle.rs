//! What must be true of a run, whatever went wrong in it. Reads the journal and committed state, never the code's own
//! idea of them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use donjon_core::command::Command;
use donjon_core::limits::{
    MAX_CHANGES_PER_COMMIT, MAX_ENRICHMENTS_PER_ALERT, MAX_ERROR_TEXT_BYTES, MAX_OPEN_LINKS_PER_ALERT, RECENT_EVENTS,
};
use donjon_core::{Seq, TenantId};
use donjon_store::journal::{
    Durability, Entry, EntryBody, Journal, JournalError, JournalOptions, JournalReader, NewEntry,
};
use donjon_store::limits::{MAX_KEY_BYTES, MAX_RECORD_BYTES};
use donjon_store::simulation::describe;
use donjon_store::state::Dump;
use donjon_store::{State, StateReader};

use super::ledger::{Answer, Ledger};
use super::scripts::Direction;
use super::server::{Ground, Parts, plugins, worker};
use crate::intake::{Accepted, Item, Progress};
use crate::plugin_kv::PendingKv;
use crate::telemetry::Metrics;
use crate::worker::accepted_again;

/// Entries and bytes read at a time.
const READ_ENTRIES: usize = 512;
const READ_BYTES: usize = 1 << 20;

/// Every entry that was ever durable, days that were freed since included.
pub type History = BTreeMap<Seq, Entry>;

/// Adds what the journal holds now. What was there once must be there still, unless it could be freed: all up to
/// `freeable` was flushed and in two checkpoints when days were freed (I8).
pub fn read_journal(history: &mut History, journal: &JournalReader, freeable: Seq) -> Result<(), String> {
    let mut found = History::new();
    let mut next = journal.first_seq();
    loop {
        let entries = journal.read_from(next, READ_ENTRIES, READ_BYTES);
        let entries = entries.map_err(|error| error.to_string())?;
        let Some(last) = entries.last().map(|entry| entry.seq) else {
            break;
        };
        next = last.next();
        found.extend(entries.into_iter().map(|entry| (entry.seq, entry)));
    }
    for (seq, known) in history.iter() {
        match found.get(seq) {
            Some(entry) if entry == known => {}
            None if *seq <= freeable => {}
            Some(_) => return Err(format!("entry {seq} of the journal is another one than it was")),
            None => return Err(format!("entry {seq} was in the journal and is not any more")),
        }
    }
    history.extend(found);
    Ok(())
}

/// The name that the workload gave to what became an entry.
fn name_of(entry: &Entry) -> String {
    match &entry.body {
        EntryBody::Alert { event_id, .. } => event_id.as_str().to_owned(),
        EntryBody::DeadLetter { raw, .. } => String::from_utf8_lossy(raw).into_owned(),
        EntryBody::Command { actor, .. } => actor.clone(),
    }
}

/// Acknowledged items are in the journal at their position, refused ones are not, and nothing is in it twice.
pub fn answers_are_true(history: &History, ledger: &Ledger) -> Result<(), String> {
    let mut places: BTreeMap<String, (Seq, &TenantId)> = BTreeMap::new();
    let mut accepted_at = 0;
    for (seq, entry) in history {
        let name = name_of(entry);
        if let Some((before, _)) = places.insert(name.clone(), (*seq, &entry.tenant)) {
            return Err(format!("{name} is in the journal twice: entries {before} and {seq}"));
        }
        if entry.accepted.0 < accepted_at {
            return Err(format!("entry {seq} was accepted before the one before it"));
        }
        accepted_at = entry.accepted.0;
    }
    for sent in &ledger.sent {
        for (index, name) in sent.names.iter().enumerate() {
            let found = places.get(name);
            match &sent.answer {
                Answer::Accepted(first) => {
                    let expected = Seq(first.0 + index as u64);
                    if found != Some(&(expected, &sent.tenant)) {
                        let tenant = &sent.tenant;
                        return Err(format!(
                            "{name} of {tenant} was acknowledged as entry {expected}, the journal has it at {found:?}"
                        ));
                    }
                }
                Answer::Refused if found.is_some() => {
                    return Err(format!("{name} was refused and is in the journal: {found:?}"));
                }
                Answer::Refused | Answer::Unknown => {}
            }
        }
    }
    Ok(())
}

/// A journal of everything that was ever durable: nothing of it was freed.
fn whole_journal(history: &History, dir: &Path) -> Result<JournalReader, String> {
    let options = JournalOptions {
        durability: Durability::Buffered,
        ..JournalOptions::default()
    };
    let failed = |error: JournalError| error.to_string();
    let (mut journal, _) = Journal::open(dir, options).map_err(failed)?;
    let mut run: Vec<NewEntry> = Vec::new();
    for (seq, entry) in history {
        if *seq != Seq(journal.next_seq().0 + run.len() as u64) {
            journal.append(&std::mem::take(&mut run)).map_err(failed)?;
            // Positions that a torn tail named were given to nothing.
            journal.continue_after(Seq(seq.0 - 1));
        }
        run.push(NewEntry {
            accepted: entry.accepted,
            tenant: entry.tenant.clone(),
            body: entry.body.clone(),
        });
    }
    journal.append(&run).map_err(failed)?;
    journal.sync().map_err(failed)?;
    Ok(journal.reader())
}

/// Derived state of an undisturbed run over the same journal, with other batch borders. It has the days that were freed,
/// and must come to the same all the same.
pub fn undisturbed(ground: &Ground, history: &History, end: Seq, batch: usize) -> Result<State, String> {
    let dir = tempfile::tempdir_in(ground.dir.path()).map_err(|error| error.to_string())?;
    let journal = &whole_journal(history, dir.path())?;
    let state = Arc::new(State::in_memory());
    let (pending_kv, metrics) = (PendingKv::default(), Arc::new(Metrics::default()));
    let last = history.keys().next_back().copied().unwrap_or_default();
    let progress = Arc::new(Progress::new(last, Seq(0)));
    let set = plugins(&state, &pending_kv, &Direction::with_slices(512));
    let parts = Parts {
        state: &state,
        reader: journal,
        progress: &progress,
        plugins: &Arc::new(ArcSwap::from_pointee(set)),
        metrics: &metrics,
        pending_kv,
        replay_to: end,
        max_batch_entries: batch,
        changes_per_commit: MAX_CHANGES_PER_COMMIT,
    };
    let mut worker = worker(ground, parts)?;
    let entries: Result<Vec<Accepted>, String> = history.values().cloned().map(read_back).collect();
    worker.apply(entries?).map_err(|error| error.to_string())?;
    // Positions that were lost with a torn tail, and are not given again, are passed over.
    worker.replay().map_err(|error| error.to_string())?;
    drop(worker);
    Arc::into_inner(state).ok_or_else(|| "somebody still holds the state".to_owned())
}

/// What was taken as an alert reads back as one.
fn read_back(entry: Entry) -> Result<Accepted, String> {
    let was_alert = matches!(entry.body, EntryBody::Alert { .. });
    let accepted = accepted_again(entry);
    match &accepted.item {
        Item::DeadLetter { reason, .. } if was_alert => Err(format!("entry {}: {reason}", accepted.seq)),
        _ => Ok(accepted),
    }
}

/// Commands that judged documents again from before a position.
pub fn rejudged_before(history: &History, end: Seq) -> u64 {
    let commands = history.values().filter(|entry| match &entry.body {
        EntryBody::Command { command, .. } => matches!(command, Command::Rejudge { from, .. } if *from < end),
        _ => false,
    });
    commands.count() as u64
}

/// Byte for byte: every pair, the outbox and the cursor included.
pub fn same(expected: &Dump, found: &Dump) -> Result<(), String> {
    let (mut left, mut right) = (expected.iter().peekable(), found.iter().peekable());
    loop {
        let key = match (left.peek(), right.peek()) {
            (None, None) => return Ok(()),
            (Some(a), Some(b)) if a == b => {
                left.next();
                right.next();
                continue;
            }
            (Some(a), Some(b)) => (&a.0).min(&b.0),
            (Some(one), None) | (None, Some(one)) => &one.0,
        };
        let value = |dump: &Dump| {
            let found = dump.iter().find(|(other, _)| other == key);
            found.map_or("nothing".to_owned(), |(_, value)| describe(key, value))
        };
        return Err(format!(
            "derived state is not that of an undisturbed run, at key {}:\n  expected {}\n  found    {}",
            key.escape_ascii(),
            value(expected),
            value(found)
        ));
    }
}

/// No record, key or list is larger than it may be.
pub fn limits_hold(state: &StateReader) -> Result<(), String> {
    for (key, value) in state.dump().map_err(|error| error.to_string())? {
        if key.len() > MAX_KEY_BYTES || value.len() > MAX_RECORD_BYTES {
            let (key_bytes, bytes) = (key.len(), value.len());
            return Err(format!(
                "a record is over its limit: key {key_bytes} bytes, {bytes} bytes"
            ));
        }
    }
    let mut over = Vec::new();
    for tenant in state.tenants().map_err(|error| error.to_string())? {
        let look = |alert: donjon_core::AlertState| {
            let lists = [
                ("enrichments", alert.enrichments.len(), MAX_ENRICHMENTS_PER_ALERT),
                ("open incidents", alert.open_links.len(), MAX_OPEN_LINKS_PER_ALERT),
                ("recent events", alert.recent.len(), RECENT_EVENTS),
                (
                    "bytes of a failure",
                    alert.plugin_failure.as_ref().map_or(0, String::len),
                    MAX_ERROR_TEXT_BYTES,
                ),
            ];
            let lists = lists.into_iter().filter(|(_, found, limit)| found > limit);
            over.extend(lists.map(|(what, found, limit)| format!("{what}: limit {limit}, found {found}")));
            ControlFlow::Continue(())
        };
        state.alerts(&tenant, look).map_err(|error| error.to_string())?;
    }
    if over.is_empty() { Ok(()) } else { Err(over.join("; ")) }
}

/// Incidents are numbered as they are opened, and none takes the place of another.
pub fn no_incident_is_lost(state: &StateReader) -> Result<(), String> {
    for tenant in state.tenants().map_err(|error| error.to_string())? {
        let mut found = 0;
        let counted = state.incidents(&tenant, |_| {
            found += 1;
            ControlFlow::Continue(())
        });
        counted.map_err(|error| error.to_string())?;
        let opened = donjon_core::state::StateView::tenant(state, &tenant);
        let opened = opened.map_err(|error| error.to_string())?.last_running_number;
        if found != opened {
            return Err(format!("{tenant} has opened {opened} incidents and has {found}"));
        }
    }
    Ok(())
}

/// An alert that a plugin broke on, or answered nonsense for, says so; a bad item is kept for people.
pub fn nothing_is_silent(history: &History, state: &StateReader) -> Result<(), String> {
    let mut dismissals: BTreeMap<&TenantId, Seq> = BTreeMap::new();
    for (seq, entry) in history {
        if let EntryBody::Command { command, .. } = &entry.body
            && matches!(command, Command::DismissDeadLetters { .. })
        {
            dismissals.insert(&entry.tenant, *seq);
        }
    }
    for (seq, entry) in history {
        match &entry.body {
            EntryBody::Alert { document, .. } => {
                let document: serde_json::Value =
                    serde_json::from_slice(document).map_err(|error| error.to_string())?;
                let mischief = document["labels"]["mischief"].as_str();
                let Some(mischief) =
                    mischief.filter(|what| ["enricher-traps", "enricher-lies", "enricher-bloats"].contains(what))
                else {
                    continue;
                };
                let fingerprint = document["fingerprint"].as_str().unwrap_or_default();
                let alert = donjon_core::state::StateView::alert(state, &entry.tenant, &fingerprint.into());
                let alert = alert.map_err(|error| error.to_string())?;
                let newest = alert.filter(|alert| alert.last_event.seq == *seq);
                if newest.is_some_and(|alert| alert.plugin_failure.is_none()) {
                    return Err(format!(
                        "entry {seq} ({mischief}) does not say that a plugin failed on it"
                    ));
                }
            }
            EntryBody::DeadLetter { .. } if dismissals.get(&entry.tenant).is_none_or(|at| at < seq) => {
                let letters = state.dead_letters(&entry.tenant, 0, usize::MAX);
                let letters = letters.map_err(|error| error.to_string())?;
                if !letters.iter().any(|(at, _)| at == seq) {
                    return Err(format!("the bad item of entry {seq} is not kept"));
                }
            }
            EntryBody::DeadLetter { .. } | EntryBody::Command { .. } => {}
        }
    }
    Ok(())
}
