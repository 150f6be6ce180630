//! Settling as data: lines of events in, printed incidents out. A line is `t+SECONDS ALERT STATUS SEVERITY -> GROUP BRANCHES`;
//! without an arrow no rule matched. The memory here commits write sets as the store does.

use proptest::prelude::*;

use super::memory::{Memory, command};
use super::*;
use crate::admit::{Dedup, admit};
use crate::alert::{Alert, Severity};
use crate::cache::Capacity;
use crate::command::{Command, CommandOutcome};
use crate::digest::ContentDigest;
use crate::ids::{EventId, Fingerprint, Seq};
use crate::incident::{Incident, Link, MemberView};
use crate::rule::{ResolveOn, RuleDraft};
use crate::value::{Object, Value};
use crate::working::WorkingLimits;

pub fn draft(change: impl FnOnce(&mut RuleDraft)) -> RuleDraft {
    let mut draft = RuleDraft {
        name: "r".into(),
        condition: "a || b".into(),
        branches: vec!["a".into(), "b".into()],
        timeframe_seconds: 60,
        time_unit: "seconds".into(),
        group_by: Vec::new(),
        on_missing_group: crate::batch::OnMissingGroup::None,
        group_description: None,
        require_approve: false,
        resolve_on: ResolveOn::Never,
        create_on: CreateOn::Any,
        name_template: None,
        name_prefix: None,
        multi_level: false,
        multi_level_property: None,
        threshold: 1,
        assignee: None,
        enabled: true,
        priority: 0,
        stop_on_match: false,
        sql_query_json: None,
    };
    change(&mut draft);
    draft
}

pub fn rule(draft: RuleDraft) -> LiveRule {
    LiveRule::new(Rule {
        id: RuleId::from("r"),
        tenant: TenantId::from("t"),
        version: 1,
        draft,
        created_seq: Seq(0),
        created: Timestamp(0),
        created_by: String::new(),
        updated: None,
        updated_by: None,
        deleted: false,
        offered_at_creation: 0,
    })
}

fn event(line: &str, seq: u64) -> (Event, Option<(GroupKey, BranchSet)>) {
    let (said, verdict) = line
        .split_once("->")
        .map_or((line, None), |(said, verdict)| (said, Some(verdict)));
    let words: Vec<&str> = said.split_whitespace().collect();
    let seconds: u64 = words[0].strip_prefix("t+").unwrap().parse().unwrap();
    let at = Timestamp(1_000_000 + seconds * 1000);
    let alert = Alert {
        fingerprint: Fingerprint::from(words[1]),
        status: Status::parse(words[2]).unwrap(),
        severity: Severity::parse(words[3]).unwrap(),
        last_received: at,
        source: "test".into(),
        service: None,
        id_generated: false,
        attributes: [("name".to_owned(), Value::text(words[1]))]
            .into_iter()
            .collect::<Object>(),
    };
    let mut digest = [0u8; 16];
    digest[..8].copy_from_slice(&seq.to_be_bytes());
    let tenant = TenantId::from("t");
    let event_id = EventId::from(format!("e{seq}"));
    let event = Event {
        seq: Seq(seq),
        accepted: at,
        tenant,
        event_id,
        digest: ContentDigest(digest),
        alert,
    };
    let verdict = verdict.map(|text| {
        let (group, branches) = text.trim().split_once(' ').unwrap();
        let branches = branches
            .split(',')
            .map(|branch| branch.parse::<u32>().unwrap())
            .collect();
        (GroupKey::new(vec![group.to_owned()]), branches)
    });
    (event, verdict)
}

/// Runs the lines in batches of `batch` events; answers the memory they leave.
pub fn run(rule: &LiveRule, lines: &[&str], batch: usize) -> Memory {
    let memory = Memory::default();
    let mut working = Working::new(
        memory.clone(),
        WorkingLimits {
            alerts: Capacity {
                records: 2,
                bytes: 10_000,
            },
            incidents: Capacity {
                records: 2,
                bytes: 10_000,
            },
            ..WorkingLimits::default()
        },
    );
    for (number, lines) in lines.chunks(batch).enumerate() {
        // The entries of most runs fall into two windows of the outbox.
        let first = (number * batch) as u64 + crate::limits::OUTBOX_WINDOW_ENTRIES - 3;
        let events: Vec<_> = lines.iter().zip(first..).map(|(line, seq)| event(line, seq)).collect();
        let admitted: Vec<_> = events
            .iter()
            .map(|(event, _)| admit(&mut working, event).unwrap())
            .collect();
        for ((event, verdict), admission) in events.iter().zip(&admitted) {
            if admission.dedup == Dedup::Duplicate {
                continue;
            }
            let judgement = verdict.clone().map(|(group, branches)| Judgement {
                rule,
                group,
                branches,
                columns: &[],
                read: &[],
                plugin: ("p", "1"),
            });
            let judgements = judgement.into_iter().collect();
            let judged = Judged {
                event,
                admission,
                enrichments: Vec::new(),
                plugin_failure: None,
                judgements,
            };
            settle(&mut working, judged, |value, _| format!("{value:?}")).unwrap();
        }
        let last = events.last().unwrap().0.clone();
        memory.commit(working.take_changes(last.seq));
    }
    memory
}

/// One line an incident, oldest first.
fn printed(memory: &Memory) -> Vec<String> {
    let tables = memory.0.lock().unwrap();
    let mut incidents: Vec<&Incident> = tables.incidents.values().collect();
    incidents.sort_by_key(|incident| incident.running_number);
    let number = |id: IncidentId| tables.incidents.get(&id).map_or(0, |incident| incident.running_number);
    let line = |incident: &&Incident| {
        let members: Vec<&str> = tables
            .links
            .range((incident.id, String::new())..)
            .take_while(|(key, _)| key.0 == incident.id)
            .map(|(key, _)| key.1.as_str())
            .collect();
        assert_eq!(
            members.len(),
            incident.members.count as usize,
            "the count of members is that of the links"
        );
        let past = incident
            .past_incident
            .map(|id| format!(" after {}", number(id)))
            .unwrap_or_default();
        format!(
            "{} {} {} {} {:?} [{}]{past}",
            incident.group_key.joined(),
            incident.name,
            incident.status.as_str(),
            incident.severity.as_str(),
            incident.visibility,
            members.join(" ")
        )
    };
    incidents.iter().map(line).collect()
}

fn check(change: impl FnOnce(&mut RuleDraft), lines: &[&str], expected: &[&str]) {
    let rule = rule(draft(change));
    for batch in 1..=lines.len() {
        assert_eq!(
            printed(&run(&rule, lines, batch)),
            expected,
            "in batches of {batch}: {lines:?}"
        );
    }
}

#[test]
fn windows_groups_and_successors() {
    check(
        |_| {},
        &["t+0 a firing low -> g 0", "t+60 b firing high -> g 0"],
        &["g r firing high Visible [a b]"],
    );
    check(
        |_| {},
        &["t+0 a firing low -> g 0", "t+61 b firing low -> g 0"],
        &["g r firing low Visible [a]", "g r firing low Visible [b] after 1"],
    );
    check(
        |_| {},
        &["t+0 a firing low -> g 0", "t+61 a firing low -> g 0"],
        &["g r firing low Visible [a]", "g r firing low Visible [a] after 1"],
    );
    check(
        |_| {},
        &[
            "t+0 a firing low -> g 0",
            "t+50 a firing low",
            "t+100 b resolved low -> g 0",
        ],
        &["g r firing low Visible [a b]"],
    );
    check(
        |_| {},
        &["t+0 a resolved low -> g 0", "t+1 a suppressed low -> g 0"],
        &[],
    );
    check(
        |_| {},
        &["t+0 a firing low -> g 0", "t+1 a firing critical"],
        &["g r firing critical Visible [a]"],
    );
}

#[test]
fn visibility_waits_for_branches_and_threshold() {
    let all = |draft: &mut RuleDraft| draft.create_on = CreateOn::All;
    check(
        all,
        &["t+0 a firing low -> g 0", "t+1 b firing low -> g 0"],
        &["g r firing low Hidden [a b]"],
    );
    check(
        all,
        &["t+0 a firing low -> g 0", "t+1 b firing low -> g 1"],
        &["g r firing low Visible [a b]"],
    );
    check(all, &["t+0 a firing low -> g 0,1"], &["g r firing low Visible [a]"]);
    check(
        all,
        &[
            "t+0 a firing low -> g 0",
            "t+1 a resolved low",
            "t+2 b firing low -> g 1",
        ],
        &["g r firing low Hidden [a b]"],
    );
    let three = |draft: &mut RuleDraft| draft.threshold = 3;
    check(
        three,
        &["t+0 a firing low -> g 0", "t+1 a firing low -> g 0"],
        &["g r firing low Hidden [a]"],
    );
    check(
        three,
        &[
            "t+0 a firing low -> g 0",
            "t+1 a firing low -> g 0",
            "t+2 b firing low -> g 0",
        ],
        &["g r firing low Visible [a b]"],
    );
    check(
        three,
        &[
            "t+0 a firing low -> g 0",
            "t+1 a resolved low -> g 0",
            "t+2 a firing low -> g 0",
        ],
        &["g r firing low Hidden [a]"],
    );
    let approve = |draft: &mut RuleDraft| draft.require_approve = true;
    check(approve, &["t+0 a firing low -> g 0"], &["g r firing low Candidate [a]"]);
}

#[test]
fn resolution_follows_the_members() {
    let on = |resolve_on| move |draft: &mut RuleDraft| draft.resolve_on = resolve_on;
    let two = ["t+0 a firing low -> g 0", "t+1 b firing low -> g 0"];
    let after = |more: &[&'static str]| two.iter().chain(more).copied().collect::<Vec<_>>();
    check(
        on(ResolveOn::First),
        &after(&["t+2 b resolved low"]),
        &["g r firing low Visible [a b]"],
    );
    check(
        on(ResolveOn::First),
        &after(&["t+2 a resolved low"]),
        &["g r resolved low Visible [a b]"],
    );
    check(
        on(ResolveOn::Last),
        &after(&["t+2 a resolved low"]),
        &["g r firing low Visible [a b]"],
    );
    check(
        on(ResolveOn::Last),
        &after(&["t+2 a resolved low", "t+3 b acknowledged low"]),
        &["g r resolved low Visible [a b]"],
    );
    check(
        on(ResolveOn::All),
        &after(&["t+2 a resolved low", "t+3 b acknowledged low"]),
        &["g r firing low Visible [a b]"],
    );
    check(
        on(ResolveOn::All),
        &after(&["t+2 a resolved low", "t+3 b resolved low"]),
        &["g r resolved low Visible [a b]"],
    );
    check(
        on(ResolveOn::Never),
        &after(&["t+2 a resolved low", "t+3 b resolved low"]),
        &["g r firing low Visible [a b]"],
    );
    check(
        on(ResolveOn::All),
        &[
            "t+0 a firing low -> g 0",
            "t+1 a resolved low -> g 0",
            "t+2 a firing low -> g 0",
        ],
        &["g r resolved low Visible [a]", "g r firing low Visible [a] after 1"],
    );
}

#[test]
fn names_follow_the_members() {
    let named = |draft: &mut RuleDraft| {
        draft.name_template = Some("on {{ alert.name }}".into());
        draft.name_prefix = Some("OPS".into());
    };
    check(
        named,
        &[
            "t+0 a firing low -> g 0",
            "t+1 b firing low -> g 0",
            "t+2 a firing low -> g 0",
        ],
        &["g OPS-1 - on a,b firing low Visible [a b]"],
    );
}

#[test]
fn a_person_resolves_and_reopens() {
    let rule = rule(draft(|draft| draft.resolve_on = ResolveOn::All));
    let memory = run(&rule, &["t+0 a firing low -> g 0", "t+1 b firing high -> g 0"], 1);
    let incident = *memory.0.lock().unwrap().incidents.keys().next().unwrap();
    let mut working = Working::new(memory.clone(), WorkingLimits::default());
    let meta = CommandMeta {
        seq: Seq(999),
        accepted: Timestamp(2_000_000),
        tenant: TenantId::from("t"),
        actor: "p".into(),
    };
    let mut give = |status| {
        command(
            &memory,
            &mut working,
            &meta,
            Command::SetIncidentStatus { incident, status },
            None,
        )
    };
    assert_eq!(give(IncidentStatus::Resolved), CommandOutcome::Applied);
    {
        let tables = memory.0.lock().unwrap();
        assert!(tables.alerts.values().all(|state| state.status() == Status::Resolved));
        assert_eq!(tables.incidents[&incident].end, Some(meta.accepted));
    }
    assert_eq!(give(IncidentStatus::Firing), CommandOutcome::Applied);
    let tables = memory.0.lock().unwrap();
    assert_eq!(
        (
            tables.incidents[&incident].members.count,
            tables.incidents[&incident].end
        ),
        (2, None)
    );
    assert_eq!(tables.incidents[&incident].members.with_status(Status::Resolved), 2);
}

/// The aggregates of open incidents are what counting anew gives.
pub fn check_counts(memory: &Memory) {
    let tables = memory.0.lock().unwrap();
    for incident in tables.incidents.values().filter(|incident| incident.status.is_open()) {
        let links = tables.links.values().filter(|link| link.incident == incident.id);
        let mut members: Vec<&Link> = links.filter(|link| link.let_go.is_none()).collect();
        members.sort_by_key(|link| link.joined_seq);
        let mut counted = crate::incident::Members {
            newest_event: incident.members.newest_event,
            ..Default::default()
        };
        for link in members {
            let state = &tables.alerts[link.fingerprint.as_str()];
            let view = MemberView {
                status: state.status(),
                severity: state.severity,
                unresolved: state.unresolved(),
            };
            counted.add(&link.fingerprint, view, &link.member().branches);
        }
        assert_eq!(counted, incident.members);
    }
}

proptest! {
    /// I10, as far as the pure steps go: where batches begin and end changes nothing, and the aggregates always are
    /// what counting anew would give.
    #[test]
    fn batch_borders_change_nothing(
        steps in proptest::collection::vec((0u64..40, 0usize..5, 0usize..4, 0usize..5, 0usize..4), 1..40),
        batch in 2usize..20,
        resolve in 0usize..4,
    ) {
        let resolve_on = [ResolveOn::Never, ResolveOn::All, ResolveOn::First, ResolveOn::Last][resolve];
        let mut now = 0;
        let lines: Vec<String> = steps.iter().map(|(pause, alert, status, severity, verdict)| {
            now += pause;
            let (status, severity) = (Status::ALL[*status].as_str(), Severity::ALL[*severity].as_str());
            let verdict = ["", "-> g 0", "-> g 1", "-> h 0,1"][*verdict];
            format!("t+{now} a{alert} {status} {severity} {verdict}")
        }).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let rule = rule(draft(|draft| { draft.resolve_on = resolve_on; draft.create_on = CreateOn::All; }));
        let (one, many) = (run(&rule, &lines, 1), run(&rule, &lines, batch));
        prop_assert_eq!(printed(&one), printed(&many));
        let (one, many) = (one.0.lock().unwrap(), many.0.lock().unwrap());
        prop_assert_eq!(&one.incidents, &many.incidents);
        prop_assert_eq!(&one.alerts, &many.alerts);
        prop_assert_eq!(&one.outbox, &many.outbox);
        prop_assert_eq!(&one.links, &many.links);
        prop_assert_eq!((&one.heads, &one.stats, one.tenant), (&many.heads, &many.stats, many.tenant));
        drop((one, many));
        check_counts(&run(&rule, &lines, batch));
    }
}
