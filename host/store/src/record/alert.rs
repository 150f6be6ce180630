//! Stored forms of alert states and their history.
//!
//! The events of an alert resemble each other, and a state carries dozens of them: each is stored as the difference to
//! the one before, which small numbers make small (a third of the size, and sled rewrites every byte several times).

use std::borrow::Cow;

use bincode::{BorrowDecode, Encode};
use donjon_core::alert_state::{AlertState, StoredEvent};
use donjon_core::digest::ContentDigest;
use donjon_core::state::HistoryChunk;
use donjon_core::{IncidentId, Seq, Timestamp};

use super::{Kind, RecordError, Stored, codes, decode_body, stored, unseal};

stored!(AlertState, Kind::AlertState, reads { 1 => AlertStateV1 }, writes 1 => AlertStateV1);
stored!(HistoryChunk, Kind::HistoryChunk, reads { 1 => HistoryChunkV1 }, writes 1 => HistoryChunkV1);

#[derive(Encode, BorrowDecode)]
struct AlertStateV1<'a> {
    tenant: &'a str,
    fingerprint: &'a str,
    /// `recent`, then the newest.
    events: Vec<StoredEventV1>,
    last_event_id: &'a str,
    first_accepted: u64,
    digest: [u8; 16],
    severity: u8,
    last_received: u64,
    received_range: (u64, u64),
    status_override: Option<u8>,
    duplicates: u64,
    event_count: u64,
    enrichments: Vec<(&'a str, Option<&'a str>)>,
    plugin_failure: Option<&'a str>,
    open_links: Vec<[u8; 16]>,
    history_chunks: u32,
}

/// What a list of alerts is ordered by: the position of the newest event, and whose it is. Makes no texts of its own, because a list looks
/// at every alert of a tenant to show a few.
pub(crate) fn head(bytes: &[u8]) -> Result<(Seq, Cow<'_, str>), RecordError> {
    let (version, body) = unseal(Kind::AlertState, bytes)?;
    if version != 1 {
        let state = AlertState::from_bytes(bytes)?;
        return Ok((state.last_event.seq, Cow::Owned(state.fingerprint.as_str().to_owned())));
    }
    let twin = decode_body::<AlertStateV1<'_>>(Kind::AlertState, body)?;
    let newest = twin.events.iter().fold(0, |seq, event| sum(seq, event.seq));
    Ok((Seq(newest), Cow::Borrowed(twin.fingerprint)))
}

#[derive(Encode, BorrowDecode)]
struct HistoryChunkV1<'a> {
    tenant: &'a str,
    fingerprint: &'a str,
    number: u32,
    events: Vec<StoredEventV1>,
}

/// Differences to the event before; the first one to zeros. They wrap, so that any two values have one.
#[derive(Encode, BorrowDecode)]
struct StoredEventV1 {
    /// Low 3 bits: status; bit 3: has `firing_start`; bit 4: has `firing_start_since_resolved`.
    flags: u8,
    seq: i64,
    accepted: i64,
    firing_counter: i64,
    unresolved_counter: i64,
    firing_start: i64,
    firing_start_since_resolved: i64,
}

const STATUS_BITS: u8 = 0b111;
const HAS_START: u8 = 1 << 3;
const HAS_SINCE: u8 = 1 << 4;

/// What an event is stored as the difference to.
#[derive(Clone, Copy, Default)]
struct Before {
    seq: u64,
    accepted: u64,
    firing_counter: u64,
    unresolved_counter: u64,
    firing_start: u64,
    firing_start_since_resolved: u64,
}

fn difference(now: u64, before: u64) -> i64 {
    now.wrapping_sub(before).cast_signed()
}

fn sum(before: u64, difference: i64) -> u64 {
    before.wrapping_add(difference.cast_unsigned())
}

impl Before {
    fn encode(&mut self, event: &StoredEvent) -> StoredEventV1 {
        let mut flags = codes::status::code(event.status);
        if event.firing_start.is_some() {
            flags |= HAS_START;
        }
        if event.firing_start_since_resolved.is_some() {
            flags |= HAS_SINCE;
        }
        let now = Before {
            seq: event.seq.0,
            accepted: event.accepted.0,
            firing_counter: u64::from(event.firing_counter),
            unresolved_counter: u64::from(event.unresolved_counter),
            // An absent time repeats the one before: a difference of zero.
            firing_start: event.firing_start.map_or(self.firing_start, |time| time.0),
            firing_start_since_resolved: event
                .firing_start_since_resolved
                .map_or(self.firing_start_since_resolved, |time| time.0),
        };
        let twin = StoredEventV1 {
            flags,
            seq: difference(now.seq, self.seq),
            accepted: difference(now.accepted, self.accepted),
            firing_counter: difference(now.firing_counter, self.firing_counter),
            unresolved_counter: difference(now.unresolved_counter, self.unresolved_counter),
            firing_start: difference(now.firing_start, self.firing_start),
            firing_start_since_resolved: difference(now.firing_start_since_resolved, self.firing_start_since_resolved),
        };
        *self = now;
        twin
    }

    fn decode(&mut self, twin: &StoredEventV1) -> Result<StoredEvent, RecordError> {
        *self = Before {
            seq: sum(self.seq, twin.seq),
            accepted: sum(self.accepted, twin.accepted),
            firing_counter: sum(self.firing_counter, twin.firing_counter),
            unresolved_counter: sum(self.unresolved_counter, twin.unresolved_counter),
            firing_start: sum(self.firing_start, twin.firing_start),
            firing_start_since_resolved: sum(self.firing_start_since_resolved, twin.firing_start_since_resolved),
        };
        if twin.flags & !(STATUS_BITS | HAS_START | HAS_SINCE) != 0 {
            return Err(RecordError::Code {
                what: "event flags",
                found: twin.flags,
            });
        }
        let counter = |value: u64, what| u32::try_from(value).map_err(|_| RecordError::Code { what, found: u8::MAX });
        Ok(StoredEvent {
            seq: Seq(self.seq),
            accepted: Timestamp(self.accepted),
            status: codes::status::value(twin.flags & STATUS_BITS)?,
            firing_counter: counter(self.firing_counter, "firing counter")?,
            unresolved_counter: counter(self.unresolved_counter, "unresolved counter")?,
            firing_start: (twin.flags & HAS_START != 0).then_some(Timestamp(self.firing_start)),
            firing_start_since_resolved: (twin.flags & HAS_SINCE != 0)
                .then_some(Timestamp(self.firing_start_since_resolved)),
        })
    }
}

fn encode_events<'e>(events: impl Iterator<Item = &'e StoredEvent>) -> Vec<StoredEventV1> {
    let mut before = Before::default();
    events.map(|event| before.encode(event)).collect()
}

fn decode_events(twins: &[StoredEventV1]) -> Result<Vec<StoredEvent>, RecordError> {
    let mut before = Before::default();
    twins.iter().map(|twin| before.decode(twin)).collect()
}

impl<'a> From<&'a AlertState> for AlertStateV1<'a> {
    fn from(state: &'a AlertState) -> Self {
        AlertStateV1 {
            tenant: state.tenant.as_str(),
            fingerprint: state.fingerprint.as_str(),
            events: encode_events(state.recent.iter().chain([&state.last_event])),
            last_event_id: state.last_event_id.as_str(),
            first_accepted: state.first_accepted.0,
            digest: state.digest.0,
            severity: codes::severity::code(state.severity),
            last_received: state.last_received.0,
            received_range: (state.received_range.0.0, state.received_range.1.0),
            status_override: state.status_override.map(codes::status::code),
            duplicates: state.duplicates,
            event_count: state.event_count,
            enrichments: state
                .enrichments
                .iter()
                .map(|(path, json)| (path.as_str(), json.as_deref()))
                .collect(),
            plugin_failure: state.plugin_failure.as_deref(),
            open_links: state.open_links.iter().map(|id| id.0).collect(),
            history_chunks: state.history_chunks,
        }
    }
}

impl TryFrom<AlertStateV1<'_>> for AlertState {
    type Error = RecordError;

    fn try_from(twin: AlertStateV1<'_>) -> Result<Self, RecordError> {
        let mut recent = decode_events(&twin.events)?;
        let no_event = || RecordError::Body {
            kind: Kind::AlertState,
            why: "no event in it".to_owned(),
        };
        let enrichments = twin.enrichments.into_iter();
        Ok(AlertState {
            tenant: twin.tenant.into(),
            fingerprint: twin.fingerprint.into(),
            last_event: recent.pop().ok_or_else(no_event)?,
            last_event_id: twin.last_event_id.into(),
            first_accepted: Timestamp(twin.first_accepted),
            digest: ContentDigest(twin.digest),
            severity: codes::severity::value(twin.severity)?,
            last_received: Timestamp(twin.last_received),
            received_range: (Timestamp(twin.received_range.0), Timestamp(twin.received_range.1)),
            status_override: twin.status_override.map(codes::status::value).transpose()?,
            duplicates: twin.duplicates,
            event_count: twin.event_count,
            enrichments: enrichments
                .map(|(path, json)| (path.to_owned(), json.map(str::to_owned)))
                .collect(),
            plugin_failure: twin.plugin_failure.map(str::to_owned),
            open_links: twin.open_links.into_iter().map(IncidentId).collect(),
            recent,
            history_chunks: twin.history_chunks,
        })
    }
}

impl<'a> From<&'a HistoryChunk> for HistoryChunkV1<'a> {
    fn from(chunk: &'a HistoryChunk) -> Self {
        HistoryChunkV1 {
            tenant: chunk.tenant.as_str(),
            fingerprint: chunk.fingerprint.as_str(),
            number: chunk.number,
            events: encode_events(chunk.events.iter()),
        }
    }
}

impl TryFrom<HistoryChunkV1<'_>> for HistoryChunk {
    type Error = RecordError;

    fn try_from(twin: HistoryChunkV1<'_>) -> Result<Self, RecordError> {
        Ok(HistoryChunk {
            tenant: twin.tenant.into(),
            fingerprint: twin.fingerprint.into(),
            number: twin.number,
            events: decode_events(&twin.events)?,
        })
    }
}
