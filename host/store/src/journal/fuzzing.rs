//! Blocks with a checksum that fits and content from a stranger, for the fuzz targets. Never part of reading or writing.

use donjon_core::{Seq, Timestamp};

use super::block::{BlockHeader, HEADER_BYTES, OpenBlock};

/// A block. The first bytes of `data` say what its header says, the rest is a whole file's worth of header, or what is
/// compressed inside. Whatever opens gives entries that are inside the block, or an error.
///
/// # Panics
/// When an entry is found where the block says there is none: that is what is looked for.
pub fn journal_block(data: &[u8]) {
    let Some((&[entries, shape], rest)) = data.split_first_chunk::<2>() else {
        return;
    };
    if shape % 4 == 0 {
        // The header itself, from the stranger.
        let _ = BlockHeader::from_bytes(rest.get(..HEADER_BYTES).unwrap_or(rest), 32);
        return;
    }
    let body = match shape % 4 {
        1 => rest.to_vec(),
        _ => zstd::bulk::compress(rest, 1).unwrap_or_default(),
    };
    let (Ok(raw_len), Ok(body_len)) = (u32::try_from(rest.len()), u32::try_from(body.len())) else {
        return;
    };
    let header = BlockHeader {
        entry_version: 1,
        unsynced_before: 0,
        entries: u32::from(entries),
        first_seq: Seq(7),
        first_accepted: Timestamp(1),
        last_accepted: Timestamp(1),
        raw_len,
        body_len,
        body_crc: crc32fast::hash(&body),
    };
    let Some(block) = OpenBlock::open(&header, &body) else {
        return;
    };
    let mut tenant = None;
    for seq in 7..block.end_seq().0 {
        if let Ok(Some(entry)) = block.entry(Seq(seq), tenant.as_ref()) {
            assert_eq!(entry.seq, Seq(seq));
            tenant = Some(entry.tenant);
        }
    }
    assert!(matches!(block.entry(block.end_seq(), None), Ok(None)));
    assert!(matches!(block.entry(Seq(6), None), Ok(None)));
}
