//! Journal entries and write sets as functions of a number, so that what must be in a store follows from how far it is.

use donjon_core::alert::{Severity, Status};
use donjon_core::alert_state::StoredEvent;
use donjon_core::batch::{KvSpace, KvValue, KvWrite, OnMissingGroup, Scalar};
use donjon_core::branch_set::BranchSet;
use donjon_core::command::{Command, DeadLetter, Guard};
use donjon_core::digest::ContentDigest;
use donjon_core::incident::{
    Explanation, Incident, IncidentStatus, Link, Members, NameOrigin, PlaceholderValues, Visibility,
};
use donjon_core::outbox::{IncidentAction, OutboxRecord, OutboxWindow};
use donjon_core::rule::{CreateOn, ResolveOn, Rule, RuleDraft, RuleError, RuleStats};
use donjon_core::state::{HistoryChunk, TenantState, WriteSet};
use donjon_core::{AlertState, EventId, Fingerprint, GroupKey, IncidentId, RuleId, Seq, TenantId, Timestamp};
use donjon_store::{EntryBody, NewEntry};

/// 2025-06-15, noon.
pub const NOON: u64 = 1_749_988_800_000;

pub fn tenant() -> TenantId {
    TenantId::from("acme")
}

pub fn fingerprint(n: u64) -> Fingerprint {
    Fingerprint::from(format!("fingerprint-{n}"))
}

pub fn incident_id(n: u64) -> IncidentId {
    IncidentId::derive(&tenant(), &RuleId::from("rule"), &group(n), Seq(n))
}

fn group(n: u64) -> GroupKey {
    GroupKey::new(vec![format!("service-{n}"), "eu,west".to_owned()])
}

/// Every kind of entry of version 1 in turn.
pub fn entry(n: u64) -> NewEntry {
    let body = match n % 10 {
        0 => EntryBody::Command {
            actor: "ada".to_owned(),
            guard: Guard::default(),
            command: Command::CreateRule {
                id: RuleId::from("rule"),
                draft: Box::new(draft(n)),
            },
        },
        1 => EntryBody::Command {
            actor: "grace".to_owned(),
            guard: Guard::default(),
            command: Command::SetIncidentStatus {
                incident: incident_id(n),
                status: IncidentStatus::Resolved,
            },
        },
        2 => EntryBody::Command {
            actor: String::new(),
            guard: Guard::default(),
            command: Command::DismissDeadLetters {
                seqs: (n % 20 == 2).then(|| vec![n]),
            },
        },
        3 => EntryBody::DeadLetter {
            provider: "grafana".to_owned(),
            reason: "not JSON: expected value at line 1".to_owned(),
            raw: vec![0xff, 0xfe, u8::try_from(n % 256).unwrap()],
        },
        _ => EntryBody::Alert {
            event_id: EventId::from(format!("event-{n}")),
            provider: "prometheus".to_owned(),
            api_key_name: "default".to_owned(),
            document: format!(r#"{{"name":"alert {n}","severity":"warning","labels":{{"host":"é{n}"}}}}"#).into_bytes(),
            id_generated: n.is_multiple_of(2),
        },
    };
    NewEntry {
        accepted: Timestamp(NOON + n * 60_000),
        tenant: tenant(),
        body,
    }
}

fn event(n: u64) -> StoredEvent {
    StoredEvent {
        seq: Seq(n),
        accepted: Timestamp(NOON + n),
        status: if n.is_multiple_of(3) {
            Status::Resolved
        } else {
            Status::Firing
        },
        firing_counter: u32::try_from(n).unwrap(),
        unresolved_counter: 2,
        firing_start: Some(Timestamp(NOON)),
        firing_start_since_resolved: n.is_multiple_of(2).then_some(Timestamp(NOON + 1)),
    }
}

pub fn alert(n: u64) -> AlertState {
    AlertState {
        tenant: tenant(),
        fingerprint: fingerprint(n % 7),
        last_event: event(n),
        last_event_id: EventId::from(format!("event-{n}")),
        first_accepted: Timestamp(NOON),
        digest: ContentDigest([9; 16]),
        severity: Severity::Critical,
        last_received: Timestamp(NOON + n),
        received_range: (Timestamp(NOON), Timestamp(NOON + n)),
        status_override: Some(Status::Acknowledged),
        duplicates: n,
        event_count: n + 1,
        enrichments: vec![
            ("owner".to_owned(), Some("\"team\"".to_owned())),
            ("gone".to_owned(), None),
        ],
        plugin_failure: Some("time-out".to_owned()),
        open_links: vec![incident_id(n)],
        recent: (1..n % 5).map(event).collect(),
        history_chunks: 1,
    }
}

pub fn history(n: u64) -> HistoryChunk {
    HistoryChunk {
        tenant: tenant(),
        fingerprint: fingerprint(n % 7),
        number: 0,
        events: (1..9).map(event).collect(),
    }
}

pub fn incident(n: u64) -> Incident {
    Incident {
        id: incident_id(n),
        tenant: tenant(),
        running_number: n,
        created_seq: Seq(n),
        created: Timestamp(NOON),
        rule: RuleId::from("rule"),
        rule_version: 3,
        rule_name: "a rule".to_owned(),
        group_key: group(n),
        name: format!("incident {n}"),
        name_origin: NameOrigin::Person,
        name_values: vec![
            PlaceholderValues(vec![("host".to_owned(), 2)]),
            PlaceholderValues::default(),
        ],
        label: Some("label".to_owned()),
        status: IncidentStatus::Acknowledged,
        visibility: Visibility::Candidate,
        severity: Severity::High,
        severity_forced: true,
        resolve_on: ResolveOn::Last,
        assignee: Some("ada".to_owned()),
        start: Some(Timestamp(NOON)),
        last_seen: Some(Timestamp(NOON + n)),
        end: None,
        sources: vec!["prometheus".to_owned()],
        services: vec![format!("service-{n}")],
        past_incident: Some(incident_id(n + 1)),
        merged_into: None,
        members: Members {
            count: 2,
            by_status: [1, 2, 3, 4, 5, 6],
            by_severity: [5, 4, 3, 2, 1],
            occurrences: 77,
            branches: BranchSet::from_words(vec![5, 1]),
            newest_event: Timestamp(NOON + n),
            first: Some((fingerprint(n % 7), true)),
        },
    }
}

pub fn link(n: u64) -> Link {
    let explanation = Explanation {
        rule: RuleId::from("rule"),
        rule_version: 3,
        event_id: EventId::from(format!("event-{n}")),
        branches: vec![(0, "severity == \"critical\"".to_owned())],
        group_key: group(n),
        values: vec![
            ("a".to_owned(), Scalar::Null),
            ("b".to_owned(), Scalar::Bool(true)),
            ("c".to_owned(), Scalar::Int(-5)),
            ("d".to_owned(), Scalar::Float(0.5)),
            ("e".to_owned(), Scalar::Text("é".to_owned())),
            ("f".to_owned(), Scalar::Json("[1]".to_owned())),
        ],
        plugin: ("rules".to_owned(), "0.1.0".to_owned()),
    };
    Link {
        incident: incident_id(n),
        fingerprint: fingerprint(n % 7),
        joined_seq: Seq(n),
        joined: Timestamp(NOON + n),
        explanation,
        name_values: vec!["web-1".to_owned()],
        unlinked: (n % 4 == 3).then_some(Timestamp(NOON + n)),
        let_go: None,
    }
}

pub fn draft(n: u64) -> RuleDraft {
    RuleDraft {
        name: format!("rule {n}"),
        condition: "severity == \"critical\" || service == \"db\"".to_owned(),
        branches: vec!["severity == \"critical\"".to_owned(), "service == \"db\"".to_owned()],
        timeframe_seconds: 600,
        time_unit: "minutes".to_owned(),
        group_by: vec!["service".to_owned(), r"labels.a\.b".to_owned()],
        on_missing_group: OnMissingGroup::Skip,
        group_description: Some("by service".to_owned()),
        require_approve: true,
        resolve_on: ResolveOn::All,
        create_on: CreateOn::All,
        name_template: Some("{{ service }}".to_owned()),
        name_prefix: Some("INC".to_owned()),
        multi_level: true,
        multi_level_property: Some("id".to_owned()),
        threshold: 4,
        assignee: Some("grace".to_owned()),
        enabled: true,
        priority: -7,
        stop_on_match: true,
        sql_query_json: Some(r#"{"sql":"x"}"#.to_owned()),
    }
}

pub fn rule(version: u32) -> Rule {
    Rule {
        id: RuleId::from("rule"),
        tenant: tenant(),
        version,
        draft: draft(u64::from(version)),
        created_seq: Seq(1),
        created: Timestamp(NOON),
        created_by: "ada".to_owned(),
        updated: Some(Timestamp(NOON + u64::from(version))),
        updated_by: Some("grace".to_owned()),
        deleted: version.is_multiple_of(2),
        offered_at_creation: 12,
    }
}

pub fn stats(n: u64) -> RuleStats {
    let last_error = RuleError {
        message: "no such key".to_owned(),
        event_id: "event-1".to_owned(),
        at: Timestamp(NOON),
    };
    RuleStats {
        matches: n,
        incidents: n / 2,
        errors: 1,
        last_match: Some(Timestamp(NOON)),
        last_error: Some(last_error),
    }
}

pub fn counters(n: u64) -> TenantState {
    TenantState {
        last_running_number: n,
        offered: n * 3,
        rules_version: n / 5,
        ..TenantState::default()
    }
}

/// What the outbox says of the entries up to `n` of the window of `n`.
pub fn outbox(n: u64) -> OutboxRecord {
    let mut record = OutboxRecord::new(tenant(), OutboxWindow::of(Seq(n)));
    for seq in record.window.first().0.max(1)..=n {
        record.touch_incident(incident_id(seq), IncidentAction::Created, Seq(seq));
        record.touch_incident(incident_id(seq + 1), IncidentAction::Deleted, Seq(seq));
        record.touch_alert(&Fingerprint::from(format!("fingerprint-{}", seq % 7)), Seq(seq));
        if seq.is_multiple_of(3) {
            record.touch_rules(Seq(seq));
        }
    }
    record
}

pub fn dead_letter(n: u64) -> DeadLetter {
    DeadLetter {
        reason: format!("bad {n}"),
        accepted: Timestamp(NOON),
        provider: "grafana".to_owned(),
    }
}

pub fn plugin_space() -> KvSpace {
    KvSpace::new("rules", &tenant())
}

pub fn plugin_value(n: u64) -> KvValue {
    KvValue {
        bytes: vec![0, 0xff, u8::try_from(n % 256).unwrap()],
        version: 1,
        expires: Some(Timestamp(NOON + n)),
    }
}

/// What applying entry `n` writes: every kind of record of then, some of them over those of earlier entries.
pub fn write_set(n: u64) -> WriteSet {
    WriteSet {
        applied: Seq(n),
        alerts: vec![alert(n)],
        history: vec![history(n)],
        incidents: vec![incident(n)],
        group_heads: vec![(tenant(), RuleId::from("rule"), group(n), incident_id(n))],
        links: vec![(tenant(), link(n))],
        rules: vec![rule(u32::try_from(n).unwrap())],
        rule_stats: vec![(tenant(), RuleId::from("rule"), stats(n))],
        tenants: vec![(tenant(), counters(n))],
        outbox: vec![outbox(n)],
        dead_letters: vec![(tenant(), Seq(n), dead_letter(n))],
        dismissed: vec![(tenant(), vec![Seq(n.saturating_sub(5))])],
        plugin_kv: vec![
            (
                plugin_space(),
                KvWrite {
                    key: format!("k{}", n % 9),
                    value: Some(plugin_value(n)),
                },
            ),
            (
                plugin_space(),
                KvWrite {
                    key: format!("k{}", (n + 4) % 9),
                    value: None,
                },
            ),
        ],
        ..WriteSet::default()
    }
}
