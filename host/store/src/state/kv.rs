//! What a store of keys and values must be able to do: six things. Knows nothing of records.

use std::collections::BTreeMap;

/// A store failed; the text says what and why.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct KvError(pub(crate) String);

/// A key and its value.
pub(crate) type Pair = (Vec<u8>, Vec<u8>);

/// Puts and removals that are applied together; a later one of a key replaces an earlier one. Sorted, so that a batch is
/// the same whatever order it was made in (sled keeps its own batch in a hash map and has no use for the order).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KvBatch(BTreeMap<Vec<u8>, Option<Vec<u8>>>);

impl KvBatch {
    pub(crate) fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.0.insert(key, Some(value));
    }

    pub(crate) fn remove(&mut self, key: Vec<u8>) {
        self.0.insert(key, None);
    }

    /// Whether it changes nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it puts or removes a key.
    pub(crate) fn changes(&self, key: &[u8]) -> bool {
        self.0.contains_key(key)
    }

    /// Bytes of all keys and values.
    pub(crate) fn bytes(&self) -> usize {
        let pair = |(key, value): (&Vec<u8>, &Option<Vec<u8>>)| key.len() + value.as_ref().map_or(0, Vec::len);
        self.0.iter().map(pair).sum()
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.0.keys()
    }
}

impl IntoIterator for KvBatch {
    type Item = (Vec<u8>, Option<Vec<u8>>);
    type IntoIter = std::collections::btree_map::IntoIter<Vec<u8>, Option<Vec<u8>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Which pairs a page has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Page<'a> {
    /// Keys that begin with this.
    pub(crate) prefix: &'a [u8],
    /// Only keys beyond this one, in the direction of `order`.
    pub(crate) beyond: Option<&'a [u8]>,
    /// The direction.
    pub(crate) order: Order,
    /// At most this many.
    pub(crate) limit: usize,
}

/// The direction of a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Ascending,
    Descending,
}

/// A store of keys and values, in the byte order of the keys.
pub(crate) trait Kv: Send + Sync {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError>;
    /// Some pairs.
    fn page(&self, page: Page<'_>) -> Result<Vec<Pair>, KvError>;
    /// Applies all of a batch or nothing.
    fn apply(&self, batch: KvBatch) -> Result<(), KvError>;
    /// Returns once everything applied is on stable storage.
    fn flush(&self) -> Result<(), KvError>;
    /// Bytes on disk.
    fn size_on_disk(&self) -> Result<u64, KvError>;

    /// Every pair.
    fn dump(&self) -> Result<Vec<Pair>, KvError> {
        self.page(Page {
            prefix: &[],
            beyond: None,
            order: Order::Ascending,
            limit: usize::MAX,
        })
    }
}

/// The bounds of a page: from, to.
pub(crate) type Bounds = (std::ops::Bound<Vec<u8>>, std::ops::Bound<Vec<u8>>);

impl Page<'_> {
    /// The keys of the page as a range; `None` if it is empty.
    pub(crate) fn bounds(&self) -> Option<Bounds> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        let mut from = Included(self.prefix.to_vec());
        let mut to = successor(self.prefix).map_or(Unbounded, Excluded);
        if let Some(beyond) = self.beyond {
            let inside = beyond.starts_with(self.prefix);
            match self.order {
                Order::Ascending if inside || beyond > self.prefix => from = Excluded(beyond.to_vec()),
                Order::Descending if inside || beyond < self.prefix => to = Excluded(beyond.to_vec()),
                Order::Ascending | Order::Descending => {}
            }
        }
        let empty = match (&from, &to) {
            (Included(a), Excluded(b)) | (Excluded(a), Excluded(b)) => a >= b,
            _ => false,
        };
        (!empty).then_some((from, to))
    }
}

/// The smallest key after all that begin with `prefix`; `None` if there is none.
pub(crate) fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return Some(end);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_successor_of_a_prefix_is_after_every_key_with_it() {
        assert_eq!(successor(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(successor(&[1, 0xff, 0xff]), Some(vec![2]));
        assert_eq!(successor(&[0xff]), None);
        assert_eq!(successor(&[]), None);
    }
}
