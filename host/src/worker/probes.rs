//! What the worker remembers to tell a poisonous alert from a broken plugin: an alert of each tenant that each required
//! plugin judged, and who sent poison lately. Bounded in bytes; calls nothing.

use std::collections::HashMap;

use donjon_core::batch::{Batch, BatchBuilder};
use donjon_core::{Seq, TenantId, Timestamp};
use donjon_runtime::{PluginCalls, Role};

/// So many poison alerts of a tenant are often.
pub(super) const POISON_OFTEN: usize = 3;
/// For so long a poison alert is remembered.
const POISON_MS: u64 = 10 * 60 * 1000;
/// Largest alert that is remembered, with the names of its columns.
const MAX_ALERT_BYTES: usize = 256 << 10;
/// All of them together; beyond, they are all forgotten, and the next ones are remembered.
const MAX_BYTES: usize = 32 << 20;
/// Most tenants whose poison is remembered.
const MAX_TENANTS: usize = 10_000;

const _: () = assert!(MAX_ALERT_BYTES * 64 <= MAX_BYTES);

/// A plugin in one of its roles.
pub(super) type Asked<'a> = (&'a dyn PluginCalls, Role);

/// Alerts that were judged, and poison.
#[derive(Default)]
pub(super) struct Probes {
    /// By tenant, plugin and role: copies of a plugin may be broken for one tenant alone, and each role is handed other
    /// parts of an alert.
    good: HashMap<TenantId, HashMap<String, HashMap<Role, Batch>>>,
    good_bytes: usize,
    /// Newest times of poison, by tenant.
    poison: HashMap<TenantId, Vec<Timestamp>>,
}

impl Probes {
    /// Whether an alert in the shape of this batch is wanted: none like it is known.
    pub(super) fn wants(&self, asked: Asked<'_>, like: &Batch) -> bool {
        self.of(asked, &like.tenant).is_none_or(|known| {
            known.documents.is_empty() != like.documents.is_empty() || !known.column_names().eq(like.column_names())
        })
    }

    /// Remembers an alert of a batch that was judged as a whole.
    pub(super) fn remember(&mut self, (plugin, role): Asked<'_>, alert: Batch) {
        let bytes = bytes_of(&alert);
        if bytes > MAX_ALERT_BYTES {
            return;
        }
        if self.good_bytes + bytes > MAX_BYTES {
            self.good.clear();
            self.good_bytes = 0;
        }
        self.good_bytes += bytes;
        let of_tenant = self.good.entry(alert.tenant.clone()).or_default();
        let of_plugin = of_tenant.entry(plugin.name().to_owned()).or_default();
        if let Some(before) = of_plugin.insert(role, alert) {
            self.good_bytes -= bytes_of(&before);
        }
    }

    /// An alert of the tenant that the plugin judged.
    pub(super) fn known(&self, asked: Asked<'_>, tenant: &TenantId) -> Option<Batch> {
        self.of(asked, tenant).cloned()
    }

    fn of(&self, (plugin, role): Asked<'_>, tenant: &TenantId) -> Option<&Batch> {
        self.good.get(tenant)?.get(plugin.name())?.get(&role)
    }

    /// An alert of the tenant was put aside.
    pub(super) fn note_poison(&mut self, tenant: &TenantId, now: Timestamp) {
        if self.poison.len() >= MAX_TENANTS {
            self.poison.clear();
        }
        let times = self.poison.entry(tenant.clone()).or_default();
        times.push(now);
        if times.len() > POISON_OFTEN {
            times.remove(0);
        }
    }

    /// Whether several alerts of the tenant were put aside lately.
    pub(super) fn poisons_often(&self, tenant: &TenantId, now: Timestamp) -> bool {
        let since = now.minus_ms(POISON_MS);
        let times = self.poison.get(tenant).map(Vec::as_slice).unwrap_or_default();
        times.iter().filter(|at| **at >= since).count() >= POISON_OFTEN
    }
}

fn bytes_of(batch: &Batch) -> usize {
    512 + batch.bytes()
}

/// An alert without attributes, in the shape of another batch.
pub(super) fn empty_alert(like: &Batch) -> Batch {
    let mut builder = BatchBuilder::new(like.tenant.clone(), 1, like.column_names());
    if !like.documents.is_empty() {
        builder.document(b"{}");
    }
    builder.end_alert(Seq(0), like.newest());
    builder.finish()
}
