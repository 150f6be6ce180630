//! What a disk, or a person, does to the files of a journal is told: once, with the place and the positions. Each case
//! damages a journal of five segments, opens it with what derived state has seen, and reads it all.

use std::fs;

use donjon_core::{Seq, Timestamp};

use super::files::{DiskFiles, Files, SegmentFile};
use super::*;
use crate::day::Day;

const COUNT: u64 = 60;

fn options(seen: u64) -> JournalOptions {
    JournalOptions {
        segment_bytes: 600,
        seen: Seq(seen),
        ..small()
    }
}

/// Five segments or more, the newest with several blocks.
fn written() -> (tempfile::TempDir, Vec<PathBuf>) {
    let temp = tempfile::tempdir().unwrap();
    for n in 0..COUNT / 3 {
        write(temp.path(), options(0), &entries(n * 3..n * 3 + 3));
    }
    let files = segment_files(temp.path());
    assert!(files.len() >= 5, "{}", files.len());
    assert!(fs::metadata(files.last().unwrap()).unwrap().len() > 400);
    (temp, files)
}

fn change(path: &Path, how: impl Fn(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    how(&mut bytes);
    fs::write(path, bytes).unwrap();
}

fn swap(a: &Path, b: &Path) {
    let (first, second) = (fs::read(a).unwrap(), fs::read(b).unwrap());
    fs::write(a, second).unwrap();
    fs::write(b, first).unwrap();
}

/// Every position up to `COUNT` reads as what was written there, or is told as lost; nothing else is told. Gives what
/// was told.
fn check(what: &str, dir: &Path) -> Vec<Damage> {
    let (mut journal, _) = Journal::open(dir, options(COUNT)).unwrap();
    let reader = journal.reader();
    let mut at = Seq(1);
    while let Some(next) = reader.check_segment(at).unwrap() {
        at = next;
    }
    let told = reader.take_untold_damage();
    let found = read_all(&reader);
    assert!(found.is_sorted_by_key(|entry| entry.seq), "{what}");
    assert!(
        numbers(&found)
            .iter()
            .zip(&found)
            .all(|(number, entry)| number + 1 == entry.seq.0),
        "{what}: an entry at a position that is not its own"
    );
    let there: Vec<u64> = found.iter().map(|entry| entry.seq.0).collect();
    let lost = |seq: u64| {
        told.iter()
            .any(|damage| damage.first_lost.0 <= seq && seq <= damage.last_lost.0)
    };
    for seq in 1..=COUNT {
        assert!(there.contains(&seq) != lost(seq), "{what}: entry {seq}; told: {told:?}");
    }
    // Reading meets the same places, and nothing is told twice.
    assert_eq!(reader.take_untold_damage(), [], "{what}");
    assert_eq!(reader.damage().0, told.len() as u64, "{what}");
    for damage in &told {
        let text = damage.to_string();
        assert!(text.contains(&dir.display().to_string()), "{what}: {text}");
    }
    // Positions that were given are not given again, and what comes then is read back.
    let new = journal.append(&entries(900..902)).unwrap();
    assert!(*new.start() > Seq(COUNT), "{what}");
    journal.sync().unwrap();
    assert!(numbers(&read_all(&reader)).ends_with(&[900, 901]), "{what}");
    told
}

type Case = (&'static str, fn(&[PathBuf]));

#[test]
fn an_undamaged_journal_tells_nothing() {
    let (temp, _) = written();
    assert_eq!(check("as written", temp.path()), []);
    assert_eq!(
        numbers(&read_all(&Journal::open(temp.path(), options(0)).unwrap().0.reader())).len(),
        62
    );
}

#[test]
fn every_damage_of_a_sealed_segment_is_told_with_its_place_and_positions() {
    let cases: [Case; 14] = [
        ("a bit of the first body", |files| change(&files[0], |b| b[100] ^= 1)),
        ("a bit of a block header", |files| change(&files[1], |b| b[40] ^= 4)),
        ("a bit of the last byte", |files| {
            change(&files[1], |b| *b.last_mut().unwrap() ^= 0x80);
        }),
        ("zeros", |files| change(&files[2], |b| b[200..500].fill(0))),
        ("all zeros", |files| change(&files[2], |b| b.fill(0))),
        ("cut inside of a block", |files| change(&files[1], |b| b.truncate(300))),
        ("cut to its header", |files| change(&files[1], |b| b.truncate(32))),
        ("cut inside of its header", |files| change(&files[1], |b| b.truncate(9))),
        ("emptied", |files| change(&files[2], Vec::clear)),
        ("deleted", |files| fs::remove_file(&files[2]).unwrap()),
        ("the first deleted", |files| fs::remove_file(&files[0]).unwrap()),
        ("two deleted", |files| {
            fs::remove_file(&files[1]).unwrap();
            fs::remove_file(&files[3]).unwrap();
        }),
        ("replaced by another", |files| {
            fs::copy(&files[3], &files[1]).unwrap();
        }),
        ("two swapped", |files| swap(&files[1], &files[2])),
    ];
    for (what, damage) in cases {
        let (temp, files) = written();
        damage(&files);
        let told = check(what, temp.path());
        assert!(!told.is_empty(), "{what}");
        assert!(
            told.iter().all(|told| told.kind != DamageKind::Tail),
            "{what}: {told:?}"
        );
    }
}

#[test]
fn a_damaged_header_loses_nothing_and_is_told() {
    let (temp, files) = written();
    for file in [&files[1], files.last().unwrap()] {
        change(file, |bytes| bytes[20] ^= 1);
    }
    let told = check("headers of files", temp.path());
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told[0].to_string().ends_with("; no entry is lost"), "{}", told[0]);
}

/// What happens to the end, and whether there are bytes to keep.
fn cases_of_the_end() -> [(Case, bool); 8] {
    [
        (
            ("a bit of the last block", |files| {
                change(files.last().unwrap(), |b| *b.last_mut().unwrap() ^= 1);
            }),
            true,
        ),
        (
            ("the last block cut short", |files| {
                change(files.last().unwrap(), |b| b.truncate(b.len() - 5));
            }),
            true,
        ),
        (
            ("the end zeroed", |files| {
                change(files.last().unwrap(), |b| {
                    let from = b.len() - 150;
                    b[from..].fill(0);
                });
            }),
            true,
        ),
        (
            ("cut to its header", |files| {
                change(files.last().unwrap(), |b| b.truncate(32));
            }),
            false,
        ),
        (("emptied", |files| change(files.last().unwrap(), Vec::clear)), false),
        (
            ("all zeros", |files| change(files.last().unwrap(), |b| b.fill(0))),
            true,
        ),
        (
            ("deleted", |files| fs::remove_file(files.last().unwrap()).unwrap()),
            false,
        ),
        (
            ("replaced by an older one", |files| {
                fs::copy(&files[0], files.last().unwrap()).unwrap();
            }),
            true,
        ),
    ]
}

/// The cursor of derived state proves that the end of the journal was acknowledged, whatever is left of it.
#[test]
fn an_end_that_somebody_has_seen_is_damage_and_its_bytes_are_kept() {
    for ((what, damage), kept) in cases_of_the_end() {
        let (temp, files) = written();
        let newest = fs::read(files.last().unwrap()).unwrap();
        damage(&files);
        let damaged = fs::read(files.last().unwrap()).unwrap_or_default();
        let report = {
            let copied = tempfile::tempdir().unwrap();
            copy(temp.path(), copied.path());
            Journal::open(copied.path(), options(COUNT)).unwrap().1
        };
        let tail = report.damage.iter().find(|damage| damage.kind == DamageKind::Tail);
        assert_eq!(tail.map(|tail| tail.last_lost), Some(Seq(COUNT)), "{what}: {report:?}");
        let told = check(what, temp.path());
        assert!(
            told.iter().any(|told| told.kind == DamageKind::Tail),
            "{what}: {told:?}"
        );
        let aside: Vec<Vec<u8>> = fs::read_dir(temp.path())
            .unwrap()
            .map(|item| item.unwrap().path())
            .filter(|path| {
                path.extension()
                    .is_some_and(|ending| ending == "damaged" || ending == "unreadable")
            })
            .map(|path| fs::read(path).unwrap())
            .collect();
        assert_eq!(aside.len(), usize::from(kept), "{what}");
        if let Some(aside) = aside.first() {
            assert!(damaged.ends_with(aside), "{what}: the bytes that were cut");
            assert!(!newest.ends_with(aside), "{what}");
        }
    }
}

#[test]
fn the_whole_folder_deleted_is_told() {
    let (temp, files) = written();
    for file in files {
        fs::remove_file(file).unwrap();
    }
    let told = check("no file", temp.path());
    assert_eq!((told[0].kind, told[0].first_lost), (DamageKind::Tail, Seq(1)));
    // From then on the gap is known: the new file says what was left out before it.
    assert_eq!(reopened_damage(temp.path(), COUNT + 2), []);
}

fn reopened_damage(dir: &Path, seen: u64) -> Vec<Damage> {
    let (journal, _) = Journal::open(dir, options(seen)).unwrap();
    let mut at = Seq(1);
    while let Some(next) = journal.reader().check_segment(at).unwrap() {
        at = next;
    }
    journal.reader().take_untold_damage()
}

/// A torn write that nobody has seen is no damage, and the positions that it named are left out on purpose: also when
/// the next entry comes into a new file.
#[test]
fn a_torn_tail_that_nobody_has_seen_is_no_damage_ever_after() {
    for new_day in [false, true] {
        let temp = tempfile::tempdir().unwrap();
        write(temp.path(), small(), &entries(0..15));
        write(temp.path(), small(), &entries(15..20));
        let file = &segment_files(temp.path())[0];
        change(file, |bytes| bytes.truncate(bytes.len() - 1));
        let (mut journal, report) = Journal::open(
            temp.path(),
            JournalOptions {
                seen: Seq(15),
                ..small()
            },
        )
        .unwrap();
        let torn = report.torn.unwrap();
        assert_eq!((torn.largest_seq, torn.kept_as), (Some(Seq(20)), None));
        assert_eq!(report.damage, []);
        let time = if new_day { NOON + DAY_MS } else { NOON };
        journal.append(&[at(20, time)]).unwrap();
        journal.sync().unwrap();
        assert_eq!(journal.reader().last_seq(), Seq(21));
        // One more file, so that the one with the gap is sealed.
        journal.append(&[at(21, NOON + 2 * DAY_MS)]).unwrap();
        journal.sync().unwrap();
        drop(journal);
        assert_eq!(reopened_damage(temp.path(), 22), [], "new day: {new_day}");
    }
}

#[test]
fn freed_days_are_no_damage_but_a_file_that_vanished_before_the_first_is() {
    let temp = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(temp.path(), small()).unwrap();
    for day in 0..5u64 {
        journal.append(&[at(day, NOON + day * DAY_MS)]).unwrap();
        journal.sync().unwrap();
    }
    let first = Day::of(Timestamp(NOON));
    journal.free(&[first]).unwrap();
    journal.free(&[Day(first.0 + 1)]).unwrap();
    drop(journal);
    let marks: Vec<PathBuf> = fs::read_dir(temp.path())
        .unwrap()
        .map(|item| item.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "freed"))
        .collect();
    assert_eq!(marks.len(), 1, "{marks:?}");
    assert_eq!(reopened_damage(temp.path(), 5), []);
    fs::remove_file(&segment_files(temp.path())[0]).unwrap();
    let told = reopened_damage(temp.path(), 5);
    assert_eq!((told.len(), told[0].kind), (1, DamageKind::Missing), "{told:?}");
    assert_eq!((told[0].first_lost, told[0].last_lost), (Seq(3), Seq(3)));
}

#[test]
fn a_file_taken_away_while_the_journal_is_open_is_told_and_a_freed_one_is_not() {
    let (temp, files) = written();
    let (journal, _) = Journal::open(temp.path(), options(COUNT)).unwrap();
    fs::remove_file(&files[1]).unwrap();
    let reader = journal.reader();
    let first = reader.segments()[1].first_seq;
    assert_eq!(reader.get(first).unwrap(), None);
    let told = reader.take_untold_damage();
    assert_eq!((told.len(), told[0].first_lost), (1, first), "{told:?}");
    assert_eq!(told[0].kind, DamageKind::Missing);
}

/// Removing fails the first times.
struct Stubborn(u32);

impl Files for Stubborn {
    fn create(&mut self, path: &Path) -> std::io::Result<Box<dyn SegmentFile>> {
        DiskFiles.create(path)
    }

    fn open(&mut self, path: &Path) -> std::io::Result<Box<dyn SegmentFile>> {
        DiskFiles.open(path)
    }

    fn remove(&mut self, path: &Path) -> std::io::Result<()> {
        if self.0 > 0 {
            self.0 -= 1;
            return Err(std::io::Error::other("injected"));
        }
        DiskFiles.remove(path)
    }

    fn sync_dir(&mut self, dir: &Path) -> std::io::Result<()> {
        DiskFiles.sync_dir(dir)
    }
}

#[test]
fn what_could_not_be_removed_is_removed_by_the_next_call() {
    let temp = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open_with(temp.path(), small(), Box::new(Stubborn(2))).unwrap();
    for day in 0..3u64 {
        journal.append(&[at(day, NOON + day * DAY_MS)]).unwrap();
    }
    journal.sync().unwrap();
    let first = Day::of(Timestamp(NOON));
    assert!(journal.free(&[first]).is_err());
    assert!(journal.has_unremoved());
    assert!(journal.free(&[]).is_err());
    assert_eq!(segment_files(temp.path()).len(), 3);
    assert_eq!(journal.free(&[]).unwrap().segments, 1);
    assert!(!journal.has_unremoved());
    assert_eq!(segment_files(temp.path()).len(), 2);
}

/// A clock of the year 2036 gave one entry its time; then it was put right.
#[test]
fn after_a_clock_was_put_right_times_go_on_and_retention_frees() {
    const YEARS: u64 = 10 * 365 * DAY_MS;
    let temp = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(temp.path(), small()).unwrap();
    journal.append(&[at(0, NOON), at(1, NOON + YEARS)]).unwrap();
    journal.sync().unwrap();
    // Raised, as ever, until somebody says that the time before was wrong.
    journal.append(&[at(2, NOON)]).unwrap();
    journal.sync().unwrap();
    drop(journal);
    let (mut journal, report) = Journal::open(temp.path(), small()).unwrap();
    assert_eq!(report.last_accepted, Timestamp(NOON + YEARS));
    journal.go_back_to(Timestamp(NOON + 1));
    for day in 0..3 {
        journal.append(&[at(3 + day, NOON + day * DAY_MS + 1)]).unwrap();
        journal.sync().unwrap();
    }
    let reader = journal.reader();
    let accepted: Vec<u64> = read_all(&reader).iter().map(|entry| entry.accepted.0 - NOON).collect();
    assert_eq!(accepted, [0, YEARS, YEARS, 1, DAY_MS + 1, 2 * DAY_MS + 1]);
    let policy = RetentionPolicy {
        max_age_days: Some(0),
        max_bytes: None,
    };
    let today = Day::of(Timestamp(NOON + 2 * DAY_MS));
    let days = freeable(&reader.segments(), &[Seq(6)], &policy, today);
    assert_eq!(days, [Day(today.0 - 2), Day(today.0 - 1)]);
    assert_eq!(journal.free(&days).unwrap().segments, 4);
    drop(journal);
    assert_eq!(reopened_damage(temp.path(), 6), []);
}

/// The process died between the creation of a file and its first block, on a day that was wrong.
#[test]
fn an_empty_file_of_a_wrong_day_does_not_hide_its_successor() {
    let temp = tempfile::tempdir().unwrap();
    write(temp.path(), small(), &entries(0..7));
    let wrong = Day(30_000);
    let empty = temp.path().join(segment::file_name(wrong, Seq(8)));
    fs::write(&empty, segment::header(wrong, Seq(8), 0)).unwrap();
    let (mut journal, _) = Journal::open(temp.path(), small()).unwrap();
    journal.append(&[at(7, NOON + DAY_MS)]).unwrap();
    journal.sync().unwrap();
    drop(journal);
    let (journal, _) = Journal::open(temp.path(), small()).unwrap();
    assert_eq!(numbers(&read_all(&journal.reader())), (0..8).collect::<Vec<_>>());
    assert!(!empty.exists());
}
