//! What a batch adds to the figures. Counted once it is committed: one that is given back, or begins anew with other plugins,
//! is judged again. Knows no alert.

use std::collections::BTreeMap;
use std::sync::Arc;

use donjon_runtime::PluginCalls;

use crate::telemetry::{Metrics, PluginLabel};

/// Figures of one tenant's part of a batch.
#[derive(Default)]
pub(super) struct Tally {
    /// Alerts that a plugin failed on.
    failures: BTreeMap<String, u64>,
    /// Parts of answers that do not count, and why.
    dropped: Vec<(Arc<dyn PluginCalls>, &'static str, u64)>,
    /// Rules that could not be evaluated on an alert.
    pub(super) rule_errors: u64,
}

impl Tally {
    pub(super) fn failed(&mut self, plugin: &str, alerts: usize) {
        *self.failures.entry(plugin.to_owned()).or_default() += alerts as u64;
    }

    pub(super) fn dropped(&mut self, plugin: &Arc<dyn PluginCalls>, reason: &'static str, parts: u64) {
        if parts > 0 {
            self.dropped.push((Arc::clone(plugin), reason, parts));
        }
    }

    /// The batch is committed.
    pub(super) fn count(self, metrics: &Metrics) {
        for (plugin, alerts) in self.failures {
            metrics
                .plugin_failures
                .get_or_create(&PluginLabel { plugin })
                .inc_by(alerts);
        }
        for (plugin, reason, parts) in self.dropped {
            plugin.add_dropped(reason, parts);
        }
        metrics.rule_errors.inc_by(self.rule_errors);
    }
}
