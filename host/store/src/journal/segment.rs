//! Segment files: names and headers. The name alone says day and first position, so that opening needs no look into
//! older files.

use std::path::{Path, PathBuf};

use donjon_core::Seq;

use super::block::{u32_at, u64_at};
use crate::day::Day;

pub(super) const MAGIC: [u8; 8] = *b"DJNLSEG\n";
/// The version of segments and blocks that is written.
pub(super) const VERSION: u32 = 1;
pub(super) const HEADER_BYTES: usize = 32;
pub(super) const HEADER_LEN: u64 = HEADER_BYTES as u64;

/// What is known of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// The day on which its entries were accepted; of those that a clock was wrong for, which said a later day than
    /// entries after them have, the earliest day after them (retention would keep them for years otherwise).
    pub day: Day,
    /// The position of its first entry.
    pub first_seq: Seq,
    /// The position of its last entry; of an empty one, the position before the first.
    pub last_seq: Seq,
    /// Its size on disk.
    pub bytes: u64,
}

/// A segment and its file.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) info: SegmentInfo,
    pub(super) path: PathBuf,
}

/// The name of an empty file that says: everything up to `seq` was freed, its absence is no damage.
pub(super) fn freed_name(seq: Seq) -> String {
    format!("{:020}.freed", seq.0)
}

/// Up to where things were freed, from a file name.
pub(super) fn parse_freed_name(path: &Path) -> Option<Seq> {
    parse_mark(path, ".freed")
}

/// The name of an empty file that says: everything up to `seq` was synced, its absence is damage.
pub(super) fn synced_name(seq: Seq) -> String {
    format!("{:020}.synced", seq.0)
}

/// Up to where things were synced, from a file name.
pub(super) fn parse_synced_name(path: &Path) -> Option<Seq> {
    parse_mark(path, ".synced")
}

fn parse_mark(path: &Path, ending: &str) -> Option<Seq> {
    let seq = path.file_name()?.to_str()?.strip_suffix(ending)?;
    let digits = seq.len() == 20 && seq.bytes().all(|byte| byte.is_ascii_digit());
    Some(Seq(digits.then(|| seq.parse().ok())??))
}

pub(super) fn file_name(day: Day, first_seq: Seq) -> String {
    format!("{}-{:020}.journal", day.compact(), first_seq.0)
}

/// Day and first position of a file name; `None` for other files.
pub(super) fn parse_file_name(path: &Path) -> Option<(Day, Seq)> {
    let (day, seq) = path.file_name()?.to_str()?.strip_suffix(".journal")?.split_once('-')?;
    let digits = seq.len() == 20 && seq.bytes().all(|byte| byte.is_ascii_digit());
    Some((Day::parse_compact(day)?, Seq(digits.then(|| seq.parse().ok())??)))
}

/// `magic | version u32 | day u32 | first seq u64 | skipped u32 | crc32 u32`, big-endian. `skipped` positions right before
/// the first were given to no entry that is kept: a reader that finds more of them missing knows that something was lost.
pub(super) fn header(day: Day, first_seq: Seq, skipped: u64) -> [u8; HEADER_BYTES] {
    let mut bytes = [0u8; HEADER_BYTES];
    let fields = MAGIC
        .into_iter()
        .chain(VERSION.to_be_bytes())
        .chain(day.0.to_be_bytes())
        .chain(first_seq.0.to_be_bytes())
        .chain(u32::try_from(skipped).unwrap_or(SKIPPED_ALL).to_be_bytes());
    for (to, from) in bytes.iter_mut().zip(fields) {
        *to = from;
    }
    let crc = crc32fast::hash(bytes.get(..28).unwrap_or_default());
    for (to, from) in bytes.iter_mut().skip(28).zip(crc.to_be_bytes()) {
        *to = from;
    }
    bytes
}

/// More positions were left out than the field can say: all before the segment.
const SKIPPED_ALL: u32 = u32::MAX;

/// The number of positions left out before a segment, from the bytes of a good header.
pub(super) fn skipped_of(bytes: &[u8]) -> u64 {
    match u32_at(bytes, 24) {
        Some(SKIPPED_ALL) => u64::MAX,
        Some(skipped) => u64::from(skipped),
        None => 0,
    }
}

/// What the first bytes of a segment file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeaderCheck {
    /// A header that belongs to the name of the file.
    Good,
    /// Cut short, damaged, or of another file.
    Damaged,
    /// Intact, of another version.
    Version(u32),
}

pub(super) fn check_header(bytes: &[u8], day: Day, first_seq: Seq) -> HeaderCheck {
    let read = || {
        let crc = crc32fast::hash(bytes.get(..28)?);
        let intact = bytes.starts_with(&MAGIC) && u32_at(bytes, 28)? == crc;
        intact.then_some((u32_at(bytes, 8)?, Day(u32_at(bytes, 12)?), Seq(u64_at(bytes, 16)?)))
    };
    match read() {
        Some((version, ..)) if version != VERSION => HeaderCheck::Version(version),
        Some((_, found_day, found_seq)) if (found_day, found_seq) == (day, first_seq) => HeaderCheck::Good,
        _ => HeaderCheck::Damaged,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_and_headers_read_what_they_say() {
        let (day, seq) = (Day(20_000), Seq(42));
        let path = Path::new("/x").join(file_name(day, seq));
        assert_eq!(path.to_str(), Some("/x/20241004-00000000000000000042.journal"));
        assert_eq!(parse_file_name(&path), Some((day, seq)));
        for other in [
            "20241004-42.journal",
            "20241004-00000000000000000042.tmp",
            "LOCK",
            "20241399-00000000000000000042.journal",
        ] {
            assert_eq!(parse_file_name(Path::new(other)), None, "{other}");
        }
        let bytes = header(day, seq, 7);
        assert_eq!(skipped_of(&bytes), 7);
        assert_eq!(skipped_of(&header(day, seq, u64::MAX - 1)), u64::MAX);
        assert_eq!(check_header(&bytes, day, seq), HeaderCheck::Good);
        assert_eq!(check_header(&bytes, day, Seq(43)), HeaderCheck::Damaged);
        assert_eq!(check_header(&bytes[..31], day, seq), HeaderCheck::Damaged);
        for at in 0..HEADER_BYTES {
            let mut damaged = bytes;
            damaged[at] ^= 1;
            assert_eq!(check_header(&damaged, day, seq), HeaderCheck::Damaged, "byte {at}");
        }
    }
}
