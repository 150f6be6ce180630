//! The worker's view of derived state: committed records, read through a bounded cache, with the changes of the batch on
//! top. One batch ends with `take_changes`, which is everything to commit. Knows no storage.

use std::collections::HashMap;
use std::hash::Hash;

use crate::alert_state::AlertState;
use crate::command::DeadLetter;
use crate::ids::{Fingerprint, GroupKey, IncidentId, RuleId, Seq, TenantId, Timestamp};
use crate::incident::{Incident, Link};
use crate::limits::MAX_POLL_FINGERPRINTS;
use crate::outbox::{IncidentAction, OutboxRecord};
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
    outbox: Vec<Announcement>,
    outbox_number: u64,
}

/// What a tenant is to be told about the batch.
struct Announcement {
    tenant: TenantId,
    incidents: Vec<(IncidentId, IncidentAction)>,
    fingerprints: Option<Vec<String>>,
    rules_changed: bool,
}

impl<V: StateView> Working<V> {
    /// Starts on committed state; `outbox_number` is the number of its newest outbox record.
    #[must_use]
    pub fn new(view: V, limits: WorkingLimits, outbox_number: u64) -> Self {
        Working {
            view,
            alerts: Cache::new(limits.alerts),
            incidents: Cache::new(limits.incidents),
            heads: Cache::new(limits.incidents),
            links: Cache::new(limits.incidents),
            stats: Cache::new(limits.incidents),
            tenants: Cache::new(limits.incidents),
            pending: WriteSet::default(),
            outbox: Vec::new(),
            outbox_number,
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
        self.announcement(&rule.tenant).rules_changed = true;
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

    /// Remembers to tell about an incident. The most telling action of a batch wins.
    pub fn announce_incident(&mut self, tenant: &TenantId, id: IncidentId, action: IncidentAction) {
        let announcement = self.announcement(tenant);
        match announcement.incidents.iter_mut().find(|(known, _)| *known == id) {
            Some((_, known)) if *known == IncidentAction::Updated => *known = action,
            Some(_) => {}
            None => announcement.incidents.push((id, action)),
        }
    }

    /// Remembers to tell about an alert.
    pub fn announce_alert(&mut self, tenant: &TenantId, fingerprint: &Fingerprint) {
        let announcement = self.announcement(tenant);
        if let Some(known) = &mut announcement.fingerprints
            && !known.iter().any(|text| text == fingerprint.as_str())
        {
            if known.len() >= MAX_POLL_FINGERPRINTS {
                announcement.fingerprints = None;
            } else {
                known.push(fingerprint.as_str().to_owned());
            }
        }
    }

    fn announcement(&mut self, tenant: &TenantId) -> &mut Announcement {
        let at = self
            .outbox
            .iter()
            .position(|known| known.tenant == *tenant)
            .unwrap_or_else(|| {
                let (tenant, incidents) = (tenant.clone(), Vec::new());
                self.outbox.push(Announcement {
                    tenant,
                    incidents,
                    fingerprints: Some(Vec::new()),
                    rules_changed: false,
                });
                self.outbox.len() - 1
            });
        #[expect(clippy::indexing_slicing, reason = "`at` was found or pushed just above")]
        &mut self.outbox[at]
    }

    /// Everything the batch changed, to be committed in one step with the cursor. If the commit fails, this `Working`
    /// must be dropped: it already counts the changes as committed.
    pub fn take_changes(&mut self, applied: Seq, now: Timestamp) -> WriteSet {
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
        for told in std::mem::take(&mut self.outbox) {
            self.outbox_number += 1;
            changes.outbox.push(OutboxRecord {
                number: self.outbox_number,
                tenant: told.tenant,
                at: now,
                incidents: told.incidents,
                fingerprints: told.fingerprints,
                rules_changed: told.rules_changed,
            });
        }
        changes
    }
}
