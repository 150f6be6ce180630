//! What readers keep between reads, bounded in bytes: decompressed blocks, and block indexes of sealed segments.

use std::sync::Arc;

use donjon_core::Seq;
use lru::LruCache;

use super::block::OpenBlock;
use super::scan::BlockRef;
use crate::day::Day;
use crate::limits::{BLOCK_CACHE_BYTES, INDEX_CACHE_BYTES};

/// Names a segment. The day is part of it: an empty segment and its successor begin at the same position.
pub(super) type SegmentKey = (Day, Seq);

pub(super) struct Cache {
    /// By the position of the first entry.
    blocks: LruCache<Seq, Arc<OpenBlock>>,
    block_bytes: usize,
    indexes: LruCache<SegmentKey, Arc<Vec<BlockRef>>>,
    index_bytes: usize,
}

/// What an index takes, its place in the list included.
fn bytes_of(index: &[BlockRef]) -> usize {
    INDEX_OVERHEAD_BYTES + size_of_val(index)
}

/// An index without blocks takes that much.
const INDEX_OVERHEAD_BYTES: usize = 128;

impl Cache {
    pub(super) fn new() -> Cache {
        Cache {
            blocks: LruCache::unbounded(),
            block_bytes: 0,
            indexes: LruCache::unbounded(),
            index_bytes: 0,
        }
    }

    pub(super) fn block(&mut self, first_seq: Seq) -> Option<Arc<OpenBlock>> {
        self.blocks.get(&first_seq).cloned()
    }

    pub(super) fn keep_block(&mut self, block: &Arc<OpenBlock>) {
        if let Some(old) = self.blocks.put(block.first_seq, Arc::clone(block)) {
            self.block_bytes = self.block_bytes.saturating_sub(old.bytes());
        }
        self.block_bytes += block.bytes();
        while self.block_bytes > BLOCK_CACHE_BYTES {
            let Some((_, old)) = self.blocks.pop_lru() else { break };
            self.block_bytes = self.block_bytes.saturating_sub(old.bytes());
        }
    }

    pub(super) fn index(&mut self, key: SegmentKey) -> Option<Arc<Vec<BlockRef>>> {
        self.indexes.get(&key).cloned()
    }

    pub(super) fn keep_index(&mut self, key: SegmentKey, index: Arc<Vec<BlockRef>>) {
        self.index_bytes += bytes_of(&index);
        if let Some(old) = self.indexes.put(key, index) {
            self.index_bytes = self.index_bytes.saturating_sub(bytes_of(&old));
        }
        while self.index_bytes > INDEX_CACHE_BYTES {
            let Some((_, old)) = self.indexes.pop_lru() else { break };
            self.index_bytes = self.index_bytes.saturating_sub(bytes_of(&old));
        }
    }
}

#[cfg(test)]
mod tests {
    use donjon_core::Timestamp;

    use super::*;
    use crate::journal::block::BlockHeader;

    /// A segment that was written one alert at a time has fifty times the blocks of another: the number of indexes says
    /// nothing about memory.
    #[test]
    fn indexes_are_bounded_in_bytes_and_the_oldest_goes_first() {
        let header = BlockHeader {
            entry_version: 1,
            unsynced_before: 0,
            entries: 1,
            first_seq: Seq(1),
            first_accepted: Timestamp(0),
            last_accepted: Timestamp(0),
            raw_len: 1,
            body_len: 1,
            body_crc: 0,
        };
        let block = BlockRef { offset: 0, header };
        let blocks = INDEX_CACHE_BYTES / 4 / size_of::<BlockRef>();
        let mut cache = Cache::new();
        for n in 0..4 {
            cache.keep_index((Day(0), Seq(n)), Arc::new(vec![block; blocks]));
        }
        assert!(cache.index((Day(0), Seq(0))).is_none());
        assert!(cache.index((Day(0), Seq(3))).is_some());
        assert!(cache.index_bytes <= INDEX_CACHE_BYTES);
        // The same again takes nothing more.
        let before = cache.index_bytes;
        cache.keep_index((Day(0), Seq(3)), Arc::new(vec![block; blocks]));
        assert_eq!(cache.index_bytes, before);
    }
}
