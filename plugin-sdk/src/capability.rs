//! What the calls of capabilities take and answer.
//!
//! Apart from the calls, so that neither they nor who answers them in tests needs the other for its words.

use crate::types::Timestamp;

/// What a line means to an operator: `Warn` = nothing was lost, `Error` = something was, or a person is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Every step.
    Trace,
    /// For the author of the plugin.
    Debug,
    /// Worth knowing.
    Info,
    /// Nothing was lost.
    Warn,
    /// Something was lost, or a person is needed.
    Error,
}

/// One stored value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// At most 64 KiB.
    pub value: Vec<u8>,
    /// Counts the writes of this key since it was absent, from 1.
    pub version: u64,
    /// It may disappear once everything accepted before this time is judged.
    pub expires: Option<Timestamp>,
}

impl Entry {
    /// Whether it counts for an alert that was accepted then.
    pub fn counts_at(&self, accepted: Timestamp) -> bool {
        self.expires.is_none_or(|expires| accepted < expires)
    }
}

/// An edge: `service` depends on `depends_on`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// The dependent service.
    pub service: String,
    /// The service it needs.
    pub depends_on: String,
}

/// A named set of services.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Application {
    /// The identifier of the application.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// The services it consists of.
    pub services: Vec<String>,
}

/// The method of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Method {
    /// GET
    Get,
    /// POST
    Post,
    /// PUT
    Put,
    /// DELETE
    Delete,
    /// HEAD
    Head,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path, beginning with a slash, without a host.
    pub path: String,
    /// Query parameters, not yet encoded.
    pub query: Vec<(String, String)>,
    /// The content type of the body.
    pub content_type: String,
    /// The body; empty for none.
    pub body: Vec<u8>,
}

impl Request {
    /// A request without parameters and body.
    pub fn new(method: Method, path: impl Into<String>) -> Self {
        Request {
            method,
            path: path.into(),
            query: Vec::new(),
            content_type: String::new(),
            body: Vec::new(),
        }
    }

    /// Add a query parameter, not encoded.
    #[must_use]
    pub fn parameter(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.query.push((name.into(), value.into()));
        self
    }

    /// Set the body.
    #[must_use]
    pub fn body(mut self, content_type: impl Into<String>, body: impl Into<Vec<u8>>) -> Self {
        self.content_type = content_type.into();
        self.body = body.into();
        self
    }
}

/// The answer of the server, whatever its status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}
