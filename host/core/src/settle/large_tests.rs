//! Settling where lists are at their limits: incidents with more members than a commit changes, alerts in more open
//! incidents than they keep up to date.

use super::memory::{Memory, command};
use super::tests::{check_counts, draft, rule, run};
use super::*;
use crate::command::{Command, CommandOutcome};
use crate::ids::Seq;
use crate::limits::{MAX_CHANGES_PER_COMMIT, MAX_OPEN_LINKS_PER_ALERT};
use crate::outbox::{IncidentAction, Touched};
use crate::rule::ResolveOn;
use crate::working::WorkingLimits;

fn meta(seq: u64) -> CommandMeta {
    CommandMeta {
        seq: Seq(seq),
        accepted: Timestamp(2_000_000),
        tenant: TenantId::from("t"),
        actor: "p".into(),
    }
}

/// Whether two memories hold the same.
fn equal(a: &Memory, b: &Memory) -> bool {
    let (a, b) = (a.0.lock().unwrap(), b.0.lock().unwrap());
    (&a.alerts, &a.incidents, &a.links, &a.outbox) == (&b.alerts, &b.incidents, &b.links, &b.outbox)
}

#[test]
fn a_command_on_a_large_incident_is_done_in_bounded_steps_and_a_crash_between_them_changes_nothing() {
    let rule = rule(draft(|draft| draft.resolve_on = ResolveOn::Last));
    let count = MAX_CHANGES_PER_COMMIT * 2 + 3;
    // Every tenth alert is in a second incident as well.
    let lines: Vec<String> = (0..count)
        .flat_map(|n| {
            let more = (n % 10 == 0).then(|| format!("t+0 a{n} firing high -> h 0"));
            [Some(format!("t+0 a{n} firing low -> g 0")), more]
        })
        .flatten()
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    let after = |crash_after: Option<usize>, statuses: &[IncidentStatus]| {
        let memory = run(&rule, &lines, 500);
        let incident = memory.of_group("g");
        let mut working = Working::new(memory.clone(), WorkingLimits::default());
        for (at, status) in (0u64..).zip(statuses) {
            let set = Command::SetIncidentStatus {
                incident,
                status: *status,
            };
            let outcome = command(&memory, &mut working, &meta(100_000 + at), set, crash_after);
            assert_eq!(outcome, CommandOutcome::Applied);
            check_counts(&memory);
        }
        assert!(
            memory.largest_commit() <= MAX_CHANGES_PER_COMMIT.max(500),
            "alerts of a commit"
        );
        memory
    };
    use IncidentStatus::{Acknowledged, Firing, Resolved};
    for statuses in [
        &[Resolved][..],
        &[Resolved, Firing],
        &[Acknowledged, Resolved, Acknowledged],
    ] {
        let undisturbed = after(None, statuses);
        for crash_after in [0, 1] {
            assert!(
                equal(&after(Some(crash_after), statuses), &undisturbed),
                "{statuses:?}, a crash after commit {crash_after}"
            );
        }
    }
    let resolved = after(None, &[Resolved]);
    let tables = resolved.0.lock().unwrap();
    assert!(
        tables
            .incidents
            .values()
            .all(|incident| incident.status == Resolved || incident.group_key.joined() == "h")
    );
}

#[test]
fn an_incident_is_announced_when_a_command_on_another_one_changes_its_members() {
    let rule = rule(draft(|_| {}));
    let memory = run(&rule, &["t+0 a firing low -> g 0", "t+1 a firing high -> h 0"], 1);
    let (of_g, of_h) = (memory.of_group("g"), memory.of_group("h"));
    let mut working = Working::new(memory.clone(), WorkingLimits::default());
    let set = Command::SetIncidentStatus {
        incident: of_g,
        status: IncidentStatus::Acknowledged,
    };
    command(&memory, &mut working, &meta(100_000), set, None);
    let tables = memory.0.lock().unwrap();
    assert_eq!(tables.incidents[&of_h].members.with_status(Status::Acknowledged), 1);
    let told = tables.outbox.values().next_back().unwrap();
    let Touched::Named(named) = &told.incidents else {
        panic!("{told:?}")
    };
    assert_eq!(named[&of_h].action, IncidentAction::Updated);
}

#[test]
fn an_incident_that_let_an_alert_go_counts_it_right_when_they_meet_again() {
    let rule = rule(draft(|_| {}));
    let mut lines: Vec<String> = (0..=MAX_OPEN_LINKS_PER_ALERT)
        .map(|n| format!("t+0 a firing low -> g{n} 0"))
        .collect();
    // The first one let it go and hears nothing of this; then they meet again.
    lines.push("t+1 a acknowledged high".to_owned());
    lines.push("t+2 a suppressed critical -> g0 0".to_owned());
    lines.push("t+3 a resolved critical".to_owned());
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    for batch in [1, 700] {
        let memory = run(&rule, &lines, batch);
        let tables = memory.0.lock().unwrap();
        let members = |group: &str| {
            let of_group = tables
                .incidents
                .values()
                .find(|incident| incident.group_key.joined() == group);
            of_group.unwrap().members.clone()
        };
        let first = members("g0");
        assert_eq!(
            (first.count, first.by_status, first.by_severity),
            (1, [0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1])
        );
        // It made room for it: its successor counts the alert as it was when it was let go.
        assert_eq!(members("g1").by_status, [0, 0, 0, 1, 0, 0]);
        assert_eq!(tables.alerts["a"].open_links.len(), MAX_OPEN_LINKS_PER_ALERT);
    }
}

#[test]
fn all_dead_letters_are_put_away_in_bounded_steps_and_a_crash_between_them_changes_nothing() {
    let count = MAX_CHANGES_PER_COMMIT as u64 * 2 + 3;
    for crash_after in [None, Some(0), Some(1)] {
        let memory = Memory::default();
        memory.0.lock().unwrap().letters.extend((0..count).map(Seq));
        let mut working = Working::new(memory.clone(), WorkingLimits::default());
        let named = Some((5..count + 100).collect());
        for (seqs, left) in [(named, 5), (None, 0)] {
            let dismiss = Command::DismissDeadLetters { seqs };
            let outcome = command(&memory, &mut working, &meta(100_000), dismiss, crash_after);
            assert_eq!(outcome, CommandOutcome::Applied);
            assert_eq!(memory.0.lock().unwrap().letters.len(), left, "{crash_after:?}");
        }
        assert_eq!(memory.largest_commit(), MAX_CHANGES_PER_COMMIT, "letters of a commit");
    }
}

#[test]
fn an_event_that_says_nothing_new_for_a_name_writes_no_link() {
    let rule = rule(draft(|draft| {
        draft.name_template = Some("{{ name }} {{ name }}".to_owned());
    }));
    let lines = [
        "t+0 a firing low -> g 0",
        "t+1 a firing high -> g 0",
        "t+2 b firing low -> g 0",
        "t+3 a firing low -> g 0",
    ];
    let memory = run(&rule, &lines, 1);
    let tables = memory.0.lock().unwrap();
    assert_eq!(tables.links_written, 2, "one for each member");
    let names: Vec<&str> = tables
        .incidents
        .values()
        .map(|incident| incident.name.as_str())
        .collect();
    assert_eq!(names, ["a,b a,b"]);
}
