//! A disk that fails at the n-th call, for every n.
//!
//! The story behind it: after a failed `fsync` Linux marks the pages clean, so a second `fsync` succeeds although the
//! data never reached the disk. And a write that ran out of room leaves half a block. Both must never turn into an
//! acknowledged entry that is not there (I1), nor keep later entries from being read.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::sync::{Arc, Mutex};

use donjon_core::Seq;

use super::files::{DiskFiles, Files, SegmentFile};
use super::*;

/// How a call fails.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    /// No room; a write leaves half of its bytes.
    Full,
    /// The disk reports an error; a write leaves half of its bytes.
    Broken,
}

/// Counts calls and fails one of them, or all from it on.
#[derive(Default)]
struct Plan {
    calls: u64,
    fail_at: Option<u64>,
    and_all_after: bool,
    fault: Option<Fault>,
    /// What is durable: the length of each file at its last sync.
    synced: HashMap<PathBuf, u64>,
}

impl Plan {
    fn next(&mut self) -> Option<io::Error> {
        self.calls += 1;
        let at = self.fail_at?;
        let hit = self.calls == at || self.and_all_after && self.calls > at;
        let kind = match self.fault {
            Some(Fault::Full) => io::ErrorKind::StorageFull,
            _ => io::ErrorKind::Other,
        };
        hit.then(|| io::Error::new(kind, "injected"))
    }
}

type SharedPlan = Arc<Mutex<Plan>>;

struct FaultyFiles(SharedPlan);

struct FaultyFile {
    file: Box<dyn SegmentFile>,
    path: PathBuf,
    plan: SharedPlan,
}

impl Files for FaultyFiles {
    fn create(&mut self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        if let Some(error) = self.0.lock().unwrap().next() {
            return Err(error);
        }
        let file = DiskFiles.create(path)?;
        Ok(Box::new(FaultyFile {
            file,
            path: path.to_owned(),
            plan: Arc::clone(&self.0),
        }))
    }

    fn open(&mut self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        let file = DiskFiles.open(path)?;
        Ok(Box::new(FaultyFile {
            file,
            path: path.to_owned(),
            plan: Arc::clone(&self.0),
        }))
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        match self.0.lock().unwrap().next() {
            Some(error) => Err(error),
            None => DiskFiles.remove(path),
        }
    }

    fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        match self.0.lock().unwrap().next() {
            Some(error) => Err(error),
            None => DiskFiles.sync_dir(dir),
        }
    }
}

impl SegmentFile for FaultyFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let fault = self.plan.lock().unwrap().next();
        match fault {
            Some(error) => {
                self.file.append(&bytes[..bytes.len() / 2])?;
                Err(error)
            }
            None => self.file.append(bytes),
        }
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        match self.plan.lock().unwrap().next() {
            Some(error) => Err(error),
            None => self.file.truncate(len),
        }
    }

    fn sync_data(&mut self) -> io::Result<()> {
        let mut plan = self.plan.lock().unwrap();
        if let Some(error) = plan.next() {
            return Err(error);
        }
        plan.synced.insert(self.path.clone(), fs::metadata(&self.path)?.len());
        Ok(())
    }
}

/// Segments of a few blocks, so that every append begins a new one somewhere.
fn options() -> JournalOptions {
    JournalOptions {
        segment_bytes: 500,
        ..small()
    }
}

/// Appends eight times, each append larger than a segment and over a change of day, and answers what was acknowledged
/// (its `sync` returned) and whether the journal was poisoned.
fn run(dir: &Path, plan: &SharedPlan) -> (Vec<u64>, bool) {
    let (mut journal, _) = Journal::open_with(dir, options(), Box::new(FaultyFiles(Arc::clone(plan)))).unwrap();
    let reader = journal.reader();
    let mut acknowledged = Vec::new();
    let mut poisoned = false;
    for round in 0..8u64 {
        let numbers: Vec<u64> = (round * 20..round * 20 + 20).collect();
        let new: Vec<NewEntry> = numbers.iter().map(|n| at(*n, NOON + n * DAY_MS / 15)).collect();
        match journal.append(&new).and_then(|_| journal.sync()) {
            Ok(()) => acknowledged.extend(numbers),
            Err(JournalError::Poisoned { .. }) => poisoned = true,
            Err(JournalError::DiskFull { .. }) => assert_eq!(plan.lock().unwrap().fault, Some(Fault::Full)),
            Err(JournalError::Io { action: "sync", .. }) => {
                assert!(matches!(
                    journal.append(&[]).unwrap_err(),
                    JournalError::Poisoned { .. }
                ));
                poisoned = true;
            }
            Err(JournalError::Io { .. }) => assert_eq!(plan.lock().unwrap().fault, Some(Fault::Broken)),
            Err(other) => panic!("{other}"),
        }
        assert_eq!(
            super::numbers(&read_all(&reader)),
            acknowledged,
            "readers see what is acknowledged"
        );
    }
    assert_eq!(reader.damage().0, 0);
    (acknowledged, poisoned)
}

fn plan(fail_at: Option<u64>, fault: Fault, and_all_after: bool) -> SharedPlan {
    Arc::new(Mutex::new(Plan {
        fail_at,
        fault: Some(fault),
        and_all_after,
        ..Plan::default()
    }))
}

fn calls_of_a_good_run() -> u64 {
    let temp = tempfile::tempdir().unwrap();
    let plan = plan(None, Fault::Full, false);
    let (acknowledged, poisoned) = run(temp.path(), &plan);
    assert_eq!((acknowledged.len(), poisoned), (160, false));
    plan.lock().unwrap().calls
}

#[test]
fn one_failed_call_loses_nothing_that_was_acknowledged() {
    for n in 1..=calls_of_a_good_run() {
        for fault in [Fault::Full, Fault::Broken] {
            let temp = tempfile::tempdir().unwrap();
            let plan = plan(Some(n), fault, false);
            let (acknowledged, poisoned) = run(temp.path(), &plan);
            // A failed append is taken back and the next ones work; a failed sync poisons.
            assert!(
                poisoned || acknowledged.len() == 140,
                "call {n} {fault:?}: {}",
                acknowledged.len()
            );
            let (journal, report) = Journal::open(temp.path(), options()).unwrap();
            let found = numbers(&read_all(&journal.reader()));
            let kept: Vec<u64> = found.iter().copied().filter(|n| acknowledged.contains(n)).collect();
            assert_eq!(kept, acknowledged, "call {n} {fault:?}");
            assert!(report.damage.is_empty(), "call {n} {fault:?}");
            if !poisoned {
                assert_eq!(
                    found, acknowledged,
                    "call {n} {fault:?}: a failed append left something"
                );
                assert_eq!(report.torn, None, "call {n} {fault:?}");
            }
        }
    }
}

/// The disk dies at call n for good, and with it everything that was not synced.
#[test]
fn power_loss_at_any_call_loses_nothing_that_was_acknowledged() {
    for n in 1..=calls_of_a_good_run() {
        let temp = tempfile::tempdir().unwrap();
        let plan = plan(Some(n), Fault::Broken, true);
        let (acknowledged, _) = run(temp.path(), &plan);
        let synced = &plan.lock().unwrap().synced;
        for keep_names in [true, false] {
            let after = tempfile::tempdir().unwrap();
            copy(temp.path(), after.path());
            for file in segment_files(after.path()) {
                let len = synced.get(&temp.path().join(file.file_name().unwrap())).copied();
                match len {
                    // Half of what was not synced is there, as it happens.
                    Some(len) => {
                        let now = fs::metadata(&file).unwrap().len();
                        let len = if keep_names { len } else { len + (now - len) / 2 };
                        fs::OpenOptions::new()
                            .write(true)
                            .open(&file)
                            .unwrap()
                            .set_len(len)
                            .unwrap();
                    }
                    None if keep_names => fs::write(&file, b"").unwrap(),
                    None => fs::remove_file(&file).unwrap(),
                }
            }
            let (mut journal, _) = Journal::open(after.path(), options()).unwrap();
            let found = numbers(&read_all(&journal.reader()));
            assert!(
                found.starts_with(&acknowledged),
                "call {n}: {} of {}",
                found.len(),
                acknowledged.len()
            );
            journal.append(&entries(900..905)).unwrap();
            journal.sync().unwrap();
            assert!(
                numbers(&read_all(&journal.reader())).ends_with(&[900, 901, 902, 903, 904]),
                "call {n}"
            );
        }
    }
}

#[test]
fn a_full_disk_refuses_and_then_goes_on() {
    let temp = tempfile::tempdir().unwrap();
    let plan = plan(None, Fault::Full, true);
    let files = Box::new(FaultyFiles(Arc::clone(&plan)));
    let (mut journal, _) = Journal::open_with(temp.path(), small(), files).unwrap();
    journal.append(&entries(0..3)).unwrap();
    journal.sync().unwrap();
    for _ in 0..3 {
        // Only the write fails: taking it back needs no room.
        let calls = plan.lock().unwrap().calls;
        plan.lock().unwrap().fail_at = Some(calls + 1);
        plan.lock().unwrap().and_all_after = false;
        let error = journal.append(&entries(3..5)).unwrap_err();
        assert!(matches!(error, JournalError::DiskFull { .. }), "{error}");
        assert!(
            error
                .to_string()
                .starts_with("disk is full, free some space; append to"),
            "{error}"
        );
    }
    assert_eq!(journal.append(&entries(3..5)).unwrap(), Seq(4)..=Seq(5));
    journal.sync().unwrap();
    assert_eq!(numbers(&read_all(&journal.reader())), [0, 1, 2, 3, 4]);
}

#[test]
fn a_failed_sync_refuses_everything_until_reopened() {
    let temp = tempfile::tempdir().unwrap();
    let plan = plan(None, Fault::Broken, false);
    let files = Box::new(FaultyFiles(Arc::clone(&plan)));
    let (mut journal, _) = Journal::open_with(temp.path(), small(), files).unwrap();
    journal.append(&entries(0..3)).unwrap();
    let calls = plan.lock().unwrap().calls;
    plan.lock().unwrap().fail_at = Some(calls + 1);
    assert!(matches!(journal.sync().unwrap_err(), JournalError::Io { .. }));
    for _ in 0..2 {
        let error = journal.sync().unwrap_err();
        assert!(matches!(error, JournalError::Poisoned { .. }), "{error}");
        assert!(error.to_string().contains("restart donjon to reopen it"), "{error}");
        assert!(matches!(
            journal.append(&entries(3..4)).unwrap_err(),
            JournalError::Poisoned { .. }
        ));
    }
    assert!(read_all(&journal.reader()).is_empty());
    drop(journal);
    let (mut journal, _) = Journal::open(temp.path(), small()).unwrap();
    assert_eq!(*journal.append(&entries(3..4)).unwrap().start(), Seq(4));
}
