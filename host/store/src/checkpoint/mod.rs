//! Checkpoints: derived state as it was after some journal entry, in one file beside sled. Should sled not open any
//! more, the state begins with the newest checkpoint and replays only what came after it; days of the journal are freed
//! only below the older of two. Knows nothing of records, and of sled only the pairs.

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
use crate::limits::{CHECKPOINTS_KEPT, RESTORE_PAIRS_PER_COMMIT, SCAN_PIECE};
use crate::state::kv::{KvBatch, KvError};
use crate::state::{Capturing, CommitError, State};
use file::{ReadError, Writing};

const EXTENSION: &str = "checkpoint";
const PART: &str = "part";
const DAMAGED: &str = "damaged";
/// Records between two words of progress.
const SAY_EVERY_PAIRS: u64 = 1_000_000;

/// The folder of the checkpoints of one state.
#[derive(Debug)]
pub struct Checkpoints {
    dir: PathBuf,
    /// Oldest first.
    kept: Vec<Kept>,
}

/// One file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Kept {
    /// It holds the state after this entry.
    applied: Seq,
    /// Told apart from others of the same state, from 1.
    copy: u32,
}

/// A checkpoint was not made, or not restored.
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
    /// What was just written does not read: the disk is not to be trusted.
    #[error("checkpoint does not read back: {0}")]
    Unreadable(String),
    /// There is not, or no longer, enough room for it.
    #[error("no room for a checkpoint: {0}")]
    NoRoom(String),
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
    /// Checkpoints that do not read, and why. They were renamed and do not count any more.
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
                Some(EXTENSION) => kept.extend(Kept::parse(&path)),
                _ => {}
            }
        }
        kept.sort_unstable();
        Ok(Checkpoints { dir, kept })
    }

    /// Days of the journal up to here are not needed to rebuild, even if the newest checkpoint should rot: what the one
    /// before it holds the state after. `None` while there is only one.
    #[must_use]
    pub fn confirmed(&self) -> Option<Seq> {
        self.kept
            .iter()
            .rev()
            .nth(CHECKPOINTS_KEPT - 1)
            .map(|kept| kept.applied)
    }

    /// What the newest one holds the state after.
    #[must_use]
    pub fn newest(&self) -> Option<Seq> {
        self.kept.last().map(|kept| kept.applied)
    }

    /// Writes the state as it is now, while commits go on, reads it back, and forgets all but the newest few. Takes as
    /// long as reading and compressing all of it; `go_on` is asked every few hundred records.
    ///
    /// # Errors
    /// There is no new checkpoint; the old ones are as they were.
    pub fn take(
        &mut self,
        state: &State,
        mut go_on: impl FnMut() -> Result<(), CheckpointError>,
    ) -> Result<Seq, CheckpointError> {
        let capturing = state.begin_capture()?;
        let applied = capturing.applied();
        let copies = self.kept.iter().filter(|kept| kept.applied == applied);
        let copy = copies.map(|kept| kept.copy).max().unwrap_or(0).saturating_add(1);
        let path = self.path(Kept { applied, copy });
        let part = path.with_extension(PART);
        let written = write(&capturing, &part, &mut go_on)
            .and_then(|()| read_back(&part, applied, &mut go_on))
            .and_then(|()| file::publish(&part, &path).map_err(|source| failure("name", &part, source)));
        if let Err(error) = written {
            // Without it the folder is as before; opening it again removes what cannot be removed now.
            let _ = fs::remove_file(&part);
            return Err(error);
        }
        self.kept.push(Kept { applied, copy });
        self.forget_old();
        Ok(applied)
    }

    /// Reads every checkpoint in full; those that are not what was written do not count any more. Gives what is wrong
    /// with them.
    ///
    /// # Errors
    /// The file system refuses, or `go_on` says no; those not read yet still count.
    pub fn verify(
        &mut self,
        mut go_on: impl FnMut() -> Result<(), CheckpointError>,
    ) -> Result<Vec<String>, CheckpointError> {
        let mut damaged = Vec::new();
        for kept in self.kept.clone() {
            damaged.extend(self.check(kept, &mut go_on)?);
        }
        Ok(damaged)
    }

    /// Fills an empty state from the newest checkpoint that reads as it was written and is newer than `after`; `said`
    /// is told the number of records now and then.
    ///
    /// # Errors
    /// The state is not empty, or the file system or the store fails. A state that was filled in part has no cursor
    /// and counts as broken when it is opened again.
    pub fn restore(
        &mut self,
        state: &State,
        after: Seq,
        mut said: impl FnMut(u64),
    ) -> Result<Restored, CheckpointError> {
        let mut restored = Restored::default();
        for kept in self.kept.clone().into_iter().rev() {
            if kept.applied <= after {
                break;
            }
            if let Some(why) = self.check(kept, &mut || Ok(()))? {
                restored.damaged.push(why);
                continue;
            }
            restore_from(&self.path(kept), kept.applied, state, &mut said)?;
            restored.applied = Some(kept.applied);
            break;
        }
        Ok(restored)
    }

    /// Reads one in full; if it is damaged it is renamed, does not count any more, and the answer is why.
    fn check(
        &mut self,
        kept: Kept,
        go_on: &mut dyn FnMut() -> Result<(), CheckpointError>,
    ) -> Result<Option<String>, CheckpointError> {
        let path = self.path(kept);
        let why = match file::read(&path, kept.applied, now_and_then(go_on)) {
            Ok(()) => return Ok(None),
            Err(ReadError::Taker(error)) => return Err(error),
            Err(ReadError::Io(source)) if source.kind() != io::ErrorKind::NotFound => {
                return Err(failure("read", &path, source));
            }
            Err(ReadError::Io(source)) => source.to_string(),
            Err(ReadError::Damaged(why)) => {
                // Where it cannot be renamed it is looked at again at the next start.
                let _ = fs::rename(&path, path.with_extension(DAMAGED));
                why
            }
        };
        self.kept.retain(|other| *other != kept);
        Ok(Some(format!("{}: {why}", path.display())))
    }

    /// One that cannot be removed now is tried again next time; one that somebody else removed is gone.
    fn forget_old(&mut self) {
        while self.kept.len() > CHECKPOINTS_KEPT
            && let Some(oldest) = self.kept.first().copied()
        {
            match fs::remove_file(self.path(oldest)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return,
                Ok(()) | Err(_) => self.kept.remove(0),
            };
        }
    }

    fn path(&self, kept: Kept) -> PathBuf {
        self.dir
            .join(format!("{:020}-{}.{EXTENSION}", kept.applied.0, kept.copy))
    }
}

impl Kept {
    fn parse(path: &Path) -> Option<Kept> {
        let (applied, copy) = path.file_stem()?.to_str()?.split_once('-')?;
        Some(Kept {
            applied: applied.parse().ok().map(Seq)?,
            copy: copy.parse().ok()?,
        })
    }
}

fn write(
    capturing: &Capturing<'_>,
    part: &Path,
    go_on: &mut impl FnMut() -> Result<(), CheckpointError>,
) -> Result<(), CheckpointError> {
    let io = |source| failure("write", part, source);
    let mut writing = Writing::create(part, capturing.applied()).map_err(io)?;
    loop {
        go_on()?;
        match capturing.next()? {
            Piece::Some(pairs) => writing.put(&pairs).map_err(io)?,
            Piece::Last(pairs) => {
                writing.put(&pairs).map_err(io)?;
                return writing.finish().map_err(io);
            }
        }
    }
}

fn read_back(
    part: &Path,
    applied: Seq,
    go_on: &mut impl FnMut() -> Result<(), CheckpointError>,
) -> Result<(), CheckpointError> {
    file::read(part, applied, now_and_then(go_on)).map_err(|error| error.of(part))
}

/// Takes pairs for nothing but to ask every few hundred of them whether to go on.
fn now_and_then(
    go_on: &mut dyn FnMut() -> Result<(), CheckpointError>,
) -> impl FnMut(Vec<u8>, Vec<u8>) -> Result<(), CheckpointError> {
    let mut count = 0;
    move |_, _| {
        count += 1;
        if count % SCAN_PIECE == 0 { go_on() } else { Ok(()) }
    }
}

/// The pairs of a whole file, many to a commit, the cursor last: a state that was filled in part has none.
fn restore_from(path: &Path, applied: Seq, state: &State, said: &mut impl FnMut(u64)) -> Result<(), CheckpointError> {
    let mut filling = state.begin_restore()?;
    let mut batch = KvBatch::default();
    let mut count = 0;
    let read = file::read(path, applied, |key, value| {
        count += 1;
        filling.take(&mut batch, key, value);
        if count % RESTORE_PAIRS_PER_COMMIT == 0 {
            filling.apply(std::mem::take(&mut batch))?;
        }
        if count % SAY_EVERY_PAIRS == 0 {
            said(count);
        }
        Ok(())
    });
    read.map_err(|error| error.of(path))?;
    filling.apply(batch)?;
    filling.finish(applied)?;
    Ok(())
}

impl ReadError {
    fn of(self, path: &Path) -> CheckpointError {
        match self {
            ReadError::Io(source) => failure("read", path, source),
            ReadError::Damaged(why) => CheckpointError::Unreadable(why),
            ReadError::Taker(error) => error,
        }
    }
}

fn failure(action: &'static str, path: &Path, source: io::Error) -> CheckpointError {
    let path = path.to_owned();
    CheckpointError::Io { action, path, source }
}
