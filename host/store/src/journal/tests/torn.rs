//! A write that a crash cut short is cut off and never mistaken for damage; damage is never mistaken for a torn write.

use std::fs;

use donjon_core::Seq;

use super::*;

/// Ends of the blocks of the only segment, in bytes.
fn block_ends(dir: &Path) -> Vec<u64> {
    let segments = segment_files(dir);
    let (day, first_seq) = segment::parse_file_name(&segments[0]).unwrap();
    let info = SegmentInfo {
        day,
        first_seq,
        last_seq: Seq(0),
        bytes: 0,
    };
    let found = scan::scan(
        &segment::Segment {
            info,
            path: segments[0].clone(),
        },
        scan::Depth::Bodies,
        Seq(u64::MAX),
    )
    .unwrap();
    found.blocks.iter().map(scan::BlockRef::end_offset).collect()
}

/// Four blocks of five entries, each a group of its own.
fn four_blocks() -> (tempfile::TempDir, Vec<u64>) {
    let temp = tempfile::tempdir().unwrap();
    let options = JournalOptions {
        block_raw_bytes: 4000,
        ..small()
    };
    for group in 0..4 {
        write(temp.path(), options, &entries(group * 5..group * 5 + 5));
    }
    let ends = block_ends(temp.path());
    assert_eq!(ends.len(), 4);
    (temp, ends)
}

#[test]
fn a_tail_torn_at_any_byte_is_cut_and_the_journal_goes_on() {
    let (temp, ends) = four_blocks();
    let file = segment_files(temp.path())[0].clone();
    let whole = fs::read(&file).unwrap();
    for len in ends[2]..ends[3] {
        for rest in ["cut", "zeros"] {
            let scratch = tempfile::tempdir().unwrap();
            let path = scratch.path().join(file.file_name().unwrap());
            let mut torn = whole[..usize::try_from(len).unwrap()].to_vec();
            if rest == "zeros" {
                // The file got its length, the disk not its content.
                torn.resize(whole.len(), 0);
            }
            fs::write(&path, &torn).unwrap();
            let (mut journal, report) = Journal::open(scratch.path(), small()).unwrap();
            let what = format!("{rest} at {len}");
            assert_eq!(
                numbers(&read_all(&journal.reader())),
                (0..15).collect::<Vec<_>>(),
                "{what}"
            );
            assert!(report.damage.is_empty(), "{what}");
            let cut = torn.len() as u64 - ends[2];
            assert_eq!(report.torn.as_ref().map_or(0, |torn| torn.bytes), cut, "{what}");
            assert_eq!(fs::metadata(&path).unwrap().len(), ends[2], "{what}");
            let appended = journal.append(&entries(100..103)).unwrap();
            assert!(*appended.start() >= Seq(16), "{what}");
            journal.sync().unwrap();
            drop(journal);
            let (journal, report) = Journal::open(scratch.path(), small()).unwrap();
            assert_eq!(report.torn, None, "{what}");
            let all = read_all(&journal.reader());
            assert_eq!(numbers(&all), (0..15).chain(100..103).collect::<Vec<_>>(), "{what}");
            assert_eq!(all.last().map(|entry| entry.seq), Some(*appended.end()), "{what}");
        }
    }
}

#[test]
fn positions_named_by_a_torn_block_are_not_given_again() {
    let (temp, ends) = four_blocks();
    let file = segment_files(temp.path())[0].clone();
    fs::OpenOptions::new()
        .write(true)
        .open(&file)
        .unwrap()
        .set_len(ends[3] - 1)
        .unwrap();
    let (journal, report) = Journal::open(temp.path(), small()).unwrap();
    assert_eq!(report.torn.unwrap().largest_seq, Some(Seq(20)));
    assert_eq!(journal.next_seq(), Seq(21));
}

#[test]
fn a_flipped_bit_in_the_middle_loses_its_block_only_and_is_reported() {
    let (temp, ends) = four_blocks();
    let file = segment_files(temp.path())[0].clone();
    let whole = fs::read(&file).unwrap();
    for offset in ends[0]..ends[1] {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join(file.file_name().unwrap());
        let mut damaged = whole.clone();
        damaged[usize::try_from(offset).unwrap()] ^= 0x10;
        fs::write(&path, &damaged).unwrap();
        let (mut journal, report) = Journal::open(scratch.path(), small()).unwrap();
        let expected = Damage {
            kind: DamageKind::Unreadable,
            path: path.clone(),
            offset: ends[0],
            bytes: ends[1] - ends[0],
            first_lost: Seq(6),
            last_lost: Seq(10),
        };
        assert_eq!(report.damage, std::slice::from_ref(&expected), "offset {offset}");
        assert_eq!(report.torn, None, "offset {offset}");
        let reader = journal.reader();
        assert_eq!(
            numbers(&read_all(&reader)),
            (0..5).chain(10..20).collect::<Vec<_>>(),
            "offset {offset}"
        );
        assert_eq!(reader.damage(), (1, vec![expected]), "offset {offset}");
        assert_eq!(
            reader
                .get_many(&[Seq(5), Seq(6), Seq(11)])
                .unwrap()
                .iter()
                .flatten()
                .count(),
            2
        );
        // Nothing is cut: what follows is good.
        assert_eq!(fs::metadata(&path).unwrap().len(), *ends.last().unwrap());
        assert_eq!(*journal.append(&entries(20..21)).unwrap().start(), Seq(21));
    }
}

#[test]
fn damage_in_a_sealed_segment_is_noted_when_it_is_read() {
    let temp = tempfile::tempdir().unwrap();
    let options = JournalOptions {
        segment_bytes: 1,
        ..small()
    };
    write(temp.path(), options, &entries(0..20));
    let files = segment_files(temp.path());
    assert!(files.len() >= 4);
    // The body of the first, the header of the second, the tail of the third.
    let damage = |index: usize, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = fs::read(&files[index]).unwrap();
        change(&mut bytes);
        fs::write(&files[index], bytes).unwrap();
    };
    damage(0, &|bytes| *bytes.last_mut().unwrap() ^= 1);
    damage(1, &|bytes| bytes[segment::HEADER_BYTES + 10] ^= 1);
    damage(2, &|bytes| bytes.truncate(bytes.len() - 1));
    let (journal, report) = Journal::open(temp.path(), options).unwrap();
    assert!(report.damage.is_empty(), "only the newest segment is looked at");
    let reader = journal.reader();
    for _ in 0..2 {
        let first_good = reader.segments()[3].first_seq;
        assert_eq!(reader.read_from(Seq(0), 1, 1).unwrap()[0].seq, first_good);
        assert_eq!(reader.get(Seq(1)).unwrap(), None);
        let (count, listed) = reader.damage();
        assert_eq!((count, listed.len()), (3, 3), "each place is counted once: {listed:?}");
        assert_eq!(listed[0].first_lost, Seq(1));
        assert_eq!(listed[2].last_lost.next(), first_good);
    }
}

#[test]
fn a_segment_file_whose_creation_was_cut_short_is_put_away() {
    for content in [&[][..], &segment::MAGIC, &[0; 4096]] {
        let temp = tempfile::tempdir().unwrap();
        write(temp.path(), small(), &entries(0..7));
        let stub = temp.path().join(segment::file_name(crate::day::Day(30_000), Seq(8)));
        fs::write(&stub, content).unwrap();
        let (mut journal, report) = Journal::open(temp.path(), small()).unwrap();
        assert_eq!(
            report.torn.map(|torn| torn.path),
            Some(stub.clone()),
            "{} bytes",
            content.len()
        );
        assert!(!stub.exists());
        assert_eq!(stub.with_extension("unreadable").exists(), content.len() > 32);
        assert_eq!(*journal.append(&entries(7..9)).unwrap().start(), Seq(8));
        journal.sync().unwrap();
        assert_eq!(numbers(&read_all(&journal.reader())), (0..9).collect::<Vec<_>>());
    }
}

#[test]
fn an_empty_newest_segment_keeps_its_positions_and_times() {
    let temp = tempfile::tempdir().unwrap();
    write(temp.path(), small(), &entries(0..7));
    let day = crate::day::Day(30_000);
    fs::write(
        temp.path().join(segment::file_name(day, Seq(8))),
        segment::header(day, Seq(8), 0),
    )
    .unwrap();
    let (mut journal, report) = Journal::open(temp.path(), small()).unwrap();
    assert_eq!(
        (report.torn, report.last_seq, report.last_accepted.0),
        (None, Seq(7), NOON + 6)
    );
    journal.append(&entries(3..5)).unwrap();
    journal.sync().unwrap();
    let all = read_all(&journal.reader());
    assert_eq!(numbers(&all), [0, 1, 2, 3, 4, 5, 6, 3, 4]);
    assert!(all.is_sorted_by_key(|entry| entry.accepted));
}
