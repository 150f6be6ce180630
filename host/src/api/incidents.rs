//! Incidents: list with every filter honoured, one, its alerts with the explanation, and what people do to it.

use std::ops::ControlFlow;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use donjon_core::command::{Command, CommandOutcome};
use donjon_core::incident::{Incident, Visibility};
use donjon_core::state::StateView;
use donjon_core::{IncidentId, Severity, TenantId};
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Page;
use super::alerts::{blocking, newest};
use super::incident_view::{self, RuleView, explanation, for_conditions, parse_status, to_json};
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::{App, Shared};

/// Items of a page unless the client says otherwise, as in the reference.
const DEFAULT_LIMIT: usize = 25;

/// The routes of this module.
pub fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(one))
        .routes(routes!(alerts))
        .routes(routes!(set_status))
        .routes(routes!(confirm))
}

/// What a list is narrowed to. A list parameter may be repeated.
#[derive(Default)]
struct Filter {
    page: Option<Page>,
    visible: Option<bool>,
    candidate: Option<bool>,
    /// Candidates are kept although they are hidden.
    candidates_too: bool,
    predicted: Option<bool>,
    statuses: Vec<String>,
    severities: Vec<Severity>,
    assignees: Vec<String>,
    sources: Vec<String>,
    services: Vec<String>,
    condition: Option<donjon_expr::Expression>,
    sorting: Option<Sorting>,
}

#[derive(Clone, Copy)]
struct Sorting {
    by: SortBy,
    descending: bool,
}

#[derive(Clone, Copy)]
enum SortBy {
    Created,
    Start,
    LastSeen,
    Severity,
    Status,
    Alerts,
}

/// Incidents, oldest first unless sorted otherwise.
#[utoipa::path(get, path = "/incidents", tag = "incidents", params(
        ("limit" = Option<usize>, Query), ("offset" = Option<usize>, Query),
        ("visible" = Option<String>, Query, description = "true (default unless candidates are asked for), false or any"),
        ("candidate" = Option<String>, Query, description = "true, false (default) or any"),
        ("status" = Option<Vec<String>>, Query), ("severity" = Option<Vec<String>>, Query),
        ("assignees" = Option<Vec<String>>, Query), ("sources" = Option<Vec<String>>, Query),
        ("affected_services" = Option<Vec<String>>, Query), ("cel" = Option<String>, Query),
        ("sorting" = Option<String>, Query, description = "creation_time, start_time, last_seen_time, severity, status, alerts_count; `-` before it for descending")),
    responses((status = 200, body = Object), (status = 400, description = "Bad filter")))]
async fn list(State(app): State<Shared>, caller: Caller, RawQuery(query): RawQuery) -> Result<Json<Value>, ApiError> {
    caller.may_read()?;
    let filter = Filter::parse(query.as_deref().unwrap_or_default())?;
    blocking(move || {
        let mut found = Vec::new();
        app.state.incidents(&caller.tenant, |incident| {
            if filter.keeps(&incident) {
                found.push(incident);
            }
            ControlFlow::Continue(())
        })?;
        sort(&mut found, filter.sorting);
        let count = found.len();
        let page = filter.page.unwrap_or(Page {
            limit: None,
            offset: None,
        });
        let (limit, offset, items) = page.of(found, DEFAULT_LIMIT);
        let items: Vec<Value> = items.iter().map(|incident| to_json(incident, None)).collect();
        Ok(Json(
            json!({"limit": limit, "offset": offset, "count": count, "items": items}),
        ))
    })
    .await
}

/// One incident.
#[utoipa::path(get, path = "/incidents/{id}", tag = "incidents", params(("id" = String, Path)),
    responses((status = 200, body = Object), (status = 404)))]
async fn one(State(app): State<Shared>, caller: Caller, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    caller.may_read()?;
    blocking(move || view(&app, &caller.tenant, parse_id(&id)?).map(Json)).await
}

/// The alerts of an incident, newest first, each with the reason why it belongs there.
#[utoipa::path(get, path = "/incidents/{id}/alerts", tag = "incidents", params(("id" = String, Path), Page,
        ("include_unlinked" = Option<bool>, Query)),
    responses((status = 200, body = Object), (status = 404)))]
async fn alerts(
    State(app): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    axum::extract::Query(page): axum::extract::Query<Page>,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    caller.may_read()?;
    let unlinked_too = query
        .unwrap_or_default()
        .split('&')
        .any(|pair| pair == "include_unlinked=true");
    blocking(move || {
        let id = parse_id(&id)?;
        find(&app, &caller.tenant, id)?;
        let mut links = app.state.links(&caller.tenant, id)?;
        links.retain(|link| unlinked_too || link.unlinked.is_none());
        let count = links.len();
        links.reverse();
        let (limit, offset, links) = page.of(links, DEFAULT_LIMIT);
        let mut states = Vec::with_capacity(links.len());
        for link in &links {
            states.extend(app.state.alert(&caller.tenant, &link.fingerprint)?);
        }
        let mut items = newest(&app, &caller.tenant, &states)?;
        for item in items.iter_mut().filter_map(Value::as_object_mut) {
            let link = item
                .get("fingerprint")
                .and_then(Value::as_str)
                .and_then(|name| links.iter().find(|link| link.fingerprint.as_str() == name));
            if let Some(link) = link {
                item.insert("is_created_by_ai".into(), false.into());
                item.insert("linked_at".into(), crate::time::format(link.joined).into());
                item.insert("unlinked_at".into(), link.unlinked.map(crate::time::format).into());
                item.insert("explanation".into(), explanation(&link.explanation));
            }
        }
        Ok(Json(
            json!({"limit": limit, "offset": offset, "count": count, "items": items}),
        ))
    })
    .await
}

/// Set the status of an incident. Resolving or acknowledging also marks its alerts, until their next event.
#[utoipa::path(post, path = "/incidents/{id}/status", tag = "incidents", params(("id" = String, Path)),
    request_body = Object, responses((status = 200, body = Object), (status = 404), (status = 422)))]
async fn set_status(
    State(app): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    body: axum::body::Bytes,
) -> Result<Json<Value>, ApiError> {
    caller.may_change_incidents()?;
    let incident = parse_id(&id)?;
    let body: Value = serde_json::from_slice(&body)
        .map_err(|error| ApiError::unprocessable("status", format!("malformed JSON: {error}")))?;
    let known = "must be one of firing, acknowledged, resolved, merged, deleted";
    let status = body
        .get("status")
        .and_then(Value::as_str)
        .and_then(parse_status)
        .ok_or_else(|| ApiError::unprocessable("status", known))?;
    act(app, caller, incident, Command::SetIncidentStatus { incident, status }).await
}

/// Approve a candidate: it becomes visible.
#[utoipa::path(post, path = "/incidents/{id}/confirm", tag = "incidents", params(("id" = String, Path)),
    responses((status = 200, body = Object), (status = 404)))]
async fn confirm(State(app): State<Shared>, caller: Caller, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    caller.may_change_incidents()?;
    let incident = parse_id(&id)?;
    act(app, caller, incident, Command::ConfirmIncident { incident }).await
}

async fn act(app: Shared, caller: Caller, id: IncidentId, command: Command) -> Result<Json<Value>, ApiError> {
    match app.command(&caller, command).await? {
        CommandOutcome::Applied => blocking(move || view(&app, &caller.tenant, id).map(Json)).await,
        CommandOutcome::NotACandidate => Err(ApiError::not_found("Incident candidate not found")),
        _ => Err(ApiError::not_found("Incident not found")),
    }
}

fn parse_id(id: &str) -> Result<IncidentId, ApiError> {
    IncidentId::parse(id).ok_or_else(|| ApiError::not_found("Incident not found"))
}

fn find(app: &App, tenant: &TenantId, id: IncidentId) -> Result<Incident, ApiError> {
    app.state
        .incident(tenant, id)?
        .ok_or_else(|| ApiError::not_found("Incident not found"))
}

fn view(app: &App, tenant: &TenantId, id: IncidentId) -> Result<Value, ApiError> {
    let incident = find(app, tenant, id)?;
    let rule = app.state.rule(tenant, &incident.rule)?;
    let rule = rule.map(|rule| RuleView {
        name: rule.draft.name,
        deleted: rule.deleted,
    });
    Ok(to_json(&incident, rule.as_ref()))
}

impl Filter {
    fn parse(query: &str) -> Result<Filter, ApiError> {
        let uri: axum::http::Uri = format!("/?{query}")
            .parse()
            .map_err(|_| ApiError::bad_request("the query does not parse"))?;
        let pairs: axum::extract::Query<Vec<(String, String)>> =
            axum::extract::Query::try_from_uri(&uri).map_err(|error| ApiError::bad_request(error.to_string()))?;
        let mut filter = Filter {
            candidate: Some(false),
            ..Filter::default()
        };
        let (mut page, mut visible) = (
            Page {
                limit: None,
                offset: None,
            },
            None,
        );
        for (name, value) in pairs.0 {
            match name.as_str() {
                "limit" => page.limit = Some(number("limit", &value)?),
                "offset" => page.offset = Some(number("offset", &value)?),
                "visible" => visible = Some(tri("visible", &value)?),
                "candidate" => filter.candidate = tri("candidate", &value)?,
                "predicted" if !value.is_empty() => filter.predicted = tri("predicted", &value)?,
                "status" => filter.statuses.extend(split(&value)),
                "severity" => filter.severities.extend(severities(&value)?),
                "assignees" => filter.assignees.extend(split(&value)),
                "sources" | "alert_sources" => filter.sources.extend(split(&value)),
                "affected_services" | "services" => filter.services.extend(split(&value)),
                "sorting" => filter.sorting = Some(sorting(&value)?),
                "cel" if !value.trim().is_empty() => filter.condition = Some(condition(&value)?),
                _ => {}
            }
        }
        if let Some(bad) = filter.statuses.iter().find(|text| parse_status(text).is_none()) {
            return Err(ApiError::bad_request(format!("unknown status: {bad}")));
        }
        // Candidates are hidden until confirmed: whoever asks for them wants to see them, and nothing else that is hidden.
        filter.candidates_too = visible.is_none() && filter.candidate != Some(false);
        filter.visible = visible.unwrap_or(Some(true));
        filter.page = Some(page);
        Ok(filter)
    }

    fn keeps(&self, incident: &Incident) -> bool {
        let any =
            |wanted: &[String], have: &[String]| wanted.is_empty() || wanted.iter().any(|text| have.contains(text));
        let among = |wanted: &[String], have: Option<&str>| {
            wanted.is_empty() || have.is_some_and(|have| wanted.iter().any(|text| text == have))
        };
        let is_candidate = incident.visibility == Visibility::Candidate;
        let shown = self.visible.is_none_or(|visible| incident.visible() == visible);
        (shown || (self.candidates_too && is_candidate))
            && self.candidate.is_none_or(|candidate| is_candidate == candidate)
            // All incidents so far are made by rules.
            && self.predicted != Some(false)
            && among(&self.statuses, Some(incident.status.as_str()))
            && (self.severities.is_empty() || self.severities.contains(&incident.severity))
            && among(&self.assignees, incident.assignee.as_deref())
            && any(&self.sources, &incident.sources)
            && any(&self.services, &incident.services)
            && self
                .condition
                .as_ref()
                .is_none_or(|condition| super::cel::matches(condition, &for_conditions(incident)))
    }
}

fn split(value: &str) -> impl Iterator<Item = String> + '_ {
    value
        .split(',')
        .map(str::trim)
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}

fn number(name: &str, value: &str) -> Result<usize, ApiError> {
    value
        .parse()
        .map_err(|_| ApiError::bad_request(format!("{name} must be a whole number, found: {value}")))
}

fn tri(name: &str, value: &str) -> Result<Option<bool>, ApiError> {
    match value {
        "true" => Ok(Some(true)),
        "false" => Ok(Some(false)),
        "any" => Ok(None),
        _ => Err(ApiError::bad_request(format!(
            "{name} must be true, false or any, found: {value}"
        ))),
    }
}

fn severities(value: &str) -> Result<Vec<Severity>, ApiError> {
    let parse =
        |text: String| Severity::parse(&text).ok_or_else(|| ApiError::bad_request(format!("unknown severity: {text}")));
    split(value).map(parse).collect()
}

/// Names less alike than this are not suggested.
const LIKE: f64 = 0.7;

fn condition(text: &str) -> Result<donjon_expr::Expression, ApiError> {
    let condition = compiled(text)?;
    let names = incident_view::names_for_conditions();
    for column in condition.columns() {
        let first = donjon_core::value::split_path(column)
            .into_iter()
            .next()
            .unwrap_or_default();
        if names.contains(&first) {
            continue;
        }
        let likeness = |name: &str| strsim::jaro_winkler(name, &first);
        let near = names.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
        let near = near.filter(|near| likeness(near) > LIKE);
        let hint = near.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
        return Err(ApiError::bad_request(format!(
            "Error parsing CEL expression: incidents have no field {first}{hint}"
        )));
    }
    Ok(condition)
}

fn compiled(text: &str) -> Result<donjon_expr::Expression, ApiError> {
    donjon_expr::Expression::compile(text).map_err(|found| {
        let first = found
            .first()
            .map(|d| format!("line {}, column {}: {}", d.line, d.column, d.message));
        ApiError::bad_request(format!("Error parsing CEL expression: {}", first.unwrap_or_default()))
    })
}

fn sorting(text: &str) -> Result<Sorting, ApiError> {
    let (descending, name) = text.strip_prefix('-').map_or((false, text), |name| (true, name));
    let by = match name {
        "creation_time" => SortBy::Created,
        "start_time" => SortBy::Start,
        "last_seen_time" => SortBy::LastSeen,
        "severity" => SortBy::Severity,
        "status" => SortBy::Status,
        "alerts_count" => SortBy::Alerts,
        _ => return Err(ApiError::bad_request(format!("unknown sorting: {text}"))),
    };
    Ok(Sorting { by, descending })
}

/// Sorts; equal ones stay in the order of their creation.
fn sort(incidents: &mut [Incident], sorting: Option<Sorting>) {
    incidents.sort_by_key(|incident| incident.running_number);
    let Some(sorting) = sorting else { return };
    incidents.sort_by(|a, b| {
        let order = match sorting.by {
            SortBy::Created => a.running_number.cmp(&b.running_number),
            SortBy::Start => a.start.cmp(&b.start),
            SortBy::LastSeen => a.last_seen.cmp(&b.last_seen),
            SortBy::Severity => a.severity.cmp(&b.severity),
            SortBy::Status => a.status.as_str().cmp(b.status.as_str()),
            SortBy::Alerts => a.members.count.cmp(&b.members.count),
        };
        if sorting.descending { order.reverse() } else { order }
    });
}
