//! Reading committed state: for the worker through core's `StateView`, for the API through the methods below.

use std::ops::ControlFlow;
use std::sync::Arc;

use donjon_core::command::RememberedCommand;
use donjon_core::incident::{Incident, Link, Member};
use donjon_core::outbox::{OutboxRecord, OutboxWindow};
use donjon_core::rule::{Rule, RuleStats};
use donjon_core::state::{HistoryChunk, StateError, StateView, TenantState};
use donjon_core::{AlertState, Fingerprint, GroupKey, IncidentId, RuleId, Seq, TenantId};

use super::keys::{self, Space};
use super::kv::{Kv, KvError, Order, Page, successor};
use super::lists::Progress;
use crate::limits::SCAN_PIECE;
use crate::record::{GroupHead, Meta, RecordError, RememberedKey, Stored};

/// Reads committed state. Cheap to clone, one for each thread.
#[derive(Clone)]
pub struct StateReader {
    kv: Arc<dyn Kv>,
}

/// Some of what the outbox says to a tenant.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboxPage {
    /// The records, ascending. The first may also tell of entries up to the asked one, all of them of entries beyond
    /// `upto`.
    pub records: Vec<OutboxRecord>,
    /// The records tell everything up to this entry.
    pub upto: Seq,
    /// What entries up to this one changed may be forgotten.
    pub forgotten: Seq,
}

/// Keys and values, in the order of the keys.
pub type Dump = Vec<(Vec<u8>, Vec<u8>)>;

impl From<KvError> for StateError {
    fn from(error: KvError) -> Self {
        StateError(error.0)
    }
}

impl StateReader {
    pub(super) fn new(kv: Arc<dyn Kv>) -> StateReader {
        StateReader { kv }
    }

    pub(super) fn kv(&self) -> &dyn Kv {
        self.kv.as_ref()
    }

    /// Journal entries up to here are applied; 0 for none.
    ///
    /// # Errors
    /// Every method here fails when the store cannot be read or a record in it is damaged.
    pub fn applied(&self) -> Result<Seq, StateError> {
        Ok(self.meta()?.applied)
    }

    /// All alerts of a tenant, in the order of their keys, until `visit` breaks.
    ///
    /// # Errors
    /// As `applied`.
    pub fn alerts(
        &self,
        tenant: &TenantId,
        mut visit: impl FnMut(AlertState) -> ControlFlow<()>,
    ) -> Result<(), StateError> {
        self.scan(&keys::of_tenant(Space::Alert, tenant), |_, bytes| {
            Ok(visit(decode("alert", bytes)?))
        })
    }

    /// All incidents of a tenant, in the order of their keys, until `visit` breaks.
    ///
    /// # Errors
    /// As `applied`.
    pub fn incidents(
        &self,
        tenant: &TenantId,
        mut visit: impl FnMut(Incident) -> ControlFlow<()>,
    ) -> Result<(), StateError> {
        self.scan(&keys::of_tenant(Space::Incident, tenant), |_, bytes| {
            Ok(visit(decode("incident", bytes)?))
        })
    }

    /// At most `keep` incidents that an alert is linked to, unlinked ones excluded, open or closed, in no meaningful order.
    ///
    /// # Errors
    /// As `applied`.
    pub fn incidents_of_alert(
        &self,
        tenant: &TenantId,
        fingerprint: &Fingerprint,
        keep: usize,
    ) -> Result<Vec<IncidentId>, StateError> {
        let mut incidents = Vec::new();
        self.scan(&keys::alert_links(tenant, fingerprint), |key, _| {
            if incidents.len() >= keep {
                return Ok(ControlFlow::Break(()));
            }
            incidents.extend(keys::incident_of_alert_link(key));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(incidents)
    }

    /// A version of a rule; `None` if it never was or is one of too many.
    ///
    /// # Errors
    /// As `applied`.
    pub fn rule_version(&self, tenant: &TenantId, id: &RuleId, version: u32) -> Result<Option<Rule>, StateError> {
        self.record("rule", &keys::rule_version(tenant, id, version))
    }

    /// The tenants that have an alert or a rule, sorted.
    ///
    /// # Errors
    /// As `applied`.
    pub fn tenants(&self) -> Result<Vec<TenantId>, StateError> {
        let mut tenants = self.tenants_in(Space::Alert, |bytes| Ok(decode::<AlertState>("alert", bytes)?.tenant))?;
        tenants.extend(self.tenants_in(Space::Rule, |bytes| Ok(decode::<Rule>("rule", bytes)?.tenant))?);
        tenants.sort_unstable();
        tenants.dedup();
        Ok(tenants)
    }

    /// A history chunk of an alert, counted from 0.
    ///
    /// # Errors
    /// As `applied`.
    pub fn history_chunk(
        &self,
        tenant: &TenantId,
        fingerprint: &Fingerprint,
        number: u32,
    ) -> Result<Option<HistoryChunk>, StateError> {
        self.record("history chunk", &keys::history(tenant, fingerprint, number))
    }

    /// What entries after `after` changed for a tenant, in at most `limit` records; the next page begins after `upto`.
    ///
    /// # Errors
    /// As `applied`.
    pub fn outbox_after(&self, tenant: &TenantId, after: Seq, limit: usize) -> Result<OutboxPage, StateError> {
        // Read before the records: whatever commits meanwhile adds, these tell everything up to here.
        let applied = self.meta()?.applied;
        let begin = OutboxWindow::of(after.next());
        let prefix = keys::of_tenant(Space::Outbox, tenant);
        let beyond = begin
            .0
            .checked_sub(1)
            .map(|before| keys::outbox(tenant, OutboxWindow(before)));
        let page = Page {
            prefix: &prefix,
            beyond: beyond.as_deref(),
            order: Order::Ascending,
            limit,
        };
        let pairs = self.kv.page(page)?;
        let records: Vec<OutboxRecord> = pairs
            .iter()
            .map(|(_, bytes)| decode("outbox record", bytes))
            .collect::<Result<_, StateError>>()?;
        let upto = match records.last() {
            Some(last) if records.len() >= limit => applied.min(last.window.last()),
            _ => applied,
        };
        // Read after them: had one been forgotten before it was read, this says so.
        let forgotten = self.outbox_forgotten(tenant)?;
        Ok(OutboxPage {
            records,
            upto,
            forgotten,
        })
    }

    /// What entries up to this one changed for a tenant may be forgotten.
    fn outbox_forgotten(&self, tenant: &TenantId) -> Result<Seq, StateError> {
        let prefix = keys::of_tenant(Space::Outbox, tenant);
        let page = Page {
            prefix: &prefix,
            beyond: None,
            order: Order::Descending,
            limit: 1,
        };
        let newest = self.kv.page(page)?.pop();
        let newest = newest.and_then(|(key, _)| keys::window_of_outbox(&key));
        let kept_from = newest.map_or(Seq(0), |newest| newest.oldest_kept().first());
        Ok(self.meta()?.outbox_from.max(Seq(kept_from.0.saturating_sub(1))))
    }

    /// The keys of a tenant's outbox records of windows before this one.
    pub(super) fn outbox_keys_below(
        &self,
        tenant: &TenantId,
        window: OutboxWindow,
    ) -> Result<Vec<Vec<u8>>, StateError> {
        let (prefix, end) = (keys::of_tenant(Space::Outbox, tenant), keys::outbox(tenant, window));
        let mut below: Vec<Vec<u8>> = Vec::new();
        if window == OutboxWindow(0) {
            return Ok(below);
        }
        // Mostly there is none.
        let mut limit = 1;
        loop {
            let page = Page {
                prefix: &prefix,
                beyond: below.last().map(Vec::as_slice),
                order: Order::Ascending,
                limit,
            };
            let (pairs, known) = (self.kv.page(page)?, below.len());
            below.extend(pairs.into_iter().map(|(key, _)| key).take_while(|key| *key < end));
            if below.len() - known < limit {
                return Ok(below);
            }
            limit = SCAN_PIECE;
        }
    }

    /// Bytes on disk; 0 in memory.
    ///
    /// # Errors
    /// The store does not say.
    pub fn size_on_disk(&self) -> Result<u64, StateError> {
        Ok(self.kv.size_on_disk()?)
    }

    /// Every key and value in the order of the keys: two states are equal if their dumps are (I10). Takes as much
    /// memory as there is state.
    ///
    /// # Errors
    /// As `applied`.
    pub fn dump(&self) -> Result<Dump, StateError> {
        Ok(self.kv.dump()?)
    }

    fn meta(&self) -> Result<Meta, StateError> {
        Ok(self.record("cursor", &keys::meta())?.unwrap_or_default())
    }

    pub(super) fn record<T: Stored>(&self, what: &str, key: &[u8]) -> Result<Option<T>, StateError> {
        self.kv.get(key)?.map(|bytes| decode(what, &bytes)).transpose()
    }

    /// Hands out all pairs under a prefix, a piece at a time, so that no lock of the store is held meanwhile.
    fn scan(
        &self,
        prefix: &[u8],
        visit: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StateError>,
    ) -> Result<(), StateError> {
        self.scan_while(prefix, &mut || ControlFlow::Continue(()), visit)
    }

    /// The same, as long as it is wanted.
    pub(super) fn scan_while(
        &self,
        prefix: &[u8],
        progress: Progress<'_>,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, StateError>,
    ) -> Result<(), StateError> {
        let mut beyond: Option<Vec<u8>> = None;
        loop {
            let page = Page {
                prefix,
                beyond: beyond.as_deref(),
                order: Order::Ascending,
                limit: SCAN_PIECE,
            };
            let pairs = self.kv.page(page)?;
            for (key, bytes) in &pairs {
                if visit(key, bytes)?.is_break() {
                    return Ok(());
                }
            }
            if pairs.len() < SCAN_PIECE || progress().is_break() {
                return Ok(());
            }
            beyond = pairs.into_iter().next_back().map(|(key, _)| key);
        }
    }

    /// The tenants of a space: of each the first record, then on behind all of that tenant.
    fn tenants_in(
        &self,
        space: Space,
        tenant_of: impl Fn(&[u8]) -> Result<TenantId, StateError>,
    ) -> Result<Vec<TenantId>, StateError> {
        let prefix = keys::all(space);
        let mut tenants = Vec::new();
        let mut beyond: Option<Vec<u8>> = None;
        loop {
            let page = Page {
                prefix: &prefix,
                beyond: beyond.as_deref(),
                order: Order::Ascending,
                limit: 1,
            };
            let Some((_, bytes)) = self.kv.page(page)?.pop() else {
                return Ok(tenants);
            };
            let tenant = tenant_of(&bytes)?;
            beyond = successor(&keys::of_tenant(space, &tenant));
            tenants.push(tenant);
        }
    }
}

pub(super) fn decode<T: Stored>(what: &str, bytes: &[u8]) -> Result<T, StateError> {
    T::from_bytes(bytes).map_err(|error| damaged(what, &error))
}

pub(super) fn damaged(what: &str, error: &RecordError) -> StateError {
    StateError(format!("{what}: {error}"))
}

impl StateView for StateReader {
    fn alert(&self, tenant: &TenantId, fingerprint: &Fingerprint) -> Result<Option<AlertState>, StateError> {
        self.record("alert", &keys::alert(tenant, fingerprint))
    }

    fn incident(&self, tenant: &TenantId, id: IncidentId) -> Result<Option<Incident>, StateError> {
        self.record("incident", &keys::incident(tenant, id))
    }

    fn group_head(&self, tenant: &TenantId, rule: &RuleId, group: &GroupKey) -> Result<Option<IncidentId>, StateError> {
        let head: Option<GroupHead> = self.record("group head", &keys::group_head(tenant, rule, group))?;
        Ok(head.map(|head| head.0))
    }

    fn link(
        &self,
        tenant: &TenantId,
        incident: IncidentId,
        fingerprint: &Fingerprint,
    ) -> Result<Option<Link>, StateError> {
        self.record("link", &keys::link(tenant, incident, fingerprint))
    }

    fn links(&self, tenant: &TenantId, incident: IncidentId) -> Result<Vec<Link>, StateError> {
        let mut links: Vec<Link> = Vec::new();
        self.scan(&keys::links(tenant, incident), |_, bytes| {
            links.push(decode("link", bytes)?);
            Ok(ControlFlow::Continue(()))
        })?;
        // One event joins one alert, so the position alone is the order; the sort is stable for merged incidents.
        links.sort_by_key(|link| link.joined_seq);
        Ok(links)
    }

    fn members(&self, tenant: &TenantId, incident: IncidentId) -> Result<Vec<Member>, StateError> {
        let mut members: Vec<(Seq, Member)> = Vec::new();
        self.scan(&keys::links(tenant, incident), |_, bytes| {
            let link: Link = decode("link", bytes)?;
            if link.unlinked.is_none() {
                members.push((link.joined_seq, link.member()));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        members.sort_by_key(|(joined, _)| *joined);
        Ok(members.into_iter().map(|(_, member)| member).collect())
    }

    fn rule(&self, tenant: &TenantId, id: &RuleId) -> Result<Option<Rule>, StateError> {
        self.record("rule", &keys::rule(Space::Rule, tenant, id))
    }

    fn rules(&self, tenant: &TenantId) -> Result<Vec<Rule>, StateError> {
        let mut rules: Vec<Rule> = Vec::new();
        self.scan(&keys::of_tenant(Space::Rule, tenant), |_, bytes| {
            rules.push(decode("rule", bytes)?);
            Ok(ControlFlow::Continue(()))
        })?;
        rules.sort_by(Rule::compare_creation);
        Ok(rules)
    }

    fn rule_stats(&self, tenant: &TenantId, id: &RuleId) -> Result<RuleStats, StateError> {
        Ok(self
            .record("rule statistics", &keys::rule(Space::RuleStats, tenant, id))?
            .unwrap_or_default())
    }

    fn tenant(&self, tenant: &TenantId) -> Result<TenantState, StateError> {
        Ok(self
            .record("tenant", &keys::of_tenant(Space::Tenant, tenant))?
            .unwrap_or_default())
    }

    fn dead_letter_seqs(&self, tenant: &TenantId) -> Result<Vec<Seq>, StateError> {
        let mut seqs = Vec::new();
        self.scan(&keys::of_tenant(Space::DeadLetter, tenant), |key, _| {
            seqs.extend(keys::seq_of_dead_letter(key));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(seqs)
    }

    fn remembered_command(&self, tenant: &TenantId, key: &[u8; 32]) -> Result<Option<RememberedCommand>, StateError> {
        self.record("remembered command", &keys::remembered_command(tenant, key))
    }

    fn remembered_key(&self, tenant: &TenantId, number: u64) -> Result<Option<[u8; 32]>, StateError> {
        let key: Option<RememberedKey> = self.record("remembered key", &keys::remembered_key(tenant, number))?;
        Ok(key.map(|key| key.0))
    }

    fn outbox_record(&self, tenant: &TenantId, window: OutboxWindow) -> Result<Option<OutboxRecord>, StateError> {
        self.record("outbox record", &keys::outbox(tenant, window))
    }
}
