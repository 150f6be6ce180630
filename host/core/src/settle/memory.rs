//! Committed state in plain maps, for the tests of settling. Knows no bytes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::alert_state::AlertState;
use crate::ids::{Fingerprint, GroupKey, IncidentId, RuleId, TenantId};
use crate::incident::{Incident, Link, Member};
use crate::outbox::{OutboxRecord, OutboxWindow};
use crate::rule::{Rule, RuleStats};
use crate::state::{StateError, StateView, TenantState, WriteSet};

#[derive(Clone, Default)]
pub struct Memory(pub Arc<Mutex<Tables>>);

#[derive(Default)]
pub struct Tables {
    pub alerts: BTreeMap<String, AlertState>,
    pub incidents: BTreeMap<IncidentId, Incident>,
    pub heads: BTreeMap<(String, GroupKey), IncidentId>,
    pub links: BTreeMap<(IncidentId, String), Link>,
    pub stats: BTreeMap<String, RuleStats>,
    pub tenant: TenantState,
    pub rules: Vec<Rule>,
    pub outbox: BTreeMap<OutboxWindow, OutboxRecord>,
    /// Most alerts of one commit.
    pub largest_commit: usize,
}

impl Memory {
    pub fn largest_commit(&self) -> usize {
        self.0.lock().unwrap().largest_commit
    }

    /// The incident of a group.
    pub fn of_group(&self, group: &str) -> IncidentId {
        let tables = self.0.lock().unwrap();
        let mut incidents = tables.incidents.values();
        incidents
            .find(|incident| incident.group_key.joined() == group)
            .unwrap()
            .id
    }

    pub fn commit(&self, changes: WriteSet) {
        let mut tables = self.0.lock().unwrap();
        tables.largest_commit = tables.largest_commit.max(changes.alerts.len());
        tables.alerts.extend(
            changes
                .alerts
                .into_iter()
                .map(|state| (state.fingerprint.to_string(), state)),
        );
        tables
            .incidents
            .extend(changes.incidents.into_iter().map(|incident| (incident.id, incident)));
        tables.heads.extend(
            changes
                .group_heads
                .into_iter()
                .map(|(_, rule, group, id)| ((rule.to_string(), group), id)),
        );
        tables.links.extend(
            changes
                .links
                .into_iter()
                .map(|(_, link)| ((link.incident, link.fingerprint.to_string()), link)),
        );
        tables.stats.extend(
            changes
                .rule_stats
                .into_iter()
                .map(|(_, rule, stats)| (rule.to_string(), stats)),
        );
        tables.tenant = changes.tenants.last().map_or(tables.tenant, |(_, state)| *state);
        tables.rules.extend(changes.rules);
        let outbox = changes.outbox.into_iter().map(|record| (record.window, record));
        tables.outbox.extend(outbox);
    }
}

impl StateView for Memory {
    fn alert(&self, _: &TenantId, fingerprint: &Fingerprint) -> Result<Option<AlertState>, StateError> {
        Ok(self.0.lock().unwrap().alerts.get(fingerprint.as_str()).cloned())
    }
    fn incident(&self, _: &TenantId, id: IncidentId) -> Result<Option<Incident>, StateError> {
        Ok(self.0.lock().unwrap().incidents.get(&id).cloned())
    }
    fn group_head(&self, _: &TenantId, rule: &RuleId, group: &GroupKey) -> Result<Option<IncidentId>, StateError> {
        Ok(self
            .0
            .lock()
            .unwrap()
            .heads
            .get(&(rule.to_string(), group.clone()))
            .copied())
    }
    fn link(&self, _: &TenantId, incident: IncidentId, fingerprint: &Fingerprint) -> Result<Option<Link>, StateError> {
        Ok(self
            .0
            .lock()
            .unwrap()
            .links
            .get(&(incident, fingerprint.to_string()))
            .cloned())
    }
    fn links(&self, _: &TenantId, incident: IncidentId) -> Result<Vec<Link>, StateError> {
        let tables = self.0.lock().unwrap();
        Ok(tables
            .links
            .values()
            .filter(|link| link.incident == incident)
            .cloned()
            .collect())
    }
    fn members(&self, tenant: &TenantId, incident: IncidentId) -> Result<Vec<Member>, StateError> {
        let mut links = self.links(tenant, incident)?;
        links.retain(|link| link.unlinked.is_none());
        links.sort_by_key(|link| link.joined_seq);
        Ok(links.iter().map(Link::member).collect())
    }
    fn rule(&self, _: &TenantId, id: &RuleId) -> Result<Option<Rule>, StateError> {
        Ok(self
            .0
            .lock()
            .unwrap()
            .rules
            .iter()
            .rev()
            .find(|rule| rule.id == *id)
            .cloned())
    }
    fn rules(&self, _: &TenantId) -> Result<Vec<Rule>, StateError> {
        Ok(self.0.lock().unwrap().rules.clone())
    }
    fn rule_stats(&self, _: &TenantId, id: &RuleId) -> Result<RuleStats, StateError> {
        Ok(self
            .0
            .lock()
            .unwrap()
            .stats
            .get(id.as_str())
            .cloned()
            .unwrap_or_default())
    }
    fn tenant(&self, _: &TenantId) -> Result<TenantState, StateError> {
        Ok(self.0.lock().unwrap().tenant)
    }
    fn outbox_record(&self, _: &TenantId, window: OutboxWindow) -> Result<Option<OutboxRecord>, StateError> {
        Ok(self.0.lock().unwrap().outbox.get(&window).cloned())
    }
}
