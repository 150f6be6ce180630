//! A small store of the plugin's own. Writes take effect with the batch or not at all.

use super::backend;
use crate::Error;

/// One stored value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// At most 512 bytes.
    pub key: String,
    /// At most 64 KiB.
    pub value: Vec<u8>,
}

/// The value under a key, own writes of the batch included.
pub fn get(key: &str) -> Result<Option<Vec<u8>>, Error> {
    backend::kv::get(key)
}

/// Set a value; it disappears `ttl_ms` milliseconds of batch time later, if given.
pub fn set(key: &str, value: &[u8], ttl_ms: Option<u64>) -> Result<(), Error> {
    backend::kv::set(key, value, ttl_ms)
}

/// Set a value only if the present one is `expected`; answers whether it was set.
pub fn cas(key: &str, expected: Option<&[u8]>, value: &[u8]) -> Result<bool, Error> {
    backend::kv::cas(key, expected, value)
}

/// Remove a value; removing what is not there is no error.
pub fn delete(key: &str) -> Result<(), Error> {
    backend::kv::delete(key)
}

/// Entries whose keys start with `prefix`, in byte order, after the key `after`, at most `limit`: all of them, or a
/// `Quota` error where that is more than 1,000 entries or 1 MiB. Ask for fewer then, each time after the last key found.
pub fn scan(prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<Entry>, Error> {
    backend::kv::scan(prefix, after, limit)
}
