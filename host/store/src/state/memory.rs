//! Keys and values in memory: what tests compare sled with. Durable it is not.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use super::kv::{Kv, KvBatch, KvError, Order, Page, Pair};

#[derive(Default)]
pub(super) struct MemoryKv {
    pairs: RwLock<BTreeMap<Vec<u8>, Vec<u8>>>,
}

impl Kv for MemoryKv {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        Ok(self
            .pairs
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .cloned())
    }

    fn page(&self, page: Page<'_>) -> Result<Vec<Pair>, KvError> {
        let Some(bounds) = page.bounds() else {
            return Ok(Vec::new());
        };
        let pairs = self.pairs.read().unwrap_or_else(PoisonError::into_inner);
        let range = pairs.range(bounds).map(|(key, value)| (key.clone(), value.clone()));
        Ok(match page.order {
            Order::Ascending => range.take(page.limit).collect(),
            Order::Descending => range.rev().take(page.limit).collect(),
        })
    }

    fn apply(&self, batch: KvBatch) -> Result<(), KvError> {
        let mut pairs = self.pairs.write().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in batch {
            match value {
                Some(value) => pairs.insert(key, value),
                None => pairs.remove(&key),
            };
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), KvError> {
        Ok(())
    }

    fn size_on_disk(&self) -> Result<u64, KvError> {
        Ok(0)
    }
}
