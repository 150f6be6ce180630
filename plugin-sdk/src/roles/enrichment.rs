//! The enricher: proposes attributes for alerts before they are correlated.

use crate::batch::{Alert, Batch};
use crate::lifecycle::Plugin;
use crate::types::{Error, Wanted};

/// Sets an attribute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setting {
    /// A dotted path; a backslash before a dot or a backslash makes it part of a key.
    pub path: String,
    /// The value as JSON.
    pub json: String,
}

/// One change of one alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Set the attribute at a path.
    Set(Setting),
    /// Remove the attribute at a dotted path.
    Remove(String),
    /// To grow into: a name and JSON. Unknown names are refused, and the alert is told.
    Other((String, String)),
}

/// The changes of one alert.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    /// Index into the batch.
    pub alert: u32,
    /// Applied in order. Identity, status and time of an alert cannot be changed.
    pub changes: Vec<Change>,
}

impl Patch {
    /// A patch of an alert, without changes yet.
    pub fn new(alert: &Alert<'_>) -> Self {
        Patch {
            alert: alert.index(),
            changes: Vec::new(),
        }
    }

    /// Set the attribute at a dotted path to a value given as JSON text.
    #[must_use]
    pub fn set(mut self, path: impl Into<String>, json: impl Into<String>) -> Self {
        self.changes.push(Change::Set(Setting {
            path: path.into(),
            json: json.into(),
        }));
        self
    }

    /// Set the attribute at a dotted path to a text.
    #[must_use]
    pub fn set_text(self, path: impl Into<String>, text: &str) -> Self {
        self.set(path, json_of(text))
    }

    /// Remove the attribute at a dotted path.
    #[must_use]
    pub fn remove(mut self, path: impl Into<String>) -> Self {
        self.changes.push(Change::Remove(path.into()));
        self
    }
}

/// A text as JSON.
fn json_of(text: &str) -> String {
    let mut json = String::with_capacity(text.len() + 2);
    json.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => json.extend(['\\', character]),
            '\0'..'\u{20}' => json.push_str(&format!("\\u{:04x}", u32::from(character))),
            _ => json.push(character),
        }
    }
    json.push('"');
    json
}

/// A plugin that adds attributes to alerts.
pub trait Enricher: Plugin {
    /// What it wants to be handed; the same for every tenant.
    fn wants(&self) -> Wanted;

    /// Propose changes for a batch.
    fn enrich(&mut self, batch: &Batch) -> Result<Vec<Patch>, Error>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_becomes_json_whatever_is_in_it() {
        let json = json_of("a \"b\" \\ c\n\u{1f}ü");
        assert_eq!(json, r#""a \"b\" \\ c\u000a\u001fü""#);
    }
}
