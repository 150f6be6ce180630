//! The plugins that a batch sees. Replaced as a whole by whoever loads plugins, read once at the start of each batch
//! (I9).

use std::sync::Arc;

use crate::calls::PluginCalls;

/// Running plugins in the order of their names.
#[derive(Default)]
pub struct PluginSet {
    /// Grows with every change.
    pub generation: u64,
    /// In the order of their names.
    pub plugins: Vec<Arc<dyn PluginCalls>>,
}

impl PluginSet {
    /// The plugin of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<dyn PluginCalls>> {
        self.plugins.iter().find(|plugin| plugin.name() == name)
    }

    /// The next set: with this plugin in place of the one of the same name.
    #[must_use]
    pub fn with(&self, plugin: Arc<dyn PluginCalls>) -> PluginSet {
        let mut next = self.without(plugin.name());
        let at = next.plugins.partition_point(|other| other.name() < plugin.name());
        next.plugins.insert(at, plugin);
        next
    }

    /// The next set: without the plugin of this name.
    #[must_use]
    pub fn without(&self, name: &str) -> PluginSet {
        let others = self.plugins.iter().filter(|plugin| plugin.name() != name);
        PluginSet {
            generation: self.generation.saturating_add(1),
            plugins: others.cloned().collect(),
        }
    }
}
