//! Every record at the caps of the domain: it encodes, reads back, and takes no more than `limits::records` says. What a
//! sender, a rule or a plugin can make is below that, so nothing that comes in can be refused by the store.

use donjon_core::batch::{KvValue, Scalar};
use donjon_core::branch_set::BranchSet;
use donjon_core::command::{AppliedRule, CommandOutcome, RuleChange};
use donjon_core::incident::PlaceholderValues;
use donjon_core::limits::*;
use donjon_core::outbox::{IncidentAction, OutboxRecord, OutboxWindow};
use donjon_core::{Fingerprint, GroupKey, IncidentId, RuleId, Seq, TenantId};
use proptest::prelude::*;

use super::*;
use crate::limits::records;
use crate::testing::Draw;

/// A text of exactly so many bytes: of one character or of many.
fn full(draw: &mut Draw, bytes: usize) -> String {
    let unit = draw.one_of(&["x", "é", "漢", "🦀", "\0"]);
    let mut text = unit.repeat(bytes / unit.len());
    text.push_str(&"y".repeat(bytes - text.len()));
    text
}

/// Different texts of so many bytes.
fn many(draw: &mut Draw, count: usize, bytes: usize) -> Vec<String> {
    let text = full(draw, bytes - 8);
    (0..count).map(|n| format!("{n:08}{text}")).collect()
}

fn fingerprint(draw: &mut Draw) -> Fingerprint {
    Fingerprint::from(full(draw, MAX_FINGERPRINT_CHARS * 4))
}

fn tenant(draw: &mut Draw) -> TenantId {
    TenantId::from(full(draw, MAX_NAME_BYTES))
}

fn rule_id(draw: &mut Draw) -> RuleId {
    RuleId::from(full(draw, MAX_RULE_ID_BYTES))
}

fn group(draw: &mut Draw) -> GroupKey {
    GroupKey::new(many(draw, MAX_GROUP_PATHS, MAX_GROUP_VALUE_BYTES))
}

#[track_caller]
fn check<T: Stored + PartialEq + std::fmt::Debug>(record: &T, most: usize) {
    let bytes = record.to_bytes().unwrap();
    let body = bytes.len() - ENVELOPE_BYTES;
    assert!(body <= most, "{body} bytes, at most {most} expected");
    assert_eq!(T::from_bytes(&bytes).as_ref(), Ok(record));
}

fn alert_and_history(draw: &mut Draw) {
    let mut state = draw.alert_state();
    (state.tenant, state.fingerprint) = (tenant(draw), fingerprint(draw));
    state.last_event_id = full(draw, MAX_NAME_BYTES).as_str().into();
    state.recent = (0..RECENT_EVENTS).map(|_| draw.event()).collect();
    let change = (MAX_ENRICHMENT_BYTES / MAX_ENRICHMENTS_PER_ALERT) / 2;
    let enrichment = (full(draw, change), Some(full(draw, change)));
    state.enrichments = vec![enrichment; MAX_ENRICHMENTS_PER_ALERT];
    state.plugin_failure = Some(full(draw, MAX_ERROR_TEXT_BYTES));
    state.open_links = (0..MAX_OPEN_LINKS_PER_ALERT).map(|_| draw.incident_id()).collect();
    check(&state, records::ALERT_STATE);
    let mut chunk = draw.history_chunk();
    (chunk.tenant, chunk.fingerprint) = (state.tenant, state.fingerprint);
    chunk.events = state.recent;
    check(&chunk, records::HISTORY_CHUNK);
}

fn incident(draw: &mut Draw) {
    let mut incident = draw.incident();
    (incident.tenant, incident.rule, incident.group_key) = (tenant(draw), rule_id(draw), group(draw));
    incident.rule_name = full(draw, MAX_RULE_TEXT_BYTES);
    incident.name = full(draw, MAX_INCIDENT_NAME_BYTES);
    incident.label = Some(incident.group_key.joined());
    incident.assignee = Some(full(draw, MAX_RULE_TEXT_BYTES));
    let values = many(draw, MAX_NAME_VALUES, MAX_NAME_VALUE_BYTES);
    let values = PlaceholderValues(values.into_iter().map(|text| (text, draw.u32())).collect());
    incident.name_values = vec![values; MAX_NAME_PLACEHOLDERS];
    incident.sources = many(draw, MAX_INCIDENT_SOURCES, MAX_INCIDENT_SOURCE_BYTES);
    incident.services = incident.sources.clone();
    incident.members.branches = BranchSet::from_words((0..MAX_BRANCHES / 64).map(|_| draw.u64() | 1).collect());
    incident.members.first = Some((fingerprint(draw), draw.flag()));
    check(&incident, records::INCIDENT);
}

fn link(draw: &mut Draw) {
    let mut link = draw.link();
    link.fingerprint = fingerprint(draw);
    let explanation = &mut link.explanation;
    (explanation.rule, explanation.group_key) = (rule_id(draw), group(draw));
    explanation.event_id = full(draw, MAX_NAME_BYTES).as_str().into();
    let branch = full(draw, MAX_CONDITION_BYTES / MAX_BRANCHES);
    explanation.branches = (0..u32::try_from(MAX_BRANCHES).unwrap())
        .map(|at| (at, branch.clone()))
        .collect();
    let value = MAX_EXPLANATION_BYTES / MAX_EXPLAINED_VALUES / 2;
    let value = (full(draw, value), Scalar::Text(full(draw, value)));
    explanation.values = vec![value; MAX_EXPLAINED_VALUES];
    explanation.plugin = (full(draw, MAX_NAME_BYTES), full(draw, MAX_NAME_BYTES));
    link.name_values = many(draw, MAX_NAME_PLACEHOLDERS, MAX_NAME_VALUE_BYTES);
    check(&link, records::LINK);
}

fn rule(draw: &mut Draw) {
    let mut rule = draw.rule();
    (rule.tenant, rule.id) = (tenant(draw), rule_id(draw));
    (rule.created_by, rule.updated_by) = (full(draw, MAX_NAME_BYTES), Some(full(draw, MAX_NAME_BYTES)));
    let text = full(draw, MAX_RULE_TEXT_BYTES);
    let given = &mut rule.draft;
    given.condition = full(draw, MAX_CONDITION_BYTES);
    given.branches = vec![full(draw, MAX_CONDITION_BYTES / MAX_BRANCHES); MAX_BRANCHES];
    given.group_by = vec![text.clone(); MAX_GROUP_PATHS];
    (given.name, given.time_unit) = (text.clone(), text.clone());
    given.group_description = Some(text.clone());
    given.name_template = Some(text.clone());
    given.name_prefix = Some(text.clone());
    given.multi_level_property = Some(text.clone());
    given.assignee = Some(text.clone());
    given.sql_query_json = Some(text);
    check(&rule, records::RULE);
    let mut stats = draw.rule_stats();
    if let Some(error) = &mut stats.last_error {
        error.message = full(draw, MAX_ERROR_TEXT_BYTES);
        error.event_id = full(draw, MAX_NAME_BYTES);
    }
    check(&stats, records::RULE_STATS);
}

fn queues(draw: &mut Draw) {
    let mut outbox = OutboxRecord::new(tenant(draw), OutboxWindow(u64::MAX / OUTBOX_WINDOW_ENTRIES - 1));
    let seq = outbox.window.last();
    let actions = [IncidentAction::Created, IncidentAction::Deleted];
    for n in 0..MAX_OUTBOX_INCIDENTS as u128 {
        outbox.touch_incident(IncidentId(n.to_be_bytes()), draw.one_of(&actions), seq);
    }
    for name in many(draw, MAX_POLL_FINGERPRINTS, MAX_FINGERPRINT_CHARS * 4) {
        outbox.touch_alert(&Fingerprint::from(name), seq);
    }
    outbox.touch_rules(Seq(u64::MAX));
    check(&outbox, records::OUTBOX);
    let mut letter = draw.dead_letter();
    letter.reason = full(draw, MAX_ERROR_TEXT_BYTES);
    letter.provider = full(draw, MAX_NAME_BYTES);
    check(&letter, records::DEAD_LETTER);
    let applied = AppliedRule {
        id: RuleId::from(full(draw, MAX_STATED_RULE_ID_BYTES)),
        version: u32::MAX,
        change: RuleChange::Unchanged,
    };
    let why = full(draw, MAX_ERROR_TEXT_BYTES);
    for outcome in [
        CommandOutcome::RulesApplied(vec![applied; MAX_RULES_PER_COMMAND]),
        CommandOutcome::NotStorable { why },
    ] {
        let mut remembered = draw.remembered_command();
        remembered.outcome = outcome;
        check(&remembered, records::REMEMBERED_COMMAND);
    }
    let value = KvValue {
        bytes: vec![7; 64 * 1024],
        version: u64::MAX,
        expires: draw.maybe(Draw::time),
    };
    check(&value, records::CAPPED_RECORD_BYTES);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn every_record_at_its_caps_encodes_and_is_as_small_as_the_sums_say(seed: u64) {
        let mut draw = Draw::new(seed);
        alert_and_history(&mut draw);
        incident(&mut draw);
        link(&mut draw);
        rule(&mut draw);
        queues(&mut draw);
    }
}
