//! Opens what is durable, in the order in which one needs the other, and tells what a crash, a damaged disk or a person
//! left behind. "A slow start, never a loss": derived state that is gone comes from a checkpoint and the journal.

use donjon_core::{Seq, Timestamp};
use donjon_store::journal::{Durability, Journal, JournalOptions};
use donjon_store::{Checkpoints, DataDir, Reopened, State, StateOptions, set_aside};

use super::WrongSetUp;
use crate::config;

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
pub(super) fn open(config: &config::Storage) -> Result<Opened, WrongSetUp> {
    let dir = DataDir::open(&config.data_dir).map_err(wrong)?;
    let (mut journal, last_accepted) = open_journal(&dir, config)?;
    let checkpoints = Checkpoints::open(dir.checkpoints()).map_err(wrong)?;
    let first = journal.reader().first_seq();
    let state = open_state(&dir, config, &checkpoints, first)?;
    let applied = applied(&state)?;
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

fn open_journal(dir: &DataDir, config: &config::Storage) -> Result<(Journal, Timestamp), WrongSetUp> {
    let durability = match config.durability {
        config::Durability::Fsync => Durability::Fsync,
        config::Durability::Buffered => Durability::Buffered,
    };
    let options = JournalOptions {
        durability,
        segment_bytes: config.segment_bytes,
        ..JournalOptions::default()
    };
    let (journal, report) =
        Journal::open(dir.journal(), options).map_err(|error| WrongSetUp(format!("open the journal: {error}")))?;
    if let Some(torn) = &report.torn {
        tracing::warn!(
            bytes = torn.bytes,
            "cut a torn tail off the journal; it was never acknowledged"
        );
    }
    for damage in &report.damage {
        tracing::error!(?damage, "journal is damaged; the entries of this block are lost");
    }
    Ok((journal, report.last_accepted))
}

fn open_state(
    dir: &DataDir,
    config: &config::Storage,
    checkpoints: &Checkpoints,
    first: Seq,
) -> Result<State, WrongSetUp> {
    let options = StateOptions {
        cache_bytes: config.cache_bytes,
    };
    let (mut state, reopened) = State::open(dir.state(), options).map_err(wrong)?;
    match &reopened {
        Reopened::Fresh | Reopened::Existing => {}
        Reopened::WentBack { flushed, applied } => {
            tracing::warn!(%flushed, %applied, "derived state is older than its last flush; the journal is applied from there");
        }
        Reopened::Rebuilt { moved_to, why } => {
            tracing::error!(moved_to = %moved_to.display(), "derived state did not open and is made again: {why}");
        }
    }
    let wanted = first.0.saturating_sub(1);
    if applied(&state)?.0 < wanted && applied(&state)? > Seq(0) && checkpoints.newest() >= Some(Seq(wanted)) {
        // Went back further than the journal reaches: a checkpoint knows more.
        drop(state);
        let moved_to = set_aside(&dir.state()).map_err(|error| WrongSetUp(format!("move derived state: {error}")))?;
        tracing::error!(moved_to = %moved_to.display(), "derived state misses days that the journal has no more; put aside");
        (state, _) = State::open(dir.state(), options).map_err(wrong)?;
    }
    if applied(&state)? == Seq(0) {
        restore(&state, checkpoints)?;
    }
    if let Reopened::Rebuilt { moved_to, .. } = reopened
        && applied(&state)?.0 < wanted
    {
        return Err(WrongSetUp(format!(
            "derived state is broken (moved to {}), there is no checkpoint of it that reads, and the journal begins at \
             entry {first}, because older days were freed: rules and incidents from before are only in the broken \
             state. Restore {} from a backup, or start again to go on with what the journal holds",
            moved_to.display(),
            dir.state().display(),
        )));
    }
    Ok(state)
}

/// An empty state begins with the newest checkpoint, where there is one: replaying the whole journal takes longer, and
/// its first days may be gone.
fn restore(state: &State, checkpoints: &Checkpoints) -> Result<(), WrongSetUp> {
    if let Some(newest) = checkpoints.newest() {
        tracing::info!(%newest, "derived state is empty; restoring its checkpoint");
    }
    let restored = checkpoints.restore(state).map_err(wrong)?;
    for damaged in &restored.damaged {
        tracing::error!("checkpoint does not read; using an older one: {damaged}");
    }
    if let Some(applied) = restored.applied {
        tracing::warn!(%applied, "derived state was restored from a checkpoint; the journal is applied from there");
    }
    Ok(())
}

fn applied(state: &State) -> Result<Seq, WrongSetUp> {
    state.reader().applied().map_err(wrong)
}

fn wrong(error: impl std::fmt::Display) -> WrongSetUp {
    WrongSetUp(error.to_string())
}
