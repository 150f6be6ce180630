//! Stored records with a checksum that fits and a body from a stranger: the checksum stops all that chance can do, so a
//! fuzzer is let past it. Never part of reading or writing.

use std::fmt::Debug;

use donjon_core::AlertState;
use donjon_core::Incident;
use donjon_core::batch::{KvUsage, KvValue};
use donjon_core::command::{DeadLetter, RememberedCommand};
use donjon_core::incident::Link;
use donjon_core::outbox::OutboxRecord;
use donjon_core::rule::{Rule, RuleStats};
use donjon_core::state::{HistoryChunk, TenantState};

use super::{GroupHead, Kind, MAGIC, Meta, RememberedKey, Stored, checksum};

/// A record: the first byte of `data` says of which kind, the second of which version, the rest is its body.
///
/// # Panics
/// When something decodes that does not encode, or not to the same again: that is what is looked for.
pub fn record(data: &[u8]) {
    let Some((&[which, version], body)) = data.split_first_chunk::<2>() else {
        return;
    };
    let version = u16::from(version % 4);
    match which % 15 {
        0 => check::<AlertState>(Kind::AlertState, version, body),
        1 => check::<HistoryChunk>(Kind::HistoryChunk, version, body),
        2 => check::<Incident>(Kind::Incident, version, body),
        3 => check::<Link>(Kind::Link, version, body),
        4 => check::<Rule>(Kind::Rule, version, body),
        5 => check::<RuleStats>(Kind::RuleStats, version, body),
        6 => check::<TenantState>(Kind::TenantState, version, body),
        7 => check::<OutboxRecord>(Kind::Outbox, version, body),
        8 => check::<DeadLetter>(Kind::DeadLetter, version, body),
        9 => check::<GroupHead>(Kind::GroupHead, version, body),
        10 => check::<Meta>(Kind::Meta, version, body),
        11 => check::<KvValue>(Kind::KvValue, version, body),
        12 => check::<RememberedCommand>(Kind::RememberedCommand, version, body),
        13 => check::<RememberedKey>(Kind::RememberedKey, version, body),
        _ => check::<KvUsage>(Kind::KvUsage, version, body),
    }
}

fn check<T: Stored + PartialEq + Debug>(kind: Kind, version: u16, body: &[u8]) {
    let Ok(read) = T::from_bytes(&sealed(kind, version, body)) else {
        return;
    };
    let again = read.to_bytes().and_then(|bytes| T::from_bytes(&bytes));
    assert_eq!(again.as_ref(), Ok(&read), "what was read is not read again");
}

fn sealed(kind: Kind, version: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![MAGIC, kind as u8];
    bytes.extend(version.to_be_bytes());
    bytes.extend(u32::try_from(body.len()).unwrap_or(u32::MAX).to_be_bytes());
    bytes.extend(checksum(kind as u8, version, body).to_be_bytes());
    bytes.extend(body);
    bytes
}
