//! Incidents as clients see them. Field names are the reference's.

use donjon_core::incident::{Explanation, Incident, IncidentStatus};
use serde_json::{Value, json};

use crate::{json as tree, time};

/// What only `GET /incidents/{id}` fills in.
pub struct RuleView {
    /// The name of the rule now.
    pub name: String,
    /// Whether it was deleted.
    pub deleted: bool,
}

/// The JSON of an incident.
pub fn to_json(incident: &Incident, rule: Option<&RuleView>) -> Value {
    json!({
        "id": incident.id.to_string(),
        "running_number": incident.running_number,
        "user_generated_name": incident.name,
        "ai_generated_name": null,
        "user_summary": null,
        "generated_summary": null,
        "assignee": incident.assignee,
        "severity": incident.severity.as_str(),
        "status": incident.status.as_str(),
        "start_time": incident.start.map(time::format),
        "last_seen_time": incident.last_seen.map(time::format),
        "end_time": incident.end.map(time::format),
        "creation_time": time::format(incident.created),
        "alerts_count": incident.members.count,
        "alert_sources": incident.sources,
        "services": incident.services,
        "is_predicted": true,
        "is_candidate": incident.visibility == donjon_core::incident::Visibility::Candidate,
        "is_visible": incident.visible(),
        "rule_fingerprint": incident.group_key.joined(),
        "group_key": incident.group_key.values(),
        "fingerprint": null,
        "same_incident_in_the_past_id": incident.past_incident.map(|id| id.to_string()),
        "merged_into_incident_id": incident.merged_into.map(|id| id.to_string()),
        "merged_by": null,
        "merged_at": null,
        "enrichments": {},
        "incident_type": "rule",
        "incident_application": null,
        "resolve_on": incident.resolve_on.as_str(),
        "rule_id": incident.rule.as_str(),
        "rule_name": rule.map_or(incident.rule_name.as_str(), |rule| rule.name.as_str()),
        "rule_version": incident.rule_version,
        "rule_is_deleted": rule.map(|rule| rule.deleted),
    })
}

/// The fields of an incident's JSON.
const FIELDS: [&str; 34] = [
    "id",
    "running_number",
    "user_generated_name",
    "ai_generated_name",
    "user_summary",
    "generated_summary",
    "assignee",
    "severity",
    "status",
    "start_time",
    "last_seen_time",
    "end_time",
    "creation_time",
    "alerts_count",
    "alert_sources",
    "services",
    "is_predicted",
    "is_candidate",
    "is_visible",
    "rule_fingerprint",
    "group_key",
    "fingerprint",
    "same_incident_in_the_past_id",
    "merged_into_incident_id",
    "merged_by",
    "merged_at",
    "enrichments",
    "incident_type",
    "incident_application",
    "resolve_on",
    "rule_id",
    "rule_name",
    "rule_version",
    "rule_is_deleted",
];
/// Names that the reference has for conditions, and the field each is.
const NAMES: [(&str, &str); 4] = [
    ("name", "user_generated_name"),
    ("summary", "user_summary"),
    ("sources", "alert_sources"),
    ("affectedServices", "services"),
];
const HAS_LINKED: &str = "hasLinkedIncident";

/// What a condition over incidents reads: the JSON, and the names that the reference has for conditions.
pub fn for_conditions(incident: &Incident) -> Value {
    let mut object = to_json(incident, None);
    if let Some(fields) = object.as_object_mut() {
        for (name, of) in NAMES {
            let value = fields.get(of).cloned().unwrap_or_default();
            fields.insert(name.into(), value);
        }
        fields.insert(HAS_LINKED.into(), incident.past_incident.is_some().into());
    }
    object
}

/// Everything that a condition over incidents may name.
pub fn names_for_conditions() -> Vec<String> {
    FIELDS
        .into_iter()
        .chain(NAMES.map(|(name, _)| name))
        .chain([HAS_LINKED])
        .map(str::to_owned)
        .collect()
}

/// Why an alert is in an incident.
pub fn explanation(why: &Explanation) -> Value {
    let values: serde_json::Map<String, Value> = why
        .values
        .iter()
        .map(|(path, value)| (path.clone(), tree::scalar_to_serde(value)))
        .collect();
    json!({
        "rule_id": why.rule.as_str(),
        "rule_version": why.rule_version,
        "event_id": why.event_id.as_str(),
        "branches": why.branches.iter().map(|(index, text)| json!({"index": index, "text": text})).collect::<Vec<_>>(),
        "group_key": why.group_key.values(),
        "values": values,
        "plugin": {"name": why.plugin.0, "version": why.plugin.1},
    })
}

/// Whether a status takes part in a listing by default: all do, as in the reference.
pub fn parse_status(text: &str) -> Option<IncidentStatus> {
    IncidentStatus::parse(text)
}
