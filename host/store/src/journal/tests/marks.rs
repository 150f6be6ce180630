//! Marks on a disk that fails once: what could not be made durable is by the next call, and then outlives the machine.

use super::*;
use crate::day::Day;
use crate::simulation::{Ending, Fault, SimulatedDisk};

fn marks(dir: &Path, parse: fn(&Path) -> Option<donjon_core::Seq>) -> usize {
    let items = std::fs::read_dir(dir).unwrap();
    items
        .filter(|item| parse(&item.as_ref().unwrap().path()).is_some())
        .count()
}

/// Lets each call of the disk fail that leaving a mark takes, and then the power go. In each life of the disk another part
/// of what is not durable gets lost.
fn outlives_a_call_that_fails(
    parse: fn(&Path) -> Option<donjon_core::Seq>,
    leave: impl Fn(&mut Journal) -> Result<(), JournalError>,
) {
    for (seed, fails) in (0..8).flat_map(|seed| (0..2).map(move |fails| (seed, fails))) {
        let temp = tempfile::tempdir().unwrap();
        let disk = SimulatedDisk::new(seed, None);
        let (mut journal, _) = Journal::open_with(temp.path(), small(), disk.files()).unwrap();
        for day in 0..3 {
            journal.append(&[at(day, NOON + day * DAY_MS)]).unwrap();
        }
        journal.sync().unwrap();
        disk.plan(fails, Fault::Broken);
        assert!(leave(&mut journal).is_err(), "call {fails} fails");
        leave(&mut journal).unwrap();
        drop(journal);
        disk.restart(Ending::Power).unwrap();
        assert_eq!(marks(temp.path(), parse), 1, "seed {seed}, call {fails}");
    }
}

#[test]
fn a_mark_of_what_was_synced_is_left_by_the_call_after_one_that_failed() {
    outlives_a_call_that_fails(segment::parse_synced_name, Journal::mark_synced);
}

#[test]
fn a_mark_of_what_was_freed_is_left_by_the_call_after_one_that_failed() {
    let free = |journal: &mut Journal| journal.free(&[Day::of(Timestamp(NOON))]).map(drop);
    outlives_a_call_that_fails(segment::parse_freed_name, free);
}
