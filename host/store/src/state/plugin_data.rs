//! The data of plugins: values by plugin and tenant, how much there is of them, and which of them expire when. All three
//! change in the same batch. Knows no quota: that is the runtime's.
//!
//! Once a commit is done, nothing is stored that expires at or before the time up to which plugins were asked
//! (`Meta::newest_judged`), however many values that are: the first ones go with the commit, the others right after it, or
//! when the state is opened again. So what is stored is a function of the journal, and no reader sees one more or less.

use std::collections::BTreeMap;

use donjon_core::Timestamp;
use donjon_core::batch::{KvSpace, KvUsage, KvValue};
use donjon_core::state::{StateError, WriteSet};

use super::keys::{self, Space};
use super::kv::{KvBatch, Order, Page, Pair};
use super::reader::{StateReader, damaged, decode};
use super::write::{BatchError, Writes};
use crate::limits::{MAX_PLUGIN_KEY_BYTES, SCAN_PIECE};
use crate::record::{RecordError, Stored};

impl StateReader {
    /// A value of a plugin. One that expires may be there until everything accepted before is judged.
    ///
    /// # Errors
    /// As `applied`.
    pub fn plugin_kv_get(&self, space: &KvSpace, key: &str) -> Result<Option<KvValue>, StateError> {
        self.record("plugin value", &keys::plugin_kv(space, key))
    }

    /// At most `limit` pairs of a space whose key begins with `prefix` and comes after `after`, in the byte order of the
    /// keys.
    ///
    /// # Errors
    /// As `applied`.
    pub fn plugin_kv_scan(
        &self,
        space: &KvSpace,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, KvValue)>, StateError> {
        let own = keys::plugin_kv_space(space);
        let prefix = keys::plugin_kv(space, prefix);
        let beyond = after.map(|after| keys::plugin_kv(space, after));
        let page = Page {
            prefix: &prefix,
            beyond: beyond.as_deref(),
            order: Order::Ascending,
            limit,
        };
        let value = |(key, bytes): &Pair| {
            let key = key.get(own.len()..).unwrap_or_default();
            Ok((
                String::from_utf8_lossy(key).into_owned(),
                decode("plugin value", bytes)?,
            ))
        };
        self.kv().page(page)?.iter().map(value).collect()
    }

    /// How much a plugin has stored for a tenant.
    ///
    /// # Errors
    /// As `applied`.
    pub fn plugin_kv_usage(&self, space: &KvSpace) -> Result<KvUsage, StateError> {
        let usage = self.record("usage of plugin data", &keys::plugin_kv_usage(space))?;
        Ok(usage.unwrap_or_default())
    }
}

/// Whether what expired is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purged {
    All,
    /// There may be more.
    Some,
}

/// Usages that a batch changes, by their keys.
struct Usages<'a> {
    state: &'a StateReader,
    changed: BTreeMap<Vec<u8>, KvUsage>,
}

impl Usages<'_> {
    fn replace(&mut self, key: Vec<u8>, old: KvUsage, new: KvUsage) -> Result<(), StateError> {
        let before = match self.changed.get(&key) {
            Some(usage) => *usage,
            None => self.state.record("usage of plugin data", &key)?.unwrap_or_default(),
        };
        self.changed.insert(key, before.replacing(old, new));
        Ok(())
    }

    /// A space that holds nothing has no record: as if it had never held anything.
    fn put(self, batch: &mut KvBatch) -> Result<(), StateError> {
        for (key, usage) in self.changed {
            match usage.keys {
                0 => batch.remove(key),
                _ => {
                    let bytes = usage.to_bytes();
                    batch.put(key, bytes.map_err(|error| damaged("usage of plugin data", &error))?);
                }
            }
        }
        Ok(())
    }
}

/// Puts a write set's values of plugins into its batch, and removes what expired by `now`.
pub(super) fn put(
    write: &WriteSet,
    now: Timestamp,
    state: &StateReader,
    writes: &mut Writes,
) -> Result<Purged, BatchError> {
    let mut newest: BTreeMap<(&KvSpace, &str), Option<&KvValue>> = BTreeMap::new();
    for (space, change) in &write.plugin_kv {
        if change.key.len() > MAX_PLUGIN_KEY_BYTES {
            let (limit, found) = (MAX_PLUGIN_KEY_BYTES, change.key.len());
            return Err(BatchError::Record(named(space), RecordError::Key { limit, found }));
        }
        let lasting = |value: &&KvValue| value.expires.is_none_or(|expires| expires > now);
        newest.insert((space, &change.key), change.value.as_ref().filter(lasting));
    }
    let mut usages = Usages {
        state,
        changed: BTreeMap::new(),
    };
    for ((space, key), value) in newest {
        let old = state.plugin_kv_get(space, key).map_err(BatchError::Store)?;
        if let Some(expires) = old.as_ref().and_then(|old| old.expires) {
            writes.batch.remove(keys::plugin_kv_expiry(expires, space, key));
        }
        let stored = keys::plugin_kv(space, key);
        match value {
            Some(value) => writes.put(stored, value, || named(space))?,
            None => writes.batch.remove(stored),
        }
        if let Some(expires) = value.and_then(|value| value.expires) {
            writes
                .batch
                .put(keys::plugin_kv_expiry(expires, space, key), Vec::new());
        }
        let (old, new) = (KvUsage::of(key, old.as_ref()), KvUsage::of(key, value));
        usages
            .replace(keys::plugin_kv_usage(space), old, new)
            .map_err(BatchError::Store)?;
    }
    let at_once = writes.bounds.purged_at_once;
    let purged = purge(now, at_once, &mut usages, &mut writes.batch).map_err(BatchError::Store)?;
    usages.put(&mut writes.batch).map_err(BatchError::Store)?;
    Ok(purged)
}

fn named(space: &KvSpace) -> String {
    format!("value of {space}")
}

/// A batch that removes the next values that expired by `now`.
pub(super) fn purging(now: Timestamp, at_once: usize, state: &StateReader) -> Result<(KvBatch, Purged), StateError> {
    let mut usages = Usages {
        state,
        changed: BTreeMap::new(),
    };
    let mut batch = KvBatch::default();
    let purged = purge(now, at_once, &mut usages, &mut batch)?;
    usages.put(&mut batch)?;
    Ok((batch, purged))
}

/// Removes the first values that expired by `now`, but for those that the batch has something to say of.
fn purge(now: Timestamp, at_once: usize, usages: &mut Usages<'_>, batch: &mut KvBatch) -> Result<Purged, StateError> {
    let (state, prefix) = (usages.state, keys::all(Space::PluginKvExpiry));
    let (mut beyond, mut count): (Option<Vec<u8>>, usize) = (None, 0);
    // Mostly there is none.
    let mut limit = 1;
    loop {
        let page = Page {
            prefix: &prefix,
            beyond: beyond.as_deref(),
            order: Order::Ascending,
            limit,
        };
        let pairs = state.kv().page(page)?;
        for (key, _) in &pairs {
            let Some(expiry) = keys::read_plugin_kv_expiry(key) else {
                return Err(StateError(format!("expiry of plugin data: key {}", key.escape_ascii())));
            };
            if expiry.expires > now {
                return Ok(Purged::All);
            }
            if batch.changes(&expiry.value) {
                continue;
            }
            if count == at_once {
                return Ok(Purged::Some);
            }
            count += 1;
            let value: Option<KvValue> = state.record("plugin value", &expiry.value)?;
            let old = value.map_or_else(KvUsage::default, |value| KvUsage {
                keys: 1,
                bytes: (expiry.plugin_key_len + value.bytes.len()) as u64,
            });
            batch.remove(key.clone());
            batch.remove(expiry.value);
            usages.replace(expiry.usage, old, KvUsage::default())?;
        }
        if pairs.len() < limit {
            return Ok(Purged::All);
        }
        beyond = pairs.into_iter().next_back().map(|(key, _)| key);
        limit = SCAN_PIECE;
    }
}
