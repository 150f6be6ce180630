//! Reading the journal beside its writer: in order for the worker, by position for histories. Cheap to clone, one for
//! each thread.

use std::fs::File;
use std::io;
use std::sync::Arc;

use donjon_core::{Seq, TenantId};

use super::block::{self, OpenBlock};
use super::catalogue::Shared;
use super::damage::{Damage, DamageKind, missing_file, scan_sealed};
use super::entry::Entry;
use super::error::JournalError;
use super::scan::{BlockRef, Depth, read_at_most};
use super::segment::{Segment, SegmentInfo};

/// Reads what the journal has synced.
#[derive(Clone)]
pub struct JournalReader {
    shared: Arc<Shared>,
}

/// A block and the segment it is in.
struct Located {
    segment: Segment,
    block: BlockRef,
}

impl JournalReader {
    pub(super) fn new(shared: Arc<Shared>) -> JournalReader {
        JournalReader { shared }
    }

    /// The entries at and after `seq`, in order: at most `max_entries`, and no further one once their content is
    /// `max_bytes` or more, so a large entry comes alone. Positions that are freed or damaged are passed over; an empty
    /// answer means that there is nothing after `seq` yet.
    ///
    /// # Errors
    /// A file cannot be read, or an entry does not decode.
    pub fn read_from(&self, seq: Seq, max_entries: usize, max_bytes: usize) -> Result<Vec<Entry>, JournalError> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut bytes = 0;
        let mut at = seq;
        while entries.len() < max_entries && (entries.is_empty() || bytes < max_bytes) {
            let Some(located) = self.locate(at)? else { break };
            let end = located.block.header.last_seq().next();
            let Some(open) = self.load(&located)? else {
                at = end;
                continue;
            };
            at = at.max(located.block.header.first_seq);
            while at < end && entries.len() < max_entries && (entries.is_empty() || bytes < max_bytes) {
                let like = entries.last().map(|entry| entry.tenant.clone());
                let Some(entry) = open.entry(at, like.as_ref())? else {
                    break;
                };
                bytes += entry.content_bytes();
                entries.push(entry);
                at = at.next();
            }
            if at < end {
                // The next read begins in this block.
                self.shared.cache().keep_block(&open);
            }
        }
        Ok(entries)
    }

    /// The entry at a position; `None` if it is freed, damaged or not there yet.
    ///
    /// # Errors
    /// As `read_from`.
    pub fn get(&self, seq: Seq) -> Result<Option<Entry>, JournalError> {
        Ok(self.get_many(&[seq])?.pop().flatten())
    }

    /// The entries at these positions, in the order asked for. Each block is decompressed once.
    ///
    /// # Errors
    /// As `read_from`.
    pub fn get_many(&self, seqs: &[Seq]) -> Result<Vec<Option<Entry>>, JournalError> {
        let mut order: Vec<(Seq, usize)> = seqs.iter().copied().zip(0..).collect();
        order.sort_unstable();
        let mut entries: Vec<Option<Entry>> = vec![None; seqs.len()];
        let mut current: Option<Arc<OpenBlock>> = None;
        let mut tenant: Option<TenantId> = None;
        for (seq, index) in order {
            if !current
                .as_ref()
                .is_some_and(|open| (open.first_seq..open.end_seq()).contains(&seq))
            {
                current = self.block_with(seq)?;
            }
            let Some(open) = &current else { continue };
            let entry = open.entry(seq, tenant.as_ref())?;
            if let (Some(slot), Some(entry)) = (entries.get_mut(index), entry) {
                tenant = Some(entry.tenant.clone());
                *slot = Some(entry);
            }
        }
        Ok(entries)
    }

    /// The segments, oldest first; the last one is the active one.
    #[must_use]
    pub fn segments(&self) -> Vec<SegmentInfo> {
        self.shared.read().infos()
    }

    /// The size of all segments on disk, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.shared
            .read()
            .segments
            .iter()
            .map(|segment| segment.info.bytes)
            .sum()
    }

    /// The position of the newest synced entry; 0 if there is none.
    #[must_use]
    pub fn last_seq(&self) -> Seq {
        Seq(self.shared.read().next_seq.0.saturating_sub(1))
    }

    /// The position of the oldest entry that is kept; that of the next entry if there is none.
    #[must_use]
    pub fn first_seq(&self) -> Seq {
        let catalogue = self.shared.read();
        catalogue
            .segments
            .front()
            .map_or(catalogue.next_seq, |segment| segment.info.first_seq)
    }

    /// How many damaged places were met since the journal was opened, and the first of them. Each is counted once.
    #[must_use]
    pub fn damage(&self) -> (u64, Vec<Damage>) {
        self.shared.damage()
    }

    /// How many damaged places were met since the journal was opened.
    #[must_use]
    pub fn damage_count(&self) -> u64 {
        self.shared.damage_count()
    }

    /// What was noted since the last call: each damaged place comes out once, of more than `MAX_DAMAGE_LISTED` only the
    /// number (`damage`).
    #[must_use]
    pub fn take_untold_damage(&self) -> Vec<Damage> {
        self.shared.take_untold_damage()
    }

    /// Reads the sealed segment that holds `from`, or the first one after it, and notes what is damaged; answers where
    /// to go on, `None` behind the last one. (The newest segment was read when it was opened.)
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn check_segment(&self, from: Seq) -> Result<Option<Seq>, JournalError> {
        let Some((segment, next)) = self.shared.read().sealed_at(from) else {
            return Ok(None);
        };
        match scan_sealed(&segment, Some(&next), Depth::Bodies) {
            Ok(found) => found
                .damage
                .into_iter()
                .for_each(|found| self.shared.note_damage(found)),
            Err(error) => self.note_if_missing(&segment, error)?,
        }
        Ok(Some(next.info.first_seq.max(segment.info.last_seq.next())))
    }

    /// A file that is not there and was not freed was taken away by somebody.
    fn note_if_missing(&self, segment: &Segment, error: JournalError) -> Result<(), JournalError> {
        match error {
            JournalError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                if self.shared.read().lists(segment) {
                    self.shared.note_damage(missing_file(segment));
                }
                Ok(())
            }
            other => Err(other),
        }
    }

    /// The block that holds a position, from the cache if it is there.
    fn block_with(&self, seq: Seq) -> Result<Option<Arc<OpenBlock>>, JournalError> {
        let Some(located) = self
            .locate(seq)?
            .filter(|located| located.block.header.first_seq <= seq)
        else {
            return Ok(None);
        };
        let open = self.load(&located)?;
        if let Some(open) = &open {
            self.shared.cache().keep_block(open);
        }
        Ok(open)
    }

    /// The first block that holds `seq` or a later position.
    fn locate(&self, seq: Seq) -> Result<Option<Located>, JournalError> {
        let mut seq = seq;
        loop {
            let (segment, next) = {
                let catalogue = self.shared.read();
                let position = catalogue.position_of(seq);
                let Some(segment) = catalogue.segments.get(position).cloned() else {
                    return Ok(None);
                };
                match catalogue.segments.get(position + 1).cloned() {
                    Some(next) => (segment, next),
                    None => {
                        let block = first_at_or_after(&catalogue.active_blocks, seq);
                        return Ok(block.map(|block| Located { segment, block }));
                    }
                }
            };
            let blocks = self.index_of(&segment, &next)?;
            if let Some(block) = first_at_or_after(&blocks, seq) {
                return Ok(Some(Located { segment, block }));
            }
            // Damaged to its end, or freed meanwhile: go on behind it.
            seq = segment.info.last_seq.next();
        }
    }

    /// The blocks of a sealed segment: from the cache, else from a look at its headers.
    fn index_of(&self, segment: &Segment, next: &Segment) -> Result<Arc<Vec<BlockRef>>, JournalError> {
        let key = (segment.info.day, segment.info.first_seq);
        if let Some(index) = self.shared.cache().index(key) {
            return Ok(index);
        }
        let found = match scan_sealed(segment, Some(next), Depth::Headers) {
            Ok(found) => found,
            Err(error) => {
                self.note_if_missing(segment, error)?;
                return Ok(Arc::default());
            }
        };
        for damage in found.damage {
            self.shared.note_damage(damage);
        }
        let index = Arc::new(found.blocks);
        self.shared.cache().keep_index(key, Arc::clone(&index));
        Ok(index)
    }

    /// Reads and opens a block; `None` if it is damaged (which is noted) or its file was freed meanwhile.
    fn load(&self, located: &Located) -> Result<Option<Arc<OpenBlock>>, JournalError> {
        let Located { segment, block } = located;
        if let Some(open) = self.shared.cache().block(block.header.first_seq) {
            return Ok(Some(open));
        }
        let failed = |source| JournalError::io("read journal file", &segment.path, source);
        let file = match File::open(&segment.path).map_err(failed) {
            Ok(file) => file,
            Err(error) => {
                self.note_if_missing(segment, error)?;
                return Ok(None);
            }
        };
        // Bounded: the header was held against the limits.
        let mut body = vec![0u8; block.header.body_len as usize];
        let read = read_at_most(&file, &mut body, block.offset + block::HEADER_BYTES as u64).map_err(failed)?;
        body.truncate(read);
        let open = OpenBlock::open(&block.header, &body);
        if open.is_none() {
            self.shared.note_damage(Damage {
                kind: DamageKind::Unreadable,
                path: segment.path.clone(),
                offset: block.offset,
                bytes: block.end_offset() - block.offset,
                first_lost: block.header.first_seq,
                last_lost: block.header.last_seq(),
            });
        }
        Ok(open.map(Arc::new))
    }
}

/// The first of a list of blocks that holds `seq` or a later position.
fn first_at_or_after(blocks: &[BlockRef], seq: Seq) -> Option<BlockRef> {
    blocks
        .get(blocks.partition_point(|block| block.header.last_seq() < seq))
        .copied()
}
