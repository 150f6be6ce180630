//! One write set as one batch of keys and bytes. Pure but for what it reads to replace or to forget: values of
//! plugins, dead letters and outbox records above their caps.

use std::collections::BTreeMap;

use donjon_core::TenantId;
use donjon_core::limits::MAX_RULE_VERSIONS;
use donjon_core::outbox::OutboxWindow;
use donjon_core::state::{StateError, WriteSet};

use super::dead_letters::DeadLetterBook;
use super::keys::{self, Space};
use super::kv::KvBatch;
use super::plugin_data::{self, Purged};
use super::reader::StateReader;
use crate::record::{GroupHead, Meta, RecordError, RememberedKey, Stored};

/// A write set does not become a batch.
#[derive(Debug)]
pub(super) enum BatchError {
    /// A record cannot be stored: which, and why.
    Record(String, RecordError),
    Store(StateError),
}

/// What a batch may hold.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    /// Larger records are refused.
    pub(super) record_bytes: usize,
    /// Most values of plugins that are removed because they expired.
    pub(super) purged_at_once: usize,
}

/// A batch in the making.
pub(super) struct Writes {
    pub(super) batch: KvBatch,
    pub(super) bounds: Bounds,
}

impl Writes {
    /// Puts a record; `name` says which it is if it cannot be stored.
    pub(super) fn put<T: Stored>(
        &mut self,
        key: Vec<u8>,
        record: &T,
        name: impl Fn() -> String,
    ) -> Result<(), BatchError> {
        let bytes = record.to_bytes().map_err(|error| BatchError::Record(name(), error))?;
        if bytes.len() > self.bounds.record_bytes {
            let (limit, found) = (self.bounds.record_bytes, bytes.len());
            return Err(BatchError::Record(name(), RecordError::TooLarge { limit, found }));
        }
        self.batch.put(key, bytes);
        Ok(())
    }
}

/// A write set as a batch.
pub(super) struct MadeBatch {
    pub(super) batch: KvBatch,
    /// The meta record that is in it.
    pub(super) meta: Meta,
    /// Whether it removes all that expired.
    pub(super) purged: Purged,
}

/// The batch of a write set.
pub(super) fn batch(
    write: &WriteSet,
    before: &Meta,
    letters: &mut DeadLetterBook,
    state: &StateReader,
    bounds: Bounds,
) -> Result<MadeBatch, BatchError> {
    let mut writes = Writes {
        batch: KvBatch::default(),
        bounds,
    };
    put_alerts(write, &mut writes)?;
    put_incidents(write, &mut writes)?;
    put_rules(write, &mut writes)?;
    for (tenant, counters) in &write.tenants {
        let key = keys::of_tenant(Space::Tenant, tenant);
        writes.put(key, counters, || format!("counters of tenant {tenant}"))?;
    }
    letters.apply(write, state, &mut writes)?;
    put_remembered(write, &mut writes)?;
    put_outbox(write, state, &mut writes)?;
    let meta = Meta {
        applied: write.applied,
        newest_judged: write.newest_judged.unwrap_or(before.newest_judged),
        ..*before
    };
    let purged = plugin_data::put(write, meta.newest_judged, state, &mut writes)?;
    writes.put(keys::meta(), &meta, || "cursor".to_owned())?;
    Ok(MadeBatch {
        batch: writes.batch,
        meta,
        purged,
    })
}

fn put_alerts(write: &WriteSet, writes: &mut Writes) -> Result<(), BatchError> {
    for alert in &write.alerts {
        let key = keys::alert(&alert.tenant, &alert.fingerprint);
        writes.put(key, alert, || format!("alert {}", alert.fingerprint))?;
    }
    for chunk in &write.history {
        let key = keys::history(&chunk.tenant, &chunk.fingerprint, chunk.number);
        writes.put(key, chunk, || format!("history of alert {}", chunk.fingerprint))?;
    }
    Ok(())
}

/// Incidents, the heads of their groups, and links in both directions. The way from an alert to its incidents is only
/// there while the link counts.
fn put_incidents(write: &WriteSet, writes: &mut Writes) -> Result<(), BatchError> {
    for incident in &write.incidents {
        let key = keys::incident(&incident.tenant, incident.id);
        writes.put(key, incident, || format!("incident {}", incident.id))?;
    }
    for (tenant, rule, group, incident) in &write.group_heads {
        let key = keys::group_head(tenant, rule, group);
        writes.put(key, &GroupHead(*incident), || format!("group of incident {incident}"))?;
    }
    for (tenant, link) in &write.links {
        let key = keys::link(tenant, link.incident, &link.fingerprint);
        let name = || format!("link of alert {} to incident {}", link.fingerprint, link.incident);
        writes.put(key, link, name)?;
        let back = keys::alert_link(tenant, &link.fingerprint, link.incident);
        match link.unlinked {
            None => writes.batch.put(back, Vec::new()),
            Some(_) => writes.batch.remove(back),
        }
    }
    Ok(())
}

/// Each version stays readable beside the newest one, the oldest of too many excepted.
fn put_rules(write: &WriteSet, writes: &mut Writes) -> Result<(), BatchError> {
    let kept = u32::try_from(MAX_RULE_VERSIONS).unwrap_or(u32::MAX);
    for rule in &write.rules {
        let name = || format!("rule {}", rule.id);
        let version = keys::rule_version(&rule.tenant, &rule.id, rule.version);
        writes.put(version, rule, name)?;
        writes.put(keys::rule(Space::Rule, &rule.tenant, &rule.id), rule, name)?;
        if let Some(old) = rule.version.checked_sub(kept) {
            writes.batch.remove(keys::rule_version(&rule.tenant, &rule.id, old));
        }
    }
    for (tenant, id, stats) in &write.rule_stats {
        let key = keys::rule(Space::RuleStats, tenant, id);
        writes.put(key, stats, || format!("counters of rule {id}"))?;
    }
    Ok(())
}

/// What is forgotten goes first: a key may be used again by the command that makes room.
fn put_remembered(write: &WriteSet, writes: &mut Writes) -> Result<(), BatchError> {
    for (tenant, gone) in &write.forgotten_keys {
        writes.batch.remove(keys::remembered_key(tenant, gone.number));
        if let Some(digest) = &gone.key {
            writes.batch.remove(keys::remembered_command(tenant, digest));
        }
    }
    for (tenant, known) in &write.remembered_commands {
        let name = || format!("command under key {} of tenant {tenant}", known.number);
        let digest = known.key.key;
        writes.put(keys::remembered_command(tenant, &digest), known, name)?;
        let key = keys::remembered_key(tenant, known.number);
        writes.put(key, &RememberedKey(digest), name)?;
    }
    Ok(())
}

/// Outbox records, and the removal of each tenant's oldest: what is left is a function of what was written, wherever
/// batches ended (I10). At most as many are removed at once as are kept.
fn put_outbox(write: &WriteSet, state: &StateReader, writes: &mut Writes) -> Result<(), BatchError> {
    let mut newest: BTreeMap<&TenantId, OutboxWindow> = BTreeMap::new();
    for record in &write.outbox {
        let key = keys::outbox(&record.tenant, record.window);
        writes.put(key, record, || format!("outbox of tenant {}", record.tenant))?;
        let window = newest.entry(&record.tenant).or_insert(record.window);
        *window = record.window.max(*window);
    }
    for (tenant, newest) in newest {
        let forgotten = state.outbox_keys_below(tenant, newest.oldest_kept());
        for key in forgotten.map_err(BatchError::Store)? {
            writes.batch.remove(key);
        }
    }
    Ok(())
}
