//! A small store of the plugin's own, one for each tenant. Writes take effect with the batch or not at all.
//!
//! What is stored here survives; the memory of a plugin is a cache. Time is that of alerts: an entry that expires may
//! still be there when an older alert is judged again, so [`get_at`] says for which alert it counts.

use super::backend;
use crate::types::{Error, Timestamp};

pub use crate::capability::Entry;

/// The value under a key of at most 512 bytes, own writes of the batch included. It may have expired: see [`get_at`].
pub fn get(key: &str) -> Result<Option<Entry>, Error> {
    backend::kv::get(key)
}

/// The value under a key, if it had not expired when an alert was accepted. The same answer whenever it is asked, whatever
/// the host removed since.
pub fn get_at(key: &str, accepted: Timestamp) -> Result<Option<Entry>, Error> {
    Ok(get(key)?.filter(|entry| entry.counts_at(accepted)))
}

/// Set a value, for ever or until a time, such as that of an alert and some milliseconds; answers its version.
pub fn set(key: &str, value: &[u8], expires: Option<Timestamp>) -> Result<u64, Error> {
    backend::kv::set(key, value, expires)
}

/// Set a value only if its version is still `expected`, none for an absent one: answers the new version, or what is there
/// instead.
pub fn cas(
    key: &str,
    expected: Option<u64>,
    value: &[u8],
    expires: Option<Timestamp>,
) -> Result<Result<u64, Option<Entry>>, Error> {
    backend::kv::cas(key, expected, value, expires)
}

/// [`set`] for an alert that was accepted at this time: a value that had expired by then counts as absent, so that versions
/// begin with 1 again whether or not the host has removed it since. For values that expire, this is the one to use.
pub fn set_at(key: &str, value: &[u8], expires: Option<Timestamp>, accepted: Timestamp) -> Result<u64, Error> {
    forget_expired(key, accepted)?;
    set(key, value, expires)
}

/// [`cas`] for an alert that was accepted at this time: a value that had expired by then counts as absent.
pub fn cas_at(
    key: &str,
    expected: Option<u64>,
    value: &[u8],
    expires: Option<Timestamp>,
    accepted: Timestamp,
) -> Result<Result<u64, Option<Entry>>, Error> {
    forget_expired(key, accepted)?;
    cas(key, expected, value, expires)
}

fn forget_expired(key: &str, accepted: Timestamp) -> Result<(), Error> {
    match get(key)?.is_some_and(|entry| !entry.counts_at(accepted)) {
        true => delete(key),
        false => Ok(()),
    }
}

/// Remove a value; removing what is not there is no error.
pub fn delete(key: &str) -> Result<(), Error> {
    backend::kv::delete(key)
}

/// Keys that start with `prefix` with their entries, in byte order, after the key `after`, at most `limit`: all of them, or
/// a `Quota` error where that is more than 1,000 entries or 1 MiB. Ask for fewer then, each time after the last key found.
pub fn scan(prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<(String, Entry)>, Error> {
    backend::kv::scan(prefix, after, limit)
}
