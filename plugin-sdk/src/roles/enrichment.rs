//! The enricher: proposes attributes for alerts before they are correlated.

use crate::{Batch, Error, Plugin};

/// One change of one alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Set the attribute at a dotted path to a JSON value (path, JSON text).
    Set((String, String)),
    /// Remove the attribute at a dotted path.
    Remove(String),
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
    pub fn new(alert: u32) -> Self {
        Patch {
            alert,
            changes: Vec::new(),
        }
    }

    /// Set the attribute at a dotted path to a value given as JSON text.
    #[must_use]
    pub fn set(mut self, path: impl Into<String>, json: impl Into<String>) -> Self {
        self.changes.push(Change::Set((path.into(), json.into())));
        self
    }

    /// Remove the attribute at a dotted path.
    #[must_use]
    pub fn remove(mut self, path: impl Into<String>) -> Self {
        self.changes.push(Change::Remove(path.into()));
        self
    }
}

/// A plugin that adds attributes to alerts.
pub trait Enricher: Plugin {
    /// Propose changes for a batch.
    fn enrich(&mut self, batch: &Batch) -> Result<Vec<Patch>, Error>;
}
