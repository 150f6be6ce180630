//! What is probably not meant in a configuration that is usable: settings of plugins that are not there, capabilities
//! that this version does not have. `check-config` prints it; starts no server and reads no plugin.

use crate::config::Config;

/// The extension of plugin files.
const EXTENSION: &str = "wasm";

/// One line each.
pub fn warnings(config: &Config) -> Vec<String> {
    let served = donjon_runtime::served_capabilities();
    let mut warnings = Vec::new();
    for (name, plugin) in &config.plugins {
        let file = config.plugin_host.dir.join(format!("{name}.{EXTENSION}"));
        if !file.exists() {
            warnings.push(format!(
                "[plugins.{name}] is for a plugin that is not there; mind the spelling, or copy it there: {}",
                file.display()
            ));
        }
        for grant in plugin.grants.iter().filter(|grant| !served.contains(&grant.as_str())) {
            warnings.push(format!(
                "plugins.{name}.grants: this version has nothing to give for a capability of the contract, a plugin that imports it is refused: {grant}"
            ));
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_that_are_not_there_and_capabilities_without_anything_behind_are_warned_about() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("there.wasm"), "").unwrap();
        let mut config = Config::default();
        config.plugin_host.dir = dir.path().to_owned();
        for (name, grants) in [
            ("there", vec!["kv"]),
            ("team-enrichr", vec!["topology", "kv", "history"]),
        ] {
            let plugin = config.plugins.entry(name.to_owned()).or_default();
            plugin.grants = grants.into_iter().map(str::to_owned).collect();
        }
        let warnings = warnings(&config);
        assert_eq!(warnings.len(), 3, "{warnings:?}");
        assert!(warnings[0].contains("team-enrichr.wasm"), "{warnings:?}");
        assert!(
            warnings[1].ends_with("topology") && warnings[2].ends_with("history"),
            "{warnings:?}"
        );
    }
}
