//! What plugins count of their own calls, as metrics. A plugin counts from zero whenever its file is replaced; here the
//! numbers only grow, up to what passes between the last look at the old one and its end.

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

use donjon_runtime::{PluginCounters, PluginSet};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::{Registry, Unit};

use super::PluginLabel;

/// A plugin and why the host did not take a part of its answer: a closed set of words.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct DroppedLabel {
    /// The name of the plugin.
    pub plugin: String,
    /// Why.
    pub reason: &'static str,
}

/// Counters a plugin.
#[derive(Default)]
pub struct PluginMetrics {
    calls: Family<PluginLabel, Counter>,
    call_seconds: Family<PluginLabel, Counter<f64, AtomicU64>>,
    failed_calls: Family<PluginLabel, Counter>,
    configures: Family<PluginLabel, Counter>,
    replaced: Family<PluginLabel, Counter>,
    dropped: Family<DroppedLabel, Counter>,
    /// What was read last, by name: the file and its numbers.
    read: Mutex<HashMap<String, (String, PluginCounters)>>,
}

impl PluginMetrics {
    /// Puts the families into a registry.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("plugin_calls", "Calls of plugins", self.calls.clone());
        registry.register_with_unit(
            "plugin_call",
            "Time in calls of plugins",
            Unit::Seconds,
            self.call_seconds.clone(),
        );
        registry.register(
            "plugin_failed_calls",
            "Calls of plugins that failed",
            self.failed_calls.clone(),
        );
        let text = "Times a plugin was given the rules of a tenant, on a copy that serves or beside it";
        registry.register("plugin_configures", text, self.configures.clone());
        let text = "Copies of a plugin made again because calls made them grow far beyond what they had before";
        registry.register("plugin_copies_replaced", text, self.replaced.clone());
        let text = "Parts of the answers of plugins that the host did not take, by reason";
        registry.register("plugin_dropped", text, self.dropped.clone());
    }

    /// Reads the counters of the plugins that serve.
    pub fn read(&self, plugins: &PluginSet) {
        for plugin in &plugins.plugins {
            self.take(plugin.name(), plugin.hash(), plugin.counters());
        }
    }

    /// Adds what a plugin counted since it was read last; all of it where it began anew.
    fn take(&self, name: &str, hash: &str, now: PluginCounters) {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match read.get(name) {
            Some((known, before)) if known == hash && !began_anew(&now, before) => before.clone(),
            _ => PluginCounters::default(),
        };
        self.add(name, &now, &before);
        read.insert(name.to_owned(), (hash.to_owned(), now));
    }

    #[cfg(test)]
    fn calls(&self, plugin: &str) -> u64 {
        let label = PluginLabel {
            plugin: plugin.to_owned(),
        };
        self.calls.get_or_create(&label).get()
    }

    fn add(&self, name: &str, now: &PluginCounters, before: &PluginCounters) {
        let label = PluginLabel {
            plugin: name.to_owned(),
        };
        let add = |family: &Family<PluginLabel, Counter>, now: u64, before: u64| {
            family.get_or_create(&label).inc_by(now.saturating_sub(before));
        };
        add(&self.calls, now.calls, before.calls);
        add(&self.failed_calls, now.failures, before.failures);
        add(&self.configures, now.configures, before.configures);
        add(&self.replaced, now.replaced, before.replaced);
        let busy = now.busy.saturating_sub(before.busy).as_secs_f64();
        self.call_seconds.get_or_create(&label).inc_by(busy);
        for (reason, count) in &now.dropped_by_reason {
            let before = before.dropped_by_reason.get(reason).copied().unwrap_or_default();
            let label = DroppedLabel {
                plugin: name.to_owned(),
                reason,
            };
            self.dropped.get_or_create(&label).inc_by(count.saturating_sub(before));
        }
    }
}

/// Whether the numbers are those of another start of the same file, as after a change of its settings.
fn began_anew(now: &PluginCounters, before: &PluginCounters) -> bool {
    now.calls < before.calls
        || now.failures < before.failures
        || now.configures < before.configures
        || now.replaced < before.replaced
        || now.dropped < before.dropped
        || now.busy < before.busy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_plugin_that_was_started_again_with_other_settings_are_added() {
        let metrics = PluginMetrics::default();
        let counters = |calls| PluginCounters {
            calls,
            ..PluginCounters::default()
        };
        for (calls, sum) in [(10, 10), (12, 12), (3, 15), (4, 16)] {
            metrics.take("p", "the same file", counters(calls));
            assert_eq!(metrics.calls("p"), sum);
        }
    }
}
