//! Incidents, and the edges between alerts and incidents. Aggregates are kept incrementally, so that an event costs the
//! same whatever the size of the incident.

use crate::alert::{Severity, Status};
use crate::branch_set::BranchSet;
use crate::ids::{EventId, Fingerprint, GroupKey, IncidentId, RuleId, Seq, TenantId, Timestamp};
use crate::rule::ResolveOn;

/// The state of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IncidentStatus {
    /// Active.
    Firing,
    /// Active, a person is on it.
    Acknowledged,
    /// Closed.
    Resolved,
    /// Closed: its alerts moved to another incident.
    Merged,
    /// Closed by deletion; kept.
    Deleted,
}

impl IncidentStatus {
    /// All of them.
    pub const ALL: [IncidentStatus; 5] = [
        IncidentStatus::Firing,
        IncidentStatus::Acknowledged,
        IncidentStatus::Resolved,
        IncidentStatus::Merged,
        IncidentStatus::Deleted,
    ];

    /// The name in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            IncidentStatus::Firing => "firing",
            IncidentStatus::Acknowledged => "acknowledged",
            IncidentStatus::Resolved => "resolved",
            IncidentStatus::Merged => "merged",
            IncidentStatus::Deleted => "deleted",
        }
    }

    /// Reads the name in JSON.
    #[must_use]
    pub fn parse(text: &str) -> Option<IncidentStatus> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Whether it still takes events.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, IncidentStatus::Firing | IncidentStatus::Acknowledged)
    }
}

/// Whether people see an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visibility {
    /// Waiting for all branches or the threshold.
    Hidden,
    /// A candidate: waiting for a person's approval.
    Candidate,
    /// Shown.
    Visible,
}

/// Where the name of an incident comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameOrigin {
    /// From the rule: rendered again on every event.
    Rule,
    /// From a person: never overwritten.
    Person,
}

/// An incident.
#[derive(Clone, Debug, PartialEq)]
pub struct Incident {
    /// Its identifier.
    pub id: IncidentId,
    /// Whose it is.
    pub tenant: TenantId,
    /// Counts the incidents of the tenant, from 1.
    pub running_number: u64,
    /// The entry that opened it.
    pub created_seq: Seq,
    /// When.
    pub created: Timestamp,
    /// The rule, and its version then.
    pub rule: RuleId,
    /// Version of the rule when the incident was opened.
    pub rule_version: u32,
    /// The name of the rule when the incident was opened.
    pub rule_name: String,
    /// The group.
    pub group_key: GroupKey,
    /// The name shown.
    pub name: String,
    /// Who named it.
    pub name_origin: NameOrigin,
    /// Values seen for each placeholder of the template, in order of appearance.
    pub name_values: Vec<PlaceholderValues>,
    /// For multi-level rules: the label put before the name.
    pub label: Option<String>,
    /// Its state.
    pub status: IncidentStatus,
    /// Who sees it.
    pub visibility: Visibility,
    /// Its severity.
    pub severity: Severity,
    /// A person set the severity; members no longer do.
    pub severity_forced: bool,
    /// Copied from the rule.
    pub resolve_on: ResolveOn,
    /// Copied from the rule, or set by a person.
    pub assignee: Option<String>,
    /// Smallest `lastReceived` of all events of its members.
    pub start: Option<Timestamp>,
    /// Largest `lastReceived` of all events of its members.
    pub last_seen: Option<Timestamp>,
    /// When it was closed.
    pub end: Option<Timestamp>,
    /// Provider types of its members, in order of appearance.
    pub sources: Vec<String>,
    /// Services of its members, in order of appearance.
    pub services: Vec<String>,
    /// The incident of the same group before this one.
    pub past_incident: Option<IncidentId>,
    /// Where its alerts went.
    pub merged_into: Option<IncidentId>,
    /// What is known of its members.
    pub members: Members,
}

/// Aggregates over the live members of an incident.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Members {
    /// Live members.
    pub count: u32,
    /// Members by status, in the order of `Status::ALL`.
    pub by_status: [u32; 6],
    /// Members by severity, ascending.
    pub by_severity: [u32; 5],
    /// Sum of their unresolved counters.
    pub occurrences: u64,
    /// Union of the branches that each matched when it joined.
    pub branches: BranchSet,
    /// Acceptance time of the newest event of any member.
    pub newest_event: Timestamp,
    /// The member that joined first, and whether it is resolved.
    pub first: Option<(Fingerprint, bool)>,
}

/// The values of one placeholder over the members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlaceholderValues(pub Vec<(String, u32)>);

/// The edge between an alert and an incident.
#[derive(Clone, Debug, PartialEq)]
pub struct Link {
    /// The incident.
    pub incident: IncidentId,
    /// The alert.
    pub fingerprint: Fingerprint,
    /// The entry that caused it.
    pub joined_seq: Seq,
    /// When.
    pub joined: Timestamp,
    /// Why.
    pub explanation: Explanation,
    /// The member's present value of each placeholder of the rule's template.
    pub name_values: Vec<String>,
    /// Set when a person took the alert out; the link then no longer counts.
    pub unlinked: Option<Timestamp>,
    /// The alert as the incident still counts it, since it was let go because the alert is in too many open incidents.
    pub let_go: Option<MemberView>,
}

/// A live member of an incident: what of its link counting anew needs.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// The alert.
    pub fingerprint: Fingerprint,
    /// The branches that it matched when it joined.
    pub branches: BranchSet,
}

impl Link {
    /// What counting anew needs of it.
    #[must_use]
    pub fn member(&self) -> Member {
        Member {
            fingerprint: self.fingerprint.clone(),
            branches: self.explanation.branches.iter().map(|(index, _)| *index).collect(),
        }
    }
}

/// Why an alert is in an incident: everything needed to judge it later.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The rule.
    pub rule: RuleId,
    /// Its version.
    pub rule_version: u32,
    /// The event that joined.
    pub event_id: EventId,
    /// The matched branches: index and text.
    pub branches: Vec<(u32, String)>,
    /// The group.
    pub group_key: GroupKey,
    /// What the branches read: attribute path and value.
    pub values: Vec<(String, crate::batch::Scalar)>,
    /// The plugin that said so: name and version.
    pub plugin: (String, String),
}

/// What an event changes about one member; before and after are the alert as the incident sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemberView {
    /// Its status.
    pub status: Status,
    /// Its severity.
    pub severity: Severity,
    /// Its unresolved counter.
    pub unresolved: u32,
}

impl Members {
    /// A new member counts.
    pub fn add(&mut self, fingerprint: &Fingerprint, view: MemberView, branches: &BranchSet) {
        self.count += 1;
        self.count_view(view, 1);
        self.branches.union_with(branches);
        if self.first.is_none() {
            self.first = Some((fingerprint.clone(), view.status == Status::Resolved));
        }
    }

    /// A member changed.
    pub fn change(&mut self, fingerprint: &Fingerprint, before: MemberView, after: MemberView) {
        self.count_view(before, -1);
        self.count_view(after, 1);
        if let Some((first, resolved)) = &mut self.first
            && first == fingerprint
        {
            *resolved = after.status == Status::Resolved;
        }
    }

    fn count_view(&mut self, view: MemberView, by: i32) {
        if let Some(count) = self.by_status.get_mut(view.status as usize) {
            *count = count.saturating_add_signed(by);
        }
        if let Some(count) = self.by_severity.get_mut(view.severity as usize) {
            *count = count.saturating_add_signed(by);
        }
        let unresolved = i64::from(view.unresolved) * i64::from(by);
        self.occurrences = self.occurrences.saturating_add_signed(unresolved);
    }

    /// How many members have a status.
    #[must_use]
    pub fn with_status(&self, status: Status) -> u32 {
        self.by_status.get(status as usize).copied().unwrap_or(0)
    }

    /// The largest severity among the members.
    #[must_use]
    pub fn max_severity(&self) -> Option<Severity> {
        Severity::ALL
            .into_iter()
            .rev()
            .find(|severity| self.by_severity.get(*severity as usize).is_some_and(|n| *n > 0))
    }

    /// Whether the members ask for the incident to be resolved. Without members: never.
    #[must_use]
    pub fn ask_to_resolve(&self, resolve_on: ResolveOn) -> bool {
        let resolved = self.with_status(Status::Resolved);
        match resolve_on {
            ResolveOn::Never => false,
            ResolveOn::First => self.first.as_ref().is_some_and(|(_, resolved)| *resolved),
            ResolveOn::Last => resolved > 0 && self.with_status(Status::Firing) == 0,
            ResolveOn::All => self.count > 0 && resolved == self.count,
        }
    }
}

impl Incident {
    /// Whether people see it.
    #[must_use]
    pub fn visible(&self) -> bool {
        self.visibility == Visibility::Visible
    }

    /// Adds a source and a service, within the limits.
    pub fn note_origin(&mut self, source: &str, service: Option<&str>) {
        note(&mut self.sources, source);
        if let Some(service) = service {
            note(&mut self.services, service);
        }
    }

    /// Widens the time that the incident covers.
    pub fn note_received(&mut self, from: Timestamp, to: Timestamp) {
        self.start = Some(self.start.map_or(from, |start| start.min(from)));
        self.last_seen = Some(self.last_seen.map_or(to, |seen| seen.max(to)));
    }

    /// Takes the severity over from the members, unless a person set it.
    pub fn follow_severity(&mut self) {
        if !self.severity_forced
            && let Some(severity) = self.members.max_severity()
        {
            self.severity = severity;
        }
    }
}

fn note(list: &mut Vec<String>, text: &str) {
    let text = crate::limits::cut(text, crate::limits::MAX_INCIDENT_SOURCE_BYTES);
    if !text.is_empty() && list.len() < crate::limits::MAX_INCIDENT_SOURCES && !list.iter().any(|known| known == text) {
        list.push(text.to_owned());
    }
}
