//! Evaluates every rule on every alert of a batch, one by one, within one budget of steps an alert: whatever rules a
//! tenant writes, an alert is judged within a call.
//!
//! It must not allocate for a rule that does not match: with thousands of rules that is nearly all there is.

use donjon_expr::Budget;
use donjon_expr::limits::{DEFAULT_STEPS, STEPS_PER_ALERT};
use donjon_plugin::{Alert, Batch, Column, Findings, GroupValue};

use crate::columns::{Place, Row, RowOfRule, RuleColumns};
use crate::group::{Entries, Groups, group_value, groups};
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
    let mut findings = Findings::new();
    if rules.is_empty() {
        return findings;
    }
    let paths = rules
        .iter()
        .map(|rule| (rule.expression.columns(), rule.grouping.paths()));
    let places = columns.for_batch(batch, paths);
    let share = share(rules.len());
    let mut room = Room::new(batch);
    let mut dear = Vec::new();
    for alert in batch.alerts() {
        let mut on_alert = OnAlert::new(alert, &mut findings, &mut room);
        let mut left = STEPS_PER_ALERT;
        for (rule, places) in rules.iter().zip(places) {
            let mut budget = Budget::new(share);
            let failure = on_alert.evaluate(rule, places, &mut budget);
            left = left.saturating_sub(share - budget.remaining());
            if budget.remaining() == 0 && share < DEFAULT_STEPS {
                dear.push((rule, places));
            } else if failure.is_some() || on_alert.matches() {
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
struct Room<'a> {
    row: Row<'a>,
    /// The alert whose values are in the row.
    in_row: Option<Alert<'a>>,
    matched: Vec<u32>,
    read: Vec<Column>,
    entries: Entries,
}

impl<'a> Room<'a> {
    fn new(batch: &'a Batch) -> Self {
        Room {
            row: Row::new(batch),
            in_row: None,
            matched: Vec::new(),
            read: Vec::new(),
            entries: Entries::default(),
        }
    }
}

/// One alert, and what is found on it.
struct OnAlert<'r, 'a> {
    alert: Alert<'a>,
    findings: &'r mut Findings,
    room: &'r mut Room<'a>,
    /// As many verdicts and failures as there may be in the end.
    full: usize,
    failures_full: usize,
}

impl<'r, 'a> OnAlert<'r, 'a> {
    fn new(alert: Alert<'a>, findings: &'r mut Findings, room: &'r mut Room<'a>) -> Self {
        room.row.read(alert, room.in_row.replace(alert));
        room.entries.clear();
        let full = findings.len() + MOST_ON_AN_ALERT;
        let failures_full = findings.failures().len() + MOST_ON_AN_ALERT;
        OnAlert {
            alert,
            findings,
            room,
            full,
            failures_full,
        }
    }

    /// Finds the branches that match; answers the first failure of one.
    fn evaluate(&mut self, rule: &CompiledRule, places: &RuleColumns, budget: &mut Budget) -> Option<String> {
        let Room { row, matched, .. } = &mut *self.room;
        matched.clear();
        let mut failure = None;
        let attributes = RowOfRule {
            row,
            places: &places.condition,
        };
        rule.expression
            .matched_branches(&attributes, budget, matched, |branch, error| {
                failure.get_or_insert_with(|| format!("branch {branch}: {error}"));
            });
        failure
    }

    /// Whether a branch matched last.
    fn matches(&self) -> bool {
        !self.room.matched.is_empty()
    }

    /// Takes what was found last into the findings.
    fn take(&mut self, rule: &CompiledRule, places: &RuleColumns, failure: Option<String>) {
        if let Some(message) = failure.filter(|_| self.findings.failures().len() < self.failures_full) {
            self.findings.failure(&self.alert, rule.handle, message);
        }
        let most = self.full - self.findings.len();
        if !self.matches() || most == 0 {
            return;
        }
        let Room {
            row,
            matched,
            read,
            entries,
            ..
        } = &mut *self.room;
        columns_read(rule, places, matched, read);
        let groups = groups(rule, &places.grouping, row, entries, most);
        let found = Found {
            alert: self.alert,
            rule: rule.handle,
            branches: matched,
            read,
        };
        found.add(groups, &places.grouping, self.findings);
    }
}

/// A rule matches an alert.
struct Found<'r, 'a> {
    alert: Alert<'a>,
    rule: u32,
    branches: &'r [u32],
    read: &'r [Column],
}

impl Found<'_, '_> {
    /// Add a verdict for each group.
    fn add(&self, groups: Groups, grouping: &[Place], findings: &mut Findings) {
        match groups {
            Groups::One(value) => self.verdict(findings, [value]),
            Groups::Values => {
                let columns = grouping.iter().flatten();
                self.verdict(findings, columns.map(|column| group_value(self.alert, *column)));
            }
            Groups::Each(values) => values.iter().for_each(|value| self.verdict(findings, [value])),
        }
    }

    fn verdict<'v, V: Into<GroupValue<'v>>>(&self, findings: &mut Findings, group: impl IntoIterator<Item = V>) {
        findings
            .verdict(&self.alert, self.rule)
            .group(group)
            .branches(self.branches.iter().copied())
            .reading_at(self.read.iter().copied());
    }
}

/// The columns of the batch that the matched branches read, ascending.
fn columns_read(rule: &CompiledRule, places: &RuleColumns, matched: &[u32], read: &mut Vec<Column>) {
    let branches = matched
        .iter()
        .filter_map(|branch| rule.expression.branches().get(usize::try_from(*branch).ok()?));
    let columns = branches.flat_map(|branch| &branch.columns);
    read.clear();
    read.extend(columns.filter_map(|column| places.condition.get(*column).copied().flatten()));
    read.sort_unstable();
    read.dedup();
}
