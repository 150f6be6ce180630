//! Grafana's webhook: unified alerting (a list of alerts in Alertmanager's shape, with links and values) and the legacy
//! form (one alert a body).

use donjon_core::{Object, Value};

use super::{alertmanager, set_text, text_at};

/// One alert of unified alerting.
pub fn one(raw: Object) -> Result<Object, String> {
    let mut alert = alertmanager::one(raw.clone(), "grafana")?;
    for key in ["dashboardURL", "panelURL", "silenceURL", "valueString", "imageURL"] {
        set_text(
            &mut alert,
            if key == "imageURL" { "imageUrl" } else { key },
            text_at(&raw, &[key]),
        );
    }
    if let Some(values) = raw.get("values").filter(|values| !matches!(values, Value::Null)) {
        alert.set("values", values.clone());
    }
    Ok(alert)
}

/// The one alert of the legacy form.
pub fn legacy(body: &Object) -> Result<Object, String> {
    let (Some(title), Some(state)) = (text_at(body, &["title"]), text_at(body, &["state"])) else {
        return Err("body of Grafana must have alerts, or title and state".into());
    };
    let name = text_at(body, &["ruleName"]).unwrap_or(title);
    let status = match state {
        "ok" => "resolved",
        "paused" => "suppressed",
        "pending" => "pending",
        _ => "firing",
    };
    let mut alert = Object::with_capacity(12);
    set_text(&mut alert, "id", Some(name));
    set_text(&mut alert, "name", Some(name));
    set_text(&mut alert, "status", Some(status));
    set_text(
        &mut alert,
        "severity",
        Some(if state == "alerting" { "critical" } else { "info" }),
    );
    alert.set("source", Value::List(vec![Value::text("grafana")]));
    set_text(&mut alert, "description", text_at(body, &["message"]));
    set_text(&mut alert, "url", text_at(body, &["ruleUrl"]));
    set_text(&mut alert, "imageUrl", text_at(body, &["imageUrl"]));
    if let Some(Value::Int(rule)) = body.get("ruleId") {
        set_text(&mut alert, "fingerprint", Some(&format!("grafana-rule-{rule}")));
    }
    for (from, to) in [("tags", "labels"), ("evalMatches", "evalMatches")] {
        if let Some(value) = body.get(from).filter(|value| !matches!(value, Value::Null)) {
            alert.set(to, value.clone());
        }
    }
    Ok(alert)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json;

    fn check(body: &str, expected: Result<&str, &str>) {
        let Value::Object(object) = json::parse(body).unwrap() else {
            panic!("not an object: {body}")
        };
        let alert = if object.get("labels").is_some() {
            one(object)
        } else {
            legacy(&object)
        };
        match (alert, expected) {
            (Ok(alert), Ok(expected)) => assert_eq!(json::to_text(&Value::Object(alert)), expected, "{body}"),
            (Err(error), Err(part)) => assert!(error.contains(part), "{body}: {error}"),
            (got, _) => panic!("{body}: {got:?}"),
        }
    }

    #[test]
    fn both_forms_are_read() {
        check(
            r#"{"status":"resolved","labels":{"alertname":"A"},"endsAt":"2026-01-01T00:00:00Z","fingerprint":"f","panelURL":"http://g/p","values":{"B":1.5}}"#,
            Ok(
                r#"{"id":"A","name":"A","status":"resolved","severity":"info","source":["grafana"],"fingerprint":"f","endsAt":"2026-01-01T00:00:00Z","labels":{"alertname":"A"},"panelURL":"http://g/p","values":{"B":1.5}}"#,
            ),
        );
        check(
            r#"{"title":"[Alerting] cpu","ruleName":"cpu","ruleId":7,"state":"alerting","message":"m","tags":{"a":"b"}}"#,
            Ok(
                r#"{"id":"cpu","name":"cpu","status":"firing","severity":"critical","source":["grafana"],"description":"m","fingerprint":"grafana-rule-7","labels":{"a":"b"}}"#,
            ),
        );
        check(r#"{"hello":1}"#, Err("title and state"));
    }
}
