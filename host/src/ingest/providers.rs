//! Adapters from what tools send to alert objects, before normalisation. One function a provider; each takes one body
//! item and gives the alerts in it. Knows no HTTP and no storage.

mod alertmanager;
mod grafana;

use donjon_core::{Object, Timestamp, Value};

/// The tools whose bodies are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provider {
    /// Alert objects as they are.
    Keep,
    /// Alertmanager's webhook, as the reference's `prometheus` provider takes it.
    Prometheus,
    /// Alertmanager's webhook, version 4.
    Alertmanager,
    /// What a Prometheus server posts to `/api/v2/alerts`.
    PrometheusV2,
    /// Grafana's webhook, unified and legacy alerting.
    Grafana,
}

impl Provider {
    /// The provider of a path, if it is known.
    pub fn parse(name: &str) -> Option<Provider> {
        match name {
            "keep" => Some(Provider::Keep),
            "prometheus" => Some(Provider::Prometheus),
            "alertmanager" => Some(Provider::Alertmanager),
            "grafana" => Some(Provider::Grafana),
            _ => None,
        }
    }

    /// The provider type kept with the alerts.
    pub fn as_str(self) -> &'static str {
        match self {
            Provider::Keep => "keep",
            Provider::Prometheus | Provider::PrometheusV2 => "prometheus",
            Provider::Alertmanager => "alertmanager",
            Provider::Grafana => "grafana",
        }
    }

    /// The alert objects in one item; a bad one does not take the others down.
    ///
    /// # Errors
    /// When the item is not of the tool's shape; the text says what was expected.
    pub fn alerts(self, item: Object, now: Timestamp) -> Result<Vec<Result<Object, String>>, String> {
        match self {
            Provider::Keep => Ok(vec![Ok(item)]),
            Provider::Prometheus | Provider::Alertmanager => alertmanager::webhook(item, self.as_str()),
            Provider::PrometheusV2 => Ok(vec![alertmanager::posted(item, self.as_str(), now)]),
            Provider::Grafana => grafana::webhook(item),
        }
    }
}

fn text_at<'a>(object: &'a Object, path: &[&str]) -> Option<&'a str> {
    object.at(path).and_then(Value::as_text).filter(|text| !text.is_empty())
}

fn set_text(object: &mut Object, key: &str, text: Option<&str>) {
    if let Some(text) = text {
        object.set(key, Value::Text(text.to_owned()));
    }
}

/// Severities as monitoring tools name them; anything else is left to the default.
fn severity(text: &str) -> &'static str {
    match text.to_ascii_lowercase().as_str() {
        "critical" | "crit" | "fatal" | "emergency" | "page" | "disaster" => "critical",
        "high" | "error" | "major" => "high",
        "warning" | "warn" | "minor" | "average" => "warning",
        "low" | "debug" => "low",
        _ => "info",
    }
}
