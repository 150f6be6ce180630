//! Rules: create, read, replace, delete, and check without storing. Every change is a command in the journal.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use donjon_core::command::{Command, CommandOutcome};
use donjon_core::rule::RuleDraft;
use donjon_core::state::StateView;
use donjon_core::{RuleId, TenantId};
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::page::{Cut, Items, MAX_PAGE_ITEMS, Page};
use crate::http::auth::Caller;
use crate::http::error::ApiError;
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
}

/// All rules with their counters, in the order of their creation. A list that ends early says so, as that of `GET /alerts`, and goes on with
/// `offset`.
#[utoipa::path(get, path = "/rules", tag = "rules", params(Page), responses((status = 200, body = Vec<Object>)))]
async fn list(State(app): State<Shared>, caller: Caller, Query(page): Query<Page>) -> Result<Response, ApiError> {
    caller.may_read()?;
    let page = page.bounds(MAX_PAGE_ITEMS)?;
    let reader = Arc::clone(&app);
    let mine = app.reads.of(&caller.tenant);
    let read = move |pace: &Pace| {
        let (state, tenant) = (&reader.state, &caller.tenant);
        let offered = state.tenant(tenant)?.offered;
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
        Ok(items.into_list(page.offset))
    };
    mine.send(mine.run(Work::Scan, read).await?).await
}

/// Create a rule.
#[utoipa::path(post, path = "/rules", tag = "rules", request_body = Object,
    responses((status = 200, body = Object), (status = 400, description = "A required value is empty"),
        (status = 422, description = "A field does not fit; with line and column for conditions")))]
async fn create(State(app): State<Shared>, caller: Caller, body: Bytes) -> Result<Json<Value>, ApiError> {
    caller.may_change()?;
    let draft = draft_of(&app, &caller.tenant, parse(&body)?).await?;
    let id = RuleId::from(uuid::Uuid::new_v4().to_string());
    act(app, caller, Command::CreateRule { id: id.clone(), draft }, id).await
}

/// One rule.
#[utoipa::path(get, path = "/rules/{id}", tag = "rules", params(("id" = String, Path)), responses((status = 200, body = Object), (status = 404)))]
async fn one(State(app): State<Shared>, caller: Caller, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    caller.may_read()?;
    view(app, caller.tenant, RuleId::from(id)).await.map(Json)
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

/// Replace a rule as a whole; existing incidents keep what they copied from it.
#[utoipa::path(put, path = "/rules/{id}", tag = "rules", params(("id" = String, Path)), request_body = Object,
    responses((status = 200, body = Object), (status = 400), (status = 404), (status = 422)))]
async fn replace(
    State(app): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    caller.may_change()?;
    let body = parse(&body)?;
    let lacks = |field: &&&str| body.get(**field).is_none_or(Value::is_null);
    if let Some(missing) = REPLACE_REQUIRES.iter().find(lacks) {
        return Err(ApiError::bad_request(format!(
            "Invalid request body: {missing} is required"
        )));
    }
    let draft = draft_of(&app, &caller.tenant, body).await?;
    let id = RuleId::from(id);
    act(app, caller, Command::UpdateRule { id: id.clone(), draft }, id).await
}

/// Delete a rule; its incidents stay.
#[utoipa::path(delete, path = "/rules/{id}", tag = "rules", params(("id" = String, Path)), responses((status = 200), (status = 404)))]
async fn delete(State(app): State<Shared>, caller: Caller, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    caller.may_change()?;
    let command = Command::DeleteRule { id: RuleId::from(id) };
    let _turn = app
        .rule_changes
        .check(&caller.tenant, &command)
        .await
        .map_err(refused)?;
    match app.command(&caller, command).await? {
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
    mine.send(mine.run(Work::LookUp, read).await?).await
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

async fn act(app: Shared, caller: Caller, command: Command, id: RuleId) -> Result<Json<Value>, ApiError> {
    let _turn = app
        .rule_changes
        .check(&caller.tenant, &command)
        .await
        .map_err(refused)?;
    match app.command(&caller, command).await? {
        CommandOutcome::Applied => view(app, caller.tenant, id).await.map(Json),
        CommandOutcome::RuleExists => Err(ApiError::bad_request("a rule with this id exists")),
        _ => Err(ApiError::not_found("Rule not found")),
    }
}

/// A change that would not be in force is not taken.
fn refused(refusal: Refusal) -> ApiError {
    let text = refusal.to_string();
    match refusal {
        Refusal::Cap(_) => ApiError::unprocessable("body", text),
        Refusal::Rule { .. } | Refusal::Together { .. } => ApiError::unprocessable("celQuery", text),
        Refusal::State(error) => ApiError::from(error),
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

async fn view(app: Shared, tenant: TenantId, id: RuleId) -> Result<Value, ApiError> {
    let reader = Arc::clone(&app);
    let mine = app.reads.of(&tenant);
    let read = move |_: &Pace| {
        let rule = reader.state.rule(&tenant, &id)?.filter(|rule| !rule.deleted);
        let rule = rule.ok_or_else(|| ApiError::not_found("Rule not found"))?;
        let stats = reader.state.rule_stats(&tenant, &id)?;
        let mut view = to_json(&rule, &stats, reader.state.tenant(&tenant)?.offered);
        tell_trouble(&reader, &tenant, &rule, &mut view);
        Ok(view)
    };
    mine.run(Work::LookUp, read).await
}

fn parse(body: &Bytes) -> Result<Value, ApiError> {
    serde_json::from_slice(body).map_err(|error| ApiError::unprocessable("body", format!("malformed JSON: {error}")))
}
