//! Every cap of the domain in one place (invariant I7). A limit is a cap; a *threshold* belongs to a rule.

/// Longest fingerprint, in characters; a longer supplied one is cut, as the reference does.
pub const MAX_FINGERPRINT_CHARS: usize = 255;
/// Longest rule name, prefix, template or grouping path, in bytes.
pub const MAX_RULE_TEXT_BYTES: usize = 4 * 1024;
/// Longest condition of a rule, in bytes; its branches are parts of it.
pub const MAX_CONDITION_BYTES: usize = 16 * 1024;
/// Most branches of a condition.
pub const MAX_BRANCHES: usize = 1024;
/// Longest window of a rule, in seconds: ten years.
pub const MAX_TIMEFRAME_SECONDS: u64 = 10 * 366 * 24 * 60 * 60;
/// Longest name of a tenant, a key, a provider, a plugin or its version, in bytes.
pub const MAX_NAME_BYTES: usize = 256;
/// Longest identifier that a person gives to a rule, in bytes.
pub const MAX_STATED_RULE_ID_BYTES: usize = 64;
/// Longest identifier of a rule or policy, in bytes.
pub const MAX_RULE_ID_BYTES: usize = 64 * 1024;
/// Most grouping paths of a rule.
pub const MAX_GROUP_PATHS: usize = 16;
/// Longest group key value, in bytes; a longer one is cut at a character border and ends with its digest.
pub const MAX_GROUP_VALUE_BYTES: usize = 512;
/// Longest name of an incident, in bytes; a longer one is cut at a character border.
pub const MAX_INCIDENT_NAME_BYTES: usize = 1024;
/// Longest source or service listed on an incident, in bytes.
pub const MAX_INCIDENT_SOURCE_BYTES: usize = 256;
/// Longest value kept in an explanation, in bytes.
pub const MAX_EXPLAINED_VALUE_BYTES: usize = 4 * 1024;
/// Most attributes kept in an explanation.
pub const MAX_EXPLAINED_VALUES: usize = 64;
/// All attributes of an explanation together, paths and values, in bytes.
pub const MAX_EXPLANATION_BYTES: usize = 16 * 1024;
/// Longest attribute path kept in an explanation, in bytes.
pub const MAX_COLUMN_NAME_BYTES: usize = 256;
/// Most keys of an attribute path: of a grouping, a placeholder, a change by a plugin.
pub const MAX_PATH_KEYS: usize = 16;
/// Deepest nesting of a value that a plugin may put into an alert, its path included. What a sender sends is parsed with
/// a limit of 128. Both keep whatever walks a value, its destructor included, far from the end of a stack.
pub const MAX_VALUE_DEPTH: usize = 64;
/// Most placeholders of a naming template; the ones beyond stay text.
pub const MAX_NAME_PLACEHOLDERS: usize = 16;
/// Most different values remembered for one placeholder of a naming template.
pub const MAX_NAME_VALUES: usize = 64;
/// Longest value of a placeholder, in bytes.
pub const MAX_NAME_VALUE_BYTES: usize = 512;
/// Most sources, and most services, listed on an incident.
pub const MAX_INCIDENT_SOURCES: usize = 256;
/// Most open incidents that one alert keeps up to date; the oldest is let go first.
pub const MAX_OPEN_LINKS_PER_ALERT: usize = 1024;
/// Most members of an incident that a command changes, or dead letters that it puts away, in one commit.
pub const MAX_CHANGES_PER_COMMIT: usize = 1000;
/// Most rules of one command: they change together, so in one commit.
pub const MAX_RULES_PER_COMMAND: usize = 1000;
/// How long a command that was given with a key is known again, by the times of the journal, in milliseconds.
pub const COMMANDS_REMEMBERED_MS: u64 = 24 * 60 * 60 * 1000;
/// Most commands of a tenant that are known again; of more within that time the oldest are forgotten.
pub const MAX_REMEMBERED_COMMANDS: u64 = 10_000;
/// Most commands that are forgotten with one that is remembered: old ones go slowly, so that a commit stays small.
pub const MAX_FORGOTTEN_AT_ONCE: u64 = 16;
/// Events remembered inside the state of an alert before they move to a history chunk. Fewer make the states smaller, which
/// every commit writes anew, but more chunks: with 16, sled wrote half as much again (45 against 70 MB for 200,000 alerts).
pub const RECENT_EVENTS: usize = 32;
/// Fingerprints named in one `poll-alerts` message; more means "reload everything".
pub const MAX_POLL_FINGERPRINTS: usize = 100;
/// Incidents named in one outbox record, and to a client at a time; more means "reload everything".
pub const MAX_OUTBOX_INCIDENTS: usize = 512;
/// Journal positions whose changes share an outbox record. Few, because a record is written again with each batch that
/// falls into it; many, because a storm writes one a window.
pub const OUTBOX_WINDOW_ENTRIES: u64 = 64;
/// Windows of the outbox that a tenant keeps, counted back from its newest: clients that were away longer reload.
pub const OUTBOX_KEPT_WINDOWS: u64 = 4096;
/// Most enrichments of one alert.
pub const MAX_ENRICHMENTS_PER_ALERT: usize = 128;
/// All enrichments of one alert together, paths and values, in bytes.
pub const MAX_ENRICHMENT_BYTES: usize = 64 * 1024;
/// Longest stored text of an error (rule, plugin), in bytes.
pub const MAX_ERROR_TEXT_BYTES: usize = 1024;
/// Most positions of the journal that one command judges again: it is one atomic step, and each alert may match 64 rules.
pub const MAX_REJUDGED_POSITIONS: u64 = 128;
/// Old versions of a rule that stay readable.
pub const MAX_RULE_VERSIONS: usize = 1000;

// A path that may be set may hold a value.
const _: () = assert!(MAX_PATH_KEYS < MAX_VALUE_DEPTH);
// A single value fits into an explanation.
const _: () = assert!(MAX_EXPLAINED_VALUE_BYTES + MAX_COLUMN_NAME_BYTES <= MAX_EXPLANATION_BYTES);
// What a person may give, the records hold.
const _: () = assert!(MAX_STATED_RULE_ID_BYTES <= MAX_RULE_ID_BYTES);
// More go than come: the memory of commands shrinks to its limits.
const _: () = assert!(MAX_FORGOTTEN_AT_ONCE > 1 && MAX_FORGOTTEN_AT_ONCE < MAX_REMEMBERED_COMMANDS);
// Alerts of one window can all be named: only a command touches more.
const _: () = assert!(OUTBOX_WINDOW_ENTRIES <= MAX_POLL_FINGERPRINTS as u64);

/// Cuts `text` to at most `max_bytes` at a character border.
#[must_use]
pub fn cut(text: &str, max_bytes: usize) -> &str {
    if text.len() <= max_bytes {
        return text;
    }
    let mut end = max_bytes;
    while end > 0 && !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or("")
}
