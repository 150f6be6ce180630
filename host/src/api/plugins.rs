//! `GET /plugins`: what is loaded, what was refused and why.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::{App, Shared};
use crate::plugins::PluginStatus;
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
    Ok(Json(
        app.plugins
            .statuses()
            .iter()
            .map(|status| view(&app, &caller, status))
            .collect(),
    ))
}

/// One plugin.
#[utoipa::path(get, path = "/plugins/{name}", tag = "plugins", params(("name" = String, Path)),
    responses((status = 200, body = Object), (status = 404)))]
async fn one(State(app): State<Shared>, caller: Caller, Path(name): Path<String>) -> Result<Json<Value>, ApiError> {
    caller.may_read()?;
    let statuses = app.plugins.statuses();
    let status = statuses.iter().find(|status| status.name == name);
    status
        .map(|status| Json(view(&app, &caller, status)))
        .ok_or_else(|| ApiError::not_found(format!("no such plugin: {name}")))
}

/// Look through the plugin directory now, and read every file again: a refused one gets another chance.
#[utoipa::path(post, path = "/plugins/reload", tag = "plugins", responses((status = 200, body = Vec<Object>)))]
async fn reload(State(app): State<Shared>, caller: Caller) -> Result<Json<Vec<Value>>, ApiError> {
    caller.may_change()?;
    app.plugins.reload().await;
    Ok(Json(
        app.plugins
            .statuses()
            .iter()
            .map(|status| view(&app, &caller, status))
            .collect(),
    ))
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
        "role": status.role,
        "version": status.version,
        "hash": status.hash,
        "imports": status.imports,
        "file": status.file,
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
            "at": at(error.at_ms), "message": error.message, "hash": error.hash,
        })),
    })
}
