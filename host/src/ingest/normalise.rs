//! One alert object to a normalised alert: defaults, enumerations, times and fingerprint as the reference does
//! (`semantics.md`, section 2), unknown fields kept. Knows neither providers nor HTTP.

use donjon_core::digest::{fingerprint_of_name, hex};
use donjon_core::limits::MAX_FINGERPRINT_CHARS;
use donjon_core::{Alert, Fingerprint, Object, Severity, Status, Timestamp, Value};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};

use crate::{json, time};

/// The name of an alert that brought none.
const UNKNOWN_NAME: &str = "unknown alert name";

/// Fields that the server computes; what a sender puts there is dropped.
fn is_computed(field: &str) -> bool {
    matches!(
        field,
        "event_id"
            | "firingCounter"
            | "unresolvedCounter"
            | "firingStartTime"
            | "firingStartTimeSinceLastResolved"
            | "isFullDuplicate"
            | "isPartialDuplicate"
            | "duplicateReason"
            | "pushed"
            | "alert_hash"
            | "enriched_fields"
            | "apiKeyRef"
            | "deletedAt"
    )
}

/// Fields that are text or null.
const TEXTS: [&str; 9] = [
    "environment",
    "service",
    "message",
    "description",
    "note",
    "assignee",
    "imageUrl",
    "startedAt",
    "providerId",
];

/// Whether a field is text or null in every alert, wherever it came from.
pub fn is_text(field: &str) -> bool {
    TEXTS.contains(&field) || matches!(field, "description_format" | "url")
}

/// What is known about an item beside its body.
#[derive(Clone, Copy, Debug)]
pub struct Given<'a> {
    /// The provider type it was sent to; empty for the generic endpoint.
    pub provider: &'a str,
    /// The query parameter `fingerprint`.
    pub fingerprint: Option<&'a str>,
    /// The present time, for alerts that bring none.
    pub now: Timestamp,
}

/// Why an item is not an alert; the text names the field.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// A field with a value that does not fit.
    #[error("field {field}: {reason}")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

fn invalid(field: &'static str, reason: impl Into<String>) -> Invalid {
    Invalid::Field {
        field,
        reason: reason.into(),
    }
}

/// Normalises one alert object.
///
/// # Errors
/// When a field has a value that cannot be read.
pub fn normalise(attributes: Object, given: Given<'_>) -> Result<Alert, Invalid> {
    let mut alert = read(attributes, given)?;
    dismissal(&mut alert.attributes, given.now);
    Ok(alert)
}

/// Fills what an alert must have. What it made of an object it leaves as it is when it meets it again: that is how an
/// alert is read back (`read_back_tests.rs`), so whatever sets an attribute stands before the check of that attribute.
fn read(mut attributes: Object, given: Given<'_>) -> Result<Alert, Invalid> {
    attributes.retain(|field| !is_computed(field));
    let id_generated = fill_id_and_name(&mut attributes)?;
    let (status, severity) = enumerations(&mut attributes);
    let last_received = last_received(&mut attributes, given.now)?;
    let source = sources(&mut attributes, given.provider)?;
    by_last_received(&mut attributes, last_received);
    texts(&mut attributes)?;
    labels(&mut attributes)?;
    url(&mut attributes)?;
    let fingerprint = fingerprint(&mut attributes, given.fingerprint)?;
    let service = attributes
        .get("service")
        .and_then(Value::as_text)
        .filter(|text| !text.is_empty())
        .map(str::to_owned);
    Ok(Alert {
        fingerprint,
        status,
        severity,
        last_received,
        source,
        service,
        id_generated,
        attributes,
    })
}

/// Reads an alert that was normalised before, from its canonical document.
///
/// # Errors
/// When the document is damaged.
pub fn reread(attributes: Object, provider: &str, id_generated: bool) -> Result<Alert, Invalid> {
    let mut alert = read(
        attributes,
        Given {
            provider,
            fingerprint: None,
            now: Timestamp(0),
        },
    )?;
    alert.id_generated = id_generated;
    Ok(alert)
}

/// `dismissed` may be text; with a time in `dismissUntil` it is true until then.
fn dismissal(attributes: &mut Object, now: Timestamp) {
    let until = attributes.get("dismissUntil").and_then(Value::as_text);
    let until = until.filter(|text| *text != "forever").and_then(time::parse);
    let dismissed = match (until, attributes.get("dismissed")) {
        (Some(until), _) => now < until,
        (None, Some(Value::Text(text))) => text.eq_ignore_ascii_case("true"),
        (None, _) => return,
    };
    attributes.set("dismissed", Value::Bool(dismissed));
}

/// Fields of old senders that tell something for each `lastReceived`: a list of those that are deleted, and who is
/// assigned to which.
fn by_last_received(attributes: &mut Object, last_received: Timestamp) {
    if let Some(Value::List(list)) = attributes.get("deleted") {
        let last_received = time::format(last_received);
        let deleted = list.iter().any(|item| item.as_text() == Some(&last_received));
        attributes.set("deleted", Value::Bool(deleted));
    }
    if let Some(Value::Object(assignees)) = attributes.remove("assignees")
        && let Some(assignee) = assignees.get(&time::format(last_received)).cloned()
    {
        attributes.set("assignee", assignee);
    }
}

fn fill_id_and_name(attributes: &mut Object) -> Result<bool, Invalid> {
    let generated = match attributes.get("id") {
        None | Some(Value::Null) => true,
        Some(Value::Text(text)) => text.is_empty(),
        Some(Value::Int(i)) => {
            let id = Value::text(i.to_string());
            attributes.set("id", id);
            false
        }
        Some(_) => return Err(invalid("id", "must be text")),
    };
    let unnamed = match attributes.get("name") {
        None | Some(Value::Null) => true,
        Some(Value::Text(text)) => text.is_empty(),
        Some(_) => return Err(invalid("name", "must be text")),
    };
    if unnamed {
        let id = attributes.get("id").filter(|_| !generated);
        let name = id.cloned().unwrap_or_else(|| Value::text(UNKNOWN_NAME));
        attributes.set("name", name);
    }
    if generated {
        attributes.set("id", Value::text(uuid::Uuid::new_v4().to_string()));
    }
    Ok(generated)
}

fn enumerations(attributes: &mut Object) -> (Status, Severity) {
    let status = attributes
        .get("status")
        .and_then(Value::as_text)
        .and_then(Status::parse)
        .unwrap_or(Status::Firing);
    let severity = match attributes.get("severity") {
        Some(Value::Text(text)) => Severity::parse(text),
        Some(Value::Int(rank)) => Severity::from_rank(*rank),
        _ => None,
    };
    let severity = severity.unwrap_or(Severity::Info);
    attributes.set("status", Value::text(status.as_str()));
    attributes.set("severity", Value::text(severity.as_str()));
    (status, severity)
}

fn last_received(attributes: &mut Object, now: Timestamp) -> Result<Timestamp, Invalid> {
    let unreadable = || {
        invalid(
            "lastReceived",
            "must be an ISO 8601 time or Unix seconds between 1970 and 9999",
        )
    };
    #[expect(clippy::cast_precision_loss, reason = "seconds since the epoch are far below 2^52")]
    let at = match attributes.get("lastReceived") {
        None | Some(Value::Null) => now,
        Some(Value::Text(text)) if text.is_empty() => now,
        Some(Value::Text(text)) => time::parse(text).ok_or_else(unreadable)?,
        Some(Value::Int(seconds)) => time::from_seconds(*seconds as f64).ok_or_else(unreadable)?,
        Some(Value::Float(seconds)) => time::from_seconds(*seconds).ok_or_else(unreadable)?,
        Some(_) => return Err(unreadable()),
    };
    attributes.set("lastReceived", Value::text(time::format(at)));
    Ok(at)
}

/// `source` is a list of texts; a single text is taken as a list of one. Answers what incidents show: the provider, or
/// else the first source.
fn sources(attributes: &mut Object, provider: &str) -> Result<String, Invalid> {
    let list = match attributes.get("source") {
        Some(Value::List(list)) if !list.is_empty() => {
            if list.iter().any(|item| item.as_text().is_none()) {
                return Err(invalid("source", "must be a list of texts"));
            }
            None
        }
        Some(Value::Text(text)) if !text.is_empty() => Some(text.clone()),
        None | Some(Value::Null | Value::List(_)) => Some("keep".into()),
        Some(Value::Text(_)) => Some("keep".into()),
        Some(_) => return Err(invalid("source", "must be a list of texts")),
    };
    if let Some(single) = list {
        attributes.set("source", Value::List(vec![Value::text(single)]));
    }
    if !provider.is_empty() && provider != "keep" {
        return Ok(provider.to_owned());
    }
    let first = attributes
        .at(&["source", "0"])
        .and_then(Value::as_text)
        .unwrap_or("keep");
    Ok(first.to_owned())
}

fn texts(attributes: &mut Object) -> Result<(), Invalid> {
    // Nearly all members are texts: what is none is looked at, not each of the names looked for.
    let others = attributes
        .iter_mut()
        .filter(|(_, value)| !matches!(value, Value::Null | Value::Text(_)));
    for (name, value) in others {
        let Some(field) = TEXTS.into_iter().find(|field| *field == name) else {
            continue;
        };
        *value = Value::text(match value {
            Value::Int(i) => i.to_string(),
            Value::Float(f) => f.to_string(),
            Value::Bool(b) => b.to_string(),
            _ => return Err(invalid(field, "must be text")),
        });
    }
    let started = attributes
        .get("startedAt")
        .and_then(Value::as_text)
        .and_then(time::parse);
    if let Some(at) = started {
        attributes.set("startedAt", Value::text(time::format(at)));
    }
    match attributes.get("description_format").map(|value| value.as_text()) {
        None | Some(Some("markdown" | "html")) => Ok(()),
        Some(None) if attributes.get("description_format") == Some(&Value::Null) => Ok(()),
        Some(_) => Err(invalid("description_format", "must be markdown or html")),
    }
}

fn labels(attributes: &mut Object) -> Result<(), Invalid> {
    match attributes.get("labels") {
        Some(Value::Object(_)) => Ok(()),
        None | Some(Value::Null) => {
            attributes.set("labels", Value::Object(Object::new()));
            Ok(())
        }
        Some(_) => Err(invalid("labels", "must be an object")),
    }
}

/// Trimmed; empty is null; a missing scheme is `https://`; characters that a URL cannot hold are percent-encoded.
fn url(attributes: &mut Object) -> Result<(), Invalid> {
    let url = match attributes.get("url") {
        None | Some(Value::Null) => return Ok(()),
        Some(Value::Text(text)) => text.trim().to_owned(),
        Some(_) => return Err(invalid("url", "must be text")),
    };
    if url.is_empty() {
        attributes.remove("url");
        return Ok(());
    }
    let url = if url.starts_with("http") {
        url
    } else {
        format!("https://{url}")
    };
    attributes.set("url", Value::text(quote(&url)));
    Ok(())
}

/// What a URL cannot hold. A percent sign is left where it begins an escape.
const NOT_IN_URLS: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':')
    .remove(b'/')
    .remove(b'?')
    .remove(b'#')
    .remove(b'[')
    .remove(b']')
    .remove(b'@')
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=');

fn quote(url: &str) -> String {
    let mut parts = url.split('%');
    let mut quoted = utf8_percent_encode(parts.next().unwrap_or_default(), NOT_IN_URLS).to_string();
    for part in parts {
        let escape = part.as_bytes().get(..2);
        let escaped = escape.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        quoted.push_str(if escaped { "%" } else { "%25" });
        quoted.extend(utf8_percent_encode(part, NOT_IN_URLS));
    }
    quoted
}

fn fingerprint(attributes: &mut Object, overriding: Option<&str>) -> Result<Fingerprint, Invalid> {
    let supplied = match (overriding, attributes.get("fingerprint")) {
        // Of what is in the body it was taken out by the parser.
        (Some(text), _) => Some(json::without_nul(text)),
        (None, Some(Value::Text(text))) if is_fingerprint(text) => return Ok(Fingerprint::from(text.as_str())),
        (None, Some(Value::Text(text))) => Some(text.to_string()),
        (None, Some(Value::Int(i))) => Some(i.to_string()),
        (None, None | Some(Value::Null)) => None,
        (None, Some(_)) => return Err(invalid("fingerprint", "must be text")),
    };
    let text = match supplied.filter(|text| !text.is_empty()) {
        Some(text) => first_chars(text, MAX_FINGERPRINT_CHARS),
        None => match attributes.get("name").and_then(Value::as_text) {
            Some(name) if !name.is_empty() => fingerprint_of_name(name),
            _ => hex(&Sha256::digest(json::object_to_vec(attributes))),
        },
    };
    attributes.set("fingerprint", Value::text(text.as_str()));
    Ok(Fingerprint::from(text))
}

/// Whether a text is one as it is. Of so many bytes it has no more characters.
fn is_fingerprint(text: &str) -> bool {
    !text.is_empty() && text.len() <= MAX_FINGERPRINT_CHARS
}

fn first_chars(mut text: String, chars: usize) -> String {
    // A text of so many bytes has no more characters; few are longer.
    if text.len() > chars
        && let Some((end, _)) = text.char_indices().nth(chars)
    {
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(input: &str, expected: Result<&str, &str>) {
        let Value::Object(object) = json::parse(input).unwrap() else {
            panic!("not an object: {input}")
        };
        let now = Timestamp(1_764_000_000_000);
        let result = normalise(
            object,
            Given {
                provider: "",
                fingerprint: None,
                now,
            },
        );
        match (result, expected) {
            (Ok(mut alert), Ok(expected)) => {
                if alert.id_generated {
                    alert.attributes.remove("id");
                }
                assert_eq!(json::to_text(&Value::Object(alert.attributes)), expected, "{input}");
            }
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{input}: {error}"),
            (got, _) => panic!("{input}: {got:?}"),
        }
    }

    #[test]
    fn defaults_and_borders_are_those_of_the_reference() {
        check(
            r#"{"id":"i","fingerprint":"f"}"#,
            Ok(
                r#"{"id":"i","fingerprint":"f","name":"i","status":"firing","severity":"info","lastReceived":"2025-11-24T16:00:00.000Z","source":["keep"],"labels":{}}"#,
            ),
        );
        check(
            r#"{"name":"n","fingerprint":"f","status":"FIRING","severity":5,"source":"zabbix","lastReceived":"1764000001","extra":{"x":[1]},"pushed":false}"#,
            Ok(
                r#"{"name":"n","fingerprint":"f","status":"firing","severity":"critical","source":["zabbix"],"lastReceived":"2025-11-24T16:00:01.000Z","extra":{"x":[1]},"labels":{}}"#,
            ),
        );
        check(
            r#"{"name":"n","fingerprint":"f","url":" example.org/a b%zz%20 ","service":7,"source":[]}"#,
            Ok(
                r#"{"name":"n","fingerprint":"f","url":"https://example.org/a%20b%25zz%20","service":"7","source":["keep"],"status":"firing","severity":"info","lastReceived":"2025-11-24T16:00:00.000Z","labels":{}}"#,
            ),
        );
        check(r#"{"name":"n","lastReceived":"soon"}"#, Err("field lastReceived"));
        check(r#"{"name":"n","labels":[]}"#, Err("field labels"));
        check(r#"{"name":["n"]}"#, Err("field name"));
        check(r#"{"name":"n","source":[1]}"#, Err("field source"));
        check(
            r#"{"name":"n","description_format":"rtf"}"#,
            Err("field description_format"),
        );
    }

    #[test]
    fn what_was_normalised_is_read_back_unchanged() {
        let text = r#"{"name":"h3","severity":"high","source":["a","b"],"labels":{"n":5}}"#;
        let Value::Object(object) = json::parse(text).unwrap() else {
            panic!("an object")
        };
        let first = normalise(
            object,
            Given {
                provider: "",
                fingerprint: None,
                now: Timestamp(1),
            },
        )
        .unwrap();
        assert_eq!(first.fingerprint.as_str(), fingerprint_of_name("h3"));
        assert_eq!(reread(first.attributes.clone(), "", true).unwrap(), first);
    }
}
