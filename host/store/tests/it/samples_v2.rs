//! What version 2 has beside the samples of version 1: commands with guards, commands of many rules, alerts judged again,
//! and what is remembered of commands.

use donjon_core::command::{
    AppliedRule, Command, CommandKey, CommandOutcome, Condition, Guard, RememberedCommand, RuleChange, RuleIs,
};
use donjon_core::incident::IncidentStatus;
use donjon_core::state::{ForgottenKey, TenantState, WriteSet};
use donjon_core::{RuleId, Seq, Timestamp};
use donjon_store::{EntryBody, NewEntry};

use crate::samples::{self, NOON, tenant};

/// Keys that are known at a time.
const KNOWN: u64 = 10;

fn key(number: u64) -> CommandKey {
    let byte = u8::try_from(number % 256).unwrap();
    CommandKey {
        key: [byte; 32],
        request: [byte ^ 0xff; 32],
    }
}

fn command(n: u64) -> Option<(Guard, Command)> {
    let guard = |once: bool, only_if| Guard {
        once: once.then(|| key(n)),
        only_if,
    };
    let (id, draft) = (RuleId::from("rule"), samples::draft(n));
    let rule = |is| {
        let id = id.clone();
        Some(Condition::Rule { id, is })
    };
    Some(match n % 10 {
        0 => {
            let command = Command::Rejudge {
                from: Seq(n / 2),
                to: Seq(n),
                all: n.is_multiple_of(20),
            };
            (guard(n.is_multiple_of(20), None), command)
        }
        1 => {
            let rules = vec![(id.clone(), draft.clone()), (RuleId::from("other"), draft)];
            let seen = Some(Condition::RulesVersion(n));
            (guard(false, seen), Command::ApplyRules { rules })
        }
        2 => {
            let draft = Box::new(draft);
            (guard(true, rule(RuleIs::Absent)), Command::CreateRule { id, draft })
        }
        3 => {
            let draft = Box::new(draft);
            (guard(true, rule(RuleIs::Present)), Command::UpdateRule { id, draft })
        }
        4 => {
            let seen = rule(RuleIs::OneOf(vec![1, 7]));
            (guard(false, seen), Command::DeleteRule { id })
        }
        5 => {
            let command = Command::SetIncidentStatus {
                incident: samples::incident_id(n),
                status: IncidentStatus::Acknowledged,
            };
            (guard(true, None), command)
        }
        _ => return None,
    })
}

/// Every kind of entry that version 1 had not, and some that it had.
pub fn entry(n: u64) -> NewEntry {
    let before = samples::entry(n);
    match command(n) {
        None => before,
        Some((guard, command)) => NewEntry {
            body: EntryBody::Command {
                actor: "ada".to_owned(),
                guard,
                command,
            },
            ..before
        },
    }
}

fn outcome(n: u64) -> CommandOutcome {
    let applied = |change| AppliedRule {
        id: RuleId::from("rule"),
        version: 7,
        change,
    };
    let changes = [RuleChange::Created, RuleChange::Changed, RuleChange::Unchanged];
    match n % KNOWN {
        0 => CommandOutcome::Applied,
        1 => CommandOutcome::RuleStored {
            id: RuleId::from("rule"),
            version: 3,
        },
        2 => CommandOutcome::RulesApplied(changes.map(applied).to_vec()),
        3 => CommandOutcome::ConditionFailed(n),
        4 => CommandOutcome::RuleNotFound,
        5 => CommandOutcome::RuleExists,
        6 => CommandOutcome::IncidentNotFound,
        7 => CommandOutcome::NotACandidate,
        8 => CommandOutcome::Rejudged(n),
        _ => CommandOutcome::NotStorable {
            why: "too large".to_owned(),
        },
    }
}

/// What is remembered of the command that used key number `n`.
pub fn remembered(n: u64) -> RememberedCommand {
    RememberedCommand {
        key: key(n),
        number: n,
        accepted: Timestamp(NOON + n),
        outcome: outcome(n),
    }
}

pub fn counters(n: u64) -> TenantState {
    TenantState {
        keys_forgotten: (n + 1).saturating_sub(KNOWN),
        keys_used: n + 1,
        ..samples::counters(n)
    }
}

/// What applying entry `n` writes, each with a key of its own.
pub fn write_set(n: u64) -> WriteSet {
    let forget = |number: u64| {
        let key = Some(key(number).key);
        (tenant(), ForgottenKey { number, key })
    };
    WriteSet {
        tenants: vec![(tenant(), counters(n))],
        forgotten_keys: n.checked_sub(KNOWN).map(forget).into_iter().collect(),
        remembered_commands: vec![(tenant(), remembered(n))],
        ..samples::write_set(n)
    }
}
