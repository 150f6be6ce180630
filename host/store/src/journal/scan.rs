//! Reading a segment file from front to back: where its blocks are, what is damaged, and where good bytes end.
//!
//! The one question that matters: is what does not read a *torn tail* (nothing good after it: a write that a crash cut
//! short, never acknowledged) or *damage* (good blocks after it: something was lost)? After anything unreadable the scan
//! looks for the next block header with a good checksum. That cannot be fooled by content: the checksum of a header
//! covers its offset.
//!
//! Good blocks behind a bad place prove nothing by themselves: the blocks of one group that was never synced reach the
//! disk in any order. Each block says up to where everything was synced when it was written, and that does prove it
//! (`Scan::cut_unsynced`).

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use donjon_core::Seq;

use super::block::{self, BlockHeader};
use super::codec::{ENTRY_VERSION, OLDEST_ENTRY_VERSION};
use super::damage::{Damage, DamageKind};
use super::error::JournalError;
use super::segment::{self, HEADER_LEN, HeaderCheck, Segment};

/// Where a block is, and its header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockRef {
    pub(super) offset: u64,
    pub(super) header: BlockHeader,
}

impl BlockRef {
    pub(super) fn end_offset(&self) -> u64 {
        self.offset + block::HEADER_BYTES as u64 + u64::from(self.header.body_len)
    }
}

/// How much a scan proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Depth {
    /// Headers only: bodies are proved when they are read.
    Headers,
    /// Bodies too.
    Bodies,
}

/// What a scan found.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) header: HeaderCheck,
    /// In the order of their positions, all of them inside the bounds of the segment.
    pub(super) blocks: Vec<BlockRef>,
    /// Damage with good blocks after it.
    pub(super) damage: Vec<Damage>,
    /// Where the last good block ends; the file may be longer.
    pub(super) good_len: u64,
    pub(super) file_len: u64,
    /// The largest position in any good header, those of torn blocks included.
    pub(super) largest_seq: Option<Seq>,
}

impl Scan {
    /// Takes the newest group away from its first bad place on, unless something shows that it was synced: a later group
    /// would, or somebody who has seen an entry of it (`acknowledged`). Answers how many entries that read are gone with
    /// it.
    pub(super) fn cut_unsynced(&mut self, acknowledged: Seq) -> u64 {
        let synced_to = self.blocks.last().map(|newest| newest.header.synced_to());
        let Some(synced_to) = synced_to.filter(|synced_to| acknowledged <= *synced_to) else {
            return 0;
        };
        let unsynced = self.damage.iter().position(|bad| bad.first_lost > synced_to);
        let Some((at, bad)) = unsynced.and_then(|at| Some((at, self.damage.get(at)?))) else {
            return 0;
        };
        self.good_len = bad.offset;
        let kept = self.blocks.partition_point(|block| block.offset < bad.offset);
        self.damage.truncate(at);
        let cut = self.blocks.drain(kept..);
        cut.map(|block| u64::from(block.header.entries)).sum()
    }
}

/// Reads a segment file that may hold positions up to `bound`. Blocks of other positions belong to another file that was
/// put in its place: they count as bytes that do not read.
pub(super) fn scan(segment: &Segment, depth: Depth, bound: Seq) -> Result<Scan, JournalError> {
    let failed = |source| JournalError::io("read journal file", &segment.path, source);
    let unknown = |found| JournalError::Version {
        path: segment.path.clone(),
        found,
    };
    let file = File::open(&segment.path).map_err(failed)?;
    let file_len = file.metadata().map_err(failed)?.len();
    let mut head = [0u8; segment::HEADER_BYTES];
    let read = read_at_most(&file, &mut head, 0).map_err(failed)?;
    let header = segment::check_header(
        head.get(..read).unwrap_or_default(),
        segment.info.day,
        segment.info.first_seq,
    );
    if let HeaderCheck::Version(found) = header {
        return Err(unknown(found));
    }
    let mut scanner = Scanner {
        file: &file,
        file_len,
        depth,
        body: Vec::new(),
        largest_seq: None,
    };
    let mut blocks: Vec<BlockRef> = Vec::new();
    let mut damage = Vec::new();
    let mut at = HEADER_LEN;
    // Everything before is good, or noted.
    let mut good_len = HEADER_LEN.min(file_len);
    let mut expected = segment.info.first_seq;
    while at < file_len {
        let found = match scanner.block_at(at).map_err(failed)? {
            Some(block) => Some(block),
            None => scanner.next_block_after(at).map_err(failed)?,
        };
        let Some(block) = found else { break };
        at = block.end_offset();
        if !(OLDEST_ENTRY_VERSION..=ENTRY_VERSION).contains(&block.header.entry_version) {
            return Err(unknown(u32::from(block.header.entry_version)));
        }
        if block.header.first_seq < expected || block.header.last_seq() > bound {
            continue;
        }
        if block.offset > good_len {
            damage.push(Damage {
                kind: DamageKind::Unreadable,
                path: segment.path.clone(),
                offset: good_len,
                bytes: block.offset - good_len,
                first_lost: expected,
                last_lost: Seq(block.header.first_seq.0.saturating_sub(1)),
            });
        }
        good_len = at;
        expected = block.header.last_seq().next();
        blocks.push(block);
    }
    let largest_seq = scanner.largest_seq;
    Ok(Scan {
        header,
        blocks,
        damage,
        good_len,
        file_len,
        largest_seq,
    })
}

struct Scanner<'a> {
    file: &'a File,
    file_len: u64,
    depth: Depth,
    body: Vec<u8>,
    largest_seq: Option<Seq>,
}

impl Scanner<'_> {
    /// The block that begins at `at`, if it is whole and as deep as asked.
    fn block_at(&mut self, at: u64) -> io::Result<Option<BlockRef>> {
        let mut head = [0u8; block::HEADER_BYTES];
        let read = read_at_most(self.file, &mut head, at)?;
        let Some(header) = BlockHeader::from_bytes(head.get(..read).unwrap_or_default(), at) else {
            return Ok(None);
        };
        self.largest_seq = self.largest_seq.max(Some(header.last_seq()));
        let block = BlockRef { offset: at, header };
        if block.end_offset() > self.file_len {
            return Ok(None);
        }
        if self.depth == Depth::Bodies {
            // Bounded: the header was held against the limits.
            self.body.resize(header.body_len as usize, 0);
            let read = read_at_most(self.file, &mut self.body, at + block::HEADER_BYTES as u64)?;
            if read != self.body.len() || crc32fast::hash(&self.body) != header.body_crc {
                return Ok(None);
            }
        }
        Ok(Some(block))
    }

    /// The first good block that begins after `from`.
    fn next_block_after(&mut self, from: u64) -> io::Result<Option<BlockRef>> {
        const PIECE: usize = 64 * 1024;
        let mut piece = vec![0u8; PIECE];
        let mut at = from + 1;
        while at < self.file_len {
            let read = read_at_most(self.file, &mut piece, at)?;
            let bytes = piece.get(..read).unwrap_or_default();
            for (index, _) in bytes
                .windows(block::MAGIC.len())
                .enumerate()
                .filter(|(_, w)| **w == block::MAGIC)
            {
                if let Some(block) = self.block_at(at + index as u64)? {
                    return Ok(Some(block));
                }
            }
            if read < PIECE {
                break;
            }
            // The next piece overlaps this one, so that a magic across the border is seen.
            at += (PIECE - block::MAGIC.len() + 1) as u64;
        }
        Ok(None)
    }
}

/// Reads until the buffer or the file ends.
pub(super) fn read_at_most(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut done = 0;
    while let Some(rest) = buffer.get_mut(done..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
