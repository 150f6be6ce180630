//! Checkpoints: derived state as it was after some journal entry, in one file beside sled. Should sled not open any
//! more, the state begins with the newest checkpoint and replays only what came after it; so days of the journal are
//! freed only below the oldest one that is kept. Knows nothing of records, and of sled only the pairs.

mod capture;
mod file;
#[cfg(test)]
mod tests;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use donjon_core::Seq;

pub(crate) use capture::{Capture, Piece};

use crate::data_dir::advice;
use crate::limits::{CHECKPOINTS_KEPT, RESTORE_PAIRS_PER_COMMIT};
use crate::state::kv::{KvBatch, KvError};
use crate::state::{CommitError, State};
use file::Writing;

const EXTENSION: &str = "checkpoint";
const PART: &str = "part";

/// The folder of the checkpoints of one state.
#[derive(Debug)]
pub struct Checkpoints {
    dir: PathBuf,
    /// What each holds the state after, oldest first.
    kept: Vec<Seq>,
}

/// A checkpoint was not made, or not restored. Derived state is as it was, or empty.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The file system refuses.
    #[error("{action} checkpoint {}: {source}{}", path.display(), advice(source))]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The state could not be read or written, or too much of it changed meanwhile.
    #[error("derived state: {0}")]
    State(String),
    /// It was told to stop.
    #[error("told to stop")]
    Stopped,
    /// One is being made already.
    #[error("another checkpoint is being made")]
    Busy,
}

impl From<KvError> for CheckpointError {
    fn from(error: KvError) -> Self {
        CheckpointError::State(error.0)
    }
}

impl From<CommitError> for CheckpointError {
    fn from(error: CommitError) -> Self {
        CheckpointError::State(error.to_string())
    }
}

/// What `Checkpoints::restore` did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restored {
    /// The cursor now; `None` if there was no checkpoint that reads.
    pub applied: Option<Seq>,
    /// Newer checkpoints that do not read, and why.
    pub damaged: Vec<String>,
}

impl Checkpoints {
    /// Opens the folder, which is created if there is none, and removes what an interrupted checkpoint left.
    ///
    /// # Errors
    /// The file system refuses.
    pub fn open(dir: impl AsRef<Path>) -> Result<Checkpoints, CheckpointError> {
        let dir = dir.as_ref().to_owned();
        let io = |source| failure("open folder of", &dir, source);
        fs::create_dir_all(&dir).map_err(io)?;
        let mut kept = Vec::new();
        for item in fs::read_dir(&dir).map_err(io)? {
            let path = item.map_err(io)?.path();
            match path.extension().and_then(|extension| extension.to_str()) {
                Some(PART) => fs::remove_file(&path).map_err(io)?,
                Some(EXTENSION) => kept.extend(seq_of(&path)),
                _ => {}
            }
        }
        kept.sort_unstable();
        Ok(Checkpoints { dir, kept })
    }

    /// Days of the journal up to here are not needed to rebuild, even if the newest checkpoint should be damaged: what
    /// the one before it holds the state after. `None` while there is only one.
    #[must_use]
    pub fn confirmed(&self) -> Option<Seq> {
        self.kept.iter().rev().nth(CHECKPOINTS_KEPT - 1).copied()
    }

    /// The newest one.
    #[must_use]
    pub fn newest(&self) -> Option<Seq> {
        self.kept.last().copied()
    }

    /// Writes the state as it is now, while commits go on, and forgets all but the newest few checkpoints. Takes as
    /// long as reading and compressing all of it; `stop` is asked every few hundred records.
    ///
    /// # Errors
    /// There is no new checkpoint; the old ones are as they were.
    pub fn take(&mut self, state: &State, stop: impl FnMut() -> bool) -> Result<Seq, CheckpointError> {
        let applied = state.begin_capture()?;
        let part = self.path(applied).with_extension(PART);
        let written = self.write(state, applied, &part, stop);
        state.end_capture();
        if written.is_err() {
            // Without it the folder is as before; opening it again removes what cannot be removed now.
            let _ = fs::remove_file(&part);
        }
        written?;
        self.kept.retain(|kept| *kept != applied);
        self.kept.push(applied);
        self.forget_old();
        Ok(applied)
    }

    fn write(
        &self,
        state: &State,
        applied: Seq,
        part: &Path,
        mut stop: impl FnMut() -> bool,
    ) -> Result<(), CheckpointError> {
        let io = |source| failure("write", part, source);
        let mut writing = Writing::create(part.to_owned(), applied).map_err(io)?;
        loop {
            if stop() {
                return Err(CheckpointError::Stopped);
            }
            match state.next_captured()? {
                Piece::Some(pairs) => writing.put(&pairs).map_err(io)?,
                Piece::Last(pairs) => {
                    writing.put(&pairs).map_err(io)?;
                    return writing.finish(&self.path(applied)).map_err(io);
                }
            }
        }
    }

    /// One that cannot be removed now is tried again next time.
    fn forget_old(&mut self) {
        while self.kept.len() > CHECKPOINTS_KEPT
            && let Some(oldest) = self.kept.first().copied()
            && fs::remove_file(self.path(oldest)).is_ok()
        {
            self.kept.remove(0);
        }
    }

    /// Fills an empty state from the newest checkpoint that reads as it was written.
    ///
    /// # Errors
    /// The state is not empty, or the file system or the store fails. A state that was filled in part has no cursor
    /// and counts as broken when it is opened again.
    pub fn restore(&self, state: &State) -> Result<Restored, CheckpointError> {
        let mut restored = Restored::default();
        for applied in self.kept.iter().rev().copied() {
            let path = self.path(applied);
            if let Err(error) = file::read(&path, applied, |_, _| Ok(())) {
                restored.damaged.push(format!("{}: {error}", path.display()));
                continue;
            }
            restore_from(&path, applied, state)?;
            restored.applied = Some(applied);
            break;
        }
        Ok(restored)
    }

    fn path(&self, applied: Seq) -> PathBuf {
        self.dir.join(format!("{:020}.{EXTENSION}", applied.0))
    }
}

/// The pairs of a whole file, many to a commit, the cursor last: a state that was filled in part has none.
fn restore_from(path: &Path, applied: Seq, state: &State) -> Result<(), CheckpointError> {
    let mut filling = state.begin_restore()?;
    let mut batch = KvBatch::default();
    let mut count = 0;
    let read = file::read(path, applied, |key, value| {
        count += 1;
        filling.take(&mut batch, key, value);
        if count % RESTORE_PAIRS_PER_COMMIT == 0 {
            filling.apply(std::mem::take(&mut batch)).map_err(io::Error::other)?;
        }
        Ok(())
    });
    read.map_err(|source| failure("read", path, source))?;
    filling.apply(batch)?;
    filling.finish(applied)?;
    Ok(())
}

fn seq_of(path: &Path) -> Option<Seq> {
    path.file_stem()?.to_str()?.parse().ok().map(Seq)
}

fn failure(action: &'static str, path: &Path, source: io::Error) -> CheckpointError {
    let path = path.to_owned();
    CheckpointError::Io { action, path, source }
}
