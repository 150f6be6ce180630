//! Changes of rules before they enter the journal: the caps of a tenant, and whether the plugins that serve take the
//! rules with the change. A plugin tries them on a copy that does not serve and keeps that copy: once the command is
//! applied it takes over in one step, and the line of alerts never waits for rules to be compiled. Knows no HTTP.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use donjon_core::batch::{Diagnostic, RuleReport, RuleSpec};
use donjon_core::command::Command;
use donjon_core::rule::{Rule, RuleDraft};
use donjon_core::state::{StateError, StateView};
use donjon_core::{RuleId, Seq, TenantId, Timestamp};
use donjon_expr::limits::STEPS_PER_ALERT;
use donjon_runtime::{PluginSet, Role};
use donjon_store::StateReader;
use tokio::sync::OwnedMutexGuard;

/// Most rules of a tenant.
pub const MAX_RULES: usize = 20_000;
/// Most bytes of all conditions of a tenant.
pub const MAX_CONDITION_BYTES: usize = 8 << 20;

const _: () = assert!(
    MAX_CONDITION_BYTES / MAX_RULES >= 256,
    "as many rules as there may be have room for conditions"
);

const _: () = assert!(
    STEPS_PER_ALERT as usize / MAX_RULES >= 50,
    "an ordinary condition (some ten steps) is evaluated whatever the others cost, also among as many rules as there may be"
);

/// Why a change is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Too many rules, or too long ones.
    #[error("{0}")]
    Cap(String),
    /// A plugin does not take this rule.
    #[error("plugin {plugin} does not take the rule {rule}: {}", .diagnostics.first().map_or("no reason given", |first| first.message.as_str()))]
    Rule {
        /// Which plugin.
        plugin: String,
        /// The name of the rule.
        rule: String,
        /// Its reasons.
        diagnostics: Vec<Diagnostic>,
    },
    /// A plugin does not take the rules together.
    #[error("plugin {plugin} does not take the rules of the tenant with this change: {why}")]
    Together {
        /// Which plugin.
        plugin: String,
        /// What it said, or how it broke.
        why: String,
    },
    /// Committed rules cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The check itself ended badly.
    #[error("the check of the rules panicked; its place is on standard error")]
    Panicked,
}

/// One change a tenant at a time: what was tried is then what is applied. Dropped once the command is applied.
pub struct Turn(#[expect(dead_code, reason = "kept for its lock")] OwnedMutexGuard<Known>);

/// The rules of a tenant as of a version, so that a change costs one read, not one for each rule.
#[derive(Default)]
struct Known {
    version: u64,
    rules: Vec<Rule>,
    /// What the change that was let through last was about.
    changing: Option<RuleId>,
}

/// Checks changes. One for the server.
pub struct RuleChanges {
    state: StateReader,
    plugins: Arc<ArcSwap<PluginSet>>,
    tenants: Mutex<HashMap<TenantId, Arc<tokio::sync::Mutex<Known>>>>,
}

impl RuleChanges {
    /// For the plugins that serve in `plugins`.
    pub fn new(state: StateReader, plugins: Arc<ArcSwap<PluginSet>>) -> RuleChanges {
        RuleChanges {
            state,
            plugins,
            tenants: Mutex::default(),
        }
    }

    /// Waits for the turn of a tenant, and tries a change. Other commands pass.
    ///
    /// # Errors
    /// When the change is over a cap, or a plugin does not take it. A deletion is always let through.
    pub async fn check(&self, tenant: &TenantId, command: &Command) -> Result<Option<Turn>, Refusal> {
        let Some(change) = Change::of(tenant, command) else {
            return Ok(None);
        };
        let known = {
            let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(tenants.entry(tenant.clone()).or_default())
        };
        let known = known.lock_owned().await;
        let (state, plugins, tenant) = (self.state.clone(), self.plugins.load_full(), tenant.clone());
        let work = move || check(known, &state, &plugins, &tenant, change);
        let tried = tokio::task::spawn_blocking(work).await.map_err(|_| Refusal::Panicked)?;
        tried.map(|known| Some(Turn(known)))
    }
}

/// A change of rules. Those to be stored are as if they were new.
enum Change {
    /// One is stored under its identifier.
    Store(Box<Rule>),
    /// One is deleted.
    Delete(RuleId),
    /// Many are stored, those that are known by name under the identifiers that they have.
    Apply(Vec<Rule>),
}

impl Change {
    fn of(tenant: &TenantId, command: &Command) -> Option<Change> {
        match command {
            Command::CreateRule { id, draft } | Command::UpdateRule { id, draft } => {
                Some(Change::Store(Box::new(as_new(tenant, id, draft))))
            }
            Command::DeleteRule { id } => Some(Change::Delete(id.clone())),
            Command::ApplyRules { rules } => {
                let rules = rules.iter().map(|(id, draft)| as_new(tenant, id, draft));
                Some(Change::Apply(rules.collect()))
            }
            Command::SetIncidentStatus { .. }
            | Command::ConfirmIncident { .. }
            | Command::DismissDeadLetters { .. }
            | Command::Rejudge { .. } => None,
        }
    }
}

/// The rules of a tenant with a change.
struct Changed {
    rules: Vec<Rule>,
    /// Those that say something else.
    stored: Vec<RuleId>,
    /// The one that the change is about, if it is one.
    only: Option<RuleId>,
}

/// The newest of all rules.
fn as_new(tenant: &TenantId, id: &RuleId, draft: &RuleDraft) -> Rule {
    Rule {
        id: id.clone(),
        tenant: tenant.clone(),
        version: 1,
        draft: draft.clone(),
        created_seq: Seq(u64::MAX),
        created: Timestamp(0),
        created_by: String::new(),
        updated: None,
        updated_by: None,
        deleted: false,
        offered_at_creation: 0,
    }
}

fn check(
    mut known: OwnedMutexGuard<Known>,
    state: &StateReader,
    plugins: &PluginSet,
    tenant: &TenantId,
    change: Change,
) -> Result<OwnedMutexGuard<Known>, Refusal> {
    known.catch_up(state, tenant)?;
    let deletes = matches!(change, Change::Delete(_));
    let Changed { rules, stored, only } = known.with(change);
    if stored.is_empty() && !deletes {
        return Ok(known);
    }
    if !deletes {
        caps(&rules)?;
    }
    let specs = specs(rules);
    for plugin in &plugins.plugins {
        if plugin.role() != Role::Correlator || !plugin.description().takes_rules {
            continue;
        }
        let name = || plugin.name().to_owned();
        let tried = plugin.prepare(tenant, &specs);
        if deletes {
            continue;
        }
        let reports = tried.map_err(|error| Refusal::Together {
            plugin: name(),
            why: error.to_string(),
        })?;
        let refused = |report: &&RuleReport| report.outcome.is_err() && stored.contains(&report.rule);
        if let Some(report) = reports.iter().find(refused) {
            let rule = specs.iter().find(|spec| spec.id == report.rule);
            return Err(Refusal::Rule {
                plugin: name(),
                rule: rule.map(|spec| spec.name.clone()).unwrap_or_default(),
                diagnostics: report.outcome.as_ref().err().cloned().unwrap_or_default(),
            });
        }
    }
    known.changing = only;
    Ok(known)
}

impl Known {
    /// Reads what is committed: only the rule that was changed here, if that is all.
    fn catch_up(&mut self, state: &StateReader, tenant: &TenantId) -> Result<(), StateError> {
        let version = state.tenant(tenant)?.rules_version;
        let changed = self.changing.take();
        if version == self.version {
            return Ok(());
        }
        match changed.filter(|_| version == self.version + 1) {
            Some(id) => {
                let newest = state.rule(tenant, &id)?;
                self.rules.retain(|rule| rule.id != id);
                self.rules.extend(newest.filter(|rule| !rule.deleted));
            }
            None => {
                self.rules = state.rules(tenant)?;
                self.rules.retain(|rule| !rule.deleted);
            }
        }
        self.version = version;
        Ok(())
    }

    fn with(&self, change: Change) -> Changed {
        let (stored, only) = match change {
            Change::Delete(id) => (Vec::new(), Some(id)),
            Change::Store(rule) => {
                let before = self.rules.iter().find(|known| known.id == rule.id);
                let id = rule.id.clone();
                (vec![replacing(before, *rule)], Some(id))
            }
            Change::Apply(rules) => {
                let mut by_name: HashMap<&str, &Rule> = HashMap::new();
                let mut oldest_first: Vec<&Rule> = self.rules.iter().collect();
                oldest_first.sort_by(|one, other| one.compare_creation(other));
                for rule in oldest_first {
                    by_name.entry(&rule.draft.name).or_insert(rule);
                }
                let differs = |rule: Rule| match by_name.get(rule.draft.name.as_str()) {
                    Some(before) if before.draft == rule.draft => None,
                    before => Some(replacing(before.copied(), rule)),
                };
                (rules.into_iter().filter_map(differs).collect(), None)
            }
        };
        let ids: Vec<RuleId> = stored.iter().map(|rule| rule.id.clone()).collect();
        let gone: HashSet<&RuleId> = ids.iter().chain(&only).collect();
        let others = self.rules.iter().filter(|rule| !gone.contains(&rule.id));
        Changed {
            rules: others.cloned().chain(stored).collect(),
            stored: ids,
            only,
        }
    }
}

/// A rule in the place of the one before.
fn replacing(before: Option<&Rule>, rule: Rule) -> Rule {
    match before {
        Some(before) => Rule {
            draft: rule.draft,
            version: before.version + 1,
            ..before.clone()
        },
        None => rule,
    }
}

fn caps(rules: &[Rule]) -> Result<(), Refusal> {
    if rules.len() > MAX_RULES {
        return Err(Refusal::Cap(format!(
            "the tenant has as many rules as the limit; delete some first: {MAX_RULES}"
        )));
    }
    let bytes: usize = rules.iter().map(|rule| rule.draft.condition.len()).sum();
    if bytes > MAX_CONDITION_BYTES {
        return Err(Refusal::Cap(format!(
            "the conditions of all rules together are longer than the limit; shorten or delete some: {MAX_CONDITION_BYTES} bytes"
        )));
    }
    Ok(())
}

/// As the worker will hand them over: in the order of the rule book.
fn specs(mut rules: Vec<Rule>) -> Vec<RuleSpec> {
    rules.retain(|rule| rule.live() && !rule.draft.condition.is_empty());
    rules.sort_by(Rule::compare_turn);
    rules.iter().map(Rule::spec).collect()
}

#[cfg(test)]
mod tests {
    use donjon_core::settle::RuleBook;
    use serde_json::json;

    use super::*;

    fn rule(id: &str, seq: u64, priority: i32) -> Rule {
        let body = json!({"ruleName": id, "celQuery": "true", "timeframeInSeconds": 5, "timeUnit": "seconds", "priority": priority});
        let draft = crate::rules::draft_from_json(&body).unwrap();
        Rule {
            created_seq: Seq(seq),
            ..as_new(&TenantId::from("t"), &RuleId::from(id), &draft)
        }
    }

    #[test]
    fn rules_are_tried_in_the_order_in_which_the_worker_hands_them_over() {
        let known = Known {
            version: 3,
            rules: vec![rule("a", 1, 0), rule("b", 2, 7), rule("c", 3, 7)],
            changing: None,
        };
        let changed = known.with(Change::Store(Box::new(rule("a", 9, 7)))).rules;
        assert_eq!(changed.iter().find(|rule| rule.id.as_str() == "a").unwrap().version, 2);
        let book = RuleBook::new(changed.clone());
        let in_book: Vec<RuleSpec> = book.rules().iter().map(|live| live.rule.spec()).collect();
        assert_eq!(specs(changed), in_book);
    }

    #[test]
    fn many_rules_are_tried_as_the_worker_will_store_them() {
        let known = Known {
            version: 3,
            rules: vec![rule("c", 3, 0), rule("b", 2, 0), rule("a", 1, 0)],
            changing: None,
        };
        let named = |id: &str, name: &str, priority| {
            let mut rule = rule(id, u64::MAX, priority);
            name.clone_into(&mut rule.draft.name);
            rule
        };
        let given = vec![
            named("1", "b", 5),
            named("2", "new", 0),
            named("3", "newer", 0),
            named("4", "c", 0),
        ];
        let changed = known.with(Change::Apply(given));
        assert_eq!(changed.stored, ["b", "2", "3"].map(RuleId::from));
        let order: Vec<String> = specs(changed.rules).iter().map(|spec| spec.id.to_string()).collect();
        assert_eq!(order, ["b", "a", "c", "2", "3"], "new ones in the order of the file");
    }

    #[test]
    fn a_tenant_has_a_cap_on_rules_and_on_their_conditions() {
        let one = rule("r", 1, 0);
        assert!(caps(&vec![one.clone(); MAX_RULES]).is_ok());
        let error = caps(&vec![one.clone(); MAX_RULES + 1]).unwrap_err().to_string();
        assert!(error.contains("20000"), "{error}");
        let mut long = one;
        long.draft.condition = "x".repeat(MAX_CONDITION_BYTES / 4);
        assert!(caps(&vec![long.clone(); 4]).is_ok());
        let error = caps(&vec![long; 5]).unwrap_err().to_string();
        assert!(error.contains("8388608"), "{error}");
    }
}
