//! Which days of the journal may be freed. Pure; the caller brings the cursors and the date.

use std::collections::BTreeMap;

use donjon_core::Seq;

use super::segment::SegmentInfo;
use crate::day::Day;

/// How much of the journal is kept. Both bounds hold at once; a day that any cursor still needs is kept regardless.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// Days are kept this many days after they ended, in days.
    pub max_age_days: Option<u32>,
    /// Oldest days go until the journal is at most this large, in bytes.
    pub max_bytes: Option<u64>,
}

/// The days that may be freed, oldest first (I8): whole days, never that of the active segment (the last one of
/// `segments`), and only such whose every entry is at or below every cursor. Without cursors nothing is freed: nobody
/// has said that it may.
#[must_use]
pub fn freeable(segments: &[SegmentInfo], cursors: &[Seq], policy: &RetentionPolicy, today: Day) -> Vec<Day> {
    let (Some(active), Some(confirmed)) = (segments.last(), cursors.iter().min()) else {
        return Vec::new();
    };
    let mut bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
    let mut days: BTreeMap<Day, (Seq, u64)> = BTreeMap::new();
    for segment in segments {
        let (last_seq, size) = days.entry(segment.day).or_default();
        *last_seq = segment.last_seq.max(*last_seq);
        *size += segment.bytes;
    }
    let mut free = Vec::new();
    for (day, (last_seq, size)) in days {
        let aged = policy
            .max_age_days
            .is_some_and(|max| today.0.saturating_sub(day.0) > max);
        let crowded = policy.max_bytes.is_some_and(|max| bytes > max);
        let needed = day >= active.day || last_seq > *confirmed;
        // Later days have later entries: once one has to stay, all after it do.
        if needed || !(aged || crowded) {
            break;
        }
        bytes -= size;
        free.push(day);
    }
    free
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment(day: u32, first: u64, last: u64, bytes: u64) -> SegmentInfo {
        SegmentInfo {
            day: Day(day),
            first_seq: Seq(first),
            last_seq: Seq(last),
            bytes,
        }
    }

    #[test]
    fn only_whole_old_days_that_nobody_needs_are_freed() {
        let segments = [
            segment(10, 1, 10, 100),
            segment(10, 11, 20, 100),
            segment(11, 21, 30, 100),
            segment(12, 31, 40, 100),
            segment(13, 41, 50, 100),
            segment(13, 51, 55, 10),
        ];
        let check = |cursors: &[u64], age: Option<u32>, bytes: Option<u64>, today: u32, expected: &[u32]| {
            let cursors: Vec<Seq> = cursors.iter().copied().map(Seq).collect();
            let policy = RetentionPolicy {
                max_age_days: age,
                max_bytes: bytes,
            };
            let days: Vec<u32> = freeable(&segments, &cursors, &policy, Day(today))
                .iter()
                .map(|day| day.0)
                .collect();
            assert_eq!(
                days, expected,
                "cursors {cursors:?} age {age:?} bytes {bytes:?} today {today}"
            );
        };
        // Age: the day itself and `max` more are kept.
        check(&[55], Some(2), None, 13, &[10]);
        check(&[55], Some(1), None, 13, &[10, 11]);
        check(&[55], Some(0), None, 13, &[10, 11, 12]);
        check(&[55], Some(0), None, 99, &[10, 11, 12]);
        // Size: oldest first, until it fits.
        check(&[55], None, Some(510), 13, &[]);
        check(&[55], None, Some(509), 13, &[10]);
        check(&[55], None, Some(310), 13, &[10]);
        check(&[55], None, Some(309), 13, &[10, 11]);
        check(&[55], None, Some(0), 13, &[10, 11, 12]);
        // Both: whichever asks for more.
        check(&[55], Some(2), Some(250), 13, &[10, 11]);
        // Cursors: the smallest counts, and half a day stays whole.
        check(&[55, 19], Some(0), Some(0), 13, &[]);
        check(&[55, 20], Some(0), Some(0), 13, &[10]);
        check(&[29, 55], Some(0), Some(0), 13, &[10]);
        check(&[30, 55], Some(0), Some(0), 13, &[10, 11]);
        // Nobody asked, or nobody confirmed.
        check(&[55], None, None, 99, &[]);
        check(&[], Some(0), Some(0), 99, &[]);
        // A clock that went back ages nothing.
        check(&[55], Some(0), None, 5, &[]);
    }

    #[test]
    fn an_empty_journal_has_nothing_to_free() {
        let policy = RetentionPolicy {
            max_age_days: Some(0),
            max_bytes: Some(0),
        };
        assert!(freeable(&[], &[Seq(5)], &policy, Day(100)).is_empty());
        assert!(freeable(&[segment(1, 1, 5, 9)], &[Seq(5)], &policy, Day(100)).is_empty());
    }
}
