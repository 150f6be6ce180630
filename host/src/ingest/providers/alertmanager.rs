//! Alerts in the shape of Alertmanager: its webhook (version 4) and the alerts a Prometheus server posts to
//! `/api/v2/alerts`. Both give an alert the fingerprint that Alertmanager itself computes, so that the two routes meet.

use compact_str::CompactString;
use donjon_core::{Object, Timestamp, Value};

use super::{set_text, severity, text_at};
use crate::time;

/// One alert of a webhook.
pub fn one(alert: Object, source: &str) -> Result<Object, String> {
    if !matches!(alert.get("labels"), Some(Value::Object(_))) {
        return Err("an alert of Alertmanager must have labels".into());
    }
    let state = text_at(&alert, &["status"])
        .or(text_at(&alert, &["state"]))
        .unwrap_or("firing");
    let status = match state {
        "resolved" | "inactive" => "resolved",
        "suppressed" => "suppressed",
        "pending" => "pending",
        _ => "firing",
    };
    Ok(formatted(alert, status, source))
}

/// One alert of `POST /api/v2/alerts`: resolved once its `endsAt` has passed.
pub fn posted(alert: Object, source: &str, now: Timestamp) -> Result<Object, String> {
    if !matches!(alert.get("labels"), Some(Value::Object(_))) {
        return Err("an alert must have labels".into());
    }
    let ended = text_at(&alert, &["endsAt"])
        .and_then(time::parse)
        .is_some_and(|at| at.0 > 0 && at <= now);
    Ok(formatted(alert, if ended { "resolved" } else { "firing" }, source))
}

/// The alert object. `endsAt` of a firing alert is left out: it is only when the sender will ask again, and would make
/// every repeat look like a change.
fn formatted(mut alert: Object, status: &str, source: &str) -> Object {
    let name = text_at(&alert, &["labels", "alertname"]).map(str::to_owned);
    let level = text_at(&alert, &["labels", "severity"]).map_or("info", severity);
    let description = text_at(&alert, &["annotations", "description"])
        .or(text_at(&alert, &["annotations", "summary"]))
        .or(text_at(&alert, &["annotations", "message"]))
        .map(str::to_owned);
    let fingerprint = match text_at(&alert, &["fingerprint"]) {
        Some(given) => given.to_owned(),
        None => label_fingerprint(alert.get("labels")),
    };
    let mut object = Object::with_capacity(16);
    set_text(&mut object, "id", Some(name.as_deref().unwrap_or(&fingerprint)));
    set_text(&mut object, "name", Some(name.as_deref().unwrap_or(&fingerprint)));
    set_text(&mut object, "status", Some(status));
    set_text(&mut object, "severity", Some(level));
    object.set("source", Value::List(vec![Value::text(source)]));
    set_text(&mut object, "description", description.as_deref());
    let label = |keys: &[&str]| {
        keys.iter()
            .find_map(|key| text_at(&alert, &["labels", key]))
            .map(str::to_owned)
    };
    set_text(&mut object, "service", label(&["service", "job"]).as_deref());
    set_text(&mut object, "environment", label(&["environment", "env"]).as_deref());
    set_text(&mut object, "url", text_at(&alert, &["generatorURL"]));
    set_text(&mut object, "startedAt", text_at(&alert, &["startsAt"]));
    set_text(&mut object, "fingerprint", Some(&fingerprint));
    if status == "resolved" {
        set_text(&mut object, "endsAt", text_at(&alert, &["endsAt"]));
    }
    for key in TAKEN {
        alert.remove(key);
    }
    // What nobody knows is kept, as everywhere. Keys of an object differ, so that only ours are looked at.
    let ours: Vec<CompactString> = object.iter().map(|(key, _)| key.into()).collect();
    for (key, value) in alert {
        if !ours.contains(&key) {
            object.push(key, value);
        }
    }
    object
}

/// Fields that became others, or change with every repeat although nothing changed.
const TAKEN: [&str; 4] = ["state", "startsAt", "endsAt", "updatedAt"];

/// The fingerprint of a label set as Prometheus computes it (`model.LabelSet.Fingerprint` of prometheus/common): 64-bit
/// FNV-1a over the sorted names and values, each followed by the byte 255.
fn label_fingerprint(labels: Option<&Value>) -> String {
    let mut pairs: Vec<(&str, &str)> = match labels {
        Some(Value::Object(labels)) => labels
            .iter()
            .filter_map(|(name, value)| Some((name, value.as_text()?)))
            .collect(),
        _ => Vec::new(),
    };
    pairs.sort_unstable();
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for (name, value) in pairs {
        for byte in name.bytes().chain([255]).chain(value.bytes()).chain([255]) {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    fn object(text: &str) -> Object {
        match json::parse(text).unwrap() {
            Value::Object(object) => object,
            other => panic!("not an object: {other:?}"),
        }
    }

    #[test]
    fn an_alert_of_a_webhook_looks_the_same_when_it_is_repeated() {
        let alert = |ends: &str| {
            object(&format!(
                r#"{{"status":"firing","labels":{{"alertname":"Up","severity":"error","job":"api"}},"annotations":{{"summary":"s"}},"startsAt":"2026-01-01T00:00:00Z","endsAt":"{ends}","generatorURL":"http://p/g","fingerprint":"f1"}}"#
            ))
        };
        let first = one(alert("0001-01-01T00:00:00Z"), "alertmanager").unwrap();
        assert_eq!(
            json::to_text(&Value::Object(first.clone())),
            r#"{"id":"Up","name":"Up","status":"firing","severity":"high","source":["alertmanager"],"description":"s","service":"api","url":"http://p/g","startedAt":"2026-01-01T00:00:00Z","fingerprint":"f1","labels":{"alertname":"Up","severity":"error","job":"api"},"annotations":{"summary":"s"},"generatorURL":"http://p/g"}"#
        );
        assert_eq!(one(alert("2026-01-01T00:04:00Z"), "alertmanager").unwrap(), first);
        assert!(one(object("{}"), "alertmanager").unwrap_err().contains("labels"));
    }

    #[test]
    fn a_posted_alert_is_resolved_once_it_ended() {
        let alert = |ends: &str| object(&format!(r#"{{"labels":{{"alertname":"Up"}},"endsAt":"{ends}"}}"#));
        let status = |ends: &str| {
            let now = time::parse("2026-01-01T00:00:00Z").unwrap();
            let posted = posted(alert(ends), "prometheus", now).unwrap();
            text_at(&posted, &["status"]).unwrap().to_owned()
        };
        assert_eq!(status("2026-01-01T00:01:00Z"), "firing");
        assert_eq!(status("2025-12-31T23:59:00Z"), "resolved");
        assert_eq!(status("0001-01-01T00:00:00Z"), "firing");
    }
}
