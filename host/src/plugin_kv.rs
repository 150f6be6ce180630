//! What plugins read of their own data: committed values with the running batch's writes on top. A batch may call a
//! plugin several times (one tenant after the other, slices of a large batch), and each call must see the ones before.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use donjon_core::batch::{KvValue, KvWrite};
use donjon_runtime::{KvRead, Written};
use donjon_store::StateReader;

/// By plugin and key; `None` for a removed key.
type Writes = BTreeMap<(String, String), Option<KvValue>>;

/// Writes of the running batch. Shared with the worker, which clears it with
/// each commit.
#[derive(Clone, Debug, Default)]
pub struct PendingKv(Arc<Mutex<Pending>>);

#[derive(Clone, Debug, Default)]
struct Pending {
    writes: Writes,
    /// How much each plugin wrote.
    written: BTreeMap<String, Written>,
}

/// The writes of a batch up to some point.
pub struct PendingMark(Pending);

impl PendingKv {
    /// Remembers a write of the running batch.
    pub fn put(&self, plugin: &str, write: &KvWrite) {
        let size = |value: &Option<KvValue>| write.key.len() + value.as_ref().map_or(0, |value| value.bytes.len());
        let mut pending = self.lock();
        let replaced = pending
            .writes
            .insert((plugin.to_owned(), write.key.clone()), write.value.clone());
        let written = pending.written.entry(plugin.to_owned()).or_default();
        written.keys += usize::from(replaced.is_none());
        written.bytes += size(&write.value);
        written.bytes -= replaced.map_or(0, |replaced| size(&replaced));
    }

    /// What is written so far, to go back to.
    pub fn mark(&self) -> PendingMark {
        PendingMark(self.lock().clone())
    }

    /// Forgets what was written since.
    pub fn go_back(&self, mark: &PendingMark) {
        *self.lock() = mark.0.clone();
    }

    /// The writes are committed.
    pub fn clear(&self) {
        *self.lock() = Pending::default();
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
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
        if let Some(value) = self.pending.lock().writes.get(&(plugin.to_owned(), key.to_owned())) {
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
        let mut found: Vec<(String, KvValue)> = Vec::new();
        let mut after = after.map(str::to_owned);
        while found.len() < limit {
            let wanted = limit - found.len();
            let page = self
                .committed
                .plugin_kv_scan(plugin, prefix, after.as_deref(), wanted)
                .map_err(|error| error.to_string())?;
            // A full page ends at its last key; what was written beyond it is met with the next one.
            let last = page.get(wanted.saturating_sub(1)).map(|(key, _)| key.clone());
            let pending = self.pending.lock();
            let written = pending.between(plugin, prefix, after.as_deref(), last.as_deref());
            found.extend(merged(page, written).take(wanted));
            match last {
                Some(last) => after = Some(last),
                None => break,
            }
        }
        Ok(found)
    }

    fn written(&self, plugin: &str) -> Written {
        self.pending.lock().written.get(plugin).copied().unwrap_or_default()
    }
}

impl Pending {
    /// Writes to keys with a prefix, after one key and up to another, in the order of the keys.
    fn between<'a>(
        &'a self,
        plugin: &'a str,
        prefix: &'a str,
        after: Option<&'a str>,
        last: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a str, Option<&'a KvValue>)> {
        let from = (plugin.to_owned(), after.unwrap_or_default().max(prefix).to_owned());
        self.writes
            .range(from..)
            .take_while(move |((of, key), _)| {
                of == plugin && key.starts_with(prefix) && last.is_none_or(|last| key.as_str() <= last)
            })
            .filter(move |((_, key), _)| after.is_none_or(|after| key.as_str() > after))
            .map(|((_, key), value)| (key.as_str(), value.as_ref()))
    }
}

/// Two sorted lists as one: what was written stands for what is committed, and removed keys are left out.
fn merged<'a>(
    committed: Vec<(String, KvValue)>,
    written: impl Iterator<Item = (&'a str, Option<&'a KvValue>)>,
) -> impl Iterator<Item = (String, KvValue)> {
    let (mut committed, mut written) = (committed.into_iter().peekable(), written.peekable());
    std::iter::from_fn(move || {
        loop {
            let is_written = match (committed.peek(), written.peek()) {
                (Some((old, _)), Some((new, _))) => *new <= old.as_str(),
                (None, Some(_)) => true,
                (_, None) => false,
            };
            if !is_written {
                return committed.next();
            }
            let (key, value) = written.next()?;
            let _replaced = committed.next_if(|(old, _)| old == key);
            if let Some(value) = value {
                return Some((key.to_owned(), value.clone()));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> KvValue {
        KvValue {
            bytes: text.as_bytes().to_vec(),
            expires: None,
        }
    }

    fn write(key: &str, text: Option<&str>) -> KvWrite {
        KvWrite {
            key: key.to_owned(),
            value: text.map(value),
        }
    }

    #[test]
    fn writes_stand_for_what_is_committed_and_other_plugins_are_not_seen() {
        let pending = PendingKv::default();
        for (plugin, write) in [
            ("p", write("a", Some("new"))),
            ("p", write("b", None)),
            ("p", write("d", Some("4"))),
            ("q", write("c", Some("theirs"))),
            ("o", write("a", Some("theirs"))),
        ] {
            pending.put(plugin, &write);
        }
        let committed = ["a", "b", "c", "e"].map(|key| (key.to_owned(), value("old")));
        let lock = pending.lock();
        let all = |after: Option<&'static str>, last: Option<&'static str>| {
            let entries = merged(committed.to_vec(), lock.between("p", "", after, last));
            entries
                .map(|(key, value)| format!("{key}={}", String::from_utf8_lossy(&value.bytes)))
                .collect::<Vec<_>>()
        };
        assert_eq!(all(None, None), ["a=new", "c=old", "d=4", "e=old"]);
        assert_eq!(all(None, Some("b")), ["a=new", "c=old", "e=old"]);
        assert_eq!(all(Some("a"), None)[0], "a=old", "after a: only later writes");
    }

    #[test]
    fn what_a_plugin_wrote_is_counted_over_all_calls_of_the_batch() {
        let pending = PendingKv::default();
        pending.put("p", &write("a", Some("12345")));
        pending.put("p", &write("a", Some("1")));
        pending.put("p", &write("bb", None));
        let written = |plugin: &str| pending.lock().written.get(plugin).copied();
        assert_eq!(written("p"), Some(Written { keys: 2, bytes: 4 }));
        assert_eq!(written("q"), None);
        pending.clear();
        assert_eq!(written("p"), None);
    }
}
