//! The stored form of incidents.

use bincode::{BorrowDecode, Encode};
use donjon_core::branch_set::BranchSet;
use donjon_core::incident::{Incident, Members, PlaceholderValues};
use donjon_core::{GroupKey, IncidentId, Seq, Timestamp};

use super::{Kind, RecordError, codes, stored};

stored!(Incident, Kind::Incident, reads { 1 => IncidentV1 }, writes 1 => IncidentV1);

#[derive(Encode, BorrowDecode)]
struct IncidentV1<'a> {
    id: [u8; 16],
    tenant: &'a str,
    running_number: u64,
    created_seq: u64,
    created: u64,
    rule: &'a str,
    rule_version: u32,
    rule_name: &'a str,
    group_key: Vec<&'a str>,
    name: &'a str,
    name_origin: u8,
    name_values: Vec<Vec<(&'a str, u32)>>,
    label: Option<&'a str>,
    status: u8,
    visibility: u8,
    severity: u8,
    severity_forced: bool,
    resolve_on: u8,
    assignee: Option<&'a str>,
    start: Option<u64>,
    last_seen: Option<u64>,
    end: Option<u64>,
    sources: Vec<&'a str>,
    services: Vec<&'a str>,
    past_incident: Option<[u8; 16]>,
    merged_into: Option<[u8; 16]>,
    members: MembersV1<'a>,
}

#[derive(Encode, BorrowDecode)]
struct MembersV1<'a> {
    count: u32,
    by_status: [u32; 6],
    by_severity: [u32; 5],
    occurrences: u64,
    branches: Vec<u64>,
    newest_event: u64,
    first: Option<(&'a str, bool)>,
}

fn texts(list: &[String]) -> Vec<&str> {
    list.iter().map(String::as_str).collect()
}

fn owned(list: Vec<&str>) -> Vec<String> {
    list.into_iter().map(str::to_owned).collect()
}

impl<'a> From<&'a Incident> for IncidentV1<'a> {
    fn from(incident: &'a Incident) -> Self {
        let values = |values: &'a PlaceholderValues| values.0.iter().map(|(text, n)| (text.as_str(), *n)).collect();
        IncidentV1 {
            id: incident.id.0,
            tenant: incident.tenant.as_str(),
            running_number: incident.running_number,
            created_seq: incident.created_seq.0,
            created: incident.created.0,
            rule: incident.rule.as_str(),
            rule_version: incident.rule_version,
            rule_name: &incident.rule_name,
            group_key: texts(incident.group_key.values()),
            name: &incident.name,
            name_origin: codes::name_origin::code(incident.name_origin),
            name_values: incident.name_values.iter().map(values).collect(),
            label: incident.label.as_deref(),
            status: codes::incident_status::code(incident.status),
            visibility: codes::visibility::code(incident.visibility),
            severity: codes::severity::code(incident.severity),
            severity_forced: incident.severity_forced,
            resolve_on: codes::resolve_on::code(incident.resolve_on),
            assignee: incident.assignee.as_deref(),
            start: incident.start.map(|time| time.0),
            last_seen: incident.last_seen.map(|time| time.0),
            end: incident.end.map(|time| time.0),
            sources: texts(&incident.sources),
            services: texts(&incident.services),
            past_incident: incident.past_incident.map(|id| id.0),
            merged_into: incident.merged_into.map(|id| id.0),
            members: MembersV1::from(&incident.members),
        }
    }
}

impl TryFrom<IncidentV1<'_>> for Incident {
    type Error = RecordError;

    fn try_from(twin: IncidentV1<'_>) -> Result<Self, RecordError> {
        let values = |list: Vec<(&str, u32)>| {
            PlaceholderValues(list.into_iter().map(|(text, count)| (text.to_owned(), count)).collect())
        };
        Ok(Incident {
            id: IncidentId(twin.id),
            tenant: twin.tenant.into(),
            running_number: twin.running_number,
            created_seq: Seq(twin.created_seq),
            created: Timestamp(twin.created),
            rule: twin.rule.into(),
            rule_version: twin.rule_version,
            rule_name: twin.rule_name.to_owned(),
            group_key: GroupKey::new(owned(twin.group_key)),
            name: twin.name.to_owned(),
            name_origin: codes::name_origin::value(twin.name_origin)?,
            name_values: twin.name_values.into_iter().map(values).collect(),
            label: twin.label.map(str::to_owned),
            status: codes::incident_status::value(twin.status)?,
            visibility: codes::visibility::value(twin.visibility)?,
            severity: codes::severity::value(twin.severity)?,
            severity_forced: twin.severity_forced,
            resolve_on: codes::resolve_on::value(twin.resolve_on)?,
            assignee: twin.assignee.map(str::to_owned),
            start: twin.start.map(Timestamp),
            last_seen: twin.last_seen.map(Timestamp),
            end: twin.end.map(Timestamp),
            sources: owned(twin.sources),
            services: owned(twin.services),
            past_incident: twin.past_incident.map(IncidentId),
            merged_into: twin.merged_into.map(IncidentId),
            members: Members::from(twin.members),
        })
    }
}

impl<'a> From<&'a Members> for MembersV1<'a> {
    fn from(members: &'a Members) -> Self {
        MembersV1 {
            count: members.count,
            by_status: members.by_status,
            by_severity: members.by_severity,
            occurrences: members.occurrences,
            branches: members.branches.words().to_vec(),
            newest_event: members.newest_event.0,
            first: members
                .first
                .as_ref()
                .map(|(fingerprint, resolved)| (fingerprint.as_str(), *resolved)),
        }
    }
}

impl From<MembersV1<'_>> for Members {
    fn from(twin: MembersV1<'_>) -> Self {
        Members {
            count: twin.count,
            by_status: twin.by_status,
            by_severity: twin.by_severity,
            occurrences: twin.occurrences,
            branches: BranchSet::from_words(twin.branches),
            newest_event: Timestamp(twin.newest_event),
            first: twin.first.map(|(fingerprint, resolved)| (fingerprint.into(), resolved)),
        }
    }
}
