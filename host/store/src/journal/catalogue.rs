//! What writer and readers share: the list of segments, the index of the newest one, and what was found damaged. Only
//! what is synced is in here, so readers never see an entry that a crash could take back.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use donjon_core::Seq;

use super::cache::Cache;
use super::damage::Damage;
use super::scan::BlockRef;
use super::segment::{Segment, SegmentInfo};
use crate::day::Day;
use crate::limits::MAX_DAMAGE_LISTED;

pub(super) struct Shared {
    catalogue: RwLock<Catalogue>,
    cache: Mutex<Cache>,
    damage: Mutex<DamageLog>,
}

/// The segments, oldest first. The last one is the active one.
#[derive(Default)]
pub(super) struct Catalogue {
    pub(super) segments: VecDeque<Segment>,
    /// Blocks of the active segment. Readers look into it under the lock and take single blocks away, never the list:
    /// the writer would have to copy all of it to add one.
    pub(super) active_blocks: Vec<BlockRef>,
    /// The position that the next entry gets, as far as readers know.
    pub(super) next_seq: Seq,
}

#[derive(Default)]
struct DamageLog {
    count: u64,
    listed: Vec<Damage>,
    /// How many of the listed ones were taken by `take_untold_damage`.
    told: usize,
}

/// What `sync` makes visible.
pub(super) enum Fresh {
    /// A segment was begun.
    Segment(Segment),
    /// A block was added to the newest segment.
    Block(BlockRef),
}

impl Shared {
    pub(super) fn new(catalogue: Catalogue, damage: Vec<Damage>) -> Shared {
        let shared = Shared {
            catalogue: RwLock::new(catalogue),
            cache: Mutex::new(Cache::new()),
            damage: Mutex::new(DamageLog::default()),
        };
        for found in damage {
            shared.note_damage(found);
        }
        shared
    }

    // A panic of another thread while it held one of these locks cannot leave a half-done change behind that matters:
    // lists and caches are changed by single calls.

    pub(super) fn read(&self) -> RwLockReadGuard<'_, Catalogue> {
        self.catalogue.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self) -> RwLockWriteGuard<'_, Catalogue> {
        self.catalogue.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn cache(&self) -> MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a damaged place, once however often it is read.
    pub(super) fn note_damage(&self, found: Damage) {
        let mut log = self.damage.lock().unwrap_or_else(PoisonError::into_inner);
        if log.listed.iter().any(|known| known.covers(&found)) {
            return;
        }
        log.count += 1;
        if log.listed.len() < MAX_DAMAGE_LISTED {
            log.listed.push(found);
        }
    }

    pub(super) fn damage_count(&self) -> u64 {
        self.damage.lock().unwrap_or_else(PoisonError::into_inner).count
    }

    /// What was noted since the last call.
    pub(super) fn take_untold_damage(&self) -> Vec<Damage> {
        let mut log = self.damage.lock().unwrap_or_else(PoisonError::into_inner);
        let listed = log.listed.len();
        let told = std::mem::replace(&mut log.told, listed);
        log.listed.get(told..).unwrap_or_default().to_vec()
    }

    pub(super) fn damage(&self) -> (u64, Vec<Damage>) {
        let log = self.damage.lock().unwrap_or_else(PoisonError::into_inner);
        (log.count, log.listed.clone())
    }
}

impl Catalogue {
    /// Makes what was synced visible.
    pub(super) fn publish(&mut self, fresh: impl Iterator<Item = Fresh>, next_seq: Seq) {
        for item in fresh {
            match item {
                Fresh::Segment(segment) => {
                    // The one before is sealed now: it ends where this one begins.
                    if let Some(sealed) = self.segments.back_mut() {
                        sealed.info.last_seq = Seq(segment.info.first_seq.0.saturating_sub(1));
                    }
                    self.active_blocks.clear();
                    self.segments.push_back(segment);
                }
                Fresh::Block(block) => {
                    self.active_blocks.push(block);
                    if let Some(active) = self.segments.back_mut() {
                        active.info.last_seq = block.header.last_seq();
                        active.info.bytes = block.end_offset();
                    }
                }
            }
        }
        self.next_seq = next_seq;
    }

    /// The segments with the days that count for retention.
    pub(super) fn infos(&self) -> Vec<SegmentInfo> {
        let mut infos: Vec<SegmentInfo> = self.segments.iter().map(|segment| segment.info).collect();
        let mut earliest = infos.last().map_or(Day::default(), |active| active.day);
        for info in infos.iter_mut().rev() {
            earliest = earliest.min(info.day);
            info.day = earliest;
        }
        infos
    }

    /// The sealed segment that holds `seq`, or the first sealed one after it, and its successor.
    pub(super) fn sealed_at(&self, seq: Seq) -> Option<(Segment, Segment)> {
        let position = self.position_of(seq);
        let (segment, next) = (self.segments.get(position)?, self.segments.get(position + 1)?);
        Some((segment.clone(), next.clone()))
    }

    /// Whether a segment is still in the list.
    pub(super) fn lists(&self, segment: &Segment) -> bool {
        self.segments.iter().any(|known| known.path == segment.path)
    }

    /// Index of the segment that holds `seq`, or of the first one after it.
    pub(super) fn position_of(&self, seq: Seq) -> usize {
        self.segments.partition_point(|segment| segment.info.last_seq < seq)
    }

    /// Takes the segments of these days out of the list, never the active one.
    pub(super) fn take_days(&mut self, days: &[Day]) -> Vec<Segment> {
        let infos = self.infos();
        let active = self.segments.pop_back();
        let mut taken = Vec::new();
        let mut kept = VecDeque::new();
        for (segment, info) in self.segments.drain(..).zip(infos) {
            if days.contains(&info.day) {
                taken.push(segment);
            } else {
                kept.push_back(segment);
            }
        }
        kept.extend(active);
        self.segments = kept;
        taken
    }
}
