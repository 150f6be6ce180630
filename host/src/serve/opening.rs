//! Opens what is durable, in the order in which one needs the other, and tells what a crash, a damaged disk or a person
//! left behind. "A slow start, never a loss": derived state that is gone comes from a checkpoint and the journal.

use std::fs;
use std::path::PathBuf;

use donjon_core::{Seq, Timestamp};
use donjon_store::journal::{Durability, Journal, JournalOptions, JournalReader};
use donjon_store::{CheckpointError, Checkpoints, DataDir, Reopened, State, StateOptions, put_in_place};

use super::WrongSetUp;
use crate::config;

/// Where a checkpoint is restored into before it takes the place of the state.
const RESTORING: &str = "state.restoring";

/// The durable parts, opened.
pub(super) struct Opened {
    pub(super) dir: DataDir,
    pub(super) journal: Journal,
    pub(super) state: State,
    pub(super) checkpoints: Checkpoints,
    /// When the newest entry was accepted.
    pub(super) last_accepted: Timestamp,
}

/// Opens the data directory.
pub(super) fn open(config: &config::Storage, accept_missing_history: bool) -> Result<Opened, WrongSetUp> {
    let dir = DataDir::open(&config.data_dir).map_err(wrong)?;
    let mut checkpoints = Checkpoints::open(dir.checkpoints()).map_err(wrong)?;
    let (state, seen) = open_state(&dir, config)?;
    // Whoever has seen an entry proves that it was acknowledged.
    let seen = seen.max(checkpoints.newest().unwrap_or_default());
    let (mut journal, last_accepted) = open_journal(&dir, config, seen)?;
    let reader = journal.reader();
    let found = applied(&state)?;
    let state = if found == Seq(0) || missing_after(&reader, found)?.is_some() {
        restored(&dir, options(config), &mut checkpoints, state)?
    } else {
        state
    };
    let applied = applied(&state)?;
    if let Some(why) = missing_after(&reader, applied)? {
        let found = format!(
            "derived state knows the journal up to entry {applied} and no checkpoint of it that reads knows more, but {why}: \
             what these entries said (alerts, rules, acknowledgements) is in none of them"
        );
        if !accept_missing_history {
            return Err(WrongSetUp(format!(
                "{found}. Restore {} and {} from a backup (or a {0}.broken-N), or start with --accept-missing-history to \
                 go on with what the journal holds",
                dir.state().display(),
                dir.journal().display(),
            )));
        }
        tracing::error!("{found}; going on without, as asked");
    }
    // Behind the cursor only if the disk lost what it had promised, or with durability = "buffered": positions that
    // derived state knows are never given to other entries.
    journal.continue_after(applied);
    Ok(Opened {
        dir,
        journal,
        state,
        checkpoints,
        last_accepted,
    })
}

/// What of the journal after `applied` was freed, or does not read. It is read in full from there on, which a replay
/// would do anyway; of what is applied already nothing is read here (`JournalCheck` does that while the server runs).
pub(crate) fn missing_after(reader: &JournalReader, applied: Seq) -> Result<Option<String>, WrongSetUp> {
    let freed = Seq(reader.first_seq().0.saturating_sub(1));
    if applied < freed {
        return Ok(Some(format!(
            "the journal begins after entry {freed}, because older days were freed, or their files are gone"
        )));
    }
    let mut at = applied.next();
    while let Some(next) = reader.check_segment(at).map_err(wrong)? {
        at = next;
    }
    let (_, listed) = reader.damage();
    let mut lost = listed.iter().filter(|damage| damage.loses_after(applied));
    Ok(lost.next().map(|first| match lost.count() {
        0 => format!("the journal is damaged: {first}"),
        more => format!("the journal is damaged: {first}; and {more} places more"),
    }))
}

fn open_journal(dir: &DataDir, config: &config::Storage, seen: Seq) -> Result<(Journal, Timestamp), WrongSetUp> {
    let durability = match config.durability {
        config::Durability::Fsync => Durability::Fsync,
        config::Durability::Buffered => Durability::Buffered,
    };
    let options = JournalOptions {
        durability,
        segment_bytes: config.segment_bytes,
        seen,
        ..JournalOptions::default()
    };
    let (journal, report) =
        Journal::open(dir.journal(), options).map_err(|error| WrongSetUp(format!("open the journal: {error}")))?;
    match &report.torn {
        Some(torn) if torn.kept_as.is_some() && torn.good_entries == 0 => tracing::error!(
            bytes = torn.bytes,
            kept_as = ?torn.kept_as,
            "cut off the end of the journal, which does not read; put aside"
        ),
        Some(torn) if torn.good_entries > 0 => tracing::warn!(
            bytes = torn.bytes,
            entries_that_read = torn.good_entries,
            kept_as = ?torn.kept_as,
            "cut off the end of the journal: writes of one group that reached the disk out of order. Nothing shows that it \
             was ever synced, so most likely none of it was acknowledged; what reads of it is kept beside"
        ),
        Some(torn) => tracing::warn!(
            bytes = torn.bytes,
            "cut off the end of the journal: a write that did not end; derived state has seen nothing of it, so most \
             likely it was never acknowledged"
        ),
        None => {}
    }
    tell_damage(&journal.reader());
    Ok((journal, report.last_accepted))
}

/// Each damaged place once, as an error: entries that were acknowledged are gone.
pub fn tell_damage(reader: &JournalReader) {
    for damage in reader.take_untold_damage() {
        tracing::error!("journal is damaged: {damage}");
    }
}

fn options(config: &config::Storage) -> StateOptions {
    StateOptions {
        cache_bytes: config.cache_bytes,
    }
}

/// Opens what there is of derived state, and tells how far it has seen the journal, now or before something happened
/// to it.
fn open_state(dir: &DataDir, config: &config::Storage) -> Result<(State, Seq), WrongSetUp> {
    let restoring = restoring(dir);
    if restoring.exists() {
        // Left by a restore that did not end; it begins anew.
        fs::remove_dir_all(&restoring).map_err(wrong)?;
    }
    let (state, reopened) = State::open(dir.state(), options(config)).map_err(wrong)?;
    tell(&reopened);
    tell_forgotten(&state);
    let applied = applied(&state)?;
    let seen = match reopened {
        Reopened::WentBack { flushed, .. } => flushed.max(applied),
        _ => applied,
    };
    Ok((state, seen))
}

/// Once: the next time there are none.
fn tell_forgotten(state: &State) {
    let values = state.forgotten_plugin_values();
    if values > 0 {
        tracing::warn!(
            values,
            "data of plugins that an older version kept for all tenants together was removed: it belongs to no tenant"
        );
    }
}

fn restoring(dir: &DataDir) -> PathBuf {
    dir.state().with_file_name(RESTORING)
}

fn tell(reopened: &Reopened) {
    match reopened {
        Reopened::Fresh | Reopened::Existing => {}
        Reopened::WentBack { flushed, applied } => {
            tracing::warn!(%flushed, %applied, "derived state is older than its last flush");
        }
        Reopened::Rebuilt { moved_to, why } => {
            tracing::error!(moved_to = %moved_to.display(), "derived state did not open and is made again: {why}");
        }
    }
}

/// State that is empty, or misses entries that the journal has no more, gives way to the newest checkpoint that reads and
/// knows more, where there is one: replaying the whole journal takes longer, and its first days may be gone.
fn restored(
    dir: &DataDir,
    options: StateOptions,
    checkpoints: &mut Checkpoints,
    state: State,
) -> Result<State, WrongSetUp> {
    let found = applied(&state)?;
    let Some(newest) = checkpoints.newest().filter(|newest| *newest > found) else {
        return Ok(state);
    };
    tracing::info!(%newest, "restoring derived state from its checkpoint");
    let failed = |error: CheckpointError| {
        WrongSetUp(format!(
            "restore derived state from a checkpoint: {error}; if the disk is full, free some space (a {}.broken-N that \
             nobody wants to look at may go), then start again",
            dir.state().display()
        ))
    };
    let restoring = restoring(dir);
    let (filled, _) = State::open(&restoring, options).map_err(wrong)?;
    let said = |records| tracing::info!(records, "still restoring");
    let restored = checkpoints.restore(&filled, found, said).map_err(failed)?;
    drop(filled);
    for damaged in &restored.damaged {
        tracing::error!("checkpoint does not read; using an older one: {damaged}");
    }
    let Some(applied) = restored.applied else {
        fs::remove_dir_all(&restoring).map_err(wrong)?;
        return Ok(state);
    };
    drop(state);
    if let Some(old) = put_in_place(&restoring, &dir.state(), found > Seq(0)).map_err(wrong)? {
        tracing::error!(moved_to = %old.display(), "derived state missed entries that the journal has no more; put aside");
    }
    tracing::warn!(%applied, "derived state was restored from a checkpoint; the journal is applied from there");
    let (state, _) = State::open(dir.state(), options).map_err(wrong)?;
    Ok(state)
}

fn applied(state: &State) -> Result<Seq, WrongSetUp> {
    state.reader().applied().map_err(wrong)
}

fn wrong(error: impl std::fmt::Display) -> WrongSetUp {
    WrongSetUp(error.to_string())
}
