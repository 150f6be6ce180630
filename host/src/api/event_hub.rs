//! What clients of `GET /events` are told, put together once for all clients of a tenant: one task reads the outbox, at a
//! bounded rate, and hands the finished text to every stream. Knows no request.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Bytes;
use donjon_core::outbox::{Changed, IncidentAction, News};
use donjon_core::{Seq, TenantId};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast};

use crate::http::Shared;
use crate::http::shares::Shares;

/// Outbox records read at a time.
const READ_RECORDS: usize = 64;
/// Time between two tellings: what is committed meanwhile is told together. A stream costs one write each time, however
/// many batches are committed.
const TELL_EVERY: Duration = Duration::from_millis(100);
/// Tellings that a client may be behind; one that is further behind is told to load everything again.
pub const BEHIND: usize = 16;
/// Streams at once that read what they missed before they came.
const CATCHING_UP_AT_ONCE: usize = 2;

/// Events for the clients of a tenant.
#[derive(Debug)]
pub struct Telling {
    /// What came before is not in it.
    pub after: Seq,
    /// Everything up to here is told with it.
    pub upto: Seq,
    /// The events, as they are sent.
    pub text: Bytes,
}

/// Hands news to streams.
pub struct EventHub {
    app: Shared,
    tenants: Mutex<HashMap<TenantId, broadcast::Sender<Arc<Telling>>>>,
    places: Arc<Semaphore>,
    places_of_tenants: Shares,
    catching_up: Semaphore,
}

/// The place of one stream.
pub struct Place {
    _permits: [OwnedSemaphorePermit; 2],
    app: Shared,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.app.metrics.event_streams.dec();
    }
}

impl EventHub {
    /// A hub for so many streams.
    pub fn new(app: Shared, max_streams: usize) -> Arc<EventHub> {
        Arc::new(EventHub {
            places_of_tenants: Shares::new(app.auth.tenants(), max_streams),
            app,
            tenants: Mutex::new(HashMap::new()),
            places: Arc::new(Semaphore::new(max_streams.min(Semaphore::MAX_PERMITS))),
            catching_up: Semaphore::new(CATCHING_UP_AT_ONCE),
        })
    }

    /// A place for a stream of a tenant, if there is one.
    pub fn place(&self, tenant: &TenantId) -> Option<Place> {
        let own = self.places_of_tenants.of(tenant).try_acquire_owned().ok()?;
        let permit = Arc::clone(&self.places).try_acquire_owned().ok()?;
        self.app.metrics.event_streams.inc();
        Some(Place {
            _permits: [own, permit],
            app: Arc::clone(&self.app),
        })
    }

    /// Follows what is told to a tenant from now on.
    pub fn follow(self: &Arc<Self>, tenant: &TenantId) -> broadcast::Receiver<Arc<Telling>> {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = tenants.get(tenant) {
            return known.subscribe();
        }
        let (sender, receiver) = broadcast::channel(BEHIND);
        tenants.insert(tenant.clone(), sender.clone());
        let begin = *self.app.committed.borrow();
        tokio::spawn(Arc::clone(self).tell(tenant.clone(), sender, begin));
        receiver
    }

    /// Tells a tenant's clients what is committed, as long as there are any.
    async fn tell(self: Arc<Self>, tenant: TenantId, clients: broadcast::Sender<Arc<Telling>>, begin: Seq) {
        let mut committed = self.app.committed.clone();
        // `read` is how far the outbox is read; what was told ends at `told`, and nothing happened in between.
        let (mut read, mut told) = (begin, begin);
        loop {
            committed.borrow_and_update();
            while let Some(news) = self.read(&tenant, read).await {
                read = news.upto;
                if !news.text.is_empty() {
                    let telling = Telling {
                        after: told,
                        ..news.telling()
                    };
                    told = telling.upto;
                    // Streams may have gone; that is looked at below.
                    let _ = clients.send(Arc::new(telling));
                }
                if news.newest {
                    break;
                }
            }
            tokio::select! {
                () = tokio::time::sleep(TELL_EVERY) => {}
                () = self.app.stopping.cancelled() => return,
            }
            if self.nobody_listens(&tenant, &clients) {
                return;
            }
            tokio::select! {
                changed = committed.changed() => if changed.is_err() { return },
                // Looked at now and then, so that the task ends with its last client.
                () = tokio::time::sleep(10 * TELL_EVERY) => {}
                () = self.app.stopping.cancelled() => return,
            }
        }
    }

    fn nobody_listens(&self, tenant: &TenantId, clients: &broadcast::Sender<Arc<Telling>>) -> bool {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let nobody = clients.receiver_count() == 0;
        if nobody {
            tenants.remove(tenant);
        }
        nobody
    }

    /// What a client that knows everything up to `after` missed; a few clients at a time.
    pub async fn catch_up(&self, tenant: &TenantId, after: Seq) -> Option<Page> {
        let _turn = self.catching_up.acquire().await.ok()?;
        self.read(tenant, after).await
    }

    async fn read(&self, tenant: &TenantId, after: Seq) -> Option<Page> {
        let (app, tenant) = (Arc::clone(&self.app), tenant.clone());
        let reading = tokio::task::spawn_blocking(move || app.state.outbox_after(&tenant, after, READ_RECORDS));
        let page = reading
            .await
            .ok()?
            .inspect_err(|error| tracing::error!(%error, "outbox cannot be read"))
            .ok()?;
        // Where something was forgotten all is loaded anew: what is committed by now need not be told one by one.
        let (news, upto) = if after < page.forgotten {
            (everything(), page.forgotten.max(page.upto))
        } else {
            (News::between(&page.records, after, page.upto), after.max(page.upto))
        };
        Some(Page {
            upto,
            text: text_of(&news, upto),
            newest: page.records.len() < READ_RECORDS,
        })
    }
}

/// Some of what a tenant is to be told.
#[derive(Debug)]
pub struct Page {
    /// Up to here.
    pub upto: Seq,
    /// The events; empty if there are none.
    pub text: Bytes,
    /// Whether there is nothing more.
    pub newest: bool,
}

impl Page {
    fn telling(&self) -> Telling {
        Telling {
            after: Seq(0),
            upto: self.upto,
            text: self.text.clone(),
        }
    }
}

/// For a client that missed what cannot be told any more.
fn everything() -> News {
    News {
        incidents: Changed::Everything,
        alerts: Changed::Everything,
        rules: true,
    }
}

/// The events that make a client load everything again.
pub fn reload(upto: Seq) -> Bytes {
    text_of(&everything(), upto)
}

/// The events of some news. Only the last carries the position: a client that saw part of them gets all of them again.
fn text_of(news: &News, upto: Seq) -> Bytes {
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
    let mut text = String::new();
    let last = events.len();
    for (at, (name, data)) in events.into_iter().enumerate() {
        // JSON as serde_json prints it is one line.
        text.push_str(&format!("event: {name}\ndata: {data}\n"));
        if at + 1 == last {
            text.push_str(&format!("id: {upto}\n"));
        }
        text.push('\n');
    }
    text.into()
}

fn action_name(action: IncidentAction) -> &'static str {
    match action {
        IncidentAction::Created => "created",
        IncidentAction::Updated => "updated",
        IncidentAction::Deleted => "deleted",
    }
}
