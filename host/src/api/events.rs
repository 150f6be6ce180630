//! `GET /events`: server-sent events from the outbox. At least once. The identifier of an event is the journal position
//! up to which a client has been told everything; positions mean the same after any replay or rebuild, so a client
//! that names one as its `Last-Event-ID` misses nothing. Where what it missed is not there any more, it is told to load
//! everything again.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use donjon_core::outbox::{Changed, IncidentAction, News};
use donjon_core::{Seq, TenantId};
use futures::Stream;
use serde_json::json;
use tokio::sync::watch;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::Shared;
use crate::http::auth::Caller;
use crate::http::error::ApiError;

/// Outbox records read at a time.
const READ_RECORDS: usize = 64;
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
        Some(text) => {
            let number = text.trim().parse::<u64>();
            Seq(number.map_err(|_| ApiError::bad_request(format!("Last-Event-ID must be a number, found: {text}")))?)
        }
        None => *committed.borrow(),
    };
    let newest = *committed.borrow();
    let follower = Follower {
        tenant: caller.tenant,
        committed,
        plugins: app.plugin_changes.clone(),
        // Ahead of what is applied: state went back and is being made again, or the data are others than they were.
        ready: if begin > newest {
            reload_events(newest).into_iter().rev().collect()
        } else {
            Vec::new()
        },
        next: begin.min(newest),
        app: Arc::clone(&app),
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
    tenant: TenantId,
    committed: watch::Receiver<Seq>,
    plugins: watch::Receiver<u64>,
    /// Everything up to this entry has been told.
    next: Seq,
    /// Events read and not yet sent, last first.
    ready: Vec<Event>,
}

/// Whether reading came to the end of what is committed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reached {
    Newest,
    PageEnd,
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
            if self.read().await? == Reached::PageEnd || !self.ready.is_empty() {
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
    async fn read(&mut self) -> Option<Reached> {
        let (app, tenant, next) = (Arc::clone(&self.app), self.tenant.clone(), self.next);
        let read = tokio::task::spawn_blocking(move || app.state.outbox_after(&tenant, next, READ_RECORDS));
        let page = read
            .await
            .ok()?
            .inspect_err(|error| tracing::error!(%error, "outbox cannot be read"))
            .ok()?;
        if next < page.forgotten {
            // Everything is loaded anew, so what is committed by now need not be told one by one.
            self.next = page.forgotten.max(page.upto);
            self.ready = reload_events(self.next);
        } else {
            self.next = next.max(page.upto);
            self.ready = events_of(&News::between(&page.records, next, page.upto), self.next);
        }
        self.ready.reverse();
        Some(if page.records.len() < READ_RECORDS {
            Reached::Newest
        } else {
            Reached::PageEnd
        })
    }
}

/// For a client that missed what cannot be told any more: everything may have changed.
fn reload_events(upto: Seq) -> Vec<Event> {
    let news = News {
        incidents: Changed::Everything,
        alerts: Changed::Everything,
        rules: true,
    };
    events_of(&news, upto)
}

/// The events of some news. Only the last carries the position: a client that saw part of them gets all of them again.
fn events_of(news: &News, upto: Seq) -> Vec<Event> {
    let mut events: Vec<(&str, serde_json::Value)> = Vec::new();
    match &news.incidents {
        Changed::Everything => events.push(("incident-change", json!({}))),
        Changed::These(incidents) => events.extend(incidents.iter().map(|(id, action)| {
            let data = json!({"incident_id": id.to_string(), "action": action_name(*action)});
            ("incident-change", data)
        })),
    }
    if news.rules {
        events.push(("rule-change", json!({})));
    }
    match &news.alerts {
        Changed::Everything => events.push(("poll-alerts", json!({"fingerprints": []}))),
        Changed::These(alerts) if alerts.is_empty() => {}
        Changed::These(alerts) => {
            let names: Vec<&str> = alerts.iter().map(donjon_core::Fingerprint::as_str).collect();
            events.push(("poll-alerts", json!({"fingerprints": names})));
        }
    }
    let last = events.len();
    let made = events.into_iter().enumerate().map(|(at, (name, data))| {
        let event = Event::default().event(name).data(data.to_string());
        if at + 1 == last {
            event.id(upto.to_string())
        } else {
            event
        }
    });
    made.collect()
}

fn action_name(action: IncidentAction) -> &'static str {
    match action {
        IncidentAction::Created => "created",
        IncidentAction::Updated => "updated",
        IncidentAction::Deleted => "deleted",
    }
}
