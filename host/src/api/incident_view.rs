//! Incidents as clients see them. Field names are the reference's.

use donjon_core::incident::{Explanation, Incident, IncidentStatus, Visibility};
use serde_json::{Map, Value, json};

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
    let mut fields: Map<String, Value> = FIELDS
        .into_iter()
        .map(|name| (name.to_owned(), field(incident, name)))
        .collect();
    if let Some(rule) = rule {
        fields.insert("rule_name".into(), rule.name.clone().into());
        fields.insert("rule_is_deleted".into(), rule.deleted.into());
    }
    Value::Object(fields)
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

/// One field of an incident's JSON; null for those that nothing fills, and for names that are none.
fn field(incident: &Incident, name: &str) -> Value {
    let id = |id: Option<donjon_core::IncidentId>| id.map(|id| id.to_string()).into();
    match name {
        "id" => incident.id.to_string().into(),
        "running_number" => incident.running_number.into(),
        "user_generated_name" => incident.name.as_str().into(),
        "assignee" => incident.assignee.as_deref().into(),
        "severity" => incident.severity.as_str().into(),
        "status" => incident.status.as_str().into(),
        "start_time" => incident.start.map(time::format).into(),
        "last_seen_time" => incident.last_seen.map(time::format).into(),
        "end_time" => incident.end.map(time::format).into(),
        "creation_time" => time::format(incident.created).into(),
        "alerts_count" => incident.members.count.into(),
        "alert_sources" => incident.sources.clone().into(),
        "services" => incident.services.clone().into(),
        "is_predicted" => true.into(),
        "is_candidate" => (incident.visibility == Visibility::Candidate).into(),
        "is_visible" => incident.visible().into(),
        "rule_fingerprint" => incident.group_key.joined().into(),
        "group_key" => incident.group_key.values().into(),
        "same_incident_in_the_past_id" => id(incident.past_incident),
        "merged_into_incident_id" => id(incident.merged_into),
        "enrichments" => json!({}),
        "incident_type" => "rule".into(),
        "resolve_on" => incident.resolve_on.as_str().into(),
        "rule_id" => incident.rule.as_str().into(),
        "rule_name" => incident.rule_name.as_str().into(),
        "rule_version" => incident.rule_version.into(),
        _ => Value::Null,
    }
}

/// Names that the reference has for conditions, and the field each is.
const NAMES: [(&str, &str); 4] = [
    ("name", "user_generated_name"),
    ("summary", "user_summary"),
    ("sources", "alert_sources"),
    ("affectedServices", "services"),
];
const HAS_LINKED: &str = "hasLinkedIncident";

/// What a condition over incidents reads at a name: a field, or what the reference calls otherwise in conditions.
pub fn for_condition(incident: &Incident, name: &str) -> Value {
    if name == HAS_LINKED {
        return incident.past_incident.is_some().into();
    }
    let known = NAMES.into_iter().find(|(known, _)| *known == name);
    field(incident, known.map_or(name, |(_, field)| field))
}

/// Everything that a condition over incidents may name.
pub fn names_for_conditions() -> impl Iterator<Item = &'static str> {
    FIELDS
        .into_iter()
        .chain(NAMES.map(|(name, _)| name))
        .chain([HAS_LINKED])
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
