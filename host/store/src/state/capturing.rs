//! The two ends of a checkpoint in the state: its pairs are read as of one commit, and an empty state is filled with
//! them. Both under the writer's lock, a piece at a time, so that commits go on in between.

use std::sync::MutexGuard;

use donjon_core::Seq;

use super::keys::Space;
use super::kv::{KvBatch, KvError, Order, Page, Pair};
use super::{CommitError, State, Writer, keys};
use crate::checkpoint::{Capture, CheckpointError, Piece};
use crate::record::{Meta, Stored, is_whole};

impl State {
    /// The moment of a checkpoint is now: between two commits.
    pub(crate) fn begin_capture(&self) -> Result<Capturing<'_>, CheckpointError> {
        let mut writer = self.writer();
        if writer.capture.is_some() {
            return Err(CheckpointError::Busy);
        }
        if let Some(why) = &writer.poison {
            return Err(CheckpointError::State(why.clone()));
        }
        writer.capture = Some(Capture::default());
        Ok(Capturing {
            state: self,
            applied: writer.meta.applied,
        })
    }

    /// Begins to fill an empty state.
    pub(crate) fn begin_restore(&self) -> Result<Filling<'_>, CheckpointError> {
        let writer = self.writer();
        let any = Page {
            prefix: &[],
            beyond: None,
            order: Order::Ascending,
            limit: 1,
        };
        if !self.reader.kv().page(any)?.is_empty() {
            return Err(CheckpointError::State("only an empty one can be restored".into()));
        }
        Ok(Filling {
            state: self,
            writer,
            cursor: None,
        })
    }
}

/// A checkpoint on its way through the state; commits keep old values for it until it is dropped.
pub(crate) struct Capturing<'a> {
    state: &'a State,
    applied: Seq,
}

impl Capturing<'_> {
    /// The cursor at its moment.
    pub(crate) fn applied(&self) -> Seq {
        self.applied
    }

    /// The next pairs. A record that rotted in the store is an error: it must not replace a whole one.
    pub(crate) fn next(&self) -> Result<Piece, KvError> {
        let piece = {
            let mut writer = self.state.writer();
            let capture = writer.capture.as_mut();
            let capture = capture.ok_or_else(|| KvError("no checkpoint is being made".into()))?;
            capture.next(self.state.reader.kv())?
        };
        let (Piece::Some(pairs) | Piece::Last(pairs)) = &piece;
        let damaged = |(key, value): &&Pair| keys::has_record(key) && !is_whole(value);
        match pairs.iter().find(damaged) {
            None => Ok(piece),
            Some((key, _)) => Err(KvError(format!("record is damaged: key {}", key.escape_ascii()))),
        }
    }
}

impl Drop for Capturing<'_> {
    fn drop(&mut self) {
        self.state.writer().capture = None;
    }
}

/// A state that is being filled; nobody else writes meanwhile.
pub(crate) struct Filling<'a> {
    state: &'a State,
    writer: MutexGuard<'a, Writer>,
    cursor: Option<Vec<u8>>,
}

impl Filling<'_> {
    /// Puts a pair into a batch; the cursor is kept for the end, what nothing reads any more is left out.
    pub(crate) fn take(&mut self, batch: &mut KvBatch, key: Vec<u8>, value: Vec<u8>) {
        if key == keys::meta() {
            self.cursor = Some(value);
        } else if ![Space::NumberedOutbox, Space::PluginKvOfNobody]
            .iter()
            .any(|gone| key.starts_with(&keys::all(*gone)))
        {
            batch.put(key, value);
        }
    }

    pub(crate) fn apply(&self, batch: KvBatch) -> Result<(), KvError> {
        self.state.reader.kv().apply(batch)
    }

    /// Writes the cursor, which makes it a state, and makes all of it durable.
    pub(crate) fn finish(mut self, applied: Seq) -> Result<(), CommitError> {
        let cursor = self.cursor.take().unwrap_or_default();
        let meta = Meta::from_bytes(&cursor).map_err(|source| CommitError::Record {
            record: "cursor of a checkpoint".to_owned(),
            source,
        })?;
        if meta.applied != applied {
            return Err(CommitError::Cursor {
                expected: applied,
                found: meta.applied,
            });
        }
        let mut batch = KvBatch::default();
        batch.put(keys::meta(), cursor);
        self.apply(batch).map_err(|KvError(why)| CommitError::Store { why })?;
        self.writer.meta = meta;
        let Filling { state, writer, .. } = self;
        drop(writer);
        state.flush()
    }
}
