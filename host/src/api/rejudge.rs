//! `POST /alerts/rejudge`: alerts that no correlator saw, or that a plugin failed on, are judged again. A long range is
//! several commands, each one atomic step in the journal.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use donjon_core::Seq;
use donjon_core::command::{Command, CommandKey, CommandOutcome, Guard};
use donjon_core::limits::{MAX_REJUDGED_POSITIONS, MAX_REMEMBERED_COMMANDS};
use donjon_runtime::Role;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::Shared;
use crate::http::auth::Caller;
use crate::http::error::{ApiError, NOT_YET_APPLIED};
use crate::http::guards::Guards;

/// Most positions of one request.
const MAX_POSITIONS: u64 = 1_000_000;

/// Most positions of one request under a key: its commands are remembered one by one.
const MAX_KEYED_POSITIONS: u64 = 10_000;

const _: () = assert!(MAX_KEYED_POSITIONS / MAX_REJUDGED_POSITIONS < MAX_REMEMBERED_COMMANDS / 100);
const _: () = assert!(
    MAX_POSITIONS > MAX_REJUDGED_POSITIONS,
    "a long range is several commands"
);

/// The routes of this module.
pub fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new().routes(routes!(rejudge))
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Range {
    from: u64,
    to: u64,
    #[serde(default)]
    all: bool,
}

/// Judge alerts of a range of journal positions again (see `accepted` in `/readyz`): by their newest event, those that no
/// correlator saw or that a plugin failed on; with `all` those that were judged, too. Under an `Idempotency-Key` at most
/// 10,000 positions, all of them within the journal. An error after a part of the range was taken has `go_on_from`.
#[utoipa::path(post, path = "/alerts/rejudge", tag = "alerts", request_body = Object,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Object), (status = 409, description = "Nothing is loaded that judges"),
        (status = 422, description = "The range does not fit")))]
async fn rejudge(
    State(app): State<Shared>,
    caller: Caller,
    guards: Guards,
    body: Bytes,
) -> Result<Json<Value>, ApiError> {
    caller.may_change()?;
    let guard = guards.once(&body)?;
    let wrong = |text: String| ApiError::unprocessable("body", text);
    let range: Range = serde_json::from_slice(&body).map_err(|error| {
        wrong(format!(
            "must be {{\"from\": 1, \"to\": 1000, \"all\": false}}: {error}"
        ))
    })?;
    let accepted = app.intake.progress().accepted().0;
    let (from, to) = (range.from.max(1), range.to.min(accepted));
    if range.from > range.to {
        return Err(wrong(format!("from is after to: {} > {}", range.from, range.to)));
    }
    let keyed = guard.once.is_some();
    if keyed && range.to > accepted {
        return Err(wrong(format!(
            "under an Idempotency-Key the range must end within the journal, or a retry would judge what came since: {accepted}"
        )));
    }
    let longest = if keyed { MAX_KEYED_POSITIONS } else { MAX_POSITIONS };
    if to.saturating_sub(from) >= longest {
        return Err(wrong(format!(
            "the range is longer than the limit; give it in parts: {longest} positions"
        )));
    }
    if range.from > accepted {
        return Err(wrong(format!(
            "the range begins behind the end of the journal: {from} > {accepted}"
        )));
    }
    // A retry is answered as before, whatever is loaded by now.
    if !keyed && !can_judge(&app) {
        let text =
            "no correlator or enricher is loaded, so nothing would be judged; put it into the plugin directory first";
        return Err(ApiError::new(StatusCode::CONFLICT, "nothing_judges", text));
    }
    let give = |step, from, to| {
        let all = range.all;
        app.command(&caller, of_step(&guard, step), Command::Rejudge { from, to, all })
    };
    let judged = in_steps(from, to, give).await.map_err(|stopped| stopped.told(keyed))?;
    Ok(Json(json!({"judged": judged, "from": from, "to": to})))
}

fn can_judge(app: &Shared) -> bool {
    let set = app.plugins.set().load();
    let judges = |role| set.plugins.iter().any(|plugin| plugin.roles().contains(role));
    judges(Role::Correlator) || judges(Role::Enricher)
}

/// Where a range ended before its end, and why.
#[derive(Debug)]
struct Stopped {
    error: ApiError,
    /// Alerts judged until then.
    judged: u64,
    /// Positions given, or still to be given.
    from: u64,
    next: u64,
    to: u64,
}

/// Gives the commands of a range one after the other, and counts what they judged.
async fn in_steps<Given>(from: u64, to: u64, mut give: impl FnMut(u64, Seq, Seq) -> Given) -> Result<u64, Stopped>
where
    Given: Future<Output = Result<CommandOutcome, ApiError>>,
{
    let (mut next, mut judged) = (from, 0);
    let mut step: u64 = 0;
    while next <= to {
        let last = to.min(next + MAX_REJUDGED_POSITIONS - 1);
        match give(step, Seq(next), Seq(last)).await {
            Ok(CommandOutcome::Rejudged(count)) => judged += count,
            Ok(_) => {}
            Err(error) => {
                let taken = error.code() == NOT_YET_APPLIED;
                let next = if taken { last + 1 } else { next };
                return Err(Stopped {
                    error,
                    judged,
                    from,
                    next,
                    to,
                });
            }
        }
        (next, step) = (last + 1, step + 1);
    }
    Ok(judged)
}

impl Stopped {
    /// What the error of one command says is not true of the whole range: which part it is about, and how to go on.
    fn told(self, keyed: bool) -> ApiError {
        let Stopped {
            error,
            judged,
            from,
            next,
            to,
        } = self;
        if next == from || next > to {
            return error;
        }
        let how = if keyed {
            "send the same request again under its Idempotency-Key".to_owned()
        } else {
            format!("go on with from = {next}")
        };
        let before = next - 1;
        let done = if error.code() == NOT_YET_APPLIED {
            format!("that is so up to position {before}")
        } else {
            format!("up to position {before} it is done, alerts judged again: {judged}")
        };
        let more = format!("{done}; positions {next} to {to} are not: {how}");
        error.going_on_from(next, &more)
    }
}

/// Each command of a request has a key of its own, which the same request gives again.
fn of_step(guard: &Guard, step: u64) -> Guard {
    let key = |CommandKey { key, request }| {
        let key = Sha256::new().chain_update(key).chain_update(step.to_be_bytes());
        CommandKey {
            key: key.finalize().into(),
            request,
        }
    };
    Guard {
        once: guard.once.map(key),
        ..guard.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::StatusCode;
    use axum::response::IntoResponse;

    use super::*;

    /// The answer to positions 1 to 1000 of which the third step ends so.
    async fn answered(third: fn() -> Result<CommandOutcome, ApiError>, keyed: bool) -> Result<u64, (u16, Value)> {
        let give = |step, _, _| async move {
            if step == 2 {
                third()
            } else {
                Ok(CommandOutcome::Rejudged(10))
            }
        };
        match in_steps(1, 1000, give).await {
            Ok(judged) => Ok(judged),
            Err(stopped) => {
                let response = stopped.told(keyed).into_response();
                let status = response.status().as_u16();
                let body = axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap();
                Err((status, serde_json::from_slice(&body).unwrap()))
            }
        }
    }

    #[tokio::test]
    async fn a_long_range_that_is_not_done_says_where_to_go_on() {
        let each = MAX_REJUDGED_POSITIONS;
        assert_eq!(answered(|| Ok(CommandOutcome::Rejudged(1)), false).await, Ok(71));
        // The third step is in the journal, those after it are not.
        let late = || Err(ApiError::not_yet_applied(Duration::from_secs(60)));
        let (status, body) = answered(late, false).await.unwrap_err();
        assert_eq!((status, &body["go_on_from"]), (504, &json!(3 * each + 1)), "{body}");
        let text = body["detail"].as_str().unwrap();
        assert!(
            text.contains("durable") && text.ends_with(&format!("to 1000 are not: go on with from = {}", 3 * each + 1)),
            "{text}"
        );
        // Nor is the third.
        let busy = || Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, "behind", "too many"));
        let (status, body) = answered(busy, true).await.unwrap_err();
        assert_eq!((status, &body["go_on_from"]), (429, &json!(2 * each + 1)), "{body}");
        let text = body["detail"].as_str().unwrap();
        assert!(
            text.contains("judged again: 20") && text.contains("same request again"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn an_error_about_the_whole_range_stays_what_it_is() {
        let late = |_, _, _| async { Err(ApiError::not_yet_applied(Duration::from_secs(60))) };
        let alone = in_steps(1, 5, late).await.unwrap_err().told(false);
        assert_eq!(alone.go_on_from(), None, "all of it is in the journal");
        let none = |_, _, _| async { Err(ApiError::bad_request("no")) };
        let none = in_steps(1, 1000, none).await.unwrap_err().told(false);
        assert_eq!(none.go_on_from(), None, "nothing of it is");
    }
}
