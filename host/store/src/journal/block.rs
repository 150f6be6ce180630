//! Blocks: many entries under one header. The header has a checksum of its own, so that its lengths can be trusted
//! before anything is reserved for them. Pure: bytes in, bytes out.

use donjon_core::{Seq, TenantId, Timestamp};

use super::codec;
use super::entry::{Entry, NewEntry};
use super::error::JournalError;
use crate::day::Day;
use crate::limits::{MAX_BLOCK_BODY_BYTES, MAX_BLOCK_ENTRIES, MAX_BLOCK_RAW_BYTES};

/// Not valid UTF-8 anywhere, so that no JSON document contains it.
pub(super) const MAGIC: [u8; 4] = [0xFF, b'D', b'J', 0xFE];
pub(super) const HEADER_BYTES: usize = 52;

/// What the header of a block says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BlockHeader {
    pub(super) entry_version: u16,
    /// How many positions right before the first one were not on stable storage when the block was written. Blocks of
    /// before 2026-11-21 say 0, which says least: everything before them counts as synced.
    pub(super) unsynced_before: u16,
    pub(super) entries: u32,
    pub(super) first_seq: Seq,
    pub(super) first_accepted: Timestamp,
    pub(super) last_accepted: Timestamp,
    pub(super) raw_len: u32,
    pub(super) body_len: u32,
    pub(super) body_crc: u32,
}

impl BlockHeader {
    /// The position of the last entry.
    pub(super) fn last_seq(&self) -> Seq {
        Seq(self
            .first_seq
            .0
            .saturating_add(u64::from(self.entries).saturating_sub(1)))
    }

    /// Everything in its file up to this position was on stable storage when the block was written.
    pub(super) fn synced_to(&self) -> Seq {
        let unsynced = u64::from(self.unsynced_before).saturating_add(1);
        Seq(self.first_seq.0.saturating_sub(unsynced))
    }

    /// The bytes of the header at `offset` of its file. The place is part of the checksum: bytes that look like a block
    /// inside some entry are never taken for one.
    pub(super) fn to_bytes(self, offset: u64) -> [u8; HEADER_BYTES] {
        let mut bytes = [0u8; HEADER_BYTES];
        let fields = [0u8; 8].into_iter();
        let fields = fields
            .chain(self.entry_version.to_be_bytes())
            .chain(self.unsynced_before.to_be_bytes());
        let fields = fields
            .chain(self.entries.to_be_bytes())
            .chain(self.first_seq.0.to_be_bytes());
        let fields = fields
            .chain(self.first_accepted.0.to_be_bytes())
            .chain(self.last_accepted.0.to_be_bytes());
        let fields = fields
            .chain(self.raw_len.to_be_bytes())
            .chain(self.body_len.to_be_bytes());
        let fields = fields.chain(self.body_crc.to_be_bytes());
        for (to, from) in bytes.iter_mut().zip(fields) {
            *to = from;
        }
        let crc = header_crc(&bytes, offset);
        for (to, from) in bytes.iter_mut().zip(MAGIC.into_iter().chain(crc.to_be_bytes())) {
            *to = from;
        }
        bytes
    }

    /// Reads a header found at `offset`; `None` unless magic, checksum and limits hold.
    pub(super) fn from_bytes(bytes: &[u8], offset: u64) -> Option<BlockHeader> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        if *bytes.first_chunk::<4>()? != MAGIC || u32_at(bytes, 4)? != header_crc(bytes, offset) {
            return None;
        }
        let header = BlockHeader {
            entry_version: u16::from_be_bytes(bytes.get(8..10)?.try_into().ok()?),
            unsynced_before: u16::from_be_bytes(bytes.get(10..12)?.try_into().ok()?),
            entries: u32_at(bytes, 12)?,
            first_seq: Seq(u64_at(bytes, 16)?),
            first_accepted: Timestamp(u64_at(bytes, 24)?),
            last_accepted: Timestamp(u64_at(bytes, 32)?),
            raw_len: u32_at(bytes, 40)?,
            body_len: u32_at(bytes, 44)?,
            body_crc: u32_at(bytes, 48)?,
        };
        let bounded = header.raw_len as usize <= MAX_BLOCK_RAW_BYTES
            && header.body_len as usize <= MAX_BLOCK_BODY_BYTES
            && (1..=MAX_BLOCK_ENTRIES).contains(&(header.entries as usize));
        bounded.then_some(header)
    }
}

fn header_crc(bytes: &[u8; HEADER_BYTES], offset: u64) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&offset.to_be_bytes());
    hasher.update(bytes.get(8..).unwrap_or_default());
    hasher.finalize()
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(at..at.checked_add(8)?)?.try_into().ok()?))
}

/// Collects entries until a block is full.
#[derive(Default)]
pub(super) struct BlockBuilder {
    /// For each entry its length (u32) and its bytes.
    raw: Vec<u8>,
    entries: usize,
    first_accepted: Timestamp,
    last_accepted: Timestamp,
}

/// Where a block goes.
pub(super) struct Place {
    /// The position of its first entry.
    pub(super) first_seq: Seq,
    /// In its file.
    pub(super) offset: u64,
    /// See `BlockHeader`.
    pub(super) unsynced_before: u16,
}

/// What became of an entry.
pub(super) enum Push {
    /// It is in.
    Taken,
    /// The block is full without it: close it, then offer the entry again.
    Full,
}

impl BlockBuilder {
    pub(super) fn is_empty(&self) -> bool {
        self.entries == 0
    }

    /// The day of its entries.
    pub(super) fn day(&self) -> Day {
        Day::of(self.first_accepted)
    }

    pub(super) fn clear(&mut self) {
        self.raw.clear();
        self.entries = 0;
    }

    /// Adds an entry unless it belongs into the next block: of another day, or over a bound. An empty block takes any
    /// entry.
    pub(super) fn push(
        &mut self,
        entry: &NewEntry,
        accepted: Timestamp,
        max_raw: usize,
        max_entries: usize,
    ) -> Result<Push, JournalError> {
        if !self.is_empty() && (self.entries >= max_entries || Day::of(accepted) != self.day()) {
            return Ok(Push::Full);
        }
        let mark = self.raw.len();
        self.raw.extend_from_slice(&[0; 4]);
        let encoded = codec::encode(entry, accepted, &mut self.raw);
        let over = !self.is_empty() && self.raw.len() > max_raw;
        if over || encoded.is_err() {
            self.raw.truncate(mark);
        }
        let len = encoded?;
        if over {
            return Ok(Push::Full);
        }
        let prefix = u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes();
        for (to, from) in self.raw.iter_mut().skip(mark).zip(prefix) {
            *to = from;
        }
        if self.is_empty() {
            self.first_accepted = accepted;
        }
        self.last_accepted = accepted;
        self.entries += 1;
        Ok(Push::Taken)
    }

    /// Header and compressed body, to be written at its place in one piece, into `out`.
    pub(super) fn finish(
        &self,
        place: Place,
        compressor: &mut zstd::bulk::Compressor<'_>,
        out: &mut Vec<u8>,
    ) -> Result<BlockHeader, JournalError> {
        let failed = |why: String| JournalError::Codec { action: "encode", why };
        out.clear();
        out.resize(HEADER_BYTES + zstd::zstd_safe::compress_bound(self.raw.len()), 0);
        let room = out.get_mut(HEADER_BYTES..).unwrap_or_default();
        let body_len = compressor
            .compress_to_buffer(&self.raw, room)
            .map_err(|error| failed(error.to_string()))?;
        out.truncate(HEADER_BYTES + body_len);
        let number = |n: usize| u32::try_from(n).map_err(|_| failed(format!("block too large: {n}")));
        let header = BlockHeader {
            entry_version: codec::ENTRY_VERSION,
            entries: number(self.entries)?,
            unsynced_before: place.unsynced_before,
            first_seq: place.first_seq,
            first_accepted: self.first_accepted,
            last_accepted: self.last_accepted,
            raw_len: number(self.raw.len())?,
            body_len: number(body_len)?,
            body_crc: crc32fast::hash(out.get(HEADER_BYTES..).unwrap_or_default()),
        };
        for (to, from) in out.iter_mut().zip(header.to_bytes(place.offset)) {
            *to = from;
        }
        Ok(header)
    }
}

/// A decompressed block.
#[derive(Debug)]
pub(super) struct OpenBlock {
    pub(super) first_seq: Seq,
    raw: Vec<u8>,
    /// Where each entry is in `raw`.
    ranges: Vec<std::ops::Range<usize>>,
}

impl OpenBlock {
    /// Checks and decompresses a body; `None` if it is damaged.
    pub(super) fn open(header: &BlockHeader, body: &[u8]) -> Option<OpenBlock> {
        if body.len() != header.body_len as usize || crc32fast::hash(body) != header.body_crc {
            return None;
        }
        let raw_len = header.raw_len as usize;
        let raw = zstd::bulk::decompress(body, raw_len)
            .ok()
            .filter(|raw| raw.len() == raw_len)?;
        let mut ranges = Vec::with_capacity((header.entries as usize).min(raw_len / 4));
        let mut at = 0usize;
        for _ in 0..header.entries {
            let start = at + 4;
            let end = start
                .checked_add(u32_at(&raw, at)? as usize)
                .filter(|end| *end <= raw.len())?;
            ranges.push(start..end);
            at = end;
        }
        (at == raw.len()).then_some(OpenBlock {
            first_seq: header.first_seq,
            raw,
            ranges,
        })
    }

    /// The entry at a position; `None` if it is not in this block.
    pub(super) fn entry(&self, seq: Seq, like: Option<&TenantId>) -> Result<Option<Entry>, JournalError> {
        let index = seq
            .0
            .checked_sub(self.first_seq.0)
            .and_then(|index| usize::try_from(index).ok());
        let range = index.and_then(|index| self.ranges.get(index)).cloned();
        let Some(bytes) = range.and_then(|range| self.raw.get(range)) else {
            return Ok(None);
        };
        codec::decode(bytes, seq, like).map(Some)
    }

    /// The position after the last entry.
    pub(super) fn end_seq(&self) -> Seq {
        Seq(self.first_seq.0.saturating_add(self.ranges.len() as u64))
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        self.raw.len() + self.ranges.len() * size_of::<std::ops::Range<usize>>()
    }
}
