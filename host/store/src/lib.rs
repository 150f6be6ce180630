//! Where Donjon keeps things: the journal (ground state) and the derived state in sled.
//!
//! This is the only crate that knows keys and bytes; `FORMAT.md` beside it draws them. It is synchronous and must not
//! know HTTP, components, an async runtime, JSON or a clock: times are arguments, documents are bytes. No type of
//! sled, bincode or zstd appears in a public signature.

mod checkpoint;
pub mod data_dir;
pub mod day;
#[doc(hidden)]
pub mod fuzzing;
pub mod journal;
pub mod limits;
mod record;
#[cfg(feature = "simulation")]
pub mod simulation;
pub mod state;
#[cfg(test)]
mod testing;

pub use checkpoint::{CheckpointError, Checkpoints, Restored};
pub use data_dir::{DataDir, OpenError};
pub use day::Day;
pub use journal::{
    Durability, Entry, EntryBody, Journal, JournalError, JournalOptions, JournalReader, NewEntry, RecoveryReport,
};
pub use record::{Kind as RecordKind, RecordError};
pub use state::{
    CommitError, MemberPage, Progress, Reopened, State, StateOpenError, StateOptions, StateReader, Top, put_in_place,
};
