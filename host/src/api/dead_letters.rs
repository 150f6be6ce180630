//! Items that were refused, kept for people: list, put away, send again.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use donjon_core::Seq;
use donjon_core::command::Command;
use donjon_store::journal::EntryBody;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::documents::{own_entry, print_each};
use super::page::{Items, Page};
use crate::http::Shared;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::http::guards::Guards;
use crate::http::pieces::Pieces;
use crate::http::reads::{Pace, Work};
use crate::time;

/// Dead letters of one answer.
const DEFAULT_LIMIT: usize = 1000;

/// The routes of this module.
pub fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(dismiss))
        .routes(routes!(raw))
}

/// Refused items, newest first, each with its reason. A page that ends early says so, as that of `GET /alerts`.
#[utoipa::path(get, path = "/alerts/event/error", tag = "ingest", params(Page), responses((status = 200, body = Vec<Object>)))]
async fn list(State(app): State<Shared>, caller: Caller, Query(page): Query<Page>) -> Result<Response, ApiError> {
    caller.may_read()?;
    let page = page.bounds(DEFAULT_LIMIT)?;
    let reader = Arc::clone(&app);
    let mine = app.reads.of(&caller.tenant);
    let read = move |pace: &Pace| {
        let letters = reader.state.dead_letters(&caller.tenant, page.offset, page.limit)?;
        let mut items = Items::new(&reader);
        print_each(
            &reader,
            &caller.tenant,
            pace,
            &mut items,
            &letters,
            |seq, letter, entry| {
                let raw = match entry.map(|entry| entry.body) {
                    // What was taken as an alert and is refused later: it cannot be stored, or does not read back.
                    Some(EntryBody::DeadLetter { raw, .. } | EntryBody::Alert { document: raw, .. }) => {
                        Some(String::from_utf8_lossy(&raw).into_owned())
                    }
                    _ => None,
                };
                Ok(json!({
                    "id": seq.0.to_string(), "error_message": letter.reason, "timestamp": time::format(letter.accepted),
                    "provider_type": letter.provider, "event": raw,
                }))
            },
        )?;
        items.end_of(page);
        Ok(items.into_list(page.offset))
    };
    mine.answer(Work::Scan, read).await
}

/// The bytes of a refused item as they were sent, to be mended and posted again.
#[utoipa::path(get, path = "/alerts/event/error/{id}/raw", tag = "ingest", params(("id" = u64, Path)),
    responses((status = 200, content_type = "application/octet-stream"), (status = 404)))]
async fn raw(State(app): State<Shared>, caller: Caller, Path(id): Path<u64>) -> Result<Response, ApiError> {
    caller.may_read()?;
    let reader = Arc::clone(&app);
    let mine = app.reads.of(&caller.tenant);
    let read = move |_: &Pace| match own_entry(&reader, &caller.tenant, Seq(id))?.map(|entry| entry.body) {
        Some(EntryBody::DeadLetter { raw, .. }) => {
            let mut response = Response::new(Pieces::from(raw));
            let kind = HeaderValue::from_static("application/octet-stream");
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
            Ok(response)
        }
        _ => Err(ApiError::not_found(format!("no refused item at: {id}"))),
    };
    mine.answer(Work::LookUp, read).await
}

/// Put refused items away: those named in `{"ids": [...]}` or `{"alert_id": ...}`; all without a body.
#[utoipa::path(post, path = "/alerts/event/error/dismiss", tag = "ingest", request_body = Option<Object>,
    params(("Idempotency-Key" = Option<String>, Header)), responses((status = 200)))]
async fn dismiss(
    State(app): State<Shared>,
    caller: Caller,
    guards: Guards,
    body: axum::body::Bytes,
) -> Result<Json<Value>, ApiError> {
    caller.may_change()?;
    let guard = guards.once(&body)?;
    let body: Value = if body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&body).map_err(|error| ApiError::bad_request(format!("malformed JSON: {error}")))?
    };
    let seqs = dismissed(&body)?;
    app.command(&caller, guard, Command::DismissDeadLetters { seqs })
        .await?;
    Ok(Json(json!({"success": true})))
}

/// What a body names; none for everything.
fn dismissed(body: &Value) -> Result<Option<Vec<u64>>, ApiError> {
    let fields = match body {
        Value::Null => return Ok(None),
        Value::Object(fields) => fields,
        _ => {
            return Err(ApiError::unprocessable(
                "body",
                "must be an object like {\"ids\": [...]}",
            ));
        }
    };
    let mut seqs = None;
    for (field, value) in fields {
        match (field.as_str(), value) {
            ("ids" | "alert_id", Value::Null) => {}
            ("ids", Value::Array(ids)) => seqs = Some(ids.iter().map(seq_of).collect::<Result<Vec<u64>, _>>()?),
            ("ids", _) => return Err(ApiError::unprocessable("ids", "must be a list")),
            ("alert_id", id) => seqs = Some(vec![seq_of(id)?]),
            (other, _) => {
                let text =
                    format!("unknown field; name refused items with ids or alert_id, or send nothing for all: {other}");
                return Err(ApiError::unprocessable("body", text));
            }
        }
    }
    Ok(seqs)
}

fn seq_of(id: &Value) -> Result<u64, ApiError> {
    let seq = id.as_u64().or_else(|| id.as_str().and_then(|text| text.parse().ok()));
    seq.ok_or_else(|| ApiError::unprocessable("ids", format!("not an id of a refused item: {id}")))
}
