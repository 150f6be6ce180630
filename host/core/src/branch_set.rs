//! Which branches of a rule matched, as a set of small numbers. Knows nothing of rules.

/// A set of branch indexes, stored as 64-bit words, low bit first; trailing zero words are not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BranchSet(Vec<u64>);

impl BranchSet {
    /// The set with these words; trailing zero words are dropped.
    #[must_use]
    pub fn from_words(mut words: Vec<u64>) -> BranchSet {
        while words.last() == Some(&0) {
            words.pop();
        }
        BranchSet(words)
    }

    /// The words of the set.
    #[must_use]
    pub fn words(&self) -> &[u64] {
        &self.0
    }

    /// Adds a branch.
    pub fn insert(&mut self, branch: u32) {
        let word = (branch / 64) as usize;
        if self.0.len() <= word {
            self.0.resize(word + 1, 0);
        }
        if let Some(bits) = self.0.get_mut(word) {
            *bits |= 1 << (branch % 64);
        }
    }

    /// Adds all branches of another set.
    pub fn union_with(&mut self, other: &BranchSet) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        for (mine, theirs) in self.0.iter_mut().zip(&other.0) {
            *mine |= theirs;
        }
    }

    /// How many branches are in the set.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// Whether no branch is in the set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The branches, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u32> + '_ {
        (0u32..).zip(&self.0).flat_map(|(word, bits)| {
            (0..64u32)
                .filter(move |bit| bits & (1 << bit) != 0)
                .map(move |bit| word * 64 + bit)
        })
    }
}

impl FromIterator<u32> for BranchSet {
    fn from_iter<T: IntoIterator<Item = u32>>(iter: T) -> BranchSet {
        let mut set = BranchSet::default();
        for branch in iter {
            set.insert(branch);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_gives_back_what_went_in() {
        let mut set: BranchSet = [0, 63, 64, 200].into_iter().collect();
        set.union_with(&[1, 64].into_iter().collect());
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 1, 63, 64, 200]);
        assert_eq!(set.len(), 5);
        assert_eq!(BranchSet::from_words(set.words().to_vec()), set);
    }
}
