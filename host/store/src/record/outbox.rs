//! The stored form of outbox records. Version 1 was keyed by a running number and is not read any more: what it said is
//! forgotten when a state that has it is opened (`state/open.rs`).

use bincode::{BorrowDecode, Encode};
use donjon_core::outbox::{OutboxRecord, OutboxWindow, Touch, Touched};
use donjon_core::{Fingerprint, IncidentId, Seq};

use super::{Kind, RecordError, codes, stored};

stored!(OutboxRecord, Kind::Outbox, reads { 2 => OutboxRecordV2 }, writes 2 => OutboxRecordV2);

/// Positions are stored as the difference to the first one of the window: one byte each.
#[derive(Encode, BorrowDecode)]
struct OutboxRecordV2<'a> {
    tenant: &'a str,
    window: u64,
    incidents: TouchedV2<TouchV2>,
    alerts: TouchedV2<(&'a str, u64)>,
    rules: Option<u64>,
}

#[derive(Encode, BorrowDecode)]
enum TouchedV2<T> {
    Named(Vec<T>),
    TooMany(u64),
}

#[derive(Encode, BorrowDecode)]
struct TouchV2 {
    incident: [u8; 16],
    action: u8,
    seq: u64,
    shown: Option<u64>,
}

impl<'a> From<&'a OutboxRecord> for OutboxRecordV2<'a> {
    fn from(record: &'a OutboxRecord) -> Self {
        let first = record.window.first();
        let from_first = |seq: Seq| seq.0.wrapping_sub(first.0);
        let touch = |(id, touch): (&IncidentId, &Touch)| TouchV2 {
            incident: id.0,
            action: codes::incident_action::code(touch.action),
            seq: from_first(touch.seq),
            shown: touch.shown.map(from_first),
        };
        OutboxRecordV2 {
            tenant: record.tenant.as_str(),
            window: record.window.0,
            incidents: match &record.incidents {
                Touched::Named(named) => TouchedV2::Named(named.iter().map(touch).collect()),
                Touched::TooMany(seq) => TouchedV2::TooMany(from_first(*seq)),
            },
            alerts: match &record.alerts {
                Touched::Named(named) => TouchedV2::Named(
                    named
                        .iter()
                        .map(|(name, seq)| (name.as_str(), from_first(*seq)))
                        .collect(),
                ),
                Touched::TooMany(seq) => TouchedV2::TooMany(from_first(*seq)),
            },
            rules: record.rules.map(from_first),
        }
    }
}

impl TryFrom<OutboxRecordV2<'_>> for OutboxRecord {
    type Error = RecordError;

    fn try_from(twin: OutboxRecordV2<'_>) -> Result<Self, RecordError> {
        let window = OutboxWindow(twin.window);
        let seq = |from_first: u64| Seq(window.first().0.wrapping_add(from_first));
        let touch = |touch: TouchV2| {
            let action = codes::incident_action::value(touch.action)?;
            let (at, shown) = (seq(touch.seq), touch.shown.map(seq));
            Ok((IncidentId(touch.incident), Touch { action, seq: at, shown }))
        };
        Ok(OutboxRecord {
            tenant: twin.tenant.into(),
            window,
            incidents: match twin.incidents {
                TouchedV2::Named(list) => {
                    Touched::Named(list.into_iter().map(touch).collect::<Result<_, RecordError>>()?)
                }
                TouchedV2::TooMany(at) => Touched::TooMany(seq(at)),
            },
            alerts: match twin.alerts {
                TouchedV2::Named(list) => Touched::Named(
                    list.into_iter()
                        .map(|(name, at)| (Fingerprint::from(name), seq(at)))
                        .collect(),
                ),
                TouchedV2::TooMany(at) => Touched::TooMany(seq(at)),
            },
            rules: twin.rules.map(seq),
        })
    }
}
