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

    /// What the plugin has written in earlier calls of the running batch, other tenants' included: counted against the
    /// limits of a batch.
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

type Writes = BTreeMap<String, Option<KvValue>>;

pub(crate) struct KvBuffer {
    plugin: Arc<str>,
    committed: Arc<dyn KvRead>,
    limits: Arc<Limits>,
    now: Timestamp,
    writable: bool,
    batch: Writes,
    call: Writes,
    /// Of earlier calls of the batch that are not in `batch`.
    earlier: Written,
    /// Bytes of keys and values in `batch` and in `call`.
    bytes: (usize, usize),
    /// Whether the call was refused a write because of all that the batch has written.
    refused_by_batch: bool,
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
            earlier: Written::default(),
            bytes: (0, 0),
            refused_by_batch: false,
        }
    }

    /// Before a call that belongs to a batch, on top of what the batch has written so far.
    pub(crate) fn begin(&mut self, now: Timestamp, batch: Writes) {
        self.now = now;
        self.earlier = self.committed.written(&self.plugin);
        self.bytes = (
            batch
                .iter()
                .map(|(key, value)| size_of_write(key, value.as_ref()))
                .sum(),
            0,
        );
        self.batch = batch;
        self.call.clear();
        self.refused_by_batch = false;
        self.writable = true;
    }

    /// After the call: what the batch has written now, and whether the call wanted to write more than a batch may.
    pub(crate) fn end(&mut self, succeeded: bool) -> (Writes, bool) {
        self.writable = false;
        let call = std::mem::take(&mut self.call);
        if succeeded {
            self.batch.extend(call);
        }
        (std::mem::take(&mut self.batch), self.refused_by_batch)
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

    /// Never less than there is within `limit`: what one answer cannot hold is refused, so that nobody takes the end of
    /// an answer for the end of the data.
    pub(crate) fn scan(
        &self,
        prefix: &str,
        mut after: Option<String>,
        limit: usize,
    ) -> Result<Vec<(String, Vec<u8>)>, KvError> {
        self.check_key(prefix)?;
        self.check_key(after.as_deref().unwrap_or_default())?;
        // One more than may be answered, to know that there is one.
        let asked = limit.min(self.limits.kv_scan_entries.saturating_add(1));
        let mut found: Vec<(String, Vec<u8>)> = Vec::new();
        let mut bytes = 0_usize;
        for _ in 0..self.limits.kv_scan_pages {
            if found.len() == asked {
                return self.within_one_answer(found);
            }
            let wanted = asked - found.len();
            let page_len = wanted.min(SCAN_PAGE);
            let page = self
                .committed
                .scan(&self.plugin, prefix, after.as_deref(), page_len)
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
                found.push((key.to_owned(), value.bytes.clone()));
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

    fn within_one_answer(&self, found: Vec<(String, Vec<u8>)>) -> Result<Vec<(String, Vec<u8>)>, KvError> {
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
            let range = writes.range::<str, _>((from, Bound::Unbounded));
            let inside = range.take_while(|(key, _)| key.starts_with(prefix) && last.is_none_or(|l| key.as_str() <= l));
            entries.extend(inside.map(|(key, value)| (key.as_str(), value.as_ref())));
        }
        let alive = entries
            .into_iter()
            .filter_map(|(key, value)| Some((key, value.filter(|value| self.is_alive(value))?)));
        alive.take(most).collect()
    }

    fn write(&mut self, key: String, value: Option<KvValue>) -> Result<(), KvError> {
        if !self.writable {
            return Err(KvError::Closed);
        }
        self.check_key(&key)?;
        let keys = self.earlier.keys + self.batch.len() + self.call.len();
        if keys >= self.limits.kv_writes_per_batch && !self.call.contains_key(&key) {
            self.refused_by_batch = true;
            return Err(quota(
                "a batch writes more keys than the limit",
                self.limits.kv_writes_per_batch,
            ));
        }
        let replaced = self.call.get(&key).map_or(0, |old| size_of_write(&key, old.as_ref()));
        let bytes = self.bytes.1 - replaced + size_of_write(&key, value.as_ref());
        if self.earlier.bytes + self.bytes.0 + bytes > self.limits.kv_write_bytes_per_batch {
            self.refused_by_batch = true;
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
