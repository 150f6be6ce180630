//! The correlator: says which alerts belong together. The life cycle of incidents stays in the host.

use crate::batch::Batch;
use crate::findings::Findings;
use crate::lifecycle::Plugin;
use crate::types::{Error, Wanted};

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

/// A correlation policy that a correlator brings along, beside or instead of rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Names the policy for people. Findings name it by [`crate::policy`] and its place.
    pub id: String,
    /// JSON with the fields of a rule (`ruleName`, `timeframeInSeconds`, `createOn`, `threshold`, ...), without a condition.
    pub settings: String,
    /// What findings may say to have matched, for `createOn: all`; none for a policy of one branch.
    pub branches: Vec<String>,
    /// To grow into: names and JSON. Unknown names are refused at load.
    pub more: Vec<(String, String)>,
}

impl Policy {
    /// A policy of one branch; `settings` is JSON with the fields of a rule, without a condition.
    pub fn new(id: impl Into<String>, settings: impl Into<String>) -> Self {
        Policy {
            id: id.into(),
            settings: settings.into(),
            ..Policy::default()
        }
    }

    /// Name its branches: what verdicts may say to have matched, by their places.
    #[must_use]
    pub fn branches<B: Into<String>>(mut self, branches: impl IntoIterator<Item = B>) -> Self {
        self.branches = branches.into_iter().map(Into::into).collect();
        self
    }
}

/// A rule as the correlator needs it. The life cycle of incidents stays in the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Names the rule in findings and reports. The same rule has the same handle as long as the instance lives.
    pub handle: u32,
    /// The identifier of the rule for people.
    pub id: String,
    /// Counts the changes of the rule.
    pub version: u32,
    /// The name of the rule for people.
    pub name: String,
    /// `cel`, or another kind that the plugin said to take.
    pub kind: String,
    /// The condition, an expression of the alert expression language (CEL).
    pub condition: String,
    /// Attribute paths to group by, in order.
    pub group_by: Vec<String>,
    /// What to do when one of them is absent.
    pub on_missing_group: OnMissingGroup,
    /// JSON with what else the rule says, such as `multiLevelProperty`: for multi-level rules, the property of each entry
    /// of the first grouping attribute that names its group. `{}` for nothing.
    pub settings: String,
}

impl Default for Rule {
    /// A rule of kind `cel` without a condition; for tests.
    fn default() -> Self {
        Rule {
            handle: 0,
            id: String::new(),
            version: 1,
            name: String::new(),
            kind: "cel".to_owned(),
            condition: String::new(),
            group_by: Vec::new(),
            on_missing_group: OnMissingGroup::default(),
            settings: "{}".to_owned(),
        }
    }
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

/// A rule that was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Accepted {
    /// The text of each branch: the operands of the top-level OR.
    pub branches: Vec<String>,
    /// The attribute paths that the rule reads, grouping included.
    pub columns: Vec<String>,
    /// To grow into: names and JSON, such as `indexed` and `true` if only alerts with certain values are looked at. Unknown
    /// names are left out.
    pub more: Vec<(String, String)>,
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
    /// The handle of the rule.
    pub rule: u32,
    /// What became of it.
    pub outcome: RuleOutcome,
}

impl RuleReport {
    /// The rule was taken.
    pub fn accepted(rule: &Rule, accepted: Accepted) -> Self {
        RuleReport {
            rule: rule.handle,
            outcome: RuleOutcome::Accepted(accepted),
        }
    }

    /// The rule was refused as a whole.
    pub fn rejected(rule: &Rule, message: impl Into<String>) -> Self {
        let diagnostic = Diagnostic {
            message: message.into(),
            ..Diagnostic::default()
        };
        RuleReport {
            rule: rule.handle,
            outcome: RuleOutcome::Rejected(vec![diagnostic]),
        }
    }
}

/// A plugin that says which alerts belong together.
pub trait Correlator: Plugin {
    /// What it wants to be handed; the same for every tenant.
    fn wants(&self) -> Wanted;

    /// Judge a batch.
    fn correlate(&mut self, batch: &Batch) -> Result<Findings, Error>;

    /// The policies that it brings along; the same for every tenant.
    fn policies(&self) -> Result<Vec<Policy>, Error> {
        Ok(Vec::new())
    }

    /// The kinds of rules that it takes, such as `cel`; none by default. The same for every tenant.
    fn rule_kinds(&self) -> Vec<String> {
        Vec::new()
    }

    /// Rules that are new or changed since the last call that succeeded, and the handles of all that are in force after
    /// it, in their order: whichever is not among them is gone. Answers a report for each rule in `changed`. Only called if
    /// there are kinds of rules that it takes. After an error the instance is ended.
    fn configure(&mut self, changed: Vec<Rule>, in_force: &[u32]) -> Result<Vec<RuleReport>, Error> {
        let _ = in_force;
        let refuse = |rule: &Rule| RuleReport::rejected(rule, "this plugin takes no rules");
        Ok(changed.iter().map(refuse).collect())
    }
}
