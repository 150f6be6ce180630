//! Between the words of the domain and the generated types of the contract, in both directions. Everything that comes
//! from a plugin is checked here: indexes, lengths and counts; what is out of range is dropped and counted, never
//! trusted. The only file that names the generated data types of the roles.

use donjon_core::batch::{
    AcceptedRule, Batch, Change, Diagnostic, Findings, OnMissingGroup, Patch, RuleFailure, RuleReport, RuleSpec,
    Scalar, Verdict, Wants,
};
use donjon_core::limits::{MAX_ERROR_TEXT_BYTES, MAX_GROUP_PATHS, cut};
use donjon_core::{RuleId, TenantId};

use crate::bindings::correlator::exports::donjon::plugin::correlation as wit_correlation;
use crate::bindings::enricher::exports::donjon::plugin::enrichment as wit_enrichment;
use crate::bindings::plugin::donjon::types::types as wit;
use crate::bindings::plugin::exports::donjon::plugin::lifecycle as wit_lifecycle;
use crate::errors::LoadError;
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

/// How much of an answer was left out because it was wrong or too much.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped(pub(crate) u64);

impl Dropped {
    fn one(&mut self) {
        self.0 = self.0.saturating_add(1);
    }
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
                at_most("bytes of an attribute path", path.len(), limits.text_bytes)?;
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
        name: cut(&said.name, MAX_NAME_BYTES).to_owned(),
        version: cut(&said.version, MAX_NAME_BYTES).to_owned(),
        about: cut(&said.about, MAX_ERROR_TEXT_BYTES).to_owned(),
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

/// Reports for rules that were handed over, one each; a rule without a report counts as refused.
pub(crate) fn reports(said: Vec<wit_correlation::RuleReport>, asked: &[RuleSpec], limits: &Limits) -> Vec<RuleReport> {
    let mut by_rule: std::collections::HashMap<String, wit_correlation::RuleOutcome> =
        said.into_iter().map(|report| (report.rule, report.outcome)).collect();
    let report = |rule: &RuleSpec| RuleReport {
        rule: rule.id.clone(),
        outcome: match by_rule.remove(rule.id.as_str()) {
            Some(outcome) => rule_outcome(outcome, limits),
            None => Err(vec![Diagnostic {
                message: "the plugin did not report on the rule".into(),
                line: 0,
                column: 0,
            }]),
        },
    };
    asked.iter().map(report).collect()
}

fn rule_outcome(said: wit_correlation::RuleOutcome, limits: &Limits) -> Result<AcceptedRule, Vec<Diagnostic>> {
    let refused = |message: String| {
        vec![Diagnostic {
            message,
            line: 0,
            column: 0,
        }]
    };
    match said {
        wit_correlation::RuleOutcome::Accepted(rule) if rule.columns.len() > limits.columns => Err(refused(format!(
            "the rule reads more attributes than the limit of {}",
            limits.columns
        ))),
        wit_correlation::RuleOutcome::Accepted(rule) if rule.branches.len() > limits.indexes_per_verdict => {
            Err(refused(format!(
                "the rule has more branches than the limit of {}",
                limits.indexes_per_verdict
            )))
        }
        wit_correlation::RuleOutcome::Accepted(rule) => Ok(AcceptedRule {
            branches: rule.branches,
            columns: rule.columns,
            indexed: matches!(rule.access, wit_correlation::Access::Indexed),
        }),
        wit_correlation::RuleOutcome::Rejected(diagnostics) => {
            let diagnostic = |d: wit_correlation::Diagnostic| Diagnostic {
                message: cut(&d.message, MAX_ERROR_TEXT_BYTES).to_owned(),
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

/// The size of a batch, for checking the answer to it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) alerts: usize,
    pub(crate) columns: usize,
}

pub(crate) fn findings(said: wit_correlation::Findings, shape: Shape, limits: &Limits) -> (Findings, Dropped) {
    let mut dropped = Dropped::default();
    let mut findings = Findings::default();
    for verdict in said.verdicts {
        match verdict_of(verdict, shape, limits) {
            Some(verdict) if findings.verdicts.len() < limits.verdicts_per_batch => findings.verdicts.push(verdict),
            _ => dropped.one(),
        }
    }
    for failure in said.failures {
        match failure_of(failure, shape, limits) {
            Some(failure) if findings.failures.len() < limits.rule_failures_per_batch => {
                findings.failures.push(failure)
            }
            _ => dropped.one(),
        }
    }
    (findings, dropped)
}

fn verdict_of(said: wit_correlation::Verdict, shape: Shape, limits: &Limits) -> Option<Verdict> {
    let alert = position(said.alert, shape.alerts)?;
    let reads_known = said
        .read
        .iter()
        .all(|column| position(*column, shape.columns).is_some());
    let fits = said.rule.len() <= limits.text_bytes
        && said.group_key.len() <= MAX_GROUP_PATHS
        && said.branches.len() <= limits.indexes_per_verdict
        && said.read.len() <= limits.indexes_per_verdict;
    (reads_known && fits).then(|| Verdict {
        alert,
        rule: RuleId::from(said.rule),
        group_key: said.group_key,
        branches: said.branches,
        read: said.read,
    })
}

fn failure_of(said: wit_correlation::RuleFailure, shape: Shape, limits: &Limits) -> Option<RuleFailure> {
    let alert = position(said.alert, shape.alerts)?;
    (said.rule.len() <= limits.text_bytes).then(|| RuleFailure {
        alert,
        rule: RuleId::from(said.rule),
        message: cut(&said.message, MAX_ERROR_TEXT_BYTES).to_owned(),
    })
}

pub(crate) fn patches(said: Vec<wit_enrichment::Patch>, shape: Shape, limits: &Limits) -> (Vec<Patch>, Dropped) {
    let mut dropped = Dropped::default();
    let mut patches: Vec<Patch> = Vec::new();
    for patch in said {
        let Some(alert) = position(patch.alert, shape.alerts).filter(|_| patches.len() < shape.alerts) else {
            dropped.one();
            continue;
        };
        let mut changes = Vec::new();
        for change in patch.changes {
            match change_of(change, limits.text_bytes) {
                Some(change) if changes.len() < limits.changes_per_alert => changes.push(change),
                _ => dropped.one(),
            }
        }
        patches.push(Patch { alert, changes });
    }
    (patches, dropped)
}

fn change_of(said: wit_enrichment::Change, text_bytes: usize) -> Option<Change> {
    let change = match said {
        wit_enrichment::Change::Set((path, json)) => Change::Set { path, json },
        wit_enrichment::Change::Remove(path) => Change::Remove { path },
    };
    let fits = match &change {
        Change::Set { path, json } => path.len() <= text_bytes && json.len() <= text_bytes,
        Change::Remove { path } => path.len() <= text_bytes,
    };
    fits.then_some(change)
}

/// An index of the contract as a position, if there is something at it.
fn position(index: u32, len: usize) -> Option<usize> {
    usize::try_from(index).ok().filter(|position| *position < len)
}

/// The error of a plugin for people.
pub(crate) fn error_text(error: WitError) -> String {
    let text = match error {
        WitError::Invalid(text) => format!("invalid: {text}"),
        WitError::Denied(text) => format!("denied: {text}"),
        WitError::Retry(None) => "try again".to_owned(),
        WitError::Retry(Some(ms)) => format!("try again after {ms} ms"),
        WitError::Unavailable(text) => format!("unavailable: {text}"),
        WitError::Quota(text) => format!("quota: {text}"),
        WitError::Other(text) => text,
    };
    cut(&text, MAX_ERROR_TEXT_BYTES).to_owned()
}

pub(crate) fn tenant(batch: &WitBatch) -> TenantId {
    TenantId::from(batch.tenant.as_str())
}
