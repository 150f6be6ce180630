//! The rules that one copy of a plugin was given, and the handles that it names them by. A handle belongs to a rule as long
//! as the copy is known: what is given to the next instance, and what has changed since, follows from here. Knows no call.

use std::collections::HashMap;

use donjon_core::RuleId;
use donjon_core::batch::{RuleReport, RuleSpec};

use crate::convert::{self, WitRule};

/// Handles from here on name policies.
pub(crate) const FIRST_POLICY_HANDLE: u32 = 1 << 31;

#[derive(Clone, Debug)]
struct Given {
    handle: u32,
    rule: RuleSpec,
    report: Option<RuleReport>,
}

/// Rules in their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct GivenRules {
    rules: Vec<Given>,
    by_handle: HashMap<u32, RuleId>,
    next_handle: u32,
}

/// How to get from one list of rules to the next.
pub(crate) struct Change {
    pub(crate) changed: Vec<WitRule>,
    /// All handles in force, in order.
    pub(crate) in_force: Vec<u32>,
    /// What is in force then; its reports are still missing where rules are new or changed.
    next: GivenRules,
}

impl GivenRules {
    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rule behind a handle.
    pub(crate) fn id(&self, handle: u32) -> Option<&RuleId> {
        self.by_handle.get(&handle)
    }

    /// For an instance that has none yet.
    pub(crate) fn all(&self) -> (Vec<WitRule>, Vec<u32>) {
        let rules = self.rules.iter().map(|given| convert::rule(given.handle, &given.rule));
        (rules.collect(), self.rules.iter().map(|given| given.handle).collect())
    }

    /// To these rules. None if no handle is left: then a new copy begins anew.
    pub(crate) fn change_to(&self, rules: &[RuleSpec]) -> Option<Change> {
        let known: HashMap<&RuleId, &Given> = self.rules.iter().map(|given| (&given.rule.id, given)).collect();
        let (mut changed, mut in_force) = (Vec::new(), Vec::with_capacity(rules.len()));
        let mut next = GivenRules {
            next_handle: self.next_handle,
            ..GivenRules::default()
        };
        for rule in rules {
            let before = known.get(&rule.id);
            let handle = before.map_or(next.next_handle, |given| given.handle);
            next.next_handle = next.next_handle.max(handle.checked_add(1)?);
            if handle >= FIRST_POLICY_HANDLE {
                return None;
            }
            let report = before
                .filter(|given| given.rule == *rule)
                .and_then(|given| given.report.clone());
            if report.is_none() {
                changed.push(convert::rule(handle, rule));
            }
            in_force.push(handle);
            next.by_handle.insert(handle, rule.id.clone());
            next.rules.push(Given {
                handle,
                rule: rule.clone(),
                report,
            });
        }
        Some(Change {
            changed,
            in_force,
            next,
        })
    }
}

impl Change {
    /// What is in force after it, with the reports on what is new or changed by handle; and the reports on all rules.
    pub(crate) fn done(mut self, mut reports: impl FnMut(u32, &RuleId) -> RuleReport) -> (GivenRules, Vec<RuleReport>) {
        let mut all = Vec::with_capacity(self.next.rules.len());
        for given in &mut self.next.rules {
            let report = given
                .report
                .get_or_insert_with(|| reports(given.handle, &given.rule.id));
            all.push(report.clone());
        }
        (self.next, all)
    }
}

#[cfg(test)]
mod tests {
    use donjon_core::batch::{AcceptedRule, OnMissingGroup};

    use super::*;

    fn rules(said: &[(&str, &str)]) -> Vec<RuleSpec> {
        let rule = |(id, condition): &(&str, &str)| RuleSpec {
            id: RuleId::from(*id),
            version: 1,
            name: String::new(),
            condition: (*condition).to_owned(),
            group_by: Vec::new(),
            on_missing_group: OnMissingGroup::None,
            multi_level_property: None,
        };
        said.iter().map(rule).collect()
    }

    /// The rules after a change, the conditions that were handed over and the reports, by the branches that they name.
    fn after(given: &GivenRules, said: &[(&str, &str)]) -> (GivenRules, Vec<String>, Vec<u32>, Vec<String>) {
        let change = given.change_to(&rules(said)).unwrap();
        let changed: Vec<String> = change.changed.iter().map(|rule| rule.condition.clone()).collect();
        let in_force = change.in_force.clone();
        let report = |handle: u32, id: &RuleId| RuleReport {
            rule: id.clone(),
            outcome: Ok(AcceptedRule {
                branches: vec![format!("{handle}:{id}")],
                ..AcceptedRule::default()
            }),
        };
        let (next, reports) = change.done(report);
        let branches = reports
            .into_iter()
            .map(|report| report.outcome.unwrap().branches.concat());
        (next, changed, in_force, branches.collect())
    }

    #[test]
    fn only_what_changed_is_handed_over_and_a_rule_keeps_its_handle() {
        let none = GivenRules::default();
        let (given, changed, in_force, _) = after(&none, &[("a", "1"), ("b", "1"), ("c", "1")]);
        assert_eq!((changed.len(), in_force), (3, vec![0, 1, 2]));
        let (given, changed, in_force, reports) = after(&given, &[("d", "1"), ("c", "2"), ("a", "1")]);
        assert_eq!(changed, ["1", "2"], "the new one, and the changed one");
        assert_eq!(in_force, [3, 2, 0]);
        assert_eq!(
            reports,
            ["3:d", "2:c", "0:a"],
            "one for each rule, whether it was handed over or not"
        );
        assert_eq!(given.id(1), None, "no longer in force");
        let (given, changed, in_force, _) = after(&given, &[("b", "1"), ("a", "1")]);
        assert_eq!((changed.len(), in_force), (1, vec![4, 0]), "it comes back as a new one");
        let (all, order) = given.all();
        assert_eq!((all.len(), order), (2, vec![4, 0]));
    }
}
