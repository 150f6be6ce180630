//! Policies that correlators bring along instead of taking rules, as rules of the book. Knows no component.

use donjon_core::rule::{Rule, RuleDraft, policy_id};
use donjon_core::{Seq, TenantId, Timestamp};
use donjon_runtime::{PluginCalls, PluginSet, Role};

use crate::rules::policy_from_json;

/// The policies of all correlators. They apply before the rules of people of the same priority.
pub fn as_rules(tenant: &TenantId, plugins: &PluginSet) -> Vec<Rule> {
    let correlators = plugins
        .plugins
        .iter()
        .filter(|plugin| plugin.roles().contains(Role::Correlator));
    correlators
        .flat_map(|plugin| as_rules_of(tenant, plugin.as_ref()))
        .collect()
}

/// The policies of one plugin.
pub fn as_rules_of(tenant: &TenantId, plugin: &dyn PluginCalls) -> Vec<Rule> {
    let mut rules = Vec::new();
    for policy in &plugin.description().policies {
        match policy_from_json(&policy.settings, plugin.name()) {
            Ok(draft) => rules.push(Rule {
                draft: RuleDraft {
                    branches: policy.branches.clone(),
                    ..draft
                },
                id: policy_id(plugin.name(), policy.id.as_str()),
                tenant: tenant.clone(),
                version: 1,
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

/// What is wrong with the policies of a plugin: settings that do not fit, or two of one identifier.
pub fn check(plugin: &dyn PluginCalls) -> Result<(), String> {
    let mut known = std::collections::BTreeSet::new();
    for policy in &plugin.description().policies {
        if policy.id.as_str().is_empty() {
            return Err("a policy has an empty id; name it, verdicts name it too".to_owned());
        }
        if !known.insert(&policy.id) {
            return Err(format!("two policies have one id: {}", policy.id));
        }
        policy_from_json(&policy.settings, plugin.name())
            .map_err(|error| format!("settings of policy {} do not fit: {error}", policy.id))?;
    }
    Ok(())
}
