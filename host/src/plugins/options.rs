//! What the directory of plugins is told, and what it tells back.

use std::collections::HashMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use donjon_core::TenantId;
use donjon_runtime::Plugin;

use super::unit::Refusal;

/// Where plugins are and how they are loaded.
#[derive(Clone)]
pub struct PluginOptions {
    /// The directory.
    pub dir: PathBuf,
    /// The first tenant: each file is started for it, to see whether it starts.
    pub tenant: TenantId,
    /// Settings of single plugins by name; a plugin without any gets the defaults.
    pub per_plugin: HashMap<String, PluginConfig>,
    /// A file is read once it has not changed for so long; usually 300 ms.
    pub settle: Duration,
    /// The directory is looked through at least so often, whatever the system reports; usually
    /// every 30 s.
    pub rescan: Duration,
    /// Where the last good file of each name is kept for the next start; none keeps nothing.
    pub kept_dir: Option<PathBuf>,
    /// Reads the settings of single plugins anew, for a reload; none if they cannot change.
    pub reread: Option<Reread>,
}

/// Reads the settings of single plugins anew, or says why they cannot be used.
pub type Reread = Arc<dyn Fn() -> Result<HashMap<String, PluginConfig>, String> + Send + Sync>;

/// The settings of one plugin.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginConfig {
    /// The capabilities that it gets.
    pub grants: Vec<String>,
    /// Handed to it.
    pub config: serde_json::Value,
}

impl Default for PluginConfig {
    fn default() -> PluginConfig {
        PluginConfig {
            grants: Vec::new(),
            config: serde_json::json!({}),
        }
    }
}

/// Something happened to a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginEvent {
    /// Its name.
    pub name: String,
    /// What happened.
    pub change: PluginChange,
}

/// What happened to a plugin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PluginChange {
    /// It serves from the next batch on, in place of the one before if there was one.
    Loaded {
        /// Its version.
        version: String,
        /// SHA-256 of the file.
        hash: String,
    },
    /// Its file was refused; the one before, if there is one, goes on serving.
    Rejected {
        /// Why, and what to do.
        reason: String,
    },
    /// Its file is gone and no batch uses it any more.
    Unloaded,
}

impl PluginChange {
    /// The word for metrics.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            PluginChange::Loaded { .. } => "loaded",
            PluginChange::Rejected { .. } => "rejected",
            PluginChange::Unloaded => "unloaded",
        }
    }
}

/// Told of every change, on the task that watches the directory: must not block.
pub type OnChange = Arc<dyn Fn(PluginEvent) + Send + Sync>;

/// Prepares a started plugin for serving, such as with the rules of all tenants.
pub type Preconfigure =
    Arc<dyn Fn(Arc<Plugin>) -> Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send>> + Send + Sync>;

/// Told of a plugin right before it begins to serve, on the task that watches the directory.
pub type BeforeServing = Arc<dyn Fn(&Plugin) + Send + Sync>;
