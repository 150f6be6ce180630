//! The worker's view of derived state: committed records, read through a bounded cache, with the changes of the batch on
//! top. One batch ends with `take_changes`, which is everything to commit. Knows no storage.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use crate::alert_state::AlertState;
use crate::command::DeadLetter;
use crate::ids::{Fingerprint, GroupKey, IncidentId, RuleId, Seq, TenantId};
use crate::incident::{Incident, Link};
use crate::outbox::{IncidentAction, OutboxRecord, OutboxWindow};
use crate::rule::{Rule, RuleStats};
use crate::state::{HistoryChunk, StateError, StateView, TenantState, WriteSet};

/// How many records of each kind are remembered between batches.
#[derive(Clone, Copy, Debug)]
pub struct WorkingLimits {
    /// Alert states.
    pub alerts: usize,
    /// Incidents, group heads and links, each.
    pub incidents: usize,
}

impl Default for WorkingLimits {
    fn default() -> Self {
        WorkingLimits {
            alerts: 100_000,
            incidents: 50_000,
        }
    }
}

/// Records read or changed, in two generations: what was not touched for a whole generation is forgotten. Changed
/// records are never forgotten before `clean`.
struct Cache<K, V> {
    hot: HashMap<K, V>,
    cold: HashMap<K, V>,
    changed: Vec<K>,
    marks: HashMap<K, ()>,
    capacity: usize,
}

impl<K: Clone + Eq + Hash, V> Cache<K, V> {
    fn new(capacity: usize) -> Self {
        let (hot, cold) = (HashMap::new(), HashMap::new());
        Cache {
            hot,
            cold,
            changed: Vec::new(),
            marks: HashMap::new(),
            capacity: capacity.max(1),
        }
    }

    fn load(
        &mut self,
        key: &K,
        read: impl FnOnce() -> Result<Option<V>, StateError>,
    ) -> Result<Option<&mut V>, StateError> {
        if !self.hot.contains_key(key) {
            let value = match self.cold.remove(key) {
                Some(value) => Some(value),
                None => read()?,
            };
            if let Some(value) = value {
                self.hot.insert(key.clone(), value);
            }
        }
        Ok(self.hot.get_mut(key))
    }

    fn put(&mut self, key: K, value: V) {
        self.mark(&key);
        self.cold.remove(&key);
        self.hot.insert(key, value);
    }

    fn mark(&mut self, key: &K) {
        if self.marks.insert(key.clone(), ()).is_none() {
            self.changed.push(key.clone());
        }
    }

    /// The changed records in the order of their first change, all clean afterwards.
    fn clean<T>(&mut self, mut take: impl FnMut(&K, &V) -> T) -> Vec<T> {
        self.marks.clear();
        let changed = std::mem::take(&mut self.changed);
        let taken = changed
            .iter()
            .filter_map(|key| self.hot.get(key).map(|value| take(key, value)))
            .collect();
        if self.hot.len() >= self.capacity {
            self.cold = std::mem::take(&mut self.hot);
        }
        taken
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
            pending: WriteSet::default(),
            telling: None,
            told: BTreeMap::new(),
        }
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
        self.alerts.mark(&key);
        Ok(self.alerts.hot.get_mut(&key))
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
        self.incidents.mark(&key);
        Ok(self.incidents.hot.get_mut(&key))
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
        self.links.mark(&key);
        Ok(self.links.hot.get_mut(&key))
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
        self.stats.mark(&key);
        Ok(self.stats.hot.entry(key).or_default())
    }

    /// Counters of a tenant, to change.
    ///
    /// # Errors
    /// When committed state cannot be read.
    pub fn tenant_mut(&mut self, tenant: &TenantId) -> Result<&mut TenantState, StateError> {
        let view = &self.view;
        self.tenants.load(tenant, || view.tenant(tenant).map(Some))?;
        self.tenants.mark(tenant);
        Ok(self.tenants.hot.entry(tenant.clone()).or_default())
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

    /// Puts dead letters away; all of the tenant if none is named.
    pub fn dismiss_dead_letters(&mut self, tenant: &TenantId, seqs: Option<Vec<Seq>>) {
        self.pending.dismissed.push((tenant.clone(), seqs));
    }

    /// Stores a plugin's own write.
    pub fn put_plugin_kv(&mut self, plugin: &str, write: crate::batch::KvWrite) {
        self.pending.plugin_kv.push((plugin.to_owned(), write));
    }

    /// What is announced from now on was caused by this entry.
    ///
    /// # Errors
    /// When committed state cannot be read.
    pub fn begin_entry(&mut self, tenant: &TenantId, seq: Seq) -> Result<(), StateError> {
        let window = OutboxWindow::of(seq);
        if let Some(telling) = &mut self.telling
            && telling.record.window == window
            && telling.record.tenant == *tenant
        {
            telling.seq = seq;
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
