//! The graph of services, read-only.

use super::backend;
use crate::Error;

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
