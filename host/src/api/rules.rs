//! Rules: create, read, replace, delete, and check without storing. Every change is a command in the journal. The entity tag
//! of a rule is its version; that of the list, how often rules of the tenant were changed.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use donjon_core::command::{Command, CommandOutcome, Guard};
use donjon_core::limits::MAX_STATED_RULE_ID_BYTES;
use donjon_core::rule::RuleDraft;
use donjon_core::state::{StateView, TenantState};
use donjon_core::{RuleId, TenantId};
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::page::{Cut, Items, MAX_PAGE_ITEMS, Page};
use super::rule_apply;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::guards::{Guards, entity_tag};
use crate::http::reads::{Pace, Work};
use crate::http::{App, Shared};
use crate::rule_changes::Refusal;
use crate::rules::{draft_from_json, to_json};

/// The routes of this module.
pub fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(one, replace, delete))
        .routes(routes!(versions))
        .routes(routes!(validate))
        .merge(rule_apply::routes())
}

/// All rules with their counters, in the order of their creation. The `ETag` of the list is for `If-Match` of
/// `POST /rules/apply`, that of a rule is its `version` in quotes. A list that ends early says so, as that of `GET /alerts`, and goes on with
/// `offset`.
#[utoipa::path(get, path = "/rules", tag = "rules", params(Page), responses((status = 200, body = Vec<Object>)))]
async fn list(State(app): State<Shared>, caller: Caller, Query(page): Query<Page>) -> Result<Response, ApiError> {
    caller.may_read()?;
    let page = page.bounds(MAX_PAGE_ITEMS)?;
    let reader = Arc::clone(&app);
    let mine = app.reads.of(&caller.tenant);
    let read = move |pace: &Pace| {
        let (state, tenant) = (&reader.state, &caller.tenant);
        // Before the rules: what is changed while they are read is not taken for seen.
        let TenantState {
            offered, rules_version, ..
        } = state.tenant(tenant)?;
        let ids = state.rule_ids(tenant, page.keep() + 1, &mut || pace.flow())?;
        pace.check()?;
        let mut items = Items::new(&reader);
        for (at, id) in ids.iter().enumerate().skip(page.offset) {
            if at == page.keep() {
                let _ = items.cut(Cut::Items);
                break;
            }
            if !items.is_empty() && pace.is_over() {
                let _ = items.cut(Cut::Time);
                break;
            }
            let Some(rule) = state.rule(tenant, id)? else { continue };
            let mut view = to_json(&rule, &state.rule_stats(tenant, id)?, offered);
            tell_trouble(&reader, tenant, &rule, &mut view);
            if items.push(&view).is_break() {
                break;
            }
        }
        let mut response = items.into_list(page.offset);
        response.headers_mut().insert(header::ETAG, entity_tag(rules_version));
        Ok(response)
    };
    mine.answer(Work::Scan, read).await
}

/// Create a rule.
#[utoipa::path(post, path = "/rules", tag = "rules", request_body = Object, params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Object), (status = 400, description = "A required value is empty"),
        (status = 422, description = "A field does not fit; with line and column for conditions")))]
async fn create(State(app): State<Shared>, caller: Caller, guards: Guards, body: Bytes) -> Result<Tagged, ApiError> {
    caller.may_change()?;
    let guard = guards.once(&body)?;
    let draft = draft_of(&app, &caller.tenant, parse(&body)?).await?;
    let id = RuleId::from(uuid::Uuid::new_v4().to_string());
    store(app, caller, guard, Command::CreateRule { id, draft }).await
}

/// A rule, and its version where HTTP has a place for it.
type Tagged = ([(HeaderName, HeaderValue); 1], Json<Value>);

/// One rule. Its `ETag` is for `If-Match` of a change.
#[utoipa::path(get, path = "/rules/{id}", tag = "rules", params(("id" = String, Path)), responses((status = 200, body = Object), (status = 404)))]
async fn one(State(app): State<Shared>, caller: Caller, Path(id): Path<String>) -> Result<Tagged, ApiError> {
    caller.may_read()?;
    view(app, caller.tenant, RuleId::from(id), None).await
}

/// What a replacement must state, so that nothing falls back to a default unnoticed.
const REPLACE_REQUIRES: [&str; 6] = [
    "ruleName",
    "celQuery",
    "timeframeInSeconds",
    "timeUnit",
    "resolveOn",
    "createOn",
];

/// Replace a rule as a whole; existing incidents keep what they copied from it. With `If-Match` only the version that was
/// read is replaced, with `If-None-Match: *` the rule is created under this id (letters, digits, `.`, `_` and `-`).
#[utoipa::path(put, path = "/rules/{id}", tag = "rules", request_body = Object,
    params(("id" = String, Path), ("If-Match" = Option<String>, Header), ("If-None-Match" = Option<String>, Header),
        ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Object), (status = 400), (status = 404), (status = 422),
        (status = 409, description = "A deleted rule has this id"),
        (status = 412, description = "Changed meanwhile, or there already; ETag says what is there")))]
async fn replace(
    State(app): State<Shared>,
    caller: Caller,
    guards: Guards,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Tagged, ApiError> {
    caller.may_change()?;
    let rule = parse(&body)?;
    let lacks = |field: &&&str| rule.get(**field).is_none_or(Value::is_null);
    if let Some(missing) = REPLACE_REQUIRES.iter().find(lacks) {
        return Err(ApiError::bad_request(format!(
            "Invalid request body: {missing} is required"
        )));
    }
    if guards.creates() {
        check_stated_id(&id)?;
    }
    let draft = draft_of(&app, &caller.tenant, rule).await?;
    let id = RuleId::from(id);
    let guard = guards.for_rule(&id, &body);
    let command = if guards.creates() {
        Command::CreateRule { id, draft }
    } else {
        Command::UpdateRule { id, draft }
    };
    store(app, caller, guard, command).await
}

/// What a person may call a rule: fit for every path. Words that the interface uses itself never come here.
fn check_stated_id(id: &str) -> Result<(), ApiError> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let begins = id.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    if begins && id.len() <= MAX_STATED_RULE_ID_BYTES && id.bytes().all(fits) {
        return Ok(());
    }
    Err(ApiError::bad_request(format!(
        "a new id must be at most {MAX_STATED_RULE_ID_BYTES} letters, digits, '.', '_' and '-', and begin with a letter or digit"
    )))
}

/// Delete a rule; its incidents stay.
#[utoipa::path(delete, path = "/rules/{id}", tag = "rules",
    params(("id" = String, Path), ("If-Match" = Option<String>, Header), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200), (status = 404), (status = 412, description = "Changed meanwhile; ETag says what is there")))]
async fn delete(
    State(app): State<Shared>,
    caller: Caller,
    guards: Guards,
    Path(id): Path<String>,
) -> Result<Json<Value>, ApiError> {
    caller.may_change()?;
    if guards.creates() {
        return Err(ApiError::bad_request(
            "If-None-Match is not understood here; leave it out",
        ));
    }
    let id = RuleId::from(id);
    let guard = guards.for_rule(&id, &[]);
    match change(&app, &caller, guard, Command::DeleteRule { id }).await? {
        CommandOutcome::Applied => Ok(Json(json!({"message": "Rule deleted"}))),
        _ => Err(ApiError::not_found("Rule not found")),
    }
}

/// All versions of a rule, oldest first. A list that ends early says so, as that of `GET /alerts`, and goes on with `offset`.
#[utoipa::path(get, path = "/rules/{id}/versions", tag = "rules", params(("id" = String, Path), Page),
    responses((status = 200, body = Vec<Object>), (status = 404)))]
async fn versions(
    State(app): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    Query(page): Query<Page>,
) -> Result<Response, ApiError> {
    caller.may_read()?;
    let page = page.bounds(MAX_PAGE_ITEMS)?;
    let reader = Arc::clone(&app);
    let mine = app.reads.of(&caller.tenant);
    let read = move |pace: &Pace| {
        let (state, tenant, id) = (&reader.state, &caller.tenant, RuleId::from(id));
        let newest = state
            .rule(tenant, &id)?
            .ok_or_else(|| ApiError::not_found("Rule not found"))?;
        let stats = state.rule_stats(tenant, &id)?;
        let mut items = Items::new(&reader);
        for version in (1..=newest.version).skip(page.offset).take(page.limit) {
            if !items.is_empty() && pace.is_over() {
                let _ = items.cut(Cut::Time);
                break;
            }
            let Some(rule) = state.rule_version(tenant, &id, version)? else {
                continue;
            };
            if items.push(&to_json(&rule, &stats, 0)).is_break() {
                break;
            }
        }
        Ok(items.into_list(page.offset))
    };
    mine.answer(Work::LookUp, read).await
}

/// Check a rule without storing it: branches and columns, or what is wrong with it.
#[utoipa::path(post, path = "/rules/validate", tag = "rules", request_body = Object,
    responses((status = 200, body = Object), (status = 422)))]
async fn validate(State(app): State<Shared>, caller: Caller, body: Bytes) -> Result<Json<Value>, ApiError> {
    caller.may_read()?;
    let check = move |_: &Pace| {
        let draft = draft_from_json(&parse(&body)?)?;
        let columns = donjon_expr::Expression::compile(&draft.condition)
            .map(|found| found.columns().to_vec())
            .unwrap_or_default();
        Ok(json!({"valid": true, "branches": draft.branches, "columns": columns, "access": "scanned"}))
    };
    let mine = app.reads.of(&caller.tenant);
    mine.run(Work::Compile, check).await.map(Json)
}

/// A rule as it was sent, checked. Conditions are compiled where nobody else waits for the thread.
async fn draft_of(app: &App, tenant: &TenantId, body: Value) -> Result<Box<RuleDraft>, ApiError> {
    let check = move |_: &Pace| Ok(Box::new(draft_from_json(&body)?));
    app.reads.of(tenant).run(Work::Compile, check).await
}

/// Tries a change of rules, then gives the command.
pub(super) async fn change(
    app: &Shared,
    caller: &Caller,
    guard: Guard,
    command: Command,
) -> Result<CommandOutcome, ApiError> {
    let tried = app.rule_changes.check(&caller.tenant, &command).await;
    match tried {
        Ok(turn) => {
            let outcome = app.command(caller, guard, command).await;
            if let (Some(turn), Ok(_)) = (turn, &outcome) {
                turn.settled();
            }
            outcome
        }
        Err(refusal) => match app.answer_of(caller, &guard).await? {
            Some(outcome) => Ok(outcome),
            None => Err(refused(refusal, &command)),
        },
    }
}

/// Stores one rule and answers what was stored, whatever became of it since.
async fn store(app: Shared, caller: Caller, guard: Guard, command: Command) -> Result<Tagged, ApiError> {
    match change(&app, &caller, guard, command).await? {
        CommandOutcome::RuleStored { id, version } => view(app, caller.tenant, id, Some(version)).await,
        CommandOutcome::RuleExists => Err(ApiError::new(
            StatusCode::CONFLICT,
            "rule_id_taken",
            "a rule with this id was deleted, and its incidents still name it; take another id",
        )),
        _ => Err(ApiError::not_found("Rule not found")),
    }
}

/// A change that would not be in force is not taken. Of many rules the one at fault is told with its place.
fn refused(refusal: Refusal, command: &Command) -> ApiError {
    let text = refusal.to_string();
    match refusal {
        Refusal::Cap(_) => ApiError::unprocessable("body", text),
        Refusal::Rule { rule, .. } => match command {
            Command::ApplyRules { rules } => {
                let place = rules.iter().position(|(_, draft)| draft.name == rule);
                ApiError::unprocessable_at(place.unwrap_or_default(), "celQuery", text)
            }
            _ => ApiError::unprocessable("celQuery", text),
        },
        Refusal::Together { .. } => ApiError::unprocessable("celQuery", text),
        Refusal::State(error) => ApiError::from(error),
        Refusal::Busy(_) => ApiError::busy_with_rules(text),
        Refusal::Panicked => ApiError::internal("a check of rules panicked"),
    }
}

/// Adds what plugins did not take of a rule: `refused` is null if all is in force.
fn tell_trouble(app: &App, tenant: &TenantId, rule: &donjon_core::Rule, view: &mut Value) {
    let told = app.line.trouble(tenant).into_iter().find_map(|(plugin, trouble)| {
        let why = trouble.rules.get(&rule.id).cloned().or(trouble.refused)?;
        Some(format!("{plugin}: {why}"))
    });
    view["refused"] = told.into();
}

/// A rule: the newest version, or the one that a command made.
async fn view(app: Shared, tenant: TenantId, id: RuleId, version: Option<u32>) -> Result<Tagged, ApiError> {
    let reader = Arc::clone(&app);
    let mine = app.reads.of(&tenant);
    let read = move |_: &Pace| {
        let named = match version {
            Some(version) => reader.state.rule_version(&tenant, &id, version)?,
            None => None,
        };
        let rule = match named {
            Some(rule) => Some(rule),
            None => reader.state.rule(&tenant, &id)?.filter(|rule| !rule.deleted),
        };
        let rule = rule.ok_or_else(|| ApiError::not_found("Rule not found"))?;
        let stats = reader.state.rule_stats(&tenant, &id)?;
        let mut view = to_json(&rule, &stats, reader.state.tenant(&tenant)?.offered);
        tell_trouble(&reader, &tenant, &rule, &mut view);
        let tag = entity_tag(u64::from(rule.version));
        Ok(([(header::ETAG, tag)], Json(view)))
    };
    let work = version.map_or(Work::LookUp, |_| Work::Outcome);
    mine.run(work, read).await
}

pub(super) fn parse(body: &Bytes) -> Result<Value, ApiError> {
    serde_json::from_slice(body).map_err(|error| ApiError::unprocessable("body", format!("malformed JSON: {error}")))
}
