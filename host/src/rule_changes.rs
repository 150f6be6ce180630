//! Changes of rules before they enter the journal: the caps of a tenant, and whether the plugins that serve take the
//! rules with the change. A plugin tries them on a copy that does not serve and keeps that copy: once the command is
//! applied it takes over in one step, and the line of alerts never waits for rules to be compiled. Knows no HTTP.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use donjon_core::batch::{Diagnostic, RuleSpec};
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
    #[error("plugin {plugin} does not take the rule: {}", .diagnostics.first().map_or("no reason given", |first| first.message.as_str()))]
    Rule {
        /// Which plugin.
        plugin: String,
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

/// A change of one rule.
struct Change {
    id: RuleId,
    /// The rule as it would be; none for a deleted one.
    rule: Option<Rule>,
}

impl Change {
    fn of(tenant: &TenantId, command: &Command) -> Option<Change> {
        let (id, draft) = match command {
            Command::CreateRule { id, draft } | Command::UpdateRule { id, draft } => (id, Some(draft)),
            Command::DeleteRule { id } => (id, None),
            _ => return None,
        };
        Some(Change {
            id: id.clone(),
            rule: draft.map(|draft| as_new(tenant, id, draft)),
        })
    }
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
    let deletes = change.rule.is_none();
    let id = change.id.clone();
    let rules = known.with(change);
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
        if let Some(Err(diagnostics)) = reports
            .iter()
            .find(|report| report.rule == id)
            .map(|report| &report.outcome)
        {
            return Err(Refusal::Rule {
                plugin: name(),
                diagnostics: diagnostics.clone(),
            });
        }
    }
    known.changing = Some(id);
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

    fn with(&self, change: Change) -> Vec<Rule> {
        let before = self.rules.iter().find(|rule| rule.id == change.id);
        let changed = change.rule.map(|rule| match before {
            Some(before) => Rule {
                draft: rule.draft,
                version: before.version + 1,
                ..before.clone()
            },
            None => rule,
        });
        let others = self.rules.iter().filter(|rule| rule.id != change.id);
        others.cloned().chain(changed).collect()
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
    rules.sort_by_key(|rule| (std::cmp::Reverse(rule.draft.priority), rule.created_seq));
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
        let change = Change {
            id: RuleId::from("a"),
            rule: Some(rule("a", 9, 7)),
        };
        let changed = known.with(change);
        assert_eq!(changed.iter().find(|rule| rule.id.as_str() == "a").unwrap().version, 2);
        let book = RuleBook::new(changed.clone());
        let in_book: Vec<RuleSpec> = book.rules().iter().map(|live| live.rule.spec()).collect();
        assert_eq!(specs(changed), in_book);
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
