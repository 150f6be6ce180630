//! What came of asking a plugin about a batch: proposals, and what is said alert by alert where there are none. Knows no
//! plugin.

use donjon_core::batch::{Findings, KvWrite, Patch};

/// What a correlator made of a batch.
#[derive(Debug, Default)]
pub struct CorrelateOutcome {
    /// Checked: positions lie inside the batch.
    pub findings: Findings,
    /// Alerts that go on without this plugin, with the reason, in the order of the batch.
    pub failed: Vec<(usize, String)>,
    /// Alerts for which a part of the answer was refused, with the reason; the rest of it counts. No failure: the same
    /// answer would come again.
    pub refused: Vec<(usize, String)>,
    /// Whether circumstances are to blame for a failure, and not the alerts: the same call may succeed later.
    pub may_pass: bool,
    /// Whether it wanted to write more to its own data than a batch may: fewer alerts at a time may do.
    pub wrote_too_much: bool,
    /// To be committed with the batch.
    pub kv_writes: Vec<KvWrite>,
    /// Parts of the answer that were out of range or over a limit.
    pub dropped: u64,
    /// Parts of the answer about a rule or policy that is not its own.
    pub foreign: u64,
}

/// What an enricher made of a batch.
#[derive(Debug, Default)]
pub struct EnrichOutcome {
    /// Checked: positions lie inside the batch.
    pub patches: Vec<Patch>,
    /// Alerts that go on without this plugin, with the reason, in the order of the batch.
    pub failed: Vec<(usize, String)>,
    /// Alerts for which a part of the answer was refused, with the reason; the rest of it counts. No failure: the same
    /// answer would come again.
    pub refused: Vec<(usize, String)>,
    /// Whether circumstances are to blame for a failure, and not the alerts: the same call may succeed later.
    pub may_pass: bool,
    /// Whether it wanted to write more to its own data than a batch may: fewer alerts at a time may do.
    pub wrote_too_much: bool,
    /// To be committed with the batch.
    pub kv_writes: Vec<KvWrite>,
    /// Parts of the answer that were out of range or over a limit.
    pub dropped: u64,
}
