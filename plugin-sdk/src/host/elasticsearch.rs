//! Requests to Elasticsearch over a connection named in the host's configuration; credentials never reach the plugin.

use super::backend;
use crate::types::Error;

pub use crate::capability::{Method, Request, Response};

/// Send one request. An answer with a status of 400 or more is an answer, not an error.
pub fn send(connection: &str, request: &Request) -> Result<Response, Error> {
    backend::elasticsearch::send(connection, request)
}
