//! The graph of services, read-only.

use super::backend;
use crate::types::Error;

pub use crate::capability::{Application, Dependency};

/// Changes whenever the graph does, so that a plugin can keep what it computed.
pub fn version() -> Result<u64, Error> {
    backend::topology::version()
}

/// Attributes of a service as JSON, or none.
pub fn service(name: &str) -> Result<Option<String>, Error> {
    backend::topology::service(name)
}

/// All edges.
pub fn dependencies() -> Result<Vec<Dependency>, Error> {
    backend::topology::dependencies()
}

/// All applications.
pub fn applications() -> Result<Vec<Application>, Error> {
    backend::topology::applications()
}
