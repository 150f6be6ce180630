//! Commands with keys and conditions over a store that forgets nothing by itself.

use super::super::memory::{Memory, guarded_command};
use super::super::tests::{draft, run};
use super::*;
use crate::command::{Command, RuleChange};
use crate::ids::{RuleId, Seq};
use crate::incident::IncidentStatus;
use crate::rule::RuleDraft;
use crate::working::WorkingLimits;

const BEGIN: u64 = 1_000_000_000_000;

struct Desk {
    memory: Memory,
    working: Working<Memory>,
    seq: u64,
    now: u64,
}

impl Desk {
    fn new() -> Desk {
        Desk::over(Memory::default(), WorkingLimits::default())
    }

    fn over(memory: Memory, limits: WorkingLimits) -> Desk {
        Desk {
            working: Working::new(memory.clone(), limits),
            memory,
            seq: 100_000,
            now: BEGIN,
        }
    }

    fn give(&mut self, guard: &Guard, command: Command, crash_after: Option<usize>) -> CommandOutcome {
        self.seq += 1;
        let meta = CommandMeta {
            seq: Seq(self.seq),
            accepted: Timestamp(self.now),
            tenant: TenantId::from("t"),
            actor: "a".into(),
        };
        guarded_command(&self.memory, &mut self.working, &meta, guard, command, crash_after)
    }

    /// Gives a dismissal of everything, after one more dead letter came: so one sees whether it was applied.
    fn dismiss(&mut self, key: u64, request: u8) -> (CommandOutcome, bool) {
        self.memory.0.lock().unwrap().letters.insert(Seq(1));
        let outcome = self.give(&once(key, request), Command::DismissDeadLetters { seqs: None }, None);
        (outcome, self.memory.0.lock().unwrap().letters.is_empty())
    }

    fn remembered(&self) -> (usize, usize) {
        let tables = self.memory.0.lock().unwrap();
        (tables.remembered.len(), tables.keys.len())
    }
}

fn once(key: u64, request: u8) -> Guard {
    let mut digest = [0; 32];
    digest[..8].copy_from_slice(&key.to_be_bytes());
    Guard {
        once: Some(CommandKey {
            key: digest,
            request: [request; 32],
        }),
        only_if: None,
    }
}

fn only_if(id: &str, is: RuleIs) -> Guard {
    Guard {
        once: None,
        only_if: Some(Condition::Rule { id: id.into(), is }),
    }
}

fn named(name: &str, priority: i32) -> RuleDraft {
    draft(|draft| {
        name.clone_into(&mut draft.name);
        draft.priority = priority;
    })
}

fn stored(version: u32) -> CommandOutcome {
    CommandOutcome::RuleStored {
        id: "r".into(),
        version,
    }
}

fn create(id: &str) -> Command {
    Command::CreateRule {
        id: id.into(),
        draft: Box::new(named(id, 0)),
    }
}

fn update(id: &str, priority: i32) -> Command {
    Command::UpdateRule {
        id: id.into(),
        draft: Box::new(named(id, priority)),
    }
}

#[test]
fn a_retried_command_is_applied_once_and_answered_again() {
    let mut desk = Desk::new();
    assert_eq!(desk.dismiss(1, 1), (CommandOutcome::Applied, true));
    assert_eq!(desk.dismiss(1, 1), (CommandOutcome::Applied, false));
    assert_eq!(
        desk.dismiss(1, 2),
        (CommandOutcome::KeyReused, false),
        "another request"
    );
    assert_eq!(desk.dismiss(1, 1), (CommandOutcome::Applied, false), "and no harm done");
    assert_eq!(desk.dismiss(2, 2), (CommandOutcome::Applied, true), "another key");
    desk.now += COMMANDS_REMEMBERED_MS;
    assert_eq!(desk.dismiss(1, 1), (CommandOutcome::Applied, false), "a day later");
    desk.now += 1;
    assert_eq!(desk.dismiss(1, 1), (CommandOutcome::Applied, true), "forgotten");
    assert_eq!(
        desk.dismiss(1, 1),
        (CommandOutcome::Applied, false),
        "known by its new number"
    );
}

#[test]
fn what_was_refused_is_answered_again_as_well() {
    let mut desk = Desk::new();
    let delete = || Command::DeleteRule { id: "r".into() };
    assert_eq!(desk.give(&once(1, 1), delete(), None), CommandOutcome::RuleNotFound);
    desk.give(&Guard::default(), create("r"), None);
    assert_eq!(desk.give(&once(1, 1), delete(), None), CommandOutcome::RuleNotFound);
    let guard = Guard {
        only_if: only_if("r", RuleIs::OneOf(vec![7])).only_if,
        ..once(2, 2)
    };
    assert_eq!(desk.give(&guard, delete(), None), CommandOutcome::ConditionFailed(1));
    for priority in 0..6 {
        desk.give(&Guard::default(), update("r", priority), None);
    }
    assert_eq!(desk.give(&guard, delete(), None), CommandOutcome::ConditionFailed(1));
    assert_eq!(desk.give(&once(3, 3), delete(), None), CommandOutcome::Applied);
}

#[test]
fn a_command_that_a_crash_interrupts_is_done_again_and_not_answered_early() {
    let rule = super::super::tests::rule(draft(|_| {}));
    let lines: Vec<String> = (0..7).map(|n| format!("t+0 a{n} firing low -> g 0")).collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let resolved = |crash_after: Option<usize>| {
        let limits = WorkingLimits {
            changes_per_commit: 2,
            ..WorkingLimits::default()
        };
        let mut desk = Desk::over(run(&rule, &lines, 100), limits);
        let incident = desk.memory.of_group("g");
        let set = Command::SetIncidentStatus {
            incident,
            status: IncidentStatus::Resolved,
        };
        let outcome = desk.give(&once(1, 1), set, crash_after);
        assert_eq!(outcome, CommandOutcome::Applied);
        let tables = desk.memory.0.lock().unwrap();
        assert_eq!(
            tables.incidents[&incident].status,
            IncidentStatus::Resolved,
            "{crash_after:?}"
        );
        let members = tables.incidents[&incident].members.clone();
        (
            members,
            tables.alerts.clone(),
            tables.remembered.clone(),
            tables.keys.clone(),
        )
    };
    let undisturbed = resolved(None);
    assert_eq!(undisturbed.2.len(), 1);
    for commits in 0..3 {
        assert_eq!(resolved(Some(commits)), undisturbed, "a crash after commit {commits}");
    }
}

#[test]
fn remembered_commands_are_bounded_and_the_oldest_is_forgotten_first() {
    let mut desk = Desk::new();
    let most = MAX_REMEMBERED_COMMANDS;
    for key in 0..=most {
        desk.dismiss(key, 0);
    }
    let kept = usize::try_from(most).unwrap();
    assert_eq!(desk.remembered(), (kept, kept));
    assert!(!desk.dismiss(1, 0).1, "known");
    assert!(desk.dismiss(0, 0).1, "forgotten");
    // A day later they go, some with each that comes; the one that was used again is forgotten with its newer number.
    desk.now += COMMANDS_REMEMBERED_MS + 1;
    let mut key = most;
    while desk.remembered() != (1, 1) {
        key += 1;
        assert!(
            key < most + most / (MAX_FORGOTTEN_AT_ONCE - 1) + 10,
            "they go: {:?}",
            desk.remembered()
        );
        desk.dismiss(key, 0);
        desk.now += COMMANDS_REMEMBERED_MS + 1;
    }
}

#[test]
fn a_key_that_is_used_again_after_its_time_is_forgotten_once() {
    let mut desk = Desk::new();
    desk.dismiss(1, 0);
    desk.now += COMMANDS_REMEMBERED_MS + 1;
    assert!(desk.dismiss(1, 1).1);
    assert_eq!(desk.remembered(), (1, 1));
    assert!(!desk.dismiss(1, 1).1);
    desk.dismiss(2, 0);
    assert_eq!(desk.remembered(), (2, 2));
}

#[test]
fn a_rule_is_changed_only_if_its_sender_has_seen_it() {
    let mut desk = Desk::new();
    let mut give = |guard: &Guard, command| desk.give(guard, command, None);
    let seen = |version| only_if("r", RuleIs::OneOf(vec![version]));
    let (present, absent) = (only_if("r", RuleIs::Present), only_if("r", RuleIs::Absent));
    assert_eq!(give(&present, update("r", 1)), CommandOutcome::RuleNotFound);
    assert_eq!(give(&absent, create("r")), stored(1));
    assert_eq!(give(&absent, create("r")), CommandOutcome::ConditionFailed(1));
    assert_eq!(give(&seen(1), update("r", 1)), stored(2));
    assert_eq!(give(&seen(1), update("r", 2)), CommandOutcome::ConditionFailed(2));
    assert_eq!(
        give(&only_if("r", RuleIs::OneOf(vec![])), update("r", 2)),
        CommandOutcome::ConditionFailed(2)
    );
    assert_eq!(
        give(&only_if("r", RuleIs::OneOf(vec![1, 2])), update("r", 3)),
        stored(3)
    );
    assert_eq!(give(&present, update("r", 4)), stored(4));
    let delete = || Command::DeleteRule { id: "r".into() };
    assert_eq!(give(&seen(1), delete()), CommandOutcome::ConditionFailed(4));
    assert_eq!(give(&seen(4), delete()), CommandOutcome::Applied);
    assert_eq!(give(&seen(4), delete()), CommandOutcome::RuleNotFound);
    assert_eq!(
        give(&absent, create("r")),
        CommandOutcome::RuleExists,
        "incidents name the deleted one"
    );
}

#[test]
fn many_rules_change_together_and_only_those_that_differ() {
    let mut desk = Desk::new();
    let apply = |rules: &[(&str, &str, i32)]| Command::ApplyRules {
        rules: rules
            .iter()
            .map(|(id, name, priority)| (RuleId::from(*id), named(name, *priority)))
            .collect(),
    };
    let told = |outcome: CommandOutcome| match outcome {
        CommandOutcome::RulesApplied(rules) => rules
            .into_iter()
            .map(|rule| (rule.id.to_string(), rule.version, rule.change))
            .collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    };
    use RuleChange::{Changed, Created, Unchanged};
    let none = Guard::default();
    let first = desk.give(&none, apply(&[("1", "a", 0), ("2", "b", 0)]), None);
    assert_eq!(told(first), [("1".into(), 1, Created), ("2".into(), 1, Created)]);
    let version = |desk: &Desk| desk.memory.0.lock().unwrap().tenant.rules_version;
    assert_eq!(version(&desk), 1, "one change");
    let again = desk.give(&none, apply(&[("3", "a", 0), ("4", "b", 0)]), None);
    assert_eq!(told(again), [("1".into(), 1, Unchanged), ("2".into(), 1, Unchanged)]);
    assert_eq!(version(&desk), 1, "nothing changed");
    let some = desk.give(&none, apply(&[("5", "b", 9), ("6", "c", 0), ("7", "a", 0)]), None);
    assert_eq!(
        told(some),
        [
            ("2".into(), 2, Changed),
            ("6".into(), 1, Created),
            ("1".into(), 1, Unchanged)
        ]
    );
    assert_eq!(version(&desk), 2);
    let guard = |version| Guard {
        once: None,
        only_if: Some(Condition::RulesVersion(version)),
    };
    let refused = desk.give(&guard(1), apply(&[("8", "d", 0)]), None);
    assert_eq!(refused, CommandOutcome::ConditionFailed(2));
    // One of them cannot be created: none is changed.
    let before = desk.memory.0.lock().unwrap().rules.len();
    let refused = desk.give(&guard(2), apply(&[("9", "a", 5), ("6", "e", 0)]), None);
    assert_eq!(refused, CommandOutcome::RuleExists);
    assert_eq!(desk.memory.0.lock().unwrap().rules.len(), before);
    assert_eq!(version(&desk), 2);
}
