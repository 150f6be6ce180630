//! Every cap of the store in one place (invariant I7). All lengths that come from a disk are held against one of these
//! before memory is reserved for them.

/// Largest encoded journal entry, in bytes, before compression. Ingest refuses far smaller documents; this is the
/// last guard.
pub const MAX_ENTRY_BYTES: usize = 8 * 1024 * 1024;
/// Largest uncompressed block, in bytes: the largest block option plus one entry.
pub const MAX_BLOCK_RAW_BYTES: usize = 16 * 1024 * 1024;
/// Largest compressed block, in bytes: zstd may grow what it cannot compress by less than 1 %.
pub const MAX_BLOCK_BODY_BYTES: usize = MAX_BLOCK_RAW_BYTES + MAX_BLOCK_RAW_BYTES / 128;
/// Most entries in a block.
pub const MAX_BLOCK_ENTRIES: usize = 65_536;
/// Largest value of the option `block_raw_bytes`.
pub const MAX_BLOCK_RAW_OPTION: usize = 4 * 1024 * 1024;
/// Decompressed blocks kept for readers, in bytes.
pub const BLOCK_CACHE_BYTES: usize = 32 * 1024 * 1024;
/// Block indexes of sealed segments kept for readers; one of a full segment takes about 150 KB.
pub const CACHED_SEGMENT_INDEXES: usize = 256;
/// Most damaged places of the journal that are listed; further ones are only counted.
pub const MAX_DAMAGE_LISTED: usize = 1000;
/// Largest encoded record of the state, in bytes, envelope excluded.
pub const MAX_RECORD_BYTES: usize = 16 * 1024 * 1024;
/// Longest text that is a part of a key as it is, in bytes; a longer one is represented by its digest.
pub const MAX_KEY_TEXT_BYTES: usize = 192;
/// Longest encoded group key inside a key, in bytes; a longer one is represented by its digest.
pub const MAX_KEY_GROUP_BYTES: usize = 512;
/// Longest key of a plugin's own data, in bytes. The host refuses longer ones when the plugin asks; a commit with one
/// is refused whole.
pub const MAX_PLUGIN_KEY_BYTES: usize = 512;
/// Dead letters kept for a tenant; above that the oldest are forgotten.
pub const MAX_DEAD_LETTERS: usize = 100_000;
/// Pairs that a scan takes from the store at a time; between two pieces no lock is held.
pub const SCAN_PIECE: usize = 256;

/// Longest key of the state, in bytes; see the assertions below.
pub const MAX_KEY_BYTES: usize = 1024;
/// Checkpoints kept: should the newest be damaged, the one before reads.
pub const CHECKPOINTS_KEPT: usize = 2;
/// Old values kept in memory while a checkpoint is being made, in bytes; it is given up above that.
pub const MAX_CAPTURED_BYTES: usize = 256 * 1024 * 1024;
/// What an old value takes in memory beside its bytes.
pub const CAPTURED_ENTRY_BYTES: usize = 100;
/// Pairs of a checkpoint that are restored in one commit.
pub const RESTORE_PAIRS_PER_COMMIT: u64 = 1024;

// A block holds at most what fitted before the last entry, and that entry.
const _: () = assert!(MAX_BLOCK_RAW_OPTION + MAX_ENTRY_BYTES + 4 <= MAX_BLOCK_RAW_BYTES);
// Lengths are stored in 32 bits.
const _: () = assert!(MAX_BLOCK_BODY_BYTES < u32::MAX as usize);
const _: () = assert!(MAX_RECORD_BYTES < u32::MAX as usize);
// The longest keys: kind, tenant, rule and group; kind, plugin and the plugin's key.
const _: () = assert!(1 + 2 * (2 + MAX_KEY_TEXT_BYTES) + 2 + MAX_KEY_GROUP_BYTES < MAX_KEY_BYTES);
const _: () = assert!(1 + 2 + MAX_KEY_TEXT_BYTES + MAX_PLUGIN_KEY_BYTES < MAX_KEY_BYTES);
