//! The side of derived state: pairs in memory that survive a crash as sled's do, as after some commit that is not older
//! than the last flush.

use std::collections::BTreeMap;
use std::sync::Arc;

use donjon_core::AlertState;
use donjon_core::batch::{KvUsage, KvValue};
use donjon_core::command::{DeadLetter, RememberedCommand};
use donjon_core::incident::{Incident, Link};
use donjon_core::outbox::OutboxRecord;
use donjon_core::rule::{Rule, RuleStats};
use donjon_core::state::TenantState;

use super::{Disk, Effect, Ending, Sabotage, SimulatedDisk};
use crate::record::{Meta, RememberedKey, Stored};
use crate::state::State;
use crate::state::keys::{self, Space};
use crate::state::kv::{Kv, KvBatch, KvError, Order, Page, Pair};

/// Few, so that a process dies in between.
const PURGED_AT_ONCE: usize = 2;

type Pairs = BTreeMap<Vec<u8>, Vec<u8>>;

struct SimulatedKv(SimulatedDisk);

impl SimulatedDisk {
    /// Opens derived state as the last life left it.
    ///
    /// # Errors
    /// Its cursor does not read, or the disk fails.
    pub fn open_state(&self) -> Result<State, String> {
        let meta = match self.lock().pairs.get(&keys::meta()) {
            Some(bytes) => Meta::from_bytes(bytes).map_err(|error| error.to_string())?,
            None => Meta::default(),
        };
        let state = State::over_pairs(Arc::new(SimulatedKv(self.clone())), meta, PURGED_AT_ONCE);
        state.purge_expired().map_err(|error| error.to_string())?;
        Ok(state)
    }

    /// Derived state is gone, as when sled does not open.
    pub fn lose_state(&self) {
        let mut disk = self.lock();
        disk.pairs.clear();
        disk.flushed.clear();
        disk.unflushed.clear();
    }
}

/// A pair for people: the record where it decodes, else the bytes.
#[must_use]
pub fn describe(key: &[u8], value: &[u8]) -> String {
    fn record<T: Stored + std::fmt::Debug>(bytes: &[u8]) -> Option<String> {
        T::from_bytes(bytes).ok().map(|record| format!("{record:?}"))
    }
    let known = match Space::of(key) {
        Some(Space::Meta) => record::<Meta>(value),
        Some(Space::Alert) => record::<AlertState>(value),
        Some(Space::Incident) => record::<Incident>(value),
        Some(Space::Link) => record::<Link>(value),
        Some(Space::Rule | Space::RuleVersion) => record::<Rule>(value),
        Some(Space::RuleStats) => record::<RuleStats>(value),
        Some(Space::Tenant) => record::<TenantState>(value),
        Some(Space::Outbox) => record::<OutboxRecord>(value),
        Some(Space::DeadLetter) => record::<DeadLetter>(value),
        Some(Space::RememberedCommand) => record::<RememberedCommand>(value),
        Some(Space::RememberedKey) => record::<RememberedKey>(value),
        Some(Space::PluginKv) => record::<KvValue>(value),
        Some(Space::PluginKvUsage) => record::<KvUsage>(value),
        _ => None,
    };
    known.unwrap_or_else(|| value.escape_ascii().to_string())
}

impl Kv for SimulatedKv {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        Ok(self.0.lock().pairs.get(key).cloned())
    }

    fn page(&self, page: Page<'_>) -> Result<Vec<Pair>, KvError> {
        let Some(bounds) = page.bounds() else {
            return Ok(Vec::new());
        };
        let disk = self.0.lock();
        let range = disk
            .pairs
            .range(bounds)
            .map(|(key, value)| (key.clone(), value.clone()));
        Ok(match page.order {
            Order::Ascending => range.take(page.limit).collect(),
            Order::Descending => range.rev().take(page.limit).collect(),
        })
    }

    fn apply(&self, batch: KvBatch) -> Result<(), KvError> {
        let mut disk = self.0.lock();
        let verdict = disk.call();
        if verdict.effect == Effect::Whole {
            let batch = disk.sabotage_batch(batch)?;
            put(&mut disk.pairs, batch.clone());
            disk.unflushed.push(batch);
        }
        verdict.answer(()).map_err(failed)
    }

    fn flush(&self) -> Result<(), KvError> {
        let mut disk = self.0.lock();
        let verdict = disk.call();
        if verdict.effect == Effect::Whole {
            let Disk { flushed, unflushed, .. } = &mut *disk;
            unflushed.drain(..).for_each(|batch| put(flushed, batch));
        }
        verdict.answer(()).map_err(failed)
    }

    fn size_on_disk(&self) -> Result<u64, KvError> {
        Ok(0)
    }
}

impl Disk {
    /// A prefix of the commits that were not flushed is there.
    pub(super) fn end_pairs(&mut self, ending: Ending) {
        let kept = self.draw.up_to(self.unflushed.len());
        self.unflushed.truncate(kept);
        self.pairs.clone_from(&self.flushed);
        for batch in &self.unflushed {
            put(&mut self.pairs, batch.clone());
        }
        if ending == Ending::Power {
            self.flushed.clone_from(&self.pairs);
            self.unflushed.clear();
        }
    }

    fn sabotage_batch(&mut self, batch: KvBatch) -> Result<KvBatch, KvError> {
        let mut changed = KvBatch::default();
        let loses_records = self.sabotaged(Sabotage::OutboxRecordLost);
        for (key, value) in batch {
            match value {
                Some(_) if loses_records && Space::of(&key) == Some(Space::Outbox) => {}
                Some(bytes) if key == keys::meta() => changed.put(key, self.sabotage_cursor(bytes)?),
                Some(bytes) => changed.put(key, bytes),
                None => changed.remove(key),
            }
        }
        Ok(changed)
    }

    fn sabotage_cursor(&mut self, bytes: Vec<u8>) -> Result<Vec<u8>, KvError> {
        if self.sabotage != Some(Sabotage::CursorTooFar) {
            return Ok(bytes);
        }
        let meta = Meta::from_bytes(&bytes).map_err(|error| KvError(error.to_string()))?;
        if meta.applied >= self.newest {
            return Ok(bytes);
        }
        let meta = Meta {
            applied: meta.applied.next(),
            ..meta
        };
        meta.to_bytes().map_err(|error| KvError(error.to_string()))
    }
}

fn put(pairs: &mut Pairs, batch: KvBatch) {
    for (key, value) in batch {
        match value {
            Some(value) => pairs.insert(key, value),
            None => pairs.remove(&key),
        };
    }
}

fn failed(error: std::io::Error) -> KvError {
    KvError(error.to_string())
}
