//! What plugins read of their own data: committed values with the running batch's writes on top. A batch may call a
//! plugin several times (one tenant after the other, slices of a large batch), and each call must see the ones before.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use donjon_core::batch::{KvValue, KvWrite};
use donjon_runtime::KvRead;
use donjon_store::StateReader;

/// By plugin and key; `None` for a removed key.
type Writes = BTreeMap<(String, String), Option<KvValue>>;

/// Writes of the running batch. Shared with the worker, which clears it with
/// each commit.
#[derive(Clone, Debug, Default)]
pub struct PendingKv(Arc<Mutex<Writes>>);

impl PendingKv {
    /// Remembers a write of the running batch.
    pub fn put(&self, plugin: &str, write: &KvWrite) {
        self.lock()
            .insert((plugin.to_owned(), write.key.clone()), write.value.clone());
    }

    /// The writes are committed.
    pub fn clear(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, Writes> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The data of all plugins.
pub struct PluginKv {
    /// What is committed.
    pub committed: StateReader,
    /// What is not yet.
    pub pending: PendingKv,
}

impl KvRead for PluginKv {
    fn get(&self, plugin: &str, key: &str) -> Result<Option<KvValue>, String> {
        if let Some(value) = self.pending.lock().get(&(plugin.to_owned(), key.to_owned())) {
            return Ok(value.clone());
        }
        self.committed
            .plugin_kv_get(plugin, key)
            .map_err(|error| error.to_string())
    }

    fn scan(
        &self,
        plugin: &str,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, KvValue)>, String> {
        let pending: Vec<(String, Option<KvValue>)> = self
            .pending
            .lock()
            .iter()
            .filter(|((of, key), _)| {
                of == plugin && key.starts_with(prefix) && after.is_none_or(|after| key.as_str() > after)
            })
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect();
        // So many more that removed ones cannot make the answer look like the last.
        let wanted = limit.saturating_add(pending.len());
        let committed = self
            .committed
            .plugin_kv_scan(plugin, prefix, after, wanted)
            .map_err(|error| error.to_string())?;
        let mut merged: BTreeMap<String, KvValue> = committed.into_iter().collect();
        for (key, value) in pending {
            match value {
                Some(value) => merged.insert(key, value),
                None => merged.remove(&key),
            };
        }
        Ok(merged.into_iter().take(limit).collect())
    }
}
