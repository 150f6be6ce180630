//! A disk for simulations, behind the two doors of the real one: `Files` for the journal, `Kv` for derived state. Every
//! call can fail, or be the one at which the process dies; when the power goes, what was not synced may be gone.
//!
//! Compiled with the feature `simulation` only, which nothing that is shipped asks for. It must not know what is written,
//! but for the deliberate bugs of [`Sabotage`], which prove that a simulation over this disk can fail.
//!
//! The journal reads past its `Files`, so the bytes lie in real files (best on a tmpfs) and what is durable is kept
//! beside them. Writes of one file that were not synced reach the disk in any order, and any of them may be missing. Not
//! modelled: reads that fail, a disk that forgets what it synced, a truncation that is forgotten, a page cache that forgets pages after a failed `fsync` (the journal is poisoned by one; the
//! simulation opens it anew as it was).

mod files;
mod pairs;

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use donjon_core::Seq;

use crate::journal::files::Files;
use crate::state::kv::KvBatch;
use files::DirectoryChange;
pub use pairs::describe;

/// How a call goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No room; a write leaves a part of its bytes.
    Full,
    /// The device reports an error; a write leaves a part of its bytes.
    Broken,
    /// The process dies before the call did anything, or in the middle of it.
    DeathMidway,
    /// The process dies after the call did its work and before it could say so.
    DeathAfter,
}

/// How the process, or the machine, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The process: what it gave to the operating system is there.
    Process,
    /// The machine: of what was not synced some part is there, perhaps garbled.
    Power,
}

/// A deliberate bug below the code under test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// Some calls of `fdatasync` are left out.
    FsyncLeftOut,
    /// The cursor is committed one entry too far wherever there is a next entry.
    CursorTooFar,
    /// Some outbox records are not committed.
    OutboxRecordLost,
}

/// The disk; clones are handles to the same one.
#[derive(Clone)]
pub struct SimulatedDisk(Arc<Mutex<Disk>>);

struct Disk {
    draw: Draw,
    /// Calls that could have failed so far.
    calls: u64,
    /// Calls that did go wrong.
    faults: u64,
    /// What is to go wrong, and at which call.
    plan: Option<(u64, Fault)>,
    /// The process is dead: nothing has any effect until `restart`.
    dead: bool,
    sabotage: Option<Sabotage>,
    /// How much of each file is durable, in bytes.
    durable_bytes: BTreeMap<PathBuf, u64>,
    /// Where writes since the last sync of each file went.
    unsynced_writes: BTreeMap<PathBuf, Vec<Range<u64>>>,
    /// Writes that a loss of power left behind one that it took.
    reordered: u64,
    /// Names that came and went since the last sync of the directory, oldest first.
    directory: Vec<DirectoryChange>,
    /// Committed pairs, those that were flushed, and the commits between the two.
    pairs: BTreeMap<Vec<u8>, Vec<u8>>,
    flushed: BTreeMap<Vec<u8>, Vec<u8>>,
    unflushed: Vec<KvBatch>,
    /// The newest entry of the journal, for `Sabotage::CursorTooFar`.
    newest: Seq,
}

/// What a call may do, and what it answers.
struct Verdict {
    effect: Effect,
    error: Option<io::Error>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    Whole,
    /// A write leaves a part of its bytes; what is atomic does nothing.
    Part,
    None,
}

impl Verdict {
    /// The answer of a call that did what it could.
    fn answer<T>(self, done: T) -> io::Result<T> {
        match self.error {
            None => Ok(done),
            Some(error) => Err(error),
        }
    }
}

/// splitmix64: the same seed gives the same disk anywhere.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// A number up to `end`, `end` included.
    fn up_to(&mut self, end: usize) -> usize {
        usize::try_from(self.below((end as u64).saturating_add(1))).unwrap_or(end)
    }
}

impl SimulatedDisk {
    /// An empty disk whose accidents follow from a seed.
    #[must_use]
    pub fn new(seed: u64, sabotage: Option<Sabotage>) -> SimulatedDisk {
        SimulatedDisk(Arc::new(Mutex::new(Disk {
            draw: Draw(seed),
            calls: 0,
            faults: 0,
            plan: None,
            dead: false,
            sabotage,
            durable_bytes: BTreeMap::new(),
            unsynced_writes: BTreeMap::new(),
            reordered: 0,
            directory: Vec::new(),
            pairs: BTreeMap::new(),
            flushed: BTreeMap::new(),
            unflushed: Vec::new(),
            newest: Seq(0),
        })))
    }

    /// The file operations of a journal on this disk.
    #[must_use]
    pub fn files(&self) -> Box<dyn Files> {
        Box::new(files::SimulatedFiles(self.clone()))
    }

    /// Lets the call after the next `calls` go wrong. A plan that was not met yet is forgotten.
    pub fn plan(&self, calls: u64, fault: Fault) {
        let mut disk = self.lock();
        disk.plan = Some((disk.calls.saturating_add(calls).saturating_add(1), fault));
    }

    /// Nothing is to go wrong any more.
    pub fn heal(&self) {
        self.lock().plan = None;
    }

    /// Whether the process died in a call; nothing that it said since was heard.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        self.lock().dead
    }

    /// Calls that could have failed so far.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.lock().calls
    }

    /// Calls that went wrong so far.
    #[must_use]
    pub fn faults(&self) -> u64 {
        self.lock().faults
    }

    /// Writes that a loss of power left behind one that it took, so far.
    #[must_use]
    pub fn reordered(&self) -> u64 {
        self.lock().reordered
    }

    /// Tells the newest position that was accepted.
    pub fn set_newest(&self, newest: Seq) {
        self.lock().newest = newest;
    }

    /// Ends the process or the machine, and begins the next life. All journals and states on this disk must be gone.
    ///
    /// # Errors
    /// Of the real file system below.
    pub fn restart(&self, ending: Ending) -> io::Result<()> {
        let mut disk = self.lock();
        disk.plan = None;
        disk.dead = false;
        disk.end_pairs(ending);
        match ending {
            Ending::Process => Ok(()),
            Ending::Power => disk.end_files(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Disk {
    /// Counts a call and tells what becomes of it.
    fn call(&mut self) -> Verdict {
        let nothing = |kind, why: &str| Verdict {
            effect: Effect::None,
            error: Some(io::Error::new(kind, why.to_owned())),
        };
        if self.dead {
            return nothing(io::ErrorKind::Other, "simulated: the process is dead");
        }
        self.calls = self.calls.saturating_add(1);
        let fault = match self.plan {
            Some((at, fault)) if self.calls >= at => fault,
            _ => {
                return Verdict {
                    effect: Effect::Whole,
                    error: None,
                };
            }
        };
        self.plan = None;
        self.faults = self.faults.saturating_add(1);
        self.dead = matches!(fault, Fault::DeathMidway | Fault::DeathAfter);
        let effect = match fault {
            Fault::DeathAfter => Effect::Whole,
            Fault::Full | Fault::Broken | Fault::DeathMidway => Effect::Part,
        };
        let kind = match fault {
            Fault::Full => io::ErrorKind::StorageFull,
            _ => io::ErrorKind::Other,
        };
        let error = Some(io::Error::new(kind, format!("simulated: {fault:?}")));
        Verdict { effect, error }
    }

    /// Whether a deliberate bug shows this time.
    fn sabotaged(&mut self, by: Sabotage) -> bool {
        self.sabotage == Some(by) && self.draw.below(3) == 0
    }
}
