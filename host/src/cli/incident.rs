//! `donjon incident list` and `show`.

use serde_json::Value;

use super::client::{ClientOptions, Method};
use super::output::{Output, at, clean, print, say};

/// What to list.
pub struct ListFilter {
    /// Statuses.
    pub status: Vec<String>,
    /// Severities.
    pub severity: Vec<String>,
    /// Candidates instead.
    pub candidates: bool,
    /// Most incidents.
    pub limit: usize,
}

/// Lists incidents, newest first.
///
/// # Errors
/// When the server cannot be reached or refuses.
pub fn list(client: &ClientOptions, filter: &ListFilter, output: Output) -> anyhow::Result<()> {
    let mut path = format!(
        "/incidents?limit={}&sorting=-creation_time&candidate={}",
        filter.limit, filter.candidates
    );
    for (name, values) in [("status", &filter.status), ("severity", &filter.severity)] {
        for value in values {
            path.push_str(&format!("&{name}={value}"));
        }
    }
    let answer = client.call(Method::Get, &path, None, "")?;
    let rows = at(&answer, "items").as_array().cloned().unwrap_or_default();
    let columns = [
        ("ID", "id"),
        ("STATUS", "status"),
        ("SEVERITY", "severity"),
        ("ALERTS", "alerts_count"),
        ("LAST SEEN", "last_seen_time"),
        ("NAME", "user_generated_name"),
    ];
    print(&rows, &columns, output, &answer)
}

/// Shows one incident with its alerts.
///
/// # Errors
/// When the server cannot be reached or does not know it.
pub fn show(client: &ClientOptions, id: &str, output: Output) -> anyhow::Result<()> {
    let mut incident = client.call(Method::Get, &format!("/incidents/{id}"), None, "")?;
    let alerts = client.call(Method::Get, &format!("/incidents/{id}/alerts?limit=1000"), None, "")?;
    let items = at(&alerts, "items").as_array().cloned().unwrap_or_default();
    if output == Output::Table {
        for (title, key) in [
            ("name", "user_generated_name"),
            ("status", "status"),
            ("severity", "severity"),
            ("rule", "rule_name"),
            ("group", "rule_fingerprint"),
            ("started", "start_time"),
            ("last seen", "last_seen_time"),
            ("ended", "end_time"),
        ] {
            say(format_args!(
                "{title:<10} {}",
                clean(at(&incident, key).as_str().unwrap_or("-"))
            ))?;
        }
        say("")?;
    }
    let rows: Vec<Value> = items.iter().map(with_reason).collect();
    if let Some(incident) = incident.as_object_mut() {
        incident.insert("alerts".into(), Value::Array(items));
    }
    let columns = [
        ("STATUS", "status"),
        ("SEVERITY", "severity"),
        ("NAME", "name"),
        ("FINGERPRINT", "fingerprint"),
        ("BECAUSE", "because"),
    ];
    print(&rows, &columns, output, &incident)
}

fn with_reason(alert: &Value) -> Value {
    let mut row = alert.clone();
    let branches = at(alert, "explanation.branches")
        .as_array()
        .cloned()
        .unwrap_or_default();
    let texts: Vec<&str> = branches
        .iter()
        .filter_map(|branch| at(branch, "text").as_str())
        .collect();
    if let Some(row) = row.as_object_mut() {
        row.insert("because".into(), texts.join(" or ").into());
    }
    row
}
