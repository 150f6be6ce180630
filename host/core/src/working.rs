//! The worker's view of derived state: committed records, read through a bounded cache, with the changes of the batch on
//! top. One batch ends with `take_changes`, which is everything to commit. Knows no storage.

use std::collections::BTreeMap;

use crate::alert_state::{AlertState, StoredEvent};
use crate::batch::{KvSpace, KvWrite, Scalar};
use crate::cache::{Cache, Capacity, Weighed};
use crate::command::{DeadLetter, RememberedCommand};
use crate::ids::{Fingerprint, GroupKey, IncidentId, RuleId, Seq, TenantId, Timestamp};
use crate::incident::{Incident, Link};
use crate::limits::MAX_CHANGES_PER_COMMIT;
use crate::outbox::{IncidentAction, OutboxRecord, OutboxWindow};
use crate::rule::{Rule, RuleStats};
use crate::state::{ForgottenKey, HistoryChunk, StateError, StateView, TenantState, WriteSet};

/// How much of each kind is remembered between batches, a generation (there are two), and how much a command changes at
/// once.
#[derive(Clone, Copy, Debug)]
pub struct WorkingLimits {
    /// Alert states.
    pub alerts: Capacity,
    /// Incidents, group heads and links, each.
    pub incidents: Capacity,
    /// Most changes of a command in one commit.
    pub changes_per_commit: usize,
}

impl Default for WorkingLimits {
    fn default() -> Self {
        WorkingLimits {
            alerts: Capacity {
                records: 100_000,
                bytes: 64 << 20,
            },
            incidents: Capacity {
                records: 50_000,
                bytes: 32 << 20,
            },
            changes_per_commit: MAX_CHANGES_PER_COMMIT,
        }
    }
}

impl Weighed for AlertState {
    fn heap_bytes(&self) -> usize {
        let change = |(path, json): &(String, Option<String>)| 64 + path.len() + json.as_ref().map_or(0, String::len);
        self.fingerprint.as_str().len()
            + 128
            + self.enrichments.iter().map(change).sum::<usize>()
            + self.plugin_failure.as_ref().map_or(0, String::len)
            + self.open_links.len() * size_of::<IncidentId>()
            + self.recent.len() * size_of::<StoredEvent>()
    }
}

impl Weighed for Incident {
    fn heap_bytes(&self) -> usize {
        let texts = |list: &[String]| list.iter().map(|text| 24 + text.len()).sum::<usize>();
        let values = self.name_values.iter().flat_map(|values| &values.0);
        self.rule_name.len()
            + self.name.len()
            + texts(self.group_key.values())
            + texts(&self.sources)
            + texts(&self.services)
            + values.map(|(text, _)| 32 + text.len()).sum::<usize>()
    }
}

impl Weighed for Link {
    fn heap_bytes(&self) -> usize {
        let value = |(path, value): &(String, Scalar)| {
            64 + path.len()
                + match value {
                    Scalar::Text(text) | Scalar::Json(text) => text.len(),
                    Scalar::Null | Scalar::Bool(_) | Scalar::Int(_) | Scalar::Float(_) => 0,
                }
        };
        let branches = self.explanation.branches.iter().map(|(_, text)| 32 + text.len());
        let group = self.explanation.group_key.values().iter().map(|text| 24 + text.len());
        let names = self.name_values.iter().map(|text| 24 + text.len());
        128 + branches.chain(group).chain(names).sum::<usize>()
            + self.explanation.values.iter().map(value).sum::<usize>()
    }
}

impl Weighed for IncidentId {
    /// The group is in the key.
    fn heap_bytes(&self) -> usize {
        256
    }
}

impl Weighed for RuleStats {
    fn heap_bytes(&self) -> usize {
        self.last_error.as_ref().map_or(0, |error| error.message.len())
    }
}

impl Weighed for TenantState {
    fn heap_bytes(&self) -> usize {
        0
    }
}

type AlertKey = (TenantId, Fingerprint);

/// Committed state plus the changes of the running batch.
pub struct Working<V> {
    view: V,
    alerts: Cache<AlertKey, AlertState>,
    incidents: Cache<(TenantId, IncidentId), Incident>,
    heads: Cache<(TenantId, RuleId, GroupKey), IncidentId>,
    links: Cache<(TenantId, IncidentId, Fingerprint), Link>,
    stats: Cache<(TenantId, RuleId), RuleStats>,
    tenants: Cache<TenantId, TenantState>,
    changes_per_commit: usize,
    pending: WriteSet,
    telling: Option<Telling>,
    /// Outbox records changed by the batch, but for the one of the running entry.
    told: BTreeMap<(TenantId, OutboxWindow), OutboxRecord>,
}

/// The outbox record of the running entry. It is kept over batches: the next one mostly goes on with it.
struct Telling {
    record: OutboxRecord,
    seq: Seq,
    changed: bool,
}

impl<V: StateView> Working<V> {
    /// Starts on committed state.
    #[must_use]
    pub fn new(view: V, limits: WorkingLimits) -> Self {
        Working {
            view,
            alerts: Cache::new(limits.alerts),
            incidents: Cache::new(limits.incidents),
            heads: Cache::new(limits.incidents),
            links: Cache::new(limits.incidents),
            stats: Cache::new(limits.incidents),
            tenants: Cache::new(limits.incidents),
            changes_per_commit: limits.changes_per_commit,
            pending: WriteSet::default(),
            telling: None,
            told: BTreeMap::new(),
        }
    }

    /// Most changes of a command in one commit.
    pub fn changes_per_commit(&self) -> usize {
        self.changes_per_commit
    }

    /// Committed state, without the changes of the batch.
    pub fn committed(&self) -> &V {
        &self.view
    }

    /// An alert to read.
    ///
    /// # Errors
    /// Like all reads here: when committed state cannot be read.
    pub fn alert(&mut self, tenant: &TenantId, fingerprint: &Fingerprint) -> Result<Option<&AlertState>, StateError> {
        let (view, key) = (&self.view, (tenant.clone(), fingerprint.clone()));
        Ok(self
            .alerts
            .load(&key, || view.alert(tenant, fingerprint))?
            .map(|state| &*state))
    }

    /// An alert to change.
    ///
    /// # Errors
    /// When committed state cannot be read.
    pub fn alert_mut(
        &mut self,
        tenant: &TenantId,
        fingerprint: &Fingerprint,
    ) -> Result<Option<&mut AlertState>, StateError> {
        let (view, key) = (&self.view, (tenant.clone(), fingerprint.clone()));
        if self.alerts.load(&key, || view.alert(tenant, fingerprint))?.is_none() {
            return Ok(None);
        }
        Ok(self.alerts.changing(&key))
    }

    /// Stores the first state of an alert.
    pub fn put_alert(&mut self, state: AlertState) {
        self.alerts
            .put((state.tenant.clone(), state.fingerprint.clone()), state);
    }

    /// Stores a full history chunk.
    pub fn put_history(&mut self, chunk: HistoryChunk) {
        self.pending.history.push(chunk);
    }

    /// An incident to read.
    ///
    /// # Errors
    /// When committed state cannot be read.
    pub fn incident(&mut self, tenant: &TenantId, id: IncidentId) -> Result<Option<&Incident>, StateError> {
        let view = &self.view;
        Ok(self
            .incidents
            .load(&(tenant.clone(), id), || view.incident(tenant, id))?
            .map(|incident| &*incident))
    }

    /// An incident to change.
    ///
    /// # Errors
    /// When committed state cannot be read.
    pub fn incident_mut(&mut self, tenant: &TenantId, id: IncidentId) -> Result<Option<&mut Incident>, StateError> {
        let (view, key) = (&self.view, (tenant.clone(), id));
        if self.incidents.load(&key, || view.incident(tenant, id))?.is_none() {
            return Ok(None);
        }
        Ok(self.incidents.changing(&key))
    }

    /// Stores a new incident as the head of its group.
    pub fn put_incident(&mut self, incident: Incident) {
        let head = (
            incident.tenant.clone(),
            incident.rule.clone(),
            incident.group_key.clone(),
        );
        self.heads.put(head, incident.id);
        self.incidents.put((incident.tenant.clone(), incident.id), incident);
    }

    /// The newest incident of a group.
    ///
    /// # Errors
    /// When committed state cannot be read.
    pub fn group_head(
        &mut self,
        tenant: &TenantId,
        rule: &RuleId,
        group: &GroupKey,
    ) -> Result<Option<IncidentId>, StateError> {
        let (view, key) = (&self.view, (tenant.clone(), rule.clone(), group.clone()));
        Ok(self
            .heads
            .load(&key, || view.group_head(tenant, rule, group))?
            .map(|id| *id))
    }

    /// A link to read.
    ///
    /// # Errors
    /// When committed state cannot be read.
    pub fn link(
        &mut self,
        tenant: &TenantId,
        incident: IncidentId,
        fingerprint: &Fingerprint,
    ) -> Result<Option<&Link>, StateError> {
        let (view, key) = (&self.view, (tenant.clone(), incident, fingerprint.clone()));
        Ok(self
            .links
            .load(&key, || view.link(tenant, incident, fingerprint))?
            .map(|link| &*link))
    }

    /// A link to change.
    ///
    /// # Errors
    /// When committed state cannot be read.
    pub fn link_mut(
        &mut self,
        tenant: &TenantId,
        incident: IncidentId,
        fingerprint: &Fingerprint,
    ) -> Result<Option<&mut Link>, StateError> {
        let (view, key) = (&self.view, (tenant.clone(), incident, fingerprint.clone()));
        if self
            .links
            .load(&key, || view.link(tenant, incident, fingerprint))?
            .is_none()
        {
            return Ok(None);
        }
        Ok(self.links.changing(&key))
    }

    /// Stores a link.
    pub fn put_link(&mut self, tenant: &TenantId, link: Link) {
        self.links
            .put((tenant.clone(), link.incident, link.fingerprint.clone()), link);
    }

    /// Counters of a rule, to change.
    ///
    /// # Errors
    /// When committed state cannot be read.
    pub fn stats_mut(&mut self, tenant: &TenantId, rule: &RuleId) -> Result<&mut RuleStats, StateError> {
        let (view, key) = (&self.view, (tenant.clone(), rule.clone()));
        self.stats.load(&key, || view.rule_stats(tenant, rule).map(Some))?;
        self.stats.changing(&key).ok_or_else(forgotten)
    }

    /// Counters of a tenant, to change.
    ///
    /// # Errors
    /// When committed state cannot be read.
    pub fn tenant_mut(&mut self, tenant: &TenantId) -> Result<&mut TenantState, StateError> {
        let view = &self.view;
        self.tenants.load(tenant, || view.tenant(tenant).map(Some))?;
        self.tenants.changing(tenant).ok_or_else(forgotten)
    }

    /// Stores a new version of a rule.
    pub fn put_rule(&mut self, rule: Rule) {
        if let Some((record, seq)) = self.telling() {
            record.touch_rules(seq);
        }
        self.pending.rules.push(rule);
    }

    /// Stores a dead letter.
    pub fn put_dead_letter(&mut self, tenant: &TenantId, seq: Seq, letter: DeadLetter) {
        self.pending.dead_letters.push((tenant.clone(), seq, letter));
    }

    /// Puts dead letters away.
    pub fn dismiss_dead_letters(&mut self, tenant: &TenantId, seqs: Vec<Seq>) {
        self.pending.dismissed.push((tenant.clone(), seqs));
    }

    /// Remembers a command that was given with a key.
    pub fn put_remembered_command(&mut self, tenant: &TenantId, command: RememberedCommand) {
        self.pending.remembered_commands.push((tenant.clone(), command));
    }

    /// Forgets the key of a command.
    pub fn forget_key(&mut self, tenant: &TenantId, forgotten: ForgottenKey) {
        self.pending.forgotten_keys.push((tenant.clone(), forgotten));
    }

    /// Stores a plugin's own write.
    pub fn put_plugin_kv(&mut self, space: KvSpace, write: KvWrite) {
        self.pending.plugin_kv.push((space, write));
    }

    /// Plugins were asked about everything that was accepted before this time: what of their data expired by then is
    /// removed with the commit.
    pub fn judged_up_to(&mut self, accepted: Timestamp) {
        self.pending.newest_judged = Some(accepted);
    }

    /// What is announced from now on was caused by this entry; by the running one of the tenant if that is newer: a
    /// command that has old entries settled once more.
    ///
    /// # Errors
    /// When committed state cannot be read.
    pub fn begin_entry(&mut self, tenant: &TenantId, seq: Seq) -> Result<(), StateError> {
        let window = OutboxWindow::of(seq);
        if let Some(telling) = &mut self.telling
            && telling.record.tenant == *tenant
            && (telling.record.window == window || seq < telling.seq)
        {
            telling.seq = seq.max(telling.seq);
            return Ok(());
        }
        self.put_told();
        let (record, changed) = match self.told.remove(&(tenant.clone(), window)) {
            Some(record) => (record, true),
            None => (
                self.view
                    .outbox_record(tenant, window)?
                    .unwrap_or_else(|| OutboxRecord::new(tenant.clone(), window)),
                false,
            ),
        };
        self.telling = Some(Telling { record, seq, changed });
        Ok(())
    }

    /// Remembers to tell about an incident.
    pub fn announce_incident(&mut self, id: IncidentId, action: IncidentAction) {
        if let Some((record, seq)) = self.telling() {
            record.touch_incident(id, action, seq);
        }
    }

    /// Remembers to tell about an alert.
    pub fn announce_alert(&mut self, fingerprint: &Fingerprint) {
        if let Some((record, seq)) = self.telling() {
            record.touch_alert(fingerprint, seq);
        }
    }

    /// The record to change, and the entry that changes it.
    fn telling(&mut self) -> Option<(&mut OutboxRecord, Seq)> {
        debug_assert!(
            self.telling.is_some(),
            "begin_entry comes before everything that is told"
        );
        let telling = self.telling.as_mut()?;
        telling.changed = true;
        Some((&mut telling.record, telling.seq))
    }

    /// Puts the record of the entry before away; it is committed with the batch.
    fn put_told(&mut self) {
        if let Some(Telling {
            record, changed: true, ..
        }) = self.telling.take()
        {
            self.told.insert((record.tenant.clone(), record.window), record);
        }
    }

    /// Everything the batch changed, to be committed in one step with the cursor. If the commit fails, this `Working`
    /// must be dropped: it already counts the changes as committed.
    pub fn take_changes(&mut self, applied: Seq) -> WriteSet {
        let mut changes = std::mem::take(&mut self.pending);
        changes.applied = applied;
        changes.alerts = self.alerts.clean(|_, state| state.clone());
        changes.incidents = self.incidents.clean(|_, incident| incident.clone());
        changes.group_heads = self
            .heads
            .clean(|(tenant, rule, group), id| (tenant.clone(), rule.clone(), group.clone(), *id));
        changes.links = self.links.clean(|(tenant, _, _), link| (tenant.clone(), link.clone()));
        changes.rule_stats = self
            .stats
            .clean(|(tenant, rule), stats| (tenant.clone(), rule.clone(), stats.clone()));
        changes.tenants = self.tenants.clean(|tenant, state| (tenant.clone(), *state));
        changes.outbox = std::mem::take(&mut self.told).into_values().collect();
        if let Some(telling) = self.telling.as_mut().filter(|telling| telling.changed) {
            telling.changed = false;
            changes.outbox.push(telling.record.clone());
        }
        changes
    }
}

/// A record that was loaded a line before.
fn forgotten() -> StateError {
    StateError("counters were forgotten while they were used".to_owned())
}
