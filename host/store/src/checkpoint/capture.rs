//! Reads the pairs of a store as of one moment while commits go on: each commit first leaves the old value of what it
//! changes and the reader has not passed yet. Pure but for reading the store; whoever owns the writer's lock calls both.

use std::collections::BTreeMap;

use crate::limits::{CAPTURED_ENTRY_BYTES, MAX_CAPTURED_BYTES, SCAN_PIECE};
use crate::state::kv::{Kv, KvBatch, KvError, Order, Page, Pair};

/// A reader on its way through the store, in the order of the keys.
#[derive(Debug, Default)]
pub(crate) struct Capture {
    /// Everything up to here was handed out.
    passed: Option<Vec<u8>>,
    /// What changed keys beyond `passed` were at the moment; `None` for absent.
    before: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
    before_bytes: usize,
    /// Why there will be no whole picture.
    lost: Option<String>,
}

/// A piece of the picture.
pub(crate) enum Piece {
    /// More follows.
    Some(Vec<Pair>),
    /// The end of it.
    Last(Vec<Pair>),
}

impl Capture {
    /// Keeps what a batch is about to change. A failure is the picture's, not the commit's.
    pub(crate) fn before_commit(&mut self, batch: &KvBatch, store: &dyn Kv) {
        for key in batch.keys() {
            if self.lost.is_some() {
                return;
            }
            let passed = self.passed.as_ref().is_some_and(|passed| key <= passed);
            if passed || self.before.contains_key(key) {
                continue;
            }
            match store.get(key) {
                Ok(value) => {
                    self.before_bytes += size_of(key, value.as_deref());
                    self.before.insert(key.clone(), value);
                }
                Err(error) => self.lost = Some(error.to_string()),
            }
            if self.before_bytes > MAX_CAPTURED_BYTES {
                self.before.clear();
                self.lost = Some(format!(
                    "too much changed meanwhile: limit {MAX_CAPTURED_BYTES} bytes, found {}",
                    self.before_bytes
                ));
            }
        }
    }

    /// The next pairs, as they were at the moment.
    pub(crate) fn next(&mut self, store: &dyn Kv) -> Result<Piece, KvError> {
        if let Some(why) = &self.lost {
            return Err(KvError(why.clone()));
        }
        let page = store.page(Page {
            prefix: &[],
            beyond: self.passed.as_deref(),
            order: Order::Ascending,
            limit: SCAN_PIECE,
        })?;
        let last = page.len() < SCAN_PIECE;
        let end = page.last().map(|(key, _)| key.clone());
        let changed = match (&end, last) {
            (Some(end), false) => {
                let beyond = self.before.split_off(end);
                let mut changed = std::mem::replace(&mut self.before, beyond);
                changed.extend(self.before.remove_entry(end));
                changed
            }
            _ => std::mem::take(&mut self.before),
        };
        let mut pairs: BTreeMap<Vec<u8>, Vec<u8>> = page.into_iter().collect();
        for (key, value) in changed {
            self.before_bytes -= size_of(&key, value.as_deref());
            match value {
                Some(value) => pairs.insert(key, value),
                None => pairs.remove(&key),
            };
        }
        self.passed = end.or_else(|| self.passed.take());
        let pairs = pairs.into_iter().collect();
        Ok(if last { Piece::Last(pairs) } else { Piece::Some(pairs) })
    }
}

/// What an old value takes in memory.
fn size_of(key: &[u8], value: Option<&[u8]>) -> usize {
    CAPTURED_ENTRY_BYTES + key.len() + value.map_or(0, <[u8]>::len)
}
