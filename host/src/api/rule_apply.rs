//! `POST /rules/apply`: many rules as one command. All of them are checked before, and change together or not at all.

use std::collections::BTreeSet;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use donjon_core::command::{AppliedRule, Command, CommandOutcome, Guard, RuleChange};
use donjon_core::limits::MAX_RULES_PER_COMMAND;
use donjon_core::rule::RuleDraft;
use donjon_core::{RuleId, TenantId};
use donjon_store::journal::command_bytes;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::rules::{change, parse};
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::guards::Guards;
use crate::http::reads::{Pace, Work};
use crate::http::{App, Shared};
use crate::rules::{Rejection, draft_from_json};

/// Most bytes of the rules of one command in the journal. They are one commit, and a rule is written twice there: as the
/// newest, and as its version.
const MAX_APPLIED_BYTES: usize = 1 << 20;

const _: () = assert!(MAX_APPLIED_BYTES * 8 <= donjon_store::limits::MAX_ENTRY_BYTES);
const _: () = assert!(
    MAX_RULES_PER_COMMAND <= u16::MAX as usize,
    "their places have two bytes of an identifier"
);

/// The route of this module.
pub fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(apply))
}

/// Create the rules that are new by name and replace those that are known, all in one step or none; what a rule does not
/// say is the default. `If-Match` with the `ETag` of `GET /rules` applies them only if no rule was changed since. Answers
/// for each rule whether it was created, changed or unchanged. At most 1,000 rules and 1 MiB.
#[utoipa::path(post, path = "/rules/apply", tag = "rules", request_body = Object,
    params(("If-Match" = Option<String>, Header), ("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Object), (status = 400, description = "A required value is empty"),
        (status = 412, description = "Rules were changed meanwhile; ETag says what is there"),
        (status = 422, description = "A rule does not fit; with its place in the list")))]
async fn apply(
    State(app): State<Shared>,
    caller: Caller,
    guards: Guards,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    caller.may_change()?;
    let guard = guards.for_rules(&body)?;
    let drafts = drafts_of(&app, &caller.tenant, parse(&body)?).await?;
    let names: Vec<String> = drafts.iter().map(|draft| draft.name.clone()).collect();
    let command = Command::ApplyRules {
        rules: new_ids().zip(drafts).collect(),
    };
    let bytes = command_bytes(&Guard::default(), &command);
    if bytes > MAX_APPLIED_BYTES {
        return Err(ApiError::too_much_at_once("bytes of rules", MAX_APPLIED_BYTES, bytes));
    }
    match change(&app, &caller, guard, command).await? {
        CommandOutcome::RulesApplied(applied) => Ok(Json(told(&applied, &names))),
        // One of the new identifiers is taken: they are drawn, so another try will do.
        _ => Err(ApiError::internal("a drawn rule id is taken")),
    }
}

/// Rules as they were sent, checked, all faults of the first bad one told with its place.
async fn drafts_of(app: &App, tenant: &TenantId, body: Value) -> Result<Vec<RuleDraft>, ApiError> {
    let rules = match body {
        Value::Array(rules) => rules,
        one => vec![one],
    };
    if rules.len() > MAX_RULES_PER_COMMAND {
        return Err(ApiError::too_much_at_once("rules", MAX_RULES_PER_COMMAND, rules.len()));
    }
    let check = move |pace: &Pace| {
        let mut names = BTreeSet::new();
        let mut drafts = Vec::with_capacity(rules.len());
        for (place, rule) in rules.iter().enumerate() {
            pace.check()?;
            let draft = draft_from_json(rule).map_err(|rejection| in_place(rejection, place, rule))?;
            if !names.insert(draft.name.clone()) {
                let text = format!("two rules have this name; they are told apart by name: {}", draft.name);
                return Err(ApiError::unprocessable_at(place, "ruleName", text));
            }
            drafts.push(draft);
        }
        Ok(drafts)
    };
    app.reads.of(tenant).run(Work::Compile, check).await
}

fn in_place(rejection: Rejection, place: usize, rule: &Value) -> ApiError {
    let name = rule.get("ruleName").and_then(Value::as_str).unwrap_or("without a name");
    match rejection {
        Rejection::Empty(text) => ApiError::bad_request_at(place, format!("{text} (rule {name})")),
        Rejection::Faults(mut faults) => {
            for fault in &mut faults {
                fault.message = format!("{} (rule {name})", fault.message);
            }
            ApiError::faults_at(place, &faults)
        }
    }
}

/// Identifiers in the order in which they are drawn: of rules that one command creates it decides which applies first.
fn new_ids() -> impl Iterator<Item = RuleId> {
    (0..u16::MAX).map(|place| {
        let mut bytes = *uuid::Uuid::new_v4().as_bytes();
        for (to, from) in bytes.iter_mut().zip(place.to_be_bytes()) {
            *to = from;
        }
        RuleId::from(uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string())
    })
}

fn told(applied: &[AppliedRule], names: &[String]) -> Value {
    let word = |change| match change {
        RuleChange::Created => "created",
        RuleChange::Changed => "changed",
        RuleChange::Unchanged => "unchanged",
    };
    let count = |change| applied.iter().filter(|rule| rule.change == change).count();
    let rules: Vec<Value> = applied
        .iter()
        .zip(names)
        .map(|(rule, name)| {
            json!({"id": rule.id.as_str(), "name": name, "version": rule.version, "outcome": word(rule.change)})
        })
        .collect();
    json!({
        "created": count(RuleChange::Created), "changed": count(RuleChange::Changed),
        "unchanged": count(RuleChange::Unchanged), "rules": rules,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_of_one_command_are_in_the_order_of_its_rules() {
        let ids: Vec<RuleId> = new_ids().take(MAX_RULES_PER_COMMAND).collect();
        assert!(ids.is_sorted() && ids.iter().all(|id| id.as_str().len() == 36));
    }
}
