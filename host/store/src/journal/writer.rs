//! The one writer of the journal.
//!
//! Entries become blocks in memory, each block goes out in one write, and nothing counts before `sync`. An append that
//! fails is taken back whole; where even that fails, or `fdatasync` does, nobody knows what is on the disk (the kernel
//! may have dropped the pages it could not write), so the journal refuses all writes until it is opened anew.

use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use donjon_core::{Seq, Timestamp};

use super::block::{BlockBuilder, Place, Push};
use super::catalogue::{Fresh, Shared};
use super::entry::NewEntry;
use super::error::JournalError;
use super::files::{DiskFiles, Files, SegmentFile};
use super::open::{self, RecoveryReport};
use super::reader::JournalReader;
use super::scan::BlockRef;
use super::segment::{self, HEADER_LEN, Segment, SegmentInfo};
use super::{Durability, JournalOptions};
use crate::day::Day;

/// The writer. There is one for a directory; `reader` gives any number of readers.
pub struct Journal {
    dir: PathBuf,
    options: JournalOptions,
    files: Box<dyn Files>,
    compressor: zstd::bulk::Compressor<'static>,
    shared: Arc<Shared>,
    active: Option<Active>,
    /// Active segments that this append has left behind, to go back to if it fails.
    left_behind: Vec<Option<Active>>,
    builder: BlockBuilder,
    /// One block, header and body.
    out: Vec<u8>,
    next_seq: Seq,
    /// The newest position that a block holds: what lies between it and `next_seq` is left out on purpose.
    written_to: Seq,
    /// What the active file holds below this position is on stable storage.
    unsynced_from: Seq,
    /// The position that the newest mark names; see `mark_synced`.
    marked_to: Seq,
    last_accepted: Timestamp,
    /// Written, not yet visible.
    fresh: Vec<Fresh>,
    health: Health,
    /// Freed, and not yet removed.
    unremoved: Vec<Segment>,
}

/// The segment that is written to.
struct Active {
    file: Box<dyn SegmentFile>,
    path: PathBuf,
    day: Day,
    first_seq: Seq,
    /// Bytes written and not taken back.
    len: u64,
}

enum Health {
    Good,
    Poisoned(String),
}

/// A block cannot say more than that (`BlockHeader::unsynced_before`); the file is synced before.
const MAX_UNSYNCED_POSITIONS: u64 = u16::MAX as u64;

/// Where an append began.
struct Mark {
    len: Option<u64>,
    next_seq: Seq,
    written_to: Seq,
    unsynced_from: Seq,
    last_accepted: Timestamp,
    fresh: usize,
}

/// What freeing days gave back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Freed {
    /// Files removed.
    pub segments: usize,
    /// Their size, in bytes.
    pub bytes: u64,
}

impl Journal {
    /// Opens the journal in a directory that exists.
    ///
    /// # Errors
    /// The file system refuses, or the newest segment is of an unknown version.
    pub fn open(dir: impl AsRef<Path>, options: JournalOptions) -> Result<(Journal, RecoveryReport), JournalError> {
        Journal::open_with(dir, options, Box::new(DiskFiles))
    }

    /// As `open`, writing through other file operations. For tests of failures.
    ///
    /// # Errors
    /// As `open`.
    pub fn open_with(
        dir: impl AsRef<Path>,
        options: JournalOptions,
        mut files: Box<dyn Files>,
    ) -> Result<(Journal, RecoveryReport), JournalError> {
        let dir = dir.as_ref().to_owned();
        let options = options.bounded();
        let opened = open::open(&dir, files.as_mut(), options.seen)?;
        let compressor = zstd::bulk::Compressor::new(options.compression_level)
            .map_err(|error| JournalError::io("prepare compression for", &dir, error))?;
        let newest = opened.catalogue.segments.back();
        let active = opened.active.zip(newest).map(|(file, segment)| Active {
            file,
            path: segment.path.clone(),
            day: segment.info.day,
            first_seq: segment.info.first_seq,
            len: segment.info.bytes,
        });
        let tail_is_lost = opened.held_to < opened.seen;
        let mut journal = Journal {
            next_seq: opened.catalogue.next_seq,
            // Opening synced it.
            unsynced_from: opened.catalogue.next_seq,
            marked_to: opened.marked_to,
            shared: Arc::new(Shared::new(opened.catalogue, opened.report.damage.clone())),
            dir,
            options,
            files,
            compressor,
            active,
            left_behind: Vec::new(),
            builder: BlockBuilder::default(),
            out: Vec::new(),
            written_to: opened.written_to,
            last_accepted: opened.last_accepted,
            fresh: Vec::new(),
            health: Health::Good,
            unremoved: Vec::new(),
        };
        if !tail_is_lost {
            journal.leave_out_torn_positions()?;
        }
        Ok((journal, opened.report))
    }

    /// Positions that only a torn tail named are left out; an empty segment says so for ever. Else the next start would
    /// miss them, should derived state have gone past them and nothing else be written. (A tail that is lost is left as
    /// it is: until somebody accepts that, every start must see it.)
    fn leave_out_torn_positions(&mut self) -> Result<(), JournalError> {
        let active = self.active.as_ref().filter(|active| self.leaves_out_in(active));
        let Some(day) = active.map(|active| active.day) else {
            return Ok(());
        };
        self.begin_segment(day)?;
        self.left_behind.clear();
        self.shared.write().publish(self.fresh.drain(..), self.next_seq);
        Ok(())
    }

    /// Whether positions would be left out inside of a file.
    fn leaves_out_in(&self, active: &Active) -> bool {
        self.next_seq > self.written_to.next().max(active.first_seq)
    }

    /// A reader of what is synced.
    #[must_use]
    pub fn reader(&self) -> JournalReader {
        JournalReader::new(Arc::clone(&self.shared))
    }

    /// The position that the next entry gets.
    #[must_use]
    pub fn next_seq(&self) -> Seq {
        self.next_seq
    }

    /// Gives no position at or below `seq` any more. For the case that derived state is ahead of the journal (a disk
    /// that lost what it had acknowledged, or buffered durability): its cursor would pass over new entries otherwise.
    pub fn continue_after(&mut self, seq: Seq) {
        self.next_seq = self.next_seq.max(seq.next());
    }

    /// Takes times from `time` on again. Otherwise a time before that of the newest entry is raised to it, so one entry
    /// with a time of the far future would give its time to all that follow.
    pub fn go_back_to(&mut self, time: Timestamp) {
        self.last_accepted = self.last_accepted.min(time);
    }

    /// Writes entries and gives their positions (an empty range for none). They are neither durable nor visible to
    /// readers before `sync`. All or none are written.
    ///
    /// # Errors
    /// After `DiskFull`, `Io`, `EntryTooLarge` or `Codec` nothing of these entries was kept and a later append may
    /// work, unless taking them back failed too: then every later call gives `Poisoned`.
    pub fn append(&mut self, entries: &[NewEntry]) -> Result<RangeInclusive<Seq>, JournalError> {
        self.check_health()?;
        let mark = Mark {
            len: self.active.as_ref().map(|active| active.len),
            next_seq: self.next_seq,
            written_to: self.written_to,
            unsynced_from: self.unsynced_from,
            last_accepted: self.last_accepted,
            fresh: self.fresh.len(),
        };
        match self.write_entries(entries) {
            Ok(()) => {
                self.left_behind.clear();
                Ok(mark.next_seq..=Seq(self.next_seq.0 - 1))
            }
            Err(error) => {
                self.take_back(mark, &error);
                Err(error)
            }
        }
    }

    /// Returns once all appended entries are durable as the options say, and shows them to readers.
    ///
    /// # Errors
    /// The disk could not write. Whether the entries are on it is unknown; the journal refuses further writes.
    pub fn sync(&mut self) -> Result<(), JournalError> {
        self.check_health()?;
        if self.fresh.is_empty() {
            return Ok(());
        }
        if self.options.durability == Durability::Fsync {
            self.sync_active()?;
        }
        self.shared.write().publish(self.fresh.drain(..), self.next_seq);
        Ok(())
    }

    /// Leaves a durable word that everything written so far was synced (an empty file with the position in its name). The
    /// next group says the same of the one before, but until it comes nothing in the file tells an acknowledged group that
    /// rotted from one that was never synced. For quiet times and a clean stop; says nothing where nothing is known.
    ///
    /// # Errors
    /// Of the file system; nothing is lost by it.
    pub fn mark_synced(&mut self) -> Result<(), JournalError> {
        let known =
            self.options.durability == Durability::Fsync && self.fresh.is_empty() && self.check_health().is_ok();
        if !known || self.written_to <= self.marked_to {
            return Ok(());
        }
        self.leave_mark(&segment::synced_name(self.written_to))?;
        self.marked_to = self.written_to;
        self.forget_older_marks(segment::parse_synced_name, self.marked_to);
        Ok(())
    }

    /// Removes the segments of these days; the active one stays whatever is asked. Reads of their positions then give
    /// nothing. Which days may go is a question for `freeable`. First it is made durable that they were freed (an empty
    /// file with the position in its name), so that their absence is never taken for damage.
    ///
    /// # Errors
    /// A file could not be removed; those before it are gone, the others go with the next call (`has_unremoved`), and
    /// come back with an opening before that.
    pub fn free(&mut self, days: &[Day]) -> Result<Freed, JournalError> {
        let taken = self.shared.write().take_days(days);
        self.unremoved.extend(taken);
        let mut freed = Freed::default();
        let Some(newest) = self.unremoved.iter().map(|segment| segment.info.last_seq).max() else {
            return Ok(freed);
        };
        self.leave_mark(&segment::freed_name(newest))?;
        // The oldest first: a crash in between leaves a beginning that the mark explains, and no gap.
        while let Some(segment) = self.unremoved.first() {
            match self.files.remove(&segment.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(JournalError::io("remove", &segment.path, error));
                }
                _ => {}
            }
            freed.segments += 1;
            freed.bytes += segment.info.bytes;
            self.unremoved.remove(0);
        }
        self.sync_dir()?;
        self.forget_older_marks(segment::parse_freed_name, newest);
        Ok(freed)
    }

    /// Whether an earlier `free` could not remove everything: call it again, with no days or with others.
    #[must_use]
    pub fn has_unremoved(&self) -> bool {
        !self.unremoved.is_empty()
    }

    /// Leaves an empty file whose name says something, durably. It may be there already, from a call that failed after it
    /// was made: whether its name is durable is then not known.
    fn leave_mark(&mut self, name: &str) -> Result<(), JournalError> {
        let mark = self.dir.join(name);
        if !mark.exists() {
            let made = self.files.create(&mark);
            made.map_err(|error| JournalError::io("create", &mark, error))?;
        }
        self.sync_dir()
    }

    /// The newest mark says it all; an older one that stays does no harm.
    fn forget_older_marks(&mut self, parse: fn(&Path) -> Option<Seq>, newest: Seq) {
        let Ok(items) = std::fs::read_dir(&self.dir) else {
            return;
        };
        for path in items.flatten().map(|item| item.path()) {
            if parse(&path).is_some_and(|seq| seq < newest) {
                // Tried again at the next time.
                let _ = self.files.remove(&path);
            }
        }
    }

    fn sync_dir(&mut self) -> Result<(), JournalError> {
        let synced = self.files.sync_dir(&self.dir);
        synced.map_err(|error| JournalError::io("sync", &self.dir, error))
    }

    fn check_health(&self) -> Result<(), JournalError> {
        match &self.health {
            Health::Good => Ok(()),
            Health::Poisoned(why) => Err(JournalError::Poisoned { why: why.clone() }),
        }
    }

    fn write_entries(&mut self, entries: &[NewEntry]) -> Result<(), JournalError> {
        let (max_raw, max_entries) = (self.options.block_raw_bytes, self.options.block_entries);
        for entry in entries {
            self.last_accepted = self.last_accepted.max(entry.accepted);
            let accepted = self.last_accepted;
            if let Push::Full = self.builder.push(entry, accepted, max_raw, max_entries)? {
                self.write_block()?;
                self.builder.push(entry, accepted, max_raw, max_entries)?;
            }
        }
        if !self.builder.is_empty() {
            self.write_block()?;
        }
        Ok(())
    }

    /// Writes the collected entries as one block, into a new segment if it is time for one.
    fn write_block(&mut self) -> Result<(), JournalError> {
        if self.next_seq.0.saturating_sub(self.unsynced_from.0) > MAX_UNSYNCED_POSITIONS {
            self.sync_active()?;
        }
        let day = self.builder.day();
        let full = |active: &Active| active.len >= self.options.segment_bytes && active.len > HEADER_LEN;
        if self
            .active
            .as_ref()
            // Positions inside of a file have no gaps: what a block says was synced would be said of them too.
            .is_none_or(|active| active.day != day || full(active) || self.leaves_out_in(active))
        {
            self.begin_segment(day)?;
        }
        let Some(active) = &mut self.active else {
            return Err(JournalError::Poisoned {
                why: "no active segment after beginning one".to_owned(),
            });
        };
        let unsynced = self.next_seq.0.saturating_sub(self.unsynced_from.0);
        let place = Place {
            first_seq: self.next_seq,
            offset: active.len,
            unsynced_before: u16::try_from(unsynced).unwrap_or(0),
        };
        let header = self.builder.finish(place, &mut self.compressor, &mut self.out)?;
        active
            .file
            .append(&self.out)
            .map_err(|error| JournalError::io("append to", &active.path, error))?;
        let block = BlockRef {
            offset: active.len,
            header,
        };
        active.len = block.end_offset();
        self.next_seq = header.last_seq().next();
        self.written_to = header.last_seq();
        self.fresh.push(Fresh::Block(block));
        self.builder.clear();
        Ok(())
    }

    /// Makes what was written durable, or poisons.
    fn sync_active(&mut self) -> Result<(), JournalError> {
        if let Some(active) = &mut self.active
            && let Err(source) = active.file.sync_data()
        {
            let error = JournalError::sync(&active.path, source);
            self.health = Health::Poisoned(error.to_string());
            return Err(error);
        }
        self.unsynced_from = self.next_seq;
        Ok(())
    }

    /// Syncs the active segment and begins the next one. Its header is durable before a block is written: a header that
    /// does not read is damage, whatever became of the blocks.
    fn begin_segment(&mut self, day: Day) -> Result<(), JournalError> {
        self.sync_active()?;
        let path = self.dir.join(segment::file_name(day, self.next_seq));
        let mut file = self
            .files
            .create(&path)
            .map_err(|error| JournalError::io("create", &path, error))?;
        let skipped = self.next_seq.0.saturating_sub(self.written_to.next().0);
        let written = file
            .append(&segment::header(day, self.next_seq, skipped))
            .and_then(|()| file.sync_data())
            .and_then(|()| self.files.sync_dir(&self.dir));
        if let Err(error) = written {
            self.remove_or_poison(&path);
            return Err(JournalError::io("begin", &path, error));
        }
        let before = SegmentInfo {
            day,
            first_seq: self.next_seq,
            last_seq: Seq(self.next_seq.0.saturating_sub(1)),
            bytes: HEADER_LEN,
        };
        self.fresh.push(Fresh::Segment(Segment {
            info: before,
            path: path.clone(),
        }));
        self.left_behind.push(self.active.replace(Active {
            file,
            path,
            day,
            first_seq: self.next_seq,
            len: HEADER_LEN,
        }));
        Ok(())
    }

    /// Undoes everything since `mark`.
    fn take_back(&mut self, mark: Mark, error: &JournalError) {
        self.builder.clear();
        self.fresh.truncate(mark.fresh);
        self.next_seq = mark.next_seq;
        self.written_to = mark.written_to;
        self.unsynced_from = mark.unsynced_from;
        self.last_accepted = mark.last_accepted;
        if matches!(self.health, Health::Poisoned(_)) {
            return;
        }
        while let Some(before) = self.left_behind.pop() {
            if let Some(begun) = std::mem::replace(&mut self.active, before) {
                self.remove_or_poison(&begun.path);
            }
        }
        if let (Some(active), Some(len)) = (&mut self.active, mark.len) {
            // Also after an error that wrote nothing: it costs little and needs no proof.
            if let Err(failed) = active.file.truncate(len) {
                let path = active.path.display();
                self.health = Health::Poisoned(format!("truncate {path} after \"{error}\": {failed}"));
            }
            active.len = len;
        }
    }

    /// The removal is made durable: a segment that came back would bring positions that are given again.
    fn remove_or_poison(&mut self, path: &Path) {
        if let Err(failed) = self.files.remove(path).and_then(|()| self.files.sync_dir(&self.dir)) {
            self.health = Health::Poisoned(format!("remove {}: {failed}", path.display()));
        }
    }
}
