//! What a component says it is: its roles, the contract version it was built against and what it asks for. Reads names
//! only, from the bytes, so that a file that can never serve is refused before the compiler spends seconds on it;
//! whether the types fit is found when it is linked.

use std::borrow::Cow;
use std::fmt;

use wasmparser::{ComponentExternalKind, Parser, Payload};
use wasmtime::component::Component;

use crate::contract_version::{API_TEXT, is_spoken};
use crate::errors::LoadError;
use crate::intake::{self, short};
use crate::roles::{Role, Roles};

const PLUGIN_PACKAGE: &str = "donjon:plugin/";
/// Types only; needs nothing from the host.
const TYPES_PACKAGE: &str = "donjon:types/";
const LIFECYCLE: &str = "lifecycle";
/// The sections that only a build for debugging has.
const DEBUG_SECTIONS: &str = ".debug_";

/// A compiled plugin that has not been started. Cheap to clone.
#[derive(Clone)]
pub struct Compiled {
    /// SHA-256 of the file, in hexadecimal digits.
    pub hash: String,
    /// The interfaces it imports, such as `donjon:host/kv@0.2.0`.
    pub imports: Vec<String>,
    /// Its roles: one at least.
    pub roles: Roles,
    /// The version of the contract it was built against, such as `0.2.0`.
    pub api_version: String,
    /// Whether it carries information for debuggers.
    pub debug_build: bool,
    /// Whether the machine code came from the cache.
    pub from_cache: bool,
    pub(crate) component: Component,
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compiled")
            .field("hash", &self.hash)
            .field("imports", &self.imports)
            .field("roles", &self.roles)
            .field("api_version", &self.api_version)
            .field("debug_build", &self.debug_build)
            .field("from_cache", &self.from_cache)
            .finish_non_exhaustive()
    }
}

/// A file that passed every check that needs no compiler.
#[derive(Debug)]
pub struct Examined<'a> {
    /// Its roles: one at least.
    pub roles: Roles,
    /// The version of the contract it was built against, such as `0.2.0`.
    pub api_version: String,
    /// The interfaces it imports, such as `donjon:host/kv@0.2.0`.
    pub imports: Vec<String>,
    /// Whether it carries information for debuggers: a build that is many times slower and larger.
    pub debug_build: bool,
    /// The component: the file itself, or what its core module becomes.
    pub(crate) component: Cow<'a, [u8]>,
}

/// Reads what a file says about itself, without compiling or running anything of it.
///
/// # Errors
/// It is no plugin for this version.
pub fn examine(bytes: &[u8], file_bytes: usize) -> Result<Examined<'_>, LoadError> {
    let component = intake::component_bytes(bytes, file_bytes)?;
    let Outline { imports, exports } = outline(&component)?;
    let (roles, api_version) = identify(&exports)?;
    Ok(Examined {
        roles,
        api_version,
        imports,
        debug_build: has_debug_sections(bytes),
        component,
    })
}

/// The names of interfaces that cross the border of a component.
#[derive(Default)]
struct Outline {
    imports: Vec<String>,
    /// Of donjon:plugin, without its name.
    exports: Vec<String>,
}

fn outline(component: &[u8]) -> Result<Outline, LoadError> {
    let broken = |e: wasmparser::BinaryReaderError| LoadError::Invalid(short(&e));
    let mut outline = Outline::default();
    // Sections of modules and components inside are none of the border.
    let mut depth = 0usize;
    for payload in Parser::new(0).parse_all(component) {
        match payload.map_err(broken)? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(imports) if depth == 0 => {
                for import in imports {
                    let name = import.map_err(broken)?.name.name;
                    if !name.starts_with(TYPES_PACKAGE) {
                        outline.imports.push(name.to_owned());
                    }
                }
            }
            Payload::ComponentExportSection(exports) if depth == 0 => {
                for export in exports {
                    let export = export.map_err(broken)?;
                    let ours = export.name.name.strip_prefix(PLUGIN_PACKAGE);
                    if let Some(name) = ours.filter(|_| export.kind == ComponentExternalKind::Instance) {
                        outline.exports.push(name.to_owned());
                    }
                }
            }
            _ => {}
        }
    }
    Ok(outline)
}

fn has_debug_sections(bytes: &[u8]) -> bool {
    Parser::new(0).parse_all(bytes).any(
        |payload| matches!(payload, Ok(Payload::CustomSection(section)) if section.name().starts_with(DEBUG_SECTIONS)),
    )
}

/// The roles and contract version from the exported interfaces (`correlation@0.2.0`).
fn identify(exports: &[String]) -> Result<(Roles, String), LoadError> {
    if exports.is_empty() {
        return Err(LoadError::NotAPlugin);
    }
    let split: Vec<(&str, &str)> = exports
        .iter()
        .map(|name| name.split_once('@').unwrap_or((name.as_str(), "")))
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
    let roles: Roles = split.iter().filter_map(|(name, _)| Role::of_interface(name)).collect();
    match roles.is_empty() {
        true => Err(LoadError::NoRole),
        false => Ok((roles, (*version).to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exports_name_roles_and_a_known_version() {
        let identify = |exports: &[&str]| identify(&exports.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let ok = identify(&["lifecycle@0.2.3", "enrichment@0.2.3"]).unwrap();
        assert_eq!(ok, (Roles::from(Role::Enricher), "0.2.3".to_owned()));
        let (several, _) = identify(&["lifecycle@0.2.0", "enrichment@0.2.0", "correlation@0.2.1"]).unwrap();
        assert_eq!(several, [Role::Correlator, Role::Enricher].into_iter().collect());
        let text = |exports: &[&str]| identify(exports).unwrap_err().to_string();
        assert!(text(&[]).starts_with("not a Donjon plugin"));
        assert!(text(&["correlation@0.2.0"]).contains("donjon:plugin/lifecycle"));
        assert!(text(&["lifecycle@0.2.0"]).contains("no role"));
        assert!(text(&["lifecycle@0.3.0", "correlation@0.3.0"]).ends_with("donjon:plugin/lifecycle@0.3.0"));
        assert!(text(&["lifecycle", "correlation"]).ends_with("donjon:plugin/lifecycle@"));
    }
}
