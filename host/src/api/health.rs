//! Is it alive, is it ready, what does it count; and the clock of tests. Needs no key: nothing here is anybody's data.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::State;
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use donjon_runtime::Role;
use serde_json::json;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::Shared;
use crate::http::error::ApiError;

/// How often progress is looked at while waiting for it.
const POLL: Duration = Duration::from_millis(1);

/// A write of the journal or of derived state that takes longer will not end: a disk that hangs, or a deadlock inside sled.
const STANDS_STILL: Duration = Duration::from_secs(60);

/// The routes of this module.
pub fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .routes(routes!(metrics))
}

/// The server runs.
#[utoipa::path(get, path = "/healthz", tag = "operations", responses((status = 200), (status = 503, description = "A restart is needed")))]
async fn healthz(State(app): State<Shared>) -> Response {
    if let Some(what) = needs_a_restart(&app) {
        let detail = format!("{what}; nothing acknowledged is lost, restart the server; see the log");
        return (
            StatusCode::SERVICE_UNAVAILABLE,
            Json(json!({"status": "broken", "detail": detail})),
        )
            .into_response();
    }
    Json(json!({"status": "ok", "version": env!("CARGO_PKG_VERSION")})).into_response()
}

/// What does not mend itself.
fn needs_a_restart(app: &Shared) -> Option<String> {
    let progress = app.intake.progress();
    if let Some(why) = progress.journal_broke() {
        return Some(format!("the journal takes nothing any more: {why}"));
    }
    if progress.journal_works_for() > STANDS_STILL {
        return Some("a write of the journal does not end".to_owned());
    }
    if progress.writing_for() > STANDS_STILL {
        return Some("a write of derived state does not end".to_owned());
    }
    let broken = app.broken.load(Ordering::SeqCst);
    broken.then(|| "the worker ended".to_owned())
}

/// The journal is replayed, no required plugin is missing or fails, and the disk is not full; `held` says which, and why.
/// Where alerts are refused because the disk is full, everything else is served all the same.
#[utoipa::path(get, path = "/readyz", tag = "operations", responses((status = 200), (status = 503, description = "Not yet")))]
async fn readyz(State(app): State<Shared>) -> Response {
    let replayed = *app.replayed.borrow();
    let progress = app.intake.progress();
    let full = progress
        .refuses_alerts()
        .map(|why| format!("alerts are refused: {why}"));
    let held = app.line.held().or(full);
    let broken = needs_a_restart(&app);
    let ready = replayed && held.is_none() && broken.is_none() && !app.stopping.is_cancelled();
    let serving = app.plugins.set().load_full();
    let correlators = serving
        .plugins
        .iter()
        .filter(|plugin| plugin.roles().contains(Role::Correlator));
    let body = json!({
        "ready": ready, "journal_replayed": replayed, "held": held, "broken": broken,
        "accepted": progress.accepted().0, "applied": progress.applied().0,
        "plugins": serving.plugins.len(), "correlators": correlators.count(),
        "journal_damage": app.journal.damage_count(),
        "journal_unreadable": app.metrics.journal_unreadable.get(), "clock_ahead_ms": app.clock.ahead_ms(),
    });
    let status = if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(body)).into_response()
}

/// Counters, in the text format of Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "operations", responses((status = 200, content_type = "application/openmetrics-text")))]
async fn metrics(State(app): State<Shared>) -> Response {
    let measured = Arc::clone(&app);
    // It walks directories.
    let state_bytes = tokio::task::spawn_blocking(move || measured.state.size_on_disk()).await;
    app.metrics
        .state_bytes
        .set(state_bytes.map_or(0, |bytes| bytes.unwrap_or(0)));
    app.metrics.journal_bytes.set(app.journal.bytes());
    app.metrics.plugins.read(&app.plugins.set().load());
    let progress = app.intake.progress();
    app.metrics
        .journal_broken
        .set(progress.journal_broke().is_some().into());
    let works_ms = progress.journal_works_for().as_millis();
    app.metrics
        .journal_works_ms
        .set(i64::try_from(works_ms).unwrap_or(i64::MAX));
    app.metrics.line_held.set(app.line.held().is_some().into());
    app.metrics.disk_is_full.set(progress.refuses_alerts().is_some().into());
    app.metrics.rules_refused.set(app.line.refused_count());
    app.metrics.inflight_bytes.set(app.in_flight.used());
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], app.metrics.text()).into_response()
}

/// Anything else.
pub async fn not_found(uri: Uri) -> ApiError {
    ApiError::not_found(format!("no such path; see /openapi.json: {}", uri.path()))
}

/// A path that is known, asked in another way.
pub async fn wrong_method(method: Method, uri: Uri) -> ApiError {
    let detail = format!("this path is not for {method}; see /openapi.json: {}", uri.path());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}

#[derive(serde::Deserialize)]
struct Advance {
    #[serde(default)]
    advance_ms: u64,
    /// Sets the clock without time passing: a clock that jumps.
    #[serde(default)]
    jump_ms: i64,
}

/// Only with `--manual-clock`: moves the clock once everything accepted before is applied.
pub fn test_clock_route() -> Router<Shared> {
    Router::new().route("/-/test/clock", post(test_clock))
}

async fn test_clock(State(app): State<Shared>, Json(body): Json<Advance>) -> Result<Json<serde_json::Value>, ApiError> {
    let progress = app.intake.progress();
    let accepted = progress.accepted();
    while progress.applied() < accepted {
        tokio::time::sleep(POLL).await;
    }
    app.clock.advance(body.advance_ms);
    app.clock.jump(body.jump_ms);
    Ok(Json(json!({"now_ms": app.clock.now().0})))
}
