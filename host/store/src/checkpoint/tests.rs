//! A checkpoint is the state after one commit, whatever is committed while it is made; and what is restored is what was
//! written, or nothing.

use std::cell::Cell;
use std::fs;
use std::path::Path;

use donjon_core::Seq;

use super::{CheckpointError, Checkpoints, Piece, Restored};
use crate::state::{State, StateOptions};
use crate::testing::Draw;

fn commit(state: &State, draw: &mut Draw, count: u64) {
    for _ in 0..count {
        let applied = state.reader().applied().unwrap().next();
        let write = draw.write_set(applied);
        state.commit(&write).unwrap();
    }
}

fn dump_of(state: &State) -> Vec<(Vec<u8>, Vec<u8>)> {
    state.reader().dump().unwrap()
}

fn restored_from(dir: &Path) -> (State, Restored) {
    let state = State::in_memory();
    let restored = Checkpoints::open(dir).unwrap().restore(&state, Seq(0), |_| ()).unwrap();
    (state, restored)
}

#[test]
fn a_capture_is_the_state_of_its_moment_whatever_is_committed_meanwhile() {
    for seed in 0..24 {
        let (state, mut draw) = (State::in_memory(), Draw::new(seed));
        commit(&state, &mut draw, 10 + seed * 20);
        let expected = dump_of(&state);
        let capturing = state.begin_capture().unwrap();
        let mut captured = Vec::new();
        loop {
            let meanwhile = draw.below(4);
            commit(&state, &mut draw, meanwhile);
            match capturing.next().unwrap() {
                Piece::Some(pairs) => captured.extend(pairs),
                Piece::Last(pairs) => {
                    captured.extend(pairs);
                    break;
                }
            }
        }
        assert!(
            captured == expected,
            "seed {seed}: {} of {}",
            captured.len(),
            expected.len()
        );
    }
}

#[test]
fn what_is_restored_is_what_was_written() {
    let temp = tempfile::tempdir().unwrap();
    let (state, mut draw) = (State::in_memory(), Draw::new(1));
    let folder = temp.path().join("checkpoints");
    let mut checkpoints = Checkpoints::open(&folder).unwrap();
    assert_eq!(restored_from(&folder).1, Restored::default());

    let mut expected = Vec::new();
    for round in 1..=4u64 {
        commit(&state, &mut draw, 50);
        expected = dump_of(&state);
        // Commits go on while it is made.
        let pieces = Cell::new(0);
        let mut busy = Draw::new(round);
        let taken = checkpoints.take(&state, || {
            pieces.set(pieces.get() + 1);
            if pieces.get() < 9 {
                commit(&state, &mut busy, 1);
            }
            Ok(())
        });
        assert!(pieces.get() > 1, "one piece shows nothing");
        let (restored, told) = restored_from(&folder);
        assert_eq!(told.applied, Some(taken.unwrap()));
        assert!(dump_of(&restored) == expected, "round {round}");
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "old ones are forgotten");
    assert!(checkpoints.confirmed().unwrap() < checkpoints.newest().unwrap());

    // On sled too, where it is durable and goes on from there.
    let dir = temp.path().join("state");
    let options = StateOptions { cache_bytes: 1 << 26 };
    let (sled, _) = State::open(&dir, options).unwrap();
    let told = Checkpoints::open(&folder)
        .unwrap()
        .restore(&sled, Seq(0), |_| ())
        .unwrap();
    drop(sled);
    let (sled, _) = State::open(&dir, options).unwrap();
    assert!(dump_of(&sled) == expected);
    assert_eq!(Some(sled.reader().applied().unwrap()), told.applied);
    commit(&sled, &mut draw, 1);
    let refused = Checkpoints::open(&folder)
        .unwrap()
        .restore(&sled, Seq(0), |_| ())
        .unwrap_err();
    assert!(refused.to_string().contains("empty"), "{refused}");
}

/// Cut or changed anywhere, the newest is not believed, and the one before is restored.
#[test]
fn a_damaged_checkpoint_is_passed_over() {
    let temp = tempfile::tempdir().unwrap();
    let (state, mut draw) = (State::in_memory(), Draw::new(7));
    let folder = temp.path().join("checkpoints");
    let mut checkpoints = Checkpoints::open(&folder).unwrap();
    commit(&state, &mut draw, 5);
    checkpoints.take(&state, || Ok(())).unwrap();
    let (older, expected) = (checkpoints.newest(), dump_of(&state));
    assert_eq!(checkpoints.confirmed(), None, "a single one is not enough to rely on");
    commit(&state, &mut draw, 5);
    checkpoints.take(&state, || Ok(())).unwrap();
    assert_eq!(checkpoints.confirmed(), older);
    let [older_file, newest] = [0, 1].map(|at| checkpoints.path(checkpoints.kept[at]));
    let whole = fs::read(&newest).unwrap();
    let check = |bytes: &[u8], what: &str| {
        fs::write(&newest, bytes).unwrap();
        let (restored, told) = restored_from(&folder);
        assert_eq!(
            (told.applied, told.damaged.len()),
            (older, 1),
            "{what}: {:?}",
            told.damaged
        );
        assert!(dump_of(&restored) == expected, "{what}");
    };
    for step in 0..64 {
        let at = whole.len() * step / 64;
        check(whole.get(..at).unwrap(), &format!("cut at {at} of {}", whole.len()));
        let mut changed = whole.clone();
        *changed.get_mut(at).unwrap() ^= 0x10;
        check(&changed, &format!("bit of byte {at} of {}", whole.len()));
    }
    check(&[whole.as_slice(), &whole].concat(), "twice");
    check(&fs::read(older_file).unwrap(), "the header of another");
}

#[test]
fn a_checkpoint_that_is_not_made_leaves_nothing() {
    let temp = tempfile::tempdir().unwrap();
    let (state, mut draw) = (State::in_memory(), Draw::new(3));
    commit(&state, &mut draw, 50);
    let folder = temp.path().join("checkpoints");
    let mut checkpoints = Checkpoints::open(&folder).unwrap();
    let stopped = checkpoints.take(&state, || Err(CheckpointError::Stopped));
    assert!(matches!(stopped, Err(CheckpointError::Stopped)));
    assert_eq!(
        (checkpoints.newest(), fs::read_dir(&folder).unwrap().count()),
        (None, 0)
    );
    // What a crash leaves counts for nothing.
    fs::write(folder.join("00000000000000000009.part"), b"x").unwrap();
    assert_eq!(Checkpoints::open(&folder).unwrap().newest(), None);
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
    // The state can be captured again.
    assert_eq!(checkpoints.take(&state, || Ok(())).unwrap(), Seq(50));
    let capturing = state.begin_capture().unwrap();
    assert!(matches!(
        checkpoints.take(&state, || Ok(())),
        Err(CheckpointError::Busy)
    ));
    drop(capturing);
    // A second one of the same state counts: one of them may rot.
    assert_eq!(checkpoints.take(&state, || Ok(())).unwrap(), Seq(50));
    assert_eq!(checkpoints.confirmed(), Some(Seq(50)));
    // What somebody removed is gone, and in nobody's way.
    fs::remove_file(checkpoints.path(checkpoints.kept[0])).unwrap();
    commit(&state, &mut draw, 1);
    checkpoints.take(&state, || Ok(())).unwrap();
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2);
}

#[test]
fn a_checkpoint_that_rotted_does_not_count() {
    let temp = tempfile::tempdir().unwrap();
    let (state, mut draw) = (State::in_memory(), Draw::new(4));
    let mut checkpoints = Checkpoints::open(temp.path()).unwrap();
    for _ in 0..2 {
        commit(&state, &mut draw, 5);
        checkpoints.take(&state, || Ok(())).unwrap();
    }
    assert_eq!(checkpoints.confirmed(), Some(Seq(5)));
    fs::write(checkpoints.path(checkpoints.kept[0]), b"rot").unwrap();
    assert_eq!(checkpoints.verify(|| Ok(())).unwrap().len(), 1);
    assert_eq!((checkpoints.confirmed(), checkpoints.newest()), (None, Some(Seq(10))));
    assert_eq!(Checkpoints::open(temp.path()).unwrap().newest(), Some(Seq(10)));
    assert_eq!(restored_from(temp.path()).1.applied, Some(Seq(10)));
    // Older than what is there already: of no use.
    let (newer, nothing) = (Seq(10), Restored::default());
    assert_eq!(
        checkpoints.restore(&State::in_memory(), newer, |_| ()).unwrap(),
        nothing
    );
}
