//! What readers keep between reads, bounded: decompressed blocks by bytes, block indexes of sealed segments by number.

use std::sync::Arc;

use donjon_core::Seq;
use lru::LruCache;

use super::block::OpenBlock;
use super::scan::BlockRef;
use crate::day::Day;
use crate::limits::{BLOCK_CACHE_BYTES, CACHED_SEGMENT_INDEXES};

/// Names a segment. The day is part of it: an empty segment and its successor begin at the same position.
pub(super) type SegmentKey = (Day, Seq);

pub(super) struct Cache {
    /// By the position of the first entry.
    blocks: LruCache<Seq, Arc<OpenBlock>>,
    block_bytes: usize,
    indexes: LruCache<SegmentKey, Arc<Vec<BlockRef>>>,
}

impl Cache {
    pub(super) fn new() -> Cache {
        Cache {
            blocks: LruCache::unbounded(),
            block_bytes: 0,
            indexes: LruCache::unbounded(),
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
        self.indexes.put(key, index);
        while self.indexes.len() > CACHED_SEGMENT_INDEXES {
            self.indexes.pop_lru();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_are_bounded_and_the_oldest_goes_first() {
        let mut cache = Cache::new();
        for n in 0..=CACHED_SEGMENT_INDEXES as u64 {
            cache.keep_index((Day(0), Seq(n)), Arc::new(Vec::new()));
        }
        assert!(cache.index((Day(0), Seq(0))).is_none());
        assert!(cache.index((Day(0), Seq(1))).is_some());
    }
}
