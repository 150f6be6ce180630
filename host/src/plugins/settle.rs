//! When a file may be read: once it has not changed for a while, and again after a failure that may pass. Pure: it is
//! shown listings of the directory and told how each file ended, and says which files are due or gone for good. Knows no
//! file system and no plugin.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The pauses before a file that was refused for now is tried again: 1, 2, 4 .. 60 s.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// What a name in the directory stands for. Only files become plugins; the others are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A file, or a link to one.
    File,
    /// A directory.
    Directory,
    /// A pipe, a socket or a device: reading it may never end.
    Special,
    /// A link to nothing, or in a circle.
    DanglingLink,
    /// The system does not say, as to files behind a directory that may not be entered.
    Unknown,
}

/// What can be seen of a file without reading it. Any difference is a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// What it is.
    pub kind: Kind,
    /// Size in bytes.
    pub len: u64,
    /// Modification time in nanoseconds, for comparing only.
    pub modified: i128,
    /// Time of the last change of content or permissions, for comparing only.
    pub changed: i128,
    /// Which file it is: a replacement by renaming changes it.
    pub inode: u64,
}

/// A file in a listing.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    /// What it looks like.
    pub stamp: Stamp,
    /// For how long it has not been written, as its modification time says.
    pub quiet: Duration,
}

/// Something to do about a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Due {
    /// Read the file, which looks like this: it is new or changed, and settled, or another try is due.
    Read(String, Stamp),
    /// The file is gone and did not come back.
    Gone(String),
}

/// How an attempt at a file ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Nothing to do until the file changes.
    Decided,
    /// It failed for a reason that may pass.
    ForNow,
    /// It changed while it was read: it has not settled.
    Moved,
}

/// How far a file is that looks like `stamp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// Somebody is at it.
    Busy,
    /// The outcome is known.
    Decided,
    /// Another try is due then.
    Again(Instant),
}

struct Watched {
    /// None for a file that is not there any more.
    stamp: Option<Stamp>,
    /// It looks like this since then.
    since: Instant,
    /// What was done about it when it looked like what; nothing yet for a new file.
    handled: Option<(Stamp, Progress)>,
    /// The last pause before another try of the same file.
    pause: Duration,
}

impl Watched {
    /// When it will be due by itself, unless it is decided or somebody is at it.
    fn due_at(&self, settle: Duration) -> Option<Instant> {
        let settled = self.since + settle;
        match (self.stamp, self.handled) {
            (Some(stamp), Some((handled, progress))) if handled == stamp => match progress {
                Progress::Busy | Progress::Decided => None,
                Progress::Again(at) => Some(at.max(settled)),
            },
            _ => Some(settled),
        }
    }
}

/// Follows the files of a directory.
pub struct Settling {
    settle: Duration,
    files: BTreeMap<String, Watched>,
}

impl Settling {
    /// Files settle after so long.
    #[must_use]
    pub fn new(settle: Duration) -> Settling {
        Settling {
            settle,
            files: BTreeMap::new(),
        }
    }

    /// Takes a full listing and answers what is due, in the order of names. Each `Read` wants to be answered by
    /// [`Settling::ended`].
    pub fn observe(&mut self, now: Instant, listing: &BTreeMap<String, Seen>) -> Vec<Due> {
        for (name, file) in &mut self.files {
            if file.stamp.is_some() && !listing.contains_key(name) {
                file.stamp = None;
                file.since = now;
            }
        }
        self.observe_listed(now, listing)
    }

    /// The same for a listing that may lack files: nothing counts as gone, and what was missed before goes on being so.
    pub fn observe_some(&mut self, now: Instant, listing: &BTreeMap<String, Seen>) -> Vec<Due> {
        for file in self.files.values_mut().filter(|file| file.stamp.is_none()) {
            file.since = now;
        }
        self.observe_listed(now, listing)
    }

    fn observe_listed(&mut self, now: Instant, listing: &BTreeMap<String, Seen>) -> Vec<Due> {
        for (name, seen) in listing {
            let since = now.checked_sub(seen.quiet.min(self.settle)).unwrap_or(now);
            let fresh = || Watched {
                stamp: Some(seen.stamp),
                since,
                handled: None,
                pause: FIRST_PAUSE,
            };
            let file = self.files.entry(name.clone()).or_insert_with(fresh);
            if file.stamp != Some(seen.stamp) {
                file.stamp = Some(seen.stamp);
                file.since = since;
                file.pause = FIRST_PAUSE;
            }
        }
        let settle = self.settle;
        let mut due = Vec::new();
        self.files.retain(|name, file| {
            if file.due_at(settle).is_none_or(|at| now < at) {
                return true;
            }
            match file.stamp {
                None => due.push(Due::Gone(name.clone())),
                Some(stamp) => {
                    file.handled = Some((stamp, Progress::Busy));
                    due.push(Due::Read(name.clone(), stamp));
                }
            }
            file.stamp.is_some()
        });
        due
    }

    /// Takes the end of an attempt at a file that looked like `stamp`. Answers the pause before the next try, if there
    /// will be one without a change.
    pub fn ended(&mut self, now: Instant, name: &str, stamp: Stamp, ended: Ended) -> Option<Duration> {
        let file = self.files.get_mut(name)?;
        if file.handled != Some((stamp, Progress::Busy)) {
            return None;
        }
        match ended {
            Ended::Decided => file.handled = Some((stamp, Progress::Decided)),
            Ended::Moved => {
                file.handled = None;
                file.since = now;
            }
            Ended::ForNow => {
                let pause = file.pause;
                file.pause = (pause * 2).min(LONGEST_PAUSE);
                file.handled = Some((stamp, Progress::Again(now + pause)));
                return Some(pause);
            }
        }
        None
    }

    /// When the next file settles, or another try is due.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.files.values().filter_map(|file| file.due_at(self.settle)).min()
    }

    /// Whether a file is still being written.
    #[must_use]
    pub fn is_unsettled(&self) -> bool {
        let waits_for_another_try =
            |file: &Watched| matches!(file.handled, Some((stamp, Progress::Again(_))) if file.stamp == Some(stamp));
        self.files
            .values()
            .any(|file| file.due_at(self.settle).is_some() && !waits_for_another_try(file))
    }

    /// Makes every file due again, changed or not, but for those that somebody is at.
    pub fn forget_handled(&mut self) {
        for file in self.files.values_mut() {
            file.pause = FIRST_PAUSE;
            if !matches!(file.handled, Some((_, Progress::Busy))) {
                file.handled = None;
            }
        }
    }

    /// Makes a file due again at once, whoever is at it: they are told to stop.
    pub fn begin_again(&mut self, name: &str) {
        if let Some(file) = self.files.get_mut(name) {
            file.pause = FIRST_PAUSE;
            file.handled = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTLE: Duration = Duration::from_millis(300);

    fn listing(files: &[(&str, u64, u64)]) -> BTreeMap<String, Seen> {
        let seen = |len, quiet_ms| Seen {
            stamp: Stamp {
                kind: Kind::File,
                len,
                modified: 0,
                changed: 0,
                inode: 1,
            },
            quiet: Duration::from_millis(quiet_ms),
        };
        files
            .iter()
            .map(|(name, len, quiet)| ((*name).to_owned(), seen(*len, *quiet)))
            .collect()
    }

    /// What is due, each read decided at once.
    fn observe(settling: &mut Settling, now: Instant, listing: &BTreeMap<String, Seen>) -> Vec<String> {
        let mut told = Vec::new();
        for due in settling.observe(now, listing) {
            match due {
                Due::Read(name, stamp) => {
                    assert_eq!(settling.ended(now, &name, stamp, Ended::Decided), None);
                    told.push(format!("read {name}"));
                }
                Due::Gone(name) => told.push(format!("{name} is gone")),
            }
        }
        told
    }

    #[test]
    fn a_file_is_due_once_after_it_stopped_changing() {
        let (mut settling, start) = (Settling::new(SETTLE), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(observe(&mut settling, at(0), &listing(&[("a", 1, 0)])), [""; 0]);
        assert_eq!(observe(&mut settling, at(200), &listing(&[("a", 2, 0)])), [""; 0]);
        assert_eq!(settling.next(), Some(at(500)));
        assert_eq!(observe(&mut settling, at(499), &listing(&[("a", 2, 0)])), [""; 0]);
        assert_eq!(observe(&mut settling, at(500), &listing(&[("a", 2, 0)])), ["read a"]);
        assert_eq!(
            (
                observe(&mut settling, at(900), &listing(&[("a", 2, 0)])),
                settling.next()
            ),
            (Vec::<String>::new(), None)
        );
        assert_eq!(observe(&mut settling, at(1000), &listing(&[("a", 3, 0)])), [""; 0]);
        assert_eq!(observe(&mut settling, at(1300), &listing(&[("a", 3, 0)])), ["read a"]);
    }

    #[test]
    fn a_file_that_was_not_written_for_long_is_due_at_once() {
        let (mut settling, start) = (Settling::new(SETTLE), Instant::now());
        assert_eq!(
            observe(
                &mut settling,
                start + SETTLE,
                &listing(&[("a", 1, 5_000), ("b", 1, 299)])
            ),
            ["read a"]
        );
    }

    #[test]
    fn delete_and_create_is_one_change_and_a_lasting_absence_the_end() {
        let (mut settling, start) = (Settling::new(SETTLE), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(
            observe(&mut settling, at(1000), &listing(&[("a", 1, 1000)])),
            ["read a"]
        );
        assert_eq!(observe(&mut settling, at(1100), &listing(&[])), [""; 0]);
        assert_eq!(observe(&mut settling, at(1200), &listing(&[("a", 2, 0)])), [""; 0]);
        assert_eq!(observe(&mut settling, at(1500), &listing(&[("a", 2, 0)])), ["read a"]);
        assert_eq!(observe(&mut settling, at(2000), &listing(&[])), [""; 0]);
        assert_eq!(settling.next(), Some(at(2300)));
        assert_eq!(observe(&mut settling, at(2300), &listing(&[])), ["a is gone"]);
        assert_eq!(
            (observe(&mut settling, at(9000), &listing(&[])), settling.next()),
            (Vec::<String>::new(), None)
        );
    }

    #[test]
    fn a_file_that_the_system_did_not_name_is_not_gone() {
        let (mut settling, start) = (Settling::new(SETTLE), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let files = listing(&[("a", 1, 1000)]);
        assert_eq!(observe(&mut settling, at(1000), &files), ["read a"]);
        for ms in [1100, 1500, 9000] {
            assert_eq!(settling.observe_some(at(ms), &listing(&[])), []);
        }
        // Missed by a whole look, then not known: it is gone only after a while of whole looks, and nobody spins meanwhile.
        assert_eq!(observe(&mut settling, at(9100), &listing(&[])), [""; 0]);
        assert_eq!(settling.observe_some(at(9500), &listing(&[])), []);
        assert_eq!(settling.next(), Some(at(9800)));
        assert_eq!(observe(&mut settling, at(9800), &listing(&[])), ["a is gone"]);
    }

    #[test]
    fn a_reload_makes_everything_due_again() {
        let (mut settling, start) = (Settling::new(SETTLE), Instant::now());
        let files = listing(&[("a", 1, 1000)]);
        assert_eq!(observe(&mut settling, start + SETTLE, &files), ["read a"]);
        settling.forget_handled();
        assert_eq!(observe(&mut settling, start + SETTLE, &files), ["read a"]);
    }

    #[test]
    fn a_file_is_not_handled_before_the_outcome_is_known() {
        let (mut settling, start) = (Settling::new(SETTLE), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let (one, two) = (listing(&[("a", 1, 1000)]), listing(&[("a", 2, 1000)]));
        let first = one["a"].stamp;
        assert_eq!(settling.observe(at(1000), &one), [Due::Read("a".to_owned(), first)]);
        // Somebody is at it: it is neither due again nor decided, and nothing is still being written.
        assert_eq!((settling.observe(at(2000), &one), settling.next()), (Vec::new(), None));
        assert!(!settling.is_unsettled());
        // Another file in its place does not wait for that, and the end of the first says nothing about the second.
        let second = two["a"].stamp;
        assert_eq!(settling.observe(at(3000), &two), [Due::Read("a".to_owned(), second)]);
        assert_eq!(settling.ended(at(3001), "a", first, Ended::ForNow), None);
        assert_eq!(settling.ended(at(3002), "a", second, Ended::Moved), None);
        assert!(settling.is_unsettled());
        assert_eq!(settling.observe(at(3100), &two), []);
        assert_eq!(settling.observe(at(3302), &two), [Due::Read("a".to_owned(), second)]);
    }

    #[test]
    fn a_refusal_for_now_is_tried_again_after_1_2_4_up_to_60_seconds() {
        let (mut settling, start) = (Settling::new(SETTLE), Instant::now());
        let file = listing(&[("a", 1, 1000)]);
        let stamp = file["a"].stamp;
        let mut now = start + SETTLE;
        let mut pauses = Vec::new();
        for _ in 0..9 {
            assert_eq!(settling.observe(now, &file), [Due::Read("a".to_owned(), stamp)]);
            let pause = settling.ended(now, "a", stamp, Ended::ForNow).unwrap();
            assert_eq!(settling.next(), Some(now + pause));
            assert_eq!(settling.observe(now + pause - Duration::from_millis(1), &file), []);
            assert!(!settling.is_unsettled());
            pauses.push(pause.as_secs());
            now += pause;
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
        // A changed file begins anew, and so does a reload.
        settling.observe(now, &listing(&[("a", 2, 1000)]));
        let changed = listing(&[("a", 2, 1000)])["a"].stamp;
        assert_eq!(settling.ended(now, "a", changed, Ended::ForNow), Some(FIRST_PAUSE));
        settling.forget_handled();
        assert_eq!(settling.observe(now, &listing(&[("a", 2, 1000)])).len(), 1);
        assert_eq!(settling.ended(now, "a", changed, Ended::ForNow), Some(FIRST_PAUSE));
    }

    #[test]
    fn a_file_that_goes_while_somebody_is_at_it_is_gone() {
        let (mut settling, start) = (Settling::new(SETTLE), Instant::now());
        let file = listing(&[("a", 1, 1000)]);
        settling.observe(start + SETTLE, &file);
        assert_eq!(settling.observe(start + SETTLE, &listing(&[])), []);
        assert_eq!(
            settling.observe(start + SETTLE * 2, &listing(&[])),
            [Due::Gone("a".to_owned())]
        );
        assert_eq!(
            settling.ended(start + SETTLE * 3, "a", file["a"].stamp, Ended::Decided),
            None
        );
    }
}
