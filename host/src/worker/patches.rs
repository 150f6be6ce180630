//! Applies what enrichers propose: only where they may, and only what leaves the alert in its shape. What is refused is
//! told with the alert. Knows no plugin but by name.

use donjon_core::batch::Change;
use donjon_core::enrichment;
use donjon_core::limits::{MAX_ERROR_TEXT_BYTES, MAX_PATH_KEYS, MAX_VALUE_DEPTH};
use donjon_core::text::one_line;
use donjon_core::value::{SetOutcome, split_path};
use donjon_core::{Severity, Value};

use super::Pending;
use crate::ingest::normalise::is_text;
use crate::json;

/// What a patch may not touch: identity, status and time of an alert (I5).
const FIXED_ATTRIBUTES: [&str; 5] = ["id", "event_id", "fingerprint", "status", "lastReceived"];

/// Applies the allowed changes of one patch and remembers them with the event.
pub(super) fn apply(plugin: &str, event: &mut Pending, changes: Vec<Change>) {
    for change in changes {
        let (path, text) = match change {
            Change::Set { path, json } => (path, Some(json)),
            Change::Remove { path } => (path, None),
        };
        if let Err(why) = apply_one(event, &path, text) {
            event.note_failure(one_line(&format!("{plugin}: {why}: {path}"), MAX_ERROR_TEXT_BYTES));
        }
    }
    event.event.alert.reread();
}

fn apply_one(event: &mut Pending, path: &str, text: Option<String>) -> Result<(), String> {
    let keys = split_path(path);
    let (first, nested) = match keys.split_first() {
        Some((first, rest)) if !first.is_empty() => (first.as_str(), !rest.is_empty()),
        _ => return Err("may not change attribute".to_owned()),
    };
    if FIXED_ATTRIBUTES.contains(&first) {
        return Err("may not change attribute".to_owned());
    }
    // Not applied either: rules see what people are shown.
    enrichment::fits(&event.enrichments, path, text.as_deref()).map_err(|over| over.to_string())?;
    let attributes = &mut event.event.alert.attributes;
    let Some(text) = text else {
        fits(first, nested, None)?;
        attributes.remove_at(&keys);
        event.enrichments.push((path.to_owned(), None));
        return Ok(());
    };
    let value = json::parse(&text).map_err(|error| format!("value is not JSON: {error}"))?;
    fits(first, nested, Some(&value))?;
    match attributes.set_at(&keys, value) {
        SetOutcome::Set => event.enrichments.push((path.to_owned(), Some(text))),
        SetOutcome::InTheWay => return Err("something else is in the way of".to_owned()),
        SetOutcome::TooDeep => {
            return Err(format!(
                "a path has at most {MAX_PATH_KEYS} keys, and a value with its path at most {MAX_VALUE_DEPTH} levels"
            ));
        }
    }
    Ok(())
}

/// Whether an alert still has its shape with this value, none for a removed one, at `first` or somewhere in it.
fn fits(first: &str, nested: bool, value: Option<&Value>) -> Result<(), String> {
    let text = matches!(value, Some(Value::Text(_)));
    let fits = match first {
        "labels" => nested || matches!(value, Some(Value::Object(_))),
        "source" => {
            let texts = |list: &Vec<Value>| !list.is_empty() && list.iter().all(|item| item.as_text().is_some());
            !nested && matches!(value, Some(Value::List(list)) if texts(list))
        }
        "severity" => {
            !nested
                && value
                    .and_then(Value::as_text)
                    .is_some_and(|text| Severity::parse(text).is_some())
        }
        "name" => !nested && value.and_then(Value::as_text).is_some_and(|text| !text.is_empty()),
        _ if is_text(first) => !nested && (text || matches!(value, None | Some(Value::Null))),
        _ => true,
    };
    let shape = match first {
        "labels" => "an object",
        "source" => "a list of texts",
        "severity" => "one of low, info, warning, high, critical",
        "name" => "text that is not empty",
        _ => "text or null",
    };
    if fits {
        Ok(())
    } else {
        Err(format!("must stay {shape}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patch_may_not_break_the_shape_of_an_alert() {
        let check = |path: &str, json: Option<&str>, fine: bool| {
            let keys = split_path(path);
            let value = json.map(|text| crate::json::parse(text).unwrap());
            let got = fits(&keys[0], keys.len() > 1, value.as_ref());
            assert_eq!(got.is_ok(), fine, "{path} {json:?}: {got:?}");
        };
        check("labels", Some("\"text\""), false);
        check("labels", Some("{}"), true);
        check("labels", None, false);
        check("labels.team", Some("5"), true);
        check("labels.team", None, true);
        check("source", Some("5"), false);
        check("source", Some("[\"a\"]"), true);
        check("source", Some("[]"), false);
        check("source", Some("[1]"), false);
        check("source.0", Some("\"a\""), false);
        check("source", None, false);
        check("severity", Some("\"nonsense\""), false);
        check("severity", Some("\"high\""), true);
        check("severity", Some("4"), false);
        check("severity", None, false);
        check("name", Some("\"\""), false);
        check("name", Some("\"n\""), true);
        check("service", Some("{\"a\":1}"), false);
        check("service.a", Some("1"), false);
        check("service", Some("null"), true);
        check("service", None, true);
        check("anything.else", Some("[1]"), true);
    }
}
