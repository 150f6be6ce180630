//! What every plugin has: a description and a beginning.
//!
//! It must not know the roles; those are in `roles/`.

use crate::types::Error;

/// What the plugin is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// The name of the plugin for people.
    pub name: String,
    /// The version of the plugin.
    pub version: String,
    /// One sentence.
    pub about: String,
    /// To grow into: names and JSON. Unknown names are refused at load.
    pub more: Vec<(String, String)>,
}

impl Description {
    /// Name and version of the plugin, and one sentence about it.
    pub fn new(name: impl Into<String>, version: impl Into<String>, about: impl Into<String>) -> Self {
        Description {
            name: name.into(),
            version: version.into(),
            about: about.into(),
            more: Vec::new(),
        }
    }
}

/// The part that all roles share. A value of the type is an instance: it belongs to one tenant, the host makes it when the
/// tenant first needs it and may end it between any two calls. What it remembers is a cache; what must survive belongs into
/// [`crate::kv`].
pub trait Plugin: Sized {
    /// What the plugin is. Called first, without any capability; the same for every tenant.
    fn describe() -> Description;

    /// Begin, with the tenant whose alerts the instance will see and the configuration of the plugin as JSON.
    fn init(tenant: &str, config: &str) -> Result<Self, Error>;
}
