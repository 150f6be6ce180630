//! Derived state: what the engine made of the journal, and how far it has read it.
//!
//! One tree of prefixed keys (`keys.rs`), one atomic batch for each batch of the worker, the cursor in it (I2). Below a
//! trait of six methods (`kv.rs`) are sled and, for tests, memory; both get the same keys and bytes. Nothing here is
//! ground truth: state that does not open is put aside and made again from the journal.
//!
//! There is one `State`, which writes (I3), and any number of `StateReader`s. Readers see each record as of some commit;
//! a scan that runs while the worker commits may see records of two.

mod capturing;
mod dead_letters;
pub(crate) mod keys;
pub(crate) mod kv;
mod lists;
mod mark;
mod memory;
mod open;
mod plugin_data;
mod reader;
mod sled_kv;
#[cfg(test)]
mod tests;
mod top;
mod write;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use donjon_core::Seq;
use donjon_core::state::WriteSet;

pub(crate) use capturing::Capturing;
pub use lists::{MemberPage, Progress};
pub use open::{Reopened, StateOpenError, put_in_place, set_aside};
pub use reader::{Dump, OutboxPage, StateReader};
pub use top::Top;

use crate::checkpoint::Capture;
use crate::limits::{MAX_PURGED_AT_ONCE, MAX_RECORD_BYTES};
use crate::record::{ENVELOPE_BYTES, Meta, RecordError};
use dead_letters::DeadLetterBook;
use kv::{Kv, KvBatch, KvError};
use plugin_data::Purged;
use write::Bounds;

/// How derived state is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateOptions {
    /// Memory for cached pages, in bytes; sled uses up to ten times as much for small records.
    pub cache_bytes: u64,
}

impl Default for StateOptions {
    fn default() -> Self {
        StateOptions {
            cache_bytes: 128 * 1024 * 1024,
        }
    }
}

/// A write set was not committed.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// An earlier write failed: what is on the disk is unknown.
    #[error("derived state refuses writes after a failure; restart donjon to reopen it: {why}")]
    Poisoned {
        /// The failure.
        why: String,
    },
    /// The store failed; it refuses writes from now on.
    #[error("write derived state: {why}")]
    Store {
        /// What failed.
        why: String,
    },
    /// Something in the write set cannot be stored. The store is as it was, and takes the next write set.
    #[error("derived state cannot hold a record: {record}: {source}")]
    Record {
        /// Which.
        record: String,
        /// Why.
        source: RecordError,
    },
    /// The cursor of a checkpoint is not the one of its header.
    #[error("cursor of a checkpoint: expected {expected}, found {found}")]
    Cursor {
        /// The one of the header.
        expected: Seq,
        /// Its own.
        found: Seq,
    },
    /// The cursor would go back: these entries are applied already.
    #[error("write set is older than derived state: expected a cursor of at least {applied}, found {found}")]
    Backwards {
        /// The committed cursor.
        applied: Seq,
        /// That of the write set.
        found: Seq,
    },
}

impl From<write::BatchError> for CommitError {
    fn from(error: write::BatchError) -> Self {
        match error {
            write::BatchError::Record(record, source) => CommitError::Record { record, source },
            write::BatchError::Store(error) => CommitError::Store { why: error.0 },
        }
    }
}

/// Derived state, with the right to write it.
pub struct State {
    reader: StateReader,
    writer: Mutex<Writer>,
    /// None in memory.
    mark: Option<mark::Mark>,
    /// Larger records are refused.
    max_record_bytes: usize,
    /// Most values of plugins that one batch removes because they expired.
    purged_at_once: usize,
    forgotten_plugin_values: u64,
}

struct Writer {
    meta: Meta,
    /// The failure that made the store refuse writes.
    poison: Option<String>,
    dead_letters: DeadLetterBook,
    /// A checkpoint that is being made.
    capture: Option<Capture>,
}

impl State {
    /// Derived state in memory: for tests and rehearsals. Same keys, same bytes, gone when dropped.
    #[must_use]
    pub fn in_memory() -> State {
        State::over(Arc::new(memory::MemoryKv::default()), Meta::default(), None)
    }

    /// Over pairs that somebody else keeps, as they are; what expires goes in steps of `purged_at_once`.
    #[cfg(feature = "simulation")]
    pub(crate) fn over_pairs(kv: Arc<dyn Kv>, meta: Meta, purged_at_once: usize) -> State {
        State {
            purged_at_once,
            ..State::over(kv, meta, None)
        }
    }

    /// This state, refusing records over `bytes`: for tests of what is done about a record that cannot be stored.
    #[must_use]
    pub fn refusing_records_over(mut self, bytes: usize) -> State {
        self.max_record_bytes = bytes;
        self
    }

    fn over(kv: Arc<dyn Kv>, meta: Meta, mark: Option<mark::Mark>) -> State {
        let writer = Mutex::new(Writer {
            meta,
            poison: None,
            dead_letters: DeadLetterBook::default(),
            capture: None,
        });
        State {
            reader: StateReader::new(kv),
            writer,
            mark,
            max_record_bytes: MAX_RECORD_BYTES + ENVELOPE_BYTES,
            purged_at_once: MAX_PURGED_AT_ONCE,
            forgotten_plugin_values: 0,
        }
    }

    /// How many values of plugins were removed when it was opened: an older version kept them for all tenants together.
    #[must_use]
    pub fn forgotten_plugin_values(&self) -> u64 {
        self.forgotten_plugin_values
    }

    /// A reader of what is committed.
    #[must_use]
    pub fn reader(&self) -> &StateReader {
        &self.reader
    }

    /// Applies everything in a write set and its cursor, or nothing (I2). After a crash of the process a prefix of all
    /// commits is there; `flush` makes them survive the machine as well. Values of plugins that expired go with it. Answers
    /// the bytes of what was written.
    ///
    /// # Errors
    /// After `Store` the state refuses further writes, and only opening it again tells what was applied; after `Record` and
    /// `Backwards` nothing was, and it does not.
    pub fn commit(&self, write: &WriteSet) -> Result<usize, CommitError> {
        let mut writer = self.writer();
        if let Some(why) = &writer.poison {
            return Err(CommitError::Poisoned { why: why.clone() });
        }
        if write.applied < writer.meta.applied {
            return Err(CommitError::Backwards {
                applied: writer.meta.applied,
                found: write.applied,
            });
        }
        let meta = writer.meta;
        let made = write::batch(
            write,
            &meta,
            &mut writer.dead_letters,
            &self.reader,
            Bounds {
                record_bytes: self.max_record_bytes,
                purged_at_once: self.purged_at_once,
            },
        );
        let made = made.map_err(|error| {
            writer.dead_letters.forget();
            CommitError::from(error)
        })?;
        let bytes = made.batch.bytes();
        self.apply(&mut writer, made.batch)?;
        writer.meta = made.meta;
        if made.purged == Purged::Some {
            self.purge(&mut writer)?;
        }
        Ok(bytes)
    }

    fn apply(&self, writer: &mut Writer, batch: KvBatch) -> Result<(), CommitError> {
        if let Some(capture) = &mut writer.capture {
            capture.before_commit(&batch, self.reader.kv());
        }
        self.reader.kv().apply(batch).map_err(|KvError(why)| {
            writer.poison = Some(why.clone());
            CommitError::Store { why }
        })
    }

    /// Removes the values of plugins that expired, a bounded number at a time. Whoever holds the writer's lock sees none
    /// of them: neither the next commit nor a checkpoint.
    fn purge(&self, writer: &mut Writer) -> Result<(), CommitError> {
        let mut purged = Purged::Some;
        while purged == Purged::Some {
            let next = plugin_data::purging(writer.meta.newest_judged, self.purged_at_once, &self.reader);
            let (batch, done) = next.map_err(|error| CommitError::Store { why: error.0 })?;
            if batch.is_empty() {
                break;
            }
            self.apply(writer, batch)?;
            purged = done;
        }
        Ok(())
    }

    /// Removes what expired and was not removed before the process ended.
    pub(crate) fn purge_expired(&self) -> Result<(), CommitError> {
        self.purge(&mut self.writer())
    }

    /// Returns once every commit is on stable storage.
    ///
    /// # Errors
    /// The store could not write; it refuses further writes.
    pub fn flush(&self) -> Result<(), CommitError> {
        let applied = {
            let writer = self.writer();
            if let Some(why) = &writer.poison {
                return Err(CommitError::Poisoned { why: why.clone() });
            }
            writer.meta.applied
        };
        // Not under the lock: a commit may go on beside it.
        let flushed = self.reader.kv().flush().and_then(|()| match &self.mark {
            Some(mark) => mark
                .write(applied)
                .map_err(|error| KvError(format!("write mark: {error}"))),
            None => Ok(()),
        });
        flushed.map_err(|KvError(why)| {
            self.writer().poison = Some(why.clone());
            CommitError::Store { why }
        })
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
