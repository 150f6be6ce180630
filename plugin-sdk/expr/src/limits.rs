//! Every bound of the language in one place, so that a host and a guest refuse the same input.
//!
//! Must not know: what an expression means. The numbers protect stacks and time, they are no part of the semantics.

/// Longest accepted source, in bytes.
pub const MAX_SOURCE_BYTES: usize = 16 * 1024;

/// Deepest nesting of brackets and ternaries. The parser needs about 10 KiB of native stack for one level.
pub const MAX_NESTING: usize = 32;

/// Longest run of comparison, arithmetic, unary, select, index and call operators without `&&`, `||`, `,`, `?` or `:`
/// between them. Such a run becomes a tree as deep as it is long.
pub const MAX_CHAIN: usize = 128;

/// Most `&&` and `||` in one bracket. They become a balanced tree, so this bounds work, not depth.
pub const MAX_LOGIC_CHAIN: usize = 1024;

/// Most operands of the top-level `||`, counted through parentheses.
pub const MAX_BRANCHES: usize = 1024;

/// Deepest syntax tree, in operators, where one level of brackets or ternaries counts as [`NESTING_WEIGHT`] operators. Chosen so that
/// parsing, lowering, evaluating and dropping fit a stack of 512 KiB, half of what a small thread or a guest has.
pub const MAX_DEPTH: usize = 256;

/// What one level of brackets may add to the depth of the tree: a macro adds most.
pub const NESTING_WEIGHT: usize = 4;

/// How deep `exists`, `all`, `exists_one`, `map` and `filter` may stand inside each other.
pub const MAX_MACRO_NESTING: usize = 2;

/// Most `matches()` in one expression; each keeps a compiled pattern.
pub const MAX_PATTERNS: usize = 64;

/// Largest compiled pattern, in bytes of memory. A single `\w` takes about 50 KiB of it, because it knows all of Unicode.
pub const MAX_PATTERN_BYTES: usize = 256 * 1024;

/// Largest sum of the compiled patterns of one expression, in bytes of memory: what compiling it may cost.
pub const MAX_PATTERNS_BYTES: usize = 1024 * 1024;

/// Most sets of characters (`[a-z]`, `\d`) in the patterns of one expression.
pub const MAX_PATTERN_CLASSES: usize = 256;

/// What a pattern may keep of its automaton between two texts, in bytes; a state takes about 1 KiB. Half as much again counts its transitions.
pub const PATTERN_CACHE_BYTES: usize = 256 * 1024;

/// Deepest nesting of groups in a pattern.
pub const MAX_PATTERN_NESTING: u32 = 64;

/// Deepest nesting of a JSON attribute that is read as a list or object.
pub const MAX_JSON_DEPTH: usize = 64;

/// Steps of a [`crate::Budget::default()`]: all branches of one rule for one alert. A step is one operation on a scalar, one element of a
/// list or about 32 bytes of text. Enough for a text of a megabyte, or for a thousand branches on an ordinary alert; half a millisecond in a
/// guest, so that one dear rule does not use up the time of a call for all others.
pub const DEFAULT_STEPS: u32 = 50_000;

/// Steps of all rules of a tenant together for one alert: 40 rules that use up theirs, or 40,000 of 50 steps each. About twenty milliseconds in a
/// guest, or some tenths of a second where all of them build automata of patterns (each such step is dearer), so that a call within the usual limits
/// always gets through an alert, whatever rules a tenant wrote.
pub const STEPS_PER_ALERT: u32 = 40 * DEFAULT_STEPS;

/// Steps between two questions whether an evaluation is still wanted ([`crate::Budget::interruptible`]): some ten microseconds.
pub const STEPS_PER_QUESTION: u32 = 4096;

/// Most diagnostics reported for one source; later ones are usually echoes of the first.
pub const MAX_DIAGNOSTICS: usize = 5;

// One pattern fits into the sum, and one class into one pattern.
const _: () = assert!(MAX_PATTERN_BYTES <= MAX_PATTERNS_BYTES);
const _: () = assert!(MAX_PATTERNS <= MAX_PATTERN_CLASSES);
// A text literal, however long, can be compared.
const _: () = assert!(MAX_SOURCE_BYTES / 32 < DEFAULT_STEPS as usize);
// Every branch can be looked at.
const _: () = assert!(MAX_BRANCHES * 16 < DEFAULT_STEPS as usize);
const _: () = assert!(STEPS_PER_QUESTION < DEFAULT_STEPS);
// One rule never takes what all others need.
const _: () = assert!(STEPS_PER_ALERT / DEFAULT_STEPS >= 2);
