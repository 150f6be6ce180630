//! Between the words of the domain and the generated types of the contract: batches and rules on their way out,
//! descriptions and reports on their way back, checked against the limits. Answers to batches are in `answers.rs`; no
//! other file names the generated data types of the roles.

use std::collections::HashMap;
use std::time::Duration;

use donjon_core::RuleId;
use donjon_core::TenantId;
use donjon_core::batch::{AcceptedRule, Batch, Diagnostic, OnMissingGroup, Pieces, RuleReport, RuleSpec, Wants};
use donjon_core::limits::{MAX_BRANCHES, MAX_ERROR_TEXT_BYTES, MAX_PATH_KEYS};
use donjon_core::text::one_line;

use crate::bindings::correlator::exports::donjon::plugin::correlation as wit_correlation;
use crate::bindings::plugin::donjon::types::types as wit;
use crate::bindings::plugin::exports::donjon::plugin::lifecycle as wit_lifecycle;
use crate::errors::{CallError, LoadError, RefusalKind};
use crate::limits::Limits;

pub(crate) use wit::{Batch as WitBatch, Error as WitError, Wanted as WitWanted};
pub(crate) use wit_correlation::Rule as WitRule;

/// The kind of rules that people state as conditions.
pub(crate) const CEL: &str = "cel";

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
    /// What it wants to be handed when it correlates; nothing if it does not.
    pub wants_to_correlate: Wants,
    /// What it wants to be handed when it enriches; nothing if it does not.
    pub wants_to_enrich: Wants,
    /// Whether it takes the rules of people.
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
    /// What verdicts may say to have matched.
    pub branches: Vec<String>,
}

pub(crate) fn batch(batch: Batch) -> WitBatch {
    WitBatch {
        seqs: batch.seqs,
        accepted: batch.accepted,
        texts: batch.texts.bytes,
        text_ends: batch.texts.ends,
        columns: batch.columns,
        cell_ends: batch.cell_ends,
        cell_columns: batch.cell_columns,
        cell_kinds: batch.cell_kinds,
        cell_words: batch.cell_words,
        documents: batch.documents.bytes,
        document_ends: batch.documents.ends,
    }
}

/// The alerts of a range as a batch of their own. Copies all of it: only for what failed as a whole.
pub(crate) fn slice(batch: &WitBatch, tenant: &TenantId, range: std::ops::Range<usize>) -> WitBatch {
    let batch = batch.clone();
    let whole = Batch {
        tenant: tenant.clone(),
        seqs: batch.seqs,
        accepted: batch.accepted,
        texts: Pieces {
            bytes: batch.texts,
            ends: batch.text_ends,
        },
        columns: batch.columns,
        cell_ends: batch.cell_ends,
        cell_columns: batch.cell_columns,
        cell_kinds: batch.cell_kinds,
        cell_words: batch.cell_words,
        documents: Pieces {
            bytes: batch.documents,
            ends: batch.document_ends,
        },
    };
    self::batch(whole.slice(range))
}

/// A rule as a copy is told of it, under its handle.
pub(crate) fn rule(handle: u32, rule: &RuleSpec) -> WitRule {
    WitRule {
        handle,
        id: rule.id.as_str().to_owned(),
        version: rule.version,
        name: rule.name.clone(),
        kind: CEL.to_owned(),
        condition: rule.condition.clone(),
        group_by: rule.group_by.clone(),
        on_missing_group: match rule.on_missing_group {
            OnMissingGroup::None => wit_correlation::OnMissingGroup::None,
            OnMissingGroup::Skip => wit_correlation::OnMissingGroup::Skip,
        },
        settings: match &rule.multi_level_property {
            Some(property) => serde_json::json!({ "multiLevelProperty": property }).to_string(),
            None => "{}".to_owned(),
        },
    }
}

/// What a plugin said about itself.
pub(crate) struct Said {
    pub(crate) description: wit_lifecycle::Description,
    pub(crate) of_roles: OfRoles,
}

/// What the exports of its roles say; nothing of a role that it does not have.
#[derive(Default)]
pub(crate) struct OfRoles {
    pub(crate) wants_to_correlate: Option<WitWanted>,
    pub(crate) wants_to_enrich: Option<WitWanted>,
    pub(crate) rule_kinds: Vec<String>,
    pub(crate) policies: Vec<wit_correlation::Policy>,
}

/// The description, refused if it asks for more than there may be, or for what this version does not know.
pub(crate) fn description(said: Said, limits: &Limits) -> Result<Description, LoadError> {
    let Said { description, of_roles } = said;
    let OfRoles {
        wants_to_correlate,
        wants_to_enrich,
        rule_kinds,
        policies,
    } = of_roles;
    let of_wants = [&wants_to_correlate, &wants_to_enrich].into_iter().flatten();
    let of_wants = of_wants.flat_map(|wants| &wants.more);
    let of_policies = policies.iter().flat_map(|policy| &policy.more);
    let unknown = description.more.iter().chain(of_wants).chain(of_policies).next();
    if let Some((name, _)) = unknown {
        let name = one_line(name, MAX_NAME_BYTES);
        return Err(LoadError::Description(format!("this version knows nothing of: {name}")));
    }
    if let Some(kind) = rule_kinds.iter().find(|kind| *kind != CEL) {
        let kind = one_line(kind, MAX_NAME_BYTES);
        return Err(LoadError::Description(format!(
            "there are only rules of the kind {CEL}: {kind}"
        )));
    }
    at_most("policies", policies.len(), limits.policies)?;
    let mut bytes = 0;
    for policy in &policies {
        at_most("bytes of the id of a policy", policy.id.len(), MAX_NAME_BYTES)?;
        at_most("branches of a policy", policy.branches.len(), MAX_BRANCHES)?;
        bytes += policy.settings.len() + policy.branches.iter().map(String::len).sum::<usize>();
    }
    // The rule book of each tenant has a copy of them.
    at_most("bytes of all policies together", bytes, limits.policies_bytes)?;
    let policy = |p: wit_correlation::Policy| Policy {
        id: RuleId::from(p.id),
        settings: p.settings,
        branches: p.branches,
    };
    Ok(Description {
        name: one_line(&description.name, MAX_NAME_BYTES),
        version: one_line(&description.version, MAX_NAME_BYTES),
        about: one_line(&description.about, MAX_ERROR_TEXT_BYTES),
        wants_to_correlate: wants(wants_to_correlate, limits)?,
        wants_to_enrich: wants(wants_to_enrich, limits)?,
        takes_rules: !rule_kinds.is_empty(),
        policies: policies.into_iter().map(policy).collect(),
    })
}

fn wants(said: Option<WitWanted>, limits: &Limits) -> Result<Wants, LoadError> {
    let Some(said) = said else {
        return Ok(Wants::Fields(Vec::new()));
    };
    at_most("attribute paths", said.columns.len(), limits.columns)?;
    for path in &said.columns {
        at_most("bytes of an attribute path", path.len(), limits.path_bytes)?;
        at_most("keys of an attribute path", keys_of(path), MAX_PATH_KEYS)?;
    }
    Ok(match said.documents {
        true => Wants::Documents,
        false => Wants::Fields(said.columns),
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

/// Reports on rules by their handles.
pub(crate) struct Reports {
    by_handle: HashMap<u32, wit_correlation::RuleOutcome>,
}

impl Reports {
    pub(crate) fn new(said: Vec<wit_correlation::RuleReport>) -> Reports {
        let by_handle = said.into_iter().map(|report| (report.rule, report.outcome));
        Reports {
            by_handle: by_handle.collect(),
        }
    }

    /// The report on a rule that was handed over; one without a report counts as refused.
    pub(crate) fn take(&mut self, handle: u32, rule: &RuleId, limits: &Limits) -> RuleReport {
        RuleReport {
            rule: rule.clone(),
            outcome: match self.by_handle.remove(&handle) {
                Some(outcome) => rule_outcome(outcome, limits),
                None => Err(refused("the plugin did not report on the rule".into())),
            },
        }
    }
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
                indexed: rule.more.iter().any(|(name, json)| name == "indexed" && json == "true"),
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
        let said = || Said {
            description: wit_lifecycle::Description {
                name: FORGED.to_owned(),
                version: FORGED.to_owned(),
                about: FORGED.to_owned(),
                more: Vec::new(),
            },
            of_roles: OfRoles {
                wants_to_enrich: Some(WitWanted {
                    columns: Vec::new(),
                    documents: true,
                    more: Vec::new(),
                }),
                rule_kinds: vec![CEL.to_owned()],
                ..OfRoles::default()
            },
        };
        let of_kind = |kind: &str| {
            let mut said = said();
            said.of_roles.rule_kinds = vec![kind.to_owned()];
            said
        };
        let mut with_more = said();
        with_more.description.more.push((FORGED.to_owned(), "1".to_owned()));
        let mut with_more_wanted = said();
        let wanted = with_more_wanted.of_roles.wants_to_enrich.as_mut().unwrap();
        wanted.more.push((FORGED.to_owned(), "1".to_owned()));
        for refused in [of_kind(FORGED), with_more, with_more_wanted] {
            assert!(is_one_line(&description(refused, &limits).unwrap_err().to_string()));
        }
        let description = description(said(), &limits).unwrap();
        let nothing = Wants::Fields(Vec::new());
        assert_eq!(
            (&description.wants_to_correlate, &description.wants_to_enrich),
            (&nothing, &Wants::Documents)
        );
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
