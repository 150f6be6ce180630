//! What can go wrong with the journal, told apart by what the caller can do about it.

use std::io;
use std::path::{Path, PathBuf};

/// The journal could not be opened, written or read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// No room. Nothing of the refused entries was kept; appending works again once there is room.
    #[error("disk is full, free some space; {action} {}: {source}", path.display())]
    DiskFull {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file system failed otherwise. After a failed append nothing of it was kept.
    #[error("{action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An earlier failure left it unknown what is on the disk; nothing is written until the journal is opened anew.
    #[error("journal refuses writes after a failure; restart donjon to reopen it: {why}")]
    Poisoned {
        /// The failure.
        why: String,
    },
    /// An entry is larger than the limit.
    #[error("journal entry is too large: limit {limit} bytes, found {found}")]
    EntryTooLarge {
        /// The limit.
        limit: usize,
        /// The encoded size.
        found: usize,
    },
    /// A segment or block of a version that this one does not know.
    #[error("journal file {} has an unknown format; run the version of donjon that wrote it: {found}", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// Bytes with a good checksum do not decode, or an entry does not encode. Not damage of the disk but a fault of
    /// the program, or entries of a newer version.
    #[error("journal entry does not {action}; run the newest version of donjon: {why}")]
    Codec {
        /// `encode` or `decode`.
        action: &'static str,
        /// Why.
        why: String,
    },
}

impl JournalError {
    /// A failed sync. Never `DiskFull`, whatever the system said: that would promise that nothing was kept.
    pub(crate) fn sync(path: &Path, source: io::Error) -> JournalError {
        JournalError::Io {
            action: "sync",
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path, source: io::Error) -> JournalError {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                JournalError::DiskFull { action, path, source }
            }
            _ => JournalError::Io { action, path, source },
        }
    }
}
