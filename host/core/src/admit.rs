//! The first pure step: is an event new, and what does it make of its alert? Fingerprints are given; windows, rules and
//! incidents come later (`settle`).

use crate::alert::{Event, Status};
use crate::alert_state::{AlertState, StoredEvent};
use crate::ids::Timestamp;
use crate::incident::MemberView;
use crate::limits::RECENT_EVENTS;
use crate::state::{HistoryChunk, StateError, StateView};
use crate::working::Working;

/// How an event relates to what was known of its alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dedup {
    /// The first event of its fingerprint.
    First,
    /// Known alert, new content: stored as a new event.
    Update,
    /// Same content as the newest event: counted, not stored, not correlated.
    Duplicate,
}

/// What `admit` found out, for `settle`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admission {
    /// New or not.
    pub dedup: Dedup,
    /// The alert as incidents saw it before the event, but for its severity; none for a first event.
    pub before: Option<MemberView>,
    /// The alert as they see it now.
    pub after: MemberView,
    /// What was computed for the event; for a duplicate, what the one before it has.
    pub stored: StoredEvent,
    /// When the first event of the alert was accepted; none for that event itself.
    pub first_accepted: Option<Timestamp>,
}

/// Takes one event into the state of its alert.
///
/// # Errors
/// When committed state cannot be read.
pub fn admit<V: StateView>(working: &mut Working<V>, event: &Event) -> Result<Admission, StateError> {
    let (tenant, fingerprint) = (&event.tenant, &event.alert.fingerprint);
    let Some(state) = working.alert_mut(tenant, fingerprint)? else {
        let state = first_state(event);
        let stored = state.last_event;
        working.put_alert(state);
        return Ok(Admission {
            dedup: Dedup::First,
            before: None,
            after: view_of(event, &stored),
            stored,
            first_accepted: None,
        });
    };
    let before = MemberView {
        status: state.status(),
        severity: state.severity,
        unresolved: state.unresolved(),
    };
    if state.digest == event.digest {
        state.last_received = state.last_received.max(event.alert.last_received);
        state.duplicates += 1;
        return Ok(Admission {
            dedup: Dedup::Duplicate,
            before: Some(before),
            after: before,
            stored: state.last_event,
            first_accepted: Some(state.first_accepted),
        });
    }
    let chunk = take_event(state, event);
    let (stored, first_accepted) = (state.last_event, Some(state.first_accepted));
    if let Some(chunk) = chunk {
        working.put_history(chunk);
    }
    Ok(Admission {
        dedup: Dedup::Update,
        before: Some(before),
        after: view_of(event, &stored),
        stored,
        first_accepted,
    })
}

fn view_of(event: &Event, stored: &StoredEvent) -> MemberView {
    MemberView {
        status: stored.status,
        severity: event.alert.severity,
        unresolved: stored.unresolved_counter,
    }
}

fn first_state(event: &Event) -> AlertState {
    let received = event.alert.last_received;
    let firing = event.alert.status == Status::Firing;
    AlertState {
        tenant: event.tenant.clone(),
        fingerprint: event.alert.fingerprint.clone(),
        last_event: StoredEvent {
            seq: event.seq,
            accepted: event.accepted,
            status: event.alert.status,
            firing_counter: u32::from(event.alert.status != Status::Acknowledged),
            unresolved_counter: u32::from(event.alert.status != Status::Resolved),
            firing_start: firing.then_some(received),
            firing_start_since_resolved: firing.then_some(received),
        },
        last_event_id: event.event_id.clone(),
        first_accepted: event.accepted,
        digest: event.digest,
        severity: event.alert.severity,
        last_received: received,
        received_range: (received, received),
        status_override: None,
        duplicates: 0,
        event_count: 1,
        enrichments: Vec::new(),
        plugin_failure: None,
        open_links: Vec::new(),
        recent: Vec::new(),
        history_chunks: 0,
    }
}

/// Makes the event the newest of a known alert; answers a history chunk when the list of recent events is full. Severity
/// and the range of times are left to `settle`, which must not see what later events of the batch brought.
fn take_event(state: &mut AlertState, event: &Event) -> Option<HistoryChunk> {
    let stored = following(state, event);
    state.recent.push(state.last_event);
    state.last_event = stored;
    state.last_event_id = event.event_id.clone();
    state.digest = event.digest;
    state.last_received = event.alert.last_received;
    state.status_override = None;
    state.duplicates = 0;
    state.event_count += 1;
    if state.recent.len() < RECENT_EVENTS {
        return None;
    }
    let number = state.history_chunks;
    state.history_chunks += 1;
    Some(HistoryChunk {
        tenant: state.tenant.clone(),
        fingerprint: state.fingerprint.clone(),
        number,
        events: std::mem::take(&mut state.recent),
    })
}

/// The computed fields of the next stored event (`semantics.md`, section 3, step 6b).
fn following(state: &AlertState, event: &Event) -> StoredEvent {
    let (previous, previous_status, status) = (&state.last_event, state.status(), event.alert.status);
    let received = event.alert.last_received;
    StoredEvent {
        seq: event.seq,
        accepted: event.accepted,
        status,
        firing_counter: match (status, previous_status) {
            (Status::Acknowledged, _) => 0,
            (_, Status::Acknowledged) => 1,
            _ => previous.firing_counter.saturating_add(1),
        },
        unresolved_counter: match (status, previous_status) {
            (Status::Resolved, _) => 0,
            (_, Status::Resolved) => 1,
            _ => previous.unresolved_counter.saturating_add(1),
        },
        firing_start: firing_start(status, previous_status, previous.firing_start, received),
        firing_start_since_resolved: match (status, previous_status) {
            (Status::Resolved, _) => None,
            (Status::Firing, Status::Resolved) => Some(received),
            _ => previous.firing_start_since_resolved,
        },
    }
}

fn firing_start(now: Status, before: Status, start: Option<Timestamp>, received: Timestamp) -> Option<Timestamp> {
    match (now, before) {
        (Status::Firing, Status::Firing) => start,
        (Status::Firing, _) => Some(received),
        _ => None,
    }
}
