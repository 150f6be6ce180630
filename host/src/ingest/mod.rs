//! The way in: bodies to items, items to alerts, alerts to the journal. A request is answered 202 once everything in it
//! is on stable storage, or 200 with outcomes once it is applied (`?wait=true`). Never calls `api`.

pub mod body;
pub mod normalise;
pub mod providers;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use donjon_core::digest::content_digest;
use donjon_core::{EventId, Object, Timestamp, Value};
use serde::Deserialize;
use serde_json::json;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::APPLY_WAIT;
use crate::http::Shared;
use crate::http::auth::Caller;
use crate::http::error::ApiError;
use crate::intake::{Applied, Item, NewAlert};
use crate::json;
use crate::telemetry::Kind;
use body::RawItem;
use providers::Provider;

/// Largest document of one alert, and most bytes of a bad item that are kept with its dead letter. Well below what one
/// journal entry holds.
const MAX_DOCUMENT_BYTES: usize = 4 << 20;
/// Most attributes of one alert at the top level; normalising adds some of its own.
const MAX_ATTRIBUTES: usize = 1000;
/// Bad items that are named in one answer.
const NAMED_INVALID: usize = 100;
/// Bodies with more bytes than this, and compressed ones, are parsed on a thread for blocking work.
const LARGE_BODY_BYTES: usize = 256 * 1024;

/// The routes of ingest.
pub fn routes() -> OpenApiRouter<Shared> {
    OpenApiRouter::new()
        .routes(routes!(post_events))
        .routes(routes!(post_provider_events))
        .routes(routes!(post_v2_alerts))
}

/// Query parameters of ingest.
#[derive(Debug, Default, Deserialize, IntoParams)]
pub struct IngestQuery {
    /// Answer only once the alerts are applied, with the outcome of each.
    #[serde(default)]
    wait: bool,
    /// Overrides the fingerprint of every alert in the body.
    fingerprint: Option<String>,
}

/// Take alerts in.
#[utoipa::path(post, path = "/alerts/event", tag = "ingest", params(IngestQuery),
    request_body(content = serde_json::Value, description = "An alert, a list of alerts, or lines of alerts"),
    responses((status = 202, description = "On stable storage"), (status = 200, description = "Applied (`wait=true`)"),
        (status = 400, description = "Malformed"), (status = 422, description = "No item is an alert; all are kept as refused items"), (status = 413, description = "Too large"), (status = 429, description = "Try again later")))]
async fn post_events(
    State(app): State<Shared>,
    caller: Caller,
    Query(query): Query<IngestQuery>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    take(app, caller, "", Provider::Keep, query, &headers, body).await
}

/// Take in what a tool sends.
#[utoipa::path(post, path = "/alerts/event/{provider}", tag = "ingest",
    params(IngestQuery, ("provider" = String, Path, description = "keep, prometheus, alertmanager or grafana")),
    request_body(content = serde_json::Value, description = "The tool's webhook body"),
    responses((status = 202, description = "On stable storage"), (status = 200, description = "Applied (`wait=true`)"),
        (status = 400, description = "Malformed, or unknown provider"), (status = 413, description = "Too large"),
        (status = 429, description = "Try again later")))]
async fn post_provider_events(
    State(app): State<Shared>,
    caller: Caller,
    Path(name): Path<String>,
    Query(query): Query<IngestQuery>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let provider = Provider::parse(&name).ok_or_else(|| {
        ApiError::bad_request(format!(
            "Provider {name} not found; known: keep, prometheus, alertmanager, grafana"
        ))
    })?;
    take(app, caller, provider.as_str(), provider, query, &headers, body).await
}

/// Take in what a Prometheus server sends: the Alertmanager v2 interface.
#[utoipa::path(post, path = "/api/v2/alerts", tag = "ingest",
    request_body(content = serde_json::Value, description = "A list of alerts in Alertmanager's shape"),
    responses((status = 200, description = "On stable storage"), (status = 400, description = "Malformed")))]
async fn post_v2_alerts(
    State(app): State<Shared>,
    caller: Caller,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    let provider = Provider::PrometheusV2;
    take(
        app,
        caller,
        provider.as_str(),
        provider,
        IngestQuery::default(),
        &headers,
        body,
    )
    .await?;
    Ok(StatusCode::OK.into_response())
}

/// What the items of a body have in common.
struct Origin {
    provider_name: String,
    provider: Provider,
    fingerprint: Option<String>,
    api_key_name: String,
    now: Timestamp,
}

/// What is told about one item.
struct Told {
    id: String,
    fingerprint: String,
    invalid: Option<String>,
}

async fn take(
    app: Shared,
    caller: Caller,
    provider_name: &str,
    provider: Provider,
    query: IngestQuery,
    headers: &HeaderMap,
    body: Bytes,
) -> Result<Response, ApiError> {
    caller.may_send()?;
    let origin = Origin {
        provider_name: provider_name.to_owned(),
        provider,
        fingerprint: query.fingerprint,
        api_key_name: caller.name.clone(),
        now: app.clock.now(),
    };
    let Parsed { items, told, bytes } = parse(&app, origin, headers, body).await?;
    let (count, invalid) = (items.len(), told.iter().filter(|told| told.invalid.is_some()).count());
    let items_counted = |kind, count: usize| {
        app.metrics
            .ingest_items
            .get_or_create(&Kind { kind })
            .inc_by(count as u64)
    };
    app.metrics.ingest_bytes.inc_by(bytes as u64);
    let accepted = app.intake.accept(caller.tenant, items, query.wait).await;
    let receipt = accepted.inspect_err(|_| {
        items_counted("refused", count);
    })?;
    items_counted("accepted", count - invalid);
    items_counted("invalid", invalid);
    let task_name = receipt.first.0.to_string();
    // Not applied in time is no error: the alerts are durable, and the sender must not send them again.
    let outcomes = receipt.outcomes(APPLY_WAIT).await;
    if invalid > 0 && invalid == told.len() {
        let reasons = told.into_iter().filter_map(|told| told.invalid).take(NAMED_INVALID);
        return Err(ApiError::refused_items(reasons.collect()));
    }
    Ok(match outcomes {
        None => (StatusCode::ACCEPTED, Json(accepted_answer(&task_name, &told))).into_response(),
        Some(outcomes) => (StatusCode::OK, Json(applied_answer(&task_name, &told, outcomes))).into_response(),
    })
}

/// What a body came to.
struct Parsed {
    items: Vec<Item>,
    told: Vec<Told>,
    bytes: usize,
}

/// Decompresses, splits, parses and normalises; a large body on a thread for blocking work, where it keeps no other
/// request waiting.
async fn parse(app: &Shared, origin: Origin, headers: &HeaderMap, body: Bytes) -> Result<Parsed, ApiError> {
    let (encoding, ndjson) = (text_header(headers, header::CONTENT_ENCODING), is_ndjson(headers));
    let (max_body_bytes, max_items) = (app.limits.max_body_bytes, app.limits.max_items);
    let large = encoding.is_some() || body.len() > LARGE_BODY_BYTES;
    let work = move || -> Result<Parsed, ApiError> {
        let body = body::decompress(body, encoding.as_deref(), max_body_bytes)?;
        let raw = body::split(&body, ndjson, max_items)?;
        let (items, told) = items_of(raw, &origin);
        Ok(Parsed {
            items,
            told,
            bytes: body.len(),
        })
    };
    if !large {
        return work();
    }
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| ApiError::internal(error.to_string()))?
}

fn text_header(headers: &HeaderMap, name: header::HeaderName) -> Option<String> {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .map(str::to_owned)
}

fn is_ndjson(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    ["application/x-ndjson", "application/ndjson", "application/jsonl"].contains(&kind)
}

/// The journal items of a body, and what to tell about each. A bad alert becomes a dead letter with its reason.
fn items_of(raw: Vec<RawItem<'_>>, origin: &Origin) -> (Vec<Item>, Vec<Told>) {
    let (mut items, mut told) = (Vec::with_capacity(raw.len()), Vec::with_capacity(raw.len()));
    for item in raw {
        for alert in alerts_of(&item, origin) {
            let (item, tell) = match alert {
                Ok(alert) => good(alert),
                Err(reason) => bad(&item, reason, origin),
            };
            items.push(item);
            told.push(tell);
        }
    }
    (items, told)
}

fn good(alert: NewAlert) -> (Item, Told) {
    let id = alert
        .alert
        .attributes
        .get("id")
        .and_then(Value::as_text)
        .unwrap_or_default()
        .to_owned();
    let told = Told {
        id,
        fingerprint: alert.alert.fingerprint.as_str().to_owned(),
        invalid: None,
    };
    (Item::Alert(Box::new(alert)), told)
}

fn bad(item: &RawItem<'_>, reason: String, origin: &Origin) -> (Item, Told) {
    let (RawItem::Json(bytes) | RawItem::Broken(bytes, _)) = item;
    let raw = bytes.get(..MAX_DOCUMENT_BYTES).unwrap_or(bytes).to_vec();
    let told = Told {
        id: String::new(),
        fingerprint: String::new(),
        invalid: Some(reason.clone()),
    };
    (
        Item::DeadLetter {
            provider: origin.provider_name.clone(),
            reason,
            raw,
        },
        told,
    )
}

/// The alerts of one item, each on its own; one reason if there are none to be found in it.
fn alerts_of(item: &RawItem<'_>, origin: &Origin) -> Vec<Result<NewAlert, String>> {
    match objects_of(item, origin) {
        Ok(objects) => objects.into_iter().map(|object| new_alert(object?, origin)).collect(),
        Err(reason) => vec![Err(reason)],
    }
}

fn objects_of(item: &RawItem<'_>, origin: &Origin) -> Result<Vec<Result<Object, String>>, String> {
    let bytes = match item {
        RawItem::Broken(_, reason) => return Err(reason.clone()),
        RawItem::Json(bytes) => bytes,
    };
    match json::parse(bytes) {
        Ok(Value::Object(object)) => origin.provider.alerts(object, origin.now),
        Ok(_) => Err("alert must be a JSON object".into()),
        Err(error) => Err(format!("malformed JSON: {error}")),
    }
}

fn new_alert(object: Object, origin: &Origin) -> Result<NewAlert, String> {
    if object.len() > MAX_ATTRIBUTES {
        return Err(format!("alert has more attributes than the limit: {MAX_ATTRIBUTES}"));
    }
    let given = normalise::Given {
        provider: &origin.provider_name,
        fingerprint: origin.fingerprint.as_deref(),
        now: origin.now,
    };
    let alert = normalise::normalise(object, given).map_err(|error| error.to_string())?;
    let document = json::object_to_vec(&alert.attributes);
    if document.len() > MAX_DOCUMENT_BYTES {
        return Err(format!("alert is larger than the limit: {MAX_DOCUMENT_BYTES} bytes"));
    }
    Ok(NewAlert {
        event_id: EventId::from(uuid::Uuid::new_v4().to_string()),
        provider: origin.provider_name.clone(),
        api_key_name: origin.api_key_name.clone(),
        digest: content_digest(&alert.attributes, alert.id_generated),
        document,
        alert,
    })
}

fn accepted_answer(task_name: &str, told: &[Told]) -> serde_json::Value {
    let invalid: Vec<_> = told
        .iter()
        .enumerate()
        .filter_map(|(index, told)| {
            told.invalid
                .as_ref()
                .map(|reason| json!({"index": index, "reason": reason}))
        })
        .collect();
    if invalid.is_empty() {
        return json!({"task_name": task_name});
    }
    let count = invalid.len();
    let named: Vec<_> = invalid.into_iter().take(NAMED_INVALID).collect();
    json!({"task_name": task_name, "invalid_count": count, "invalid": named})
}

fn applied_answer(task_name: &str, told: &[Told], outcomes: Vec<Option<Applied>>) -> serde_json::Value {
    let event = |(told, outcome): (&Told, Option<Applied>)| match (outcome, &told.invalid) {
        (
            Some(Applied::Event {
                outcome,
                incidents,
                failure,
            }),
            None,
        ) => json!({
            "id": told.id, "fingerprint": told.fingerprint, "outcome": outcome, "reason": failure,
            "incidents": incidents.iter().map(ToString::to_string).collect::<Vec<_>>(),
        }),
        (_, invalid) => {
            json!({"id": null, "fingerprint": null, "outcome": "invalid", "incidents": [], "reason": invalid})
        }
    };
    let events: Vec<_> = told.iter().zip(outcomes).map(event).collect();
    json!({"task_name": task_name, "events": events})
}
