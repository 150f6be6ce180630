//! Bytes made by somebody who knows the format: lengths that lie, blocks inside of entries, versions of tomorrow.

use std::fs;

use donjon_core::{Seq, Timestamp};
use proptest::prelude::*;

use super::block::{BlockHeader, HEADER_BYTES, OpenBlock};
use super::*;

fn header() -> BlockHeader {
    BlockHeader {
        entry_version: 1,
        unsynced_before: 0,
        entries: 1,
        first_seq: Seq(1),
        first_accepted: Timestamp(NOON),
        last_accepted: Timestamp(NOON),
        raw_len: 10,
        body_len: 10,
        body_crc: 0,
    }
}

#[test]
fn a_header_with_lengths_over_the_limits_is_no_header() {
    let read = |header: BlockHeader| BlockHeader::from_bytes(&header.to_bytes(32), 32);
    assert_eq!(read(header()), Some(header()));
    assert_eq!(
        read(BlockHeader {
            raw_len: u32::MAX,
            ..header()
        }),
        None
    );
    assert_eq!(
        read(BlockHeader {
            body_len: u32::MAX,
            ..header()
        }),
        None
    );
    assert_eq!(
        read(BlockHeader {
            entries: u32::MAX,
            ..header()
        }),
        None
    );
    assert_eq!(read(BlockHeader { entries: 0, ..header() }), None);
    assert_eq!(
        BlockHeader::from_bytes(&header().to_bytes(32), 33),
        None,
        "the place is part of the checksum"
    );
    assert_eq!(
        BlockHeader::from_bytes(&header().to_bytes(32)[..HEADER_BYTES - 1], 32),
        None
    );
}

#[test]
fn a_body_that_decompresses_to_more_than_it_says_is_damage() {
    let bomb = zstd::bulk::compress(&vec![0; 4 << 20], 1).unwrap();
    let body_len = u32::try_from(bomb.len()).unwrap();
    let lying = BlockHeader {
        body_len,
        body_crc: crc32fast::hash(&bomb),
        ..header()
    };
    assert!(OpenBlock::open(&lying, &bomb).is_none());
}

#[test]
fn entry_lengths_that_leave_the_block_are_damage() {
    let open = |raw: &[u8], entries: u32| {
        let body = zstd::bulk::compress(raw, 1).unwrap();
        let header = BlockHeader {
            entries,
            raw_len: u32::try_from(raw.len()).unwrap(),
            body_len: u32::try_from(body.len()).unwrap(),
            body_crc: crc32fast::hash(&body),
            ..header()
        };
        OpenBlock::open(&header, &body).is_some()
    };
    assert!(open(&[0, 0, 0, 1, 7, 0, 0, 0, 0], 2));
    assert!(!open(&[0, 0, 0, 2, 7], 1), "too long");
    assert!(!open(&[0xff, 0xff, 0xff, 0xff, 7], 1), "far too long");
    assert!(!open(&[0, 0, 0, 1, 7, 9], 1), "left over");
    assert!(!open(&[0, 0, 0, 1, 7], 2), "one too few");
    assert!(!open(&[0, 0, 0, 1, 7], 60_000), "many too few");
}

/// A sender puts the bytes of a block into a document, and compression leaves them as they are. After the real block
/// around it is damaged, the search for the next block passes over it.
#[test]
fn a_block_inside_of_an_entry_is_not_taken_for_one() {
    let temp = tempfile::tempdir().unwrap();
    let mut inner = BlockHeader {
        body_crc: crc32fast::hash(b"0123456789"),
        ..header()
    }
    .to_bytes(32)
    .to_vec();
    inner.extend_from_slice(b"0123456789");
    write(temp.path(), JournalOptions::default(), &entries(0..30));
    write(temp.path(), JournalOptions::default(), &entries(30..33));
    let file = &segment_files(temp.path())[0];
    let mut bytes = fs::read(file).unwrap();
    let at = segment::HEADER_BYTES + HEADER_BYTES + 100;
    bytes[at..at + inner.len()].copy_from_slice(&inner);
    fs::write(file, bytes).unwrap();
    let (journal, report) = Journal::open(temp.path(), small()).unwrap();
    assert_eq!(numbers(&read_all(&journal.reader())), [30, 31, 32]);
    assert_eq!(
        (report.damage[0].first_lost, report.damage[0].last_lost),
        (Seq(1), Seq(30))
    );
}

#[test]
fn segments_and_entries_of_a_newer_version_are_refused_and_left_alone() {
    let temp = tempfile::tempdir().unwrap();
    write(temp.path(), small(), &entries(0..3));
    let file = segment_files(temp.path())[0].clone();
    let bytes = fs::read(&file).unwrap();

    let mut newer = bytes.clone();
    newer[8..12].copy_from_slice(&2u32.to_be_bytes());
    let crc = crc32fast::hash(&newer[..28]);
    newer[28..32].copy_from_slice(&crc.to_be_bytes());
    fs::write(&file, &newer).unwrap();
    let error = Journal::open(temp.path(), small()).err().unwrap();
    assert!(matches!(error, JournalError::Version { found: 2, .. }), "{error}");
    assert_eq!(fs::read(&file).unwrap(), newer);

    let at = segment::HEADER_BYTES;
    let old = BlockHeader::from_bytes(&bytes[at..], at as u64).unwrap();
    let mut newer = bytes.clone();
    newer[at..at + HEADER_BYTES].copy_from_slice(
        &BlockHeader {
            entry_version: 9,
            ..old
        }
        .to_bytes(at as u64),
    );
    fs::write(&file, &newer).unwrap();
    let error = Journal::open(temp.path(), small()).err().unwrap();
    assert!(matches!(error, JournalError::Version { found: 9, .. }), "{error}");
    assert_eq!(fs::read(&file).unwrap(), newer);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Any bytes over any part of a segment: opening and reading answer, and what they give was once written.
    #[test]
    fn arbitrary_damage_gives_entries_or_nothing(
        at in 0usize..900,
        junk in prop::collection::vec(any::<u8>(), 1..200),
    ) {
        let temp = tempfile::tempdir().unwrap();
        write(temp.path(), small(), &entries(0..20));
        let file = segment_files(temp.path())[0].clone();
        let mut bytes = fs::read(&file).unwrap();
        for (to, from) in bytes.iter_mut().skip(at).zip(junk) {
            *to = from;
        }
        fs::write(&file, bytes).unwrap();
        let (journal, report) = Journal::open(temp.path(), small()).unwrap();
        let found = numbers(&read_all(&journal.reader()));
        let lost: u64 = report.damage.iter().map(|damage| damage.last_lost.0 + 1 - damage.first_lost.0).sum();
        prop_assert!(found.is_sorted() && found.iter().all(|n| *n < 20));
        // Each entry is there, or reported as lost, or in the tail that was cut.
        let accounted = found.len() as u64 + lost;
        prop_assert!(accounted == 20 || report.torn.is_some() && accounted < 20, "{found:?} {report:?}");
    }
}
