//! Correlation rules as people state them. Parsing conditions is the business of the expression language; here they are
//! text, already checked, with their branches.

use std::cmp::Ordering;

use crate::batch::{OnMissingGroup, RuleSpec};
use crate::ids::{GroupKey, RuleId, Seq, TenantId, Timestamp};

/// When an incident becomes visible.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CreateOn {
    /// As soon as any branch matched.
    #[default]
    Any,
    /// Once all branches matched, over all members, every one of them firing.
    All,
}

/// When an incident is resolved without a person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResolveOn {
    /// The member that joined first is resolved.
    First,
    /// No member is firing any more, and at least one is resolved.
    Last,
    /// Every member is resolved.
    All,
    /// Only a person resolves it.
    #[default]
    Never,
}

/// The identifier, among rules, of a policy that a plugin brings along: no rule of a person can have it.
#[must_use]
pub fn policy_id(plugin: &str, policy: &str) -> RuleId {
    RuleId::from(format!("{plugin}/{policy}"))
}

impl CreateOn {
    /// `any` or `all`, any letter case.
    #[must_use]
    pub fn parse(text: &str) -> Option<CreateOn> {
        match text.to_ascii_lowercase().as_str() {
            "any" => Some(CreateOn::Any),
            "all" => Some(CreateOn::All),
            _ => None,
        }
    }

    /// The name in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            CreateOn::Any => "any",
            CreateOn::All => "all",
        }
    }
}

impl ResolveOn {
    /// The names of the reference and their short forms, any letter case.
    #[must_use]
    pub fn parse(text: &str) -> Option<ResolveOn> {
        match text.to_ascii_lowercase().as_str() {
            "first" | "first_resolved" => Some(ResolveOn::First),
            "last" | "last_resolved" => Some(ResolveOn::Last),
            "all" | "all_resolved" => Some(ResolveOn::All),
            "never" => Some(ResolveOn::Never),
            _ => None,
        }
    }

    /// The name in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ResolveOn::First => "first_resolved",
            ResolveOn::Last => "last_resolved",
            ResolveOn::All => "all_resolved",
            ResolveOn::Never => "never",
        }
    }
}

/// What a person says about a rule.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleDraft {
    /// Default name of its incidents.
    pub name: String,
    /// The condition.
    pub condition: String,
    /// The operands of the condition's top-level OR, as text. At least one.
    pub branches: Vec<String>,
    /// The window: an incident takes no further events once its newest is older than this.
    pub timeframe_seconds: u64,
    /// For display only: `seconds`, `minutes`, ...
    pub time_unit: String,
    /// Attribute paths to group by.
    pub group_by: Vec<String>,
    /// What to do when one is absent.
    pub on_missing_group: OnMissingGroup,
    /// Kept for the reference's clients.
    pub group_description: Option<String>,
    /// Incidents wait, hidden, for a person.
    pub require_approve: bool,
    /// When incidents are resolved.
    pub resolve_on: ResolveOn,
    /// When incidents become visible.
    pub create_on: CreateOn,
    /// Name with `{{ placeholders }}`.
    pub name_template: Option<String>,
    /// `P` gives names `P-<number> - <name>`.
    pub name_prefix: Option<String>,
    /// One group per entry of an object.
    pub multi_level: bool,
    /// The property that names such a group.
    pub multi_level_property: Option<String>,
    /// Occurrences needed before an incident becomes visible.
    pub threshold: u32,
    /// Copied to new incidents.
    pub assignee: Option<String>,
    /// A disabled rule is kept and not evaluated.
    pub enabled: bool,
    /// Higher goes first.
    pub priority: i32,
    /// A match keeps later rules from seeing the event.
    pub stop_on_match: bool,
    /// The reference's `definition` (`{"sql": ..., "params": ...}`) as JSON text; never evaluated.
    pub sql_query_json: Option<String>,
}

/// A stored rule.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its identifier.
    pub id: RuleId,
    /// Whose it is.
    pub tenant: TenantId,
    /// 1 for the first; each change adds one.
    pub version: u32,
    /// What it says.
    pub draft: RuleDraft,
    /// The position of its creation: rules of one priority apply in this order (`compare_turn`).
    pub created_seq: Seq,
    /// When it was created.
    pub created: Timestamp,
    /// By whom.
    pub created_by: String,
    /// When it was changed last, if ever.
    pub updated: Option<Timestamp>,
    /// By whom.
    pub updated_by: Option<String>,
    /// A deleted rule stays readable for its incidents.
    pub deleted: bool,
    /// `offered` of its tenant when the rule was created; evaluations = offered now minus this.
    pub offered_at_creation: u64,
}

/// What a rule did so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RuleStats {
    /// Verdicts applied.
    pub matches: u64,
    /// Incidents opened.
    pub incidents: u64,
    /// Evaluations that failed.
    pub errors: u64,
    /// When it matched last.
    pub last_match: Option<Timestamp>,
    /// The last failure: text and the event that it happened with.
    pub last_error: Option<RuleError>,
}

/// A failed evaluation.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleError {
    /// What went wrong.
    pub message: String,
    /// The event.
    pub event_id: String,
    /// When.
    pub at: Timestamp,
}

impl Rule {
    /// The part that a correlator needs.
    #[must_use]
    pub fn spec(&self) -> RuleSpec {
        let property = || self.draft.multi_level_property.clone().unwrap_or_default();
        RuleSpec {
            id: self.id.clone(),
            version: self.version,
            name: self.draft.name.clone(),
            condition: self.draft.condition.clone(),
            group_by: self.draft.group_by.clone(),
            on_missing_group: self.draft.on_missing_group,
            multi_level_property: self.draft.multi_level.then(property),
        }
    }

    /// Which of two was created first: those that one command created are in the order of their identifiers.
    #[must_use]
    pub fn compare_creation(&self, other: &Rule) -> Ordering {
        (self.created_seq, &self.id).cmp(&(other.created_seq, &other.id))
    }

    /// Which of two applies first: of higher priority, then older.
    #[must_use]
    pub fn compare_turn(&self, other: &Rule) -> Ordering {
        let by_priority = other.draft.priority.cmp(&self.draft.priority);
        by_priority.then_with(|| self.compare_creation(other))
    }

    /// Whether events are judged by it.
    #[must_use]
    pub fn live(&self) -> bool {
        self.draft.enabled && !self.deleted
    }

    /// The name of an incident of this rule before a template applies: multi-level groups are named first.
    #[must_use]
    pub fn multi_level_label(&self, group: &GroupKey) -> Option<String> {
        self.draft.multi_level.then(|| group.joined())
    }
}
