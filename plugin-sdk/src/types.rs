//! The words shared by the host and every plugin, as plain Rust.
//!
//! They mirror `wit/deps/types/types.wit` name by name, because the generated bindings use them directly: that is what
//! saves a conversion of every value of every batch.

/// Milliseconds since the Unix epoch, UTC.
pub type Timestamp = u64;

/// The canonical JSON of one alert, UTF-8.
pub type Document = Vec<u8>;

/// The value of one column of one alert.
#[derive(Clone, Debug, PartialEq)]
pub enum Scalar {
    /// The attribute is absent, or JSON null: the two are the same to a rule.
    Null,
    /// A JSON boolean.
    Boolean(bool),
    /// A JSON number without a fraction that fits in 64 bits.
    Integer(i64),
    /// Any other JSON number.
    Number(f64),
    /// A JSON string.
    Text(String),
    /// A JSON list or object, as JSON text.
    Json(String),
}

impl Scalar {
    /// The text of a JSON string; none for every other kind of value.
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Scalar::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether the attribute is absent or JSON null.
    pub fn is_null(&self) -> bool {
        matches!(self, Scalar::Null)
    }
}

impl From<&str> for Scalar {
    fn from(text: &str) -> Self {
        Scalar::Text(text.to_owned())
    }
}

/// Which alert a row belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlertKey {
    /// The received occurrence; unique.
    pub event_id: String,
    /// The series that the event belongs to.
    pub fingerprint: String,
}

/// Alerts of one tenant in the order of their acceptance. `keys` always has one entry an alert.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// The tenant that all alerts of the batch belong to.
    pub tenant: String,
    /// The acceptance time of the newest alert of the batch.
    pub now: Timestamp,
    /// One entry an alert.
    pub keys: Vec<AlertKey>,
    /// The attribute paths asked for, dotted; a number selects an element of a list (`source.0`).
    pub columns: Vec<String>,
    /// One row an alert, one scalar a column. Empty for a plugin that wants documents.
    pub rows: Vec<Vec<Scalar>>,
    /// One document an alert. Empty for a plugin that wants fields.
    pub documents: Vec<Document>,
}

impl Batch {
    /// The number of alerts.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no alert.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The position of a column among the values of a row.
    pub fn column(&self, path: &str) -> Option<usize> {
        self.columns.iter().position(|column| column == path)
    }

    /// The rows, each with the index that verdicts, failures and patches name its alert by.
    pub fn indexed_rows(&self) -> impl Iterator<Item = (u32, &[Scalar])> {
        (0u32..).zip(self.rows.iter().map(Vec::as_slice))
    }
}

/// Why a call did not do what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The input is wrong; trying again will not help.
    #[error("invalid: {0}")]
    Invalid(String),
    /// A capability or an object was refused.
    #[error("denied: {0}")]
    Denied(String),
    /// Try again, after that many milliseconds if given.
    #[error("try again{}", .0.map(|ms| format!(" in {ms} ms")).unwrap_or_default())]
    Retry(Option<u32>),
    /// Something outside is not there.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// A limit of the host was reached.
    #[error("quota: {0}")]
    Quota(String),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl Error {
    /// The input is wrong, with the reason.
    pub fn invalid(why: impl Into<String>) -> Self {
        Error::Invalid(why.into())
    }

    /// Any failure without a kind of its own.
    pub fn other(why: impl Into<String>) -> Self {
        Error::Other(why.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_comes_with_the_index_of_its_alert() {
        let batch = Batch {
            columns: vec!["name".into()],
            rows: vec![vec!["a".into()], vec!["b".into()]],
            ..Batch::default()
        };
        let seen: Vec<_> = batch
            .indexed_rows()
            .map(|(alert, row)| (alert, row[0].as_text().unwrap()))
            .collect();
        assert_eq!(seen, [(0, "a"), (1, "b")]);
        assert_eq!(batch.column("name"), Some(0));
        assert_eq!(batch.column("absent"), None);
    }

    #[test]
    fn errors_read_like_sentences() {
        assert_eq!(Error::invalid("bad path: a..b").to_string(), "invalid: bad path: a..b");
        assert_eq!(Error::Retry(Some(250)).to_string(), "try again in 250 ms");
        assert_eq!(Error::Retry(None).to_string(), "try again");
    }
}
