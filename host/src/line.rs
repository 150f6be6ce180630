//! What holds the line of alerts, or hampers it: required plugins that are missing or fail, a full disk, rules that a
//! plugin did not take. Written by the worker, read by everybody who tells people. Decides nothing about alerts.

mod remembered;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use donjon_core::{RuleId, TenantId};
use donjon_runtime::{PluginCalls, PluginSet, Role};
pub use remembered::Remembered;

/// A held line is logged so often.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// What the failure of a plugin means for alerts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// They go on without it, and say so.
    Optional,
    /// They wait for it.
    Required,
}

impl Policy {
    /// The word for people and interfaces.
    pub fn as_str(self) -> &'static str {
        match self {
            Policy::Optional => "optional",
            Policy::Required => "required",
        }
    }
}

/// The rules of a tenant that one plugin has, where they are not all of the newest ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleTrouble {
    /// Why the newest rules are not in force; none if they are.
    pub refused: Option<String>,
    /// Single rules that the plugin did not take, and why.
    pub rules: BTreeMap<RuleId, String>,
}

/// Shared by the worker and the interfaces.
pub struct LineStatus {
    /// As configured; a plugin that is not named here is required if it is a correlator that takes rules.
    policies: BTreeMap<String, Policy>,
    set: Arc<ArcSwap<PluginSet>>,
    /// Plugins that served as correlators of rules: required from then on, also once their file is gone, until the
    /// configuration says that they are optional.
    took_rules: Arc<Remembered>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    held: Option<String>,
    said: Option<Instant>,
    trouble: HashMap<TenantId, BTreeMap<String, RuleTrouble>>,
}

impl LineStatus {
    /// Looks at what serves in `set`. What takes rules is added to `took_rules` before it serves.
    pub fn new(
        policies: BTreeMap<String, Policy>,
        set: Arc<ArcSwap<PluginSet>>,
        took_rules: Arc<Remembered>,
    ) -> LineStatus {
        LineStatus {
            policies,
            set,
            took_rules,
            state: Mutex::default(),
        }
    }

    /// What the failure of a plugin means.
    pub fn policy(&self, plugin: &dyn PluginCalls) -> Policy {
        self.policy_of(plugin.name(), Some(plugin))
    }

    /// The same by name, for people: of one that does not serve, too.
    pub fn policy_named(&self, name: &str) -> Policy {
        let set = self.set.load();
        let serving = set.get(name).map(AsRef::as_ref);
        self.policy_of(name, serving)
    }

    fn policy_of(&self, name: &str, serving: Option<&dyn PluginCalls>) -> Policy {
        let by_default = || match serving.is_some_and(evaluates_rules) || self.took_rules.contains(name) {
            true => Policy::Required,
            false => Policy::Optional,
        };
        self.policies.get(name).copied().unwrap_or_else(by_default)
    }

    /// Required plugins that do not serve; those that evaluated rules must do so, whatever serves under their name.
    pub fn missing(&self) -> Vec<String> {
        let set = self.set.load();
        let is_optional = |name: &str| self.policies.get(name) == Some(&Policy::Optional);
        let mut took_rules = self.took_rules.all();
        took_rules.retain(|name| !is_optional(name));
        let named = self.policies.keys().filter(|name| !is_optional(name)).cloned();
        let required: BTreeSet<String> = named.chain(took_rules.iter().cloned()).collect();
        let is_missing = |name: &String| {
            let serving = set.get(name).map(AsRef::as_ref);
            serving.is_none_or(|plugin| took_rules.contains(name) && !evaluates_rules(plugin))
        };
        required.into_iter().filter(is_missing).collect()
    }

    /// Why the line stands, or would with the next alert.
    pub fn held(&self) -> Option<String> {
        if let Some(held) = self.state().held.clone() {
            return Some(held);
        }
        let missing = self.missing();
        (!missing.is_empty()).then(|| missing_text(&missing))
    }

    /// The worker waits. Logged once a minute, with the details: `/readyz` tells everybody why the line is held, and
    /// what a plugin says may quote the alerts of a tenant.
    pub fn hold(&self, why: &str, details: &str) {
        let mut state = self.state();
        state.held = Some(why.to_owned());
        if state.said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
            state.said = Some(Instant::now());
            drop(state);
            tracing::error!(
                details,
                "the line is held, nothing is lost and nothing is applied: {why}"
            );
        }
    }

    /// The worker goes on.
    pub fn release(&self) {
        let mut state = self.state();
        if state.held.take().is_some() {
            state.said = None;
            drop(state);
            tracing::info!("the line goes on");
        }
    }

    /// What a plugin did not take of a tenant's rules; the default if it took all.
    pub fn set_trouble(&self, tenant: &TenantId, plugin: &str, trouble: RuleTrouble) {
        let mut state = self.state();
        let of_tenant = state.trouble.entry(tenant.clone()).or_default();
        if trouble == RuleTrouble::default() {
            of_tenant.remove(plugin);
        } else {
            of_tenant.insert(plugin.to_owned(), trouble);
        }
    }

    /// Of rules that are no more: the tenant has none, or others that no plugin was given yet.
    pub fn forget_trouble(&self, tenant: &TenantId) {
        self.state().trouble.remove(tenant);
    }

    /// By plugin; only what is not in order.
    pub fn trouble(&self, tenant: &TenantId) -> BTreeMap<String, RuleTrouble> {
        self.serving().trouble.get(tenant).cloned().unwrap_or_default()
    }

    /// Tenants and plugins where older rules are in force than the newest.
    pub fn refused_count(&self) -> i64 {
        let state = self.serving();
        let refused = state
            .trouble
            .values()
            .flat_map(BTreeMap::values)
            .filter(|trouble| trouble.refused.is_some());
        i64::try_from(refused.count()).unwrap_or(i64::MAX)
    }

    /// Without the trouble of plugins that are gone: nobody else hears of that who knows what they did not take.
    fn serving(&self) -> MutexGuard<'_, State> {
        let set = self.set.load();
        let takes_rules = |name: &str| set.get(name).is_some_and(|plugin| evaluates_rules(plugin.as_ref()));
        let mut state = self.state();
        for of_tenant in state.trouble.values_mut() {
            of_tenant.retain(|name, _| takes_rules(name));
        }
        state.trouble.retain(|_, of_tenant| !of_tenant.is_empty());
        state
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a plugin is asked about the rules of people.
pub fn evaluates_rules(plugin: &dyn PluginCalls) -> bool {
    plugin.roles().contains(Role::Correlator) && plugin.description().takes_rules
}

/// For everybody, with where to look: nothing of what the plugin said.
pub fn failing_text(plugin: &str) -> String {
    format!(
        "required plugin fails: {plugin}; why is in the log, and with a key of the tenant whose alerts they are in \
         last_error of GET /plugins/{plugin}"
    )
}

/// For people, with what to do.
pub fn missing_text(names: &[String]) -> String {
    format!(
        "required plugin is not loaded, or does not take rules as it did; put its file into the plugin directory (GET \
         /plugins says what is wrong with one that is there), or set its policy to optional and start again: {}",
        names.join(", ")
    )
}
