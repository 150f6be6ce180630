//! What is lost, and where: the values that tell it, and a sealed segment held against what its successor says. Nothing
//! here repairs anything, and nothing here is silent: whoever reads a journal gets these values beside the entries.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use donjon_core::Seq;

use super::error::JournalError;
use super::scan::{Depth, Scan, read_at_most, scan};
use super::segment::{self, HEADER_LEN, HeaderCheck, Segment};

/// How entries were lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DamageKind {
    /// Bytes that do not read, or that belong to another file.
    Unreadable,
    /// No file holds these positions: a segment is missing, was emptied or cut, or another one is in its place.
    Missing,
    /// The journal ends before a position that derived state, or a checkpoint of it, has seen.
    Tail,
}

/// Entries of the journal that are lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// How.
    pub kind: DamageKind,
    /// The segment file; the folder of the journal where there is no file.
    pub path: PathBuf,
    /// Where the unreadable or missing bytes begin.
    pub offset: u64,
    /// How many bytes do not read; none where they are missing.
    pub bytes: u64,
    /// The first position that may be lost.
    pub first_lost: Seq,
    /// The last position that may be lost; before the first if only bytes between entries are damaged.
    pub last_lost: Seq,
}

impl Damage {
    /// Whether a position after `seq` may be lost.
    #[must_use]
    pub fn loses_after(&self, seq: Seq) -> bool {
        self.first_lost <= self.last_lost && self.last_lost > seq
    }

    /// Whether it says all that `other` says: a look at headers and a look at bodies cut one place in different pieces.
    pub(super) fn covers(&self, other: &Damage) -> bool {
        self.kind == other.kind
            && self.path == other.path
            && self.offset <= other.offset
            && self.offset + self.bytes >= other.offset + other.bytes
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        let (offset, bytes) = (self.offset, self.bytes);
        match self.kind {
            DamageKind::Unreadable => write!(f, "{bytes} bytes at offset {offset} do not read in {path}")?,
            DamageKind::Missing => write!(
                f,
                "no file holds what comes after offset {offset} of {path}: a segment is missing, was emptied or cut off, or \
                 another one is in its place"
            )?,
            DamageKind::Tail => write!(
                f,
                "the journal ends at offset {offset} of {path} ({bytes} bytes after it do not read), before entries that \
                 derived state has seen"
            )?,
        }
        if self.first_lost > self.last_lost {
            return write!(f, "; no entry is lost");
        }
        write!(f, "; lost entries {} to {}", self.first_lost, self.last_lost)
    }
}

/// Reads a sealed segment. It was synced whole, so it holds every position up to the one before its successor's first,
/// but for those that were left out on purpose (`Segment::skipped_before`): what is not there is damage.
pub(super) fn scan_sealed(segment: &Segment, successor: Option<&Segment>, depth: Depth) -> Result<Scan, JournalError> {
    let mut found = scan(segment, depth, segment.info.last_seq)?;
    let skipped = match successor {
        Some(successor) => skipped_before(successor)?,
        None => 0,
    };
    let last_given = Seq(segment.info.last_seq.0.saturating_sub(skipped));
    let first_lost = found
        .blocks
        .last()
        .map_or(segment.info.first_seq, |block| block.header.last_seq().next());
    let damage = |kind, offset, bytes, first_lost, last_lost| Damage {
        kind,
        path: segment.path.clone(),
        offset,
        bytes,
        first_lost,
        last_lost,
    };
    let foreign = found.header == HeaderCheck::Damaged && found.file_len >= HEADER_LEN;
    if foreign && found.blocks.is_empty() {
        found.damage = vec![damage(
            DamageKind::Unreadable,
            0,
            found.file_len,
            first_lost,
            last_given,
        )];
        return Ok(found);
    }
    if foreign {
        // The positions of its blocks are in their own headers.
        let none = Seq(segment.info.first_seq.0.saturating_sub(1));
        let header = damage(DamageKind::Unreadable, 0, HEADER_LEN, segment.info.first_seq, none);
        found.damage.push(header);
    }
    if found.good_len < found.file_len {
        let bytes = found.file_len - found.good_len;
        let tail = damage(DamageKind::Unreadable, found.good_len, bytes, first_lost, last_given);
        found.damage.push(tail);
    } else if first_lost <= last_given {
        let missing = damage(DamageKind::Missing, found.file_len, 0, first_lost, last_given);
        found.damage.push(missing);
    }
    Ok(found)
}

/// A file of the list that is not there.
pub(super) fn missing_file(segment: &Segment) -> Damage {
    Damage {
        kind: DamageKind::Missing,
        path: segment.path.clone(),
        offset: 0,
        bytes: 0,
        first_lost: segment.info.first_seq,
        last_lost: segment.info.last_seq,
    }
}

/// Positions that were left out on purpose right before a segment; none if its header does not read.
pub(super) fn skipped_before(segment: &Segment) -> Result<u64, JournalError> {
    Ok(good_header(segment)?.map_or(0, |header| segment::skipped_of(&header)))
}

/// Whether a file has the header that belongs to its name.
pub(super) fn header_reads(segment: &Segment) -> Result<bool, JournalError> {
    Ok(good_header(segment)?.is_some())
}

fn good_header(segment: &Segment) -> Result<Option<[u8; segment::HEADER_BYTES]>, JournalError> {
    let failed = |source| JournalError::io("read journal file", &segment.path, source);
    let file = match File::open(&segment.path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed)?,
    };
    let mut head = [0u8; segment::HEADER_BYTES];
    let read = read_at_most(&file, &mut head, 0).map_err(failed)?;
    let bytes = head.get(..read).unwrap_or_default();
    let good = segment::check_header(bytes, segment.info.day, segment.info.first_seq) == HeaderCheck::Good;
    Ok(good.then_some(head))
}

/// Beside which name the bytes of a damaged tail are kept.
pub(super) fn aside(path: &Path, offset: u64) -> PathBuf {
    let free = |attempt: u32| {
        let extension = if attempt == 0 {
            format!("{offset}.damaged")
        } else {
            format!("{offset}-{attempt}.damaged")
        };
        let aside = path.with_extension(extension);
        (!aside.exists()).then_some(aside)
    };
    (0..u32::MAX)
        .find_map(free)
        .unwrap_or_else(|| path.with_extension("damaged"))
}
