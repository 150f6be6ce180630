//! Blocks of a group that was never synced reach the disk in any order. What is missing of it is never taken for damage,
//! and damage is never taken for that, as far as anything shows that the group was synced.

use std::fs;

use donjon_core::Seq;

use super::block::{BlockHeader, HEADER_BYTES};
use super::*;

/// Where each block of the only segment is.
fn places(dir: &Path) -> Vec<std::ops::Range<usize>> {
    let file = &segment_files(dir)[0];
    let (day, first_seq) = segment::parse_file_name(file).unwrap();
    let info = SegmentInfo {
        day,
        first_seq,
        last_seq: Seq(0),
        bytes: 0,
    };
    let path = file.clone();
    let found = scan::scan(&segment::Segment { info, path }, scan::Depth::Headers, Seq(u64::MAX)).unwrap();
    let place = |n: u64| usize::try_from(n).unwrap();
    let blocks = found.blocks.iter();
    blocks
        .map(|block| place(block.offset)..place(block.end_offset()))
        .collect()
}

fn options(seen: u64) -> JournalOptions {
    JournalOptions {
        block_raw_bytes: 4000,
        seen: Seq(seen),
        ..small()
    }
}

/// Groups of fifteen entries in three blocks, all written by one process.
fn groups(count: u64) -> (tempfile::TempDir, Vec<std::ops::Range<usize>>) {
    let temp = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(temp.path(), options(0)).unwrap();
    for group in 0..count {
        journal.append(&entries(group * 15..group * 15 + 15)).unwrap();
        journal.sync().unwrap();
    }
    drop(journal);
    let places = places(temp.path());
    assert_eq!(places.len() as u64, count * 3);
    (temp, places)
}

fn spoil(dir: &Path, place: &std::ops::Range<usize>) {
    let file = &segment_files(dir)[0];
    let mut bytes = fs::read(file).unwrap();
    bytes[place.clone()].fill(0);
    fs::write(file, bytes).unwrap();
}

fn kept_aside(dir: &Path) -> usize {
    let items = fs::read_dir(dir).unwrap().map(|item| item.unwrap().path());
    items
        .filter(|path| path.extension().is_some_and(|ending| ending == "damaged"))
        .count()
}

/// Opens it twice: nothing is damage, neither now nor ever after, and positions are not given again.
fn check_cut(what: &str, dir: &Path, there: std::ops::Range<u64>, last_named: u64) {
    let (journal, report) = Journal::open(dir, options(0)).unwrap();
    assert_eq!(report.damage, [], "{what}");
    assert_eq!(
        numbers(&read_all(&journal.reader())),
        there.clone().collect::<Vec<_>>(),
        "{what}"
    );
    assert_eq!(journal.next_seq(), Seq(last_named + 1), "{what}");
    drop(journal);
    // Derived state went past what is left out, and nothing else came; then something does, on this day or the next one.
    for (time, number) in [(NOON, 900), (NOON + DAY_MS, 901)] {
        let (mut journal, report) = Journal::open(dir, options(last_named)).unwrap();
        assert_eq!((report.damage, report.torn), (Vec::new(), None), "{what}");
        journal.append(&[at(number, time)]).unwrap();
        journal.sync().unwrap();
        let mut from = Seq(1);
        while let Some(next) = journal.reader().check_segment(from).unwrap() {
            from = next;
        }
        assert_eq!(journal.reader().damage(), (0, Vec::new()), "{what}");
        let expected: Vec<u64> = there.clone().chain(900..=number).collect();
        assert_eq!(numbers(&read_all(&journal.reader())), expected, "{what}");
    }
}

#[test]
fn any_blocks_missing_of_a_group_that_was_never_synced_are_no_damage() {
    for missing in 1..8u32 {
        let (temp, places) = groups(3);
        let bad: Vec<usize> = (0..3).filter(|block| missing & (1 << block) != 0).collect();
        for block in &bad {
            spoil(temp.path(), &places[6 + block]);
        }
        let what = format!("blocks {bad:?} of the last group");
        let good_behind = (bad[0]..3).filter(|block| !bad.contains(block)).count();
        let last_named = (0..3)
            .filter(|block| !bad.contains(block))
            .max()
            .map_or(30, |block| 35 + 5 * block as u64);
        let copied = tempfile::tempdir().unwrap();
        copy(temp.path(), copied.path());
        let torn = Journal::open(copied.path(), options(30)).unwrap().1.torn.unwrap();
        assert_eq!(torn.offset, places[6 + bad[0]].start as u64, "{what}");
        assert_eq!(torn.good_entries, 5 * good_behind as u64, "{what}");
        // What reads is never thrown away.
        assert_eq!(torn.kept_as.is_some(), good_behind > 0, "{what}");
        assert_eq!(kept_aside(copied.path()), usize::from(good_behind > 0), "{what}");
        check_cut(&what, temp.path(), 0..30 + 5 * bad[0] as u64, last_named);
    }
}

#[test]
fn a_first_group_of_a_file_that_was_never_synced_leaves_an_empty_file() {
    let (temp, places) = groups(1);
    spoil(temp.path(), &places[0]);
    check_cut("the first block of a file", temp.path(), 0..0, 15);
}

/// A later group, derived state, or a mark shows it: then the place is damage, told with its positions, and what is behind
/// it stays.
#[test]
fn a_bad_block_of_a_group_that_was_synced_is_damage() {
    let cases: [(&str, u64, bool, u64); 4] = [
        ("a later group", 2, false, 0),
        ("derived state has seen its first entry", 1, false, 1),
        ("derived state has seen its last entry", 1, false, 15),
        ("a mark", 1, true, 0),
    ];
    for (what, count, marked, seen) in cases {
        let (temp, places) = groups(count);
        if marked {
            let (mut journal, _) = Journal::open(temp.path(), options(0)).unwrap();
            journal.mark_synced().unwrap();
            // Again is not an error, and nothing new is said.
            journal.mark_synced().unwrap();
        }
        spoil(temp.path(), &places[1]);
        let (journal, report) = Journal::open(temp.path(), options(seen)).unwrap();
        assert_eq!(report.torn, None, "{what}");
        let lost: Vec<(u64, u64)> = report.damage.iter().map(|d| (d.first_lost.0, d.last_lost.0)).collect();
        assert_eq!(lost, [(6, 10)], "{what}");
        let expected: Vec<u64> = (0..5).chain(10..count * 15).collect();
        assert_eq!(numbers(&read_all(&journal.reader())), expected, "{what}");
    }
}

#[test]
fn a_mark_says_that_a_missing_end_is_damage_and_only_the_newest_stays() {
    let temp = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(temp.path(), options(0)).unwrap();
    journal.mark_synced().unwrap();
    for n in 0..3 {
        journal.append(&entries(n..n + 1)).unwrap();
        journal.mark_synced().unwrap();
        journal.sync().unwrap();
        journal.mark_synced().unwrap();
    }
    drop(journal);
    let marks: Vec<PathBuf> = fs::read_dir(temp.path())
        .unwrap()
        .map(|item| item.unwrap().path())
        .filter(|path| segment::parse_synced_name(path).is_some())
        .collect();
    assert_eq!(marks.len(), 1, "{marks:?}");
    let last = places(temp.path()).pop().unwrap();
    spoil(temp.path(), &last);
    let (_, report) = Journal::open(temp.path(), options(0)).unwrap();
    assert_eq!(report.damage.len(), 1, "{report:?}");
    assert_eq!(
        (report.damage[0].kind, report.damage[0].last_lost),
        (DamageKind::Tail, Seq(3))
    );
    assert!(report.torn.unwrap().kept_as.is_some());
}

#[test]
fn rot_before_a_group_that_was_never_synced_is_told_and_the_group_is_cut() {
    let (temp, places) = groups(3);
    spoil(temp.path(), &places[1]);
    spoil(temp.path(), &places[7]);
    let (journal, report) = Journal::open(temp.path(), options(0)).unwrap();
    let lost: Vec<(u64, u64)> = report.damage.iter().map(|d| (d.first_lost.0, d.last_lost.0)).collect();
    assert_eq!(lost, [(6, 10)]);
    assert_eq!(report.torn.unwrap().good_entries, 5);
    let expected: Vec<u64> = (0..5).chain(10..35).collect();
    assert_eq!(numbers(&read_all(&journal.reader())), expected);
}

/// Files of before 2026-11-21 say nothing of syncs: good blocks behind a bad one count as proof, as they did then.
#[test]
fn blocks_that_say_nothing_of_syncs_are_read_as_before() {
    let (temp, places) = groups(1);
    let file = &segment_files(temp.path())[0];
    let mut bytes = fs::read(file).unwrap();
    for place in &places {
        let header = BlockHeader::from_bytes(&bytes[place.clone()], place.start as u64).unwrap();
        let old = BlockHeader {
            unsynced_before: 0,
            ..header
        };
        bytes[place.start..place.start + HEADER_BYTES].copy_from_slice(&old.to_bytes(place.start as u64));
    }
    fs::write(file, bytes).unwrap();
    spoil(temp.path(), &places[1]);
    let (journal, report) = Journal::open(temp.path(), options(0)).unwrap();
    assert_eq!((report.damage.len(), report.torn), (1, None));
    assert_eq!(numbers(&read_all(&journal.reader())).len(), 10);
}

/// The field of a block has 16 bits: what it cannot say is synced on the way.
#[test]
fn a_group_of_more_entries_than_a_block_can_name_is_synced_on_the_way() {
    let temp = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(temp.path(), JournalOptions::default()).unwrap();
    let count: u64 = 70_000;
    let letters: Vec<NewEntry> = (0..count)
        .map(|n| NewEntry {
            body: EntryBody::DeadLetter {
                provider: String::new(),
                reason: String::new(),
                raw: Vec::new(),
            },
            ..entry(n)
        })
        .collect();
    journal.append(&letters).unwrap();
    let file = &segment_files(temp.path())[0];
    let bytes = fs::read(file).unwrap();
    let headers: Vec<BlockHeader> = places(temp.path())
        .iter()
        .map(|place| BlockHeader::from_bytes(&bytes[place.clone()], place.start as u64).unwrap())
        .collect();
    assert_eq!(headers.last().unwrap().last_seq(), Seq(count));
    let synced: Vec<u64> = headers.iter().map(|header| header.synced_to().0).collect();
    assert!(synced.is_sorted(), "{synced:?}");
    let mut steps = synced.clone();
    steps.dedup();
    assert_eq!(steps.len(), 2, "one sync on the way: {steps:?}");
    assert!(steps[1] > 65_000 && steps[1] <= 65_535 + 512, "{steps:?}");
}

/// The process died while it began the file of a new day right behind an empty one that says what was left out.
#[test]
fn a_file_that_was_hardly_begun_does_not_take_the_place_of_the_empty_one_before_it() {
    for content in [&[][..], &[0; segment::HEADER_BYTES]] {
        let (temp, places) = groups(2);
        spoil(temp.path(), &places[4]);
        drop(Journal::open(temp.path(), options(0)).unwrap());
        let begun = temp.path().join(segment::file_name(crate::day::Day(30_000), Seq(31)));
        fs::write(&begun, content).unwrap();
        check_cut("a file that was hardly begun", temp.path(), 0..20, 30);
        assert!(!begun.exists());
    }
}
