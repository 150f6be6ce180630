//! Opens what is durable, in the order in which one needs the other, and tells what a crash, a damaged disk or a person
//! left behind. "A slow start, never a loss": derived state that is gone comes from a checkpoint and the journal.

use std::fs;
use std::path::Path;

use donjon_core::{Seq, Timestamp};
use donjon_store::journal::{Durability, Journal, JournalOptions};
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

/// What the journal does not hold any more.
#[derive(Clone, Copy)]
struct Missing {
    up_to: Seq,
    /// Somebody asked to go on without.
    accepted: bool,
}

/// Opens the data directory.
pub(super) fn open(config: &config::Storage, accept_missing_history: bool) -> Result<Opened, WrongSetUp> {
    let dir = DataDir::open(&config.data_dir).map_err(wrong)?;
    let (mut journal, last_accepted) = open_journal(&dir, config)?;
    let mut checkpoints = Checkpoints::open(dir.checkpoints()).map_err(wrong)?;
    let missing = Missing {
        up_to: Seq(journal.reader().first_seq().0.saturating_sub(1)),
        accepted: accept_missing_history,
    };
    let state = open_state(&dir, config, &mut checkpoints, missing)?;
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
    checkpoints: &mut Checkpoints,
    missing: Missing,
) -> Result<State, WrongSetUp> {
    let options = StateOptions {
        cache_bytes: config.cache_bytes,
    };
    let restoring = dir.state().with_file_name(RESTORING);
    if restoring.exists() {
        // Left by a restore that did not end; it begins anew.
        fs::remove_dir_all(&restoring).map_err(wrong)?;
    }
    let (state, reopened) = State::open(dir.state(), options).map_err(wrong)?;
    tell(&reopened);
    let found = applied(&state)?;
    let state = if found == Seq(0) || found < missing.up_to {
        restored(dir, &restoring, options, checkpoints, state)?
    } else {
        state
    };
    let now = applied(&state)?;
    if now < missing.up_to {
        let found = format!(
            "derived state knows the journal up to entry {now} and no checkpoint of it that reads knows more, but the \
             journal begins after entry {}, because older days were freed: rules and incidents of the days between are \
             in none of them",
            missing.up_to
        );
        if !missing.accepted {
            return Err(WrongSetUp(format!(
                "{found}. Restore {} from a backup (or a {0}.broken-N), or start with --accept-missing-history to go on \
                 with what the journal holds",
                dir.state().display(),
            )));
        }
        tracing::error!("{found}; going on without, as asked");
    }
    Ok(state)
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

/// State that is empty, or misses days that the journal has no more, gives way to the newest checkpoint that reads and
/// knows more, where there is one: replaying the whole journal takes longer, and its first days may be gone.
fn restored(
    dir: &DataDir,
    restoring: &Path,
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
    let (filled, _) = State::open(restoring, options).map_err(wrong)?;
    let said = |records| tracing::info!(records, "still restoring");
    let restored = checkpoints.restore(&filled, found, said).map_err(failed)?;
    drop(filled);
    for damaged in &restored.damaged {
        tracing::error!("checkpoint does not read; using an older one: {damaged}");
    }
    let Some(applied) = restored.applied else {
        fs::remove_dir_all(restoring).map_err(wrong)?;
        return Ok(state);
    };
    drop(state);
    if let Some(old) = put_in_place(restoring, &dir.state(), found > Seq(0)).map_err(wrong)? {
        tracing::error!(moved_to = %old.display(), "derived state missed days that the journal has no more; put aside");
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
