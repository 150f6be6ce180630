//! Where runtime, plugin directory and committed state meet: neither of them knows the others.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use anyhow::Context;
use arc_swap::ArcSwap;
use donjon_core::TenantId;
use donjon_core::batch::RuleSpec;
use donjon_core::settle::RuleBook;
use donjon_core::state::{StateError, StateView};
use donjon_runtime::{Limits, Plugin, PluginSet, Role, Runtime, RuntimeError, RuntimeOptions};
use donjon_store::{DataDir, StateReader};
use tokio::sync::watch;

use crate::config::{self, AuthMode, Config};
use crate::http::auth::SINGLE_TENANT;
use crate::line::{LineStatus, Policy, Remembered, evaluates_rules, missing_text};
use crate::plugin_kv::{PendingKv, PluginKv};
use crate::plugins::{
    BeforeServing, PluginConfig, PluginDirectory, PluginEvent, PluginOptions, Preconfigure, Refusal, Reloader,
};
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
        file_bytes: host.max_file_bytes,
        ..Limits::default()
    }
}

/// The engine with its compile cache, which is never inside the data: data is copied between machines, and machine code
/// with the key that vouches for it must not come along.
///
/// # Errors
/// When this machine cannot run plugins, or the cache directory that is configured cannot be used.
fn runtime(config: &Config) -> anyhow::Result<Arc<Runtime>> {
    let with_cache = |cache_dir: Option<PathBuf>| {
        Runtime::new(RuntimeOptions {
            cache_dir,
            limits: limits(config),
        })
    };
    if let Some(dir) = &config.plugin_host.cache_dir {
        return with_cache(Some(dir.clone())).context("start the plugin runtime");
    }
    let default = cache_folder(|name| std::env::var_os(name).filter(|value| !value.is_empty()));
    match with_cache(default.clone()) {
        Err(error @ RuntimeError::Cache { .. }) => {
            tracing::warn!(
                "compiled plugins are not kept, so that each start compiles them; set plugin_host.cache_dir: {error}"
            );
            with_cache(None).context("start the plugin runtime")
        }
        started => {
            if default.is_none() {
                tracing::warn!(
                    "compiled plugins are not kept, so that each start compiles them: there is no cache folder; set plugin_host.cache_dir"
                );
            }
            started.context("start the plugin runtime")
        }
    }
}

/// The place for compiled plugins in the user's cache folder.
fn cache_folder(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let absolute = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")))?;
    Some(cache.join("donjon/plugins"))
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

/// Begins to load what is in the plugin directory and watches it from then on.
///
/// # Errors
/// When the directory or the compile cache cannot be made.
pub async fn start(
    config: &Config,
    dir: &DataDir,
    state: &StateReader,
    metrics: &Arc<Metrics>,
    config_file: Option<PathBuf>,
) -> anyhow::Result<Started> {
    let plugin_dir = &config.plugin_host.dir;
    std::fs::create_dir_all(plugin_dir).with_context(|| format!("make plugin directory {}", plugin_dir.display()))?;
    let at_start = policies(config);
    let options = PluginOptions {
        dir: plugin_dir.clone(),
        tenant: first_tenant(config),
        per_plugin: all_settings(config),
        settle: Duration::from_millis(config.plugin_host.settle_ms),
        rescan: Duration::from_secs(config.plugin_host.rescan_seconds),
        kept_dir: Some(dir.path().join("kept-plugins")),
        reread: Some(Arc::new(move || {
            let config = config::load(config_file.as_deref()).map_err(|error| error.to_string())?;
            if policies(&config) != at_start {
                tracing::warn!("policies of plugins change with the next start of the server, not before");
            }
            Ok(all_settings(&config))
        })),
    };
    let (sender, changes) = watch::channel(0);
    let runtime = runtime(config)?;
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
    let took_rules = Arc::new(remembered(dir, &policies(config))?);
    let before_serving = remember(&took_rules, policies(config));
    let directory = PluginDirectory::start(options, runtime, kv, preconfigure, before_serving, on_change).await?;
    let line = Arc::new(LineStatus::new(policies(config), directory.set(), took_rules));
    tokio::spawn(tell_what_is_missing(
        Arc::clone(&line),
        directory.set(),
        directory.first_look(),
        changes.clone(),
        plugin_dir.clone(),
    ));
    tokio::spawn(reload_on_hangup(directory.reloader()));
    Ok(Started {
        directory,
        line,
        changes,
        pending_kv,
    })
}

/// The plugins that evaluated rules before this start, but for those that are optional by now.
fn remembered(dir: &DataDir, policies: &BTreeMap<String, Policy>) -> anyhow::Result<Remembered> {
    let file = dir.path().join("required-plugins");
    Remembered::open(&file, |name| policies.get(name) == Some(&Policy::Optional)).with_context(|| {
        format!(
            "read which plugins are required; write their names into the file, one a line: {}",
            file.display()
        )
    })
}

/// Notes each plugin that is going to evaluate rules, unless it is optional.
fn remember(took_rules: &Arc<Remembered>, policies: BTreeMap<String, Policy>) -> BeforeServing {
    let took_rules = Arc::clone(took_rules);
    Arc::new(move |plugin: &Plugin| {
        if evaluates_rules(plugin) && policies.get(plugin.name()) != Some(&Policy::Optional) {
            took_rules.add(plugin.name());
        }
    })
}

/// Keeps the metrics of what all plugins have together, for as long as there is a runtime.
async fn measure_memory(runtime: Weak<Runtime>, metrics: Arc<Metrics>) {
    while let Some(runtime) = runtime.upgrade() {
        metrics.plugin_memory_bytes.set(runtime.memory_bytes() as u64);
        metrics.plugin_memory_refusals.set(runtime.memory_refusals());
        let told = metrics.plugin_copies_let_go.get();
        metrics
            .plugin_copies_let_go
            .inc_by(runtime.copies_let_go().saturating_sub(told));
        drop(runtime);
        tokio::time::sleep(MEASURE_EVERY).await;
    }
}

/// Says so as soon as a required plugin is missing, not only when an alert meets the held line; and whenever nothing
/// correlates, which looks like rules that match nothing.
async fn tell_what_is_missing(
    line: Arc<LineStatus>,
    set: Arc<ArcSwap<PluginSet>>,
    mut first_look: watch::Receiver<bool>,
    mut changes: watch::Receiver<u64>,
    dir: PathBuf,
) {
    if first_look.wait_for(|looked| *looked).await.is_err() {
        return;
    }
    let mut said = String::new();
    loop {
        let names = line.missing();
        let missing = match names.is_empty() {
            false => missing_text(&names),
            true if correlates(&set.load()) => String::new(),
            true => NOTHING_CORRELATES.to_owned(),
        };
        let (news, is_held) = (missing != said && !missing.is_empty(), !names.is_empty());
        match (news, is_held) {
            (true, true) => {
                tracing::error!(dir = %dir.display(), "alerts are taken and wait, nothing is lost: {missing}")
            }
            (true, false) => tracing::warn!(dir = %dir.display(), "{missing}"),
            (false, _) => {}
        }
        said = missing;
        if changes.changed().await.is_err() {
            return;
        }
    }
}

const NOTHING_CORRELATES: &str = "no correlator is loaded: alerts are taken and stored, but no rule is evaluated; copy \
     rules.wasm into the plugin directory";

fn correlates(set: &PluginSet) -> bool {
    set.plugins
        .iter()
        .any(|plugin| plugin.roles().contains(Role::Correlator))
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

/// SIGHUP asks for what `POST /plugins/reload` asks for. What is wrong is in the log.
async fn reload_on_hangup(reloader: Reloader) {
    let mut hangups = match tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()) {
        Ok(hangups) => hangups,
        Err(error) => return tracing::warn!("SIGHUP does not reload plugins, POST /plugins/reload does: {error}"),
    };
    while hangups.recv().await.is_some() {
        tracing::info!("SIGHUP: reading the settings of plugins and the plugin directory anew");
        let _ = reloader.reload().await;
    }
}

/// Of several tenants, that of the first key.
fn first_tenant(config: &Config) -> TenantId {
    let key = config
        .auth
        .keys
        .first()
        .filter(|_| config.auth.mode == AuthMode::ApiKey);
    TenantId::from(key.map_or(SINGLE_TENANT, |key| key.tenant.as_str()))
}

fn all_settings(config: &Config) -> HashMap<String, PluginConfig> {
    let all = config.plugins.iter();
    all.map(|(name, plugin)| (name.clone(), settings(plugin))).collect()
}

fn settings(plugin: &config::Plugin) -> PluginConfig {
    let table: serde_json::Map<String, serde_json::Value> = plugin.config.clone().into_iter().collect();
    PluginConfig {
        grants: plugin.grants.clone(),
        config: serde_json::Value::Object(table),
    }
}

/// Refuses policies that do not fit, and gives a new correlator the committed rules of all tenants before it serves, off the
/// hot path. The worker takes them over as they are, and configures again only what changed meanwhile.
async fn configure(plugin: Arc<Plugin>, state: StateReader) -> Result<(), Refusal> {
    check_policies(plugin.as_ref()).map_err(Refusal::Final)?;
    if !plugin.roles().contains(Role::Correlator) || !plugin.description().takes_rules {
        return Ok(());
    }
    // What has limits of time, or reads the store, may be otherwise in a moment.
    let text = |error: StateError| Refusal::ForNow(error.to_string());
    for tenant in state.tenants().map_err(text)? {
        let version = state.tenant(&tenant).map_err(text)?.rules_version;
        let book = RuleBook::new(state.rules(&tenant).map_err(text)?);
        let specs: Vec<RuleSpec> = book.rules().iter().map(|live| live.rule.spec()).collect();
        if !specs.is_empty() {
            plugin
                .configure(&tenant, version, &specs)
                .await
                .map_err(|error| Refusal::RulesOf(tenant.clone(), error.to_string()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compiled_plugins_are_kept_in_the_user_s_cache_folder_and_nowhere_by_guess() {
        let folder = |variables: &[(&str, &str)]| {
            cache_folder(|name| {
                variables
                    .iter()
                    .find(|(known, _)| *known == name)
                    .map(|(_, value)| value.into())
            })
        };
        let home = ("HOME", "/home/u");
        assert_eq!(folder(&[home]), Some("/home/u/.cache/donjon/plugins".into()));
        assert_eq!(
            folder(&[home, ("XDG_CACHE_HOME", "/c")]),
            Some("/c/donjon/plugins".into())
        );
        assert_eq!(
            folder(&[home, ("XDG_CACHE_HOME", "relative")]),
            Some("/home/u/.cache/donjon/plugins".into())
        );
        assert_eq!(folder(&[]), None);
    }
}
