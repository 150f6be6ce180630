//! Requests to Elasticsearch over a connection named in the host's configuration; credentials never reach the plugin.

use super::backend;
use crate::Error;

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

/// Send one request. An answer with a status of 400 or more is an answer, not an error.
pub fn send(connection: &str, request: &Request) -> Result<Response, Error> {
    backend::elasticsearch::send(connection, request)
}
