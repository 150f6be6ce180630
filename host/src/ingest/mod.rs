//! The way in: bodies to items, items to alerts, alerts to the journal. A request is answered 202 once everything in it
//! is on stable storage, or 200 with outcomes once it is applied (`?wait=true`). Never calls `api`.

mod answer;
pub mod body;
pub mod fuzzing;
pub mod normalise;
pub mod providers;
#[cfg(test)]
mod read_back_tests;

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use donjon_core::digest::content_digest;
use donjon_core::{EventId, Timestamp, Value};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::http::APPLY_WAIT;
use crate::http::Shared;
use crate::http::auth::{Caller, Sender};
use crate::http::body::WholeBody;
use crate::http::error::ApiError;
use crate::http::in_flight::InFlight;
use crate::intake::{Item, NewAlert};
use crate::json;
use crate::telemetry::Stage;
use answer::{NAMED_INVALID, Told};
use body::{BodyError, BodyText};
use providers::{NotUnfolded, Place, Provider, Unfolded};

/// Largest document of one alert, and most bytes of a bad item that are kept with its dead letter. Well below what one
/// journal entry holds.
const MAX_DOCUMENT_BYTES: usize = 4 << 20;
/// Most attributes of one alert at the top level; normalising adds some of its own.
const MAX_ATTRIBUTES: usize = 1000;
/// What one item takes beside its text and its tree: names, digest, reason, its places in lists and in the answer.
const ITEM_BYTES: u64 = 512;
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
    Sender(caller): Sender,
    Query(query): Query<IngestQuery>,
    headers: HeaderMap,
    body: WholeBody,
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
    Sender(caller): Sender,
    Path(name): Path<String>,
    Query(query): Query<IngestQuery>,
    headers: HeaderMap,
    body: WholeBody,
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
    Sender(caller): Sender,
    headers: HeaderMap,
    body: WholeBody,
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

async fn take(
    app: Shared,
    caller: Caller,
    provider_name: &str,
    provider: Provider,
    query: IngestQuery,
    headers: &HeaderMap,
    body: WholeBody,
) -> Result<Response, ApiError> {
    let admitted = Arc::clone(&body.admitted);
    let origin = Origin {
        provider_name: provider_name.to_owned(),
        provider,
        fingerprint: query.fingerprint,
        api_key_name: caller.name.clone(),
        now: app.clock.now(),
    };
    let Parsed { items, told, bytes } = parse(&app, origin, headers, body).await?;
    let invalid = told.iter().filter(|told| told.invalid.is_some()).count();
    app.metrics.ingest_bytes.inc_by(bytes as u64);
    // Counted, and given back, where they are taken or refused: the client may leave before.
    let intake = &app.intake;
    let receipt = intake
        .accept_holding(caller.tenant, items, query.wait, Some(admitted))
        .await?;
    let task_name = receipt.first.0.to_string();
    // Not applied in time is no error: the alerts are durable, and the sender must not send them again.
    let outcomes = receipt.outcomes(APPLY_WAIT).await;
    if invalid > 0 && invalid == told.len() {
        let reasons = told.into_iter().filter_map(|told| told.invalid).take(NAMED_INVALID);
        return Err(ApiError::refused_items(reasons.collect()));
    }
    Ok(match outcomes {
        None => (StatusCode::ACCEPTED, Json(answer::accepted(&task_name, &told))).into_response(),
        Some(outcomes) => (StatusCode::OK, Json(answer::applied(&task_name, &told, outcomes))).into_response(),
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
async fn parse(app: &Shared, origin: Origin, headers: &HeaderMap, body: WholeBody) -> Result<Parsed, ApiError> {
    let (encoding, ndjson) = (text_header(headers, header::CONTENT_ENCODING), is_ndjson(headers));
    let (max_body_bytes, max_items) = (app.limits.max_body_bytes, app.limits.max_items);
    let large = encoding.is_some() || body.bytes.len() > LARGE_BODY_BYTES;
    let metrics = Arc::clone(&app.metrics);
    let work = move || -> Result<Parsed, BodyError> {
        let in_flight = &body.admitted.in_flight;
        metrics.stages.time(Stage::Parse, || {
            let bytes = body::decompress(body.bytes, encoding.as_deref(), max_body_bytes, in_flight)?;
            read(bytes, ndjson, max_items, &origin, in_flight)
        })
    };
    if !large {
        return Ok(work()?);
    }
    let parsed = tokio::task::spawn_blocking(work).await;
    Ok(parsed.map_err(|error| ApiError::internal(error.to_string()))??)
}

/// A decompressed body to items.
fn read(
    bytes: Bytes,
    ndjson: bool,
    max_items: usize,
    origin: &Origin,
    in_flight: &InFlight,
) -> Result<Parsed, BodyError> {
    let size = bytes.len();
    let body = BodyText::new(bytes, in_flight)?;
    let items = body::split(body.text(), ndjson, max_items)?;
    let mut reading = Reading {
        body: &body,
        origin,
        in_flight,
        max_items,
        items: Vec::with_capacity(items.len()),
        told: Vec::with_capacity(items.len()),
    };
    for item in items {
        reading.item(item)?;
    }
    Ok(Parsed {
        items: reading.items,
        told: reading.told,
        bytes: size,
    })
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

/// Takes a body apart: its journal items, and what to tell about each. A bad alert becomes a dead letter with its reason
/// and its own bytes.
struct Reading<'a> {
    body: &'a BodyText,
    origin: &'a Origin,
    in_flight: &'a InFlight,
    max_items: usize,
    items: Vec<Item>,
    told: Vec<Told>,
}

impl Reading<'_> {
    fn item(&mut self, text: &str) -> Result<(), BodyError> {
        let room = self.max_items.saturating_sub(self.items.len());
        match self.origin.provider.unfold(text, room) {
            Ok(Unfolded::Itself(text)) => self.alert(text, Place::Alone),
            Ok(Unfolded::List(alerts)) => alerts.into_iter().try_for_each(|text| self.alert(text, Place::InList)),
            Err(NotUnfolded::TooMany) => Err(BodyError::TooMany(self.max_items)),
            Err(NotUnfolded::Shape(reason)) => self.bad(text, reason),
        }
    }

    fn alert(&mut self, text: &str, place: Place) -> Result<(), BodyError> {
        if text.len() > MAX_DOCUMENT_BYTES {
            return self.bad(text, too_large());
        }
        if !self.body.is_utf8(text) {
            return self.bad(text, "malformed JSON: text is not UTF-8".into());
        }
        // Counted before it is there: the tree, and the document that is made of it.
        let tree_bytes = json::tree_bytes_at_most(text) + ITEM_BYTES;
        self.count(tree_bytes + text.len() as u64)?;
        match new_alert(text, place, self.origin) {
            Ok(alert) => {
                let (item, told) = good(alert);
                self.items.push(item);
                self.told.push(told);
                Ok(())
            }
            Err(reason) => self.bad(text, reason),
        }
    }

    fn bad(&mut self, text: &str, reason: String) -> Result<(), BodyError> {
        let bytes = self.body.bytes_of(text);
        let raw = bytes.get(..MAX_DOCUMENT_BYTES).unwrap_or(bytes);
        self.count(raw.len() as u64 + ITEM_BYTES)?;
        self.told.push(Told {
            id: String::new(),
            fingerprint: String::new(),
            invalid: Some(reason.clone()),
        });
        self.items.push(Item::DeadLetter {
            provider: self.origin.provider_name.clone(),
            reason,
            raw: raw.to_vec(),
        });
        Ok(())
    }

    fn count(&self, bytes: u64) -> Result<(), BodyError> {
        if self.items.len() >= self.max_items {
            return Err(BodyError::TooMany(self.max_items));
        }
        Ok(self.in_flight.take(bytes)?)
    }
}

fn too_large() -> String {
    format!("alert is larger than the limit: {MAX_DOCUMENT_BYTES} bytes")
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

fn new_alert(text: &str, place: Place, origin: &Origin) -> Result<NewAlert, String> {
    let object = match (json::parse(text), place) {
        (Ok(Value::Object(object)), _) => object,
        (Ok(_), Place::Alone) => return Err("alert must be a JSON object".into()),
        (Ok(_), Place::InList) => return Err("each of alerts must be an object".into()),
        (Err(error), _) => return Err(format!("malformed JSON: {error}")),
    };
    let object = origin.provider.alert(object, place, origin.now)?;
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
        return Err(too_large());
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
