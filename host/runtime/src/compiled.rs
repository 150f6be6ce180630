//! What a component says it is: its role, the contract version it was built against and what it asks for. Reads names
//! only; whether the types fit is found when it is linked.

use std::fmt;

use wasmtime::component::Component;
use wasmtime::component::types::ComponentItem;

use crate::errors::LoadError;

/// The contract version that this host speaks: `0.1` with any patch.
const API: (&str, &str) = ("0", "1");
const API_TEXT: &str = "0.1";
const PLUGIN_PACKAGE: &str = "donjon:plugin/";
/// Types only; needs nothing from the host.
const TYPES_PACKAGE: &str = "donjon:types/";
const LIFECYCLE: &str = "lifecycle";

/// What a plugin does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Says which alerts belong together.
    Correlator,
    /// Adds attributes to alerts.
    Enricher,
    /// Stores and searches alerts.
    Archiver,
    /// Runs commands for a person.
    Exporter,
}

impl Role {
    /// The word for people and interfaces.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Correlator => "correlator",
            Role::Enricher => "enricher",
            Role::Archiver => "archiver",
            Role::Exporter => "exporter",
        }
    }

    fn of_interface(name: &str) -> Option<Role> {
        match name {
            "correlation" => Some(Role::Correlator),
            "enrichment" => Some(Role::Enricher),
            "archive" => Some(Role::Archiver),
            "commands" => Some(Role::Exporter),
            _ => None,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A compiled plugin that has not been started. Cheap to clone.
#[derive(Clone)]
pub struct Compiled {
    /// SHA-256 of the file, in hexadecimal digits.
    pub hash: String,
    /// The interfaces it imports, such as `donjon:host/kv@0.1.0`.
    pub imports: Vec<String>,
    /// Its role.
    pub role: Role,
    /// The version of the contract it was built against, such as `0.1.0`.
    pub api_version: String,
    /// Whether the machine code came from the cache.
    pub from_cache: bool,
    pub(crate) component: Component,
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiled")
            .field("hash", &self.hash)
            .field("imports", &self.imports)
            .field("role", &self.role)
            .field("api_version", &self.api_version)
            .field("from_cache", &self.from_cache)
            .finish_non_exhaustive()
    }
}

/// Reads what the component says about itself.
pub(crate) fn introspect(component: Component, hash: String, from_cache: bool) -> Result<Compiled, LoadError> {
    let ty = component.component_type();
    let engine = component.engine();
    let imports = ty
        .imports(engine)
        .map(|(name, _)| name)
        .filter(|name| !name.starts_with(TYPES_PACKAGE))
        .map(str::to_owned)
        .collect();
    let exports: Vec<&str> = ty
        .exports(engine)
        .filter(|(_, item)| matches!(item.ty, ComponentItem::ComponentInstance(_)))
        .filter_map(|(name, _)| name.strip_prefix(PLUGIN_PACKAGE))
        .collect();
    let (role, api_version) = identify(&exports)?;
    Ok(Compiled {
        hash,
        imports,
        role,
        api_version,
        from_cache,
        component: component.clone(),
    })
}

/// The role and contract version from the exported interfaces (`correlation@0.1.0`).
fn identify(exports: &[&str]) -> Result<(Role, String), LoadError> {
    if exports.is_empty() {
        return Err(LoadError::NotAPlugin);
    }
    let split: Vec<(&str, &str)> = exports
        .iter()
        .map(|name| name.split_once('@').unwrap_or((name, "")))
        .collect();
    if let Some((name, version)) = split.iter().find(|(_, version)| !is_spoken(version)) {
        return Err(LoadError::ApiVersion {
            supported: API_TEXT,
            found: format!("{PLUGIN_PACKAGE}{name}@{version}"),
        });
    }
    let Some((_, version)) = split.iter().find(|(name, _)| *name == LIFECYCLE) else {
        return Err(LoadError::NoLifecycle);
    };
    let roles: Vec<Role> = split.iter().filter_map(|(name, _)| Role::of_interface(name)).collect();
    match roles.as_slice() {
        [role] => Ok((*role, (*version).to_owned())),
        [] => Err(LoadError::NoRole),
        many => Err(LoadError::ManyRoles(
            many.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", "),
        )),
    }
}

/// Whether this host speaks a version: before 1.0 the first two numbers decide.
pub(crate) fn is_spoken(version: &str) -> bool {
    let mut numbers = version.split('.');
    (numbers.next(), numbers.next()) == (Some(API.0), Some(API.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exports_name_one_role_and_a_known_version() {
        let ok = identify(&["lifecycle@0.1.3", "enrichment@0.1.3"]).unwrap();
        assert_eq!(ok, (Role::Enricher, "0.1.3".to_owned()));
        let text = |exports: &[&str]| identify(exports).unwrap_err().to_string();
        assert!(text(&[]).starts_with("not a Donjon plugin"));
        assert!(text(&["correlation@0.1.0"]).contains("donjon:plugin/lifecycle"));
        assert!(text(&["lifecycle@0.1.0"]).contains("no role"));
        assert!(text(&["lifecycle@0.1.0", "archive@0.1.0", "commands@0.1.0"]).ends_with("archiver, exporter"));
        assert!(text(&["lifecycle@0.2.0", "correlation@0.2.0"]).ends_with("donjon:plugin/lifecycle@0.2.0"));
        assert!(text(&["lifecycle", "correlation"]).ends_with("donjon:plugin/lifecycle@"));
    }
}
