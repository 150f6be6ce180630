//! Changes of rules before they enter the journal: the caps of a tenant, and whether the plugins that serve take the
//! rules with the change. A plugin tries them on a copy that does not serve and keeps that copy: once the command is
//! applied it takes over in one step, and the line of alerts never waits for rules to be compiled. Knows no HTTP.

mod known;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use donjon_core::TenantId;
use donjon_core::batch::{Diagnostic, RuleReport, RuleSpec};
use donjon_core::command::Command;
use donjon_core::rule::Rule;
use donjon_core::state::StateError;
use donjon_expr::limits::STEPS_PER_ALERT;
use donjon_runtime::{PluginSet, Role};
use donjon_store::StateReader;
use tokio::sync::{OwnedMutexGuard, Semaphore};
use tokio::time::{Instant, timeout_at};

pub use known::Turn;
use known::{Change, Known, WithChange, let_through};

/// Most rules of a tenant.
pub const MAX_RULES: usize = 20_000;
/// Most bytes of all conditions of a tenant.
pub const MAX_CONDITION_BYTES: usize = 8 << 20;
/// How long a change waits until it is tried. Where the line is held, the change before it keeps its turn for as long as
/// its sender waits, which is twice as long: whoever would wait longer is told to come again, and nothing was taken.
const TURN_PATIENCE: Duration = Duration::from_secs(30);
/// Tenants whose rules are tried at a time: it takes nothing but computing time, of which the line of alerts needs its part.
const TRIED_AT_ONCE: usize = 1;

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
    /// Others have their turn.
    #[error(
        "other changes of rules are under way, or wait for a line that is held (see /readyz); nothing was taken, try again \
         later: waited {} s", .0.as_secs()
    )]
    Busy(Duration),
    /// The check itself ended badly.
    #[error("the check of the rules panicked; its place is on standard error")]
    Panicked,
}

/// Checks changes. One for the server.
pub struct RuleChanges {
    state: StateReader,
    plugins: Arc<ArcSwap<PluginSet>>,
    tenants: Mutex<HashMap<TenantId, Arc<tokio::sync::Mutex<Known>>>>,
    trying: Arc<Semaphore>,
    patience: Duration,
}

impl RuleChanges {
    /// For the plugins that serve in `plugins`.
    pub fn new(state: StateReader, plugins: Arc<ArcSwap<PluginSet>>) -> RuleChanges {
        RuleChanges {
            state,
            plugins,
            tenants: Mutex::default(),
            trying: Arc::new(Semaphore::new(TRIED_AT_ONCE)),
            patience: TURN_PATIENCE,
        }
    }

    /// Waits for the turn of a tenant, and tries a change. Other commands pass.
    ///
    /// # Errors
    /// When the change is over a cap, or a plugin does not take it (a deletion is always let through), or it does not come
    /// to its turn in time.
    pub async fn check(&self, tenant: &TenantId, command: &Command) -> Result<Option<Turn>, Refusal> {
        let Some(change) = Change::of(tenant, command) else {
            return Ok(None);
        };
        let known = {
            let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(tenants.entry(tenant.clone()).or_default())
        };
        let (end, busy) = (Instant::now() + self.patience, |_| Refusal::Busy(self.patience));
        let known = timeout_at(end, known.lock_owned()).await.map_err(busy)?;
        let trying = Arc::clone(&self.trying).acquire_owned();
        let trying = timeout_at(end, trying).await.map_err(busy)?;
        let (state, plugins, tenant) = (self.state.clone(), self.plugins.load_full(), tenant.clone());
        let work = move || {
            // Given back when the work ends, not when the client leaves.
            let _trying = trying;
            check(known, &state, &plugins, &tenant, change)
        };
        let tried = tokio::task::spawn_blocking(work).await.map_err(|_| Refusal::Panicked)?;
        tried.map(Some)
    }
}

fn check(
    mut known: OwnedMutexGuard<Known>,
    state: &StateReader,
    plugins: &PluginSet,
    tenant: &TenantId,
    change: Change,
) -> Result<Turn, Refusal> {
    known.catch_up(state, tenant)?;
    let deletes = matches!(change, Change::Delete(_));
    let WithChange { rules, stored, only } = known.with(change);
    if stored.is_empty() && !deletes {
        return Ok(let_through(known, only));
    }
    if !deletes {
        caps(&rules)?;
    }
    let specs = specs(rules);
    for plugin in &plugins.plugins {
        if !plugin.roles().contains(Role::Correlator) || !plugin.description().takes_rules {
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
    Ok(let_through(known, only))
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
    use donjon_store::State;

    use super::known::rule;
    use super::*;

    #[test]
    fn rules_are_tried_in_the_order_in_which_the_worker_hands_them_over() {
        let known = Known::with_rules(vec![rule("a", 1, 0), rule("b", 2, 7), rule("c", 3, 7)]);
        let changed = known.with(Change::Store(Box::new(rule("a", 9, 7)))).rules;
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

    #[tokio::test]
    async fn a_change_that_does_not_come_to_its_turn_is_refused_and_others_are_tried() {
        let plugins = Arc::new(ArcSwap::from_pointee(PluginSet::default()));
        let mut changes = RuleChanges::new(State::in_memory().reader().clone(), plugins);
        changes.patience = Duration::from_millis(20);
        let delete = Command::DeleteRule { id: "r".into() };
        let (one, other) = (TenantId::from("one"), TenantId::from("other"));
        let held = changes.check(&one, &delete).await.unwrap();
        let refused = changes.check(&one, &delete).await.map(drop).unwrap_err();
        assert!(matches!(refused, Refusal::Busy(_)), "{refused}");
        assert!(changes.check(&other, &delete).await.is_ok());
        drop(held);
        assert!(changes.check(&one, &delete).await.is_ok());
        // Whoever has the turn of its tenant waits for those that are tried.
        let _tried = Arc::clone(&changes.trying).acquire_owned().await;
        let refused = changes.check(&other, &delete).await.map(drop).unwrap_err();
        assert!(matches!(refused, Refusal::Busy(_)), "{refused}");
    }
}
