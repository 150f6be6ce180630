//! `GET /events`: server-sent events from the outbox, resumable by `Last-Event-ID`. At least once; where what a client
//! missed is not there any more, it is told to load everything again.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use donjon_core::outbox::{IncidentAction, OutboxRecord};
use futures::Stream;
use serde_json::json;
use tokio::sync::watch;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::{App, Shared};

/// Outbox records read at a time.
const READ_RECORDS: usize = 256;
/// Silence after which a comment keeps the connection open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The routes of this module.
pub fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(events))
}

/// Changes as they are committed: `incident-change`, `poll-alerts`, `rule-change`, `plugin-change`. Without an
/// `incident_id`, or with an empty list of fingerprints, everything may have changed.
#[utoipa::path(get, path = "/events", tag = "events",
    params(("Last-Event-ID" = Option<u64>, Header, description = "Continue after this event")),
    responses((status = 200, content_type = "text/event-stream")))]
async fn events(
    State(app): State<Shared>,
    caller: Caller,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    caller.may_read()?;
    let committed = app.committed.clone();
    let begin = match headers.get("last-event-id").and_then(|value| value.to_str().ok()) {
        Some(text) => text
            .trim()
            .parse::<u64>()
            .map_err(|_| ApiError::bad_request(format!("Last-Event-ID must be a number, found: {text}")))?,
        None => *committed.borrow(),
    };
    let plugins = app.plugin_changes.clone();
    let newest = *committed.borrow();
    let follower = Follower {
        app: Arc::clone(&app),
        caller,
        committed,
        plugins,
        // A number from a life that was lost, and that a checkpoint did not know.
        ready: if begin > newest {
            reload_events(newest).into_iter().rev().collect()
        } else {
            Vec::new()
        },
        next: begin.min(newest),
    };
    let stream = futures::stream::unfold(follower, |mut follower| async move {
        let event = follower.next_event().await?;
        Some((Ok(event), follower))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// One client and how far it is.
struct Follower {
    app: Shared,
    caller: Caller,
    committed: watch::Receiver<u64>,
    plugins: watch::Receiver<u64>,
    next: u64,
    /// Events read and not yet sent, last first.
    ready: Vec<Event>,
}

impl Follower {
    async fn next_event(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop() {
                return Some(event);
            }
            if self.app.stopping.is_cancelled() {
                return None;
            }
            self.committed.borrow_and_update();
            self.read().await?;
            if !self.ready.is_empty() {
                continue;
            }
            tokio::select! {
                changed = self.committed.changed() => changed.ok()?,
                changed = self.plugins.changed() => {
                    changed.ok()?;
                    return Some(Event::default().event("plugin-change").data("{}"));
                }
                () = self.app.stopping.cancelled() => return None,
            }
        }
    }

    /// Reads what was committed beyond `next`. None ends the stream.
    async fn read(&mut self) -> Option<()> {
        let (app, next): (Arc<App>, u64) = (Arc::clone(&self.app), self.next);
        let records = tokio::task::spawn_blocking(move || app.state.outbox_after(next, READ_RECORDS))
            .await
            .ok()?;
        let records = records
            .inspect_err(|error| tracing::error!(%error, "outbox cannot be read"))
            .ok()?;
        for record in records {
            if record.number > self.next.saturating_add(1) {
                // What lies between was forgotten.
                self.ready.extend(reload_events(record.number - 1));
            }
            self.next = record.number;
            if record.tenant == self.caller.tenant {
                self.ready.extend(events_of(&record));
            }
        }
        self.ready.reverse();
        Some(())
    }
}

/// For a client that missed what cannot be told any more: everything may have changed.
fn reload_events(number: u64) -> Vec<Event> {
    let all = [
        ("incident-change", json!({})),
        ("rule-change", json!({})),
        ("poll-alerts", json!({"fingerprints": []})),
    ];
    let mut events = all.map(|(name, data)| Event::default().event(name).data(data.to_string()));
    if let Some(last) = events.last_mut() {
        *last = std::mem::take(last).id(number.to_string());
    }
    events.into()
}

/// The events of one record. Only the last carries the number: a client that saw part of a record gets all of it again.
fn events_of(record: &OutboxRecord) -> Vec<Event> {
    let mut events: Vec<(&str, serde_json::Value)> = Vec::new();
    for (id, action) in &record.incidents {
        let action = match action {
            IncidentAction::Created => "created",
            IncidentAction::Updated => "updated",
            IncidentAction::Deleted => "deleted",
        };
        events.push((
            "incident-change",
            json!({"incident_id": id.to_string(), "action": action}),
        ));
    }
    if record.rules_changed {
        events.push(("rule-change", json!({})));
    }
    match &record.fingerprints {
        None => events.push(("poll-alerts", json!({"fingerprints": []}))),
        Some(names) if !names.is_empty() => events.push(("poll-alerts", json!({"fingerprints": names}))),
        Some(_) => {}
    }
    let last = events.len();
    let made = events.into_iter().enumerate().map(|(at, (name, data))| {
        let event = Event::default().event(name).data(data.to_string());
        if at + 1 == last {
            event.id(record.number.to_string())
        } else {
            event
        }
    });
    made.collect()
}
