//! Opening a journal: what a crash left behind is found, cut or reported, and writing goes on behind it.
//!
//! Only the newest segment can have a torn tail: every older one was synced before its successor was created. It is
//! read whole; of the others only the names are looked at, so opening takes the same time however long the journal is
//! (`JournalReader::check_from` reads the others). What does not read at the end is told apart by what shows that it was
//! acknowledged: a later group in the file, a mark, derived state that has seen it. Then it is damage, and its bytes
//! are kept.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};

use donjon_core::{Seq, Timestamp};

use super::catalogue::Catalogue;
use super::damage::{self, Damage, DamageKind};
use super::error::JournalError;
use super::files::{Files, SegmentFile};
use super::scan::{self, Depth, Scan};
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
    /// What was cut off the end, if anything.
    pub torn: Option<TornTail>,
    /// Lost entries: unreadable bytes in the newest segment with good blocks after them, an end before
    /// `JournalOptions::seen`, a beginning after what was freed.
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
    /// Entries that read, behind the first place that does not. Nothing shows that their group was synced; in the one
    /// case where it was (see `FORMAT.md`) they were acknowledged, so their bytes are kept.
    pub good_entries: u64,
    /// Where the bytes are kept, because they held entries that somebody has seen, or such as read. Otherwise they are
    /// gone: most likely they were never acknowledged.
    pub kept_as: Option<PathBuf>,
}

/// An opened journal, in parts.
pub(super) struct Opened {
    pub(super) catalogue: Catalogue,
    /// The file of the newest segment.
    pub(super) active: Option<Box<dyn SegmentFile>>,
    pub(super) last_accepted: Timestamp,
    /// The newest position that a block holds, that was freed, or left out on purpose.
    pub(super) held_to: Seq,
    /// The same without those left out right before the end.
    pub(super) written_to: Seq,
    /// Positions up to here were acknowledged.
    pub(super) seen: Seq,
    /// The position that the newest mark names.
    pub(super) marked_to: Seq,
    pub(super) report: RecoveryReport,
}

/// A folder of a journal, being opened.
struct Opening<'a> {
    dir: &'a Path,
    files: &'a mut dyn Files,
    /// Positions up to here were acknowledged.
    seen: Seq,
}

/// The end of the journal.
#[derive(Default)]
struct End {
    /// Of the newest segment.
    blocks: Vec<scan::BlockRef>,
    active: Option<Box<dyn SegmentFile>>,
    /// No block, torn ones included, names this position or a later one.
    next_seq: Seq,
    /// File, offset, and how many bytes after it do not read.
    place: (Option<PathBuf>, u64, u64),
}

/// Opens the journal in a directory that exists.
pub(super) fn open(dir: &Path, files: &mut dyn Files, seen: Seq) -> Result<Opened, JournalError> {
    let mut opening = Opening { dir, files, seen };
    let Listed {
        mut segments,
        freed,
        synced,
    } = list(dir)?;
    let seen = seen.max(synced);
    opening.seen = seen;
    opening.remove_empty_twins(&mut segments)?;
    let mut report = RecoveryReport::default();
    report.damage.extend(missing_beginning(dir, &segments, freed)?);
    let found = opening.find_end(&mut segments, &mut report)?;
    let End { blocks, active, .. } = found;
    // No position below this one is ever given again.
    let next_seq = found.next_seq.max(seen.next()).max(freed.next());
    report.last_accepted = match blocks.last() {
        Some(block) => block.header.last_accepted,
        None => accepted_before_the_newest(&segments)?,
    };
    let held_to = held_to(&segments, blocks.last(), freed);
    let written_to = match segments.back() {
        Some(newest) if blocks.is_empty() => Seq(held_to.0.saturating_sub(damage::skipped_before(newest)?)),
        _ => held_to,
    };
    if held_to < seen {
        let (path, offset, bytes) = found.place;
        report.damage.push(Damage {
            kind: DamageKind::Tail,
            path: path.unwrap_or_else(|| dir.to_owned()),
            offset,
            bytes,
            first_lost: held_to.next(),
            last_lost: seen,
        });
    }
    report.last_seq = Seq(next_seq.0.saturating_sub(1));
    report.segments = segments.len();
    report.bytes = segments.iter().map(|segment| segment.info.bytes).sum();
    let last_accepted = report.last_accepted;
    let catalogue = Catalogue {
        segments,
        active_blocks: blocks,
        next_seq,
    };
    Ok(Opened {
        catalogue,
        active,
        last_accepted,
        held_to,
        written_to,
        seen,
        marked_to: synced,
        report,
    })
}

/// The newest position that is held, or was freed.
fn held_to(segments: &VecDeque<Segment>, newest: Option<&scan::BlockRef>, freed: Seq) -> Seq {
    match (newest, segments.back()) {
        (Some(block), _) => block.header.last_seq(),
        (None, Some(empty)) => Seq(empty.info.first_seq.0.saturating_sub(1)),
        (None, None) => freed,
    }
}

/// The oldest segment begins later than what was freed, or left out on purpose, explains.
fn missing_beginning(dir: &Path, segments: &VecDeque<Segment>, freed: Seq) -> Result<Option<Damage>, JournalError> {
    let Some(oldest) = segments.front() else {
        return Ok(None);
    };
    let skipped = damage::skipped_before(oldest)?;
    let last_lost = Seq(oldest.info.first_seq.0.saturating_sub(1).saturating_sub(skipped));
    Ok((last_lost > freed).then(|| Damage {
        kind: DamageKind::Missing,
        path: dir.to_owned(),
        offset: 0,
        bytes: 0,
        first_lost: freed.next(),
        last_lost,
    }))
}

/// The header does not read, the blocks do: each says its positions itself, so nothing is lost.
fn damaged_header(newest: &Segment, found: &Scan) -> Option<Damage> {
    (found.header == HeaderCheck::Damaged).then(|| Damage {
        kind: DamageKind::Unreadable,
        path: newest.path.clone(),
        offset: 0,
        bytes: HEADER_LEN,
        first_lost: newest.info.first_seq,
        last_lost: Seq(newest.info.first_seq.0.saturating_sub(1)),
    })
}

/// What is in the folder.
struct Listed {
    /// By position.
    segments: VecDeque<Segment>,
    /// Positions up to here were freed.
    freed: Seq,
    /// Positions up to here were synced, says a mark.
    synced: Seq,
}

/// The segment files of a directory. What is sealed ends where the next one begins.
fn list(dir: &Path) -> Result<Listed, JournalError> {
    let failed = |error| JournalError::io("list journal", dir, error);
    let mut segments = Vec::new();
    let (mut freed, mut synced) = (Seq(0), Seq(0));
    for item in fs::read_dir(dir).map_err(failed)? {
        let item = item.map_err(failed)?;
        let path = item.path();
        freed = freed.max(segment::parse_freed_name(&path).unwrap_or_default());
        synced = synced.max(segment::parse_synced_name(&path).unwrap_or_default());
        let Some((day, first_seq)) = segment::parse_file_name(&path) else {
            continue;
        };
        let bytes = item.metadata().map_err(failed)?.len();
        let last_seq = Seq(first_seq.0.saturating_sub(1));
        let segment = Segment {
            info: SegmentInfo {
                day,
                first_seq,
                last_seq,
                bytes,
            },
            path,
        };
        let reads = bytes > HEADER_LEN || damage::header_reads(&segment)?;
        segments.push((reads, segment));
    }
    // Two begin at the same position if one of them stayed empty; a clock that was put right gives the later one an
    // earlier day. The header of the one that is kept must read: it says what was left out.
    segments.sort_by_key(|(reads, segment)| {
        let info = &segment.info;
        (info.first_seq, info.bytes > HEADER_LEN, *reads, info.day)
    });
    let mut segments: Vec<Segment> = segments.into_iter().map(|(_, segment)| segment).collect();
    let begins: Vec<Seq> = segments.iter().skip(1).map(|segment| segment.info.first_seq).collect();
    for (segment, next) in segments.iter_mut().zip(begins) {
        segment.info.last_seq = Seq(next.0.saturating_sub(1));
    }
    Ok(Listed {
        segments: segments.into(),
        freed,
        synced,
    })
}

impl Opening<'_> {
    /// Finds the newest segment that holds anything, cuts its tail, and puts away what comes after it.
    fn find_end(&mut self, segments: &mut VecDeque<Segment>, report: &mut RecoveryReport) -> Result<End, JournalError> {
        let mut end = End::default();
        while let Some(newest) = segments.back_mut() {
            end.next_seq = end.next_seq.max(newest.info.first_seq);
            let mut found = scan::scan(newest, Depth::Bodies, Seq(u64::MAX))?;
            let good_entries = found.cut_unsynced(self.seen);
            end.next_seq = found
                .largest_seq
                .map_or(end.next_seq, |seq| end.next_seq.max(seq.next()));
            let bytes = found.file_len - found.good_len;
            end.place = (Some(newest.path.clone()), found.good_len, bytes);
            let torn = torn_tail(newest, &found, good_entries);
            if found.blocks.is_empty() && found.header == HeaderCheck::Damaged {
                // The process died while it created the file: the one before it is the newest.
                let kept_as = self.put_away(newest, &found)?;
                report.torn = report.torn.take().or(torn.map(|torn| TornTail { kept_as, ..torn }));
                segments.pop_back();
                continue;
            }
            let (file, kept_as) = self.open_newest(newest, &found, good_entries)?;
            report.torn = report.torn.take().or(torn.map(|torn| TornTail { kept_as, ..torn }));
            end.active = Some(file);
            // The process may have died between creating the file and syncing its name: what is synced into a file
            // without a durable name is lost with the machine.
            self.sync_dir()?;
            report.damage.extend(damaged_header(newest, &found));
            report.damage.extend(found.damage);
            end.blocks = found.blocks;
            break;
        }
        Ok(end)
    }

    /// An empty segment and a successor at the same position: its name says nothing that the other does not, and could
    /// be given again.
    fn remove_empty_twins(&mut self, segments: &mut VecDeque<Segment>) -> Result<(), JournalError> {
        let begins: Vec<Seq> = segments.iter().skip(1).map(|segment| segment.info.first_seq).collect();
        let mut begins = begins.into_iter();
        let mut removed = false;
        let mut kept = VecDeque::with_capacity(segments.len());
        for segment in segments.drain(..) {
            if begins.next() == Some(segment.info.first_seq) && segment.info.bytes <= HEADER_LEN {
                self.remove(&segment.path)?;
                removed = true;
            } else {
                kept.push_back(segment);
            }
        }
        *segments = kept;
        if removed { self.sync_dir() } else { Ok(()) }
    }

    /// A file without a good header and without a good block: removed if it holds no more than a header, else renamed,
    /// so that it can be looked at. Gives its new name.
    fn put_away(&mut self, newest: &Segment, found: &Scan) -> Result<Option<PathBuf>, JournalError> {
        let aside = (found.file_len > HEADER_LEN).then(|| newest.path.with_extension("unreadable"));
        match &aside {
            None => self.remove(&newest.path)?,
            Some(aside) => {
                fs::rename(&newest.path, aside).map_err(|error| JournalError::io("rename", &newest.path, error))?;
            }
        }
        self.sync_dir()?;
        Ok(aside)
    }

    /// Cuts the tail of the newest segment and makes what is left durable: a process that died may have written more
    /// than it synced, and what readers see from now on must not vanish with the machine. A tail that held what was
    /// seen, or entries that read, is kept beside first.
    fn open_newest(
        &mut self,
        newest: &mut Segment,
        found: &Scan,
        good_entries: u64,
    ) -> Result<(Box<dyn SegmentFile>, Option<PathBuf>), JournalError> {
        let mut file = self
            .files
            .open(&newest.path)
            .map_err(|error| JournalError::io("open", &newest.path, error))?;
        let held_to = found.blocks.last().map_or_else(
            || Seq(newest.info.first_seq.0.saturating_sub(1)),
            |block| block.header.last_seq(),
        );
        let mut kept_as = None;
        if found.file_len > found.good_len {
            if held_to < self.seen || good_entries > 0 {
                kept_as = Some(self.keep_tail(newest, found.good_len)?);
            }
            file.truncate(found.good_len)
                .map_err(|error| JournalError::io("truncate", &newest.path, error))?;
        }
        file.sync_data()
            .map_err(|error| JournalError::io("sync", &newest.path, error))?;
        newest.info.bytes = found.good_len;
        if !found.blocks.is_empty() {
            newest.info.last_seq = held_to;
        }
        Ok((file, kept_as))
    }

    /// Copies the bytes from `offset` on into a file beside.
    fn keep_tail(&mut self, segment: &Segment, offset: u64) -> Result<PathBuf, JournalError> {
        const PIECE: usize = 1 << 20;
        let aside = damage::aside(&segment.path, offset);
        let read_failed = |error| JournalError::io("read journal file", &segment.path, error);
        let write_failed = |error| JournalError::io("keep damaged bytes in", &aside, error);
        let from = fs::File::open(&segment.path).map_err(read_failed)?;
        let mut to = self.files.create(&aside).map_err(write_failed)?;
        let mut piece = vec![0u8; PIECE];
        let mut at = offset;
        loop {
            let read = scan::read_at_most(&from, &mut piece, at).map_err(read_failed)?;
            to.append(piece.get(..read).unwrap_or_default()).map_err(write_failed)?;
            at += read as u64;
            if read < PIECE {
                break;
            }
        }
        to.sync_data().map_err(write_failed)?;
        self.sync_dir()?;
        Ok(aside)
    }

    fn remove(&mut self, path: &Path) -> Result<(), JournalError> {
        let removed = self.files.remove(path);
        removed.map_err(|error| JournalError::io("remove", path, error))
    }

    fn sync_dir(&mut self) -> Result<(), JournalError> {
        let synced = self.files.sync_dir(self.dir);
        synced.map_err(|error| JournalError::io("sync", self.dir, error))
    }
}

fn torn_tail(segment: &Segment, found: &Scan, good_entries: u64) -> Option<TornTail> {
    let kept = found.blocks.last().map(|block| block.header.last_seq());
    let cut = found.file_len > found.good_len || found.header == HeaderCheck::Damaged && found.blocks.is_empty();
    cut.then(|| TornTail {
        path: segment.path.clone(),
        offset: found.good_len,
        bytes: found.file_len - found.good_len,
        largest_seq: found.largest_seq.filter(|largest| Some(*largest) > kept),
        good_entries,
        kept_as: None,
    })
}

/// The newest segment has no entry: the newest time is in the one before it.
fn accepted_before_the_newest(segments: &VecDeque<Segment>) -> Result<Timestamp, JournalError> {
    for segment in segments.iter().rev().skip(1) {
        if let Some(block) = scan::scan(segment, Depth::Headers, segment.info.last_seq)?
            .blocks
            .last()
        {
            return Ok(block.header.last_accepted);
        }
    }
    Ok(Timestamp::default())
}
