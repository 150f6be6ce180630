//! Records that rot inside the store: they never get into a checkpoint, where they would replace whole ones.

use super::super::*;
use crate::checkpoint::Piece;
use crate::state::kv::KvBatch;
use crate::testing::Draw;

/// Reads a capture to its end.
fn capture(state: &State) -> Result<(), KvError> {
    let capturing = state.begin_capture().unwrap();
    while let Piece::Some(_) = capturing.next()? {}
    Ok(())
}

#[test]
fn a_damaged_record_ends_a_checkpoint_and_nothing_else() {
    let (state, mut draw) = (State::in_memory(), Draw::new(9));
    for seq in 1..60 {
        let write = draw.write_set(Seq(seq));
        state.commit(&write).unwrap();
    }
    capture(&state).unwrap();
    let pairs = state.reader().dump().unwrap();
    let records = pairs.into_iter().filter(|(_, value)| !value.is_empty());
    for (key, value) in records.step_by(40) {
        let put = |value: Vec<u8>| {
            let mut batch = KvBatch::default();
            batch.put(key.clone(), value);
            state.reader.kv().apply(batch).unwrap();
        };
        let mut rotten = value.clone();
        *rotten.last_mut().unwrap() ^= 1;
        put(rotten);
        let told = capture(&state).unwrap_err();
        assert!(told.0.contains("damaged"), "{told}");
        put(value);
    }
    capture(&state).unwrap();
}
