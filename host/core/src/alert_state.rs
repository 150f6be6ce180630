//! What is remembered of an alert (one fingerprint of one tenant) between events. Knows no bytes and no clock.

use crate::alert::{Severity, Status};
use crate::digest::ContentDigest;
use crate::ids::{EventId, Fingerprint, IncidentId, Seq, TenantId, Timestamp};

/// The state of an alert after its newest stored event.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertState {
    /// Whose it is.
    pub tenant: TenantId,
    /// Which series.
    pub fingerprint: Fingerprint,
    /// The newest stored event.
    pub last_event: StoredEvent,
    /// Its occurrence.
    pub last_event_id: EventId,
    /// Acceptance time of the first event ever; never changes.
    pub first_accepted: Timestamp,
    /// Content of the newest stored event.
    pub digest: ContentDigest,
    /// Severity of the newest stored event, patches included.
    pub severity: Severity,
    /// `lastReceived` of the newest delivery, duplicates included.
    pub last_received: Timestamp,
    /// Smallest and largest `lastReceived` of all stored events.
    pub received_range: (Timestamp, Timestamp),
    /// A status that a person gave it, until the next stored event.
    pub status_override: Option<Status>,
    /// Full duplicates since the newest stored event.
    pub duplicates: u64,
    /// Stored events in all.
    pub event_count: u64,
    /// What enrichers added: dotted path to JSON text, `None` for removed, in order of their setting.
    pub enrichments: Vec<(String, Option<String>)>,
    /// The last failure of a plugin on the newest event, if any (I6).
    pub plugin_failure: Option<String>,
    /// Open incidents this alert is linked to; oldest first, bounded.
    pub open_links: Vec<IncidentId>,
    /// Stored events before the newest one, oldest first, at most the limit; older ones are in history chunks.
    pub recent: Vec<StoredEvent>,
    /// History chunks written so far.
    pub history_chunks: u32,
}

/// One stored event: where it is in the journal, and what was computed for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoredEvent {
    /// Position in the journal.
    pub seq: Seq,
    /// When it was accepted.
    pub accepted: Timestamp,
    /// The status it brought.
    pub status: Status,
    /// `firingCounter`.
    pub firing_counter: u32,
    /// `unresolvedCounter`.
    pub unresolved_counter: u32,
    /// `firingStartTime`.
    pub firing_start: Option<Timestamp>,
    /// `firingStartTimeSinceLastResolved`.
    pub firing_start_since_resolved: Option<Timestamp>,
}

impl AlertState {
    /// The status that counts: a person's, else the event's.
    #[must_use]
    pub fn status(&self) -> Status {
        self.status_override.unwrap_or(self.last_event.status)
    }

    /// `unresolvedCounter` as the reference reads it: zero once the alert counts as resolved.
    #[must_use]
    pub fn unresolved(&self) -> u32 {
        if self.status() == Status::Resolved {
            0
        } else {
            self.last_event.unresolved_counter
        }
    }
}
