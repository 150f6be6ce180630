//! Where runtime, plugin directory and committed state meet: neither of them knows the others.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use donjon_core::batch::RuleSpec;
use donjon_core::settle::RuleBook;
use donjon_core::state::{StateError, StateView};
use donjon_runtime::{Limits, Plugin, PluginSet, Role, Runtime, RuntimeOptions};
use donjon_store::{DataDir, StateReader};
use tokio::sync::watch;

use crate::config::{self, Config};
use crate::line::{LineStatus, Policy};
use crate::plugin_kv::{PendingKv, PluginKv};
use crate::plugins::{PluginConfig, PluginDirectory, PluginEvent, PluginOptions, PluginPolicy, Preconfigure};
use crate::telemetry::{Kind, Metrics};
use crate::worker::check_policies;

/// How often the memory of plugins is measured.
const MEASURE_EVERY: Duration = Duration::from_secs(1);

/// The caps on plugins, as configured.
fn limits(config: &Config) -> Limits {
    let host = &config.plugin_host;
    Limits {
        total_memory_bytes: host.total_memory_bytes,
        memory_bytes: host.memory_bytes,
        call_cpu: Duration::from_millis(host.call_cpu_ms),
        call_wall: Duration::from_millis(host.call_timeout_ms),
        ..Limits::default()
    }
}

/// The engine with its compile cache inside the data directory.
///
/// # Errors
/// When the cache directory cannot be made.
fn runtime(config: &Config, dir: &DataDir) -> anyhow::Result<Arc<Runtime>> {
    let options = RuntimeOptions {
        cache_dir: Some(dir.path().join("plugin-cache")),
        limits: limits(config),
    };
    Runtime::new(options).context("start the plugin runtime")
}

/// A started plugin directory, and a counter that grows with every change in it.
pub struct Started {
    /// The directory.
    pub directory: PluginDirectory,
    /// What holds the line, or hampers it.
    pub line: Arc<LineStatus>,
    /// For clients that follow changes.
    pub changes: watch::Receiver<u64>,
    /// For the worker: what plugins wrote in the running batch.
    pub pending_kv: PendingKv,
}

/// Loads what is in the plugin directory and watches it from then on.
///
/// # Errors
/// When the directory or the compile cache cannot be made.
pub async fn start(
    config: &Config,
    dir: &DataDir,
    state: &StateReader,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<Started> {
    let plugin_dir = &config.plugin_host.dir;
    std::fs::create_dir_all(plugin_dir).with_context(|| format!("make plugin directory {}", plugin_dir.display()))?;
    let options = PluginOptions {
        dir: plugin_dir.clone(),
        per_plugin: config
            .plugins
            .iter()
            .map(|(name, plugin)| (name.clone(), settings(plugin)))
            .collect(),
        settle: Duration::from_millis(config.plugin_host.settle_ms),
        rescan: Duration::from_secs(config.plugin_host.rescan_seconds),
    };
    let (sender, changes) = watch::channel(0);
    let runtime = runtime(config, dir)?;
    tokio::spawn(measure_memory(Arc::downgrade(&runtime), Arc::clone(metrics)));
    let metrics = Arc::clone(metrics);
    let on_change = Arc::new(move |event: PluginEvent| {
        metrics
            .plugin_loads
            .get_or_create(&Kind {
                kind: event.change.as_str(),
            })
            .inc();
        sender.send_modify(|count| *count += 1);
    });
    let reader = state.clone();
    let preconfigure: Preconfigure = Arc::new(move |plugin: Arc<Plugin>| Box::pin(configure(plugin, reader.clone())));
    let pending_kv = PendingKv::default();
    let kv = Arc::new(PluginKv {
        committed: state.clone(),
        pending: pending_kv.clone(),
    });
    let directory = PluginDirectory::start(options, runtime, kv, preconfigure, on_change).await?;
    tokio::spawn(warn_without_correlator(
        directory.set(),
        changes.clone(),
        plugin_dir.clone(),
    ));
    let line = Arc::new(LineStatus::new(policies(config), directory.set()));
    Ok(Started {
        directory,
        line,
        changes,
        pending_kv,
    })
}

/// Keeps the metrics of what all plugins have together, for as long as there is a runtime.
async fn measure_memory(runtime: Weak<Runtime>, metrics: Arc<Metrics>) {
    while let Some(runtime) = runtime.upgrade() {
        metrics.plugin_memory_bytes.set(runtime.memory_bytes() as u64);
        metrics.plugin_memory_refusals.set(runtime.memory_refusals());
        drop(runtime);
        tokio::time::sleep(MEASURE_EVERY).await;
    }
}

/// Says so whenever nothing evaluates rules, which looks like rules that match nothing.
async fn warn_without_correlator(set: Arc<ArcSwap<PluginSet>>, mut changes: watch::Receiver<u64>, dir: PathBuf) {
    let mut said = false;
    loop {
        let missing = !set
            .load()
            .plugins
            .iter()
            .any(|plugin| plugin.role() == Role::Correlator);
        if missing && !said {
            tracing::warn!(dir = %dir.display(), "no correlator is loaded: alerts are taken and stored, but no rule is evaluated; \
                copy rules.wasm into the plugin directory");
        }
        said = missing;
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// What was said about single plugins; the others follow their role.
fn policies(config: &Config) -> BTreeMap<String, Policy> {
    let policy = |policy| match policy {
        config::PluginPolicy::Optional => Policy::Optional,
        config::PluginPolicy::Required => Policy::Required,
    };
    let named = config.plugins.iter();
    named
        .filter_map(|(name, plugin)| Some((name.clone(), policy(plugin.policy?))))
        .collect()
}

fn settings(plugin: &config::Plugin) -> PluginConfig {
    let table: serde_json::Map<String, serde_json::Value> = plugin.config.clone().into_iter().collect();
    PluginConfig {
        grants: plugin.grants.clone(),
        config: serde_json::Value::Object(table),
        policy: match plugin.policy {
            Some(config::PluginPolicy::Required) => PluginPolicy::Required,
            _ => PluginPolicy::Optional,
        },
    }
}

/// Refuses policies that do not fit, and gives a new correlator the committed rules of all tenants before it serves, off the
/// hot path. The worker takes them over as they are, and configures again only what changed meanwhile.
async fn configure(plugin: Arc<Plugin>, state: StateReader) -> Result<(), String> {
    check_policies(plugin.as_ref())?;
    if plugin.role() != Role::Correlator || !plugin.description().takes_rules {
        return Ok(());
    }
    let text = |error: StateError| error.to_string();
    for tenant in state.tenants().map_err(text)? {
        let version = state.tenant(&tenant).map_err(text)?.rules_version;
        let book = RuleBook::new(state.rules(&tenant).map_err(text)?);
        let specs: Vec<RuleSpec> = book.rules().iter().map(|live| live.rule.spec()).collect();
        if !specs.is_empty() {
            plugin
                .configure(&tenant, version, &specs)
                .await
                .map_err(|error| error.to_string())?;
        }
    }
    Ok(())
}
