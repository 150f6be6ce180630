//! Evaluates every rule on every alert of a batch, one by one.
//!
//! It must not allocate for a rule that does not match: with thousands of rules that is nearly all there is.

use donjon_plugin::{Batch, Findings, RuleFailure, Scalar, Verdict};

use crate::columns::{Row, RuleColumns};
use crate::group::{Entries, group_keys};
use crate::rule_set::{CompiledRule, RuleSet};

/// Most verdicts, and most failures, on one alert. One more than the host takes, so that it tells the alert; any further
/// would only cost time.
const MOST_ON_AN_ALERT: usize = 65;

/// Judge a batch by the rules of its tenant.
pub(crate) fn judge(rule_set: &mut RuleSet, batch: &Batch) -> Findings {
    let RuleSet { rules, columns } = rule_set;
    let places = columns.for_batch(&batch.columns, rules);
    let mut findings = Findings::default();
    let mut matched = Vec::new();
    let mut entries = Entries::default();
    for (alert, values) in batch.indexed_rows() {
        entries.clear();
        let full = findings.verdicts.len() + MOST_ON_AN_ALERT;
        let failures_full = findings.failures.len() + MOST_ON_AN_ALERT;
        for (rule, places) in rules.iter().zip(places) {
            matched.clear();
            let failure = evaluate(rule, places, values, &mut matched);
            if let Some(message) = failure.filter(|_| findings.failures.len() < failures_full) {
                findings.failures.push(RuleFailure {
                    alert,
                    rule: rule.id.clone(),
                    message,
                });
            }
            let most = full - findings.verdicts.len();
            if !matched.is_empty() && most > 0 {
                let keys = group_keys(
                    &rule.grouping,
                    rule.on_missing,
                    &places.grouping,
                    values,
                    &mut entries,
                    most,
                );
                add_verdicts(&mut findings.verdicts, alert, rule, places, keys, &matched);
            }
        }
    }
    findings
}

/// Add the matching branches to `matched`; answers the first failure of a branch.
fn evaluate(rule: &CompiledRule, places: &RuleColumns, values: &[Scalar], matched: &mut Vec<u32>) -> Option<String> {
    let mut failure = None;
    rule.expression.matched_branches(
        &Row {
            values,
            places: &places.condition,
        },
        matched,
        |branch, error| {
            failure.get_or_insert_with(|| format!("branch {branch}: {error}"));
        },
    );
    failure
}

fn add_verdicts(
    verdicts: &mut Vec<Verdict>,
    alert: u32,
    rule: &CompiledRule,
    places: &RuleColumns,
    keys: Vec<Vec<String>>,
    matched: &[u32],
) {
    let read = columns_read(rule, places, matched);
    verdicts.extend(keys.into_iter().map(|group_key| Verdict {
        alert,
        rule: rule.id.clone(),
        group_key,
        branches: matched.to_vec(),
        read: read.clone(),
    }));
}

/// The columns of the batch that the matched branches read, ascending.
fn columns_read(rule: &CompiledRule, places: &RuleColumns, matched: &[u32]) -> Vec<u32> {
    let branches = matched
        .iter()
        .filter_map(|branch| rule.expression.branches().get(usize::try_from(*branch).ok()?));
    let columns = branches.flat_map(|branch| &branch.columns);
    let mut read: Vec<u32> = columns
        .filter_map(|column| places.condition.get(*column).copied().flatten())
        .collect();
    read.sort_unstable();
    read.dedup();
    read
}
