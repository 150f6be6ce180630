//! The words shared by the host and every plugin, as plain Rust.
//!
//! They mirror `wit/deps/types/types.wit` name by name, because the generated bindings use them directly. A batch is not
//! here: authors see it as views (`batch.rs`), the contract as flat lists (`wire.rs`).

/// Milliseconds since the Unix epoch, UTC: always the time at which the host accepted something, never that of a clock.
pub type Timestamp = u64;

/// The canonical JSON of one alert, UTF-8.
pub type Document = Vec<u8>;

/// What a role of a plugin wants to be handed of each alert.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Attribute paths. Rules that a plugin takes add the paths that they read through its reports.
    pub columns: Vec<String>,
    /// The whole canonical JSON instead.
    pub documents: bool,
    /// To grow into: names and JSON. Unknown names are refused at load.
    pub more: Vec<(String, String)>,
}

impl Wanted {
    /// Attribute paths, dotted; a number selects an element of a list (`source.0`).
    pub fn columns<P: Into<String>>(paths: impl IntoIterator<Item = P>) -> Self {
        Wanted {
            columns: paths.into_iter().map(Into::into).collect(),
            ..Wanted::default()
        }
    }

    /// The whole JSON of each alert.
    pub fn documents() -> Self {
        Wanted {
            documents: true,
            ..Wanted::default()
        }
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

impl From<String> for Error {
    fn from(why: String) -> Self {
        Error::Other(why)
    }
}

impl From<&str> for Error {
    fn from(why: &str) -> Self {
        Error::Other(why.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_becomes_an_error_on_its_way_up() {
        let read = |text: &str| -> Result<u8, Error> {
            Ok(text.parse().map_err(|error| format!("no number: {text}: {error}"))?)
        };
        assert!(matches!(read("x"), Err(Error::Other(why)) if why.starts_with("no number: x")));
    }

    #[test]
    fn errors_read_like_sentences() {
        assert_eq!(Error::invalid("bad path: a..b").to_string(), "invalid: bad path: a..b");
        assert_eq!(Error::Retry(Some(250)).to_string(), "try again in 250 ms");
        assert_eq!(Error::Retry(None).to_string(), "try again");
    }
}
