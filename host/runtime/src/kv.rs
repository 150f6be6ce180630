//! A plugin's own data during a batch: committed data below, the writes of finished calls of the batch above, those of
//! the running call on top. A call's writes stay only if it succeeds; the batch's are handed to the host, which commits
//! them with everything else (I2). Knows no store.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use donjon_core::Timestamp;
use donjon_core::batch::{KvValue, KvWrite};

use crate::limits::Limits;

/// Committed data of plugins, as the host keeps it.
pub trait KvRead: Send + Sync {
    /// The value under a key of a plugin; an expired one may still be answered.
    ///
    /// # Errors
    /// What the store says when it cannot be read.
    fn get(&self, plugin: &str, key: &str) -> Result<Option<KvValue>, String>;

    /// Entries of a plugin whose keys start with `prefix` and are greater than `after`, in byte order, at most `limit`.
    /// Fewer than `limit` means that there are no more.
    ///
    /// # Errors
    /// What the store says when it cannot be read.
    fn scan(
        &self,
        plugin: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, KvValue)>, String>;
}

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

type Writes = BTreeMap<String, Option<KvValue>>;

pub(crate) struct KvBuffer {
    plugin: Arc<str>,
    committed: Arc<dyn KvRead>,
    limits: Arc<Limits>,
    now: Timestamp,
    writable: bool,
    batch: Writes,
    call: Writes,
    /// Bytes of keys and values in `batch` and in `call`.
    bytes: (usize, usize),
}

impl KvBuffer {
    pub(crate) fn new(plugin: Arc<str>, committed: Arc<dyn KvRead>, limits: Arc<Limits>) -> KvBuffer {
        KvBuffer {
            plugin,
            committed,
            limits,
            now: Timestamp(0),
            writable: false,
            batch: Writes::new(),
            call: Writes::new(),
            bytes: (0, 0),
        }
    }

    /// Before a call that belongs to a batch, on top of what the batch has written so far.
    pub(crate) fn begin(&mut self, now: Timestamp, batch: Writes) {
        self.now = now;
        self.bytes = (
            batch
                .iter()
                .map(|(key, value)| size_of_write(key, value.as_ref()))
                .sum(),
            0,
        );
        self.batch = batch;
        self.call.clear();
        self.writable = true;
    }

    /// After the call: what the batch has written now.
    pub(crate) fn end(&mut self, succeeded: bool) -> Writes {
        self.writable = false;
        let call = std::mem::take(&mut self.call);
        if succeeded {
            self.batch.extend(call);
        }
        std::mem::take(&mut self.batch)
    }

    pub(crate) fn get(&self, key: &str) -> Result<Option<Vec<u8>>, KvError> {
        self.check_key(key)?;
        let found = match self.call.get(key).or_else(|| self.batch.get(key)) {
            Some(written) => written.clone(),
            None => self.committed.get(&self.plugin, key).map_err(KvError::Unavailable)?,
        };
        Ok(found.filter(|value| self.is_alive(value)).map(|value| value.bytes))
    }

    pub(crate) fn set(&mut self, key: String, bytes: Vec<u8>, ttl_ms: Option<u64>) -> Result<(), KvError> {
        if bytes.len() > self.limits.kv_value_bytes {
            return Err(quota(
                "a value is longer than the limit in bytes",
                self.limits.kv_value_bytes,
            ));
        }
        let expires = ttl_ms.map(|ttl| Timestamp(self.now.0.saturating_add(ttl)));
        self.write(key, Some(KvValue { bytes, expires }))
    }

    pub(crate) fn cas(&mut self, key: String, expected: Option<&[u8]>, bytes: Vec<u8>) -> Result<bool, KvError> {
        if self.get(&key)?.as_deref() != expected {
            return Ok(false);
        }
        self.set(key, bytes, None).map(|()| true)
    }

    pub(crate) fn delete(&mut self, key: String) -> Result<(), KvError> {
        self.write(key, None)
    }

    pub(crate) fn scan(
        &self,
        prefix: &str,
        mut after: Option<String>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, KvError> {
        let limit = limit.min(self.limits.kv_scan_entries);
        let mut found = Vec::new();
        for _ in 0..self.limits.kv_scan_pages {
            if found.len() == limit {
                return Ok(found);
            }
            let wanted = limit - found.len();
            let page = self
                .committed
                .scan(&self.plugin, prefix, after.as_deref(), wanted)
                .map_err(KvError::Unavailable)?;
            let last = (page.len() >= wanted)
                .then(|| page.last().map(|(key, _)| key.clone()))
                .flatten();
            let merged = self.merge(page, prefix, after.as_deref(), last.as_deref());
            found.extend(merged.into_iter().take(wanted));
            match last {
                Some(last) => after = Some(last),
                None => return Ok(found),
            }
        }
        match found.len() == limit {
            true => Ok(found),
            false => Err(quota(
                "a scan passes more removed entries than the limit of pages",
                self.limits.kv_scan_pages,
            )),
        }
    }

    /// One page of committed entries with the writes that fall into its range, without the dead.
    fn merge(
        &self,
        page: Vec<(String, KvValue)>,
        prefix: &str,
        after: Option<&str>,
        last: Option<&str>,
    ) -> Vec<(String, Vec<u8>)> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let written = |writes: &Writes| -> Vec<(String, Option<KvValue>)> {
            let range = writes.range::<str, _>((from, Bound::Unbounded));
            let inside = range.take_while(|(key, _)| key.starts_with(prefix) && last.is_none_or(|l| key.as_str() <= l));
            inside.map(|(key, value)| (key.clone(), value.clone())).collect()
        };
        let mut entries: Writes = page.into_iter().map(|(key, value)| (key, Some(value))).collect();
        entries.extend(written(&self.batch));
        entries.extend(written(&self.call));
        let alive = entries
            .into_iter()
            .filter_map(|(key, value)| Some((key, value.filter(|v| self.is_alive(v))?)));
        alive.map(|(key, value)| (key, value.bytes)).collect()
    }

    fn write(&mut self, key: String, value: Option<KvValue>) -> Result<(), KvError> {
        if !self.writable {
            return Err(KvError::Closed);
        }
        self.check_key(&key)?;
        if self.batch.len() + self.call.len() >= self.limits.kv_writes_per_batch && !self.call.contains_key(&key) {
            return Err(quota(
                "a batch writes more keys than the limit",
                self.limits.kv_writes_per_batch,
            ));
        }
        let replaced = self.call.get(&key).map_or(0, |old| size_of_write(&key, old.as_ref()));
        let bytes = self.bytes.1 - replaced + size_of_write(&key, value.as_ref());
        if self.bytes.0 + bytes > self.limits.kv_write_bytes_per_batch {
            return Err(quota(
                "a batch writes more bytes than the limit",
                self.limits.kv_write_bytes_per_batch,
            ));
        }
        self.bytes.1 = bytes;
        self.call.insert(key, value);
        Ok(())
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
        value.expires.is_none_or(|at| at > self.now)
    }
}

fn size_of_write(key: &str, value: Option<&KvValue>) -> usize {
    key.len() + value.map_or(0, |value| value.bytes.len())
}

fn quota(what: &str, limit: usize) -> KvError {
    KvError::Quota(format!("{what}: {limit}"))
}

/// The writes of a batch in the order of their keys: the same batch gives the same list.
pub(crate) fn as_list(writes: Writes) -> Vec<KvWrite> {
    writes.into_iter().map(|(key, value)| KvWrite { key, value }).collect()
}

pub(crate) type BatchWrites = Writes;

#[cfg(test)]
#[path = "kv_tests.rs"]
mod tests;
