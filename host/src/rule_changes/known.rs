//! What is known of the rules of a tenant between two changes, and what a change would make of them. A change that
//! nobody saw the end of may come later: then rules are read anew. Knows no plugin and no cap.

use std::collections::{HashMap, HashSet};

use donjon_core::command::Command;
use donjon_core::rule::{Rule, RuleDraft};
use donjon_core::state::{StateError, StateView};
use donjon_core::{RuleId, Seq, TenantId, Timestamp};
use donjon_store::StateReader;
use tokio::sync::OwnedMutexGuard;

/// One change a tenant at a time: what was tried is then what is applied. Dropped without a word where nobody knows what
/// became of the command.
pub struct Turn {
    known: OwnedMutexGuard<Known>,
    changed: Changed,
}

impl Turn {
    /// The command was answered, so it, and all that were given before it, will change nothing any more.
    pub fn settled(mut self) {
        self.known.changed = std::mem::take(&mut self.changed);
        self.known.on_the_way = false;
    }
}

/// What was changed since rules were read, by commands that were answered.
#[derive(Debug, Default, PartialEq, Eq)]
enum Changed {
    /// Nothing.
    #[default]
    Nothing,
    /// At most this one.
    One(RuleId),
    /// Any of them.
    Any,
}

/// The rules of a tenant as of a version, so that a change costs one read, not one for each rule.
pub(super) struct Known {
    version: u64,
    rules: Vec<Rule>,
    changed: Changed,
    /// Whether a change may still come that is not among `changed`: one whose sender left, or was not told in time what
    /// became of it; or one of an earlier life of this process.
    on_the_way: bool,
}

impl Default for Known {
    fn default() -> Known {
        Known {
            version: 0,
            rules: Vec::new(),
            changed: Changed::Any,
            on_the_way: true,
        }
    }
}

/// A change of rules. Those to be stored are as if they were new.
pub(super) enum Change {
    /// One is stored under its identifier.
    Store(Box<Rule>),
    /// One is deleted.
    Delete(RuleId),
    /// Many are stored, those that are known by name under the identifiers that they have.
    Apply(Vec<Rule>),
}

impl Change {
    pub(super) fn of(tenant: &TenantId, command: &Command) -> Option<Change> {
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
pub(super) struct WithChange {
    pub(super) rules: Vec<Rule>,
    /// Those that say something else.
    pub(super) stored: Vec<RuleId>,
    /// The one that the change is about, if it is one.
    pub(super) only: Option<RuleId>,
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

/// From here on the change may come at any time, until it is known what became of it.
pub(super) fn let_through(mut known: OwnedMutexGuard<Known>, only: Option<RuleId>) -> Turn {
    let alone = !std::mem::replace(&mut known.on_the_way, true);
    let changed = only.filter(|_| alone).map_or(Changed::Any, Changed::One);
    Turn { known, changed }
}

/// What is read of committed rules.
pub(super) trait CommittedRules {
    /// How often rules of the tenant were changed.
    fn version(&self, tenant: &TenantId) -> Result<u64, StateError>;
    fn one(&self, tenant: &TenantId, id: &RuleId) -> Result<Option<Rule>, StateError>;
    fn all(&self, tenant: &TenantId) -> Result<Vec<Rule>, StateError>;
}

impl CommittedRules for StateReader {
    fn version(&self, tenant: &TenantId) -> Result<u64, StateError> {
        Ok(self.tenant(tenant)?.rules_version)
    }

    fn one(&self, tenant: &TenantId, id: &RuleId) -> Result<Option<Rule>, StateError> {
        self.rule(tenant, id)
    }

    fn all(&self, tenant: &TenantId) -> Result<Vec<Rule>, StateError> {
        self.rules(tenant)
    }
}

impl Known {
    /// Reads what is committed: only the rule that was changed here, if that is all.
    pub(super) fn catch_up(&mut self, state: &impl CommittedRules, tenant: &TenantId) -> Result<(), StateError> {
        let version = state.version(tenant)?;
        let changed = std::mem::replace(&mut self.changed, Changed::Any);
        if version != self.version {
            match changed {
                Changed::One(id) if !self.on_the_way && version == self.version + 1 => {
                    let newest = state.one(tenant, &id)?;
                    self.rules.retain(|rule| rule.id != id);
                    self.rules.extend(newest);
                }
                _ => self.rules = state.all(tenant)?,
            }
            self.rules.retain(|rule| !rule.deleted);
            self.version = version;
        }
        self.changed = Changed::Nothing;
        Ok(())
    }

    pub(super) fn with(&self, change: Change) -> WithChange {
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
        WithChange {
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

#[cfg(test)]
impl Known {
    pub(super) fn with_rules(rules: Vec<Rule>) -> Known {
        Known {
            rules,
            ..Known::default()
        }
    }
}

#[cfg(test)]
pub(super) fn rule(id: &str, seq: u64, priority: i32) -> Rule {
    let body = serde_json::json!({"ruleName": id, "celQuery": "true", "timeframeInSeconds": 5, "timeUnit": "seconds", "priority": priority});
    let draft = crate::rules::draft_from_json(&body).unwrap();
    Rule {
        created_seq: Seq(seq),
        ..as_new(&TenantId::from("t"), &RuleId::from(id), &draft)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::sync::Arc;

    use super::*;

    #[test]
    fn many_rules_are_tried_as_the_worker_will_store_them() {
        let known = Known::with_rules(vec![rule("c", 3, 0), rule("b", 2, 0), rule("a", 1, 0)]);
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
        let order: Vec<String> = super::super::specs(changed.rules)
            .iter()
            .map(|spec| spec.id.to_string())
            .collect();
        assert_eq!(order, ["b", "a", "c", "2", "3"], "new ones in the order of the file");
    }

    /// Rules of which each change counts, and how often all of them were read.
    #[derive(Default)]
    struct Committed {
        rules: RefCell<Vec<Rule>>,
        version: Cell<u64>,
        read_all: Cell<u32>,
    }

    impl Committed {
        fn store(&self, id: &str) {
            self.version.set(self.version.get() + 1);
            self.rules.borrow_mut().push(rule(id, self.version.get(), 0));
        }

        fn ids(&self) -> Vec<String> {
            self.rules.borrow().iter().map(|rule| rule.id.to_string()).collect()
        }
    }

    impl CommittedRules for Committed {
        fn version(&self, _: &TenantId) -> Result<u64, StateError> {
            Ok(self.version.get())
        }

        fn one(&self, _: &TenantId, id: &RuleId) -> Result<Option<Rule>, StateError> {
            Ok(self.rules.borrow().iter().find(|rule| rule.id == *id).cloned())
        }

        fn all(&self, _: &TenantId) -> Result<Vec<Rule>, StateError> {
            self.read_all.set(self.read_all.get() + 1);
            Ok(self.rules.borrow().clone())
        }
    }

    /// The changes of one tenant, one after the other.
    struct Desk {
        committed: Committed,
        known: Arc<tokio::sync::Mutex<Known>>,
    }

    impl Desk {
        /// After changes that were answered, so that nothing is on the way.
        fn new() -> Desk {
            let desk = Desk {
                committed: Committed::default(),
                known: Arc::default(),
            };
            for id in ["a", "b"] {
                let turn = desk.begin(id);
                desk.committed.store(id);
                turn.settled();
            }
            desk.begin("none").settled();
            desk
        }

        /// A change comes to its turn; what is known then is what is committed.
        fn begin(&self, id: &str) -> Turn {
            let mut known = Arc::clone(&self.known).try_lock_owned().unwrap();
            known.catch_up(&self.committed, &TenantId::from("t")).unwrap();
            let ids: Vec<String> = known.rules.iter().map(|rule| rule.id.to_string()).collect();
            assert_eq!(ids, self.committed.ids(), "before {id}");
            let_through(known, Some(id.into()))
        }

        fn read_all(&self) -> u32 {
            self.committed.read_all.replace(0)
        }
    }

    #[test]
    fn a_change_whose_sender_left_is_known_once_it_is_applied() {
        let desk = Desk::new();
        // Durable and not applied: the line is held. Others are refused before it is.
        drop(desk.begin("left"));
        drop(desk.begin("refused"));
        desk.committed.store("left");
        drop(desk.begin("left too"));
        desk.committed.store("left too");
        let turn = desk.begin("answered");
        desk.committed.store("answered");
        turn.settled();
        // What left is applied, and what comes behind it is answered and changes nothing (its rule is unknown).
        drop(desk.begin("behind a line that is held"));
        let turn = desk.begin("unknown");
        desk.committed.store("behind a line that is held");
        turn.settled();
        desk.begin("next").settled();
    }

    #[test]
    fn a_change_that_is_answered_costs_one_read_and_after_one_that_was_not_all_are_read() {
        let desk = Desk::new();
        desk.read_all();
        for id in ["c", "d", "refused"] {
            let turn = desk.begin(id);
            if id != "refused" {
                desk.committed.store(id);
            }
            turn.settled();
        }
        assert_eq!(desk.read_all(), 0);
        drop(desk.begin("left"));
        let turn = desk.begin("e");
        desk.committed.store("left");
        desk.committed.store("e");
        turn.settled();
        desk.begin("f").settled();
        assert_eq!(desk.read_all(), 1, "two came");
        let turn = desk.begin("g");
        desk.committed.store("g");
        turn.settled();
        desk.begin("h").settled();
        assert_eq!(desk.read_all(), 0, "sure again");
    }
}
