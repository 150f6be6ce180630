//! What commands change about rules. A deleted rule keeps its identifier: incidents name it.

use std::collections::BTreeMap;

use crate::command::{AppliedRule, CommandOutcome, RuleChange};
use crate::ids::RuleId;
use crate::rule::{Rule, RuleDraft};
use crate::state::{StateError, StateView};
use crate::working::Working;

use super::command_meta::CommandMeta;

/// Stores a rule under an identifier that nobody has, or had.
pub(super) fn create<V: StateView>(
    working: &mut Working<V>,
    meta: &CommandMeta,
    id: RuleId,
    draft: RuleDraft,
) -> Result<CommandOutcome, StateError> {
    if working.committed().rule(&meta.tenant, &id)?.is_some() {
        return Ok(CommandOutcome::RuleExists);
    }
    let counters = working.tenant_mut(&meta.tenant)?;
    counters.rules_version += 1;
    let rule = new_rule(meta, id, draft, counters.offered);
    Ok(store(working, rule))
}

/// Replaces what a rule says.
pub(super) fn replace<V: StateView>(
    working: &mut Working<V>,
    meta: &CommandMeta,
    id: &RuleId,
    draft: RuleDraft,
) -> Result<CommandOutcome, StateError> {
    change(working, meta, id, |rule| rule.draft = draft)
}

/// Deletes a rule.
pub(super) fn delete<V: StateView>(
    working: &mut Working<V>,
    meta: &CommandMeta,
    id: &RuleId,
) -> Result<CommandOutcome, StateError> {
    Ok(match change(working, meta, id, |rule| rule.deleted = true)? {
        CommandOutcome::RuleStored { .. } => CommandOutcome::Applied,
        other => other,
    })
}

/// Creates rules that are new by name and changes those that are known: of several of one name the oldest. One step, so
/// that no batch is judged by some of them.
pub(super) fn apply<V: StateView>(
    working: &mut Working<V>,
    meta: &CommandMeta,
    given: Vec<(RuleId, RuleDraft)>,
) -> Result<CommandOutcome, StateError> {
    let mut known: BTreeMap<String, Rule> = BTreeMap::new();
    for rule in working.committed().rules(&meta.tenant)? {
        if !rule.deleted {
            known.entry(rule.draft.name.clone()).or_insert(rule);
        }
    }
    let offered = working.committed().tenant(&meta.tenant)?.offered;
    let mut applied = Vec::with_capacity(given.len());
    let mut changed = Vec::new();
    for (new_id, draft) in given {
        let name = draft.name.clone();
        let (change, rule) = match known.remove(&name) {
            Some(rule) if rule.draft == draft => (RuleChange::Unchanged, rule),
            Some(rule) => (RuleChange::Changed, changed_rule(meta, rule, |rule| rule.draft = draft)),
            None if working.committed().rule(&meta.tenant, &new_id)?.is_some() => {
                return Ok(CommandOutcome::RuleExists);
            }
            None => (RuleChange::Created, new_rule(meta, new_id, draft, offered)),
        };
        applied.push(AppliedRule {
            id: rule.id.clone(),
            version: rule.version,
            change,
        });
        if change != RuleChange::Unchanged {
            changed.push(rule.clone());
        }
        known.insert(name, rule);
    }
    if !changed.is_empty() {
        working.tenant_mut(&meta.tenant)?.rules_version += 1;
    }
    changed.into_iter().for_each(|rule| working.put_rule(rule));
    Ok(CommandOutcome::RulesApplied(applied))
}

fn new_rule(meta: &CommandMeta, id: RuleId, draft: RuleDraft, offered_at_creation: u64) -> Rule {
    Rule {
        id,
        tenant: meta.tenant.clone(),
        version: 1,
        draft,
        created_seq: meta.seq,
        created: meta.accepted,
        created_by: meta.actor.clone(),
        updated: None,
        updated_by: None,
        deleted: false,
        offered_at_creation,
    }
}

fn changed_rule(meta: &CommandMeta, mut rule: Rule, change: impl FnOnce(&mut Rule)) -> Rule {
    change(&mut rule);
    rule.version += 1;
    rule.updated = Some(meta.accepted);
    rule.updated_by = Some(meta.actor.clone());
    rule
}

fn change<V: StateView>(
    working: &mut Working<V>,
    meta: &CommandMeta,
    id: &RuleId,
    change: impl FnOnce(&mut Rule),
) -> Result<CommandOutcome, StateError> {
    let Some(rule) = working.committed().rule(&meta.tenant, id)?.filter(|rule| !rule.deleted) else {
        return Ok(CommandOutcome::RuleNotFound);
    };
    working.tenant_mut(&meta.tenant)?.rules_version += 1;
    Ok(store(working, changed_rule(meta, rule, change)))
}

fn store<V: StateView>(working: &mut Working<V>, rule: Rule) -> CommandOutcome {
    let (id, version) = (rule.id.clone(), rule.version);
    working.put_rule(rule);
    CommandOutcome::RuleStored { id, version }
}
