//! Rules as JSON: the reference's field names in, checked drafts out, and back. The twin of `donjon_core::rule` for the
//! HTTP interface, rule files and the policies that plugins bring along. Knows no HTTP.

use donjon_core::batch::OnMissingGroup;
use donjon_core::limits::{
    MAX_BRANCHES, MAX_CONDITION_BYTES, MAX_GROUP_PATHS, MAX_PATH_KEYS, MAX_RULE_TEXT_BYTES, MAX_TIMEFRAME_SECONDS,
};
use donjon_core::naming::Template;
use donjon_core::rule::{CreateOn, ResolveOn, Rule, RuleDraft, RuleStats};
use donjon_core::value::split_path;
use serde_json::{Map, Value, json};

use crate::time;

// What the expression language takes, the records hold.
const _: () = assert!(donjon_expr::limits::MAX_SOURCE_BYTES <= MAX_CONDITION_BYTES);
const _: () = assert!(donjon_expr::limits::MAX_BRANCHES <= MAX_BRANCHES);

/// What is wrong with one field of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The field, as the client wrote it.
    pub field: &'static str,
    /// What is wrong.
    pub message: String,
    /// Where in a condition, counted from 1; 0 if it does not apply.
    pub line: u32,
    /// Where in a condition, counted from 1; 0 if it does not apply.
    pub column: u32,
}

/// Why a rule was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// A required value is empty: 400, in the words of the reference.
    #[error("{0}")]
    Empty(&'static str),
    /// Fields that are missing or do not fit: 422.
    #[error("{}", faults_text(.0))]
    Faults(Vec<Fault>),
}

fn faults_text(faults: &[Fault]) -> String {
    let line = |fault: &Fault| match fault.line {
        0 => format!("{}: {}", fault.field, fault.message),
        line => format!(
            "{}: line {line}, column {}: {}",
            fault.field, fault.column, fault.message
        ),
    };
    faults.iter().map(line).collect::<Vec<_>>().join("; ")
}

/// Reads a rule as `POST /rules` takes it.
///
/// # Errors
/// When fields are missing, empty or do not fit, or the condition does not parse; all faults at once.
pub fn draft_from_json(body: &Value) -> Result<RuleDraft, Rejection> {
    let mut fields = Fields {
        body: body.as_object(),
        faults: Vec::new(),
    };
    if fields.body.is_none() {
        return Err(Rejection::Faults(vec![fault("body", "must be a JSON object")]));
    }
    for (field, empty) in [
        ("ruleName", "Rule name is required"),
        ("celQuery", "CEL is required"),
        ("timeUnit", "Timeunit is required"),
    ] {
        if fields
            .required(field)
            .and_then(Value::as_str)
            .is_some_and(str::is_empty)
        {
            return Err(Rejection::Empty(empty));
        }
    }
    if fields.required("timeframeInSeconds").and_then(Value::as_i64) == Some(0) {
        return Err(Rejection::Empty("Timeframe is required"));
    }
    let condition = fields.text("celQuery").unwrap_or_default();
    let branches = if condition.is_empty() {
        Vec::new()
    } else {
        fields.branches(&condition)
    };
    fields.draft(condition, branches)
}

/// What the settings of a policy may say: a rule, but for its condition.
const POLICY_FIELDS: [&str; 18] = [
    "ruleName",
    "timeframeInSeconds",
    "timeUnit",
    "groupDescription",
    "requireApprove",
    "resolveOn",
    "createOn",
    "incidentNameTemplate",
    "incidentPrefix",
    "multiLevel",
    "multiLevelPropertyName",
    "threshold",
    "assignee",
    "enabled",
    "priority",
    "stopOnMatch",
    "groupingCriteria",
    "onMissingGroup",
];

/// Reads the settings of a policy that a plugin brings along, as JSON text: a rule without a condition. Strict, because
/// nobody else would find a misspelt field; empty text is an empty object.
///
/// # Errors
/// When it is no JSON object, or has an unknown field, or a field does not fit.
pub fn policy_from_json(settings: &str, plugin: &str) -> Result<RuleDraft, Rejection> {
    let told = |message: String| Rejection::Faults(vec![fault("settings", message)]);
    let text = if settings.trim().is_empty() { "{}" } else { settings };
    let parsed: Value = serde_json::from_str(text).map_err(|error| told(format!("malformed JSON: {error}")))?;
    let Value::Object(mut body) = parsed else {
        return Err(told("must be a JSON object".to_owned()));
    };
    if let Some(unknown) = body.keys().find(|key| !POLICY_FIELDS.contains(&key.as_str())) {
        let there_are = POLICY_FIELDS.join(", ");
        return Err(told(format!("unknown field {unknown}; there are: {there_are}")));
    }
    for (field, default) in [
        ("ruleName", json!(plugin)),
        ("timeUnit", json!("seconds")),
        ("timeframeInSeconds", json!(600)),
    ] {
        body.entry(field).or_insert(default);
    }
    let mut fields = Fields {
        body: Some(&body),
        faults: Vec::new(),
    };
    fields.draft(String::new(), vec![format!("policy of plugin {plugin}")])
}

struct Fields<'a> {
    body: Option<&'a Map<String, Value>>,
    faults: Vec<Fault>,
}

fn fault(field: &'static str, message: impl Into<String>) -> Fault {
    Fault {
        field,
        message: message.into(),
        line: 0,
        column: 0,
    }
}

impl<'a> Fields<'a> {
    fn get(&self, field: &str) -> Option<&'a Value> {
        self.body?.get(field).filter(|value| !value.is_null())
    }

    fn required(&mut self, field: &'static str) -> Option<&'a Value> {
        let value = self.get(field);
        if value.is_none() {
            self.faults.push(fault(field, "field required"));
        }
        value
    }

    fn text(&mut self, field: &'static str) -> Option<String> {
        match self.get(field)? {
            Value::String(text) if field != "celQuery" && text.len() > MAX_RULE_TEXT_BYTES => {
                self.faults.push(fault(
                    field,
                    format!("is longer than the limit: {MAX_RULE_TEXT_BYTES} bytes"),
                ));
                None
            }
            Value::String(text) if text.contains('\0') => {
                self.faults.push(fault(field, "must not contain NUL characters"));
                None
            }
            Value::String(text) => Some(text.clone()),
            _ => {
                self.faults.push(fault(field, "must be text"));
                None
            }
        }
    }

    fn flag(&mut self, field: &'static str, default: bool) -> bool {
        match self.get(field) {
            None => default,
            Some(Value::Bool(flag)) => *flag,
            Some(_) => {
                self.faults.push(fault(field, "must be true or false"));
                default
            }
        }
    }

    fn whole<T: TryFrom<i64>>(&mut self, field: &'static str, default: T, least: i64) -> T {
        let Some(value) = self.get(field) else { return default };
        let number = value
            .as_i64()
            .or_else(|| value.as_str().and_then(|text| text.parse().ok()));
        match number
            .filter(|number| *number >= least)
            .and_then(|number| T::try_from(number).ok())
        {
            Some(number) => number,
            None => {
                self.faults.push(fault(
                    field,
                    format!("must be a whole number of at least {least}, within range"),
                ));
                default
            }
        }
    }

    fn chosen<T>(&mut self, field: &'static str, default: T, known: &str, parse: impl Fn(&str) -> Option<T>) -> T {
        let Some(value) = self.get(field) else { return default };
        match value.as_str().and_then(parse) {
            Some(chosen) => chosen,
            None => {
                self.faults
                    .push(fault(field, format!("must be one of {known}, found {value}")));
                default
            }
        }
    }

    fn paths(&mut self, field: &'static str) -> Vec<String> {
        let Some(value) = self.get(field) else {
            return Vec::new();
        };
        let paths: Option<Vec<String>> = value
            .as_array()
            .and_then(|list| list.iter().map(|path| path.as_str().map(str::to_owned)).collect());
        match paths {
            Some(paths) if paths.len() > MAX_GROUP_PATHS => {
                self.faults.push(fault(
                    field,
                    format!("has more paths than the limit: {MAX_GROUP_PATHS}"),
                ));
                Vec::new()
            }
            Some(paths)
                if paths
                    .iter()
                    .all(|path| !path.is_empty() && !path.contains('\0') && path.len() <= MAX_RULE_TEXT_BYTES) =>
            {
                let too_long = |path: &String| split_path(path).len() > MAX_PATH_KEYS;
                if paths.iter().any(too_long) {
                    let text = format!("has a path with more keys than the limit: {MAX_PATH_KEYS}");
                    self.faults.push(fault(field, text));
                }
                paths
            }
            _ => {
                self.faults
                    .push(fault(field, "must be a list of attribute paths without NUL characters"));
                Vec::new()
            }
        }
    }

    fn branches(&mut self, condition: &str) -> Vec<String> {
        match donjon_expr::Expression::compile(condition) {
            Ok(expression) => expression.branches().iter().map(|branch| branch.text.clone()).collect(),
            Err(diagnostics) => {
                self.faults.extend(diagnostics.into_iter().map(|found| Fault {
                    field: "celQuery",
                    message: found.message,
                    line: found.line,
                    column: found.column,
                }));
                Vec::new()
            }
        }
    }

    fn timeframe(&mut self) -> u64 {
        let seconds = self.whole("timeframeInSeconds", 0, 1);
        if seconds > MAX_TIMEFRAME_SECONDS {
            let text = format!("is longer than the limit of {MAX_TIMEFRAME_SECONDS} seconds: {seconds}");
            self.faults.push(fault("timeframeInSeconds", text));
        }
        seconds
    }

    fn template(&mut self) -> Option<String> {
        let template = self.text("incidentNameTemplate").filter(|text| !text.is_empty())?;
        if let Some(over) = Template::over_limit(&template) {
            self.faults.push(fault("incidentNameTemplate", over));
        }
        Some(template)
    }

    fn draft(&mut self, condition: String, branches: Vec<String>) -> Result<RuleDraft, Rejection> {
        let missing = "none, skip";
        let draft = RuleDraft {
            name: self.text("ruleName").unwrap_or_default(),
            condition,
            branches,
            timeframe_seconds: self.timeframe(),
            time_unit: self.text("timeUnit").unwrap_or_default(),
            group_by: self.paths("groupingCriteria"),
            on_missing_group: self.chosen("onMissingGroup", OnMissingGroup::None, missing, |text| match text {
                "none" => Some(OnMissingGroup::None),
                "skip" => Some(OnMissingGroup::Skip),
                _ => None,
            }),
            group_description: self.text("groupDescription"),
            require_approve: self.flag("requireApprove", false),
            resolve_on: self.chosen(
                "resolveOn",
                ResolveOn::Never,
                "first_resolved, last_resolved, all_resolved, never",
                ResolveOn::parse,
            ),
            create_on: self.chosen("createOn", CreateOn::Any, "any, all", CreateOn::parse),
            name_template: self.template(),
            name_prefix: self.text("incidentPrefix").filter(|text| !text.is_empty()),
            multi_level: self.flag("multiLevel", false),
            multi_level_property: self.text("multiLevelPropertyName").filter(|text| !text.is_empty()),
            threshold: self.whole("threshold", 1, 1),
            assignee: self.text("assignee").filter(|text| !text.is_empty()),
            enabled: self.flag("enabled", true),
            priority: self.whole("priority", 0, i64::from(i32::MIN)),
            stop_on_match: self.flag("stopOnMatch", false),
            sql_query_json: self
                .get("sqlQuery")
                .map(Value::to_string)
                .filter(|text| text.len() <= MAX_RULE_TEXT_BYTES),
        };
        if self.faults.is_empty() {
            Ok(draft)
        } else {
            Err(Rejection::Faults(std::mem::take(&mut self.faults)))
        }
    }
}

/// A rule as the interface shows it: the reference's names, our additions in camel case as they are posted.
pub fn to_json(rule: &Rule, stats: &RuleStats, offered: u64) -> Value {
    let draft = &rule.draft;
    let sql = draft
        .sql_query_json
        .as_deref()
        .and_then(|text| serde_json::from_str(text).ok());
    json!({
        "id": rule.id.as_str(),
        "tenant_id": rule.tenant.as_str(),
        "name": draft.name,
        "definition": sql.unwrap_or_else(|| json!({"sql": "", "params": {}})),
        "definition_cel": draft.condition,
        "branches": draft.branches,
        "timeframe": draft.timeframe_seconds,
        "timeunit": draft.time_unit,
        "grouping_criteria": draft.group_by,
        "onMissingGroup": match draft.on_missing_group { OnMissingGroup::None => "none", OnMissingGroup::Skip => "skip" },
        "group_description": draft.group_description,
        "item_description": null,
        "require_approve": draft.require_approve,
        "resolve_on": draft.resolve_on.as_str(),
        "create_on": draft.create_on.as_str(),
        "incident_name_template": draft.name_template,
        "incident_prefix": draft.name_prefix,
        "multi_level": draft.multi_level,
        "multi_level_property_name": draft.multi_level_property,
        "threshold": draft.threshold,
        "assignee": draft.assignee,
        "enabled": draft.enabled,
        "priority": draft.priority,
        "stopOnMatch": draft.stop_on_match,
        "is_deleted": rule.deleted,
        "version": rule.version,
        "created_by": rule.created_by,
        "creation_time": time::format(rule.created),
        "updated_by": rule.updated_by,
        "update_time": rule.updated.map(time::format),
        "incidents": stats.incidents,
        "counters": {
            "evaluations": offered.saturating_sub(rule.offered_at_creation),
            "matches": stats.matches,
            "incidents": stats.incidents,
            "errors": stats.errors,
            "last_match": stats.last_match.map(time::format),
            "last_error": stats.last_error.as_ref().map(|error| json!({
                "message": error.message, "event_id": error.event_id, "at": time::format(error.at),
            })),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn posted(changes: Value) -> Value {
        let mut body = json!({"ruleName": "r", "celQuery": "source == \"a\" || severity == \"high\"",
            "timeframeInSeconds": 600, "timeUnit": "seconds"});
        for (key, value) in changes.as_object().unwrap() {
            body[key] = value.clone();
        }
        body
    }

    #[test]
    fn rules_are_checked_field_by_field() {
        let check =
            |changes: Value, expected: Result<usize, &str>| match (draft_from_json(&posted(changes.clone())), expected)
            {
                (Ok(draft), Ok(branches)) => assert_eq!(draft.branches.len(), branches, "{changes}"),
                (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{changes}: {error}"),
                (got, _) => panic!("{changes}: {got:?}"),
            };
        check(json!({}), Ok(2));
        check(json!({"createOn": "ALL", "resolveOn": "first", "threshold": 3}), Ok(2));
        check(json!({"createOn": "some"}), Err("createOn: must be one of any, all"));
        check(json!({"resolveOn": "soon"}), Err("resolveOn: must be one of"));
        check(
            json!({"threshold": 0}),
            Err("threshold: must be a whole number of at least 1"),
        );
        check(json!({"timeframeInSeconds": 0}), Err("Timeframe is required"));
        check(json!({"timeframeInSeconds": -5}), Err("timeframeInSeconds"));
        check(json!({"ruleName": ""}), Err("Rule name is required"));
        check(json!({"ruleName": null}), Err("ruleName: field required"));
        check(
            json!({"celQuery": "severity = \"high\""}),
            Err("celQuery: line 1, column 10"),
        );
        check(json!({"groupingCriteria": [5]}), Err("groupingCriteria"));
        check(json!({"groupingCriteria": ["a\0b"]}), Err("NUL"));
        check(json!({"ruleName": "a\0b"}), Err("ruleName: must not contain NUL"));
        check(
            json!({"groupingCriteria": [format!("a{}", ".b".repeat(16))]}),
            Err("more keys than the limit: 16"),
        );
        check(
            json!({"timeframeInSeconds": i64::MAX}),
            Err("timeframeInSeconds: is longer than the limit of 316224000 seconds"),
        );
        check(
            json!({"incidentNameTemplate": "{{a}}".repeat(819)}),
            Err("incidentNameTemplate: has more placeholders than the limit of 16: 819"),
        );
        check(json!({"incidentNameTemplate": "{{a}}".repeat(16)}), Ok(2));
        check(json!({"priority": 1e12}), Err("priority"));
        check(json!({"enabled": "yes"}), Err("enabled: must be true or false"));
    }

    #[test]
    fn settings_of_a_policy_are_parsed_strictly() {
        let refused = |settings: &str, part: &str| {
            let error = policy_from_json(settings, "p").unwrap_err().to_string();
            assert!(error.contains(part), "{settings}: {error}");
        };
        assert_eq!(policy_from_json("", "p").unwrap().timeframe_seconds, 600);
        assert_eq!(
            policy_from_json(r#"{"ruleName": "R", "threshold": 3}"#, "p")
                .unwrap()
                .threshold,
            3
        );
        refused("window: 5", "malformed JSON");
        refused("[]", "must be a JSON object");
        refused(r#"{"timeframe": 60}"#, "unknown field timeframe");
        refused(r#"{"threshold": "many"}"#, "threshold: must be a whole number");
        refused(r#"{"celQuery": "true"}"#, "unknown field celQuery");
    }
}
