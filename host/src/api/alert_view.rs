//! Alerts as clients see them: the stored document, what was computed for the event, and what enrichers and people laid
//! over it. All fields of the model are present, as the reference's clients expect.

use donjon_core::alert_state::{AlertState, StoredEvent};
use donjon_core::value::split_path;
use donjon_core::{Object, Value};
use donjon_store::journal::{Entry, EntryBody};
use serde_json::{Map, Value as Json, json};

use crate::{json as tree, time};

/// Fields of the model that are null unless something set them.
const NULL_FIELDS: [&str; 16] = [
    "environment",
    "service",
    "message",
    "description",
    "description_format",
    "note",
    "assignee",
    "imageUrl",
    "url",
    "duplicateReason",
    "incident",
    "startedAt",
    "providerId",
    "dismissUntil",
    "firingStartTime",
    "firingStartTimeSinceLastResolved",
];

/// Fields of the model that are false unless something set them.
const FALSE_FIELDS: [&str; 5] = [
    "dismissed",
    "deleted",
    "isFullDuplicate",
    "isPartialDuplicate",
    "isNoisy",
];

/// What is computed for one stored event.
#[derive(Clone, Copy)]
pub struct Shown<'a> {
    /// The alert.
    pub state: &'a AlertState,
    /// The event: the newest one, or an older one of the history.
    pub event: &'a StoredEvent,
    /// Whether it is the newest: only that one carries what people and enrichers laid over it.
    pub newest: bool,
}

/// The JSON of an event. `entry` is none once its journal day was freed: then only what is remembered is shown.
pub fn to_json(shown: Shown<'_>, entry: Option<Entry>, incidents: &[String]) -> Json {
    let (mut attributes, event_id, provider, key) = match entry.map(|entry| entry.body) {
        Some(EntryBody::Alert {
            event_id,
            provider,
            api_key_name,
            document,
            ..
        }) => {
            let attributes = match tree::parse_bytes(&document) {
                Ok(Value::Object(attributes)) => attributes,
                _ => Object::new(),
            };
            (attributes, event_id.as_str().to_owned(), provider, Some(api_key_name))
        }
        _ => (
            remembered(shown.state),
            shown.state.last_event_id.as_str().to_owned(),
            String::new(),
            None,
        ),
    };
    if shown.newest {
        lay_over(&mut attributes, shown.state);
    }
    let mut fields = match tree::to_serde(&Value::Object(attributes)) {
        Json::Object(fields) => fields,
        _ => Map::new(),
    };
    add_computed(&mut fields, shown, incidents);
    fields.insert("event_id".into(), event_id.into());
    fields.insert(
        "providerType".into(),
        if provider.is_empty() {
            "keep".into()
        } else {
            provider.into()
        },
    );
    fields.insert("apiKeyRef".into(), key.into());
    Json::Object(fields)
}

fn remembered(state: &AlertState) -> Object {
    let text = |text: &str| Value::text(text);
    [
        ("name".to_owned(), text(state.fingerprint.as_str())),
        ("fingerprint".to_owned(), text(state.fingerprint.as_str())),
        ("severity".to_owned(), text(state.severity.as_str())),
        ("labels".to_owned(), Value::Object(Object::new())),
        ("source".to_owned(), Value::List(Vec::new())),
    ]
    .into_iter()
    .collect()
}

fn lay_over(attributes: &mut Object, state: &AlertState) {
    for (path, value) in &state.enrichments {
        let keys = split_path(path);
        match value.as_ref().and_then(|text| tree::parse(text).ok()) {
            Some(value) => {
                attributes.set_at(&keys, value);
            }
            None => attributes.remove_at(&keys),
        }
    }
    attributes.set("lastReceived", Value::text(time::format(state.last_received)));
}

fn add_computed(fields: &mut Map<String, Json>, shown: Shown<'_>, incidents: &[String]) {
    let (state, event) = (shown.state, shown.event);
    let status = if shown.newest { state.status() } else { event.status };
    fields.insert("status".into(), status.as_str().into());
    fields.insert("firingCounter".into(), event.firing_counter.into());
    fields.insert("unresolvedCounter".into(), event.unresolved_counter.into());
    fields.insert("firingStartTime".into(), event.firing_start.map(time::format).into());
    let since = event.firing_start_since_resolved.map(time::format);
    fields.insert("firingStartTimeSinceLastResolved".into(), since.into());
    fields.insert("pushed".into(), true.into());
    fields.insert("accepted".into(), time::format(event.accepted).into());
    // What `POST /alerts/rejudge` asks for.
    fields.insert("journal_position".into(), event.seq.0.into());
    fields.insert(
        "isPartialDuplicate".into(),
        (state.event_count > 1 && shown.newest).into(),
    );
    if state.event_count > 1 && fields.get("startedAt").is_none_or(Json::is_null) {
        fields.insert("startedAt".into(), time::format(state.first_accepted).into());
    }
    if shown.newest {
        fields.insert("alert_hash".into(), donjon_core::digest::hex(&state.digest.0).into());
        fields.insert("duplicates".into(), state.duplicates.into());
        fields.insert("plugin_failure".into(), state.plugin_failure.clone().into());
    }
    let enriched: Vec<&str> = state
        .enrichments
        .iter()
        .map(|(path, _)| path.as_str())
        .filter(|_| shown.newest)
        .collect();
    fields.insert("enriched_fields".into(), json!(enriched));
    if !incidents.is_empty() {
        fields.insert("incident".into(), incidents.join(",").into());
    }
    for field in NULL_FIELDS {
        fields.entry(field).or_insert(Json::Null);
    }
    for field in FALSE_FIELDS {
        fields.entry(field).or_insert(Json::Bool(false));
    }
}
