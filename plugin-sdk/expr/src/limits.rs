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

/// Largest compiled pattern, in bytes of memory.
pub const MAX_PATTERN_BYTES: usize = 512 * 1024;

/// Deepest nesting of groups in a pattern.
pub const MAX_PATTERN_NESTING: u32 = 64;

/// Deepest nesting of a JSON attribute that is read as a list or object.
pub const MAX_JSON_DEPTH: usize = 64;

/// Steps of a [`crate::Budget::default()`]. A step is one operation on a scalar, one element of a list or about 32 bytes of text.
pub const DEFAULT_STEPS: u32 = 100_000;

/// Most diagnostics reported for one source; later ones are usually echoes of the first.
pub const MAX_DIAGNOSTICS: usize = 5;
