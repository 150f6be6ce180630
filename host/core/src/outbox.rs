//! What one batch has to say to the outside; written with the batch (I2), delivered afterwards, at least once.

use crate::ids::{IncidentId, TenantId, Timestamp};

/// What happened to an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IncidentAction {
    /// It became visible.
    Created,
    /// Something about it changed.
    Updated,
    /// It was deleted.
    Deleted,
}

/// Everything that one batch has to say to one tenant.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxRecord {
    /// Counts the records, from 1, over all tenants.
    pub number: u64,
    /// Whom it concerns.
    pub tenant: TenantId,
    /// Batch time.
    pub at: Timestamp,
    /// Touched visible incidents, each once.
    pub incidents: Vec<(IncidentId, IncidentAction)>,
    /// Changed alerts; `None` when there were too many to name: reload everything.
    pub fingerprints: Option<Vec<String>>,
    /// Whether rules changed.
    pub rules_changed: bool,
}
