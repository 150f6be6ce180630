//! What plugins read of their own data: committed values with the running batch's writes on top. A batch may call a
//! plugin several times (one tenant after the other, slices of a large batch), and each call must see the ones before.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use donjon_core::batch::{KvSpace, KvUsage, KvValue, KvWrite};
use donjon_core::state::StateError;
use donjon_runtime::{KvRead, Written};
use donjon_store::StateReader;

/// Writes of the running batch. Shared with the worker, which clears it with
/// each commit.
#[derive(Clone, Debug, Default)]
pub struct PendingKv(Arc<Mutex<Pending>>);

#[derive(Clone, Debug, Default)]
struct Pending {
    spaces: BTreeMap<KvSpace, SpaceWrites>,
    /// How much each plugin wrote, for all tenants.
    written: BTreeMap<Arc<str>, Written>,
}

/// By key.
type SpaceWrites = BTreeMap<String, PendingWrite>;

#[derive(Clone, Debug)]
struct PendingWrite {
    /// None for a removed key.
    value: Option<KvValue>,
    /// What is committed under the key, once somebody asked.
    committed: Option<KvUsage>,
}

/// The writes of a batch up to some point.
pub struct PendingMark(Pending);

impl PendingKv {
    /// Remembers a write of the running batch.
    pub fn put(&self, space: &KvSpace, write: &KvWrite) {
        let size = |value: &Option<KvValue>| write.key.len() + value.as_ref().map_or(0, |value| value.bytes.len());
        let mut pending = self.lock();
        let writes = pending.spaces.entry(space.clone()).or_default();
        let replaced = writes.get(&write.key).map(|before| size(&before.value));
        let committed = writes.get(&write.key).and_then(|before| before.committed);
        let new = PendingWrite {
            value: write.value.clone(),
            committed,
        };
        writes.insert(write.key.clone(), new);
        let written = pending.written.entry(Arc::clone(&space.plugin)).or_default();
        written.keys += usize::from(replaced.is_none());
        written.bytes += size(&write.value);
        written.bytes -= replaced.unwrap_or(0);
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
    fn get(&self, space: &KvSpace, key: &str) -> Result<Option<KvValue>, String> {
        if let Some(write) = self.pending.lock().spaces.get(space).and_then(|writes| writes.get(key)) {
            return Ok(write.value.clone());
        }
        self.committed.plugin_kv_get(space, key).map_err(text)
    }

    fn scan(
        &self,
        space: &KvSpace,
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
                .plugin_kv_scan(space, prefix, after.as_deref(), wanted)
                .map_err(text)?;
            // A full page ends at its last key; what was written beyond it is met with the next one.
            let last = page.get(wanted.saturating_sub(1)).map(|(key, _)| key.clone());
            let pending = self.pending.lock();
            let written = pending.between(space, prefix, after.as_deref(), last.as_deref());
            found.extend(merged(page, written).take(wanted));
            match last {
                Some(last) => after = Some(last),
                None => break,
            }
        }
        Ok(found)
    }

    fn usage(&self, space: &KvSpace) -> Result<KvUsage, String> {
        let committed = self.committed.plugin_kv_usage(space).map_err(text)?;
        let mut pending = self.pending.lock();
        let Some(writes) = pending.spaces.get_mut(space) else {
            return Ok(committed);
        };
        writes.iter_mut().try_fold(committed, |usage, (key, write)| {
            let old = match write.committed {
                Some(old) => old,
                None => {
                    let stored = self.committed.plugin_kv_get(space, key).map_err(text)?;
                    *write.committed.insert(KvUsage::of(key, stored.as_ref()))
                }
            };
            Ok(usage.replacing(old, KvUsage::of(key, write.value.as_ref())))
        })
    }

    fn written(&self, plugin: &str) -> Written {
        self.pending.lock().written.get(plugin).copied().unwrap_or_default()
    }
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn text(error: StateError) -> String {
    error.to_string()
}

impl Pending {
    /// Writes to keys with a prefix, after one key and up to another, in the order of the keys.
    fn between<'a>(
        &'a self,
        space: &KvSpace,
        prefix: &'a str,
        after: Option<&'a str>,
        last: Option<&'a str>,
    ) -> impl Iterator<Item = (&'a str, Option<&'a KvValue>)> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let writes = self.spaces.get(space).into_iter();
        writes
            .flat_map(move |writes| writes.range::<str, _>((from, Bound::Unbounded)))
            .take_while(move |(key, _)| key.starts_with(prefix) && last.is_none_or(|last| key.as_str() <= last))
            .map(|(key, write)| (key.as_str(), write.value.as_ref()))
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
    use donjon_core::state::WriteSet;
    use donjon_core::{Seq, TenantId, Timestamp};
    use donjon_store::State;

    use super::*;

    fn space(plugin: &str, tenant: &str) -> KvSpace {
        KvSpace::new(plugin, &TenantId::from(tenant))
    }

    fn value(text: &str) -> KvValue {
        KvValue {
            bytes: text.as_bytes().to_vec(),
            version: 1,
            expires: None,
        }
    }

    fn write(key: &str, text: Option<&str>) -> KvWrite {
        KvWrite {
            key: key.to_owned(),
            value: text.map(value),
        }
    }

    /// Committed data with nothing on top.
    fn over(committed: &[(KvSpace, KvWrite)]) -> (State, PluginKv) {
        let state = State::in_memory();
        let writes = WriteSet {
            applied: Seq(1),
            newest_judged: Some(Timestamp(1)),
            plugin_kv: committed.to_vec(),
            ..WriteSet::default()
        };
        state.commit(&writes).unwrap();
        let kv = PluginKv {
            committed: state.reader().clone(),
            pending: PendingKv::default(),
        };
        (state, kv)
    }

    fn all(kv: &PluginKv, of: &KvSpace, after: Option<&str>, limit: usize) -> Vec<String> {
        let found = kv.scan(of, "", after, limit).unwrap().into_iter();
        found
            .map(|(key, value)| format!("{key}={}", String::from_utf8_lossy(&value.bytes)))
            .collect()
    }

    #[test]
    fn writes_stand_for_what_is_committed_and_other_plugins_and_tenants_are_not_seen() {
        let own = space("p", "t");
        let others = [space("q", "t"), space("o", "t"), space("p", "u"), space("p", "")];
        let (_state, kv) = over(&["a", "b", "c", "e"].map(|key| (own.clone(), write(key, Some("old")))));
        for (key, text) in [("a", Some("new")), ("b", None), ("d", Some("4"))] {
            kv.pending.put(&own, &write(key, text));
        }
        for other in &others {
            kv.pending.put(other, &write("c", Some("theirs")));
            kv.pending.put(other, &write("a", None));
        }
        let expected = ["a=new", "c=old", "d=4", "e=old"];
        for limit in 0..6 {
            for (at, after) in [None, Some("a"), Some("c"), Some("d"), Some("e")]
                .into_iter()
                .enumerate()
            {
                let rest: Vec<&str> = expected.iter().skip(at).take(limit).copied().collect();
                assert_eq!(all(&kv, &own, after, limit), rest, "after {after:?}, limit {limit}");
            }
        }
        for other in &others {
            assert_eq!(all(&kv, other, None, 9), ["c=theirs"], "{other}");
            assert_eq!(kv.usage(other).unwrap(), KvUsage { keys: 1, bytes: 7 }, "{other}");
            assert_eq!(kv.get(other, "e").unwrap(), None, "{other}");
        }
    }

    #[test]
    fn what_a_plugin_wrote_is_counted_over_all_calls_of_the_batch() {
        let pending = PendingKv::default();
        pending.put(&space("p", "t"), &write("a", Some("12345")));
        pending.put(&space("p", "t"), &write("a", Some("1")));
        pending.put(&space("p", "u"), &write("bb", None));
        let written = |plugin: &str| pending.lock().written.get(plugin).copied();
        assert_eq!(written("p"), Some(Written { keys: 2, bytes: 4 }));
        assert_eq!(written("q"), None);
        pending.clear();
        assert_eq!(written("p"), None);
    }

    #[test]
    fn usage_is_that_of_the_commit_to_come() {
        let own = space("p", "t");
        let (state, kv) = over(&["a", "b", "c"].map(|key| (own.clone(), write(key, Some("1234")))));
        let mut writes = Vec::new();
        let steps = [
            ("a", Some("1"), KvUsage { keys: 3, bytes: 12 }),
            ("b", None, KvUsage { keys: 2, bytes: 7 }),
            ("d", Some("22"), KvUsage { keys: 3, bytes: 10 }),
            ("a", None, KvUsage { keys: 2, bytes: 8 }),
            ("nothing", None, KvUsage { keys: 2, bytes: 8 }),
            ("a", Some("333"), KvUsage { keys: 3, bytes: 12 }),
        ];
        for (key, text, expected) in steps {
            kv.pending.put(&own, &write(key, text));
            writes.push((own.clone(), write(key, text)));
            assert_eq!(kv.usage(&own).unwrap(), expected, "after {key}");
        }
        let commit = WriteSet {
            applied: Seq(2),
            plugin_kv: writes,
            ..WriteSet::default()
        };
        state.commit(&commit).unwrap();
        kv.pending.clear();
        assert_eq!(kv.usage(&own).unwrap(), KvUsage { keys: 3, bytes: 12 });
    }
}
