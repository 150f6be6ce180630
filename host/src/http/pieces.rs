//! The body of an answer in pieces: it grows without being copied as a whole, and what is sent is freed piece by piece.
//! Knows no kind of item and no permit.

use std::collections::VecDeque;

use axum::body::Bytes;

/// Parts are put together up to here.
pub const PIECE_BYTES: usize = 64 << 10;

/// Pieces in the order in which they are sent.
#[derive(Debug, Default)]
pub struct Pieces {
    pieces: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Pieces {
    /// One more part.
    pub fn push(&mut self, part: Vec<u8>) {
        self.bytes += part.len();
        match self.pieces.back_mut() {
            Some(last) if last.len() + part.len() <= PIECE_BYTES => last.extend_from_slice(&part),
            last => {
                // It does not grow any more: without this up to half of an answer's memory would hold nothing.
                last.into_iter().for_each(Vec::shrink_to_fit);
                self.pieces.push_back(part);
            }
        }
    }

    /// A part before all others.
    pub fn put_first(&mut self, part: Vec<u8>) {
        self.bytes += part.len();
        self.pieces.push_front(part);
    }

    /// The bytes of all.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// All as one: for small bodies.
    pub fn joined(self) -> Vec<u8> {
        Vec::from(self.pieces).concat()
    }

    /// The next that is to be sent, never more than `PIECE_BYTES`.
    pub fn queue(self) -> VecDeque<Bytes> {
        let split = |piece: Vec<u8>| {
            let mut rest = Bytes::from(piece);
            std::iter::from_fn(move || (!rest.is_empty()).then(|| rest.split_to(rest.len().min(PIECE_BYTES))))
        };
        self.pieces.into_iter().flat_map(split).collect()
    }
}

impl From<Vec<u8>> for Pieces {
    fn from(whole: Vec<u8>) -> Pieces {
        let mut pieces = Pieces::default();
        pieces.push(whole);
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_in_pieces_says_the_same_and_holds_little_more_than_it_says() {
        for size in [1, 700, 40_000, PIECE_BYTES, 3 * PIECE_BYTES + 1] {
            let mut pieces = Pieces::default();
            let mut whole = Vec::new();
            for at in 0..(1 << 20) / size + 1 {
                let mut part = Vec::with_capacity(2 * size);
                part.resize(size, b'a' + u8::try_from(at % 26).unwrap());
                whole.extend_from_slice(&part);
                pieces.push(part);
            }
            pieces.put_first(b"head".to_vec());
            whole.splice(0..0, *b"head");
            assert_eq!(pieces.bytes(), whole.len());
            let held: usize = pieces.pieces.iter().map(Vec::capacity).sum();
            assert!(held <= whole.len() + 2 * size.max(PIECE_BYTES), "{size}: {held}");
            let sent = pieces.queue();
            assert!(
                sent.iter().all(|piece| (1..=PIECE_BYTES).contains(&piece.len())),
                "{size}"
            );
            assert!(sent.iter().flatten().copied().eq(whole.iter().copied()), "{size}");
        }
    }
}
