//! Where a command comes from, for all that carry commands out.

use crate::ids::{Seq, TenantId, Timestamp};

/// Where a command comes from.
#[derive(Clone, Debug)]
pub struct CommandMeta {
    /// Its position in the journal.
    pub seq: Seq,
    /// When it was accepted.
    pub accepted: Timestamp,
    /// For whom it acts.
    pub tenant: TenantId,
    /// Who gave it: the name of the API key.
    pub actor: String,
}
