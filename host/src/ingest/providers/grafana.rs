//! Grafana's webhook: unified alerting (a list of alerts in Alertmanager's shape, with links and values) and the legacy
//! form (one alert a body).

use donjon_core::{Object, Value};

use super::{alertmanager, set_text, text_at};

/// The alerts of a webhook body.
pub fn webhook(body: Object) -> Result<Vec<Result<Object, String>>, String> {
    if body.get("alerts").is_none() {
        return legacy(&body).map(|alert| vec![Ok(alert)]);
    }
    let Some(Value::List(raw)) = body.get("alerts").cloned() else {
        return Err("alerts must be a list".into());
    };
    let mut alerts = alertmanager::webhook(body, "grafana")?;
    for (alert, raw) in alerts.iter_mut().zip(raw) {
        let (Ok(alert), Value::Object(raw)) = (alert, raw) else {
            continue;
        };
        for key in ["dashboardURL", "panelURL", "silenceURL", "valueString", "imageURL"] {
            set_text(
                alert,
                if key == "imageURL" { "imageUrl" } else { key },
                text_at(&raw, &[key]),
            );
        }
        if let Some(values) = raw.get("values").filter(|values| !matches!(values, Value::Null)) {
            alert.set("values", values.clone());
        }
    }
    Ok(alerts)
}

fn legacy(body: &Object) -> Result<Object, String> {
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
    alert.set("source", Value::List(vec![Value::Text("grafana".into())]));
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
        let Value::Object(object) = json::parse(body.as_bytes()).unwrap() else {
            panic!("not an object: {body}")
        };
        match (webhook(object), expected) {
            (Ok(alerts), Ok(expected)) => {
                let list = Value::List(alerts.into_iter().map(|alert| Value::Object(alert.unwrap())).collect());
                assert_eq!(json::to_text(&list), expected, "{body}");
            }
            (Err(error), Err(part)) => assert!(error.contains(part), "{body}: {error}"),
            (got, _) => panic!("{body}: {got:?}"),
        }
    }

    #[test]
    fn both_forms_are_read() {
        check(
            r#"{"title":"t","alerts":[{"status":"resolved","labels":{"alertname":"A"},"endsAt":"2026-01-01T00:00:00Z","fingerprint":"f","panelURL":"http://g/p","values":{"B":1.5}}]}"#,
            Ok(
                r#"[{"id":"A","name":"A","status":"resolved","severity":"info","source":["grafana"],"fingerprint":"f","endsAt":"2026-01-01T00:00:00Z","labels":{"alertname":"A"},"panelURL":"http://g/p","values":{"B":1.5}}]"#,
            ),
        );
        check(
            r#"{"title":"[Alerting] cpu","ruleName":"cpu","ruleId":7,"state":"alerting","message":"m","tags":{"a":"b"}}"#,
            Ok(
                r#"[{"id":"cpu","name":"cpu","status":"firing","severity":"critical","source":["grafana"],"description":"m","fingerprint":"grafana-rule-7","labels":{"a":"b"}}]"#,
            ),
        );
        check(r#"{"hello":1}"#, Err("title and state"));
    }
}
