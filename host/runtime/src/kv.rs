//! A plugin's own data for one tenant during a batch: committed data below, the writes of finished calls of the batch
//! above, those of the running call on top. A call's writes stay only if it succeeds; the batch's are handed to the host,
//! which commits them with everything else (I2). Knows no store.
//!
//! A value that expires is absent for a call whose first alert was accepted at that time or later, stored or not: what the
//! host has removed by then nobody can miss, neither by its absence nor by versions that begin with 1 again.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::Bound;
use std::sync::Arc;

use donjon_core::batch::{KvSpace, KvUsage, KvValue, KvWrite};
use donjon_core::{TenantId, Timestamp};

use crate::limits::Limits;

/// Committed data of plugins, as the host keeps it, with what earlier calls of the batch wrote on top.
pub trait KvRead: Send + Sync {
    /// The value under a key; an expired one may still be answered.
    ///
    /// # Errors
    /// What the store says when it cannot be read.
    fn get(&self, space: &KvSpace, key: &str) -> Result<Option<KvValue>, String>;

    /// Entries whose keys start with `prefix` and are greater than `after`, in byte order, at most `limit`. Fewer than
    /// `limit` means that there are no more.
    ///
    /// # Errors
    /// What the store says when it cannot be read.
    fn scan(
        &self,
        space: &KvSpace,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, KvValue)>, String>;

    /// How much there is.
    ///
    /// # Errors
    /// What the store says when it cannot be read.
    fn usage(&self, space: &KvSpace) -> Result<KvUsage, String>;

    /// What the plugin has written in earlier calls of the running batch, for all tenants: counted against the limits of
    /// a batch.
    fn written(&self, _plugin: &str) -> Written {
        Written::default()
    }
}

/// Writes of a plugin that wait for the commit of the running batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// How many keys.
    pub keys: usize,
    /// Bytes of keys and values.
    pub bytes: usize,
}

/// Committed entries read at a time: small, because values may be large.
const SCAN_PAGE: usize = 16;

/// Why an operation on a plugin's data was not done.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum KvError {
    /// Over a limit.
    Quota(String),
    /// Not while a batch is judged.
    Closed,
    /// The store could not be read.
    Unavailable(String),
}

/// What was written under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
struct BufferedWrite {
    value: Option<KvValue>,
    /// What is under the key without the writes of the batch.
    below: KvUsage,
}

/// The writes of a batch so far, by their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct BatchWrites(BTreeMap<String, BufferedWrite>);

impl BatchWrites {
    pub(crate) fn new() -> BatchWrites {
        BatchWrites::default()
    }

    fn bytes(&self) -> usize {
        let sizes = self.0.iter().map(|(key, write)| write_bytes(key, write.value.as_ref()));
        sizes.sum()
    }
}

pub(crate) struct KvBuffer {
    plugin: Arc<str>,
    committed: Arc<dyn KvRead>,
    limits: Arc<Limits>,
    /// Whose data it is, while a batch is judged.
    space: Option<KvSpace>,
    /// When the first alert of the call was accepted.
    since: Timestamp,
    batch: BatchWrites,
    call: BatchWrites,
    /// Of earlier calls of the batch that are not in `batch`.
    earlier: Written,
    /// Bytes of keys and values in `batch` and in `call`.
    bytes: (usize, usize),
    /// What the space holds with all that is written; asked for with the first write of a call.
    usage: Option<KvUsage>,
    /// Whether the call was refused a write because of all that the batch has written.
    refused_by_batch: bool,
}

impl KvBuffer {
    pub(crate) fn new(plugin: Arc<str>, committed: Arc<dyn KvRead>, limits: Arc<Limits>) -> KvBuffer {
        KvBuffer {
            plugin,
            committed,
            limits,
            space: None,
            since: Timestamp(0),
            batch: BatchWrites::new(),
            call: BatchWrites::new(),
            earlier: Written::default(),
            bytes: (0, 0),
            usage: None,
            refused_by_batch: false,
        }
    }

    /// Before a call with alerts of a tenant, the first of which was accepted at `since`, on top of what the batch has
    /// written so far.
    pub(crate) fn begin(&mut self, tenant: &TenantId, since: Timestamp, batch: BatchWrites) {
        self.space = Some(KvSpace {
            tenant: tenant.clone(),
            plugin: Arc::clone(&self.plugin),
        });
        self.since = since;
        self.earlier = self.committed.written(&self.plugin);
        self.bytes = (batch.bytes(), 0);
        self.batch = batch;
        self.call = BatchWrites::new();
        self.usage = None;
        self.refused_by_batch = false;
    }

    /// After the call: what the batch has written now, and whether the call wanted to write more than a batch may.
    pub(crate) fn end(&mut self, succeeded: bool) -> (BatchWrites, bool) {
        self.space = None;
        let call = std::mem::take(&mut self.call);
        if succeeded {
            self.batch.0.extend(call.0);
        }
        (std::mem::take(&mut self.batch), self.refused_by_batch)
    }

    pub(crate) fn get(&self, key: &str) -> Result<Option<KvValue>, KvError> {
        let found = self.stored(key)?.filter(|value| self.is_alive(value));
        Ok(found.map(Cow::into_owned))
    }

    /// Answers the new version.
    pub(crate) fn set(&mut self, key: String, bytes: Vec<u8>, expires: Option<Timestamp>) -> Result<u64, KvError> {
        if bytes.len() > self.limits.kv_value_bytes {
            return Err(quota(
                "a value is longer than the limit in bytes",
                self.limits.kv_value_bytes,
            ));
        }
        let before = self.stored(&key)?;
        let old = KvUsage::of(&key, before.as_deref());
        let before = before.filter(|value| self.is_alive(value));
        let version = before.map_or(1, |value| value.version.saturating_add(1));
        let value = KvValue {
            bytes,
            version,
            expires,
        };
        self.write(key, Some(value), old)?;
        Ok(version)
    }

    /// Sets a value if that under the key has the version `expected`, none for an absent one. Answers the new version,
    /// or what is there instead.
    pub(crate) fn cas(
        &mut self,
        key: String,
        expected: Option<u64>,
        bytes: Vec<u8>,
        expires: Option<Timestamp>,
    ) -> Result<Result<u64, Option<KvValue>>, KvError> {
        let found = self.get(&key)?;
        if found.as_ref().map(|value| value.version) != expected {
            return Ok(Err(found));
        }
        self.set(key, bytes, expires).map(Ok)
    }

    pub(crate) fn delete(&mut self, key: String) -> Result<(), KvError> {
        let old = KvUsage::of(&key, self.stored(&key)?.as_deref());
        self.write(key, None, old)
    }

    /// Never less than there is within `limit`: what one answer cannot hold is refused, so that nobody takes the end of
    /// an answer for the end of the data.
    pub(crate) fn scan(
        &self,
        prefix: &str,
        mut after: Option<String>,
        limit: usize,
    ) -> Result<Vec<(String, KvValue)>, KvError> {
        let space = self.space()?;
        self.check_key(prefix)?;
        self.check_key(after.as_deref().unwrap_or_default())?;
        // One more than may be answered, to know that there is one.
        let asked = limit.min(self.limits.kv_scan_entries.saturating_add(1));
        let mut found: Vec<(String, KvValue)> = Vec::new();
        let mut bytes = 0_usize;
        for _ in 0..self.limits.kv_scan_pages {
            if found.len() == asked {
                return self.within_one_answer(found);
            }
            let wanted = asked - found.len();
            let page_len = wanted.min(SCAN_PAGE);
            let page = self
                .committed
                .scan(space, prefix, after.as_deref(), page_len)
                .map_err(KvError::Unavailable)?;
            let last = page.get(page_len.saturating_sub(1)).map(|(key, _)| key.clone());
            for (key, value) in self.merge(&page, prefix, after.as_deref(), last.as_deref(), wanted) {
                bytes = bytes.saturating_add(key.len() + value.bytes.len());
                if bytes > self.limits.kv_scan_bytes {
                    return Err(quota(
                        "a scan finds more bytes than the limit; ask for fewer entries, each time after the last one",
                        self.limits.kv_scan_bytes,
                    ));
                }
                found.push((key.to_owned(), value.clone()));
            }
            match last {
                Some(last) => after = Some(last),
                None => return self.within_one_answer(found),
            }
        }
        match found.len() == asked {
            true => self.within_one_answer(found),
            false => Err(quota(
                "a scan passes more removed entries than the limit of pages",
                self.limits.kv_scan_pages,
            )),
        }
    }

    fn within_one_answer(&self, found: Vec<(String, KvValue)>) -> Result<Vec<(String, KvValue)>, KvError> {
        match found.len() > self.limits.kv_scan_entries {
            true => Err(quota(
                "a scan finds more entries than the limit; ask for fewer, each time after the last one",
                self.limits.kv_scan_entries,
            )),
            false => Ok(found),
        }
    }

    /// The first entries of one page of committed ones with the writes that fall into its range, without the dead. Copies
    /// nothing.
    fn merge<'a>(
        &'a self,
        page: &'a [(String, KvValue)],
        prefix: &'a str,
        after: Option<&str>,
        last: Option<&str>,
        most: usize,
    ) -> Vec<(&'a str, &'a KvValue)> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let mut entries: BTreeMap<&str, Option<&KvValue>> =
            page.iter().map(|(key, value)| (key.as_str(), Some(value))).collect();
        for writes in [&self.batch, &self.call] {
            let range = writes.0.range::<str, _>((from, Bound::Unbounded));
            let inside = range.take_while(|(key, _)| key.starts_with(prefix) && last.is_none_or(|l| key.as_str() <= l));
            entries.extend(inside.map(|(key, write)| (key.as_str(), write.value.as_ref())));
        }
        let alive = entries
            .into_iter()
            .filter_map(|(key, value)| Some((key, value.filter(|value| self.is_alive(value))?)));
        alive.take(most).collect()
    }

    /// What is under a key, be it expired.
    fn stored(&self, key: &str) -> Result<Option<Cow<'_, KvValue>>, KvError> {
        let space = self.space()?;
        self.check_key(key)?;
        match self.call.0.get(key).or_else(|| self.batch.0.get(key)) {
            Some(written) => Ok(written.value.as_ref().map(Cow::Borrowed)),
            None => {
                let committed = self.committed.get(space, key).map_err(KvError::Unavailable)?;
                Ok(committed.map(Cow::Owned))
            }
        }
    }

    /// Puts a value in the place of what takes `old`.
    fn write(&mut self, key: String, value: Option<KvValue>, old: KvUsage) -> Result<(), KvError> {
        let keys = self.earlier.keys + self.batch.0.len() + self.call.0.len();
        if keys >= self.limits.kv_writes_per_batch && !self.call.0.contains_key(&key) {
            self.refused_by_batch = true;
            return Err(quota(
                "a batch writes more keys than the limit",
                self.limits.kv_writes_per_batch,
            ));
        }
        let in_call = self.call.0.get(&key);
        let replaced = in_call.map_or(0, |write| write_bytes(&key, write.value.as_ref()));
        let bytes = self.bytes.1 - replaced + write_bytes(&key, value.as_ref());
        if self.earlier.bytes + self.bytes.0 + bytes > self.limits.kv_write_bytes_per_batch {
            self.refused_by_batch = true;
            return Err(quota(
                "a batch writes more bytes than the limit",
                self.limits.kv_write_bytes_per_batch,
            ));
        }
        let usage = self.usage_with(&key, value.as_ref(), old)?;
        let known = in_call.or_else(|| self.batch.0.get(&key));
        let below = known.map_or(old, |write| write.below);
        self.usage = Some(usage);
        self.bytes.1 = bytes;
        self.call.0.insert(key, BufferedWrite { value, below });
        Ok(())
    }

    /// What the space holds with this write; an error if that is more than it may, and more than before.
    fn usage_with(&self, key: &str, value: Option<&KvValue>, old: KvUsage) -> Result<KvUsage, KvError> {
        let before = match self.usage {
            Some(usage) => usage,
            None => {
                let stored = self.committed.usage(self.space()?).map_err(KvError::Unavailable)?;
                let writes = self.batch.0.iter();
                writes.fold(stored, |usage, (key, write)| {
                    usage.replacing(write.below, KvUsage::of(key, write.value.as_ref()))
                })
            }
        };
        let usage = before.replacing(old, KvUsage::of(key, value));
        if usage.keys > self.limits.kv_space_keys && usage.keys > before.keys {
            return Err(quota(
                "all that the plugin keeps for this tenant is more keys than the limit; delete some, or let them expire",
                self.limits.kv_space_keys,
            ));
        }
        if usage.bytes > self.limits.kv_space_bytes && usage.bytes > before.bytes {
            return Err(quota(
                "all that the plugin keeps for this tenant is more bytes than the limit; delete some, or let them expire",
                self.limits.kv_space_bytes,
            ));
        }
        Ok(usage)
    }

    fn space(&self) -> Result<&KvSpace, KvError> {
        self.space.as_ref().ok_or(KvError::Closed)
    }

    fn check_key(&self, key: &str) -> Result<(), KvError> {
        match key.len() > self.limits.kv_key_bytes {
            true => Err(quota(
                "a key is longer than the limit in bytes",
                self.limits.kv_key_bytes,
            )),
            false => Ok(()),
        }
    }

    fn is_alive(&self, value: &KvValue) -> bool {
        value.expires.is_none_or(|at| at > self.since)
    }
}

fn write_bytes(key: &str, value: Option<&KvValue>) -> usize {
    key.len() + value.map_or(0, |value| value.bytes.len())
}

fn quota(what: &str, limit: impl Display) -> KvError {
    KvError::Quota(format!("{what}: {limit}"))
}

/// The writes of a batch in the order of their keys: the same batch gives the same list.
pub(crate) fn as_list(writes: BatchWrites) -> Vec<KvWrite> {
    let writes = writes.0.into_iter();
    writes
        .map(|(key, write)| KvWrite {
            key,
            value: write.value,
        })
        .collect()
}

#[cfg(test)]
#[path = "kv_model_tests.rs"]
mod model_tests;
#[cfg(test)]
#[path = "kv_tests.rs"]
mod tests;
