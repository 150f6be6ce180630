//! Entries as bytes: twins, frozen per version; the block header says which version its entries have.

use bincode::config::{Configuration, Limit, standard};
use bincode::{BorrowDecode, Encode};
use donjon_core::command::{Command, Guard};
use donjon_core::{EventId, Seq, TenantId, Timestamp};

use super::entry::{Entry, EntryBody, NewEntry};
use super::error::JournalError;
use crate::limits::MAX_ENTRY_BYTES;
use crate::record::{CommandV1, GuardV1};

/// The version of entries that is written. Version 2 has variants that version 1 has not, and is the same for the rest.
pub(super) const ENTRY_VERSION: u16 = 2;
/// The oldest version of entries that is read.
pub(super) const OLDEST_ENTRY_VERSION: u16 = 1;

#[derive(Encode, BorrowDecode)]
struct EntryV1<'a> {
    accepted: u64,
    tenant: &'a str,
    body: BodyV1<'a>,
}

/// Variants are stored by their position: new ones go to the end.
#[derive(Encode, BorrowDecode)]
enum BodyV1<'a> {
    Alert {
        event_id: &'a str,
        provider: &'a str,
        api_key_name: &'a str,
        document: &'a [u8],
        id_generated: bool,
    },
    Command {
        actor: &'a str,
        command: CommandV1<'a>,
    },
    DeadLetter {
        provider: &'a str,
        reason: &'a str,
        raw: &'a [u8],
    },
    /// Since version 2.
    GuardedCommand {
        actor: &'a str,
        guard: GuardV1<'a>,
        command: CommandV1<'a>,
    },
}

fn config() -> Configuration<bincode::config::LittleEndian, bincode::config::Varint, Limit<MAX_ENTRY_BYTES>> {
    standard().with_limit::<MAX_ENTRY_BYTES>()
}

/// Appends the bytes of an entry to `out`; gives their number. On an error `out` may have grown.
pub(super) fn encode(entry: &NewEntry, accepted: Timestamp, out: &mut Vec<u8>) -> Result<usize, JournalError> {
    let body = match &entry.body {
        EntryBody::Alert {
            event_id,
            provider,
            api_key_name,
            document,
            id_generated,
        } => BodyV1::Alert {
            event_id: event_id.as_str(),
            provider,
            api_key_name,
            document,
            id_generated: *id_generated,
        },
        EntryBody::Command { actor, guard, command } if *guard == Guard::default() => BodyV1::Command {
            actor,
            command: CommandV1::from(command),
        },
        EntryBody::Command { actor, guard, command } => BodyV1::GuardedCommand {
            actor,
            guard: GuardV1::from(guard),
            command: CommandV1::from(command),
        },
        EntryBody::DeadLetter { provider, reason, raw } => BodyV1::DeadLetter { provider, reason, raw },
    };
    let twin = EntryV1 {
        accepted: accepted.0,
        tenant: entry.tenant.as_str(),
        body,
    };
    let encoded = bincode::encode_into_std_write(twin, out, config());
    let found = encoded.map_err(|error| JournalError::Codec {
        action: "encode",
        why: error.to_string(),
    })?;
    if found > MAX_ENTRY_BYTES {
        return Err(JournalError::EntryTooLarge {
            limit: MAX_ENTRY_BYTES,
            found,
        });
    }
    Ok(found)
}

/// How many bytes of an entry a command takes, with what guards it.
#[must_use]
pub fn command_bytes(guard: &Guard, command: &Command) -> usize {
    let mut counted = Counted(0);
    let both = (GuardV1::from(guard), CommandV1::from(command));
    // Counting has no limit and cannot fail.
    let _ = bincode::encode_into_std_write(both, &mut counted, standard());
    counted.0
}

/// Counts what is written and keeps nothing.
struct Counted(usize);

impl std::io::Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self.0.saturating_add(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Reads an entry. `like` is the tenant of the entry before: most have the same, and share its text.
pub(super) fn decode(bytes: &[u8], seq: Seq, like: Option<&TenantId>) -> Result<Entry, JournalError> {
    let failed = |why: String| JournalError::Codec {
        action: "decode",
        why: format!("seq {seq}: {why}"),
    };
    let (twin, read): (EntryV1<'_>, usize) =
        bincode::borrow_decode_from_slice(bytes, config()).map_err(|error| failed(error.to_string()))?;
    if read != bytes.len() {
        return Err(failed(format!("bytes left over: {}", bytes.len() - read)));
    }
    let body = match twin.body {
        BodyV1::Alert {
            event_id,
            provider,
            api_key_name,
            document,
            id_generated,
        } => EntryBody::Alert {
            event_id: EventId::from(event_id),
            provider: provider.to_owned(),
            api_key_name: api_key_name.to_owned(),
            document: document.to_vec(),
            id_generated,
        },
        BodyV1::Command { actor, command } => EntryBody::Command {
            actor: actor.to_owned(),
            guard: Guard::default(),
            command: Command::try_from(command).map_err(|error| failed(error.to_string()))?,
        },
        BodyV1::GuardedCommand { actor, guard, command } => EntryBody::Command {
            actor: actor.to_owned(),
            guard: Guard::from(guard),
            command: Command::try_from(command).map_err(|error| failed(error.to_string()))?,
        },
        BodyV1::DeadLetter { provider, reason, raw } => EntryBody::DeadLetter {
            provider: provider.to_owned(),
            reason: reason.to_owned(),
            raw: raw.to_vec(),
        },
    };
    let tenant = match like {
        Some(like) if like.as_str() == twin.tenant => like.clone(),
        _ => TenantId::from(twin.tenant),
    };
    Ok(Entry {
        seq,
        accepted: Timestamp(twin.accepted),
        tenant,
        body,
    })
}
