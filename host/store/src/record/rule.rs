//! Stored forms of rules and of what they did.

use bincode::{BorrowDecode, Encode};
use donjon_core::rule::{Rule, RuleDraft, RuleError, RuleStats};
use donjon_core::{Seq, Timestamp};

use super::{Kind, RecordError, codes, stored};

stored!(Rule, Kind::Rule, reads { 1 => RuleV1 }, writes 1 => RuleV1);
stored!(RuleStats, Kind::RuleStats, reads { 1 => RuleStatsV1 }, writes 1 => RuleStatsV1);

#[derive(Encode, BorrowDecode)]
struct RuleV1<'a> {
    id: &'a str,
    tenant: &'a str,
    version: u32,
    draft: RuleDraftV1<'a>,
    created_seq: u64,
    created: u64,
    created_by: &'a str,
    updated: Option<u64>,
    updated_by: Option<&'a str>,
    deleted: bool,
    offered_at_creation: u64,
}

/// Also part of stored commands (`CommandV1`): the two are frozen together.
#[derive(Encode, BorrowDecode)]
pub(crate) struct RuleDraftV1<'a> {
    name: &'a str,
    condition: &'a str,
    branches: Vec<&'a str>,
    timeframe_seconds: u64,
    time_unit: &'a str,
    group_by: Vec<&'a str>,
    on_missing_group: u8,
    group_description: Option<&'a str>,
    require_approve: bool,
    resolve_on: u8,
    create_on: u8,
    name_template: Option<&'a str>,
    name_prefix: Option<&'a str>,
    multi_level: bool,
    multi_level_property: Option<&'a str>,
    threshold: u32,
    assignee: Option<&'a str>,
    enabled: bool,
    priority: i32,
    stop_on_match: bool,
    sql_query_json: Option<&'a str>,
}

#[derive(Encode, BorrowDecode)]
struct RuleStatsV1<'a> {
    matches: u64,
    incidents: u64,
    errors: u64,
    last_match: Option<u64>,
    last_error: Option<RuleErrorV1<'a>>,
}

#[derive(Encode, BorrowDecode)]
struct RuleErrorV1<'a> {
    message: &'a str,
    event_id: &'a str,
    at: u64,
}

impl<'a> From<&'a Rule> for RuleV1<'a> {
    fn from(rule: &'a Rule) -> Self {
        RuleV1 {
            id: rule.id.as_str(),
            tenant: rule.tenant.as_str(),
            version: rule.version,
            draft: RuleDraftV1::from(&rule.draft),
            created_seq: rule.created_seq.0,
            created: rule.created.0,
            created_by: &rule.created_by,
            updated: rule.updated.map(|time| time.0),
            updated_by: rule.updated_by.as_deref(),
            deleted: rule.deleted,
            offered_at_creation: rule.offered_at_creation,
        }
    }
}

impl TryFrom<RuleV1<'_>> for Rule {
    type Error = RecordError;

    fn try_from(twin: RuleV1<'_>) -> Result<Self, RecordError> {
        Ok(Rule {
            id: twin.id.into(),
            tenant: twin.tenant.into(),
            version: twin.version,
            draft: RuleDraft::try_from(twin.draft)?,
            created_seq: Seq(twin.created_seq),
            created: Timestamp(twin.created),
            created_by: twin.created_by.to_owned(),
            updated: twin.updated.map(Timestamp),
            updated_by: twin.updated_by.map(str::to_owned),
            deleted: twin.deleted,
            offered_at_creation: twin.offered_at_creation,
        })
    }
}

impl<'a> From<&'a RuleDraft> for RuleDraftV1<'a> {
    fn from(draft: &'a RuleDraft) -> Self {
        RuleDraftV1 {
            name: &draft.name,
            condition: &draft.condition,
            branches: draft.branches.iter().map(String::as_str).collect(),
            timeframe_seconds: draft.timeframe_seconds,
            time_unit: &draft.time_unit,
            group_by: draft.group_by.iter().map(String::as_str).collect(),
            on_missing_group: codes::on_missing_group::code(draft.on_missing_group),
            group_description: draft.group_description.as_deref(),
            require_approve: draft.require_approve,
            resolve_on: codes::resolve_on::code(draft.resolve_on),
            create_on: codes::create_on::code(draft.create_on),
            name_template: draft.name_template.as_deref(),
            name_prefix: draft.name_prefix.as_deref(),
            multi_level: draft.multi_level,
            multi_level_property: draft.multi_level_property.as_deref(),
            threshold: draft.threshold,
            assignee: draft.assignee.as_deref(),
            enabled: draft.enabled,
            priority: draft.priority,
            stop_on_match: draft.stop_on_match,
            sql_query_json: draft.sql_query_json.as_deref(),
        }
    }
}

impl TryFrom<RuleDraftV1<'_>> for RuleDraft {
    type Error = RecordError;

    fn try_from(twin: RuleDraftV1<'_>) -> Result<Self, RecordError> {
        Ok(RuleDraft {
            name: twin.name.to_owned(),
            condition: twin.condition.to_owned(),
            branches: twin.branches.into_iter().map(str::to_owned).collect(),
            timeframe_seconds: twin.timeframe_seconds,
            time_unit: twin.time_unit.to_owned(),
            group_by: twin.group_by.into_iter().map(str::to_owned).collect(),
            on_missing_group: codes::on_missing_group::value(twin.on_missing_group)?,
            group_description: twin.group_description.map(str::to_owned),
            require_approve: twin.require_approve,
            resolve_on: codes::resolve_on::value(twin.resolve_on)?,
            create_on: codes::create_on::value(twin.create_on)?,
            name_template: twin.name_template.map(str::to_owned),
            name_prefix: twin.name_prefix.map(str::to_owned),
            multi_level: twin.multi_level,
            multi_level_property: twin.multi_level_property.map(str::to_owned),
            threshold: twin.threshold,
            assignee: twin.assignee.map(str::to_owned),
            enabled: twin.enabled,
            priority: twin.priority,
            stop_on_match: twin.stop_on_match,
            sql_query_json: twin.sql_query_json.map(str::to_owned),
        })
    }
}

impl<'a> From<&'a RuleStats> for RuleStatsV1<'a> {
    fn from(stats: &'a RuleStats) -> Self {
        let error = |error: &'a RuleError| RuleErrorV1 {
            message: &error.message,
            event_id: &error.event_id,
            at: error.at.0,
        };
        RuleStatsV1 {
            matches: stats.matches,
            incidents: stats.incidents,
            errors: stats.errors,
            last_match: stats.last_match.map(|time| time.0),
            last_error: stats.last_error.as_ref().map(error),
        }
    }
}

impl TryFrom<RuleStatsV1<'_>> for RuleStats {
    type Error = RecordError;

    fn try_from(twin: RuleStatsV1<'_>) -> Result<Self, RecordError> {
        let error = |error: RuleErrorV1<'_>| RuleError {
            message: error.message.to_owned(),
            event_id: error.event_id.to_owned(),
            at: Timestamp(error.at),
        };
        Ok(RuleStats {
            matches: twin.matches,
            incidents: twin.incidents,
            errors: twin.errors,
            last_match: twin.last_match.map(Timestamp),
            last_error: twin.last_error.map(error),
        })
    }
}
