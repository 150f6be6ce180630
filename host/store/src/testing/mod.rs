//! Arbitrary domain values for tests, drawn from one seed: a failing seed is a failing test anywhere. Numbers and texts
//! lean towards the edges, where codecs break.

mod domain;

/// Draws values.
pub(crate) struct Draw(u64);

impl Draw {
    pub(crate) fn new(seed: u64) -> Draw {
        Draw(seed)
    }

    /// splitmix64.
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    pub(crate) fn flag(&mut self) -> bool {
        self.below(2) == 1
    }

    pub(crate) fn u64(&mut self) -> u64 {
        match self.below(6) {
            0 => 0,
            1 => u64::MAX,
            2 => self.below(256),
            3 => 1_750_000_000_000 + self.below(1_000_000),
            _ => self.next(),
        }
    }

    pub(crate) fn u32(&mut self) -> u32 {
        u32::try_from(self.u64() >> 32).unwrap()
    }

    pub(crate) fn bytes16(&mut self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes.fill_with(|| u8::try_from(self.below(256)).unwrap());
        bytes
    }

    /// A short text of any characters, NUL and separators included.
    pub(crate) fn text(&mut self) -> String {
        const CHARS: [char; 12] = ['a', 'b', 'z', '0', ',', '"', '\0', '/', '\n', 'é', '漢', '🦀'];
        let len = self.below(12);
        (0..len)
            .map(|_| CHARS[usize::try_from(self.below(12)).unwrap()])
            .collect()
    }

    pub(crate) fn bytes(&mut self) -> Vec<u8> {
        let len = self.below(300);
        (0..len).map(|_| u8::try_from(self.below(256)).unwrap()).collect()
    }

    pub(crate) fn maybe<T>(&mut self, draw: impl FnOnce(&mut Draw) -> T) -> Option<T> {
        if self.flag() { Some(draw(self)) } else { None }
    }

    pub(crate) fn list<T>(&mut self, draw: impl Fn(&mut Draw) -> T) -> Vec<T> {
        let len = self.below(5);
        (0..len).map(|_| draw(self)).collect()
    }

    pub(crate) fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).unwrap()]
    }
}
