//! The stored form of outbox records.

use bincode::{BorrowDecode, Encode};
use donjon_core::outbox::OutboxRecord;
use donjon_core::{IncidentId, Timestamp};

use super::{Kind, RecordError, codes, stored};

stored!(OutboxRecord, Kind::Outbox, reads { 1 => OutboxRecordV1 }, writes 1 => OutboxRecordV1);

#[derive(Encode, BorrowDecode)]
struct OutboxRecordV1<'a> {
    number: u64,
    tenant: &'a str,
    at: u64,
    incidents: Vec<([u8; 16], u8)>,
    fingerprints: Option<Vec<&'a str>>,
    rules_changed: bool,
}

impl<'a> From<&'a OutboxRecord> for OutboxRecordV1<'a> {
    fn from(record: &'a OutboxRecord) -> Self {
        let incidents = record.incidents.iter();
        let fingerprints = record.fingerprints.as_ref();
        OutboxRecordV1 {
            number: record.number,
            tenant: record.tenant.as_str(),
            at: record.at.0,
            incidents: incidents
                .map(|(id, action)| (id.0, codes::incident_action::code(*action)))
                .collect(),
            fingerprints: fingerprints.map(|list| list.iter().map(String::as_str).collect()),
            rules_changed: record.rules_changed,
        }
    }
}

impl TryFrom<OutboxRecordV1<'_>> for OutboxRecord {
    type Error = RecordError;

    fn try_from(twin: OutboxRecordV1<'_>) -> Result<Self, RecordError> {
        let incident = |(id, action)| Ok((IncidentId(id), codes::incident_action::value(action)?));
        Ok(OutboxRecord {
            number: twin.number,
            tenant: twin.tenant.into(),
            at: Timestamp(twin.at),
            incidents: twin
                .incidents
                .into_iter()
                .map(incident)
                .collect::<Result<_, RecordError>>()?,
            fingerprints: twin
                .fingerprints
                .map(|list| list.into_iter().map(str::to_owned).collect()),
            rules_changed: twin.rules_changed,
        })
    }
}
