//! The compiled rules of the tenant.
//!
//! It must not know alerts: what is learnt from a batch is in `columns`.

use std::collections::HashMap;

use donjon_expr::Expression;
use donjon_plugin::{Accepted, Diagnostic, OnMissingGroup, Rule, RuleOutcome, RuleReport};

use crate::columns::ColumnMap;

/// The only kind of rules that it takes.
pub(crate) const KIND: &str = "cel";

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
    pub(crate) handle: u32,
    pub(crate) expression: Expression,
    pub(crate) grouping: Grouping,
    pub(crate) on_missing: OnMissingGroup,
}

/// The rules that were taken and are in force.
#[derive(Default)]
pub(crate) struct RuleSet {
    /// In the order in which they are evaluated.
    pub(crate) rules: Vec<CompiledRule>,
    /// Where the attributes are in the batches that currently come in.
    pub(crate) columns: ColumnMap,
}

impl RuleSet {
    /// Compile the changed rules; each gets its report. The others stay as they are. Afterwards the rules are those of
    /// `in_force` that were taken, in that order: what is judged depends on nothing that was in force before.
    pub(crate) fn change(&mut self, changed: Vec<Rule>, in_force: &[u32]) -> Vec<RuleReport> {
        let before = std::mem::take(&mut self.rules);
        let mut taken: HashMap<u32, CompiledRule> = before.into_iter().map(|rule| (rule.handle, rule)).collect();
        let mut reports = Vec::with_capacity(changed.len());
        for rule in changed {
            let handle = rule.handle;
            let before = taken.remove(&handle);
            let outcome = match compile(rule, before) {
                Ok(rule) => {
                    let accepted = describe(&rule);
                    taken.insert(handle, rule);
                    RuleOutcome::Accepted(accepted)
                }
                Err(diagnostics) => RuleOutcome::Rejected(diagnostics),
            };
            reports.push(RuleReport { rule: handle, outcome });
        }
        self.rules = in_force.iter().filter_map(|handle| taken.remove(handle)).collect();
        self.columns = ColumnMap::default();
        reports
    }
}

/// Compile a rule. The expression of the one before is kept if its condition is the same: a new name or another grouping
/// costs next to nothing.
fn compile(rule: Rule, before: Option<CompiledRule>) -> Result<CompiledRule, Vec<Diagnostic>> {
    if rule.kind != KIND {
        return Err(refused(format!(
            "rules of another kind than {KIND} are not taken: {}",
            rule.kind
        )));
    }
    let property = multi_level_property(&rule.settings).map_err(refused)?;
    let known = before.filter(|before| before.expression.source() == rule.condition);
    let expression = match known {
        Some(known) => known.expression,
        None => Expression::compile(&rule.condition).map_err(|diagnostics| {
            let carry = |d: donjon_expr::Diagnostic| Diagnostic {
                message: d.message,
                line: d.line,
                column: d.column,
            };
            diagnostics.into_iter().map(carry).collect::<Vec<_>>()
        })?,
    };
    Ok(CompiledRule {
        handle: rule.handle,
        expression,
        grouping: Grouping::new(rule.group_by, property),
        on_missing: rule.on_missing_group,
    })
}

/// A diagnostic without a place.
fn refused(message: String) -> Vec<Diagnostic> {
    vec![Diagnostic {
        message,
        ..Diagnostic::default()
    }]
}

/// What the settings of a rule say about its groups. Other settings are for somebody else.
fn multi_level_property(settings: &str) -> Result<Option<String>, String> {
    let settings: serde_json::Value =
        serde_json::from_str(settings).map_err(|error| format!("the settings are not JSON: {error}"))?;
    match settings.get("multiLevelProperty") {
        None | Some(serde_json::Value::Null) => Ok(None),
        Some(serde_json::Value::String(property)) => Ok(Some(property.clone())),
        Some(other) => Err(format!("multiLevelProperty must be a text: {other}")),
    }
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
        // Every rule is evaluated for every alert: none is `indexed`.
        more: Vec::new(),
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

    fn rule(handle: u32, condition: &str) -> Rule {
        Rule {
            handle,
            condition: condition.into(),
            group_by: vec!["labels.host".into(), "name".into()],
            ..Rule::default()
        }
    }

    fn handles(rule_set: &RuleSet) -> Vec<u32> {
        rule_set.rules.iter().map(|rule| rule.handle).collect()
    }

    fn refusal(settings: &str) -> String {
        let rule = Rule {
            settings: settings.to_owned(),
            ..rule(1, "true")
        };
        match compile(rule, None) {
            Ok(rule) => format!("{:?}", rule.grouping),
            Err(diagnostics) => diagnostics[0].message.clone(),
        }
    }

    #[test]
    fn the_order_is_that_of_the_last_call_whatever_was_before() {
        let mut rule_set = RuleSet::default();
        let all = |handles: &[u32]| handles.iter().map(|handle| rule(*handle, "true")).collect();
        rule_set.change(all(&[1, 2, 3]), &[1, 2, 3]);
        assert_eq!(handles(&rule_set), [1, 2, 3]);
        assert_eq!(
            rule_set.change(all(&[9]), &[3, 9, 1]).len(),
            1,
            "one changed, one report"
        );
        assert_eq!(handles(&rule_set), [3, 9, 1]);
        rule_set.change(Vec::new(), &[1, 3]);
        assert_eq!(handles(&rule_set), [1, 3]);
        rule_set.change(Vec::new(), &[1, 2, 3]);
        assert_eq!(handles(&rule_set), [1, 3], "what is gone is gone");
        rule_set.change(Vec::new(), &[]);
        assert!(handles(&rule_set).is_empty());
    }

    #[test]
    fn a_changed_rule_is_another_one_and_a_refused_change_leaves_none() {
        let mut rule_set = RuleSet::default();
        rule_set.change(vec![rule(1, "name == \"x\""), rule(2, "true")], &[1, 2]);
        rule_set.change(vec![rule(1, "name == \"y\"")], &[1, 2]);
        assert_eq!(rule_set.rules[0].expression.source(), "name == \"y\"");
        let regrouped = Rule {
            group_by: vec!["service".into()],
            ..rule(1, "name == \"y\"")
        };
        rule_set.change(vec![regrouped], &[1, 2]);
        assert_eq!(rule_set.rules[0].grouping.paths(), ["service"]);
        rule_set.change(vec![rule(1, "name ==")], &[1, 2]);
        assert_eq!(handles(&rule_set), [2]);
    }

    #[test]
    fn settings_and_kinds_that_it_does_not_understand_are_refused() {
        let multi_level = r#"MultiLevel { path: "labels.host", property: "name" }"#;
        assert_eq!(refusal(r#"{"multiLevelProperty": "name", "unknown": 1}"#), multi_level);
        for without in ["{}", r#"{"multiLevelProperty": null}"#] {
            assert!(refusal(without).starts_with("Paths"), "{without}");
        }
        assert!(refusal(r#"{"multiLevelProperty": 5}"#).ends_with(": 5"));
        assert!(refusal("{").starts_with("the settings are not JSON"));
        let other = Rule {
            kind: "sql".into(),
            ..rule(1, "true")
        };
        assert!(compile(other, None).is_err_and(|diagnostics| diagnostics[0].message.ends_with(": sql")));
    }

    #[test]
    fn a_refused_rule_leaves_the_others_standing() {
        let mut rule_set = RuleSet::default();
        let changed = vec![rule(1, "name =="), rule(2, "name == \"a\" || severity == \"high\"")];
        let reports = rule_set.change(changed, &[1, 2]);
        assert_eq!(handles(&rule_set), [2]);
        let outcomes: Vec<_> = reports.iter().map(|report| (report.rule, &report.outcome)).collect();
        let [
            (1, RuleOutcome::Rejected(diagnostics)),
            (2, RuleOutcome::Accepted(accepted)),
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
