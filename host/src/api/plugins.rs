//! `GET /plugins`: what is loaded, what was refused and why.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use donjon_core::TenantId;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::{App, Shared};
use crate::plugins::{PluginError, PluginStatus, Source};
use crate::time;

/// The routes of this module.
pub fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(one))
        .routes(routes!(reload))
}

/// All plugins with their state.
#[utoipa::path(get, path = "/plugins", tag = "plugins", responses((status = 200, body = Vec<Object>)))]
async fn list(State(app): State<Shared>, caller: Caller) -> Result<Json<Vec<Value>>, ApiError> {
    caller.may_read()?;
    Ok(Json(views(&app, &caller)))
}

/// One plugin.
#[utoipa::path(get, path = "/plugins/{name}", tag = "plugins", params(("name" = String, Path)),
    responses((status = 200, body = Object), (status = 404)))]
async fn one(State(app): State<Shared>, caller: Caller, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    caller.may_read()?;
    let statuses = statuses(&app);
    let status = statuses.iter().find(|status| status.name == name);
    status
        .map(|status| Json(view(&app, &caller, status)))
        .ok_or_else(|| ApiError::not_found(format!("no such plugin: {name}")))
}

/// Read the settings of plugins anew, look through the plugin directory now, and read every file again: a refused one
/// gets another chance. For operators: plugins are shared by all tenants.
#[utoipa::path(post, path = "/plugins/reload", tag = "plugins",
    responses((status = 200, body = Vec<Object>), (status = 409, description = "The configuration cannot be used")))]
async fn reload(State(app): State<Shared>, caller: Caller) -> Result<Json<Vec<Value>>, ApiError> {
    caller.may_operate()?;
    // What is wrong with the file may quote a key of it: that stays in the log.
    let unusable = |_| {
        let text = "the configuration file cannot be used; nothing was changed, see the server's log";
        ApiError::new(StatusCode::CONFLICT, "unusable_configuration", text)
    };
    app.plugins.reloader().reload().await.map_err(unusable)?;
    Ok(Json(views(&app, &caller)))
}

fn views(app: &App, caller: &Caller) -> Vec<Value> {
    statuses(app).iter().map(|status| view(app, caller, status)).collect()
}

/// What is in the directory, and what should be.
fn statuses(app: &App) -> Vec<PluginStatus> {
    let mut statuses = app.plugins.statuses();
    let unknown = |name: &String| !statuses.iter().any(|status| status.name == *name);
    let missing: Vec<_> = app.line.missing().into_iter().filter(unknown).collect();
    statuses.extend(missing.into_iter().map(PluginStatus::missing));
    statuses
}

/// What a tenant sees of a failure: the text of a call may quote the alerts it was about, so another tenant's is not
/// shown.
fn message<'a>(error: &'a PluginError, viewer: &TenantId) -> &'a str {
    match &error.tenant {
        Some(tenant) if tenant != viewer => "a call for another tenant failed; what it said is shown to that tenant",
        _ => &error.message,
    }
}

fn view(app: &App, caller: &Caller, status: &PluginStatus) -> Value {
    let at = |ms: u64| time::format(donjon_core::Timestamp(ms));
    let counters = app
        .plugins
        .set()
        .load()
        .get(&status.name)
        .map(|plugin| plugin.counters());
    let counters = counters.unwrap_or_default();
    let trouble = app
        .line
        .trouble(&caller.tenant)
        .remove(&status.name)
        .unwrap_or_default();
    json!({
        "name": status.name,
        "state": status.state.as_str(),
        // What is read by who knows plugins of one role only.
        "role": (!status.roles.is_empty()).then(|| status.roles.to_string()),
        "roles": status.roles.words(),
        "version": status.version,
        "hash": status.hash,
        "imports": status.imports,
        "file": status.file,
        "source": status.source.map(Source::as_str),
        "policy": app.line.policy_named(&status.name).as_str(),
        "grants": status.grants,
        "unused_grants": status.unused_grants,
        "loaded_at": status.loaded_at_ms.map(at),
        "calls": status.calls,
        "failures": status.failures,
        "call_seconds": counters.busy.as_secs_f64(),
        "configures": counters.configures,
        "dropped": counters.dropped_by_reason,
        "rules_refused": trouble.refused,
        "refused_rules": trouble.rules.len(),
        "last_error": status.last_error.as_ref().map(|error| json!({
            "at": at(error.at_ms), "message": message(error, &caller.tenant), "hash": error.hash,
        })),
    })
}
