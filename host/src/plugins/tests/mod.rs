//! The life cycle of files with a loader that needs no components, and, where guests are built, with real ones.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use super::PluginOptions;

mod components;
mod life_cycle;

/// Options for a directory, with a short time to settle.
fn options(dir: &Path) -> PluginOptions {
    let (settle, rescan) = (Duration::from_millis(60), Duration::from_secs(30));
    PluginOptions {
        dir: dir.to_owned(),
        per_plugin: HashMap::new(),
        settle,
        rescan,
    }
}
