//! When a file may be read: once it has not changed for a while. Pure: it is shown listings of the directory and says
//! which files have settled or are gone for good. Knows no file system and no plugin.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What can be seen of a file without reading it. Any difference is a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
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
    /// Read the file: it is new or changed, and settled.
    Read(String),
    /// The file is gone and did not come back.
    Gone(String),
}

struct Watched {
    /// None for a file that is not there any more.
    stamp: Option<Stamp>,
    /// It looks like this since then.
    since: Instant,
    /// What it looked like when it was last due.
    handled: Option<Stamp>,
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

    /// Takes a full listing and answers what is due, in the order of names.
    pub fn observe(&mut self, now: Instant, listing: &BTreeMap<String, Seen>) -> Vec<Due> {
        for (name, seen) in listing {
            let since = now.checked_sub(seen.quiet.min(self.settle)).unwrap_or(now);
            let fresh = || Watched {
                stamp: Some(seen.stamp),
                since,
                handled: None,
            };
            let file = self.files.entry(name.clone()).or_insert_with(fresh);
            if file.stamp != Some(seen.stamp) {
                file.stamp = Some(seen.stamp);
                file.since = since;
            }
        }
        for (name, file) in &mut self.files {
            if file.stamp.is_some() && !listing.contains_key(name) {
                file.stamp = None;
                file.since = now;
            }
        }
        let settle = self.settle;
        let mut due = Vec::new();
        self.files.retain(|name, file| {
            if now.duration_since(file.since) < settle {
                return true;
            }
            match file.stamp {
                None => due.push(Due::Gone(name.clone())),
                Some(stamp) if file.handled != Some(stamp) => {
                    file.handled = Some(stamp);
                    due.push(Due::Read(name.clone()));
                }
                Some(_) => {}
            }
            file.stamp.is_some()
        });
        due
    }

    /// When the next file settles, if one has not.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        let open = self
            .files
            .values()
            .filter(|file| file.stamp.is_none() || file.stamp != file.handled);
        open.map(|file| file.since + self.settle).min()
    }

    /// Makes every file due again, changed or not.
    pub fn forget_handled(&mut self) {
        for file in self.files.values_mut() {
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

    fn read(name: &str) -> Vec<Due> {
        vec![Due::Read(name.to_owned())]
    }

    #[test]
    fn a_file_is_due_once_after_it_stopped_changing() {
        let (mut settling, start) = (Settling::new(SETTLE), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(settling.observe(at(0), &listing(&[("a", 1, 0)])), []);
        assert_eq!(settling.observe(at(200), &listing(&[("a", 2, 0)])), []);
        assert_eq!(settling.next(), Some(at(500)));
        assert_eq!(settling.observe(at(499), &listing(&[("a", 2, 0)])), []);
        assert_eq!(settling.observe(at(500), &listing(&[("a", 2, 0)])), read("a"));
        assert_eq!(
            (settling.observe(at(900), &listing(&[("a", 2, 0)])), settling.next()),
            (vec![], None)
        );
        assert_eq!(settling.observe(at(1000), &listing(&[("a", 3, 0)])), []);
        assert_eq!(settling.observe(at(1300), &listing(&[("a", 3, 0)])), read("a"));
    }

    #[test]
    fn a_file_that_was_not_written_for_long_is_due_at_once() {
        let (mut settling, start) = (Settling::new(SETTLE), Instant::now());
        assert_eq!(
            settling.observe(start + SETTLE, &listing(&[("a", 1, 5_000), ("b", 1, 299)])),
            read("a")
        );
    }

    #[test]
    fn delete_and_create_is_one_change_and_a_lasting_absence_the_end() {
        let (mut settling, start) = (Settling::new(SETTLE), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        assert_eq!(settling.observe(at(1000), &listing(&[("a", 1, 1000)])), read("a"));
        assert_eq!(settling.observe(at(1100), &listing(&[])), []);
        assert_eq!(settling.observe(at(1200), &listing(&[("a", 2, 0)])), []);
        assert_eq!(settling.observe(at(1500), &listing(&[("a", 2, 0)])), read("a"));
        assert_eq!(settling.observe(at(2000), &listing(&[])), []);
        assert_eq!(settling.next(), Some(at(2300)));
        assert_eq!(settling.observe(at(2300), &listing(&[])), vec![Due::Gone("a".into())]);
        assert_eq!(
            (settling.observe(at(9000), &listing(&[])), settling.next()),
            (vec![], None)
        );
    }

    #[test]
    fn a_reload_makes_everything_due_again() {
        let (mut settling, start) = (Settling::new(SETTLE), Instant::now());
        let files = listing(&[("a", 1, 1000)]);
        assert_eq!(settling.observe(start + SETTLE, &files), read("a"));
        settling.forget_handled();
        assert_eq!(settling.observe(start + SETTLE, &files), read("a"));
    }
}
