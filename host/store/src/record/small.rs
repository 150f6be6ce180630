//! Stored forms of the small things: the cursor, group heads, counters of tenants, dead letters, values of plugins.

use bincode::{BorrowDecode, Encode};
use donjon_core::batch::KvValue;
use donjon_core::command::DeadLetter;
use donjon_core::state::TenantState;
use donjon_core::{IncidentId, Seq, Timestamp};

use super::{Kind, RecordError, stored};

stored!(Meta, Kind::Meta, reads { 1 => MetaV1, 2 => MetaV2 }, writes 2 => MetaV2);
stored!(GroupHead, Kind::GroupHead, reads { 1 => GroupHeadV1 }, writes 1 => GroupHeadV1);
stored!(TenantState, Kind::TenantState, reads { 1 => TenantStateV1, 2 => TenantStateV2 }, writes 2 => TenantStateV2);
stored!(DeadLetter, Kind::DeadLetter, reads { 1 => DeadLetterV1 }, writes 1 => DeadLetterV1);
stored!(KvValue, Kind::KvValue, reads { 1 => KvValueV1 }, writes 1 => KvValueV1);

/// What every commit writes: how far the journal is applied (I2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Journal entries up to here are applied.
    pub(crate) applied: Seq,
    /// The outbox says nothing of entries up to here: they were applied by a version that kept it otherwise. 0 for none.
    pub(crate) outbox_from: Seq,
}

/// The newest incident of a group of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupHead(pub(crate) IncidentId);

/// Its outbox was numbered; the range of the numbers means nothing any more.
#[derive(Encode, BorrowDecode)]
struct MetaV1 {
    applied: u64,
    _outbox_last: u64,
    _outbox_first: u64,
}

#[derive(Encode, BorrowDecode)]
struct MetaV2 {
    applied: u64,
    outbox_from: u64,
}

#[derive(Encode, BorrowDecode)]
struct GroupHeadV1 {
    incident: [u8; 16],
}

/// Before commands were given with keys.
#[derive(Encode, BorrowDecode)]
struct TenantStateV1 {
    last_running_number: u64,
    offered: u64,
    rules_version: u64,
}

#[derive(Encode, BorrowDecode)]
struct TenantStateV2 {
    last_running_number: u64,
    offered: u64,
    rules_version: u64,
    keys_forgotten: u64,
    keys_used: u64,
}

#[derive(Encode, BorrowDecode)]
struct DeadLetterV1<'a> {
    reason: &'a str,
    accepted: u64,
    provider: &'a str,
}

#[derive(Encode, BorrowDecode)]
struct KvValueV1<'a> {
    bytes: &'a [u8],
    expires: Option<u64>,
}

impl From<&Meta> for MetaV2 {
    fn from(meta: &Meta) -> Self {
        MetaV2 {
            applied: meta.applied.0,
            outbox_from: meta.outbox_from.0,
        }
    }
}

impl TryFrom<MetaV1> for Meta {
    type Error = RecordError;

    fn try_from(twin: MetaV1) -> Result<Self, RecordError> {
        Ok(Meta {
            applied: Seq(twin.applied),
            outbox_from: Seq(twin.applied),
        })
    }
}

impl TryFrom<MetaV2> for Meta {
    type Error = RecordError;

    fn try_from(twin: MetaV2) -> Result<Self, RecordError> {
        Ok(Meta {
            applied: Seq(twin.applied),
            outbox_from: Seq(twin.outbox_from),
        })
    }
}

impl From<&GroupHead> for GroupHeadV1 {
    fn from(head: &GroupHead) -> Self {
        GroupHeadV1 { incident: head.0.0 }
    }
}

impl TryFrom<GroupHeadV1> for GroupHead {
    type Error = RecordError;

    fn try_from(twin: GroupHeadV1) -> Result<Self, RecordError> {
        Ok(GroupHead(IncidentId(twin.incident)))
    }
}

impl From<&TenantState> for TenantStateV2 {
    fn from(state: &TenantState) -> Self {
        TenantStateV2 {
            last_running_number: state.last_running_number,
            offered: state.offered,
            rules_version: state.rules_version,
            keys_forgotten: state.keys_forgotten,
            keys_used: state.keys_used,
        }
    }
}

impl TryFrom<TenantStateV1> for TenantState {
    type Error = RecordError;

    fn try_from(twin: TenantStateV1) -> Result<Self, RecordError> {
        Ok(TenantState {
            last_running_number: twin.last_running_number,
            offered: twin.offered,
            rules_version: twin.rules_version,
            ..TenantState::default()
        })
    }
}

impl TryFrom<TenantStateV2> for TenantState {
    type Error = RecordError;

    fn try_from(twin: TenantStateV2) -> Result<Self, RecordError> {
        Ok(TenantState {
            last_running_number: twin.last_running_number,
            offered: twin.offered,
            rules_version: twin.rules_version,
            keys_forgotten: twin.keys_forgotten,
            keys_used: twin.keys_used,
        })
    }
}

impl<'a> From<&'a DeadLetter> for DeadLetterV1<'a> {
    fn from(letter: &'a DeadLetter) -> Self {
        DeadLetterV1 {
            reason: &letter.reason,
            accepted: letter.accepted.0,
            provider: &letter.provider,
        }
    }
}

impl TryFrom<DeadLetterV1<'_>> for DeadLetter {
    type Error = RecordError;

    fn try_from(twin: DeadLetterV1<'_>) -> Result<Self, RecordError> {
        Ok(DeadLetter {
            reason: twin.reason.to_owned(),
            accepted: Timestamp(twin.accepted),
            provider: twin.provider.to_owned(),
        })
    }
}

impl<'a> From<&'a KvValue> for KvValueV1<'a> {
    fn from(value: &'a KvValue) -> Self {
        KvValueV1 {
            bytes: &value.bytes,
            expires: value.expires.map(|time| time.0),
        }
    }
}

impl TryFrom<KvValueV1<'_>> for KvValue {
    type Error = RecordError;

    fn try_from(twin: KvValueV1<'_>) -> Result<Self, RecordError> {
        Ok(KvValue {
            bytes: twin.bytes.to_vec(),
            expires: twin.expires.map(Timestamp),
        })
    }
}
