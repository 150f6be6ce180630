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
/// Block indexes of sealed segments kept for readers, in bytes; one of a segment takes 100 KB to 6 MB.
pub const INDEX_CACHE_BYTES: usize = 32 * 1024 * 1024;
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
/// Values of plugins that are removed in one commit because they expired; more go in further ones right after it.
pub const MAX_PURGED_AT_ONCE: usize = 1000;
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
// The longest keys: kind, tenant, rule and group; kind, time, tenant, plugin and the plugin's key.
const _: () = assert!(1 + 2 * (2 + MAX_KEY_TEXT_BYTES) + 2 + MAX_KEY_GROUP_BYTES < MAX_KEY_BYTES);
const _: () = assert!(1 + 8 + 2 * (2 + MAX_KEY_TEXT_BYTES) + MAX_PLUGIN_KEY_BYTES < MAX_KEY_BYTES);
// What expires goes with two keys, the value's and that by its time: together no commit that sled has trouble with.
const _: () = assert!(MAX_PURGED_AT_ONCE * 2 * MAX_KEY_BYTES <= 3 * 1024 * 1024);

/// Sums over the caps of the domain: what each kind of record takes at most, in bytes. bincode takes at most nine bytes
/// for a length or a number.
pub mod records {
    use donjon_core::limits::{
        MAX_BRANCHES, MAX_COLUMN_NAME_BYTES, MAX_CONDITION_BYTES, MAX_ENRICHMENT_BYTES, MAX_ENRICHMENTS_PER_ALERT,
        MAX_ERROR_TEXT_BYTES, MAX_EXPLAINED_VALUES, MAX_EXPLANATION_BYTES, MAX_FINGERPRINT_CHARS, MAX_GROUP_PATHS,
        MAX_GROUP_VALUE_BYTES, MAX_INCIDENT_NAME_BYTES, MAX_INCIDENT_SOURCE_BYTES, MAX_INCIDENT_SOURCES,
        MAX_NAME_BYTES, MAX_NAME_PLACEHOLDERS, MAX_NAME_VALUE_BYTES, MAX_NAME_VALUES, MAX_OPEN_LINKS_PER_ALERT,
        MAX_OUTBOX_INCIDENTS, MAX_POLL_FINGERPRINTS, MAX_RULE_ID_BYTES, MAX_RULE_TEXT_BYTES, MAX_RULES_PER_COMMAND,
        MAX_STATED_RULE_ID_BYTES, RECENT_EVENTS,
    };

    /// Largest record that the caps of the domain allow. Far below what is refused, so that a cap may be raised by
    /// mistake, or a field be forgotten in the sums here, without harm.
    pub const CAPPED_RECORD_BYTES: usize = 1024 * 1024;

    const NUMBER: usize = 9;
    const fn text(bytes: usize) -> usize {
        bytes + NUMBER
    }
    /// All fields of a record that are numbers, flags or identifiers of fixed size.
    const FIXED: usize = 512;
    const NAME: usize = text(MAX_NAME_BYTES);
    const FINGERPRINT: usize = text(MAX_FINGERPRINT_CHARS * 4);
    const GROUP: usize = MAX_GROUP_PATHS * text(MAX_GROUP_VALUE_BYTES);
    const EVENT: usize = 1 + 6 * NUMBER;

    /// The state of an alert.
    pub const ALERT_STATE: usize = FIXED
        + 2 * NAME
        + FINGERPRINT
        + (RECENT_EVENTS + 1) * EVENT
        + MAX_ENRICHMENT_BYTES
        + MAX_ENRICHMENTS_PER_ALERT * (2 * NUMBER + 1)
        + text(MAX_ERROR_TEXT_BYTES)
        + MAX_OPEN_LINKS_PER_ALERT * 16;
    /// Older events of an alert.
    pub const HISTORY_CHUNK: usize = FIXED + NAME + FINGERPRINT + RECENT_EVENTS * EVENT;
    /// An incident.
    pub const INCIDENT: usize = FIXED
        + NAME
        + text(MAX_RULE_ID_BYTES)
        + 2 * text(MAX_RULE_TEXT_BYTES)
        + 2 * GROUP
        + text(MAX_INCIDENT_NAME_BYTES)
        + MAX_NAME_PLACEHOLDERS * (NUMBER + MAX_NAME_VALUES * (text(MAX_NAME_VALUE_BYTES) + NUMBER))
        + 2 * MAX_INCIDENT_SOURCES * text(MAX_INCIDENT_SOURCE_BYTES)
        + MAX_BRANCHES.div_ceil(64) * NUMBER
        + FINGERPRINT;
    /// A link between an alert and an incident.
    pub const LINK: usize = FIXED
        + FINGERPRINT
        + text(MAX_RULE_ID_BYTES)
        + 3 * NAME
        + MAX_CONDITION_BYTES
        + MAX_BRANCHES * 2 * NUMBER
        + GROUP
        + MAX_EXPLANATION_BYTES
        + MAX_EXPLAINED_VALUES * (2 * NUMBER + 1)
        + MAX_COLUMN_NAME_BYTES
        + MAX_NAME_PLACEHOLDERS * text(MAX_NAME_VALUE_BYTES);
    /// A version of a rule.
    pub const RULE: usize = FIXED
        + 3 * NAME
        + text(MAX_RULE_ID_BYTES)
        + 2 * MAX_CONDITION_BYTES
        + MAX_BRANCHES * NUMBER
        + (MAX_GROUP_PATHS + 9) * text(MAX_RULE_TEXT_BYTES);
    /// Counters of a rule.
    pub const RULE_STATS: usize = FIXED + text(MAX_ERROR_TEXT_BYTES) + NAME;
    /// What the outbox says of a window.
    pub const OUTBOX: usize =
        FIXED + NAME + MAX_OUTBOX_INCIDENTS * (16 + 1 + 3 * NUMBER) + MAX_POLL_FINGERPRINTS * (FINGERPRINT + NUMBER);
    /// A dead letter; what was sent is in the journal.
    pub const DEAD_LETTER: usize = FIXED + text(MAX_ERROR_TEXT_BYTES) + NAME;

    /// What became of a command, most of all of many rules.
    pub const REMEMBERED_COMMAND: usize =
        FIXED + text(MAX_ERROR_TEXT_BYTES) + MAX_RULES_PER_COMMAND * (text(MAX_STATED_RULE_ID_BYTES) + NUMBER + 1);

    const _: () = assert!(CAPPED_RECORD_BYTES * 16 <= super::MAX_RECORD_BYTES);
    const _: () = assert!(ALERT_STATE <= CAPPED_RECORD_BYTES);
    const _: () = assert!(HISTORY_CHUNK <= CAPPED_RECORD_BYTES);
    const _: () = assert!(INCIDENT <= CAPPED_RECORD_BYTES);
    const _: () = assert!(LINK <= CAPPED_RECORD_BYTES);
    const _: () = assert!(RULE <= CAPPED_RECORD_BYTES);
    const _: () = assert!(RULE_STATS <= CAPPED_RECORD_BYTES);
    const _: () = assert!(OUTBOX <= CAPPED_RECORD_BYTES);
    const _: () = assert!(DEAD_LETTER <= CAPPED_RECORD_BYTES);
    const _: () = assert!(REMEMBERED_COMMAND <= CAPPED_RECORD_BYTES);
}
