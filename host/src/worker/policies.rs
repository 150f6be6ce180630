//! Policies that correlators bring along instead of taking rules, as rules of the book. Knows no component.

use donjon_core::rule::Rule;
use donjon_core::{Seq, TenantId, Timestamp};
use donjon_runtime::{PluginCalls, PluginSet, Role};

use crate::rules::policy_from_json;

/// The policies of all correlators. They apply before the rules of people of the same priority.
pub fn as_rules(tenant: &TenantId, plugins: &PluginSet) -> Vec<Rule> {
    let correlators = plugins
        .plugins
        .iter()
        .filter(|plugin| plugin.role() == Role::Correlator);
    correlators
        .flat_map(|plugin| plugin_rules(tenant, plugin.as_ref()))
        .collect()
}

fn plugin_rules(tenant: &TenantId, plugin: &dyn PluginCalls) -> Vec<Rule> {
    let mut rules = Vec::new();
    for policy in &plugin.description().policies {
        let settings = serde_json::from_str(&policy.settings).unwrap_or_default();
        match policy_from_json(&settings, plugin.name()) {
            Ok(draft) => rules.push(Rule {
                id: policy.id.clone(),
                tenant: tenant.clone(),
                version: 1,
                draft,
                created_seq: Seq(0),
                created: Timestamp(0),
                created_by: format!("plugin {}", plugin.name()),
                updated: None,
                updated_by: None,
                deleted: false,
                offered_at_creation: 0,
            }),
            Err(error) => {
                tracing::error!(plugin = plugin.name(), policy = %policy.id, %error, "policy of a plugin does not fit; it opens nothing");
            }
        }
    }
    rules
}
