//! Incidents: list with every filter honoured, one, its alerts with the explanation, and what people do to it.

use std::cmp::Reverse;
use std::ops::ControlFlow;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::response::Response;
use donjon_core::command::{Command, CommandOutcome, Guard};
use donjon_core::incident::{Incident, Visibility};
use donjon_core::state::StateView;
use donjon_core::{IncidentId, Severity, TenantId, Timestamp};
use donjon_store::Top;
use serde_json::Value;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::alerts::print_newest;
use super::cel::Condition;
use super::incident_view::{RuleView, explanation, parse_status, to_json};
use super::page::{Bounds, Cut, Items, Page};
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::guards::Guards;
use crate::http::reads::{Pace, Work};
use crate::http::{App, Shared};

/// Items of a page unless the client says otherwise, as in the reference.
const DEFAULT_LIMIT: usize = 25;
/// Incidents between two looks at whether anybody still waits for the list.
const LOOKS_PER_CHECK: u32 = 64;

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
    page: Page,
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
    condition: Option<Condition>,
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

/// Incidents, oldest first unless sorted otherwise. A page that ends early has `partial` and `next_offset`.
#[utoipa::path(get, path = "/incidents", tag = "incidents", params(
        ("limit" = Option<usize>, Query), ("offset" = Option<usize>, Query),
        ("visible" = Option<String>, Query, description = "true (default unless candidates are asked for), false or any"),
        ("candidate" = Option<String>, Query, description = "true, false (default) or any"),
        ("status" = Option<Vec<String>>, Query), ("severity" = Option<Vec<String>>, Query),
        ("assignees" = Option<Vec<String>>, Query), ("sources" = Option<Vec<String>>, Query),
        ("affected_services" = Option<Vec<String>>, Query), ("cel" = Option<String>, Query),
        ("sorting" = Option<String>, Query, description = "creation_time, start_time, last_seen_time, severity, status, alerts_count; `-` before it for descending")),
    responses((status = 200, body = Object), (status = 400, description = "Bad filter")))]
async fn list(State(app): State<Shared>, caller: Caller, RawQuery(query): RawQuery) -> Result<Response, ApiError> {
    caller.may_read()?;
    let reader = Arc::clone(&app);
    let mine = app.reads.of(&caller.tenant);
    let read = move |pace: &Pace| {
        // Here rather than before: a condition takes a while to compile.
        let mut filter = Filter::parse(query.as_deref().unwrap_or_default(), pace)?;
        let page = filter.page.bounds(DEFAULT_LIMIT)?;
        let (found, count) = find_page(&reader, &caller.tenant, &mut filter, page, pace)?;
        let mut items = Items::new(&reader);
        for id in found.into_iter().skip(page.offset) {
            if !items.is_empty() && pace.is_over() {
                let _ = items.cut(Cut::Time);
                break;
            }
            let incident = reader.state.incident(&caller.tenant, id)?;
            if incident.is_some_and(|incident| items.push(&to_json(&incident, None)).is_break()) {
                break;
            }
        }
        items.end_of(page);
        Ok(items.into_object(page, count))
    };
    mine.answer(Work::Scan, read).await
}

/// The incidents of a page and those before it, and how many there are in all.
fn find_page(
    app: &App,
    tenant: &TenantId,
    filter: &mut Filter,
    page: Bounds,
    pace: &Pace,
) -> Result<(Vec<IncidentId>, usize), ApiError> {
    let (mut found, mut count, mut looked_at) = (Top::new(page.keep()), 0, 0_u32);
    let mut failure = None;
    app.state.incidents(tenant, |incident| {
        looked_at += 1;
        let kept = match filter.keeps(&incident) {
            _ if looked_at.is_multiple_of(LOOKS_PER_CHECK) && pace.is_over() => pace.check().map(|()| false),
            kept => kept,
        };
        match kept {
            Ok(false) => {}
            Ok(true) => {
                count += 1;
                found.offer(rank(&incident, filter.sorting), || incident.id);
            }
            Err(error) => {
                failure = Some(error);
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    })?;
    match failure {
        Some(error) => Err(error),
        None => Ok((found.into_values(), count)),
    }
}

/// One incident.
#[utoipa::path(get, path = "/incidents/{id}", tag = "incidents", params(("id" = String, Path)),
    responses((status = 200, body = Object), (status = 404)))]
async fn one(State(app): State<Shared>, caller: Caller, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    caller.may_read()?;
    view(app, caller.tenant, parse_id(&id)?, Work::LookUp).await.map(Json)
}

/// The alerts of an incident, newest first, each with the reason why it belongs there. A page that ends early has `partial` and
/// `next_offset`.
#[utoipa::path(get, path = "/incidents/{id}/alerts", tag = "incidents", params(("id" = String, Path), Page,
        ("include_unlinked" = Option<bool>, Query)),
    responses((status = 200, body = Object), (status = 404)))]
async fn alerts(
    State(app): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    axum::extract::Query(page): axum::extract::Query<Page>,
    RawQuery(query): RawQuery,
) -> Result<Response, ApiError> {
    caller.may_read()?;
    let page = page.bounds(DEFAULT_LIMIT)?;
    let unlinked_too = form_urlencoded::parse(query.unwrap_or_default().as_bytes())
        .any(|(name, value)| name == "include_unlinked" && value == "true");
    let reader = Arc::clone(&app);
    let mine = app.reads.of(&caller.tenant);
    let read = move |pace: &Pace| {
        let (app, tenant, id) = (&reader, &caller.tenant, parse_id(&id)?);
        find(app, tenant, id)?;
        let members = app
            .state
            .newest_members(tenant, id, unlinked_too, page.keep(), &mut || pace.flow())?;
        pace.check()?;
        let mut items = Items::new(app);
        let of_page = members.fingerprints.get(page.offset..).unwrap_or_default();
        print_newest(app, tenant, pace, &mut items, of_page, |fingerprint, item| {
            // Read with its alert, not all at once: an explanation is as long as the condition it tells of.
            if let Some(link) = app.state.link(tenant, id, fingerprint)? {
                item.insert("is_created_by_ai".into(), false.into());
                item.insert("linked_at".into(), crate::time::format(link.joined).into());
                item.insert("unlinked_at".into(), link.unlinked.map(crate::time::format).into());
                item.insert("explanation".into(), explanation(&link.explanation));
            }
            Ok(())
        })?;
        items.end_of(page);
        Ok(items.into_object(page, members.count))
    };
    mine.answer(Work::Scan, read).await
}

/// Set the status of an incident. Resolving or acknowledging also marks its alerts, until their next event.
#[utoipa::path(post, path = "/incidents/{id}/status", tag = "incidents",
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    request_body = Object, responses((status = 200, body = Object), (status = 404), (status = 422)))]
async fn set_status(
    State(app): State<Shared>,
    caller: Caller,
    guards: Guards,
    Path(id): Path<String>,
    body: axum::body::Bytes,
) -> Result<Json<Value>, ApiError> {
    caller.may_change_incidents()?;
    let guard = guards.once(&body)?;
    let incident = parse_id(&id)?;
    let body: Value = serde_json::from_slice(&body)
        .map_err(|error| ApiError::unprocessable("status", format!("malformed JSON: {error}")))?;
    let known = "must be one of firing, acknowledged, resolved, merged, deleted";
    let status = body
        .get("status")
        .and_then(Value::as_str)
        .and_then(parse_status)
        .ok_or_else(|| ApiError::unprocessable("status", known))?;
    act(
        app,
        caller,
        guard,
        incident,
        Command::SetIncidentStatus { incident, status },
    )
    .await
}

/// Approve a candidate: it becomes visible.
#[utoipa::path(post, path = "/incidents/{id}/confirm", tag = "incidents",
    params(("id" = String, Path), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Object), (status = 404)))]
async fn confirm(
    State(app): State<Shared>,
    caller: Caller,
    guards: Guards,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    caller.may_change_incidents()?;
    let guard = guards.once(&[])?;
    let incident = parse_id(&id)?;
    act(app, caller, guard, incident, Command::ConfirmIncident { incident }).await
}

async fn act(
    app: Shared,
    caller: Caller,
    guard: Guard,
    id: IncidentId,
    command: Command,
) -> Result<Json<Value>, ApiError> {
    match app.command(&caller, guard, command).await? {
        CommandOutcome::Applied => view(app, caller.tenant, id, Work::Outcome).await.map(Json),
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

async fn view(app: Shared, tenant: TenantId, id: IncidentId, work: Work) -> Result<Value, ApiError> {
    let reader = Arc::clone(&app);
    let mine = app.reads.of(&tenant);
    let read = move |_: &Pace| {
        let incident = find(&reader, &tenant, id)?;
        let rule = reader.state.rule(&tenant, &incident.rule)?;
        let rule = rule.map(|rule| RuleView {
            name: rule.draft.name,
            deleted: rule.deleted,
        });
        Ok(to_json(&incident, rule.as_ref()))
    };
    mine.run(work, read).await
}

impl Filter {
    fn parse(query: &str, pace: &Pace) -> Result<Filter, ApiError> {
        let mut filter = Filter {
            candidate: Some(false),
            ..Filter::default()
        };
        let mut visible = None;
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                "limit" => filter.page.limit = Some(number("limit", &value)?),
                "offset" => filter.page.offset = Some(number("offset", &value)?),
                "visible" => visible = Some(tri("visible", &value)?),
                "candidate" => filter.candidate = tri("candidate", &value)?,
                "predicted" if !value.is_empty() => filter.predicted = tri("predicted", &value)?,
                "status" => filter.statuses.extend(split(&value)),
                "severity" => filter.severities.extend(severities(&value)?),
                "assignees" => filter.assignees.extend(split(&value)),
                "sources" | "alert_sources" => filter.sources.extend(split(&value)),
                "affected_services" | "services" => filter.services.extend(split(&value)),
                "sorting" => filter.sorting = Some(sorting(&value)?),
                "cel" if !value.trim().is_empty() => filter.condition = Some(Condition::new(&value, pace)?),
                _ => {}
            }
        }
        if let Some(bad) = filter.statuses.iter().find(|text| parse_status(text).is_none()) {
            return Err(ApiError::bad_request(format!("unknown status: {bad}")));
        }
        // Candidates are hidden until confirmed: whoever asks for them wants to see them, and nothing else that is hidden.
        filter.candidates_too = visible.is_none() && filter.candidate != Some(false);
        filter.visible = visible.unwrap_or(Some(true));
        Ok(filter)
    }

    fn keeps(&mut self, incident: &Incident) -> Result<bool, ApiError> {
        let any =
            |wanted: &[String], have: &[String]| wanted.is_empty() || wanted.iter().any(|text| have.contains(text));
        let among = |wanted: &[String], have: Option<&str>| {
            wanted.is_empty() || have.is_some_and(|have| wanted.iter().any(|text| text == have))
        };
        let is_candidate = incident.visibility == Visibility::Candidate;
        let shown = self.visible.is_none_or(|visible| incident.visible() == visible);
        let kept = (shown || (self.candidates_too && is_candidate))
            && self.candidate.is_none_or(|candidate| is_candidate == candidate)
            // All incidents so far are made by rules.
            && self.predicted != Some(false)
            && among(&self.statuses, Some(incident.status.as_str()))
            && (self.severities.is_empty() || self.severities.contains(&incident.severity))
            && among(&self.assignees, incident.assignee.as_deref())
            && any(&self.sources, &incident.sources)
            && any(&self.services, &incident.services);
        match &mut self.condition {
            // Last, because it is the dearest.
            Some(condition) if kept => condition.matches(incident),
            _ => Ok(kept),
        }
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

/// What an incident is sorted by.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Number(u64),
    Time(Option<Timestamp>),
    Severity(Severity),
    Status(&'static str),
}

/// The place of an incident in a list. Equal ones stay in the order of their creation.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    up: Option<Key>,
    down: Option<Reverse<Key>>,
    created: u64,
}

fn rank(incident: &Incident, sorting: Option<Sorting>) -> Rank {
    let key = |by| match by {
        SortBy::Created => Key::Number(incident.running_number),
        SortBy::Start => Key::Time(incident.start),
        SortBy::LastSeen => Key::Time(incident.last_seen),
        SortBy::Severity => Key::Severity(incident.severity),
        SortBy::Status => Key::Status(incident.status.as_str()),
        SortBy::Alerts => Key::Number(u64::from(incident.members.count)),
    };
    let (up, down) = match sorting {
        None => (None, None),
        Some(Sorting { by, descending: false }) => (Some(key(by)), None),
        Some(Sorting { by, descending: true }) => (None, Some(Reverse(key(by)))),
    };
    Rank {
        up,
        down,
        created: incident.running_number,
    }
}
