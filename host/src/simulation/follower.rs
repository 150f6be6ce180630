//! A client of `GET /events` that keeps what it was told about and comes back with the position it heard last. It follows
//! the outbox as `api/events.rs` does; in the end its view must be what is committed: whatever changed, it heard of it.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use donjon_core::outbox::{Changed, News};
use donjon_core::state::StateView;
use donjon_core::{AlertState, Fingerprint, Incident, IncidentId, Seq, TenantId};
use donjon_store::StateReader;

/// Outbox records read at a time: few, so that pages end somewhere.
const READ_RECORDS: usize = 2;

/// One client.
pub struct Follower {
    tenant: TenantId,
    next: Seq,
    view: View,
    /// Times it was told to load everything again.
    pub reloads: u64,
}

/// What a client shows: visible incidents, and alerts as far as their last stored event and people made them.
#[derive(Debug, Default, PartialEq)]
struct View {
    alerts: BTreeMap<Fingerprint, String>,
    incidents: BTreeMap<IncidentId, String>,
}

impl Follower {
    pub fn new(tenant: &str) -> Follower {
        Follower {
            tenant: tenant.into(),
            next: Seq(0),
            view: View::default(),
            reloads: 0,
        }
    }

    /// Comes back, and is told all there is.
    pub fn poll(&mut self, state: &StateReader) {
        let newest = state.applied().unwrap();
        if self.next > newest {
            self.reload(state);
            self.next = newest;
        }
        loop {
            let page = state.outbox_after(&self.tenant, self.next, READ_RECORDS).unwrap();
            if self.next < page.forgotten {
                self.next = page.forgotten.max(page.upto);
                self.reload(state);
            } else {
                let news = News::between(&page.records, self.next, page.upto);
                self.next = self.next.max(page.upto);
                self.hear(state, news);
            }
            if page.records.len() < READ_RECORDS {
                return;
            }
        }
    }

    fn reload(&mut self, state: &StateReader) {
        self.reloads += 1;
        self.view = View::of(state, &self.tenant);
    }

    fn hear(&mut self, state: &StateReader, news: News) {
        match news.alerts {
            Changed::Everything => self.view.alerts = View::of(state, &self.tenant).alerts,
            Changed::These(fingerprints) => {
                for fingerprint in fingerprints {
                    let alert = state.alert(&self.tenant, &fingerprint).unwrap();
                    let shown = alert.map(|alert| shown_alert(&alert));
                    replace(&mut self.view.alerts, fingerprint, shown);
                }
            }
        }
        match news.incidents {
            Changed::Everything => self.view.incidents = View::of(state, &self.tenant).incidents,
            Changed::These(incidents) => {
                for (id, _) in incidents {
                    let incident = state.incident(&self.tenant, id).unwrap();
                    let shown = incident
                        .filter(Incident::visible)
                        .map(|incident| shown_incident(&incident));
                    replace(&mut self.view.incidents, id, shown);
                }
            }
        }
    }

    /// Whether it knows what is committed.
    pub fn knows(&self, state: &StateReader) -> Result<(), String> {
        let expected = View::of(state, &self.tenant);
        let tenant = &self.tenant;
        differs(&expected.alerts, &self.view.alerts)
            .map_err(|what| format!("a client of {tenant} was never told of a change of alert {what}"))?;
        differs(&expected.incidents, &self.view.incidents)
            .map_err(|what| format!("a client of {tenant} was never told of a change of incident {what}"))
    }
}

fn replace<K: Ord>(view: &mut BTreeMap<K, String>, key: K, shown: Option<String>) {
    match shown {
        Some(shown) => view.insert(key, shown),
        None => view.remove(&key),
    };
}

fn differs<K: Ord + std::fmt::Display>(
    expected: &BTreeMap<K, String>,
    found: &BTreeMap<K, String>,
) -> Result<(), String> {
    let keys = expected.keys().chain(found.keys());
    match keys.into_iter().find(|key| expected.get(key) != found.get(key)) {
        None => Ok(()),
        Some(key) => Err(format!(
            "{key}: expected {:?}, found {:?}",
            expected.get(key),
            found.get(key)
        )),
    }
}

impl View {
    fn of(state: &StateReader, tenant: &TenantId) -> View {
        let mut view = View::default();
        let alert = |alert: AlertState| {
            view.alerts.insert(alert.fingerprint.clone(), shown_alert(&alert));
            ControlFlow::Continue(())
        };
        state.alerts(tenant, alert).unwrap();
        let incident = |incident: Incident| {
            if incident.visible() {
                view.incidents.insert(incident.id, shown_incident(&incident));
            }
            ControlFlow::Continue(())
        };
        state.incidents(tenant, incident).unwrap();
        view
    }
}

fn shown_alert(alert: &AlertState) -> String {
    format!(
        "event {} {} {:?} failure {:?}",
        alert.last_event.seq,
        alert.status().as_str(),
        alert.severity,
        alert.plugin_failure
    )
}

fn shown_incident(incident: &Incident) -> String {
    format!(
        "{} {} {:?} members {} last seen {:?}",
        incident.name,
        incident.status.as_str(),
        incident.severity,
        incident.members.count,
        incident.last_seen
    )
}
