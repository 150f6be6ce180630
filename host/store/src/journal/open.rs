//! Opening a journal: what a crash left behind is found, cut or reported, and writing goes on behind it.
//!
//! Only the newest segment can have a torn tail: every older one was synced before its successor was created. It is
//! read whole; of the others only the names are looked at, so opening takes the same time however long the journal is.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use donjon_core::{Seq, Timestamp};

use super::catalogue::Catalogue;
use super::error::JournalError;
use super::files::{Files, SegmentFile};
use super::scan::{self, Damage, Depth, Scan};
use super::segment::{self, HEADER_LEN, HeaderCheck, Segment, SegmentInfo};

/// What opening a journal found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// The position of the newest entry; 0 if there never was one.
    pub last_seq: Seq,
    /// When the newest entry was accepted; 0 if there is none.
    pub last_accepted: Timestamp,
    /// Segments kept.
    pub segments: usize,
    /// Their size, in bytes.
    pub bytes: u64,
    /// What was cut off the end, if anything. It was never acknowledged unless the disk lost synced data.
    pub torn: Option<TornTail>,
    /// Damage in the newest segment with good blocks after it: lost entries.
    pub damage: Vec<Damage>,
}

/// Bytes that were cut off the end of the newest segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// The segment file; if nothing good was in it, it is removed or renamed to `.unreadable`.
    pub path: PathBuf,
    /// Where the cut is.
    pub offset: u64,
    /// How many bytes were cut.
    pub bytes: u64,
    /// The largest position that the cut bytes still named, if it was larger than those kept. It is not given again.
    pub largest_seq: Option<Seq>,
}

/// An opened journal, in parts.
pub(super) struct Opened {
    pub(super) catalogue: Catalogue,
    /// The file of the newest segment.
    pub(super) active: Option<Box<dyn SegmentFile>>,
    pub(super) last_accepted: Timestamp,
    pub(super) report: RecoveryReport,
}

/// Opens the journal in a directory that exists.
pub(super) fn open(dir: &Path, files: &mut dyn Files) -> Result<Opened, JournalError> {
    let mut segments = list(dir)?;
    let mut report = RecoveryReport::default();
    // No position below this one is ever given again.
    let mut next_seq = Seq(1);
    let mut blocks = Vec::new();
    let mut active = None;
    while let Some(newest) = segments.back_mut() {
        next_seq = next_seq.max(newest.info.first_seq);
        let found = scan::scan(newest, Depth::Bodies)?;
        next_seq = found.largest_seq.map_or(next_seq, |seq| next_seq.max(seq.next()));
        report.torn = report.torn.or_else(|| torn_tail(newest, &found));
        if found.blocks.is_empty() && found.header == HeaderCheck::Damaged {
            // The process died while it created the file: the one before it is the newest.
            put_away(newest, &found, files)?;
            files
                .sync_dir(dir)
                .map_err(|error| JournalError::io("sync", dir, error))?;
            segments.pop_back();
            continue;
        }
        active = Some(open_newest(newest, &found, files)?);
        report.damage = found.damage;
        blocks = found.blocks;
        break;
    }
    report.last_accepted = match blocks.last() {
        Some(block) => block.header.last_accepted,
        None => accepted_before_the_newest(&segments)?,
    };
    report.last_seq = Seq(next_seq.0.saturating_sub(1));
    report.segments = segments.len();
    report.bytes = segments.iter().map(|segment| segment.info.bytes).sum();
    let last_accepted = report.last_accepted;
    let catalogue = Catalogue {
        segments,
        active_blocks: Arc::new(blocks),
        next_seq,
    };
    Ok(Opened {
        catalogue,
        active,
        last_accepted,
        report,
    })
}

/// The segment files of a directory by position. What is sealed ends where the next one begins.
fn list(dir: &Path) -> Result<VecDeque<Segment>, JournalError> {
    let failed = |error| JournalError::io("list journal", dir, error);
    let mut segments = Vec::new();
    for item in fs::read_dir(dir).map_err(failed)? {
        let item = item.map_err(failed)?;
        let path = item.path();
        let Some((day, first_seq)) = segment::parse_file_name(&path) else {
            continue;
        };
        let bytes = item.metadata().map_err(failed)?.len();
        let last_seq = Seq(first_seq.0.saturating_sub(1));
        segments.push(Segment {
            info: SegmentInfo {
                day,
                first_seq,
                last_seq,
                bytes,
            },
            path,
        });
    }
    segments.sort_by_key(|segment| (segment.info.first_seq, segment.info.day));
    let begins: Vec<Seq> = segments.iter().skip(1).map(|segment| segment.info.first_seq).collect();
    for (segment, next) in segments.iter_mut().zip(begins) {
        segment.info.last_seq = Seq(next.0.saturating_sub(1));
    }
    Ok(segments.into())
}

/// A file without a good header and without a good block: removed if it holds no more than a header, else renamed, so
/// that it can be looked at.
fn put_away(newest: &Segment, found: &Scan, files: &mut dyn Files) -> Result<(), JournalError> {
    if found.file_len <= HEADER_LEN {
        return files
            .remove(&newest.path)
            .map_err(|error| JournalError::io("remove", &newest.path, error));
    }
    let aside = newest.path.with_extension("unreadable");
    fs::rename(&newest.path, aside).map_err(|error| JournalError::io("rename", &newest.path, error))
}

fn torn_tail(segment: &Segment, found: &Scan) -> Option<TornTail> {
    let kept = found.blocks.last().map(|block| block.header.last_seq());
    let cut = found.file_len > found.good_len || found.header == HeaderCheck::Damaged && found.blocks.is_empty();
    cut.then(|| TornTail {
        path: segment.path.clone(),
        offset: found.good_len,
        bytes: found.file_len - found.good_len,
        largest_seq: found.largest_seq.filter(|largest| Some(*largest) > kept),
    })
}

/// Cuts the tail of the newest segment and makes what is left durable: a process that died may have written more than
/// it synced, and what readers see from now on must not vanish with the machine.
fn open_newest(
    newest: &mut Segment,
    found: &Scan,
    files: &mut dyn Files,
) -> Result<Box<dyn SegmentFile>, JournalError> {
    let mut file = files
        .open(&newest.path)
        .map_err(|error| JournalError::io("open", &newest.path, error))?;
    if found.file_len > found.good_len {
        file.truncate(found.good_len)
            .map_err(|error| JournalError::io("truncate", &newest.path, error))?;
    }
    file.sync_data()
        .map_err(|error| JournalError::io("sync", &newest.path, error))?;
    newest.info.bytes = found.good_len;
    if let Some(block) = found.blocks.last() {
        newest.info.last_seq = block.header.last_seq();
    }
    Ok(file)
}

/// The newest segment has no entry: the newest time is in the one before it.
fn accepted_before_the_newest(segments: &VecDeque<Segment>) -> Result<Timestamp, JournalError> {
    for segment in segments.iter().rev().skip(1) {
        if let Some(block) = scan::scan(segment, Depth::Headers)?.blocks.last() {
            return Ok(block.header.last_accepted);
        }
    }
    Ok(Timestamp::default())
}
