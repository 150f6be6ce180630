//! What is appended is read back: in order, by position, after reopening, from every segment.

use donjon_core::{Seq, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::day::Day;
use crate::testing::Draw;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Random appends, syncs and reopenings, with small segments and blocks.
    #[test]
    fn a_reopened_journal_has_the_same_entries(seed: u64) {
        let temp = tempfile::tempdir().unwrap();
        let mut draw = Draw::new(seed);
        let options = JournalOptions {
            segment_bytes: 200 + draw.below(3000),
            block_raw_bytes: 1 + usize::try_from(draw.below(1500)).unwrap(),
            block_entries: 1 + usize::try_from(draw.below(8)).unwrap(),
            durability: draw.one_of(&[Durability::Fsync, Durability::Buffered]),
            ..JournalOptions::default()
        };
        let (mut journal, _) = Journal::open(temp.path(), options).unwrap();
        let mut expected: Vec<Entry> = Vec::new();
        let mut latest = Timestamp(0);
        for _ in 0..draw.below(12) {
            let new: Vec<NewEntry> = (0..draw.below(20)).map(|_| draw.entry()).collect();
            let seqs = journal.append(&new).unwrap();
            prop_assert_eq!(*seqs.start(), Seq(expected.len() as u64 + 1));
            prop_assert_eq!(seqs.end().0, seqs.start().0 + new.len() as u64 - 1);
            prop_assert_eq!(seqs.is_empty(), new.is_empty());
            for (seq, entry) in (seqs.start().0..).zip(new) {
                latest = latest.max(entry.accepted);
                expected.push(Entry { seq: Seq(seq), accepted: latest, tenant: entry.tenant, body: entry.body });
            }
            journal.sync().unwrap();
            if draw.below(3) == 0 {
                drop(journal);
                let (again, report) = Journal::open(temp.path(), options).unwrap();
                prop_assert_eq!(report.last_seq.0, expected.len() as u64);
                prop_assert_eq!(report.last_accepted, latest);
                prop_assert_eq!((&report.torn, report.damage.len()), (&None, 0));
                journal = again;
            }
        }
        let reader = journal.reader();
        prop_assert_eq!(&read_all(&reader), &expected);
        let mut seqs: Vec<Seq> = (0..30).map(|_| Seq(draw.below(expected.len() as u64 + 3))).collect();
        seqs.push(Seq(u64::MAX));
        let found = reader.get_many(&seqs).unwrap();
        for (seq, found) in seqs.iter().zip(found) {
            let index = usize::try_from(seq.0.wrapping_sub(1)).unwrap();
            prop_assert_eq!(found.as_ref(), expected.get(index), "seq {}", seq);
        }
        prop_assert_eq!(reader.damage(), (0, Vec::new()));
        let on_disk: u64 = segment_files(temp.path()).iter().map(|path| path.metadata().unwrap().len()).sum();
        prop_assert_eq!(reader.bytes(), on_disk);
    }
}

#[test]
fn entries_are_visible_after_sync_and_not_before() {
    let temp = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(temp.path(), small()).unwrap();
    let reader = journal.reader();
    journal.append(&entries(0..12)).unwrap();
    assert!(read_all(&reader).is_empty());
    assert_eq!(reader.get(Seq(1)).unwrap(), None);
    assert_eq!(reader.last_seq(), Seq(0));
    journal.sync().unwrap();
    assert_eq!(numbers(&read_all(&reader)), (0..12).collect::<Vec<_>>());
    assert_eq!(reader.last_seq(), Seq(12));
}

#[test]
fn a_new_day_and_a_full_segment_begin_a_new_file() {
    let temp = tempfile::tempdir().unwrap();
    let options = JournalOptions {
        segment_bytes: 700,
        ..small()
    };
    let (mut journal, _) = Journal::open(temp.path(), options).unwrap();
    // One append over midnight, then one that goes back in time: it stays on the newer day.
    journal
        .append(&[at(0, NOON), at(1, NOON + DAY_MS / 2), at(2, NOON)])
        .unwrap();
    journal.append(&entries(3..40)).unwrap();
    journal.sync().unwrap();
    let segments = journal.reader().segments();
    let day = Day::of(Timestamp(NOON));
    assert_eq!(segments[0].day, day);
    assert_eq!((segments[0].first_seq, segments[0].last_seq), (Seq(1), Seq(1)));
    assert!(segments.len() > 3, "{segments:?}");
    assert!(
        segments[1..].iter().all(|segment| segment.day == Day(day.0 + 1)),
        "{segments:?}"
    );
    for pair in segments.windows(2) {
        assert_eq!(pair[0].last_seq.next(), pair[1].first_seq);
    }
    let all = read_all(&journal.reader());
    assert_eq!(numbers(&all), (0..40).collect::<Vec<_>>());
    assert!(all.is_sorted_by_key(|entry| entry.accepted));
    assert!(segment_files(temp.path())[0].ends_with("20250615-00000000000000000001.journal"));
}

#[test]
fn a_read_is_bounded_by_entries_and_bytes_and_always_moves_on() {
    let temp = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(temp.path(), small()).unwrap();
    journal.append(&entries(0..20)).unwrap();
    journal.sync().unwrap();
    let reader = journal.reader();
    let len = |entries: usize, bytes: usize| reader.read_from(Seq(3), entries, bytes).unwrap().len();
    assert_eq!(len(4, 1 << 20), 4);
    assert_eq!(len(100, 1 << 20), 18);
    assert_eq!(len(100, 0), 1);
    assert_eq!(len(100, 60), 2);
    assert_eq!(len(0, 60), 0);
    assert!(reader.read_from(Seq(21), 5, 5).unwrap().is_empty());
}

#[test]
fn freed_days_are_gone_and_the_rest_stays() {
    let temp = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(temp.path(), small()).unwrap();
    for day in 0..4u64 {
        let new: Vec<NewEntry> = (0..10).map(|n| at(day * 10 + n, NOON + day * DAY_MS)).collect();
        journal.append(&new).unwrap();
        journal.sync().unwrap();
    }
    let reader = journal.reader();
    let today = Day::of(Timestamp(NOON + 3 * DAY_MS));
    let policy = RetentionPolicy {
        max_age_days: Some(0),
        max_bytes: None,
    };
    let days = freeable(&reader.segments(), &[Seq(25)], &policy, today);
    assert_eq!(days, [Day(today.0 - 3), Day(today.0 - 2)]);
    reader.get(Seq(5)).unwrap().unwrap();
    let before = reader.bytes();
    // The active day is in the list by mistake: it stays.
    let freed = journal.free(&[days[0], days[1], today]).unwrap();
    assert_eq!(freed.segments, 2);
    assert_eq!(reader.bytes(), before - freed.bytes);
    assert_eq!(
        reader
            .get_many(&[Seq(5), Seq(20), Seq(21)])
            .unwrap()
            .iter()
            .flatten()
            .count(),
        1
    );
    assert_eq!(reader.first_seq(), Seq(21));
    assert_eq!(numbers(&read_all(&reader)), (20..40).collect::<Vec<_>>());
    assert_eq!(segment_files(temp.path()).len(), 2);
    drop(journal);
    let (journal, report) = Journal::open(temp.path(), small()).unwrap();
    assert_eq!(report.last_seq, Seq(40));
    assert_eq!(numbers(&read_all(&journal.reader())), (20..40).collect::<Vec<_>>());
}

#[test]
fn positions_are_never_given_twice() {
    let temp = tempfile::tempdir().unwrap();
    let (mut journal, report) = Journal::open(temp.path(), small()).unwrap();
    assert_eq!(report, RecoveryReport::default());
    assert_eq!(journal.next_seq(), Seq(1));
    journal.continue_after(Seq(99));
    journal.append(&entries(0..3)).unwrap();
    journal.sync().unwrap();
    journal.continue_after(Seq(5));
    assert_eq!(journal.next_seq(), Seq(103));
    let first = journal.reader().read_from(Seq(0), 1, 1).unwrap();
    assert_eq!(first[0].seq, Seq(100));
    drop(journal);
    let (journal, _) = Journal::open(temp.path(), small()).unwrap();
    assert_eq!(journal.next_seq(), Seq(103));
}

#[test]
fn an_entry_over_the_limit_is_refused_and_the_journal_goes_on() {
    let temp = tempfile::tempdir().unwrap();
    let (mut journal, _) = Journal::open(temp.path(), small()).unwrap();
    let raw = vec![0; crate::limits::MAX_ENTRY_BYTES];
    let body = EntryBody::DeadLetter {
        provider: String::new(),
        reason: String::new(),
        raw,
    };
    let large = NewEntry { body, ..entry(0) };
    let error = journal.append(&[entry(1), entry(2), large]).unwrap_err();
    assert!(matches!(error, JournalError::EntryTooLarge { .. }), "{error}");
    journal.append(&entries(3..5)).unwrap();
    journal.sync().unwrap();
    assert_eq!(numbers(&read_all(&journal.reader())), [3, 4]);
}

#[test]
fn readers_in_other_threads_see_whole_appends_in_order() {
    let temp = tempfile::tempdir().unwrap();
    let options = JournalOptions {
        segment_bytes: 4000,
        durability: Durability::Buffered,
        ..small()
    };
    let (mut journal, _) = Journal::open(temp.path(), options).unwrap();
    let reader = journal.reader();
    let follower = std::thread::spawn(move || {
        let mut seen: Vec<u64> = Vec::new();
        while seen.len() < 2000 {
            let more = reader.read_from(Seq(seen.len() as u64 + 1), 64, 1 << 20).unwrap();
            seen.extend(numbers(&more));
            std::thread::yield_now();
        }
        seen
    });
    for n in 0..200 {
        journal.append(&entries(n * 10..n * 10 + 10)).unwrap();
        journal.sync().unwrap();
    }
    assert_eq!(follower.join().unwrap(), (0..2000).collect::<Vec<_>>());
}
