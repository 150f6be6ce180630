//! Alerts received before, read-only.

use super::backend;
use crate::types::{Document, Error};

/// The newest stored events of a fingerprint before a position in the journal, such as [`crate::Alert::seq`]: newest
/// first, at most `limit`.
pub fn recent(fingerprint: &str, before_seq: u64, limit: u32) -> Result<Vec<Document>, Error> {
    backend::history::recent(fingerprint, before_seq, limit)
}
