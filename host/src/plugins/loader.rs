//! From the bytes of a file to a plugin that may serve, and into the set that the worker reads. The trait is there so that
//! the life cycle can be tested without components.

use std::future::Future;
use std::sync::Arc;

use arc_swap::ArcSwap;
use donjon_core::value::split_path;
use donjon_runtime::{KvRead, Plugin, PluginSet, Runtime, StartOptions};
use serde_json::Value;

use super::options::{PluginConfig, Preconfigure};
use super::status::PluginState;

/// Something that can serve under a name.
pub trait Unit: Send + Sync + 'static {
    /// What it is.
    fn facts(&self) -> Facts;
    /// Calls, failed calls, and the newest failure with its time.
    fn calls(&self) -> (u64, u64, Option<(u64, String)>);
}

/// What a unit is.
pub struct Facts {
    pub role: &'static str,
    pub version: String,
    pub hash: String,
    pub imports: Vec<String>,
    pub unused_grants: Vec<String>,
}

/// Makes units and lets them serve.
pub trait Loader: Send + Sync + 'static {
    type Unit: Unit;

    /// Largest file worth reading, in bytes.
    fn file_bytes(&self) -> usize;

    /// Names the content of a file.
    fn hash(&self, bytes: &[u8]) -> String;

    /// Makes a unit that is ready to take over from `old`. Tells how far it is.
    fn load(
        &self,
        name: String,
        bytes: Vec<u8>,
        config: PluginConfig,
        old: Option<Arc<Self::Unit>>,
        reached: impl Fn(PluginState) + Send + Sync,
    ) -> impl Future<Output = Result<Arc<Self::Unit>, String>> + Send;

    /// Lets a unit serve under a name from the next batch on, or none.
    fn swap(&self, name: &str, unit: Option<Arc<Self::Unit>>);
}

impl Unit for Plugin {
    fn facts(&self) -> Facts {
        Facts {
            role: self.role().as_str(),
            version: self.version().to_owned(),
            hash: self.hash().to_owned(),
            imports: self.imports().to_vec(),
            unused_grants: self.unused_grants().to_vec(),
        }
    }

    fn calls(&self) -> (u64, u64, Option<(u64, String)>) {
        let counters = self.counters();
        (
            counters.calls,
            counters.failures,
            counters.last_error.map(|error| (error.at_ms, error.message)),
        )
    }
}

/// The loader of the server.
pub struct ComponentLoader {
    pub runtime: Arc<Runtime>,
    pub kv: Arc<dyn KvRead>,
    pub preconfigure: Preconfigure,
    pub set: Arc<ArcSwap<PluginSet>>,
}

impl Loader for ComponentLoader {
    type Unit = Plugin;

    fn file_bytes(&self) -> usize {
        self.runtime.limits().file_bytes
    }

    fn hash(&self, bytes: &[u8]) -> String {
        donjon_runtime::hash_of(bytes)
    }

    async fn load(
        &self,
        name: String,
        bytes: Vec<u8>,
        config: PluginConfig,
        old: Option<Arc<Plugin>>,
        reached: impl Fn(PluginState) + Send + Sync,
    ) -> Result<Arc<Plugin>, String> {
        let runtime = Arc::clone(&self.runtime);
        let compiling = tokio::task::spawn_blocking(move || runtime.compile(&bytes));
        let compiled = compiling
            .await
            .map_err(|e| format!("compiling the plugin panicked: {e}"))?;
        let compiled = compiled.map_err(|e| e.to_string())?;
        reached(PluginState::Compiled);
        let previous_state = match old {
            Some(old) if !old.description().stateless && old.role() == compiled.role => old.snapshot().await,
            _ => None,
        };
        let options = StartOptions {
            name,
            compiled,
            grants: config.grants,
            config: runtime_config(config.config),
            previous_state,
            kv: Arc::clone(&self.kv),
        };
        let plugin = Arc::new(self.runtime.start(options).await.map_err(|e| e.to_string())?);
        reached(PluginState::Ready);
        (self.preconfigure)(Arc::clone(&plugin)).await?;
        Ok(plugin)
    }

    fn swap(&self, name: &str, unit: Option<Arc<Plugin>>) {
        self.set.rcu(|set| match &unit {
            Some(plugin) => set.with(Arc::<Plugin>::clone(plugin)),
            None => set.without(name),
        });
    }
}

/// The configuration as the runtime takes it: as text, and as answers to questions for dotted paths.
fn runtime_config(config: Value) -> donjon_runtime::PluginConfig {
    let json = config.to_string();
    donjon_runtime::PluginConfig {
        json,
        lookup: Arc::new(move |path| value_at(&config, path).map(Value::to_string)),
    }
}

fn value_at<'a>(config: &'a Value, path: &str) -> Option<&'a Value> {
    split_path(path).iter().try_fold(config, |value, key| match value {
        Value::Object(members) => members.get(key),
        Value::Array(elements) => elements.get(key.parse::<usize>().ok()?),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_the_configuration_are_found_by_dotted_paths() {
        let config = runtime_config(serde_json::json!({"index": {"names": ["a", "b"], "a.b": true}, "none": null}));
        let get = |path: &str| (config.lookup)(path);
        assert_eq!(get("index.names.1").as_deref(), Some("\"b\""));
        assert_eq!(get(r"index.a\.b").as_deref(), Some("true"));
        assert_eq!(get("none").as_deref(), Some("null"));
        assert_eq!(
            (get("index.names.2"), get("index.names.x"), get("")),
            (None, None, None)
        );
        assert!(config.json.starts_with(r#"{"index""#));
    }
}
