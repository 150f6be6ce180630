//! Between the words of the domain and the generated types of the contract: batches and rules on their way out,
//! descriptions and reports on their way back, checked against the limits. Answers to batches are in `answers.rs`; no
//! other file names the generated data types of the roles.

use std::collections::HashMap;
use std::time::Duration;

use donjon_core::batch::{AcceptedRule, Batch, Diagnostic, OnMissingGroup, RuleReport, RuleSpec, Scalar, Wants};
use donjon_core::limits::{MAX_ERROR_TEXT_BYTES, MAX_PATH_KEYS};
use donjon_core::text::one_line;
use donjon_core::{RuleId, TenantId};

use crate::bindings::correlator::exports::donjon::plugin::correlation as wit_correlation;
use crate::bindings::plugin::donjon::types::types as wit;
use crate::bindings::plugin::exports::donjon::plugin::lifecycle as wit_lifecycle;
use crate::errors::{CallError, LoadError, RefusalKind};
use crate::limits::Limits;

pub(crate) use wit::{Batch as WitBatch, Error as WitError};
pub(crate) use wit_correlation::Rule as WitRule;

/// Longest name or version of a plugin that is kept, in bytes.
const MAX_NAME_BYTES: usize = 256;

/// What a plugin says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Its name for people.
    pub name: String,
    /// Its version.
    pub version: String,
    /// One sentence.
    pub about: String,
    /// What it wants to be handed.
    pub wants: Wants,
    /// Whether no call depends on an earlier one.
    pub stateless: bool,
    /// Whether it takes the rules of the host.
    pub takes_rules: bool,
    /// The policies that it brings along.
    pub policies: Vec<Policy>,
}

/// A correlation policy that a correlator brings along instead of rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Named in the verdicts.
    pub id: RuleId,
    /// JSON with the fields of a rule, without a condition.
    pub settings: String,
}

pub(crate) fn batch(batch: Batch) -> WitBatch {
    WitBatch {
        tenant: batch.tenant.as_str().to_owned(),
        now: batch.now.0,
        keys: batch
            .keys
            .iter()
            .map(|(event, fingerprint)| alert_key(event.as_str(), fingerprint.as_str()))
            .collect(),
        columns: batch.columns,
        rows: batch
            .rows
            .into_iter()
            .map(|row| row.into_iter().map(scalar).collect())
            .collect(),
        documents: batch.documents,
    }
}

fn alert_key(event: &str, fingerprint: &str) -> wit::AlertKey {
    wit::AlertKey {
        event_id: event.to_owned(),
        fingerprint: fingerprint.to_owned(),
    }
}

fn scalar(value: Scalar) -> wit::Scalar {
    match value {
        Scalar::Null => wit::Scalar::Null,
        Scalar::Bool(value) => wit::Scalar::Boolean(value),
        Scalar::Int(value) => wit::Scalar::Integer(value),
        Scalar::Float(value) => wit::Scalar::Number(value),
        Scalar::Text(value) => wit::Scalar::Text(value),
        Scalar::Json(value) => wit::Scalar::Json(value),
    }
}

/// The alerts of a range as a batch of their own.
pub(crate) fn slice(batch: &WitBatch, range: std::ops::Range<usize>) -> WitBatch {
    WitBatch {
        tenant: batch.tenant.clone(),
        now: batch.now,
        keys: batch.keys.get(range.clone()).unwrap_or_default().to_vec(),
        columns: batch.columns.clone(),
        rows: batch.rows.get(range.clone()).unwrap_or_default().to_vec(),
        documents: batch.documents.get(range).unwrap_or_default().to_vec(),
    }
}

pub(crate) fn rules(rules: &[RuleSpec]) -> Vec<WitRule> {
    rules.iter().map(rule).collect()
}

fn rule(rule: &RuleSpec) -> WitRule {
    WitRule {
        id: rule.id.as_str().to_owned(),
        version: rule.version,
        name: rule.name.clone(),
        condition: rule.condition.clone(),
        group_by: rule.group_by.clone(),
        on_missing_group: match rule.on_missing_group {
            OnMissingGroup::None => wit_correlation::OnMissingGroup::None,
            OnMissingGroup::Skip => wit_correlation::OnMissingGroup::Skip,
        },
        multi_level_property: rule.multi_level_property.clone(),
    }
}

/// The description, refused if it asks for more than there may be.
pub(crate) fn description(said: wit_lifecycle::Description, limits: &Limits) -> Result<Description, LoadError> {
    let wants = match said.wants {
        wit_lifecycle::Wants::Documents => Wants::Documents,
        wit_lifecycle::Wants::Fields(paths) => {
            at_most("attribute paths", paths.len(), limits.columns)?;
            for path in &paths {
                at_most("bytes of an attribute path", path.len(), limits.path_bytes)?;
                at_most("keys of an attribute path", keys_of(path), MAX_PATH_KEYS)?;
            }
            Wants::Fields(paths)
        }
    };
    at_most("policies", said.policies.len(), limits.policies)?;
    for policy in &said.policies {
        at_most(
            "bytes of a policy",
            policy.id.len().max(policy.settings.len()),
            limits.text_bytes,
        )?;
    }
    let policy = |p: wit_lifecycle::Policy| Policy {
        id: RuleId::from(p.id),
        settings: p.settings,
    };
    Ok(Description {
        name: one_line(&said.name, MAX_NAME_BYTES),
        version: one_line(&said.version, MAX_NAME_BYTES),
        about: one_line(&said.about, MAX_ERROR_TEXT_BYTES),
        wants,
        stateless: said.stateless,
        takes_rules: said.takes_rules,
        policies: said.policies.into_iter().map(policy).collect(),
    })
}

fn at_most(what: &str, found: usize, limit: usize) -> Result<(), LoadError> {
    match found > limit {
        true => Err(LoadError::Description(format!("at most {limit} {what}: {found}"))),
        false => Ok(()),
    }
}

/// How many keys a path has at most: escaped dots are counted as well.
fn keys_of(path: &str) -> usize {
    path.bytes().filter(|byte| *byte == b'.').count() + 1
}

/// Reports for rules that were handed over, one each; a rule without a report counts as refused.
pub(crate) fn reports(said: Vec<wit_correlation::RuleReport>, asked: &[RuleSpec], limits: &Limits) -> Vec<RuleReport> {
    let mut by_rule: HashMap<String, wit_correlation::RuleOutcome> =
        said.into_iter().map(|report| (report.rule, report.outcome)).collect();
    let report = |rule: &RuleSpec| RuleReport {
        rule: rule.id.clone(),
        outcome: match by_rule.remove(rule.id.as_str()) {
            Some(outcome) => rule_outcome(outcome, limits),
            None => Err(refused("the plugin did not report on the rule".into())),
        },
    };
    asked.iter().map(report).collect()
}

fn refused(message: String) -> Vec<Diagnostic> {
    vec![Diagnostic {
        message,
        line: 0,
        column: 0,
    }]
}

fn rule_outcome(said: wit_correlation::RuleOutcome, limits: &Limits) -> Result<AcceptedRule, Vec<Diagnostic>> {
    match said {
        wit_correlation::RuleOutcome::Accepted(rule) => match misfit(&rule, limits) {
            Some(message) => Err(refused(message)),
            None => Ok(AcceptedRule {
                branches: rule.branches,
                columns: rule.columns,
                indexed: matches!(rule.access, wit_correlation::Access::Indexed),
            }),
        },
        wit_correlation::RuleOutcome::Rejected(diagnostics) => {
            let diagnostic = |d: wit_correlation::Diagnostic| Diagnostic {
                message: one_line(&d.message, MAX_ERROR_TEXT_BYTES),
                line: d.line,
                column: d.column,
            };
            Err(diagnostics
                .into_iter()
                .take(limits.indexes_per_verdict)
                .map(diagnostic)
                .collect())
        }
    }
}

/// Why the report on a rule is not taken.
fn misfit(rule: &wit_correlation::Accepted, limits: &Limits) -> Option<String> {
    if rule.columns.len() > limits.columns {
        let limit = limits.columns;
        return Some(format!("the rule reads more attributes than the limit of {limit}"));
    }
    if rule.branches.len() > limits.indexes_per_verdict {
        let limit = limits.indexes_per_verdict;
        return Some(format!("the rule has more branches than the limit of {limit}"));
    }
    None
}

/// The error of a plugin as a failed call, by its kind.
pub(crate) fn refusal(error: WitError) -> CallError {
    let (kind, text, after) = match error {
        WitError::Invalid(text) => (RefusalKind::Invalid, text, None),
        WitError::Denied(text) => (RefusalKind::Denied, text, None),
        WitError::Retry(after) => {
            let after = after.map(|ms| Duration::from_millis(u64::from(ms)));
            (RefusalKind::Retry, String::new(), after)
        }
        WitError::Unavailable(text) => (RefusalKind::Unavailable, text, None),
        WitError::Quota(text) => (RefusalKind::Quota, text, None),
        WitError::Other(text) => (RefusalKind::Other, text, None),
    };
    CallError::Refused {
        kind,
        text: one_line(&text, MAX_ERROR_TEXT_BYTES),
        after,
    }
}

pub(crate) fn tenant(batch: &WitBatch) -> TenantId {
    TenantId::from(batch.tenant.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of the log that nobody wrote.
    const FORGED: &str = "1.0\n2026-11-21T00:00:00Z ERROR donjon: forged\u{1b}[2J";

    fn is_one_line(text: &str) -> bool {
        text.contains("forged") && !text.contains(char::is_control)
    }

    #[test]
    fn whatever_a_guest_says_of_itself_or_of_rules_is_one_line() {
        let limits = Limits::default();
        let said = wit_lifecycle::Description {
            name: FORGED.to_owned(),
            version: FORGED.to_owned(),
            about: FORGED.to_owned(),
            wants: wit_lifecycle::Wants::Documents,
            stateless: true,
            takes_rules: true,
            policies: Vec::new(),
        };
        let description = description(said, &limits).unwrap();
        for text in [&description.name, &description.version, &description.about] {
            assert!(is_one_line(text), "{text}");
        }
        let rejected = wit_correlation::RuleOutcome::Rejected(vec![wit_correlation::Diagnostic {
            message: FORGED.to_owned(),
            line: 1,
            column: 1,
        }]);
        let diagnostics = rule_outcome(rejected, &limits).unwrap_err();
        assert!(diagnostics.iter().all(|diagnostic| is_one_line(&diagnostic.message)));
        for error in [
            WitError::Invalid(FORGED.to_owned()),
            WitError::Denied(FORGED.to_owned()),
            WitError::Unavailable(FORGED.to_owned()),
            WitError::Quota(FORGED.to_owned()),
            WitError::Other(FORGED.to_owned()),
        ] {
            let text = refusal(error).to_string();
            assert!(is_one_line(&text), "{text}");
        }
    }
}
