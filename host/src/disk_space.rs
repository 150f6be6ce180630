//! What the file system of the data directory still holds, and who may use it: alerts leave the reserve alone, what was
//! accepted is applied out of it, and below the floor nothing is written at all, so that neither the journal nor sled
//! ever meets a full disk. Knows nothing of what is written.

use std::path::PathBuf;

/// The floor is this part of the reserve.
const FLOOR_DIVISOR: u64 = 4;

/// Watches one file system. Asking costs about a microsecond, so every group and every batch asks.
#[derive(Clone, Debug)]
pub struct DiskSpace {
    dir: PathBuf,
    min_free_bytes: u64,
}

/// What may be written now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Room {
    /// Everything.
    Enough,
    /// What was accepted, and what people ask for; no new alerts.
    Reserve(Shortage),
    /// Nothing.
    None(Shortage),
}

/// How little there is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{free} bytes are free, storage.min_free_bytes is {wanted}: {}", dir.display())]
pub struct Shortage {
    free: u64,
    wanted: u64,
    dir: PathBuf,
}

impl DiskSpace {
    /// Watches the file system of a directory that exists.
    pub fn new(dir: PathBuf, min_free_bytes: u64) -> DiskSpace {
        DiskSpace { dir, min_free_bytes }
    }

    /// What may be written if `planned_bytes` more are to fit above the reserve. A file system that does not say how
    /// much is free is taken for roomy: the write itself will tell.
    pub fn room(&self, planned_bytes: u64) -> Room {
        match fs4::available_space(&self.dir) {
            Ok(free) => self.judge(free, planned_bytes),
            Err(_) => Room::Enough,
        }
    }

    fn judge(&self, free: u64, planned_bytes: u64) -> Room {
        let wanted = self.min_free_bytes;
        let shortage = || Shortage {
            free,
            wanted,
            dir: self.dir.clone(),
        };
        if free < wanted / FLOOR_DIVISOR {
            Room::None(shortage())
        } else if free < wanted.saturating_add(planned_bytes) {
            Room::Reserve(shortage())
        } else {
            Room::Enough
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alerts_leave_the_reserve_alone() {
        let space = DiskSpace::new(PathBuf::from("/data"), 1000);
        let check = |free, planned, expected: &str| {
            let found = match space.judge(free, planned) {
                Room::Enough => "enough",
                Room::Reserve(_) => "reserve",
                Room::None(_) => "none",
            };
            assert_eq!(found, expected, "free {free}, planned {planned}");
        };
        check(5000, 4000, "enough");
        check(5000, 4001, "reserve");
        check(1000, 0, "enough");
        check(999, 0, "reserve");
        check(250, 0, "reserve");
        check(249, 0, "none");
        check(0, u64::MAX, "none");
    }

    #[test]
    fn no_reserve_never_holds_anything() {
        let space = DiskSpace::new(PathBuf::from("/data"), 0);
        assert_eq!(space.judge(0, 0), Room::Enough);
    }
}
