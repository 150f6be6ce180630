//! WASI 0.2 for plugins of other languages, whose tools import all of it whether the plugin uses it or not. Answered is
//! what gives the same answer for the same call (invariant I10) and reaches nothing: no environment, the time and the
//! randomness of the call, output into the log. All the rest is linked as a trap that names itself, so that a plugin loads
//! and fails only where it really asks. Nothing of it needs a grant. Any patch of 0.2 is taken, as the component names it.

mod clocks;
mod environment;
mod lines;
mod random;
mod state;
mod streams;

use wasmtime::component::types::ComponentItem;
use wasmtime::component::{Component, Linker, LinkerInstance, Resource, ResourceType};

use crate::host::StoreData;

pub(crate) use state::{CallOrigin, WasiState};

const NAMESPACE: &str = "wasi:";
/// The version with any patch.
const VERSION: &str = "0.2.";

/// A resource of which no plugin ever gets one.
struct Unserved;

/// Whether an import such as `wasi:cli/environment@0.2.9` links.
pub(crate) fn is_linked(interface: &str) -> bool {
    served_name(interface).is_some()
}

/// The name of an interface of WASI 0.2 without namespace and version, such as `cli/environment`.
fn served_name(interface: &str) -> Option<&str> {
    let (name, version) = interface.strip_prefix(NAMESPACE)?.split_once('@')?;
    version.starts_with(VERSION).then_some(name)
}

/// Links everything of WASI that a component imports.
pub(crate) fn link(linker: &mut Linker<StoreData>, component: &Component) -> wasmtime::Result<()> {
    let engine = component.engine();
    // A resource that an interface takes from another one is there already, under whatever name.
    let mut known: Vec<ResourceType> = Vec::new();
    for (interface, item) in component.component_type().imports(engine) {
        let (Some(name), ComponentItem::ComponentInstance(instance)) = (served_name(interface), item.ty) else {
            continue;
        };
        let mut linked = linker.instance(interface)?;
        for (item_name, item) in instance.exports(engine) {
            match item.ty {
                ComponentItem::Resource(resource) if !known.contains(&resource) => {
                    linked.resource(item_name, resource_of(name, item_name), |_, _| Ok(()))?;
                    known.push(resource);
                }
                ComponentItem::ComponentFunc(_) if !answer(&mut linked, name, item_name)? => {
                    let refusal = refusal(interface, item_name);
                    linked.func_new(item_name, move |_, _, _, _| wasmtime::bail!("{refusal}"))?;
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Links a function that is answered; `false` for any other.
fn answer(linked: &mut LinkerInstance<'_, StoreData>, interface: &str, function: &str) -> wasmtime::Result<bool> {
    match interface.split_once('/') {
        Some(("cli", _)) => {
            Ok(environment::answer(linked, interface, function)?
                || streams::answer_standard(linked, interface, function)?)
        }
        Some(("filesystem", _)) => environment::answer(linked, interface, function),
        Some(("clocks", _)) => clocks::answer(linked, interface, function),
        Some(("random", _)) => random::answer(linked, function),
        Some(("io", _)) => streams::answer(linked, interface, function),
        _ => Ok(false),
    }
}

fn resource_of(interface: &str, resource: &str) -> ResourceType {
    match (interface, resource) {
        ("io/streams", "input-stream") => ResourceType::host::<streams::Input>(),
        ("io/streams", "output-stream") => ResourceType::host::<streams::Output>(),
        ("io/poll", "pollable") => ResourceType::host::<streams::Ready>(),
        ("io/error", "error") => ResourceType::host::<streams::Failure>(),
        ("filesystem/types", "descriptor") => ResourceType::host::<environment::Descriptor>(),
        ("cli/terminal-input" | "cli/terminal-output", _) => ResourceType::host::<environment::Terminal>(),
        _ => ResourceType::host::<Unserved>(),
    }
}

/// What a plugin is told that uses what it cannot have.
fn refusal(interface: &str, function: &str) -> String {
    let why = match interface.strip_prefix(NAMESPACE).and_then(|name| name.split_once('/')) {
        Some(("sockets" | "http", _)) => "there is no network here",
        Some(("filesystem", _)) => "there are no files here",
        Some(("clocks", _)) => "nothing waits here, and the time is that of the alerts",
        _ => "this host has nothing behind it",
    };
    format!("{interface}#{function} is not available to plugins: {why}")
}

/// All resources are handed out without a state of their own.
fn handle<T: 'static>(kind: u32) -> Resource<T> {
    Resource::new_own(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_patch_of_the_version_links_and_no_other_version() {
        for interface in [
            "wasi:cli/environment@0.2.0",
            "wasi:io/poll@0.2.12",
            "wasi:http/types@0.2.0-draft",
        ] {
            assert!(is_linked(interface), "{interface}");
        }
        for interface in [
            "wasi:cli/environment@0.3.0",
            "wasi:cli/environment@0.20.0",
            "wasi:cli/environment",
            "donjon:host/kv@0.2.0",
            "cli/environment@0.2.0",
        ] {
            assert!(!is_linked(interface), "{interface}");
        }
    }
}
