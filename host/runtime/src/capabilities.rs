//! What a plugin asks for against what it is granted. The only place that knows which interfaces exist and which of
//! them this version can link; a plugin never sees one that is not granted.

use wasmtime::component::{HasSelf, Linker};

use crate::bindings::plugin::donjon::host;
use crate::contract_version::is_spoken;
use crate::errors::LoadError;
use crate::host::StoreData;
use crate::wasi;

const HOST_PACKAGE: &str = "donjon:host/";

/// A capability that this version can give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Capability {
    Log,
    Config,
    Kv,
}

impl Capability {
    const ALL: [Capability; 3] = [Capability::Log, Capability::Config, Capability::Kv];

    /// The name of the interface, which is the word in `grants`.
    fn name(self) -> &'static str {
        match self {
            Capability::Log => "log",
            Capability::Config => "config",
            Capability::Kv => "kv",
        }
    }

    /// Whether it is given to everybody: it lets nothing out and keeps nothing.
    fn is_always_granted(self) -> bool {
        !matches!(self, Capability::Kv)
    }

    fn is_granted(self, grants: &[String]) -> bool {
        self.is_always_granted() || grants.iter().any(|grant| grant == self.name())
    }

    /// The capability behind an import such as `donjon:host/kv@0.2.0`.
    fn of_import(interface: &str) -> Option<Capability> {
        let (name, version) = interface.strip_prefix(HOST_PACKAGE)?.split_once('@')?;
        Capability::ALL
            .into_iter()
            .find(|capability| capability.name() == name && is_spoken(version))
    }

    fn link(self, linker: &mut Linker<StoreData>) -> wasmtime::Result<()> {
        match self {
            Capability::Log => host::log::add_to_linker::<_, HasSelf<_>>(linker, |data| data),
            Capability::Config => host::config::add_to_linker::<_, HasSelf<_>>(linker, |data| data),
            Capability::Kv => host::kv::add_to_linker::<_, HasSelf<_>>(linker, |data| data),
        }
    }
}

/// The words for `grants` behind which this version has something to give. The contract knows more.
#[must_use]
pub fn served_capabilities() -> Vec<&'static str> {
    Capability::ALL.into_iter().map(Capability::name).collect()
}

/// The capabilities to link, and the grants that nothing asks for.
#[derive(Debug)]
pub(crate) struct Plan {
    linked: Vec<Capability>,
    pub(crate) unused: Vec<String>,
}

impl Plan {
    /// Compares imports with grants. Says everything that is missing at once, so that it can be mended in one step.
    pub(crate) fn new(plugin: &str, imports: &[String], grants: &[String]) -> Result<Plan, LoadError> {
        let (mut linked, mut unknown, mut denied) = (Vec::new(), Vec::new(), Vec::new());
        for interface in imports {
            match Capability::of_import(interface) {
                None if wasi::is_linked(interface) => {}
                None => unknown.push(interface.clone()),
                Some(capability) if linked.contains(&capability) => {}
                Some(capability) if capability.is_granted(grants) => linked.push(capability),
                Some(capability) => denied.push((interface.clone(), capability.name())),
            }
        }
        if !unknown.is_empty() {
            return Err(LoadError::NotAvailable(unknown));
        }
        if !denied.is_empty() {
            let (interfaces, grants) = denied.into_iter().unzip();
            return Err(LoadError::NotGranted {
                interfaces,
                grants,
                plugin: plugin.to_owned(),
            });
        }
        let used = |grant: &String| linked.iter().any(|capability: &Capability| capability.name() == grant);
        let unused = grants.iter().filter(|grant| !used(grant)).cloned().collect();
        Ok(Plan { linked, unused })
    }

    /// Links exactly the planned capabilities.
    pub(crate) fn link(&self, linker: &mut Linker<StoreData>) -> Result<(), LoadError> {
        for capability in &self.linked {
            capability
                .link(linker)
                .map_err(|e| LoadError::Contract(crate::intake::short(&format!("{e:#}"))))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(imports: &[&str], grants: &[&str]) -> Result<Plan, LoadError> {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        Plan::new("rules", &owned(imports), &owned(grants))
    }

    #[test]
    fn only_what_is_asked_for_and_granted_is_linked() {
        let plan = plan(&["donjon:host/log@0.2.0", "donjon:host/kv@0.2.4"], &["kv", "topology"]).unwrap();
        assert_eq!(plan.linked, [Capability::Log, Capability::Kv]);
        assert_eq!(plan.unused, ["topology"]);
    }

    #[test]
    fn a_missing_grant_names_the_interface_and_the_key_to_write() {
        let text = plan(&["donjon:host/kv@0.2.0"], &[]).unwrap_err().to_string();
        assert!(
            text.contains(r#"`grants = ["kv"]`"#) && text.contains("[plugins.rules]"),
            "{text}"
        );
        assert!(text.ends_with("donjon:host/kv@0.2.0"), "{text}");
    }

    #[test]
    fn everything_that_is_not_available_is_named_at_once_with_the_way_out() {
        let wanted = [
            "wasi:io/poll@0.3.0",
            "donjon:host/log@0.2.0",
            "wasi:clocks/wall-clock@0.2.9",
            "wasi:cli/environment@0.3.0",
        ];
        let text = plan(&wanted, &[]).unwrap_err().to_string();
        assert!(
            text.ends_with("wasi:io/poll@0.3.0, wasi:cli/environment@0.3.0"),
            "{text}"
        );
        assert!(
            text.contains("of WASI only 0.2") && !text.contains("log@") && !text.contains("clocks"),
            "{text}"
        );
        let text = plan(&["donjon:host/history@0.2.0"], &["history"])
            .unwrap_err()
            .to_string();
        assert!(text.contains("no grant helps") && !text.contains("wasi"), "{text}");
    }

    #[test]
    fn interfaces_of_other_versions_are_not_available_even_if_granted() {
        for interface in [
            "donjon:host/topology@0.2.0",
            "donjon:host/kv@0.3.0",
            "wasi:cli/environment@0.3.0",
            "kv",
        ] {
            let text = plan(&[interface], &["topology", "kv"]).unwrap_err().to_string();
            assert!(text.contains("not available") && text.ends_with(interface), "{text}");
        }
    }
}
