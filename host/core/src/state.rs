//! How the domain reads committed state, and everything one batch writes. Knows no keys and no bytes: both are the
//! business of `donjon-store`.

use crate::alert_state::{AlertState, StoredEvent};
use crate::batch::{KvSpace, KvWrite};
use crate::command::{DeadLetter, RememberedCommand};
use crate::ids::{Fingerprint, GroupKey, IncidentId, RuleId, Seq, TenantId, Timestamp};
use crate::incident::{Incident, Link, Member};
use crate::outbox::{OutboxRecord, OutboxWindow};
use crate::rule::{Rule, RuleStats};

/// Committed state could not be read; the text says what and why.
#[derive(Clone, Debug, thiserror::Error)]
#[error("read committed state: {0}")]
pub struct StateError(pub String);

/// Committed derived state, as the pure steps read it.
pub trait StateView {
    /// What is remembered of an alert.
    ///
    /// # Errors
    /// All methods fail when the store cannot be read or a record in it is damaged.
    fn alert(&self, tenant: &TenantId, fingerprint: &Fingerprint) -> Result<Option<AlertState>, StateError>;
    /// An incident of a tenant.
    fn incident(&self, tenant: &TenantId, id: IncidentId) -> Result<Option<Incident>, StateError>;
    /// The newest incident of a group of a rule.
    fn group_head(&self, tenant: &TenantId, rule: &RuleId, group: &GroupKey) -> Result<Option<IncidentId>, StateError>;
    /// The edge between an incident and an alert, unlinked ones included.
    fn link(
        &self,
        tenant: &TenantId,
        incident: IncidentId,
        fingerprint: &Fingerprint,
    ) -> Result<Option<Link>, StateError>;
    /// All edges of an incident in the order of their joining, unlinked ones included.
    fn links(&self, tenant: &TenantId, incident: IncidentId) -> Result<Vec<Link>, StateError>;
    /// The live members of an incident in the order of their joining. Small in memory: there may be very many.
    fn members(&self, tenant: &TenantId, incident: IncidentId) -> Result<Vec<Member>, StateError>;
    /// The newest version of a rule, deleted ones included.
    fn rule(&self, tenant: &TenantId, id: &RuleId) -> Result<Option<Rule>, StateError>;
    /// The newest version of every rule of a tenant, deleted ones included, in the order of their creation.
    fn rules(&self, tenant: &TenantId) -> Result<Vec<Rule>, StateError>;
    /// What a rule did so far; the default for an unknown one.
    fn rule_stats(&self, tenant: &TenantId, id: &RuleId) -> Result<RuleStats, StateError>;
    /// Counters of a tenant; the default for an unknown one.
    fn tenant(&self, tenant: &TenantId) -> Result<TenantState, StateError>;
    /// The positions of all dead letters of a tenant, ascending.
    fn dead_letter_seqs(&self, tenant: &TenantId) -> Result<Vec<Seq>, StateError>;
    /// What is remembered under the digest of a key.
    fn remembered_command(&self, tenant: &TenantId, key: &[u8; 32]) -> Result<Option<RememberedCommand>, StateError>;
    /// The digest of the key that a tenant used after so many others.
    fn remembered_key(&self, tenant: &TenantId, number: u64) -> Result<Option<[u8; 32]>, StateError>;
    /// What a window of the journal has to say to a tenant, so far.
    fn outbox_record(&self, tenant: &TenantId, window: OutboxWindow) -> Result<Option<OutboxRecord>, StateError>;
}

/// Counters of one tenant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TenantState {
    /// The running number of the newest incident.
    pub last_running_number: u64,
    /// Events that were offered to the rules.
    pub offered: u64,
    /// Counts rule changes.
    pub rules_version: u64,
    /// Keys of commands that are forgotten: those before this number.
    pub keys_forgotten: u64,
    /// Keys of commands that were used.
    pub keys_used: u64,
}

/// The key of a command that nobody asks for any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ForgottenKey {
    /// Its number.
    pub number: u64,
    /// Its digest; none if it was used again since, and is known under another number.
    pub key: Option<[u8; 32]>,
}

/// Older stored events of one alert, oldest first. Chunks are numbered from 0 and never change once written.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryChunk {
    /// Whose it is.
    pub tenant: TenantId,
    /// Which alert.
    pub fingerprint: Fingerprint,
    /// Its number.
    pub number: u32,
    /// The events.
    pub events: Vec<StoredEvent>,
}

/// Everything that one batch changes, applied in one atomic step together with the cursor (I2). Later entries of a list
/// replace earlier ones with the same key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WriteSet {
    /// Journal entries up to here are applied.
    pub applied: Seq,
    /// New states of alerts.
    pub alerts: Vec<AlertState>,
    /// New history chunks.
    pub history: Vec<HistoryChunk>,
    /// New states of incidents.
    pub incidents: Vec<Incident>,
    /// Groups and their newest incident.
    pub group_heads: Vec<(TenantId, RuleId, GroupKey, IncidentId)>,
    /// New states of links.
    pub links: Vec<(TenantId, Link)>,
    /// New versions of rules; the versions before stay readable.
    pub rules: Vec<Rule>,
    /// New counters of rules.
    pub rule_stats: Vec<(TenantId, RuleId, RuleStats)>,
    /// New counters of tenants.
    pub tenants: Vec<(TenantId, TenantState)>,
    /// What to publish: new states of outbox records.
    pub outbox: Vec<OutboxRecord>,
    /// New dead letters, by their position in the journal.
    pub dead_letters: Vec<(TenantId, Seq, DeadLetter)>,
    /// Dead letters put away.
    pub dismissed: Vec<(TenantId, Vec<Seq>)>,
    /// Keys of commands to forget; before those to remember.
    pub forgotten_keys: Vec<(TenantId, ForgottenKey)>,
    /// Commands that were given with a key.
    pub remembered_commands: Vec<(TenantId, RememberedCommand)>,
    /// Writes of plugins to their own data.
    pub plugin_kv: Vec<(KvSpace, KvWrite)>,
    /// When the newest entry that plugins were asked about was accepted, if there is a new one: what of their data
    /// expires at or before that time is removed, be it written just now or long ago.
    pub newest_judged: Option<Timestamp>,
}
