//! Entries of the journal as the rest of the house sees them. Knows no bytes.

use donjon_core::command::{Command, Guard};
use donjon_core::{EventId, Seq, TenantId, Timestamp};

/// One entry.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Its position.
    pub seq: Seq,
    /// When it was accepted; not earlier than the entry before, unless a clock that was far ahead was put right
    /// (`Journal::go_back_to`).
    pub accepted: Timestamp,
    /// Whose it is.
    pub tenant: TenantId,
    /// What it says.
    pub body: EntryBody,
}

/// An entry that has no position yet.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEntry {
    /// When it was accepted; an earlier time than that of the entry before is raised to it.
    pub accepted: Timestamp,
    /// Whose it is.
    pub tenant: TenantId,
    /// What it says.
    pub body: EntryBody,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq)]
pub enum EntryBody {
    /// An accepted event of an alert.
    Alert {
        /// The occurrence.
        event_id: EventId,
        /// The type of the provider that it was sent to; may be empty.
        provider: String,
        /// The name (not the secret) of the key that it was sent with.
        api_key_name: String,
        /// The normalised event as canonical JSON.
        document: Vec<u8>,
        /// Whether the sender gave no `id`.
        id_generated: bool,
    },
    /// What a person told the engine (I3).
    Command {
        /// Who.
        actor: String,
        /// When it is applied.
        guard: Guard,
        /// What.
        command: Command,
    },
    /// An item that was refused, kept for people.
    DeadLetter {
        /// The type of the provider that it was sent to; may be empty.
        provider: String,
        /// Why it was refused.
        reason: String,
        /// What was sent, as it came.
        raw: Vec<u8>,
    },
}

impl Entry {
    /// Bytes of its free-form content; what `max_bytes` of a read counts.
    pub(crate) fn content_bytes(&self) -> usize {
        match &self.body {
            EntryBody::Alert { document, .. } => document.len(),
            EntryBody::Command { .. } => 0,
            EntryBody::DeadLetter { raw, reason, .. } => raw.len() + reason.len(),
        }
    }
}
