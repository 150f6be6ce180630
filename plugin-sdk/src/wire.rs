//! What crosses the border of a component, as the contract has it: flat lists of numbers.
//!
//! Not for authors, who see views ([`crate::Batch`]) and builders ([`crate::Findings`]). Public for whoever measures or
//! tests the border itself, such as guests that hand the host crooked lists.

pub use crate::types::{Document, Error, Timestamp, Wanted};

/// Alerts of one tenant; see `wit/deps/types/types.wit`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each list is told in the contract")]
pub struct Batch {
    pub seqs: Vec<u64>,
    pub accepted: Vec<Timestamp>,
    pub texts: Vec<u8>,
    pub text_ends: Vec<u32>,
    pub columns: Vec<u32>,
    pub cell_ends: Vec<u32>,
    pub cell_columns: Vec<u16>,
    pub cell_kinds: Vec<u8>,
    pub cell_words: Vec<u64>,
    pub documents: Vec<u8>,
    pub document_ends: Vec<u32>,
}

/// The kinds of cells.
#[allow(missing_docs, reason = "each is named as what it is")]
pub mod kind {
    pub const FALSE: u8 = 0;
    pub const TRUE: u8 = 1;
    pub const INTEGER: u8 = 2;
    pub const NUMBER: u8 = 3;
    pub const TEXT: u8 = 4;
    pub const JSON: u8 = 5;
}

/// A rule could not be evaluated for an alert; the others were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleFailure {
    /// Index into the batch.
    pub alert: u32,
    /// The handle of a rule or policy.
    pub rule: u32,
    /// What went wrong.
    pub message: String,
}

/// The answer to a batch; see `wit/plugin.wit`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "each list is told in the contract")]
pub struct Findings {
    pub alerts: Vec<u32>,
    pub rules: Vec<u32>,
    pub key_ends: Vec<u32>,
    pub keys: Vec<u32>,
    pub branch_ends: Vec<u32>,
    pub branches: Vec<u32>,
    pub read_ends: Vec<u32>,
    pub read: Vec<u32>,
    pub own_texts: Vec<u8>,
    pub own_text_ends: Vec<u32>,
    pub failures: Vec<RuleFailure>,
    pub more: Vec<(String, String)>,
}
