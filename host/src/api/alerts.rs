//! `GET /alerts` and what belongs to one alert. Documents come from the journal, states from the store.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use donjon_core::alert_state::{AlertState, StoredEvent};
use donjon_core::limits::MAX_OPEN_LINKS_PER_ALERT;
use donjon_core::state::StateView;
use donjon_core::{Fingerprint, Seq, TenantId};
use donjon_store::journal::Entry;
use serde_json::{Map, Value as Json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::alert_view::{Shown, to_json};
use super::documents::{own_entry, print_each};
use super::page::{Items, Page, print, respond};
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::reads::{Pace, Work};
use crate::http::{App, Shared};

/// Alerts of one answer unless the client says otherwise, as in the reference.
const DEFAULT_LIMIT: usize = 1000;
/// Most events of one history.
const HISTORY_LIMIT: usize = 1000;
/// States that are read ahead of their documents.
const STATES_AT_A_TIME: usize = 256;
/// Incidents that are named on an alert; one that is in more says so.
const MAX_INCIDENTS_SHOWN: usize = 1024;

// Every open incident of an alert has a place.
const _: () = assert!(MAX_INCIDENTS_SHOWN >= MAX_OPEN_LINKS_PER_ALERT);

/// The routes of this module.
pub fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(one))
        .routes(routes!(history))
}

/// The newest event of every alert, newest first. A page that ends early says so: `X-Donjon-Partial`, `X-Donjon-Next-Offset`.
#[utoipa::path(get, path = "/alerts", tag = "alerts", params(Page), responses((status = 200, body = Vec<Object>)))]
async fn list(State(app): State<Shared>, caller: Caller, Query(page): Query<Page>) -> Result<Response, ApiError> {
    caller.may_read()?;
    let page = page.bounds(DEFAULT_LIMIT)?;
    let reader = Arc::clone(&app);
    let mine = app.reads.of(&caller.tenant);
    let read = move |pace: &Pace| {
        let (app, tenant) = (&reader, &caller.tenant);
        let newest = app.state.newest_alerts(tenant, page.keep(), &mut || pace.flow())?;
        pace.check()?;
        let mut items = Items::new(app);
        let of_page = newest.get(page.offset..).unwrap_or_default();
        print_newest(app, tenant, pace, &mut items, of_page, |_, _| Ok(()))?;
        items.end_of(page);
        Ok(items.into_list(page.offset))
    };
    mine.answer(Work::Scan, read).await
}

/// One alert.
#[utoipa::path(get, path = "/alerts/{fingerprint}", tag = "alerts", params(("fingerprint" = String, Path)),
    responses((status = 200, body = Object), (status = 404)))]
async fn one(State(app): State<Shared>, caller: Caller, Path(fingerprint): Path<String>) -> Result<Response, ApiError> {
    caller.may_read()?;
    let reader = Arc::clone(&app);
    let mine = app.reads.of(&caller.tenant);
    let read = move |_: &Pace| {
        let state = find(&reader, &caller.tenant, &fingerprint)?;
        let entry = own_entry(&reader, &caller.tenant, state.last_event.seq)?;
        let shown = newest_as_json(&reader, &caller.tenant, &state, entry)?;
        Ok(respond(print(&shown), HeaderMap::new()))
    };
    mine.answer(Work::LookUp, read).await
}

/// The stored events of one alert, newest first, at most 1000.
#[utoipa::path(get, path = "/alerts/{fingerprint}/history", tag = "alerts",
    params(("fingerprint" = String, Path), ("offset" = Option<usize>, Query, description = "Events to skip, as X-Donjon-Next-Offset said")),
    responses((status = 200, body = Vec<Object>), (status = 404)))]
async fn history(
    State(app): State<Shared>,
    caller: Caller,
    Path(fingerprint): Path<String>,
    Query(page): Query<Page>,
) -> Result<Response, ApiError> {
    caller.may_read()?;
    let offset = page.bounds(HISTORY_LIMIT)?.offset;
    let reader = Arc::clone(&app);
    let mine = app.reads.of(&caller.tenant);
    let read = move |pace: &Pace| {
        let state = find(&reader, &caller.tenant, &fingerprint)?;
        let events: Vec<(Seq, StoredEvent)> = events_of(&reader, &state)?
            .into_iter()
            .skip(offset)
            .map(|event| (event.seq, event))
            .collect();
        let mut items = Items::new(&reader);
        print_each(&reader, &caller.tenant, pace, &mut items, &events, |_, event, entry| {
            let shown = Shown {
                state: &state,
                event,
                newest: event.seq == state.last_event.seq,
            };
            Ok(to_json(shown, entry, &[]))
        })?;
        Ok(items.into_list(offset))
    };
    mine.answer(Work::LookUp, read).await
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

/// Prints the newest event of each alert; `add` puts more members to it.
///
/// # Errors
/// Something cannot be read; or there was no time for a single alert.
pub fn print_newest(
    app: &App,
    tenant: &TenantId,
    pace: &Pace,
    items: &mut Items,
    alerts: &[Fingerprint],
    mut add: impl FnMut(&Fingerprint, &mut Map<String, Json>) -> Result<(), ApiError>,
) -> Result<(), ApiError> {
    for some in alerts.chunks(STATES_AT_A_TIME) {
        let mut states = Vec::with_capacity(some.len());
        for fingerprint in some {
            let state = app.state.alert(tenant, fingerprint)?;
            states.extend(state.map(|state| (state.last_event.seq, state)));
        }
        print_each(app, tenant, pace, items, &states, |_, state, entry| {
            let mut shown = newest_as_json(app, tenant, state, entry)?;
            if let Some(members) = shown.as_object_mut() {
                add(&state.fingerprint, members)?;
            }
            Ok(shown)
        })?;
        if items.is_cut() {
            break;
        }
    }
    Ok(())
}

/// The newest event of an alert as clients see it.
fn newest_as_json(app: &App, tenant: &TenantId, state: &AlertState, entry: Option<Entry>) -> Result<Json, ApiError> {
    let mut incidents = app
        .state
        .incidents_of_alert(tenant, &state.fingerprint, MAX_INCIDENTS_SHOWN + 1)?;
    let is_cut = incidents.len() > MAX_INCIDENTS_SHOWN;
    incidents.truncate(MAX_INCIDENTS_SHOWN);
    let incidents: Vec<String> = incidents.iter().map(ToString::to_string).collect();
    let shown = Shown {
        state,
        event: &state.last_event,
        newest: true,
    };
    let mut shown = to_json(shown, entry, &incidents);
    if let Some(members) = shown.as_object_mut().filter(|_| is_cut) {
        members.insert("incident_is_partial".into(), true.into());
    }
    Ok(shown)
}
