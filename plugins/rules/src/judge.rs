//! Evaluates every rule on every alert of a batch, one by one, within one budget of steps an alert: whatever rules a
//! tenant writes, an alert is judged within a call.
//!
//! It must not allocate for a rule that does not match: with thousands of rules that is nearly all there is.

use donjon_expr::Budget;
use donjon_expr::limits::{DEFAULT_STEPS, STEPS_PER_ALERT};
use donjon_plugin::{Batch, Findings, RuleFailure, Scalar, Verdict};

use crate::columns::{Row, RuleColumns};
use crate::group::{Entries, group_keys};
use crate::rule_set::{CompiledRule, RuleSet};

/// Most verdicts, and most failures, on one alert. One more than the host takes, so that it tells the alert; any further
/// would only cost time.
const MOST_ON_AN_ALERT: usize = 65;

/// Judge a batch by the rules of its tenant.
///
/// Each rule has an equal share of half of the steps of an alert. Those that want more are evaluated once more with what is
/// left of all steps, in the order of the rules: cheap rules are evaluated whatever the others cost, and the outcome is a
/// function of rules and alert alone.
pub(crate) fn judge(rule_set: &mut RuleSet, batch: &Batch) -> Findings {
    let RuleSet { rules, columns } = rule_set;
    let places = columns.for_batch(&batch.columns, rules);
    let share = share(rules.len());
    let mut findings = Findings::default();
    let mut room = Room::default();
    let mut dear = Vec::new();
    for (alert, values) in batch.indexed_rows() {
        let mut on_alert = OnAlert::new(alert, values, &mut findings, &mut room);
        let mut left = STEPS_PER_ALERT;
        for (rule, places) in rules.iter().zip(places) {
            let mut budget = Budget::new(share);
            let failure = on_alert.evaluate(rule, places, &mut budget);
            left = left.saturating_sub(share - budget.remaining());
            if budget.remaining() == 0 && share < DEFAULT_STEPS {
                dear.push((rule, places));
            } else {
                on_alert.take(rule, places, failure);
            }
        }
        for (rule, places) in dear.drain(..) {
            let given = left.min(DEFAULT_STEPS);
            let mut budget = Budget::new(given);
            let mut failure = on_alert.evaluate(rule, places, &mut budget);
            if budget.remaining() == 0 && given < DEFAULT_STEPS {
                failure = Some(used_up());
            }
            left -= given - budget.remaining();
            on_alert.take(rule, places, failure);
        }
    }
    findings
}

/// The steps that each of so many rules has for itself: half of all, as those that want more begin anew.
fn share(rules: usize) -> u32 {
    let rules = u32::try_from(rules.max(1)).unwrap_or(u32::MAX);
    (STEPS_PER_ALERT / 2 / rules).clamp(1, DEFAULT_STEPS)
}

fn used_up() -> String {
    format!(
        "all rules of the tenant together have used up the steps for one alert; make the dear ones cheaper, or delete \
         some: {STEPS_PER_ALERT} steps"
    )
}

/// Memory that one alert leaves to the next.
#[derive(Default)]
struct Room {
    matched: Vec<u32>,
    entries: Entries,
}

/// One alert, and what is found on it.
struct OnAlert<'a> {
    alert: u32,
    values: &'a [Scalar],
    findings: &'a mut Findings,
    room: &'a mut Room,
    /// As many verdicts and failures as there may be in the end.
    full: usize,
    failures_full: usize,
}

impl<'a> OnAlert<'a> {
    fn new(alert: u32, values: &'a [Scalar], findings: &'a mut Findings, room: &'a mut Room) -> Self {
        room.entries.clear();
        let full = findings.verdicts.len() + MOST_ON_AN_ALERT;
        let failures_full = findings.failures.len() + MOST_ON_AN_ALERT;
        OnAlert {
            alert,
            values,
            findings,
            room,
            full,
            failures_full,
        }
    }

    /// Finds the branches that match; answers the first failure of one.
    fn evaluate(&mut self, rule: &CompiledRule, places: &RuleColumns, budget: &mut Budget) -> Option<String> {
        self.room.matched.clear();
        evaluate(rule, places, self.values, budget, &mut self.room.matched)
    }

    /// Takes what was found last into the findings.
    fn take(&mut self, rule: &CompiledRule, places: &RuleColumns, failure: Option<String>) {
        let findings = &mut *self.findings;
        if let Some(message) = failure.filter(|_| findings.failures.len() < self.failures_full) {
            findings.failures.push(RuleFailure {
                alert: self.alert,
                rule: rule.id.clone(),
                message,
            });
        }
        let most = self.full - findings.verdicts.len();
        let matched = &self.room.matched;
        if !matched.is_empty() && most > 0 {
            let entries = &mut self.room.entries;
            let keys = group_keys(
                &rule.grouping,
                rule.on_missing,
                &places.grouping,
                self.values,
                entries,
                most,
            );
            add_verdicts(&mut findings.verdicts, self.alert, rule, places, keys, matched);
        }
    }
}

/// Add the matching branches to `matched`; answers the first failure of a branch.
fn evaluate(
    rule: &CompiledRule,
    places: &RuleColumns,
    values: &[Scalar],
    budget: &mut Budget,
    matched: &mut Vec<u32>,
) -> Option<String> {
    let mut failure = None;
    rule.expression.matched_branches(
        &Row {
            values,
            places: &places.condition,
        },
        budget,
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
