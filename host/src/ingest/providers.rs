//! Adapters from what tools send to alert objects, before normalisation. One function a provider; each takes one body
//! item and gives the alerts in it. Knows no HTTP and no storage.

mod alertmanager;
mod grafana;

use std::fmt;

use donjon_core::{Object, Timestamp, Value};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::body::{self, BodyError};

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

    /// The alerts inside one item, each as its own text, so that a bad one is kept without the others.
    ///
    /// # Errors
    /// When the item is not of the tool's shape, or there are more than `max_items` in it.
    pub fn unfold(self, item: &str, max_items: usize) -> Result<Unfolded<'_>, NotUnfolded> {
        match self {
            Provider::Keep | Provider::PrometheusV2 => Ok(Unfolded::Itself(item)),
            Provider::Prometheus | Provider::Alertmanager | Provider::Grafana => unfold(item, max_items),
        }
    }

    /// The alert object of what the tool sent for one alert.
    ///
    /// # Errors
    /// When it is not of the tool's shape; the text says what was expected.
    pub fn alert(self, alert: Object, place: Place, now: Timestamp) -> Result<Object, String> {
        match (self, place) {
            (Provider::Keep, _) if is_webhook(&alert) => Err(WEBHOOK.to_owned()),
            (Provider::Keep, _) => Ok(alert),
            (Provider::Prometheus | Provider::Alertmanager, _) => alertmanager::one(alert, self.as_str()),
            (Provider::PrometheusV2, _) => alertmanager::posted(alert, self.as_str(), now),
            (Provider::Grafana, Place::Alone) => grafana::legacy(&alert),
            (Provider::Grafana, Place::InList) => grafana::one(alert),
        }
    }
}

/// A forgotten end of an address would make one alert without a name of all that are in it.
const WEBHOOK: &str = "this is a webhook of Alertmanager or Grafana with a list of alerts, not an alert; send it to \
     /alerts/event/alertmanager or /alerts/event/grafana";

/// Whether an object is what is around the alerts of a webhook.
fn is_webhook(object: &Object) -> bool {
    let has_alerts = matches!(object.get("alerts"), Some(Value::List(_)));
    has_alerts && object.get("receiver").is_some() && object.get("groupLabels").is_some()
}

/// Where in an item an alert was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It is the item.
    Alone,
    /// In its list `alerts`.
    InList,
}

/// The alerts of one item.
#[derive(Debug, PartialEq, Eq)]
pub enum Unfolded<'a> {
    /// The item is one.
    Itself(&'a str),
    /// Those of its list.
    List(Vec<&'a str>),
}

/// Why there are no alerts to be found in an item.
#[derive(Debug)]
pub enum NotUnfolded {
    /// There are too many.
    TooMany,
    /// It is of another shape.
    Shape(String),
}

fn unfold(item: &str, max_items: usize) -> Result<Unfolded<'_>, NotUnfolded> {
    let envelope: Envelope<'_> = serde_json::from_str(item).map_err(|error| {
        NotUnfolded::Shape(if error.is_data() {
            "alert must be a JSON object".into()
        } else {
            format!("malformed JSON: {error}")
        })
    })?;
    let Some(alerts) = envelope.alerts else {
        return Ok(Unfolded::Itself(item));
    };
    if !alerts.get().starts_with('[') {
        return Err(NotUnfolded::Shape("alerts must be a list".into()));
    }
    match body::elements(alerts.get(), max_items) {
        Ok(alerts) => Ok(Unfolded::List(alerts)),
        Err(BodyError::TooMany(_)) => Err(NotUnfolded::TooMany),
        Err(error) => Err(NotUnfolded::Shape(error.to_string())),
    }
}

/// What is around the alerts of a webhook; nothing of it is kept. The last of several lists counts, as in any object.
struct Envelope<'a> {
    alerts: Option<&'a RawValue>,
}

impl<'de> Deserialize<'de> for Envelope<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EnvelopeVisitor;
        impl<'de> Visitor<'de> for EnvelopeVisitor {
            type Value = Envelope<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope<'de>, A::Error> {
                let mut alerts = None;
                while let Some(key) = map.next_key::<String>()? {
                    if key == "alerts" {
                        alerts = Some(map.next_value::<&'de RawValue>()?);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(Envelope { alerts })
            }
        }
        deserializer.deserialize_map(EnvelopeVisitor)
    }
}

fn text_at<'a>(object: &'a Object, path: &[&str]) -> Option<&'a str> {
    object.at(path).and_then(Value::as_text).filter(|text| !text.is_empty())
}

fn set_text(object: &mut Object, key: &str, text: Option<&str>) {
    if let Some(text) = text {
        object.set(key, Value::text(text));
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
