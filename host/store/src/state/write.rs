//! One write set as one batch of keys and bytes. Pure but for what it reads to forget: dead letters and
//! outbox records above their caps.

use std::collections::BTreeMap;

use donjon_core::TenantId;
use donjon_core::limits::MAX_RULE_VERSIONS;
use donjon_core::outbox::OutboxWindow;
use donjon_core::state::{StateError, WriteSet};

use super::dead_letters::DeadLetterBook;
use super::keys::{self, Space};
use super::kv::KvBatch;
use super::reader::StateReader;
use crate::limits::MAX_PLUGIN_KEY_BYTES;
use crate::record::{GroupHead, Meta, RecordError, Stored};

/// A write set does not become a batch.
#[derive(Debug)]
pub(super) enum BatchError {
    Record(RecordError),
    Invalid(String),
    Store(StateError),
}

impl From<RecordError> for BatchError {
    fn from(error: RecordError) -> Self {
        BatchError::Record(error)
    }
}

/// The batch of a write set, and the meta record that is in it.
pub(super) fn batch(
    write: &WriteSet,
    before: &Meta,
    letters: &mut DeadLetterBook,
    state: &StateReader,
) -> Result<(KvBatch, Meta), BatchError> {
    let mut batch = KvBatch::default();
    put_alerts(write, &mut batch)?;
    put_incidents(write, &mut batch)?;
    put_rules(write, &mut batch)?;
    for (tenant, counters) in &write.tenants {
        batch.put(keys::of_tenant(Space::Tenant, tenant), counters.to_bytes()?);
    }
    letters.apply(write, state, &mut batch)?;
    put_plugin_kv(write, &mut batch)?;
    put_outbox(write, state, &mut batch)?;
    let meta = Meta {
        applied: write.applied,
        ..*before
    };
    batch.put(keys::meta(), meta.to_bytes()?);
    Ok((batch, meta))
}

fn put_alerts(write: &WriteSet, batch: &mut KvBatch) -> Result<(), BatchError> {
    for alert in &write.alerts {
        batch.put(keys::alert(&alert.tenant, &alert.fingerprint), alert.to_bytes()?);
    }
    for chunk in &write.history {
        batch.put(
            keys::history(&chunk.tenant, &chunk.fingerprint, chunk.number),
            chunk.to_bytes()?,
        );
    }
    Ok(())
}

/// Incidents, the heads of their groups, and links in both directions. The way from an alert to its incidents is only
/// there while the link counts.
fn put_incidents(write: &WriteSet, batch: &mut KvBatch) -> Result<(), BatchError> {
    for incident in &write.incidents {
        batch.put(keys::incident(&incident.tenant, incident.id), incident.to_bytes()?);
    }
    for (tenant, rule, group, incident) in &write.group_heads {
        batch.put(keys::group_head(tenant, rule, group), GroupHead(*incident).to_bytes()?);
    }
    for (tenant, link) in &write.links {
        batch.put(keys::link(tenant, link.incident, &link.fingerprint), link.to_bytes()?);
        let back = keys::alert_link(tenant, &link.fingerprint, link.incident);
        match link.unlinked {
            None => batch.put(back, Vec::new()),
            Some(_) => batch.remove(back),
        }
    }
    Ok(())
}

/// Each version stays readable beside the newest one, the oldest of too many excepted.
fn put_rules(write: &WriteSet, batch: &mut KvBatch) -> Result<(), BatchError> {
    let kept = u32::try_from(MAX_RULE_VERSIONS).unwrap_or(u32::MAX);
    for rule in &write.rules {
        let bytes = rule.to_bytes()?;
        batch.put(keys::rule_version(&rule.tenant, &rule.id, rule.version), bytes.clone());
        batch.put(keys::rule(Space::Rule, &rule.tenant, &rule.id), bytes);
        if let Some(old) = rule.version.checked_sub(kept) {
            batch.remove(keys::rule_version(&rule.tenant, &rule.id, old));
        }
    }
    for (tenant, id, stats) in &write.rule_stats {
        batch.put(keys::rule(Space::RuleStats, tenant, id), stats.to_bytes()?);
    }
    Ok(())
}

fn put_plugin_kv(write: &WriteSet, batch: &mut KvBatch) -> Result<(), BatchError> {
    for (plugin, change) in &write.plugin_kv {
        if change.key.len() > MAX_PLUGIN_KEY_BYTES {
            let found = change.key.len();
            let limit = MAX_PLUGIN_KEY_BYTES;
            return Err(BatchError::Invalid(format!(
                "key of plugin {plugin}: limit {limit} bytes, found {found}"
            )));
        }
        let key = keys::plugin_kv(plugin, &change.key);
        match &change.value {
            Some(value) => batch.put(key, value.to_bytes()?),
            None => batch.remove(key),
        }
    }
    Ok(())
}

/// Outbox records, and the removal of each tenant's oldest: what is left is a function of what was written, wherever
/// batches ended (I10). At most as many are removed at once as are kept.
fn put_outbox(write: &WriteSet, state: &StateReader, batch: &mut KvBatch) -> Result<(), BatchError> {
    let mut newest: BTreeMap<&TenantId, OutboxWindow> = BTreeMap::new();
    for record in &write.outbox {
        batch.put(keys::outbox(&record.tenant, record.window), record.to_bytes()?);
        let window = newest.entry(&record.tenant).or_insert(record.window);
        *window = record.window.max(*window);
    }
    for (tenant, newest) in newest {
        let forgotten = state.outbox_keys_below(tenant, newest.oldest_kept());
        for key in forgotten.map_err(BatchError::Store)? {
            batch.remove(key);
        }
    }
    Ok(())
}
