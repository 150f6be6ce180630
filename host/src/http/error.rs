//! Errors as clients see them: `{"detail": ..., "code": ...}`, in the shape of the reference, with a stable code. The
//! only place where errors become HTTP statuses.

use std::num::NonZeroU64;
use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use donjon_core::state::StateError;
use serde_json::{Value, json};

use super::body::BodyStopped;
use super::guards::entity_tag;
use super::in_flight::NoRoom;
use crate::intake::Refused;
use crate::rules::{Fault, Rejection};

/// Seconds after which a refused sender may try again.
const RETRY_AFTER_SECONDS: u32 = 2;

/// The code of the one refusal after which a command is in the journal for certain.
pub const NOT_YET_APPLIED: &str = "not_yet_applied";

/// An error answer.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    detail: Value,
    retry: bool,
    /// What is there, for whoever has seen something else.
    present: Option<u64>,
    /// The first position that was not taken of a request that was taken in part.
    go_on_from: Option<NonZeroU64>,
}

impl ApiError {
    /// An error with a text.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> ApiError {
        ApiError {
            status,
            code,
            detail: Value::String(detail.into()),
            retry: false,
            present: None,
            go_on_from: None,
        }
    }

    /// The same of a request that was taken in part.
    pub fn going_on_from(self, position: u64, how: &str) -> ApiError {
        let detail = match self.detail {
            Value::String(text) => text,
            other => other.to_string(),
        };
        ApiError {
            detail: Value::String(format!("{detail}; {how}")),
            go_on_from: NonZeroU64::new(position),
            ..self
        }
    }

    /// The first position that was not taken.
    #[cfg(test)]
    pub fn go_on_from(&self) -> Option<u64> {
        self.go_on_from.map(NonZeroU64::get)
    }

    /// Its stable code.
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// 404.
    pub fn not_found(detail: impl Into<String>) -> ApiError {
        Self::new(StatusCode::NOT_FOUND, "not_found", detail)
    }

    /// 400.
    pub fn bad_request(detail: impl Into<String>) -> ApiError {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    }

    /// 422 for one field of the body.
    pub fn unprocessable(field: &'static str, message: impl Into<String>) -> ApiError {
        let fault = Fault {
            field,
            message: message.into(),
            line: 0,
            column: 0,
        };
        ApiError::from(Rejection::Faults(vec![fault]))
    }

    /// 422 for fields of one of the items of a list.
    pub fn faults_at(place: usize, faults: &[Fault]) -> ApiError {
        let in_place = |fault: &Fault| {
            let mut detail = detail_of(fault);
            if let Some(loc) = detail.get_mut("loc") {
                *loc = json!(["body", place, fault.field]);
            }
            detail
        };
        ApiError {
            detail: faults.iter().map(in_place).collect(),
            ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "")
        }
    }

    /// 422 for one field of one of the items of a list.
    pub fn unprocessable_at(place: usize, field: &'static str, message: impl Into<String>) -> ApiError {
        let fault = Fault {
            field,
            message: message.into(),
            line: 0,
            column: 0,
        };
        Self::faults_at(place, &[fault])
    }

    /// 400 for one of the items of a list.
    pub fn bad_request_at(place: usize, message: impl Into<String>) -> ApiError {
        let fault = json!({"loc": ["body", place], "msg": message.into(), "type": "value_error"});
        ApiError {
            detail: vec![fault].into(),
            ..Self::bad_request("")
        }
    }

    /// 422: not one item of a body is an alert. They are kept as dead letters all the same.
    pub fn refused_items(reasons: Vec<String>) -> ApiError {
        let fault = |(at, reason): (usize, String)| json!({"loc": ["body", at], "msg": reason, "type": "value_error"});
        let detail = reasons.into_iter().enumerate().map(fault).collect();
        ApiError {
            detail,
            ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "")
        }
    }

    /// 413: the body as a whole.
    pub fn body_too_large() -> ApiError {
        let detail = "body is larger than ingest.max_body_bytes; send less at a time";
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    }

    /// 503: no place for another event stream.
    pub fn too_many_streams() -> ApiError {
        let detail = "there are server.max_event_streams clients of /events already, or this tenant has its three quarters of them; close some, or try again later";
        ApiError {
            retry: true,
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_streams", detail)
        }
    }

    /// 500: a mistake of ours, logged here because here it is handled.
    pub fn internal(detail: impl Into<String>) -> ApiError {
        let detail = detail.into();
        tracing::error!("answering 500: {detail}");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    /// 504: durable, and not applied within the time a client is kept waiting.
    pub fn not_yet_applied(waited: Duration) -> ApiError {
        let detail = format!(
            "accepted and durable, but not applied within {} seconds, or before the server stopped; it will be applied, \
             do not send it again unless it has an Idempotency-Key; see /readyz and the log for what holds the line",
            waited.as_secs()
        );
        Self::new(StatusCode::GATEWAY_TIMEOUT, NOT_YET_APPLIED, detail)
    }
}

impl ApiError {
    /// 412: what is there is not what the sender has seen. The present ETag is in the header.
    pub fn condition_failed(present: u64) -> ApiError {
        let detail = format!(
            "If-Match or If-None-Match does not hold, nothing was changed: it was changed meanwhile, or is there already; \
             read it, decide again, and send If-Match with its present ETag: \"{present}\""
        );
        ApiError {
            present: Some(present),
            ..Self::new(StatusCode::PRECONDITION_FAILED, "condition_failed", detail)
        }
    }

    /// 422: the key of another request.
    pub fn key_reused() -> ApiError {
        let detail = "this Idempotency-Key was used for another request (method, path, conditions and body count); nothing was \
                      changed; draw a new key for each request";
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", detail)
    }

    /// 422: the command is stopped, and kept as a dead letter.
    pub fn not_storable(why: &str) -> ApiError {
        let detail = format!(
            "what the command would make cannot be stored, so it was stopped; what a command on many alerts changed before \
             that stays, any other changed nothing: {why}"
        );
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "not_storable", detail)
    }

    /// 413: more than one command may change.
    pub fn too_much_at_once(what: &'static str, limit: usize, found: usize) -> ApiError {
        let detail =
            format!("more {what} than the limit of one command, {limit}; send them in several parts, found: {found}");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
    }

    /// 429: others read already, or do not take what they asked for.
    pub fn too_many_reads() -> ApiError {
        let detail = "too many reads run or wait at the moment; try again, or raise reads.scans_at_once";
        ApiError {
            retry: true,
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_reads", detail)
        }
    }

    /// 429: other changes of rules come before this one.
    pub fn busy_with_rules(detail: String) -> ApiError {
        ApiError {
            retry: true,
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "busy", detail)
        }
    }

    /// 503: what is asked for is not found within the time that a read may take.
    pub fn read_took_too_long(limit: Duration) -> ApiError {
        let detail = format!(
            "the read is not done within reads.deadline_ms; ask for less (a simpler condition, a smaller offset), or raise \
             the limit: {} ms",
            limit.as_millis()
        );
        ApiError {
            retry: true,
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "read_took_too_long", detail)
        }
    }
}

/// A handler panicked: the place is on standard error, and the client is told in our shape.
pub fn panicked(_: Box<dyn std::any::Any + Send>) -> Response {
    ApiError::internal("a handler panicked; its place is on standard error").into_response()
}

/// Longest text of a framework's error.
const MAX_FOREIGN_TEXT_BYTES: usize = 4096;

/// Gives errors that axum makes by itself (a body over the limit, a query that does not parse) the shape of ours.
pub async fn in_our_shape(response: Response) -> Response {
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE);
    let is_text = kind.is_none_or(|kind| kind.as_bytes().starts_with(b"text/plain"));
    if !status.is_client_error() || !is_text {
        return response;
    }
    let text = axum::body::to_bytes(response.into_body(), MAX_FOREIGN_TEXT_BYTES).await;
    let text = String::from_utf8_lossy(&text.unwrap_or_default()).into_owned();
    let (code, detail) = match status {
        StatusCode::PAYLOAD_TOO_LARGE => (
            "too_large",
            "body is larger than this path takes; send less at a time; for alerts see ingest.max_body_bytes".into(),
        ),
        _ if text.is_empty() => ("bad_request", status.to_string()),
        _ => ("bad_request", text),
    };
    ApiError::new(status, code, detail).into_response()
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut body = json!({"detail": self.detail, "code": self.code});
        if let (Some(body), Some(position)) = (body.as_object_mut(), self.go_on_from) {
            body.insert("go_on_from".into(), position.get().into());
        }
        let mut response = (self.status, axum::Json(body)).into_response();
        if self.retry {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_SECONDS));
        }
        if let Some(present) = self.present {
            response.headers_mut().insert(header::ETAG, entity_tag(present));
        }
        response
    }
}

impl From<NoRoom> for ApiError {
    fn from(full: NoRoom) -> ApiError {
        match full {
            NoRoom::TooLarge(_) => Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", full.to_string()),
            NoRoom::Busy => ApiError {
                retry: true,
                ..Self::new(StatusCode::TOO_MANY_REQUESTS, "busy", full.to_string())
            },
        }
    }
}

impl From<BodyStopped> for ApiError {
    fn from(why: BodyStopped) -> ApiError {
        match why {
            BodyStopped::NoRoom(full) => full.into(),
            BodyStopped::Slow(_) => Self::new(StatusCode::REQUEST_TIMEOUT, "timeout", why.to_string()),
        }
    }
}

impl From<Refused> for ApiError {
    fn from(refused: Refused) -> ApiError {
        let (status, code) = match &refused {
            Refused::Behind(_) => (StatusCode::TOO_MANY_REQUESTS, "behind"),
            Refused::Busy => (StatusCode::TOO_MANY_REQUESTS, "busy"),
            Refused::TooLarge { .. } => {
                return Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", refused.to_string());
            }
            Refused::DiskFull(_) => (StatusCode::TOO_MANY_REQUESTS, "disk_full"),
            Refused::Broken(_) => (StatusCode::SERVICE_UNAVAILABLE, "journal_broken"),
            Refused::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
            Refused::NotKnown(_) => (StatusCode::GATEWAY_TIMEOUT, "not_known"),
        };
        ApiError {
            retry: true,
            ..Self::new(status, code, refused.to_string())
        }
    }
}

impl From<StateError> for ApiError {
    fn from(error: StateError) -> ApiError {
        ApiError::internal(error.to_string())
    }
}

impl From<Rejection> for ApiError {
    fn from(rejection: Rejection) -> ApiError {
        match rejection {
            Rejection::Empty(text) => ApiError::bad_request(text),
            Rejection::Faults(faults) => ApiError {
                detail: faults.iter().map(detail_of).collect(),
                ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "")
            },
        }
    }
}

fn detail_of(fault: &Fault) -> Value {
    let kind = if fault.message == "field required" {
        "value_error.missing"
    } else {
        "value_error"
    };
    let mut detail = json!({"loc": ["body", fault.field], "msg": fault.message, "type": kind});
    if let Some(place) = detail.as_object_mut().filter(|_| fault.line > 0) {
        place.insert("line".into(), fault.line.into());
        place.insert("column".into(), fault.column.into());
    }
    detail
}
