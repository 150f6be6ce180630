//! sled's files after something went wrong with them: whole batches or a fresh start, never a refusal to work.

use std::fs;
use std::path::Path;

use donjon_core::Seq;
use donjon_core::state::WriteSet;

use super::super::*;
use crate::testing::Draw;

fn open(dir: &Path) -> (State, Reopened) {
    State::open(
        dir,
        StateOptions {
            cache_bytes: 64 * 1024 * 1024,
        },
    )
    .unwrap()
}

/// Commits `count` write sets of everything.
fn fill(state: &State, seed: u64, count: u64) {
    let mut draw = Draw::new(seed);
    for _ in 0..count {
        let applied = state.reader().applied().unwrap().next();
        let write = draw.write_set(applied, state.reader().outbox_last().unwrap());
        state.commit(&write).unwrap();
    }
}

#[test]
fn a_reopened_state_is_as_it_was_left() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("state");
    let (state, how) = open(&dir);
    assert_eq!(how, Reopened::Fresh);
    fill(&state, 1, 30);
    state.flush().unwrap();
    let expected = state.reader().dump().unwrap();
    assert!(state.reader().size_on_disk().unwrap() > 0);
    drop(state);
    let (state, how) = open(&dir);
    assert_eq!(how, Reopened::Existing);
    assert_eq!(state.reader().applied().unwrap(), Seq(30));
    assert_eq!(state.reader().dump().unwrap(), expected);
}

/// I2: the file is cut anywhere, as by a crash. What opens is the state after some commit; what does not is put aside.
#[test]
fn a_cut_file_gives_the_state_of_an_earlier_commit_or_a_fresh_one() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("state");
    let (state, _) = open(&dir);
    let mut dumps = vec![state.reader().dump().unwrap()];
    for round in 0..40 {
        fill(&state, round, 1);
        state.flush().unwrap();
        dumps.push(state.reader().dump().unwrap());
    }
    drop(state);
    let whole = fs::read(dir.join("db")).unwrap();
    let snapshots: Vec<_> = fs::read_dir(&dir)
        .unwrap()
        .map(|item| item.unwrap().path())
        .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("snap."))
        .collect();
    for snapshot in &snapshots {
        fs::remove_file(snapshot).unwrap();
    }
    let (mut opened, mut rebuilt) = (0, 0);
    for step in 0..60 {
        let len = whole.len() * step / 60;
        fs::write(dir.join("db"), &whole[..len]).unwrap();
        let (state, how) = open(&dir);
        let dump = state.reader().dump().unwrap();
        let applied = usize::try_from(state.reader().applied().unwrap().0).unwrap();
        assert_eq!(dump, dumps[applied], "cut to {len}: not a state after a commit");
        match how {
            Reopened::Rebuilt { moved_to, .. } => {
                rebuilt += 1;
                assert_eq!(applied, 0);
                fs::remove_dir_all(moved_to).unwrap();
            }
            Reopened::Existing | Reopened::Fresh => opened += 1,
        }
        drop(state);
        fs::remove_dir_all(&dir).unwrap();
        fs::create_dir(&dir).unwrap();
        fs::write(dir.join("conf"), b"").unwrap();
        fs::remove_file(dir.join("conf")).unwrap();
    }
    assert_eq!(opened + rebuilt, 60);
}

#[test]
fn a_corrupt_file_is_put_aside_and_the_caller_is_told_to_replay() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("state");
    for n in 1..=3 {
        let (state, _) = open(&dir);
        fill(&state, n, 20);
        state.flush().unwrap();
        drop(state);
        corrupt(&dir);
        let (state, how) = open(&dir);
        let Reopened::Rebuilt { moved_to, why } = how else {
            panic!("opened corrupt files: {how:?}")
        };
        assert_eq!(moved_to, temp.path().join(format!("state.broken-{n}")));
        assert!(moved_to.join("db").exists(), "{why}");
        assert_eq!(state.reader().applied().unwrap(), Seq(0));
        assert_eq!(state.reader().dump().unwrap(), []);
        // It works, and it lasts.
        fill(&state, 9, 3);
        drop(state);
        let (state, how) = open(&dir);
        assert_eq!((how, state.reader().applied().unwrap()), (Reopened::Existing, Seq(3)));
    }
}

/// Junk over everything but the first bytes of the file and its snapshots.
fn corrupt(dir: &Path) {
    for item in fs::read_dir(dir).unwrap() {
        let path = item.unwrap().path();
        if path.is_file() && path.file_name().unwrap() != "conf" {
            let mut bytes = fs::read(&path).unwrap();
            for (index, byte) in bytes.iter_mut().enumerate().skip(16) {
                *byte = u8::try_from(index % 251).unwrap();
            }
            fs::write(&path, bytes).unwrap();
        }
    }
}

/// Junk in one place at a time, all over the files: it opens or is put aside, and what opens reads or says that it does
/// not. Nothing takes the process down.
#[test]
fn damage_anywhere_is_survived() {
    let temp = tempfile::tempdir().unwrap();
    let source = temp.path().join("source");
    let (state, _) = open(&source);
    let mut dumps = vec![Vec::new()];
    for n in 0..60 { fill(&state, n, 1); dumps.push(state.reader().dump().unwrap()); }
    state.flush().unwrap();
    drop(state);
    let len = usize::try_from(fs::metadata(source.join("db")).unwrap().len()).unwrap();
    for step in 0..64usize {
        let dir = temp.path().join(format!("state-{step}"));
        fs::create_dir(&dir).unwrap();
        for item in fs::read_dir(&source).unwrap() {
            let path = item.unwrap().path();
            if path.is_file() {
                let keep_snapshot = step % 2 == 0 || !path.file_name().unwrap().to_str().unwrap().starts_with("snap.");
                if keep_snapshot {
                    fs::copy(&path, dir.join(path.file_name().unwrap())).unwrap();
                }
            }
        }
        let mut bytes = fs::read(dir.join("db")).unwrap();
        let at = (len * step / 64).min(bytes.len() - 1);
        for byte in bytes.iter_mut().skip(at).take(1 + step * 7) {
            *byte = byte.wrapping_add(97);
        }
        fs::write(dir.join("db"), bytes).unwrap();
        let (state, how) = open(&dir);
        let reader = state.reader();
        let dump = reader.dump();
        let applied = reader.applied();
        let verdict = match (&dump, &applied) { (Ok(d), Ok(a)) => format!("equal {}", *d == dumps[usize::try_from(a.0).unwrap()]), (Err(e), _) => e.to_string(), _ => "x".into() };
        eprintln!("DAMAGE step {step} {how:?} applied {applied:?} {verdict}");
        for tenant in reader.tenants().unwrap_or_default() {
            let _ = donjon_core::state::StateView::rules(reader, &tenant);
            let _ = reader.alerts(&tenant, |_| std::ops::ControlFlow::Continue(()));
        }
        let next = reader.applied().map_or(Seq(1000), |seq| seq.next());
        let _ = state.commit(&WriteSet {
            applied: next,
            ..WriteSet::default()
        });
    }
}

#[test]
fn a_leftover_of_an_interrupted_snapshot_does_not_matter() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("state");
    let (state, _) = open(&dir);
    fill(&state, 1, 3);
    drop(state);
    fs::write(dir.join("snap.00000000000000FF.generating"), b"half a snapshot").unwrap();
    let (state, how) = open(&dir);
    assert_eq!((how, state.reader().applied().unwrap()), (Reopened::Existing, Seq(3)));
}

#[test]
fn a_state_of_a_newer_version_is_refused_and_left_alone() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("state");
    let (state, _) = open(&dir);
    fill(&state, 1, 3);
    let mut newer = state.reader().kv().get(&keys::meta()).unwrap().unwrap();
    newer[2..4].copy_from_slice(&2u16.to_be_bytes());
    let body = &newer[crate::record::ENVELOPE_BYTES..];
    let crc = crc32fast::hash(&[&newer[1..4], body].concat());
    newer[8..12].copy_from_slice(&crc.to_be_bytes());
    let mut batch = kv::KvBatch::default();
    batch.put(keys::meta(), newer);
    state.reader().kv().apply(batch).unwrap();
    drop(state);
    let error = State::open(&dir, StateOptions::default()).err().unwrap();
    assert!(matches!(error, StateOpenError::Newer { .. }), "{error}");
    assert!(dir.join("db").exists());
    assert!(!temp.path().join("state.broken-1").exists());
}

#[test]
fn records_without_a_cursor_are_not_trusted() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("state");
    let (state, _) = open(&dir);
    fill(&state, 1, 3);
    let mut batch = kv::KvBatch::default();
    batch.remove(keys::meta());
    state.reader().kv().apply(batch).unwrap();
    drop(state);
    let (_state, how) = open(&dir);
    assert!(
        matches!(&how, Reopened::Rebuilt { why, .. } if why == "records without a cursor"),
        "{how:?}"
    );
}

#[test]
fn a_state_that_is_open_elsewhere_is_an_error_and_not_broken() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("state");
    let (_state, _) = open(&dir);
    let error = State::open(&dir, StateOptions::default()).err().unwrap();
    assert!(matches!(error, StateOpenError::Io { .. }), "{error}");
    assert!(!temp.path().join("state.broken-1").exists());
}

/// A store whose writes fail.
struct FailingKv(memory::MemoryKv);

impl kv::Kv for FailingKv {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        self.0.get(key)
    }
    fn page(&self, page: kv::Page<'_>) -> Result<Vec<kv::Pair>, KvError> {
        self.0.page(page)
    }
    fn apply(&self, _: kv::KvBatch) -> Result<(), KvError> {
        Err(KvError("commit: injected".to_owned()))
    }
    fn flush(&self) -> Result<(), KvError> {
        Err(KvError("flush: injected".to_owned()))
    }
    fn size_on_disk(&self) -> Result<u64, KvError> {
        Ok(0)
    }
}

#[test]
fn after_a_failed_write_or_flush_all_writes_are_refused_and_reads_go_on() {
    let failing = || State::over(Arc::new(FailingKv(memory::MemoryKv::default())), Meta::default());
    let write = WriteSet {
        applied: Seq(1),
        ..WriteSet::default()
    };
    for first in [State::flush, |state: &State| state.commit(&WriteSet::default())] {
        let state = failing();
        assert!(matches!(first(&state).unwrap_err(), CommitError::Store { .. }));
        let error = state.commit(&write).unwrap_err();
        assert!(
            matches!(&error, CommitError::Poisoned { why } if why.ends_with("injected")),
            "{error}"
        );
        assert!(matches!(state.flush().unwrap_err(), CommitError::Poisoned { .. }));
        assert_eq!(state.reader().applied().unwrap(), Seq(0));
    }
}
