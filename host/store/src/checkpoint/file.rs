//! The bytes of one checkpoint: a header with a checksum, then one zstd frame, which has a checksum of its own, of all
//! pairs. A file counts only under its final name, which it gets once it is durable. Knows nothing of records.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use donjon_core::Seq;

use super::CheckpointError;
use crate::data_dir::sync_dir;
use crate::limits::{MAX_KEY_BYTES, MAX_RECORD_BYTES};
use crate::record::ENVELOPE_BYTES;
use crate::state::kv::Pair;

const MAGIC: [u8; 8] = *b"DJNCKPT\n";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 24;
/// The fastest level that still finds what records have in common.
const LEVEL: i32 = 1;
const MAX_VALUE_BYTES: usize = MAX_RECORD_BYTES + ENVELOPE_BYTES;

/// A file that is being written, under a name that does not count yet.
pub(super) struct Writing {
    frame: zstd::Encoder<'static, BufWriter<File>>,
    pairs: u64,
}

impl Writing {
    pub(super) fn create(part: &Path, applied: Seq) -> io::Result<Writing> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(part)?;
        let mut file = BufWriter::new(file);
        file.write_all(&header(applied))?;
        let mut frame = zstd::Encoder::new(file, LEVEL)?;
        frame.include_checksum(true)?;
        Ok(Writing { frame, pairs: 0 })
    }

    pub(super) fn put(&mut self, pairs: &[Pair]) -> io::Result<()> {
        for (key, value) in pairs {
            self.lengths(key.len(), value.len())?;
            self.frame.write_all(key)?;
            self.frame.write_all(value)?;
        }
        self.pairs += pairs.len() as u64;
        Ok(())
    }

    fn lengths(&mut self, key: usize, value: usize) -> io::Result<()> {
        for length in [key, value] {
            let length = u32::try_from(length).map_err(io::Error::other)?;
            self.frame.write_all(&length.to_be_bytes())?;
        }
        Ok(())
    }

    /// Makes the file durable. It does not count yet.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.lengths(0, 0)?;
        let pairs = self.pairs.to_be_bytes();
        self.frame.write_all(&pairs)?;
        let file = self
            .frame
            .finish()?
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        file.sync_all()
    }
}

/// Gives a durable file the name under which it counts.
pub(super) fn publish(part: &Path, path: &Path) -> io::Result<()> {
    fs::rename(part, path)?;
    path.parent().map_or(Ok(()), sync_dir)
}

fn header(applied: Seq) -> [u8; HEADER_BYTES] {
    let mut bytes = [0u8; HEADER_BYTES];
    let fields = MAGIC
        .into_iter()
        .chain(VERSION.to_be_bytes())
        .chain(applied.0.to_be_bytes());
    for (to, from) in bytes.iter_mut().zip(fields) {
        *to = from;
    }
    let crc = crc32fast::hash(bytes.get(..20).unwrap_or_default());
    for (to, from) in bytes.iter_mut().skip(20).zip(crc.to_be_bytes()) {
        *to = from;
    }
    bytes
}

/// Why reading ended early.
pub(super) enum ReadError {
    /// The file cannot be read.
    Io(io::Error),
    /// It is not what was written.
    Damaged(String),
    /// Whoever takes the pairs said so.
    Taker(CheckpointError),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{InvalidData, Other, UnexpectedEof};
        match error.kind() {
            // zstd reports what it does not understand as `Other`.
            InvalidData | Other | UnexpectedEof => ReadError::Damaged(error.to_string()),
            _ => ReadError::Io(error),
        }
    }
}

/// Hands out all pairs of a file in order, and fails where it is not what was written. Nothing is known to be whole
/// before the end: read a file once in full before anything is done with its pairs.
pub(super) fn read(
    path: &Path,
    applied: Seq,
    mut take: impl FnMut(Vec<u8>, Vec<u8>) -> Result<(), CheckpointError>,
) -> Result<(), ReadError> {
    let mut file = BufReader::new(File::open(path)?);
    let mut found = [0u8; HEADER_BYTES];
    file.read_exact(&mut found)?;
    if found != header(applied) {
        return Err(damaged("header"));
    }
    let mut frame = zstd::Decoder::with_buffer(file)?.single_frame();
    let mut pairs = 0u64;
    loop {
        let (key, value) = (length(&mut frame)?, length(&mut frame)?);
        if key == 0 {
            break;
        }
        if key > MAX_KEY_BYTES || value > MAX_VALUE_BYTES {
            return Err(damaged("length"));
        }
        let (mut key, mut value) = (vec![0; key], vec![0; value]);
        frame.read_exact(&mut key)?;
        frame.read_exact(&mut value)?;
        take(key, value).map_err(ReadError::Taker)?;
        pairs += 1;
    }
    let mut count = [0u8; 8];
    frame.read_exact(&mut count)?;
    // The checksum of the frame is looked at where its end is.
    let end = io::copy(&mut frame, &mut io::sink())?;
    let behind = io::copy(&mut frame.finish(), &mut io::sink())?;
    if u64::from_be_bytes(count) != pairs || end > 0 || behind > 0 {
        return Err(damaged("end"));
    }
    Ok(())
}

fn length(frame: &mut impl Read) -> io::Result<usize> {
    let mut bytes = [0u8; 4];
    frame.read_exact(&mut bytes)?;
    usize::try_from(u32::from_be_bytes(bytes)).map_err(io::Error::other)
}

fn damaged(what: &str) -> ReadError {
    ReadError::Damaged(format!("wrong {what}"))
}
