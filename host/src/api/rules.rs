//! Rules: create, read, replace, delete, and check without storing. Every change is a command in the journal.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use donjon_core::command::{Command, CommandOutcome};
use donjon_core::state::StateView;
use donjon_core::{RuleId, TenantId};
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::alerts::blocking;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
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

/// All rules with their counters, in the order of their creation.
#[utoipa::path(get, path = "/rules", tag = "rules", responses((status = 200, body = Vec<Object>)))]
async fn list(State(app): State<Shared>, caller: Caller) -> Result<Json<Vec<Value>>, ApiError> {
    caller.may_read()?;
    blocking(move || {
        let offered = app.state.tenant(&caller.tenant)?.offered;
        let rules = app.state.rules(&caller.tenant)?;
        let view = |rule: &donjon_core::Rule| {
            let mut view = to_json(rule, &app.state.rule_stats(&caller.tenant, &rule.id)?, offered);
            tell_trouble(&app, &caller.tenant, rule, &mut view);
            Ok(view)
        };
        rules
            .iter()
            .filter(|rule| !rule.deleted)
            .map(view)
            .collect::<Result<Vec<_>, ApiError>>()
            .map(Json)
    })
    .await
}

/// Create a rule.
#[utoipa::path(post, path = "/rules", tag = "rules", request_body = Object,
    responses((status = 200, body = Object), (status = 400, description = "A required value is empty"),
        (status = 422, description = "A field does not fit; with line and column for conditions")))]
async fn create(State(app): State<Shared>, caller: Caller, body: Bytes) -> Result<Json<Value>, ApiError> {
    caller.may_change()?;
    let draft = Box::new(draft_from_json(&parse(&body)?)?);
    let id = RuleId::from(uuid::Uuid::new_v4().to_string());
    act(app, caller, Command::CreateRule { id: id.clone(), draft }, id).await
}

/// One rule.
#[utoipa::path(get, path = "/rules/{id}", tag = "rules", params(("id" = String, Path)), responses((status = 200, body = Object), (status = 404)))]
async fn one(State(app): State<Shared>, caller: Caller, Path(id): Path<String>) -> Result<Json<Value>, ApiError> {
    caller.may_read()?;
    blocking(move || view(&app, &caller.tenant, &RuleId::from(id)).map(Json)).await
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
    let draft = Box::new(draft_from_json(&body)?);
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

/// All versions of a rule, oldest first.
#[utoipa::path(get, path = "/rules/{id}/versions", tag = "rules", params(("id" = String, Path)),
    responses((status = 200, body = Vec<Object>), (status = 404)))]
async fn versions(
    State(app): State<Shared>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Vec<Value>>, ApiError> {
    caller.may_read()?;
    blocking(move || {
        let id = RuleId::from(id);
        let newest = app
            .state
            .rule(&caller.tenant, &id)?
            .ok_or_else(|| ApiError::not_found("Rule not found"))?;
        let mut found = Vec::new();
        for version in 1..=newest.version {
            if let Some(rule) = app.state.rule_version(&caller.tenant, &id, version)? {
                found.push(to_json(&rule, &app.state.rule_stats(&caller.tenant, &id)?, 0));
            }
        }
        Ok(Json(found))
    })
    .await
}

/// Check a rule without storing it: branches and columns, or what is wrong with it.
#[utoipa::path(post, path = "/rules/validate", tag = "rules", request_body = Object,
    responses((status = 200, body = Object), (status = 422)))]
async fn validate(_: State<Shared>, caller: Caller, body: Bytes) -> Result<Json<Value>, ApiError> {
    caller.may_read()?;
    let draft = draft_from_json(&parse(&body)?)?;
    let columns = donjon_expr::Expression::compile(&draft.condition)
        .map(|found| found.columns().to_vec())
        .unwrap_or_default();
    Ok(Json(
        json!({"valid": true, "branches": draft.branches, "columns": columns, "access": "scanned"}),
    ))
}

async fn act(app: Shared, caller: Caller, command: Command, id: RuleId) -> Result<Json<Value>, ApiError> {
    let _turn = app
        .rule_changes
        .check(&caller.tenant, &command)
        .await
        .map_err(refused)?;
    match app.command(&caller, command).await? {
        CommandOutcome::Applied => blocking(move || view(&app, &caller.tenant, &id).map(Json)).await,
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

fn view(app: &App, tenant: &TenantId, id: &RuleId) -> Result<Value, ApiError> {
    let rule = app.state.rule(tenant, id)?.filter(|rule| !rule.deleted);
    let rule = rule.ok_or_else(|| ApiError::not_found("Rule not found"))?;
    let mut view = to_json(
        &rule,
        &app.state.rule_stats(tenant, id)?,
        app.state.tenant(tenant)?.offered,
    );
    tell_trouble(app, tenant, &rule, &mut view);
    Ok(view)
}

fn parse(body: &Bytes) -> Result<Value, ApiError> {
    serde_json::from_slice(body).map_err(|error| ApiError::unprocessable("body", format!("malformed JSON: {error}")))
}
