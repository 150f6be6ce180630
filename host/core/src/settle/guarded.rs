//! Commands that are applied at most once, or only to what their sender has seen. Both are decided here, in the order of
//! the journal. What is remembered is derived state: it is written with the last commit of a command, so a command that a
//! crash interrupts is applied again and not answered early; it comes back with a replay, and is forgotten by the times
//! of the journal, so it is the same after every replay. Knows no command.

use crate::command::{CommandKey, CommandOutcome, Condition, Guard, RememberedCommand, RuleIs};
use crate::ids::{TenantId, Timestamp};
use crate::limits::{COMMANDS_REMEMBERED_MS, MAX_FORGOTTEN_AT_ONCE, MAX_REMEMBERED_COMMANDS};
use crate::state::{ForgottenKey, StateError, StateView};
use crate::working::Working;

use super::command_meta::CommandMeta;

/// What a guard says before a command is applied.
#[derive(Clone, Debug, PartialEq)]
pub enum Guarded {
    /// It is to be applied.
    Apply,
    /// It was applied before, or its key was used for another: this is the answer, and nothing changes.
    Answered(CommandOutcome),
    /// Its sender has not seen what is there: this is the answer, to be remembered like any other.
    Refused(CommandOutcome),
}

/// Whether a command is to be applied. Asked once, before its first step.
///
/// # Errors
/// When committed state cannot be read.
pub fn judge_guard<V: StateView>(
    working: &Working<V>,
    meta: &CommandMeta,
    guard: &Guard,
) -> Result<Guarded, StateError> {
    let state = working.committed();
    if let Some(key) = &guard.once
        && let Some(outcome) = answered_before(state, &meta.tenant, key, meta.accepted)?
    {
        return Ok(Guarded::Answered(outcome));
    }
    let failed = match &guard.only_if {
        Some(condition) => condition_failed(state, &meta.tenant, condition)?,
        None => None,
    };
    Ok(failed.map_or(Guarded::Apply, Guarded::Refused))
}

/// What a command was answered if it was given before; that its key was used for another if it was.
///
/// # Errors
/// When committed state cannot be read.
pub fn answered_before<V: StateView>(
    state: &V,
    tenant: &TenantId,
    key: &CommandKey,
    now: Timestamp,
) -> Result<Option<CommandOutcome>, StateError> {
    let known = state.remembered_command(tenant, &key.key)?;
    let known = known.filter(|known| is_remembered(known, now));
    Ok(known.map(|known| {
        if known.key.request == key.request {
            known.outcome
        } else {
            CommandOutcome::KeyReused
        }
    }))
}

fn is_remembered(known: &RememberedCommand, now: Timestamp) -> bool {
    known.accepted >= now.minus_ms(COMMANDS_REMEMBERED_MS)
}

/// The answer if the condition does not hold.
fn condition_failed<V: StateView>(
    state: &V,
    tenant: &TenantId,
    condition: &Condition,
) -> Result<Option<CommandOutcome>, StateError> {
    let (id, is) = match condition {
        Condition::RulesVersion(seen) => {
            let present = state.tenant(tenant)?.rules_version;
            return Ok((present != *seen).then_some(CommandOutcome::ConditionFailed(present)));
        }
        Condition::Rule { id, is } => (id, is),
    };
    let present = state.rule(tenant, id)?.filter(|rule| !rule.deleted);
    let present = present.map(|rule| rule.version);
    Ok(match (present, is) {
        (None, RuleIs::Absent) | (Some(_), RuleIs::Present) => None,
        (None, RuleIs::Present | RuleIs::OneOf(_)) => Some(CommandOutcome::RuleNotFound),
        (Some(version), RuleIs::OneOf(seen)) if seen.contains(&version) => None,
        (Some(version), RuleIs::Absent | RuleIs::OneOf(_)) => Some(CommandOutcome::ConditionFailed(u64::from(version))),
    })
}

/// Remembers what became of a command that has a key: with its last commit.
///
/// # Errors
/// When committed state cannot be read.
pub fn remember_outcome<V: StateView>(
    working: &mut Working<V>,
    meta: &CommandMeta,
    guard: &Guard,
    outcome: &CommandOutcome,
) -> Result<(), StateError> {
    let Some(key) = guard.once else {
        return Ok(());
    };
    let tenant = &meta.tenant;
    let counters = working.tenant_mut(tenant)?;
    let (forgotten, number) = (counters.keys_forgotten, counters.keys_used);
    counters.keys_used += 1;
    let mut next = forgotten;
    while next < number && next - forgotten < MAX_FORGOTTEN_AT_ONCE {
        let Some(gone) = forgettable(working.committed(), meta, &key, next, number)? else {
            break;
        };
        working.forget_key(tenant, gone);
        next += 1;
    }
    working.tenant_mut(tenant)?.keys_forgotten = next;
    let remembered = RememberedCommand {
        key,
        number,
        accepted: meta.accepted,
        outcome: outcome.clone(),
    };
    working.put_remembered_command(tenant, remembered);
    Ok(())
}

/// The key of number `old`, if it is to be forgotten now that key number `newest` is used.
fn forgettable<V: StateView>(
    state: &V,
    meta: &CommandMeta,
    used: &CommandKey,
    old: u64,
    newest: u64,
) -> Result<Option<ForgottenKey>, StateError> {
    let Some(key) = state.remembered_key(&meta.tenant, old)? else {
        return Ok(Some(ForgottenKey { number: old, key: None }));
    };
    let known = state.remembered_command(&meta.tenant, &key)?;
    // A key that was used again, long after, is known under its newer number.
    let known = known.filter(|known| known.number == old && known.key.key != used.key);
    let too_many = newest - old >= MAX_REMEMBERED_COMMANDS;
    if !too_many && known.as_ref().is_some_and(|known| is_remembered(known, meta.accepted)) {
        return Ok(None);
    }
    Ok(Some(ForgottenKey {
        number: old,
        key: known.map(|known| known.key.key),
    }))
}

#[cfg(test)]
#[path = "guarded_tests.rs"]
mod tests;
