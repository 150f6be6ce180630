//! The compiled rules of one tenant.
//!
//! It must not know alerts: what is learnt from a batch is in `columns`.

use std::collections::HashMap;

use donjon_expr::Expression;
use donjon_plugin::{Accepted, Access, Diagnostic, OnMissingGroup, Rule, RuleOutcome, RuleReport};

use crate::columns::ColumnMap;

/// How a rule names the groups of an alert.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Grouping {
    /// All alerts of the rule are one group.
    One,
    /// One group for each combination of values at these paths.
    Paths(Vec<String>),
    /// The attribute at `path` is an object of objects; one group for each value of `property` in them.
    MultiLevel { path: String, property: String },
}

impl Grouping {
    fn new(mut paths: Vec<String>, property: Option<String>) -> Self {
        for path in &mut paths {
            // The reference groups by the first of the sources of an alert.
            if path == "source" {
                path.push_str(".0");
            }
        }
        match (paths.is_empty(), property) {
            (true, _) => Grouping::One,
            (false, None) => Grouping::Paths(paths),
            (false, Some(property)) => Grouping::MultiLevel {
                path: paths.swap_remove(0),
                property,
            },
        }
    }

    /// The attribute paths that are read to name a group.
    pub(crate) fn paths(&self) -> &[String] {
        match self {
            Grouping::One => &[],
            Grouping::Paths(paths) => paths,
            Grouping::MultiLevel { path, .. } => std::slice::from_ref(path),
        }
    }
}

/// A rule that was taken.
pub(crate) struct CompiledRule {
    pub(crate) id: String,
    pub(crate) condition: String,
    pub(crate) expression: Expression,
    pub(crate) grouping: Grouping,
    pub(crate) on_missing: OnMissingGroup,
}

/// The rules of one tenant that were taken, in their order.
pub(crate) struct RuleSet {
    pub(crate) rules: Vec<CompiledRule>,
    /// Where the attributes are in the batches that currently come in.
    pub(crate) columns: ColumnMap,
}

impl RuleSet {
    /// Compile rules; each gets its report, and those that were refused are left out. Conditions that `before` has are
    /// taken from it: a change of one rule costs one rule.
    pub(crate) fn compile(rules: Vec<Rule>, before: Option<RuleSet>) -> (Self, Vec<RuleReport>) {
        RuleSet::compile_with(rules, &mut Known::of(before))
    }

    fn compile_with(rules: Vec<Rule>, known: &mut Known) -> (Self, Vec<RuleReport>) {
        let mut taken = Vec::with_capacity(rules.len());
        let mut reports = Vec::with_capacity(rules.len());
        for rule in rules {
            let id = rule.id.clone();
            let outcome = match compile_rule(rule, known) {
                Ok(rule) => {
                    let accepted = describe(&rule);
                    taken.push(rule);
                    RuleOutcome::Accepted(accepted)
                }
                Err(diagnostics) => RuleOutcome::Rejected(diagnostics),
            };
            reports.push(RuleReport { rule: id, outcome });
        }
        (
            RuleSet {
                rules: taken,
                columns: ColumnMap::default(),
            },
            reports,
        )
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }
}

/// Expressions of the rules before, and how many had to be made beside them.
#[derive(Default)]
struct Known {
    /// As many of a condition as there were rules with it.
    by_condition: HashMap<String, Vec<Expression>>,
    #[cfg(test)]
    compiled: usize,
}

impl Known {
    fn of(before: Option<RuleSet>) -> Known {
        let mut known = Known::default();
        for rule in before.map(|before| before.rules).unwrap_or_default() {
            known
                .by_condition
                .entry(rule.condition)
                .or_default()
                .push(rule.expression);
        }
        known
    }

    fn expression(&mut self, condition: &str) -> Result<Expression, Vec<donjon_expr::Diagnostic>> {
        if let Some(expression) = self.by_condition.get_mut(condition).and_then(Vec::pop) {
            return Ok(expression);
        }
        #[cfg(test)]
        {
            self.compiled += 1;
        }
        Expression::compile(condition)
    }
}

fn compile_rule(rule: Rule, known: &mut Known) -> Result<CompiledRule, Vec<Diagnostic>> {
    let expression = known.expression(&rule.condition);
    let expression = expression.map_err(|diagnostics| {
        let carry = |d: donjon_expr::Diagnostic| Diagnostic {
            message: d.message,
            line: d.line,
            column: d.column,
        };
        diagnostics.into_iter().map(carry).collect::<Vec<_>>()
    })?;
    Ok(CompiledRule {
        id: rule.id,
        condition: rule.condition,
        expression,
        grouping: Grouping::new(rule.group_by, rule.multi_level_property),
        on_missing: rule.on_missing_group,
    })
}

fn describe(rule: &CompiledRule) -> Accepted {
    let mut columns = rule.expression.columns().to_vec();
    for path in rule.grouping.paths() {
        if !columns.contains(path) {
            columns.push(path.clone());
        }
    }
    Accepted {
        branches: rule
            .expression
            .branches()
            .iter()
            .map(|branch| branch.text.clone())
            .collect(),
        columns,
        access: Access::Scanned,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(group_by: &[&str], property: Option<&str>) -> Grouping {
        Grouping::new(
            group_by.iter().map(|path| (*path).to_owned()).collect(),
            property.map(str::to_owned),
        )
    }

    #[test]
    fn what_a_rule_groups_by() {
        assert_eq!(paths(&[], None), Grouping::One);
        assert_eq!(paths(&[], Some("name")), Grouping::One);
        assert_eq!(paths(&["service", "source"], None).paths(), ["service", "source.0"]);
        assert_eq!(paths(&["customers", "ignored"], Some("name")).paths(), ["customers"]);
    }

    #[test]
    fn rules_that_did_not_change_are_taken_from_before_and_judge_the_same() {
        let rule = |id: &str, condition: &str, group: &str| Rule {
            id: id.into(),
            condition: condition.into(),
            group_by: vec![group.into()],
            ..Rule::default()
        };
        let (first, _) = RuleSet::compile(
            vec![rule("a", "name == \"x\"", "g"), rule("b", "name == \"y\"", "g")],
            None,
        );
        let next = || {
            vec![
                rule("b", "name == \"y\"", "h"),
                rule("c", "name == \"y\"", "g"),
                rule("d", "severity == \"high\"", "g"),
            ]
        };
        let (reused, told) = RuleSet::compile(next(), Some(first));
        let (anew, expected) = RuleSet::compile(next(), None);
        assert_eq!(format!("{told:?}"), format!("{expected:?}"));
        for (one, other) in reused.rules.iter().zip(&anew.rules) {
            assert_eq!(
                (&one.id, &one.condition, &one.grouping),
                (&other.id, &other.condition, &other.grouping)
            );
        }
        assert_eq!(reused.rules.len(), 3);
    }

    #[test]
    fn an_edit_of_one_rule_compiles_one_rule_also_where_many_have_the_same_condition() {
        let rule = |id: usize, condition: &str| Rule {
            id: format!("r{id}"),
            condition: condition.into(),
            ..Rule::default()
        };
        let same = || (0..60).map(|id| rule(id, "name == \"x\"")).collect::<Vec<_>>();
        let (first, _) = RuleSet::compile(same(), None);
        let mut edited = same();
        edited[30] = rule(30, "name == \"y\"");
        let mut known = Known::of(Some(first));
        let (second, _) = RuleSet::compile_with(edited, &mut known);
        assert_eq!((second.rules.len(), known.compiled), (60, 1));
        // The one that was edited away is not needed, and none is lost over further changes.
        let mut known = Known::of(Some(second));
        let (_, reports) = RuleSet::compile_with(same(), &mut known);
        assert_eq!((reports.len(), known.compiled), (60, 1));
    }

    #[test]
    fn a_refused_rule_leaves_the_others_standing() {
        let rule = |id: &str, condition: &str| Rule {
            id: id.into(),
            condition: condition.into(),
            group_by: vec!["labels.host".into(), "name".into()],
            ..Rule::default()
        };
        let (rule_set, reports) = RuleSet::compile(
            vec![
                rule("bad", "name =="),
                rule("good", "name == \"a\" || severity == \"high\""),
            ],
            None,
        );
        assert_eq!(rule_set.rules.len(), 1);
        let outcomes: Vec<_> = reports
            .iter()
            .map(|report| (report.rule.as_str(), &report.outcome))
            .collect();
        let [
            ("bad", RuleOutcome::Rejected(diagnostics)),
            ("good", RuleOutcome::Accepted(accepted)),
        ] = outcomes.as_slice()
        else {
            panic!("{outcomes:?}");
        };
        assert!(!diagnostics.is_empty());
        assert_eq!(accepted.branches.len(), 2);
        assert_eq!(accepted.columns.iter().filter(|path| *path == "name").count(), 1);
        for path in ["name", "severity", "labels.host"] {
            assert!(
                accepted.columns.iter().any(|column| column == path),
                "{path} in {:?}",
                accepted.columns
            );
        }
    }
}
