//! The store of a plugin in tests: versions, expiry and limits as the contract has them.

use std::ops::Bound;

use super::{Host, with};
use crate::capability::Entry;
use crate::types::{Error, Timestamp};

const KEY_BYTES: usize = 512;
const VALUE_BYTES: usize = 64 * 1024;
const SCAN_ENTRIES: usize = 1_000;
const SCAN_BYTES: usize = 1 << 20;
/// Of all keys and values of one plugin and tenant; the operator may allow more. The same as in the host.
pub(super) const QUOTA_BYTES: usize = 64 << 20;

const _: () = assert!(KEY_BYTES + VALUE_BYTES <= SCAN_BYTES, "any entry can be scanned");
const _: () = assert!(SCAN_BYTES <= QUOTA_BYTES, "a scan is a part of the space");

pub(crate) fn get(key: &str) -> Result<Option<Entry>, Error> {
    Ok(with(|host| host.kv.get(key).cloned()))
}

pub(crate) fn set(key: &str, value: &[u8], expires: Option<Timestamp>) -> Result<u64, Error> {
    within("a key is longer than the limit", key.len(), KEY_BYTES)?;
    within("a value is longer than the limit", value.len(), VALUE_BYTES)?;
    with(|host| {
        let before = host.kv.get(key);
        let freed = before.map_or(0, |entry| key.len() + entry.value.len());
        let used = stored_bytes(host) - freed + key.len() + value.len();
        within("the store of the plugin is full", used, host.kv_quota)?;
        let version = before.map_or(0, |entry| entry.version).saturating_add(1);
        let entry = Entry {
            value: value.to_owned(),
            version,
            expires,
        };
        host.kv.insert(key.to_owned(), entry);
        Ok(version)
    })
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
    with(|host| host.kv.remove(key));
    Ok(())
}

pub(crate) fn scan(prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<(String, Entry)>, Error> {
    let start = match after {
        Some(after) if after >= prefix => Bound::Excluded(after),
        _ => Bound::Included(prefix),
    };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let found: Vec<(String, Entry)> = with(|host| {
        host.kv
            .range::<str, _>((start, Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .take(limit)
            .map(|(key, entry)| (key.clone(), entry.clone()))
            .collect()
    });
    let bytes = found.iter().map(|(key, entry)| key.len() + entry.value.len()).sum();
    let ask = "a scan finds more than the limit; ask for fewer entries, each time after the last one";
    within(ask, found.len(), SCAN_ENTRIES)?;
    within(ask, bytes, SCAN_BYTES)?;
    Ok(found)
}

fn stored_bytes(host: &Host) -> usize {
    host.kv.iter().map(|(key, entry)| key.len() + entry.value.len()).sum()
}

fn within(what: &str, value: usize, limit: usize) -> Result<(), Error> {
    if value > limit {
        return Err(Error::Quota(format!("{what} of {limit}: {value}")));
    }
    Ok(())
}
