//! The correlator: says which alerts belong together. The life cycle of incidents stays in the host.

use crate::{Batch, Error, Plugin};

/// What to do when an attribute that a rule groups by is absent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum OnMissingGroup {
    /// Group the alert under the single value `none`.
    #[default]
    None,
    /// The rule does not apply to the alert.
    Skip,
}

impl OnMissingGroup {
    /// How the generated bindings turn a discriminant, already validated by the runtime, into the value.
    #[doc(hidden)]
    pub fn _lift(discriminant: u8) -> Self {
        match discriminant {
            0 => OnMissingGroup::None,
            _ => OnMissingGroup::Skip,
        }
    }
}

/// A rule as the correlator needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Named in verdicts.
    pub id: String,
    /// Counts the changes of the rule.
    pub version: u32,
    /// The name of the rule for people.
    pub name: String,
    /// The condition, an expression of the alert expression language (CEL).
    pub condition: String,
    /// Attribute paths to group by, in order.
    pub group_by: Vec<String>,
    /// What to do when one of them is absent.
    pub on_missing_group: OnMissingGroup,
    /// For multi-level rules: the property of each entry of the first grouping attribute that names its group.
    pub multi_level_property: Option<String>,
}

/// Where and why a condition was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Diagnostic {
    /// What is wrong.
    pub message: String,
    /// Counted from 1; 0 if unknown.
    pub line: u32,
    /// Counted from 1; 0 if unknown.
    pub column: u32,
}

/// How alerts reach the rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Access {
    /// Only alerts with certain values are looked at.
    Indexed,
    /// Every alert is looked at.
    Scanned,
}

/// A rule that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The text of each branch: the operands of the top-level OR.
    pub branches: Vec<String>,
    /// The attribute paths that the rule reads, grouping included.
    pub columns: Vec<String>,
    /// How alerts reach the rule.
    pub access: Access,
}

/// What became of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RuleOutcome {
    /// Taken.
    Accepted(Accepted),
    /// Refused; the other rules stand.
    Rejected(Vec<Diagnostic>),
}

/// The outcome for one rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleReport {
    /// The identifier of the rule.
    pub rule: String,
    /// What became of it.
    pub outcome: RuleOutcome,
}

/// One alert belongs to one group of one rule.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Index into the batch.
    pub alert: u32,
    /// The identifier of a rule, or of a policy of this plugin.
    pub rule: String,
    /// The values that name the group, in the order of `group_by`.
    pub group_key: Vec<String>,
    /// Indexes of the branches that matched, ascending.
    pub branches: Vec<u32>,
    /// Indexes into the columns of the batch of the values that the matched branches read.
    pub read: Vec<u32>,
}

impl Verdict {
    /// A verdict of a policy: the alert belongs to the group that these values name.
    pub fn new<K: Into<String>>(alert: u32, rule: impl Into<String>, group_key: impl IntoIterator<Item = K>) -> Self {
        Verdict {
            alert,
            rule: rule.into(),
            group_key: group_key.into_iter().map(Into::into).collect(),
            ..Verdict::default()
        }
    }

    /// Say which columns of the batch led to it, for the explanation that people see.
    #[must_use]
    pub fn reading(mut self, columns: impl IntoIterator<Item = u32>) -> Self {
        self.read = columns.into_iter().collect();
        self
    }
}

/// A rule could not be evaluated for an alert; the others were.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleFailure {
    /// Index into the batch.
    pub alert: u32,
    /// The identifier of the rule.
    pub rule: String,
    /// What went wrong.
    pub message: String,
}

/// The answer to a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// In any order; the host applies them by alert, then by the order of rules.
    pub verdicts: Vec<Verdict>,
    /// At most one a rule and alert.
    pub failures: Vec<RuleFailure>,
}

/// A plugin that says which alerts belong together.
pub trait Correlator: Plugin {
    /// Judge a batch.
    fn correlate(&mut self, batch: &Batch) -> Result<Findings, Error>;

    /// Replace the rules of one tenant. Only called if the description says that the plugin takes rules.
    fn configure(&mut self, tenant: &str, rules: Vec<Rule>) -> Result<Vec<RuleReport>, Error> {
        let _ = tenant;
        let refuse = |rule: Rule| RuleReport {
            rule: rule.id,
            outcome: RuleOutcome::Rejected(vec![Diagnostic {
                message: "this plugin takes no rules".to_owned(),
                ..Diagnostic::default()
            }]),
        };
        Ok(rules.into_iter().map(refuse).collect())
    }
}
