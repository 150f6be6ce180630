//! What the file system of the data directory still holds, and who may use it: alerts and checkpoints leave the reserve
//! alone, what was accepted is applied out of it, and below the floor nothing is begun, so that neither the journal nor
//! sled should meet a full disk. Knows nothing of what is written.

use std::path::PathBuf;

/// The floor is this part of the reserve.
const FLOOR_DIVISOR: u64 = 4;

/// Watches one file system. Asking costs about a microsecond, so every group and every batch asks.
#[derive(Clone, Debug)]
pub struct DiskSpace {
    dir: PathBuf,
    min_free_bytes: u64,
}

/// What has to stay free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// For what may be refused or put off: all of `storage.min_free_bytes`.
    Reserve,
    /// For what was accepted, what people ask for, and what makes room: a part of it.
    Floor,
}

/// There is not enough room.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{free} bytes are free, expected {wanted} (storage.min_free_bytes is {min_free_bytes}): {}",
    dir.display()
)]
pub struct Shortage {
    free: u64,
    wanted: u64,
    min_free_bytes: u64,
    dir: PathBuf,
}

impl DiskSpace {
    /// Watches the file system of a directory that exists.
    pub fn new(dir: PathBuf, min_free_bytes: u64) -> DiskSpace {
        DiskSpace { dir, min_free_bytes }
    }

    /// Whether `planned_bytes` more fit above a line. A file system that does not say how much is free is taken for
    /// roomy: the write itself will tell.
    ///
    /// # Errors
    /// They do not.
    pub fn fits(&self, line: Line, planned_bytes: u64) -> Result<(), Shortage> {
        match fs4::available_space(&self.dir) {
            Ok(free) => self.judge(free, line, planned_bytes),
            Err(_) => Ok(()),
        }
    }

    fn judge(&self, free: u64, line: Line, planned_bytes: u64) -> Result<(), Shortage> {
        let stays = match line {
            Line::Reserve => self.min_free_bytes,
            Line::Floor => self.min_free_bytes / FLOOR_DIVISOR,
        };
        let wanted = stays.saturating_add(planned_bytes);
        if free >= wanted {
            return Ok(());
        }
        Err(Shortage {
            free,
            wanted,
            min_free_bytes: self.min_free_bytes,
            dir: self.dir.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_leave_the_reserve_alone() {
        let check = |min_free, free, planned, expected: &str| {
            let space = DiskSpace::new(PathBuf::from("/data"), min_free);
            let fits = |line, planned| space.judge(free, line, planned).is_ok();
            let found = match (fits(Line::Reserve, planned), fits(Line::Floor, 0)) {
                (true, _) => "everything",
                (false, true) => "accepted",
                (false, false) => "nothing",
            };
            assert_eq!(found, expected, "reserve {min_free}, free {free}, planned {planned}");
        };
        check(1000, 5000, 4000, "everything");
        check(1000, 5000, 4001, "accepted");
        check(1000, 1000, 0, "everything");
        check(1000, 999, 0, "accepted");
        check(1000, 250, 0, "accepted");
        check(1000, 249, 0, "nothing");
        check(1000, 0, u64::MAX, "nothing");
        check(0, 0, 0, "everything");
    }
}
