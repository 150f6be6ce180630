//! The few file operations that the journal writes with, behind a trait: so that a test can fail each of them at each
//! call and look at what is left. Reading goes past it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// An open segment file; writes go to its end.
pub trait SegmentFile: Send {
    /// Appends all of `bytes`. After an error any part of them may be in the file.
    ///
    /// # Errors
    /// Of the file system.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()>;

    /// Cuts the file to `len` bytes.
    ///
    /// # Errors
    /// Of the file system.
    fn truncate(&mut self, len: u64) -> io::Result<()>;

    /// Returns once the content is on stable storage.
    ///
    /// # Errors
    /// Of the file system. What is on the disk is unknown from then on.
    fn sync_data(&mut self) -> io::Result<()>;
}

/// A directory of segment files.
pub trait Files: Send {
    /// Creates a file that must not exist.
    ///
    /// # Errors
    /// Of the file system.
    fn create(&mut self, path: &Path) -> io::Result<Box<dyn SegmentFile>>;

    /// Opens a file that exists, to append to it.
    ///
    /// # Errors
    /// Of the file system.
    fn open(&mut self, path: &Path) -> io::Result<Box<dyn SegmentFile>>;

    /// Removes a file.
    ///
    /// # Errors
    /// Of the file system.
    fn remove(&mut self, path: &Path) -> io::Result<()>;

    /// Makes creations and removals in a directory durable.
    ///
    /// # Errors
    /// Of the file system.
    fn sync_dir(&mut self, dir: &Path) -> io::Result<()>;
}

/// The real ones.
#[derive(Debug, Default)]
pub struct DiskFiles;

struct DiskFile(File);

impl SegmentFile for DiskFile {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&mut self) -> io::Result<()> {
        self.0.sync_data()
    }
}

impl Files for DiskFiles {
    fn create(&mut self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        Ok(Box::new(DiskFile(file)))
    }

    fn open(&mut self, path: &Path) -> io::Result<Box<dyn SegmentFile>> {
        Ok(Box::new(DiskFile(OpenOptions::new().append(true).open(path)?)))
    }

    fn remove(&mut self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        crate::data_dir::sync_dir(dir)
    }
}
