//! Opening derived state: sled's files are opened, or put aside and begun anew. "A slow start, never a loss."

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use donjon_core::Seq;

use super::keys::Space;
use super::kv::{Kv, KvBatch, Order, Page};
use super::mark::Mark;
use super::sled_kv::{DB_FILE, OpenFailure, SledKv};
use super::{State, StateOptions, keys};
use crate::data_dir::{advice, sync_dir};
use crate::limits::SCAN_PIECE;
use crate::record::{Meta, RecordError, Stored};

/// How derived state was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reopened {
    /// There was none.
    Fresh,
    /// As it was left, or at least as it was when it was last flushed.
    Existing,
    /// It opened as it was earlier: what was durable is lost, and the caller replays from the cursor as always. If the
    /// journal no longer reaches back that far, only a checkpoint knows what its freed days said.
    WentBack {
        /// The cursor at the last flush.
        flushed: Seq,
        /// The cursor now.
        applied: Seq,
    },
    /// It did not open: it was put aside and begun anew. The cursor is 0; the caller restores a checkpoint, or replays
    /// the whole journal.
    Rebuilt {
        /// Where the old files are.
        moved_to: PathBuf,
        /// Why they did not open.
        why: String,
    },
}

/// Derived state could not be opened, and putting it aside would not help.
#[derive(Debug, thiserror::Error)]
pub enum StateOpenError {
    /// The file system refuses.
    #[error("open derived state {}: {source}{}", path.display(), advice(source))]
    Io {
        /// Which directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It was written by a newer version. It is left alone: what old journal days said is only in there.
    #[error("derived state {} was written by a newer version; run that one: {why}", path.display())]
    Newer {
        /// Which directory.
        path: PathBuf,
        /// What was found.
        why: String,
    },
    /// A fresh store does not open either.
    #[error("fresh derived state does not open in {}: {why}", path.display())]
    Fresh {
        /// Which directory.
        path: PathBuf,
        /// Why.
        why: String,
    },
}

impl State {
    /// Opens the derived state in a directory, which is created if there is none. If its files are broken, they are
    /// moved to `<dir>.broken-N` and a fresh state is given.
    ///
    /// # Errors
    /// The file system refuses, or the state was written by a newer version.
    pub fn open(dir: impl AsRef<Path>, options: StateOptions) -> Result<(State, Reopened), StateOpenError> {
        let dir = dir.as_ref();
        let io = |source| StateOpenError::Io {
            path: dir.to_owned(),
            source,
        };
        fs::create_dir_all(dir).map_err(io)?;
        let existed = dir.join(DB_FILE).exists();
        let why = match open_existing(dir, options) {
            Ok((state, progress)) => match judge(existed, &progress) {
                Verdict::Good(how) => {
                    sync_dir(dir).map_err(io)?;
                    return Ok((state, how));
                }
                Verdict::Empty(why) => why,
            },
            Err(Failure::Environment(source)) => return Err(io(source)),
            Err(Failure::Newer(why)) => {
                return Err(StateOpenError::Newer {
                    path: dir.to_owned(),
                    why,
                });
            }
            Err(Failure::Broken(why)) => why,
        };
        let moved_to = set_aside(dir).map_err(io)?;
        fs::create_dir_all(dir).map_err(io)?;
        match open_existing(dir, options) {
            Ok((state, _)) => {
                sync_dir(dir).map_err(io)?;
                Ok((state, Reopened::Rebuilt { moved_to, why }))
            }
            Err(Failure::Environment(source)) => Err(io(source)),
            Err(Failure::Newer(why) | Failure::Broken(why)) => Err(StateOpenError::Fresh {
                path: dir.to_owned(),
                why,
            }),
        }
    }
}

enum Failure {
    Environment(io::Error),
    Newer(String),
    Broken(String),
}

/// What to make of a state that opened.
enum Verdict {
    Good(Reopened),
    /// It lost everything.
    Empty(String),
}

/// How far a state that opened is, and how far it was.
struct Progress {
    applied: Seq,
    flushed: Option<Seq>,
}

fn judge(existed: bool, progress: &Progress) -> Verdict {
    let applied = progress.applied;
    match progress.flushed {
        Some(flushed) if applied == Seq(0) && flushed > applied => Verdict::Empty(format!(
            "it opened empty: expected a cursor of at least {flushed}, found 0"
        )),
        Some(flushed) if applied < flushed => Verdict::Good(Reopened::WentBack { flushed, applied }),
        _ if existed => Verdict::Good(Reopened::Existing),
        _ => Verdict::Good(Reopened::Fresh),
    }
}

fn open_existing(dir: &Path, options: StateOptions) -> Result<(State, Progress), Failure> {
    let (mark, flushed) = Mark::open(dir).map_err(Failure::Environment)?;
    let kv = SledKv::open(dir, options.cache_bytes).map_err(|failure| match failure {
        OpenFailure::Environment(error) => Failure::Environment(error),
        OpenFailure::Broken(why) => Failure::Broken(why),
    })?;
    let meta = read_meta(&kv)?;
    forget_all(&kv, Space::NumberedOutbox)?;
    let forgotten_plugin_values = forget_all(&kv, Space::PluginKvOfNobody)?;
    let progress = Progress {
        applied: meta.applied,
        flushed,
    };
    let state = State {
        forgotten_plugin_values,
        ..State::over(Arc::new(kv), meta, Some(mark))
    };
    state
        .purge_expired()
        .map_err(|error| Failure::Broken(error.to_string()))?;
    Ok((state, progress))
}

/// The cursor. Every commit writes it, so records without one are what is left of a broken store.
fn read_meta(kv: &SledKv) -> Result<Meta, Failure> {
    let broken = |error: super::kv::KvError| Failure::Broken(error.0);
    match kv.get(&keys::meta()).map_err(broken)? {
        Some(bytes) => Meta::from_bytes(&bytes).map_err(|error| match error {
            RecordError::Version { .. } => Failure::Newer(error.to_string()),
            _ => Failure::Broken(format!("cursor: {error}")),
        }),
        None => {
            let any = Page {
                prefix: &[],
                beyond: None,
                order: Order::Ascending,
                limit: 1,
            };
            match kv.page(any).map_err(broken)?.is_empty() {
                true => Ok(Meta::default()),
                false => Err(Failure::Broken("records without a cursor".to_owned())),
            }
        }
    }
}

/// Removes everything of a kind that nothing reads any more; answers how many there were. Version 1 kept the outbox by
/// running number: clients are told to load everything again. And the data of plugins belonged to no tenant.
fn forget_all(kv: &SledKv, space: Space) -> Result<u64, Failure> {
    let broken = |error: super::kv::KvError| Failure::Broken(error.0);
    let mut count = 0;
    loop {
        let page = Page {
            prefix: &keys::all(space),
            beyond: None,
            order: Order::Ascending,
            limit: SCAN_PIECE,
        };
        let pairs = kv.page(page).map_err(broken)?;
        if pairs.is_empty() {
            return Ok(count);
        }
        count += pairs.len() as u64;
        let mut batch = KvBatch::default();
        pairs.into_iter().for_each(|(key, _)| batch.remove(key));
        kv.apply(batch).map_err(broken)?;
    }
}

/// Puts a closed state into the place of another closed one, which is put aside (and its new path given) or deleted.
/// A crash in between leaves no state at all.
///
/// # Errors
/// The file system refuses.
pub fn put_in_place(restored: &Path, dir: &Path, keep_old: bool) -> io::Result<Option<PathBuf>> {
    let kept = if keep_old {
        Some(set_aside(dir)?)
    } else {
        fs::remove_dir_all(dir)?;
        None
    };
    fs::rename(restored, dir)?;
    dir.parent().map_or(Ok(()), sync_dir)?;
    Ok(kept)
}

/// Moves the directory of a closed state to `<dir>.broken-N`, the first free N from 1, and gives the new path. Opening
/// then begins anew: for a state that opens but has records that do not read.
///
/// # Errors
/// The file system refuses.
pub fn set_aside(dir: &Path) -> io::Result<PathBuf> {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let free = (1u32..)
        .map(|n| dir.with_file_name(format!("{name}.broken-{n}")))
        .find(|path| !path.exists());
    let moved_to = free.ok_or_else(|| io::Error::other("no free name"))?;
    fs::rename(dir, &moved_to)?;
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        sync_dir(parent)?;
    }
    Ok(moved_to)
}
