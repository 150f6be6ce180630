//! The journal: what the outside told us, in the order it was accepted (ground state).
//!
//! Segment files by day, blocks of many entries, one write a block, one `fdatasync` for all requests that wait. What
//! makes it hard is not the writing but what a crash leaves behind: `scan.rs` decides what is a torn tail and what is
//! damage, `open.rs` acts on it, and `FORMAT.md` has the table. This module must not know what an entry means.

mod block;
mod cache;
mod catalogue;
mod codec;
mod damage;
mod entry;
mod error;
pub mod files;
pub(crate) mod fuzzing;
mod open;
mod reader;
mod retention;
mod scan;
mod segment;
#[cfg(test)]
mod tests;
mod writer;

pub use codec::command_bytes;
pub use damage::{Damage, DamageKind};
pub use entry::{Entry, EntryBody, NewEntry};
pub use error::JournalError;
pub use open::{RecoveryReport, TornTail};
pub use reader::JournalReader;
pub use retention::{RetentionPolicy, freeable};
pub use segment::SegmentInfo;
pub use writer::{Freed, Journal};

use donjon_core::Seq;

use crate::limits::{MAX_BLOCK_ENTRIES, MAX_BLOCK_RAW_OPTION};

/// What `sync` promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// Entries are on stable storage when `sync` returns (I1).
    #[default]
    Fsync,
    /// Entries are with the operating system when `sync` returns: they survive the death of the process, **not** that
    /// of the machine. An explicit opt-out of I1.
    Buffered,
}

/// How a journal is written. Reading needs none of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalOptions {
    /// A new segment begins at the first block after this many bytes.
    pub segment_bytes: u64,
    /// A block is closed at this many uncompressed bytes; at most `MAX_BLOCK_RAW_OPTION`.
    pub block_raw_bytes: usize,
    /// A block is closed at this many entries; at most `MAX_BLOCK_ENTRIES`.
    pub block_entries: usize,
    /// Level of zstd.
    pub compression_level: i32,
    /// What `sync` promises.
    pub durability: Durability,
    /// Somebody (derived state, a checkpoint of it) has seen the journal up to here, so it was acknowledged: a journal
    /// that ends earlier when it is opened has lost something, and gives none of these positions again.
    pub seen: Seq,
}

impl Default for JournalOptions {
    fn default() -> Self {
        JournalOptions {
            segment_bytes: 64 * 1024 * 1024,
            block_raw_bytes: 128 * 1024,
            block_entries: 512,
            compression_level: 1,
            durability: Durability::Fsync,
            seen: Seq(0),
        }
    }
}

impl JournalOptions {
    /// The same with every value inside its limits.
    fn bounded(self) -> JournalOptions {
        JournalOptions {
            block_raw_bytes: self.block_raw_bytes.clamp(1, MAX_BLOCK_RAW_OPTION),
            block_entries: self.block_entries.clamp(1, MAX_BLOCK_ENTRIES),
            ..self
        }
    }
}
