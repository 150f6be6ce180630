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
        let write = draw.write_set(applied);
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

/// Commits write sets one by one with a flush after each, and answers the dump after each, the empty one first.
fn fill_and_remember(dir: &Path, count: u64) -> Vec<Dump> {
    let (state, _) = open(dir);
    let mut dumps = vec![state.reader().dump().unwrap()];
    for seed in 0..count {
        fill(&state, seed, 1);
        state.flush().unwrap();
        dumps.push(state.reader().dump().unwrap());
    }
    dumps
}

/// Copies a closed state, its main file changed; without snapshots every second time.
fn copy_changed(from: &Path, to: &Path, step: usize, change: impl FnOnce(&mut Vec<u8>)) {
    fs::create_dir(to).unwrap();
    for item in fs::read_dir(from).unwrap() {
        let path = item.unwrap().path();
        let name = path.file_name().unwrap().to_owned();
        if path.is_file() && (step.is_multiple_of(2) || !name.to_str().unwrap().starts_with("snap.")) {
            fs::copy(&path, to.join(name)).unwrap();
        }
    }
    let mut bytes = fs::read(to.join("db")).unwrap();
    change(&mut bytes);
    fs::write(to.join("db"), bytes).unwrap();
}

/// What was opened is told truthfully: whole, behind what was flushed, or begun anew.
#[track_caller]
fn check_told(how: &Reopened, applied: Seq, flushed: Seq) {
    match how {
        Reopened::Existing => assert_eq!(applied, flushed),
        Reopened::WentBack {
            flushed: then,
            applied: now,
        } => {
            assert_eq!((*then, *now), (flushed, applied));
            assert!(Seq(0) < applied && applied < flushed, "{how:?}");
        }
        Reopened::Rebuilt { moved_to, .. } => {
            assert_eq!(applied, Seq(0));
            assert!(moved_to.join("db").exists());
        }
        Reopened::Fresh => panic!("there was a state"),
    }
}

/// I2: the file is cut anywhere, or junk is in one place of it. What opens is the state after some commit.
#[test]
fn a_cut_or_damaged_file_gives_the_state_of_an_earlier_commit_or_a_fresh_one() {
    let temp = tempfile::tempdir().unwrap();
    let source = temp.path().join("source");
    let dumps = fill_and_remember(&source, 60);
    for step in 0..128usize {
        let dir = temp.path().join(format!("state-{step}"));
        copy_changed(&source, &dir, step, |bytes| {
            let at = bytes.len() * step / 128;
            match step % 3 {
                0 => bytes.truncate(at),
                _ => bytes
                    .iter_mut()
                    .skip(at)
                    .take(1 + step * 7)
                    .for_each(|byte| *byte = byte.wrapping_add(97)),
            }
        });
        let (state, how) = open(&dir);
        let applied = state.reader().applied().unwrap();
        let dump = state.reader().dump().unwrap();
        assert!(
            dump == dumps[usize::try_from(applied.0).unwrap()],
            "step {step}: not a state after a commit: {how:?}"
        );
        check_told(&how, applied, Seq(60));
        fill(&state, 99, 2);
    }
}

/// After many overwrites sled's log is no longer in order, and damage may make it give an older value of a key (known
/// and written down in FORMAT.md). It never takes the process down, and never goes back unsaid.
#[test]
fn damage_in_a_much_rewritten_file_is_survived() {
    let temp = tempfile::tempdir().unwrap();
    let source = temp.path().join("source");
    let (state, _) = open(&source);
    let mut draw = Draw::new(11);
    let mut alerts: Vec<_> = (0..400).map(|_| draw.alert_state()).collect();
    for (alert, n) in alerts.iter_mut().zip(0..) {
        alert.fingerprint = format!("{n}").as_str().into();
        alert.plugin_failure = Some("x".repeat(500));
    }
    for n in 1..=800u64 {
        let touched = (0..20).map(|i| alerts[usize::try_from((n * 31 + i * 7) % 400).unwrap()].clone());
        let write = WriteSet {
            applied: Seq(n),
            alerts: touched.collect(),
            ..WriteSet::default()
        };
        state.commit(&write).unwrap();
        if n % 50 == 0 {
            state.flush().unwrap();
        }
    }
    drop(state);
    for step in 0..36usize {
        let dir = temp.path().join(format!("state-{step}"));
        copy_changed(&source, &dir, step, |bytes| {
            let at = bytes.len() * step / 36;
            match step % 3 {
                0 => bytes.truncate(at),
                _ => bytes
                    .iter_mut()
                    .skip(at)
                    .take(1 + step * 31)
                    .for_each(|byte| *byte = byte.wrapping_add(97)),
            }
        });
        let (state, how) = open(&dir);
        let reader = state.reader();
        let applied = reader.applied().unwrap();
        check_told(&how, applied, Seq(800));
        // Reading gives records or an error.
        for tenant in reader.tenants().unwrap_or_default() {
            let _ = reader.alerts(&tenant, |_| std::ops::ControlFlow::Continue(()));
        }
        let write = WriteSet {
            applied: applied.next(),
            alerts: alerts.clone(),
            ..WriteSet::default()
        };
        let _ = state.commit(&write).and_then(|_| state.flush());
    }
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

/// Junk over everything but the first bytes of each file.
fn corrupt(dir: &Path) {
    for item in fs::read_dir(dir).unwrap() {
        let path = item.unwrap().path();
        if path.is_file() && path.file_name().unwrap() != "FLUSHED" {
            let mut bytes = fs::read(&path).unwrap();
            for (index, byte) in bytes.iter_mut().enumerate().skip(16) {
                *byte = u8::try_from(index % 251).unwrap();
            }
            fs::write(&path, bytes).unwrap();
        }
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
    newer[2..4].copy_from_slice(&99u16.to_be_bytes());
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
    let failing = || State::over(Arc::new(FailingKv(memory::MemoryKv::default())), Meta::default(), None);
    let write = WriteSet {
        applied: Seq(1),
        ..WriteSet::default()
    };
    for first in [State::flush, |state: &State| {
        state.commit(&WriteSet::default()).map(drop)
    }] {
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
