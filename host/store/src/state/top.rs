//! The first few of many, without keeping the many: what every page of a list is made with.

use std::collections::BinaryHeap;

/// Keeps the values with the `keep` smallest keys of all that are offered, and drops the others at once.
#[derive(Debug)]
pub struct Top<K, V> {
    keep: usize,
    offered: u64,
    /// The largest key on top: the next one to go.
    heap: BinaryHeap<Ranked<K, V>>,
}

#[derive(Debug)]
struct Ranked<K, V> {
    key: K,
    /// Of equal keys the first one offered is kept.
    number: u64,
    value: V,
}

impl<K: Ord, V> Top<K, V> {
    /// Keeps at most so many.
    #[must_use]
    pub fn new(keep: usize) -> Top<K, V> {
        Top {
            keep,
            offered: 0,
            heap: BinaryHeap::new(),
        }
    }

    /// Offers a key; `value` is called only if it is kept for now.
    pub fn offer(&mut self, key: K, value: impl FnOnce() -> V) {
        self.offered += 1;
        if self.heap.len() >= self.keep {
            if self.heap.peek().is_none_or(|largest| largest.key <= key) {
                return;
            }
            self.heap.pop();
        }
        self.heap.push(Ranked {
            key,
            number: self.offered,
            value: value(),
        });
    }

    /// What was kept, in the order of the keys.
    #[must_use]
    pub fn into_values(self) -> Vec<V> {
        let sorted = self.heap.into_sorted_vec();
        sorted.into_iter().map(|ranked| ranked.value).collect()
    }
}

impl<K: Ord, V> Ord for Ranked<K, V> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (&self.key, self.number).cmp(&(&other.key, other.number))
    }
}

impl<K: Ord, V> PartialOrd for Ranked<K, V> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<K: Ord, V> PartialEq for Ranked<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl<K: Ord, V> Eq for Ranked<K, V> {}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A value that is counted while it lives.
    struct Alive<'c> {
        number: u64,
        alive: &'c Cell<usize>,
    }

    impl Drop for Alive<'_> {
        fn drop(&mut self) {
            self.alive.set(self.alive.get() - 1);
        }
    }

    #[test]
    fn only_what_is_kept_is_alive() {
        let (alive, mut most) = (Cell::new(0), 0);
        let mut top = Top::new(10);
        for step in 0..200_000_u64 {
            let number = step.wrapping_mul(2_654_435_761) % 1_000_003;
            top.offer(number, || {
                alive.set(alive.get() + 1);
                Alive { number, alive: &alive }
            });
            most = most.max(alive.get());
        }
        assert_eq!(most, 10);
        let mut all: Vec<u64> = (0..200_000_u64)
            .map(|step| step.wrapping_mul(2_654_435_761) % 1_000_003)
            .collect();
        all.sort_unstable();
        let kept: Vec<u64> = top.into_values().iter().map(|value| value.number).collect();
        assert_eq!(Some(kept.as_slice()), all.get(..10));
    }

    #[test]
    fn of_equal_keys_the_first_is_kept_and_nothing_fits_into_nothing() {
        let mut top = Top::new(2);
        for (key, value) in [(1, 'a'), (0, 'b'), (1, 'c'), (0, 'd'), (0, 'e')] {
            top.offer(key, || value);
        }
        assert_eq!(top.into_values(), ['b', 'd']);
        let mut none = Top::new(0);
        none.offer(1, || 'a');
        assert!(none.into_values().is_empty());
    }
}
