//! `GET /alerts` and what belongs to one alert. Documents come from the journal, states from the store.

use std::ops::ControlFlow;

use axum::Json;
use axum::extract::{Path, Query, State};
use donjon_core::alert_state::{AlertState, StoredEvent};
use donjon_core::state::StateView;
use donjon_core::{Fingerprint, Seq, TenantId};
use donjon_store::journal::Entry;
use serde_json::Value as Json_;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::alert_view::{Shown, to_json};
use super::{MAX_PAGE_ITEMS, Page};
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::{App, Shared};

/// Alerts of one answer unless the client says otherwise, as in the reference.
const DEFAULT_LIMIT: usize = 1000;
/// Most events of one history.
const HISTORY_LIMIT: usize = 1000;

/// The routes of this module.
pub fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(one))
        .routes(routes!(history))
}

/// The newest event of every alert, newest first.
#[utoipa::path(get, path = "/alerts", tag = "alerts", params(Page), responses((status = 200, body = Vec<Object>)))]
async fn list(
    State(app): State<Shared>,
    caller: Caller,
    Query(page): Query<Page>,
) -> Result<Json<Vec<Json_>>, ApiError> {
    caller.may_read()?;
    blocking(move || {
        let mut states = Vec::new();
        app.state.alerts(&caller.tenant, |state| {
            states.push(state);
            ControlFlow::Continue(())
        })?;
        states.sort_by_key(|state| std::cmp::Reverse(state.last_event.seq));
        let (_, _, states) = page.of(states, DEFAULT_LIMIT);
        newest(&app, &caller.tenant, &states).map(Json)
    })
    .await
}

/// One alert.
#[utoipa::path(get, path = "/alerts/{fingerprint}", tag = "alerts", params(("fingerprint" = String, Path)),
    responses((status = 200, body = Object), (status = 404)))]
async fn one(
    State(app): State<Shared>,
    caller: Caller,
    Path(fingerprint): Path<String>,
) -> Result<Json<Json_>, ApiError> {
    caller.may_read()?;
    blocking(move || {
        let state = find(&app, &caller.tenant, &fingerprint)?;
        let mut alerts = newest(&app, &caller.tenant, std::slice::from_ref(&state))?;
        alerts
            .pop()
            .map(Json)
            .ok_or_else(|| ApiError::internal("an alert has no view"))
    })
    .await
}

/// The stored events of one alert, newest first, at most 1000.
#[utoipa::path(get, path = "/alerts/{fingerprint}/history", tag = "alerts", params(("fingerprint" = String, Path)),
    responses((status = 200, body = Vec<Object>), (status = 404)))]
async fn history(
    State(app): State<Shared>,
    caller: Caller,
    Path(fingerprint): Path<String>,
) -> Result<Json<Vec<Json_>>, ApiError> {
    caller.may_read()?;
    blocking(move || {
        let state = find(&app, &caller.tenant, &fingerprint)?;
        let events = events_of(&app, &state)?;
        let seqs: Vec<Seq> = events.iter().map(|event| event.seq).collect();
        let entries = own_entries(&app, &caller.tenant, &seqs)?;
        let shown = |event| Shown {
            state: &state,
            event,
            newest: event.seq == state.last_event.seq,
        };
        Ok(Json(
            events
                .iter()
                .zip(entries)
                .map(|(event, entry)| to_json(shown(event), entry, &[]))
                .collect(),
        ))
    })
    .await
}

/// Newest first, back through the chunks until the limit.
fn events_of(app: &App, state: &AlertState) -> Result<Vec<StoredEvent>, ApiError> {
    let mut events = vec![state.last_event];
    events.extend(state.recent.iter().rev());
    for number in (0..state.history_chunks).rev() {
        if events.len() >= HISTORY_LIMIT {
            break;
        }
        let chunk = app.state.history_chunk(&state.tenant, &state.fingerprint, number)?;
        events.extend(chunk.iter().flat_map(|chunk| chunk.events.iter().rev()));
    }
    events.truncate(HISTORY_LIMIT);
    Ok(events)
}

fn find(app: &App, tenant: &TenantId, fingerprint: &str) -> Result<AlertState, ApiError> {
    app.state
        .alert(tenant, &Fingerprint::from(fingerprint))?
        .ok_or_else(|| ApiError::not_found(format!("Alert not found: {fingerprint}")))
}

/// The newest event of each alert as clients see it.
pub fn newest(app: &App, tenant: &TenantId, states: &[AlertState]) -> Result<Vec<Json_>, ApiError> {
    let seqs: Vec<Seq> = states
        .iter()
        .take(MAX_PAGE_ITEMS)
        .map(|state| state.last_event.seq)
        .collect();
    let entries = own_entries(app, tenant, &seqs)?;
    let view = |(state, entry): (&AlertState, _)| {
        let incidents = app.state.incidents_of_alert(tenant, &state.fingerprint)?;
        let incidents: Vec<String> = incidents.iter().map(ToString::to_string).collect();
        Ok(to_json(
            Shown {
                state,
                event: &state.last_event,
                newest: true,
            },
            entry,
            &incidents,
        ))
    };
    states.iter().zip(entries).map(view).collect()
}

/// Entries of the journal, but only those of the tenant: whatever state says, nobody is shown another's alerts.
fn own_entries(app: &App, tenant: &TenantId, seqs: &[Seq]) -> Result<Vec<Option<Entry>>, ApiError> {
    let entries = app
        .journal
        .get_many(seqs)
        .map_err(|error| ApiError::internal(error.to_string()))?;
    Ok(entries
        .into_iter()
        .map(|entry| entry.filter(|entry| entry.tenant == *tenant))
        .collect())
}

/// Runs reads of the store where they may block.
pub async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    tokio::task::spawn_blocking(read)
        .await
        .map_err(|error| ApiError::internal(error.to_string()))?
}
