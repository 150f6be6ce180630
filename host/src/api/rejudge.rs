//! `POST /alerts/rejudge`: alerts that no correlator saw, or that a plugin failed on, are judged again. A long range is
//! several commands, each one atomic step in the journal.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use donjon_core::Seq;
use donjon_core::command::{Command, CommandKey, CommandOutcome, Guard};
use donjon_core::limits::{MAX_REJUDGED_POSITIONS, MAX_REMEMBERED_COMMANDS};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::Shared;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
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
/// 10,000 positions, all of them within the journal.
#[utoipa::path(post, path = "/alerts/rejudge", tag = "alerts", request_body = Object,
    params(("Idempotency-Key" = Option<String>, Header)),
    responses((status = 200, body = Object), (status = 422, description = "The range does not fit")))]
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
    let (mut next, mut judged) = (from, 0);
    let mut step: u64 = 0;
    while next <= to {
        let last = to.min(next + MAX_REJUDGED_POSITIONS - 1);
        let command = Command::Rejudge {
            from: Seq(next),
            to: Seq(last),
            all: range.all,
        };
        if let CommandOutcome::Rejudged(count) = app.command(&caller, of_step(&guard, step), command).await? {
            judged += count;
        }
        (next, step) = (last + 1, step + 1);
    }
    Ok(Json(json!({"judged": judged, "from": from, "to": to})))
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
