//! The store of a plugin in tests: versions, expiry and limits as the contract and the host have them.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::Bound;

use super::with;
use crate::capability::Entry;
use crate::types::{Error, Timestamp};

const KEY_BYTES: usize = 512;
const VALUE_BYTES: usize = 64 << 10;
const SCAN_ENTRIES: usize = 1_000;
const SCAN_BYTES: usize = 1 << 20;
/// What one call may write, in place of what the host allows a batch.
const WRITES_PER_BATCH: usize = 10_000;
const WRITE_BYTES_PER_BATCH: usize = 16 << 20;
const SPACE_KEYS: usize = 100_000;
const SPACE_BYTES: usize = 64 << 20;

const _: () = assert!(KEY_BYTES + VALUE_BYTES <= SCAN_BYTES, "a scan can answer any entry");
const _: () = assert!(
    WRITES_PER_BATCH <= SPACE_KEYS && WRITE_BYTES_PER_BATCH <= SPACE_BYTES,
    "a space holds what one batch may write"
);

/// All that the plugin keeps.
#[derive(Clone, Debug)]
pub(super) struct Store {
    entries: BTreeMap<String, Entry>,
    /// Everything accepted before is judged.
    pub(super) since: Timestamp,
    pub(super) space_bytes: usize,
    used_bytes: usize,
    written: Option<Written>,
}

/// What the present call has written.
#[derive(Clone, Debug, Default)]
struct Written {
    /// How many bytes each key and its value.
    keys: BTreeMap<String, usize>,
    bytes: usize,
}

impl Default for Store {
    fn default() -> Self {
        Store {
            entries: BTreeMap::new(),
            since: 0,
            space_bytes: SPACE_BYTES,
            used_bytes: 0,
            written: None,
        }
    }
}

impl Store {
    pub(super) fn begin_call(&mut self) {
        self.written = Some(Written::default());
    }

    pub(super) fn end_call(&mut self) {
        self.written = None;
    }

    fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key).filter(|entry| entry.counts_at(self.since))
    }

    fn set(&mut self, key: &str, value: &[u8], expires: Option<Timestamp>) -> Result<u64, Error> {
        let size = key.len() + value.len();
        let old = self.stored_bytes(key);
        let used = self.used_bytes - old + size;
        let less = "all that the plugin keeps for this tenant is more than the limit; delete some, or let them expire";
        if used > self.space_bytes && size > old {
            return Err(quota(less, self.space_bytes));
        }
        if !self.entries.contains_key(key) && self.entries.len() >= SPACE_KEYS {
            return Err(quota(less, SPACE_KEYS));
        }
        self.write(key, size)?;
        let version = self.get(key).map_or(0, |entry| entry.version).saturating_add(1);
        let entry = Entry {
            value: value.to_owned(),
            version,
            expires,
        };
        self.entries.insert(key.to_owned(), entry);
        self.used_bytes = used;
        Ok(version)
    }

    /// Counts a write of the present call.
    fn write(&mut self, key: &str, size: usize) -> Result<(), Error> {
        let Some(written) = &mut self.written else {
            return Ok(());
        };
        let before = written.keys.get(key).copied();
        if written.keys.len() >= WRITES_PER_BATCH && before.is_none() {
            return Err(quota("a batch writes more keys than the limit", WRITES_PER_BATCH));
        }
        let bytes = written.bytes - before.unwrap_or(0) + size;
        if bytes > WRITE_BYTES_PER_BATCH {
            return Err(quota("a batch writes more bytes than the limit", WRITE_BYTES_PER_BATCH));
        }
        written.keys.insert(key.to_owned(), size);
        written.bytes = bytes;
        Ok(())
    }

    fn delete(&mut self, key: &str) -> Result<(), Error> {
        self.write(key, key.len())?;
        self.used_bytes -= self.stored_bytes(key);
        self.entries.remove(key);
        Ok(())
    }

    /// What an entry takes, be it expired.
    fn stored_bytes(&self, key: &str) -> usize {
        self.entries.get(key).map_or(0, |entry| key.len() + entry.value.len())
    }
}

pub(crate) fn get(key: &str) -> Result<Option<Entry>, Error> {
    check_key(key)?;
    Ok(with(|host| host.kv.get(key).cloned()))
}

pub(crate) fn set(key: &str, value: &[u8], expires: Option<Timestamp>) -> Result<u64, Error> {
    check_key(key)?;
    if value.len() > VALUE_BYTES {
        return Err(quota("a value is longer than the limit in bytes", VALUE_BYTES));
    }
    with(|host| host.kv.set(key, value, expires))
}

pub(crate) fn cas(
    key: &str,
    expected: Option<u64>,
    value: &[u8],
    expires: Option<Timestamp>,
) -> Result<Result<u64, Option<Entry>>, Error> {
    let present = get(key)?;
    if present.as_ref().map(|entry| entry.version) != expected {
        return Ok(Err(present));
    }
    set(key, value, expires).map(Ok)
}

pub(crate) fn delete(key: &str) -> Result<(), Error> {
    check_key(key)?;
    with(|host| host.kv.delete(key))
}

pub(crate) fn scan(prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<(String, Entry)>, Error> {
    check_key(prefix)?;
    check_key(after.unwrap_or_default())?;
    let start = match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let found: Vec<(String, Entry)> = with(|host| {
        let store = &host.kv;
        let range = store.entries.range::<str, _>((start, Bound::Unbounded));
        range
            .take_while(|(key, _)| key.starts_with(prefix))
            .filter(|(_, entry)| entry.counts_at(store.since))
            .take(limit)
            .map(|(key, entry)| (key.clone(), entry.clone()))
            .collect()
    });
    let bytes: usize = found.iter().map(|(key, entry)| key.len() + entry.value.len()).sum();
    let ask = "a scan finds more than the limit; ask for fewer entries, each time after the last one";
    if found.len() > SCAN_ENTRIES {
        return Err(quota(ask, SCAN_ENTRIES));
    }
    if bytes > SCAN_BYTES {
        return Err(quota(ask, SCAN_BYTES));
    }
    Ok(found)
}

fn check_key(key: &str) -> Result<(), Error> {
    if key.len() > KEY_BYTES {
        return Err(quota("a key is longer than the limit in bytes", KEY_BYTES));
    }
    Ok(())
}

fn quota(what: &str, limit: impl Display) -> Error {
    Error::Quota(format!("{what}: {limit}"))
}
