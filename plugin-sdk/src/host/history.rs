//! Alerts received before, read-only.

use super::backend;
use crate::{Document, Error};

/// The newest stored events of a fingerprint, newest first, at most `limit`.
pub fn recent(tenant: &str, fingerprint: &str, limit: u32) -> Result<Vec<Document>, Error> {
    backend::history::recent(tenant, fingerprint, limit)
}
