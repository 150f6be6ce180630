//! Records that were read or changed, kept within a number and a sum of bytes: derived state has as many as there are
//! alerts. Knows nothing of what they say.

use std::collections::HashMap;
use std::hash::Hash;

use foldhash::fast::RandomState;

use crate::state::StateError;

/// What a generation of a cache may hold before it gets old.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// Records.
    pub records: usize,
    /// Their bytes in memory, by estimate.
    pub bytes: usize,
}

/// About how much memory a record takes, beside its own fields of fixed size.
pub(crate) trait Weighed {
    /// Bytes on the heap.
    fn heap_bytes(&self) -> usize;
}

/// Two generations: what was not touched for a whole generation is forgotten. Changed records are never forgotten
/// before `clean`.
pub(crate) struct Cache<K, V> {
    hot: HashMap<K, Kept<V>, RandomState>,
    cold: HashMap<K, Kept<V>, RandomState>,
    hot_bytes: usize,
    changed: Vec<K>,
    capacity: Capacity,
}

struct Kept<V> {
    value: V,
    /// As it was weighed last: when it came, and after each batch that changed it.
    bytes: usize,
    /// Whether it is among the changed ones.
    changed: bool,
}

fn weigh<K, V: Weighed>(value: &V) -> usize {
    // The key is there up to three times, with its text.
    size_of::<K>() + size_of::<Kept<V>>() + value.heap_bytes()
}

impl<K: Clone + Eq + Hash, V: Weighed> Cache<K, V> {
    pub(crate) fn new(capacity: Capacity) -> Self {
        Cache {
            hot: HashMap::default(),
            cold: HashMap::default(),
            hot_bytes: 0,
            changed: Vec::new(),
            capacity,
        }
    }

    /// A record, read where it is not known.
    pub(crate) fn load(
        &mut self,
        key: &K,
        read: impl FnOnce() -> Result<Option<V>, StateError>,
    ) -> Result<Option<&mut V>, StateError> {
        if !self.hot.contains_key(key) {
            let kept = match self.cold.remove(key) {
                Some(kept) => Some(kept),
                None => read()?.map(|value| Kept {
                    bytes: weigh::<K, V>(&value),
                    value,
                    changed: false,
                }),
            };
            if let Some(kept) = kept {
                self.hot_bytes += kept.bytes;
                self.hot.insert(key.clone(), kept);
            }
        }
        Ok(self.hot.get_mut(key).map(|kept| &mut kept.value))
    }

    /// A record that was loaded, to be changed.
    pub(crate) fn changing(&mut self, key: &K) -> Option<&mut V> {
        let kept = self.hot.get_mut(key)?;
        if !kept.changed {
            kept.changed = true;
            self.changed.push(key.clone());
        }
        Some(&mut kept.value)
    }

    /// A new or changed record.
    pub(crate) fn put(&mut self, key: K, value: V) {
        self.cold.remove(&key);
        let bytes = weigh::<K, V>(&value);
        self.hot_bytes += bytes;
        let kept = Kept {
            value,
            bytes,
            changed: true,
        };
        let before = self.hot.insert(key.clone(), kept);
        if let Some(before) = &before {
            self.hot_bytes = self.hot_bytes.saturating_sub(before.bytes);
        }
        if !before.is_some_and(|before| before.changed) {
            self.changed.push(key);
        }
    }

    /// The changed records in the order of their first change, all clean afterwards.
    pub(crate) fn clean<T>(&mut self, mut take: impl FnMut(&K, &V) -> T) -> Vec<T> {
        let changed = std::mem::take(&mut self.changed);
        let mut taken = Vec::with_capacity(changed.len());
        for key in &changed {
            if let Some(kept) = self.hot.get_mut(key) {
                kept.changed = false;
                taken.push(take(key, &kept.value));
                let bytes = weigh::<K, V>(&kept.value);
                self.hot_bytes = (self.hot_bytes + bytes).saturating_sub(kept.bytes);
                kept.bytes = bytes;
            }
        }
        if self.hot.len() >= self.capacity.records || self.hot_bytes >= self.capacity.bytes {
            self.cold = std::mem::take(&mut self.hot);
            self.hot_bytes = 0;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Weighed for String {
        fn heap_bytes(&self) -> usize {
            self.len()
        }
    }

    fn bytes(generation: &HashMap<u32, Kept<String>, RandomState>) -> usize {
        generation.values().map(|kept| weigh::<u32, String>(&kept.value)).sum()
    }

    #[test]
    fn a_cache_holds_two_generations_of_records_and_bytes_and_no_more() {
        let check = |capacity: Capacity, size: usize, per_batch: u32| {
            let mut cache: Cache<u32, String> = Cache::new(capacity);
            for batch in 0..50 {
                for n in 0..per_batch {
                    cache.put(batch * per_batch + n, "x".repeat(size));
                }
                // Growing counts too.
                cache
                    .changing(&(batch * per_batch))
                    .unwrap()
                    .push_str(&"y".repeat(size));
                assert_eq!(cache.clean(|key, _| *key).len(), per_batch as usize);
                assert_eq!(cache.hot_bytes, bytes(&cache.hot));
                let batch_bytes = (per_batch as usize + 1) * (size + 200);
                assert!(bytes(&cache.hot) < capacity.bytes && bytes(&cache.cold) < capacity.bytes + batch_bytes);
                assert!(cache.cold.len() < capacity.records + per_batch as usize);
            }
        };
        let (records, bytes) = (1_000_000, 100_000);
        check(Capacity { records, bytes }, 5_000, 7);
        check(
            Capacity {
                records: 20,
                bytes: 100_000_000,
            },
            10,
            7,
        );
    }
}
