//! One attempt at a file: read it, make it a unit, keep it for the next start; where it is refused and nothing serves,
//! the last good file of the name instead. Runs beside all other attempts; changes nothing but how far its record is.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Semaphore;

use super::files::{self, Content, EXTENSION};
use super::kept::Kept;
use super::loader::Loader;
use super::options::PluginConfig;
use super::settle::{Kind, Stamp};
use super::status::{Board, PluginState};
use super::unit::{Refusal, Unit};

/// Longest name of a plugin, in characters.
const MAX_NAME_CHARS: usize = 64;
/// Files that may be in memory at the same time if all of them are as large as allowed. Enough that those that are
/// compiled (`COMPILED_AT_ONCE`) leave room for others.
const LARGEST_FILES_IN_HAND: usize = 4;
const _: () = assert!(LARGEST_FILES_IN_HAND > super::loader::COMPILED_AT_ONCE);
/// What memory for files is counted in.
const ROOM_UNIT_BYTES: u64 = 1024;

/// Everything that an attempt needs.
pub struct Attempt<L: Loader> {
    pub name: String,
    pub dir: PathBuf,
    pub stamp: Stamp,
    pub config: PluginConfig,
    /// What serves under the name now.
    pub old: Option<Arc<L::Unit>>,
    /// Whether that was started with the same settings.
    pub same_config: bool,
    pub loader: Arc<L>,
    pub board: Arc<Board<L::Unit>>,
    pub kept: Option<Arc<Kept>>,
    pub room: Room,
}

/// How it ended.
pub enum Outcome<U> {
    /// The file holds what serves.
    Same,
    /// It may serve.
    Ready { unit: Arc<U>, took: Duration },
    /// It may not.
    Refused {
        refusal: Refusal,
        /// Of the file, if it could be read.
        hash: Option<String>,
        /// The last good file of the name, if nothing serves.
        instead: Option<Arc<U>>,
    },
    /// The file changed meanwhile.
    Moved,
}

/// Room in memory for files that are being loaded.
#[derive(Clone)]
pub struct Room(Arc<Semaphore>);

impl Room {
    /// For files of at most that size.
    pub fn new(file_bytes: usize) -> Room {
        Room(Arc::new(Semaphore::new(
            LARGEST_FILES_IN_HAND * units(file_bytes as u64) as usize,
        )))
    }

    async fn take(&self, bytes: u64) -> Option<tokio::sync::OwnedSemaphorePermit> {
        Arc::clone(&self.0).acquire_many_owned(units(bytes)).await.ok()
    }
}

fn units(bytes: u64) -> u32 {
    u32::try_from(bytes.div_ceil(ROOM_UNIT_BYTES))
        .unwrap_or(u32::MAX)
        .max(1)
}

impl<L: Loader> Attempt<L> {
    pub async fn run(self) -> Outcome<L::Unit> {
        if let Err(refusal) = check_name(&self.name).and_then(|()| check_kind(self.stamp.kind)) {
            return self.refused(refusal, None).await;
        }
        let limit = self.loader.file_bytes();
        let _room = self.room.take(self.stamp.len.min(limit as u64)).await;
        let (path, stamp) = (self.dir.join(format!("{}.{EXTENSION}", self.name)), self.stamp);
        let bytes = match blocking(move || files::read(&path, stamp, limit)).await {
            Ok(Content::Whole(bytes)) => Arc::new(bytes),
            Ok(Content::Moved) => return Outcome::Moved,
            Ok(Content::TooLarge(bytes)) => return self.refused(too_large(limit, bytes), None).await,
            Err(error) => {
                let reason = format!("cannot read the file; check its permissions: {error}");
                return self.refused(Refusal::ForNow(reason), None).await;
            }
        };
        let hash = self.hash_of(&bytes).await;
        let is_old = self.old.as_ref().is_some_and(|unit| unit.facts().hash == hash);
        if is_old && self.same_config {
            return Outcome::Same;
        }
        let begun = Instant::now();
        match self.load(Arc::clone(&bytes)).await {
            Ok(unit) => {
                self.keep(hash, bytes).await;
                let took = begun.elapsed();
                Outcome::Ready { unit, took }
            }
            Err(refusal) => self.refused(refusal, Some(hash)).await,
        }
    }

    async fn load(&self, bytes: Arc<Vec<u8>>) -> Result<Arc<L::Unit>, Refusal> {
        let (board, name, serves) = (Arc::clone(&self.board), self.name.clone(), self.old.is_some());
        let reached = move |state: PluginState| {
            board.change(&name, |record| {
                if !serves {
                    record.state = state;
                }
            });
        };
        let (name, config, old) = (self.name.clone(), self.config.clone(), self.old.clone());
        self.loader.load(name, bytes, config, old, reached).await
    }

    async fn hash_of(&self, bytes: &Arc<Vec<u8>>) -> String {
        let (loader, bytes) = (Arc::clone(&self.loader), Arc::clone(bytes));
        let hash = blocking(move || Ok(loader.hash(&bytes))).await;
        hash.unwrap_or_default()
    }

    /// Keeps what may serve. A failure costs a safety net and nothing else, so it is only told.
    async fn keep(&self, hash: String, bytes: Arc<Vec<u8>>) {
        let Some(kept) = self.kept.clone() else { return };
        let name = self.name.clone();
        let wanted: BTreeSet<String> = self.board.records().keys().cloned().collect();
        let written = blocking(move || kept.keep(&name, &hash, &bytes, &wanted)).await;
        if let Err(error) = written {
            let name = self.name.as_str();
            tracing::warn!(
                plugin = name,
                "cannot keep the file for the next start; it serves all the same: {error}"
            );
        }
    }

    async fn refused(&self, refusal: Refusal, hash: Option<String>) -> Outcome<L::Unit> {
        let instead = match self.old.is_none() {
            true => self.last_good(hash.as_deref()).await,
            false => None,
        };
        Outcome::Refused { refusal, hash, instead }
    }

    /// What the last good file of the name becomes, unless it is the one that was refused.
    async fn last_good(&self, refused_hash: Option<&str>) -> Option<Arc<L::Unit>> {
        let kept = self.kept.clone()?;
        let file = kept
            .find(&self.name)
            .filter(|file| Some(file.hash.as_str()) != refused_hash)?;
        let hash = file.hash.clone();
        let bytes = Arc::new(blocking(move || kept.read(&file)).await.ok()?);
        let name = self.name.as_str();
        if self.hash_of(&bytes).await != hash {
            tracing::error!(plugin = name, %hash, "the kept file has changed since it was kept; it is not used");
            return None;
        }
        match self.load(bytes).await {
            Ok(unit) => Some(unit),
            Err(refusal) => {
                let reason = refusal.reason();
                tracing::error!(plugin = name, %hash, "the kept file is refused too: {reason}");
                None
            }
        }
    }
}

async fn blocking<R: Send + 'static>(work: impl FnOnce() -> io::Result<R> + Send + 'static) -> io::Result<R> {
    let ended = tokio::task::spawn_blocking(work).await;
    ended.unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn too_large(limit: usize, bytes: u64) -> Refusal {
    Refusal::Final(format!(
        "the file is larger than the limit of {limit} bytes; make it smaller, or raise plugin_host.max_file_bytes: {bytes} bytes"
    ))
}

/// A name is used in configuration keys, metrics and keys of the plugin's data.
fn check_name(name: &str) -> Result<(), Refusal> {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    match plain && !name.is_empty() && name.chars().count() <= MAX_NAME_CHARS {
        true => Ok(()),
        false => Err(Refusal::Final(format!(
            "rename the file: letters, digits, - and _ only, at most {MAX_NAME_CHARS}: {name}"
        ))),
    }
}

fn check_kind(kind: Kind) -> Result<(), Refusal> {
    let found = match kind {
        Kind::File => return Ok(()),
        Kind::Directory => "a directory",
        Kind::Special => "a pipe, a socket or a device",
        Kind::DanglingLink => "a link to nothing",
        Kind::Unknown => {
            return Err(Refusal::ForNow(
                "cannot look at the file; check the permissions on the way to it".to_owned(),
            ));
        }
    };
    Err(Refusal::Final(format!(
        "not a file; put the .wasm file itself there, or a link to it: it is {found}"
    )))
}
