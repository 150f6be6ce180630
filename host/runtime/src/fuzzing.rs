//! What the fuzz target `plugin_answer` calls: answers as only a hostile component would give them, made out of bytes, past
//! the copying that wasmtime does. Nothing here is used by the product.

use donjon_core::batch::{AcceptedRule, BatchBuilder, OnMissingGroup, RuleReport, RuleSpec};
use donjon_core::limits::MAX_PATH_KEYS;
use donjon_core::{RuleId, Seq, TenantId, Timestamp};

use crate::answers::{Asked, findings, patches};
use crate::bindings::correlator::exports::donjon::plugin::correlation as wit_correlation;
use crate::bindings::enricher::exports::donjon::plugin::enrichment as wit_enrichment;
use crate::convert::{self, WitBatch};
use crate::given_rules::{FIRST_POLICY_HANDLE, GivenRules};
use crate::limits::Limits;

/// Takes bytes off a stranger's input; an empty one gives zeros.
struct Feed<'a>(&'a [u8]);

impl Feed<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else {
            return 0;
        };
        self.0 = rest;
        *first
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Mostly small, sometimes past everything.
    fn index(&mut self) -> u32 {
        match self.byte() {
            255 => u32::MAX,
            byte => u32::from(byte % 24),
        }
    }

    /// Mostly of a rule or policy that there is.
    fn handle(&mut self) -> u32 {
        match self.byte() {
            byte @ 0..200 => u32::from(byte % 7),
            byte => FIRST_POLICY_HANDLE + u32::from(byte % 3),
        }
    }

    fn indexes(&mut self) -> Vec<u32> {
        (0..self.byte() % 8).map(|_| self.index()).collect()
    }

    /// Some bytes as text, repeated up to a length over most limits.
    fn text(&mut self) -> String {
        let (len, times) = (usize::from(self.byte() % 16), self.byte());
        let (taken, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        let times = if times > 250 { 10_000 } else { usize::from(times % 3) };
        String::from_utf8_lossy(taken).repeat(times)
    }
}

/// How much of an answer was believed: for whoever wants to know that anything was.
#[derive(Clone, Copy, Debug, Default)]
pub struct Believed {
    /// Verdicts that count.
    pub verdicts: usize,
    /// Failures of rules that count.
    pub failures: usize,
    /// Changes that count.
    pub changes: usize,
    /// Whether nothing of it was, because its lists do not fit together.
    pub misfit: bool,
}

/// Answers to a batch of up to eight alerts. What is believed is inside the batch and below every limit; what is not is told.
///
/// # Panics
/// When it is not so: that is what is looked for.
pub fn plugin_answer(data: &[u8]) -> Believed {
    let mut feed = Feed(data);
    let limits = Limits {
        verdicts_per_alert: 4,
        rule_failures_per_alert: 2,
        changes_per_alert: 3,
        ..Limits::default()
    };
    let alerts = usize::from(feed.byte() % 9);
    let columns = usize::from(feed.byte() % 5);
    match feed.byte() % 2 {
        0 => check_findings(&mut feed, alerts, columns, &limits),
        _ => check_patches(&mut feed, alerts, &limits),
    }
}

/// So many alerts with columns that are named, and nothing in them.
pub(crate) fn batch(alerts: usize, columns: usize) -> WitBatch {
    let names = ["a", "b", "c", "d", "e"].into_iter().take(columns);
    let mut builder = BatchBuilder::new(TenantId::from("t"), alerts, names);
    for at in 0..alerts as u64 {
        builder.end_alert(Seq(at), Timestamp(at));
    }
    convert::batch(builder.finish())
}

/// So many rules, called `r` and their handle.
pub(crate) fn rules(count: usize) -> GivenRules {
    let rule = |at: usize| RuleSpec {
        id: RuleId::from(format!("r{at}")),
        version: 1,
        name: String::new(),
        condition: "true".to_owned(),
        group_by: Vec::new(),
        on_missing_group: OnMissingGroup::None,
        multi_level_property: None,
    };
    let rules: Vec<RuleSpec> = (0..count).map(rule).collect();
    let report = |_: u32, rule: &RuleId| RuleReport {
        rule: rule.clone(),
        outcome: Ok(AcceptedRule::default()),
    };
    let change = GivenRules::default().change_to(&rules);
    change.map(|change| change.done(report).0).unwrap_or_default()
}

/// The lists without an entry.
pub(crate) fn no_findings() -> wit_correlation::Findings {
    wit_correlation::Findings {
        alerts: Vec::new(),
        rules: Vec::new(),
        key_ends: Vec::new(),
        keys: Vec::new(),
        branch_ends: Vec::new(),
        branches: Vec::new(),
        read_ends: Vec::new(),
        read: Vec::new(),
        own_texts: Vec::new(),
        own_text_ends: Vec::new(),
        failures: Vec::new(),
        more: Vec::new(),
    }
}

/// Verdicts in flat lists that mostly fit together.
fn said(feed: &mut Feed<'_>) -> wit_correlation::Findings {
    let mut said = no_findings();
    let end = |list: &Vec<u32>| u32::try_from(list.len()).unwrap_or(u32::MAX);
    while !feed.is_empty() {
        let (alert, rule) = (feed.index(), feed.handle());
        match feed.byte() % 8 {
            0 | 1 => {
                let message = feed.text();
                said.failures
                    .push(wit_correlation::RuleFailure { alert, rule, message });
            }
            2 => {
                said.own_texts.extend(feed.text().bytes());
                said.own_text_ends
                    .push(u32::try_from(said.own_texts.len()).unwrap_or(u32::MAX));
            }
            3 => said.own_texts.push(feed.byte()),
            4 if feed.byte() == 255 => said.key_ends.push(feed.index()),
            _ => {
                said.alerts.push(alert);
                said.rules.push(rule);
                said.keys.extend(feed.indexes());
                said.key_ends.push(end(&said.keys));
                said.branches.extend(feed.indexes());
                said.branch_ends.push(end(&said.branches));
                said.read.extend(feed.indexes());
                said.read_ends.push(end(&said.read));
            }
        }
    }
    said
}

fn check_findings(feed: &mut Feed<'_>, alerts: usize, columns: usize, limits: &Limits) -> Believed {
    let (batch, rules, said) = (batch(alerts, columns), rules(5), said(feed));
    let policies = [RuleId::from("plugin/policy")];
    let asked = Asked {
        batch: &batch,
        rules: &rules,
        policies: &policies,
        limits,
    };
    let given = said.alerts.len() + said.failures.len();
    let Ok(checked) = findings(said, &asked) else {
        return Believed {
            misfit: true,
            ..Believed::default()
        };
    };
    let (verdicts, failures) = (&checked.said.verdicts, &checked.said.failures);
    for verdict in verdicts {
        assert!(verdict.alert < alerts);
        assert!(verdict.read.iter().all(|column| (*column as usize) < columns));
        assert!(
            verdict
                .group_key
                .iter()
                .all(|value| value.len() <= limits.group_value_bytes)
        );
    }
    for alert in 0..alerts {
        let of_alert = |at: usize| at == alert;
        assert!(verdicts.iter().filter(|v| of_alert(v.alert)).count() <= limits.verdicts_per_alert);
        assert!(failures.iter().filter(|f| of_alert(f.alert)).count() <= limits.rule_failures_per_alert);
    }
    assert!(verdicts.len() + failures.len() <= given);
    check_told(&checked.refused, checked.dropped, alerts);
    Believed {
        verdicts: verdicts.len(),
        failures: failures.len(),
        ..Believed::default()
    }
}

fn check_patches(feed: &mut Feed<'_>, alerts: usize, limits: &Limits) -> Believed {
    let mut said = Vec::new();
    while !feed.is_empty() {
        let alert = feed.index();
        let change = |feed: &mut Feed<'_>| match feed.byte() % 2 {
            0 => wit_enrichment::Change::Set(wit_enrichment::Setting {
                path: feed.text(),
                json: feed.text(),
            }),
            _ => wit_enrichment::Change::Remove(feed.text()),
        };
        let changes = (0..feed.byte() % 6).map(|_| change(feed)).collect();
        said.push(wit_enrichment::Patch { alert, changes });
    }
    let checked = patches(said, alerts, limits);
    for alert in 0..alerts {
        let of_alert = checked.said.iter().filter(|patch| patch.alert == alert);
        assert!(of_alert.map(|patch| patch.changes.len()).sum::<usize>() <= limits.changes_per_alert);
    }
    for change in checked.said.iter().flat_map(|patch| &patch.changes) {
        use donjon_core::batch::Change::{Remove, Set};
        let (Set { path, .. } | Remove { path }) = change;
        assert!(path.len() <= limits.path_bytes && path.matches('.').count() < MAX_PATH_KEYS);
    }
    assert!(checked.said.iter().all(|patch| patch.alert < alerts));
    check_told(&checked.refused, checked.dropped, alerts);
    Believed {
        changes: checked.said.iter().map(|patch| patch.changes.len()).sum(),
        ..Believed::default()
    }
}

fn check_told(refused: &[(usize, String)], dropped: u64, alerts: usize) {
    assert!(
        refused
            .iter()
            .all(|(alert, reason)| *alert < alerts && !reason.is_empty())
    );
    assert!(dropped >= refused.len() as u64, "told and not counted");
}

#[cfg(test)]
mod tests {
    #[test]
    fn answers_of_the_corpus_are_believed_within_limits_only() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/corpus/plugin_answer");
        let mut seen = Vec::new();
        for file in std::fs::read_dir(dir).unwrap() {
            seen.push(super::plugin_answer(&std::fs::read(file.unwrap().path()).unwrap()));
        }
        let met = |of: fn(&super::Believed) -> bool| seen.iter().any(of);
        assert!(met(|of| of.verdicts > 0) && met(|of| of.failures > 0) && met(|of| of.changes > 0));
        assert!(met(|of| of.misfit), "lists that do not fit together are among them");
    }
}
