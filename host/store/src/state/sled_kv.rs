//! sled 0.34.7, held at arm's length.
//!
//! Four things about it shape this file. It panics where it should return errors, so every call runs behind
//! `catch_unwind` (a panic is an error, and the caller refuses writes from then on). On Linux its `flush` issues
//! `sync_file_range`, which neither writes metadata nor empties the drive's cache, so an own `fdatasync` of its file
//! follows. Its I/O threads can deadlock when many writes are under way, so each commit waits for its own. And a
//! leftover `snap.*.generating` of an interrupted snapshot keeps it from opening, so those are removed first: they are
//! never the truth. Values stay far below a segment of its log, so it makes no separate blob files.

use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::kv::{Kv, KvBatch, KvError, Order, Page, Pair};

/// The file that holds everything.
pub(super) const DB_FILE: &str = "db";

pub(super) struct SledKv {
    /// Taken out when dropped: the destructor of sled may panic too.
    db: Option<sled::Db>,
    db_file: File,
}

/// The lock of a data directory keeps other processes away, so a lock on sled's file is that of an instance of this
/// process whose threads have not ended yet: its destructor does not wait for them.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// sled did not open.
pub(super) enum OpenFailure {
    /// Its files are fine, as far as known: the file system is not (no permission, no room, in use).
    Environment(io::Error),
    /// Its files are not.
    Broken(String),
}

impl SledKv {
    pub(super) fn open(dir: &Path, cache_bytes: u64) -> Result<SledKv, OpenFailure> {
        remove_unfinished_snapshots(dir).map_err(OpenFailure::Environment)?;
        let config = sled::Config::new()
            .path(dir)
            .cache_capacity(cache_bytes)
            .mode(sled::Mode::HighThroughput)
            // The journal is the truth: commits are made durable in groups, by the caller.
            .flush_every_ms(None);
        let mut tries = 0;
        let opened = loop {
            let opened = catch_unwind(AssertUnwindSafe(|| config.open()));
            tries += 1;
            match &opened {
                Ok(Err(sled::Error::Io(error))) if is_held(error) && tries < LOCK_TRIES => thread::sleep(LOCK_PAUSE),
                _ => break opened,
            }
        };
        let db = match opened {
            Ok(Ok(db)) => db,
            Ok(Err(sled::Error::Io(error))) if is_environment(&error) => return Err(OpenFailure::Environment(error)),
            Ok(Err(error)) => return Err(OpenFailure::Broken(error.to_string())),
            Err(panic) => return Err(OpenFailure::Broken(panic_text(panic.as_ref()))),
        };
        let db_file = File::open(dir.join(DB_FILE)).map_err(OpenFailure::Environment)?;
        Ok(SledKv { db: Some(db), db_file })
    }

    /// Runs one call of sled.
    fn call<T>(&self, what: &str, call: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, KvError> {
        let Some(db) = &self.db else {
            return Err(KvError(format!("{what}: store is closed")));
        };
        match catch_unwind(AssertUnwindSafe(|| call(db))) {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(KvError(format!("{what}: {error}"))),
            Err(panic) => Err(KvError(format!(
                "{what}: sled panicked: {}",
                panic_text(panic.as_ref())
            ))),
        }
    }
}

impl Kv for SledKv {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        Ok(self.call("get", |db| db.get(key))?.map(|value| value.to_vec()))
    }

    fn page(&self, page: Page<'_>) -> Result<Vec<Pair>, KvError> {
        let Some(bounds) = page.bounds() else {
            return Ok(Vec::new());
        };
        self.call("scan", |db| {
            let range = db.range::<Vec<u8>, _>(bounds);
            let pair = |found: sled::Result<(sled::IVec, sled::IVec)>| {
                found.map(|(key, value)| (key.to_vec(), value.to_vec()))
            };
            match page.order {
                Order::Ascending => range.take(page.limit).map(pair).collect(),
                Order::Descending => range.rev().take(page.limit).map(pair).collect(),
            }
        })
    }

    fn apply(&self, batch: KvBatch) -> Result<(), KvError> {
        let mut writes = sled::Batch::default();
        for (key, value) in batch {
            match value {
                Some(value) => writes.insert(key, value),
                None => writes.remove(key),
            }
        }
        self.call("commit", |db| {
            db.apply_batch(writes)?;
            // Not for durability, but so that no write is under way when the next batch begins: sled deadlocks when all
            // its I/O threads (seven) wait for a lock whose owner waits for one of them. Observed after some ten
            // thousand commits without this line; it costs less than a tenth of a commit.
            db.flush()
        })?;
        Ok(())
    }

    fn flush(&self) -> Result<(), KvError> {
        self.call("flush", |db| db.flush())?;
        self.db_file
            .sync_data()
            .map_err(|error| KvError(format!("fdatasync: {error}")))
    }

    fn size_on_disk(&self) -> Result<u64, KvError> {
        self.call("size", |db| db.size_on_disk())
    }
}

impl Drop for SledKv {
    fn drop(&mut self) {
        let db = self.db.take();
        // Nothing can be done about a panic here, and nothing depends on it: what was not flushed is replayed.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(db)));
    }
}

fn is_environment(error: &io::Error) -> bool {
    use io::ErrorKind::{
        NotADirectory, NotFound, OutOfMemory, PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull,
        WouldBlock,
    };
    let kinds = [
        NotADirectory,
        NotFound,
        OutOfMemory,
        PermissionDenied,
        QuotaExceeded,
        ReadOnlyFilesystem,
        StorageFull,
        WouldBlock,
    ];
    kinds.contains(&error.kind()) || is_held(error)
}

/// sled reports a lock that is held as an error without a kind.
fn is_held(error: &io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

fn remove_unfinished_snapshots(dir: &Path) -> io::Result<()> {
    for item in fs::read_dir(dir)? {
        let path = item?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(&path)?;
        }
    }
    Ok(())
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}
