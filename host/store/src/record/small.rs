//! Stored forms of the small things: the cursor, group heads, counters of tenants, dead letters, values of plugins and
//! how much of them there is.

use bincode::{BorrowDecode, Encode};
use donjon_core::batch::{KvUsage, KvValue};
use donjon_core::command::DeadLetter;
use donjon_core::state::TenantState;
use donjon_core::{IncidentId, Seq, Timestamp};

use super::{Kind, RecordError, stored};

stored!(Meta, Kind::Meta, reads { 1 => MetaV1, 2 => MetaV2, 3 => MetaV3 }, writes 3 => MetaV3);
stored!(GroupHead, Kind::GroupHead, reads { 1 => GroupHeadV1 }, writes 1 => GroupHeadV1);
stored!(TenantState, Kind::TenantState, reads { 1 => TenantStateV1, 2 => TenantStateV2 }, writes 2 => TenantStateV2);
stored!(DeadLetter, Kind::DeadLetter, reads { 1 => DeadLetterV1 }, writes 1 => DeadLetterV1);
stored!(KvValue, Kind::KvValue, reads { 1 => KvValueV1, 2 => KvValueV2 }, writes 2 => KvValueV2);
stored!(KvUsage, Kind::KvUsage, reads { 1 => KvUsageV1 }, writes 1 => KvUsageV1);

/// What every commit writes: how far the journal is applied (I2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Journal entries up to here are applied.
    pub(crate) applied: Seq,
    /// The outbox says nothing of entries up to here: they were applied by a version that kept it otherwise. 0 for none.
    pub(crate) outbox_from: Seq,
    /// When the newest entry that plugins were asked about was accepted. 0 for none.
    pub(crate) newest_judged: Timestamp,
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

/// Before values of plugins were removed when they expire.
#[derive(Encode, BorrowDecode)]
struct MetaV2 {
    applied: u64,
    outbox_from: u64,
}

#[derive(Encode, BorrowDecode)]
struct MetaV3 {
    applied: u64,
    outbox_from: u64,
    newest_judged: u64,
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

/// Before writes were counted.
#[derive(Encode, BorrowDecode)]
struct KvValueV1<'a> {
    bytes: &'a [u8],
    expires: Option<u64>,
}

#[derive(Encode, BorrowDecode)]
struct KvValueV2<'a> {
    bytes: &'a [u8],
    version: u64,
    expires: Option<u64>,
}

#[derive(Encode, BorrowDecode)]
struct KvUsageV1 {
    keys: u64,
    bytes: u64,
}

impl From<&Meta> for MetaV3 {
    fn from(meta: &Meta) -> Self {
        MetaV3 {
            applied: meta.applied.0,
            outbox_from: meta.outbox_from.0,
            newest_judged: meta.newest_judged.0,
        }
    }
}

impl TryFrom<MetaV1> for Meta {
    type Error = RecordError;

    fn try_from(twin: MetaV1) -> Result<Self, RecordError> {
        Ok(Meta {
            applied: Seq(twin.applied),
            outbox_from: Seq(twin.applied),
            ..Meta::default()
        })
    }
}

impl TryFrom<MetaV2> for Meta {
    type Error = RecordError;

    fn try_from(twin: MetaV2) -> Result<Self, RecordError> {
        Ok(Meta {
            applied: Seq(twin.applied),
            outbox_from: Seq(twin.outbox_from),
            ..Meta::default()
        })
    }
}

impl TryFrom<MetaV3> for Meta {
    type Error = RecordError;

    fn try_from(twin: MetaV3) -> Result<Self, RecordError> {
        Ok(Meta {
            applied: Seq(twin.applied),
            outbox_from: Seq(twin.outbox_from),
            newest_judged: Timestamp(twin.newest_judged),
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

impl<'a> From<&'a KvValue> for KvValueV2<'a> {
    fn from(value: &'a KvValue) -> Self {
        KvValueV2 {
            bytes: &value.bytes,
            version: value.version,
            expires: value.expires.map(|time| time.0),
        }
    }
}

impl TryFrom<KvValueV1<'_>> for KvValue {
    type Error = RecordError;

    fn try_from(twin: KvValueV1<'_>) -> Result<Self, RecordError> {
        Ok(KvValue {
            bytes: twin.bytes.to_vec(),
            version: 1,
            expires: twin.expires.map(Timestamp),
        })
    }
}

impl TryFrom<KvValueV2<'_>> for KvValue {
    type Error = RecordError;

    fn try_from(twin: KvValueV2<'_>) -> Result<Self, RecordError> {
        Ok(KvValue {
            bytes: twin.bytes.to_vec(),
            version: twin.version,
            expires: twin.expires.map(Timestamp),
        })
    }
}

impl From<&KvUsage> for KvUsageV1 {
    fn from(usage: &KvUsage) -> Self {
        KvUsageV1 {
            keys: usage.keys,
            bytes: usage.bytes,
        }
    }
}

impl TryFrom<KvUsageV1> for KvUsage {
    type Error = RecordError;

    fn try_from(twin: KvUsageV1) -> Result<Self, RecordError> {
        Ok(KvUsage {
            keys: twin.keys,
            bytes: twin.bytes,
        })
    }
}
