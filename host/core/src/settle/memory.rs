//! Committed state in plain maps, for the tests of settling. Knows no bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use super::*;
use crate::alert_state::AlertState;
use crate::command::{Command, CommandOutcome, Guard, RememberedCommand};
use crate::ids::{Fingerprint, GroupKey, IncidentId, RuleId, Seq, TenantId};
use crate::incident::{Incident, Link, Member};
use crate::outbox::{OutboxRecord, OutboxWindow};
use crate::rule::{Rule, RuleStats};
use crate::state::{StateError, StateView, TenantState, WriteSet};
use crate::working::WorkingLimits;

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
    pub letters: BTreeSet<Seq>,
    pub remembered: BTreeMap<[u8; 32], RememberedCommand>,
    pub keys: BTreeMap<u64, [u8; 32]>,
    /// Most alerts of one commit.
    pub largest_commit: usize,
    /// Links of all commits.
    pub links_written: usize,
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
        let dismissed = changes.dismissed.iter().map(|(_, seqs)| seqs.len()).sum();
        tables.largest_commit = tables.largest_commit.max(changes.alerts.len()).max(dismissed);
        for seq in changes.dismissed.iter().flat_map(|(_, seqs)| seqs) {
            tables.letters.remove(seq);
        }
        for (_, gone) in changes.forgotten_keys {
            tables.keys.remove(&gone.number);
            gone.key.map(|key| tables.remembered.remove(&key));
        }
        for (_, known) in changes.remembered_commands {
            tables.keys.insert(known.number, known.key.key);
            tables.remembered.insert(known.key.key, known);
        }
        tables.links_written += changes.links.len();
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
        let tables = self.0.lock().unwrap();
        let newest: BTreeMap<_, _> = tables.rules.iter().map(|rule| (&rule.id, rule)).collect();
        let mut rules: Vec<Rule> = newest.into_values().cloned().collect();
        rules.sort_by(Rule::compare_creation);
        Ok(rules)
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
    fn dead_letter_seqs(&self, _: &TenantId) -> Result<Vec<Seq>, StateError> {
        Ok(self.0.lock().unwrap().letters.iter().copied().collect())
    }
    fn remembered_command(&self, _: &TenantId, key: &[u8; 32]) -> Result<Option<RememberedCommand>, StateError> {
        Ok(self.0.lock().unwrap().remembered.get(key).cloned())
    }
    fn remembered_key(&self, _: &TenantId, number: u64) -> Result<Option<[u8; 32]>, StateError> {
        Ok(self.0.lock().unwrap().keys.get(&number).copied())
    }
    fn outbox_record(&self, _: &TenantId, window: OutboxWindow) -> Result<Option<OutboxRecord>, StateError> {
        Ok(self.0.lock().unwrap().outbox.get(&window).cloned())
    }
}

/// Applies a command step by step, as the worker does; a crash after so many commits loses what is in memory, and the
/// command is applied again.
pub fn command(
    memory: &Memory,
    working: &mut Working<Memory>,
    meta: &CommandMeta,
    command: Command,
    crash_after: Option<usize>,
) -> CommandOutcome {
    guarded_command(memory, working, meta, &Guard::default(), command, crash_after)
}

/// Applies a command as the worker does, perhaps with a crash after one of its commits.
pub fn guarded_command(
    memory: &Memory,
    working: &mut Working<Memory>,
    meta: &CommandMeta,
    guard: &Guard,
    command: Command,
    crash_after: Option<usize>,
) -> CommandOutcome {
    let begin = |working: &mut Working<Memory>| match judge_guard(working, meta, guard).unwrap() {
        Guarded::Apply => Ok(apply_command(working, meta, command.clone()).unwrap()),
        Guarded::Refused(outcome) => Ok(CommandProgress::Done(outcome)),
        Guarded::Answered(outcome) => Err(outcome),
    };
    let mut progress = match begin(working) {
        Ok(progress) => progress,
        Err(outcome) => return outcome,
    };
    for commits in 0.. {
        match progress {
            CommandProgress::Done(outcome) => {
                remember_outcome(working, meta, guard, &outcome).unwrap();
                memory.commit(working.take_changes(meta.seq));
                return outcome;
            }
            CommandProgress::More(remaining) => {
                memory.commit(working.take_changes(Seq(meta.seq.0 - 1)));
                if crash_after == Some(commits) {
                    let changes_per_commit = working.changes_per_commit();
                    let limits = WorkingLimits {
                        changes_per_commit,
                        ..WorkingLimits::default()
                    };
                    *working = Working::new(memory.clone(), limits);
                    progress = begin(working).expect("not answered before it is done");
                } else {
                    progress = go_on(working, meta, remaining).unwrap();
                }
            }
        }
    }
    unreachable!("a command ends")
}
