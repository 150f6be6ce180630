//! The journal's side of the simulated disk: real files, and beside them how much of each a loss of power leaves.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::{Disk, Effect, Sabotage, SimulatedDisk};
use crate::journal::files::{DiskFiles, Files, SegmentFile};

/// A name that came or went and is not durable yet. Made durable, or lost, in their order.
pub(super) enum DirectoryChange {
    Created(PathBuf),
    Removed {
        path: PathBuf,
        /// Where its content waits, in case the removal is lost.
        kept: PathBuf,
        durable_bytes: u64,
    },
}

pub(super) struct SimulatedFiles(pub(super) SimulatedDisk);

struct SimulatedFile {
    file: Box<dyn SegmentFile>,
    path: PathBuf,
    disk: SimulatedDisk,
}

impl SimulatedFiles {
    fn file(&self, path: &Path, file: Box<dyn SegmentFile>) -> Box<dyn SegmentFile> {
        Box::new(SimulatedFile {
            file,
            path: path.to_owned(),
            disk: self.0.clone(),
        })
    }
}

impl Files for SimulatedFiles {
    fn create(&mut self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        let mut disk = self.0.lock();
        let verdict = disk.call();
        if verdict.effect == Effect::Whole {
            let file = DiskFiles.create(path)?;
            disk.durable_bytes.insert(path.to_owned(), 0);
            disk.directory.push(DirectoryChange::Created(path.to_owned()));
            return verdict.answer(self.file(path, file));
        }
        let error = verdict.error.unwrap_or_else(|| io::Error::other("simulated"));
        Err(error)
    }

    fn open(&mut self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        Ok(self.file(path, DiskFiles.open(path)?))
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        let mut disk = self.0.lock();
        let verdict = disk.call();
        if verdict.effect == Effect::Whole {
            let kept = path.with_extension(format!("removed-{}", disk.calls));
            fs::rename(path, &kept)?;
            let durable_bytes = disk.durable_bytes.remove(path).unwrap_or(0);
            let path = path.to_owned();
            disk.directory.push(DirectoryChange::Removed {
                path,
                kept,
                durable_bytes,
            });
        }
        verdict.answer(())
    }

    fn sync_dir(&mut self, _dir: &Path) -> io::Result<()> {
        let mut disk = self.0.lock();
        let verdict = disk.call();
        if verdict.effect == Effect::Whole {
            for change in std::mem::take(&mut disk.directory) {
                if let DirectoryChange::Removed { kept, .. } = change {
                    fs::remove_file(kept)?;
                }
            }
        }
        verdict.answer(())
    }
}

impl SegmentFile for SimulatedFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.disk.lock();
        let verdict = disk.call();
        let written = match verdict.effect {
            Effect::Whole => bytes.len(),
            Effect::Part => disk.draw.up_to(bytes.len()),
            Effect::None => 0,
        };
        let from = fs::metadata(&self.path)?.len();
        self.file.append(bytes.get(..written).unwrap_or_default())?;
        disk.unsynced_writes
            .entry(self.path.clone())
            .or_default()
            .push(from..from + written as u64);
        verdict.answer(())
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        let mut disk = self.disk.lock();
        let verdict = disk.call();
        if verdict.effect == Effect::Whole {
            self.file.truncate(len)?;
            if let Some(writes) = disk.unsynced_writes.get_mut(&self.path) {
                writes.iter_mut().for_each(|write| write.end = len.min(write.end));
                writes.retain(|write| !write.is_empty());
            }
            if let Some(durable) = disk.durable_bytes.get_mut(&self.path) {
                *durable = len.min(*durable);
            }
        }
        verdict.answer(())
    }

    fn sync_data(&mut self) -> io::Result<()> {
        let mut disk = self.disk.lock();
        let verdict = disk.call();
        if verdict.effect == Effect::Whole && !disk.sabotaged(Sabotage::FsyncLeftOut) {
            let len = fs::metadata(&self.path)?.len();
            disk.durable_bytes.insert(self.path.clone(), len);
            disk.unsynced_writes.remove(&self.path);
        }
        verdict.answer(())
    }
}

impl Disk {
    /// What a loss of power leaves of the files.
    pub(super) fn end_files(&mut self) -> io::Result<()> {
        let changes = std::mem::take(&mut self.directory);
        let survive = self.draw.up_to(changes.len());
        for (at, change) in changes.into_iter().enumerate().rev() {
            match change {
                DirectoryChange::Created(path) if at >= survive => {
                    // It may be gone already: removed, and the removal undone just before.
                    let _ = fs::remove_file(&path);
                    self.durable_bytes.remove(&path);
                }
                DirectoryChange::Removed {
                    path,
                    kept,
                    durable_bytes,
                } if at >= survive => {
                    fs::rename(&kept, &path)?;
                    self.durable_bytes.insert(path, durable_bytes);
                }
                DirectoryChange::Removed { kept, .. } => fs::remove_file(kept)?,
                DirectoryChange::Created(_) => {}
            }
        }
        let files: Vec<(PathBuf, u64)> = self.durable_bytes.iter().map(|(p, n)| (p.clone(), *n)).collect();
        for (path, durable) in files {
            if path.exists() {
                self.tear(&path, durable)?;
            } else {
                self.durable_bytes.remove(&path);
            }
        }
        Ok(())
    }

    /// Of the bytes that were not synced a part is there: the first ones, and some of those may be what was on the disk
    /// before; or of each write whatever the device took first.
    fn tear(&mut self, path: &Path, durable: u64) -> io::Result<()> {
        let writes = self.unsynced_writes.remove(path).unwrap_or_default();
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let len = file.metadata()?.len();
        if len <= durable {
            return Ok(());
        }
        // The device may know the length of the file before its content.
        let kept = match self.draw.below(2) {
            0 => len,
            _ => durable + self.draw.below(len - durable + 1),
        };
        file.set_len(kept)?;
        match self.draw.below(4) {
            _ if kept == durable => {}
            0 => {}
            1 => self.garble(&file, durable..kept)?,
            _ => {
                let mut bad = false;
                for write in writes {
                    let write = write.start.max(durable)..write.end.min(kept);
                    if write.is_empty() {
                        continue;
                    }
                    if self.draw.below(2) == 0 {
                        self.garble(&file, write)?;
                        bad = true;
                    } else {
                        // A later write is there, an earlier one is not.
                        self.reordered += u64::from(bad);
                    }
                }
            }
        }
        // What is there now is what is on the disk.
        self.durable_bytes.insert(path.to_owned(), kept);
        Ok(())
    }

    /// From some place on, often the first one, the bytes are others: zeros, as of a block that was not written, or
    /// anything.
    fn garble(&mut self, file: &File, range: Range<u64>) -> io::Result<()> {
        let whole = self.draw.below(2) == 0;
        let at = if whole {
            range.start
        } else {
            range.start + self.draw.below(range.end - range.start)
        };
        let zeros = self.draw.below(2) == 0;
        let bytes: Vec<u8> = (at..range.end)
            .map(|_| {
                if zeros {
                    0
                } else {
                    u8::try_from(self.draw.below(256)).unwrap_or(0)
                }
            })
            .collect();
        file.write_all_at(&bytes, at)
    }
}
