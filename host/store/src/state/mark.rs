//! How far derived state was when it was last flushed, in a file of its own beside sled's.
//!
//! sled answers some damage by silently opening as it was earlier, or empty. The mark makes that visible: it is written
//! after each flush, so a state that opens behind it has lost what was durable.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use donjon_core::Seq;

const FILE: &str = "FLUSHED";
/// The position, big-endian, and its CRC-32.
const BYTES: usize = 12;

pub(super) struct Mark {
    file: File,
}

impl Mark {
    /// Opens the mark in a directory and reads it; `None` if there is none or it does not read. It only ever says too
    /// little: it is not synced itself.
    pub(super) fn open(dir: &Path) -> io::Result<(Mark, Option<Seq>)> {
        let path = dir.join(FILE);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path)?;
        let mut bytes = [0u8; BYTES];
        let read = file.read_exact_at(&mut bytes, 0).is_ok();
        let [s0, s1, s2, s3, s4, s5, s6, s7, c0, c1, c2, c3] = bytes;
        let seq = [s0, s1, s2, s3, s4, s5, s6, s7];
        let good = read && crc32fast::hash(&seq) == u32::from_be_bytes([c0, c1, c2, c3]);
        Ok((Mark { file }, good.then_some(Seq(u64::from_be_bytes(seq)))))
    }

    /// Everything up to `applied` is durable.
    pub(super) fn write(&self, applied: Seq) -> io::Result<()> {
        let seq = applied.0.to_be_bytes();
        let mut bytes = [0u8; BYTES];
        for (to, from) in bytes
            .iter_mut()
            .zip(seq.into_iter().chain(crc32fast::hash(&seq).to_be_bytes()))
        {
            *to = from;
        }
        self.file.write_all_at(&bytes, 0)
    }
}
