//! What is stored, as bytes: twins of the domain types, one frozen struct per version, inside an envelope.
//!
//! bincode describes nothing about itself: a field more, or in another order, and old bytes no longer read. So a twin
//! never changes once it is released; a new shape is a new twin with a new version, and the old one learns to become
//! the domain type. Domain types derive nothing here. The envelope tells kind and version and proves the bytes before
//! bincode sees them; bincode then runs with a limit, because without one a forged length aborts the process.

mod alert;
#[cfg(test)]
mod cap_tests;
mod codes;
mod command;
pub(crate) mod fuzzing;
mod incident;
mod link;
mod outbox;
mod remembered;
mod rule;
mod small;
#[cfg(test)]
mod tests;

use bincode::config::{Configuration, Limit, standard};
use bincode::de::BorrowDecode;
use bincode::enc::Encode;

use crate::limits::MAX_RECORD_BYTES;

pub(crate) use alert::head as alert_head;
pub(crate) use command::{CommandV1, GuardV1};
pub(crate) use link::head as link_head;
pub(crate) use remembered::RememberedKey;
pub(crate) use small::{GroupHead, Meta};

/// First byte of every envelope.
const MAGIC: u8 = 0xD7;
/// `magic u8 | kind u8 | version u16 | len u32 | crc32 u32`, big-endian.
pub(crate) const ENVELOPE_BYTES: usize = 12;

/// What a record is. The numbers are stored: they never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[expect(missing_docs, reason = "each is named after what it stores")]
pub enum Kind {
    Meta = 1,
    AlertState = 2,
    HistoryChunk = 3,
    Incident = 4,
    GroupHead = 5,
    Link = 6,
    Rule = 7,
    RuleStats = 8,
    TenantState = 9,
    Outbox = 10,
    DeadLetter = 11,
    KvValue = 12,
    RememberedCommand = 13,
    RememberedKey = 14,
    KvUsage = 15,
}

/// A record could not be encoded or decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Fewer bytes than an envelope has, or than it says.
    #[error("record is cut short: {0} bytes")]
    Short(usize),
    /// No envelope.
    #[error("not a record: first byte {0:#04x}")]
    Magic(u8),
    /// Something else.
    #[error("record of another kind: expected {expected:?}, found {found}")]
    Kind {
        /// What should be there.
        expected: Kind,
        /// What is.
        found: u8,
    },
    /// Written by a newer version.
    #[error("{kind:?} record is of an unknown version; run the version of donjon that wrote it: {found}")]
    Version {
        /// Of what.
        kind: Kind,
        /// Its version.
        found: u16,
    },
    /// Not the bytes that were written.
    #[error("{kind:?} record is damaged: checksum expected {expected:08x}, found {found:08x}")]
    Checksum {
        /// Of what.
        kind: Kind,
        /// As stored.
        expected: u32,
        /// Of the bytes.
        found: u32,
    },
    /// Whole, and not readable.
    #[error("{kind:?} record does not decode: {why}")]
    Body {
        /// Of what.
        kind: Kind,
        /// Why.
        why: String,
    },
    /// Not writable.
    #[error("{kind:?} record does not encode: {why}")]
    Encode {
        /// Of what.
        kind: Kind,
        /// Why.
        why: String,
    },
    /// A number that means nothing.
    #[error("unknown number for {what}: {found}")]
    Code {
        /// Of what.
        what: &'static str,
        /// The number.
        found: u8,
    },
    /// Too large for this store.
    #[error("record is too large: limit {limit} bytes, found {found}")]
    TooLarge {
        /// The most.
        limit: usize,
        /// Its size.
        found: usize,
    },
    /// A key that is too long.
    #[error("key is too long: limit {limit} bytes, found {found}")]
    Key {
        /// The most.
        limit: usize,
        /// Its length.
        found: usize,
    },
}

/// A domain type that has a stored form.
pub(crate) trait Stored: Sized {
    /// Envelope and body of the newest version.
    fn to_bytes(&self) -> Result<Vec<u8>, RecordError>;
    /// Reads any known version.
    fn from_bytes(bytes: &[u8]) -> Result<Self, RecordError>;
}

/// Implements `Stored`: the versions that are read, and the one that is written.
macro_rules! stored {
    ($domain:ty, $kind:expr, reads { $($version:literal => $twin:ident),+ }, writes $newest:literal => $newest_twin:ident) => {
        impl $crate::record::Stored for $domain {
            fn to_bytes(&self) -> Result<Vec<u8>, $crate::record::RecordError> {
                $crate::record::seal($kind, $newest, &$newest_twin::from(self))
            }

            fn from_bytes(bytes: &[u8]) -> Result<Self, $crate::record::RecordError> {
                let (version, body) = $crate::record::unseal($kind, bytes)?;
                match version {
                    $($version => Self::try_from($crate::record::decode_body::<$twin>($kind, body)?),)+
                    found => Err($crate::record::RecordError::Version { kind: $kind, found }),
                }
            }
        }
    };
}
pub(crate) use stored;

fn config() -> Configuration<bincode::config::LittleEndian, bincode::config::Varint, Limit<MAX_RECORD_BYTES>> {
    standard().with_limit::<MAX_RECORD_BYTES>()
}

fn seal<T: Encode>(kind: Kind, version: u16, twin: &T) -> Result<Vec<u8>, RecordError> {
    let failed = |why: String| RecordError::Encode { kind, why };
    let mut bytes = Vec::with_capacity(256);
    bytes.resize(ENVELOPE_BYTES, 0);
    bincode::encode_into_std_write(twin, &mut bytes, config()).map_err(|error| failed(error.to_string()))?;
    let (head, body) = bytes.split_at_mut(ENVELOPE_BYTES);
    let len = u32::try_from(body.len())
        .ok()
        .filter(|_| body.len() <= MAX_RECORD_BYTES);
    let len = len.ok_or_else(|| failed(format!("larger than {MAX_RECORD_BYTES} bytes: {}", body.len())))?;
    let crc = checksum(kind as u8, version, body);
    let fields = [MAGIC, kind as u8].into_iter();
    let fields = fields
        .chain(version.to_be_bytes())
        .chain(len.to_be_bytes())
        .chain(crc.to_be_bytes());
    for (to, from) in head.iter_mut().zip(fields) {
        *to = from;
    }
    Ok(bytes)
}

/// Kind and version are part of the checksum: a flipped bit there is damage, not "a newer version".
fn checksum(kind: u8, version: u16, body: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[kind]);
    hasher.update(&version.to_be_bytes());
    hasher.update(body);
    hasher.finalize()
}

/// An envelope, opened and not yet believed.
struct Envelope<'a> {
    kind: u8,
    version: u16,
    crc: u32,
    body: &'a [u8],
}

fn envelope(bytes: &[u8]) -> Result<Envelope<'_>, RecordError> {
    let Some((&[magic, found_kind, v0, v1, l0, l1, l2, l3, c0, c1, c2, c3], body)) =
        bytes.split_first_chunk::<ENVELOPE_BYTES>()
    else {
        return Err(RecordError::Short(bytes.len()));
    };
    if magic != MAGIC {
        return Err(RecordError::Magic(magic));
    }
    if u32::from_be_bytes([l0, l1, l2, l3]) as usize != body.len() {
        return Err(RecordError::Short(bytes.len()));
    }
    Ok(Envelope {
        kind: found_kind,
        version: u16::from_be_bytes([v0, v1]),
        crc: u32::from_be_bytes([c0, c1, c2, c3]),
        body,
    })
}

/// Whether the bytes of a record, of whatever kind and version, are those that were written.
pub(crate) fn is_whole(bytes: &[u8]) -> bool {
    envelope(bytes).is_ok_and(|found| checksum(found.kind, found.version, found.body) == found.crc)
}

fn unseal(kind: Kind, bytes: &[u8]) -> Result<(u16, &[u8]), RecordError> {
    let Envelope {
        kind: found_kind,
        version,
        crc: expected,
        body,
    } = envelope(bytes)?;
    let found = checksum(found_kind, version, body);
    if found != expected {
        return Err(RecordError::Checksum { kind, expected, found });
    }
    if found_kind != kind as u8 {
        return Err(RecordError::Kind {
            expected: kind,
            found: found_kind,
        });
    }
    Ok((version, body))
}

fn decode_body<'a, T: BorrowDecode<'a, ()>>(kind: Kind, body: &'a [u8]) -> Result<T, RecordError> {
    let failed = |why: String| RecordError::Body { kind, why };
    let (twin, read) = bincode::borrow_decode_from_slice(body, config()).map_err(|error| failed(error.to_string()))?;
    if read != body.len() {
        return Err(failed(format!("bytes left over: {}", body.len() - read)));
    }
    Ok(twin)
}
