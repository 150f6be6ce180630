//! From the bytes of a file to a plugin that may serve, and into the set that the worker reads. Bounds how much is
//! compiled at once and for how long it is waited for; knows no directory and no records.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use donjon_core::TenantId;
use donjon_core::value::split_path;
use donjon_runtime::{Compiled, KvRead, LoadError, Plugin, PluginSet, Role, Runtime, StartOptions};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::options::{BeforeServing, PluginConfig, Preconfigure};
use super::status::PluginState;
use super::unit::{Refusal, Unit};
use crate::json;

/// Files that are compiled at the same time: compiling must leave processors to the alerts.
pub const COMPILED_AT_ONCE: usize = 2;
/// How long a file may wait for its turn, and then take to compile.
const COMPILE_PATIENCE: Duration = Duration::from_secs(120);

/// Most likely a file under a wrong name; the line would be held for the rules that nobody evaluates any more.
const NOBODY_WOULD_EVALUATE_RULES: &str = "the file takes no rules, and what serves under this name evaluates them, so it \
     serves on; give the file another name, or remove what serves first";

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
        bytes: Arc<Vec<u8>>,
        config: PluginConfig,
        old: Option<Arc<Self::Unit>>,
        reached: impl Fn(PluginState) + Send + Sync,
    ) -> impl Future<Output = Result<Arc<Self::Unit>, Refusal>> + Send;

    /// Lets a unit serve under a name from the next batch on, or none.
    fn swap(&self, name: &str, unit: Option<Arc<Self::Unit>>);
}

/// The loader of the server.
pub struct ComponentLoader {
    pub runtime: Arc<Runtime>,
    pub kv: Arc<dyn KvRead>,
    /// The tenant whose copy shows whether a file starts.
    pub tenant: TenantId,
    pub preconfigure: Preconfigure,
    pub before_serving: BeforeServing,
    pub set: Arc<ArcSwap<PluginSet>>,
    pub compiling: Arc<Semaphore>,
}

impl ComponentLoader {
    /// Checks the file, then takes its code from the cache or compiles it.
    async fn compile(&self, name: &str, grants: &[String], bytes: Arc<Vec<u8>>) -> Result<Compiled, Refusal> {
        let job = {
            let (runtime, name, grants) = (Arc::clone(&self.runtime), name.to_owned(), grants.to_vec());
            move |cached_only: bool| match cached_only {
                true => runtime.compile_from_cache(&name, &grants, &bytes),
                false => runtime.compile_granted(&name, &grants, &bytes).map(Some),
            }
        };
        let first = job.clone();
        if let Some(compiled) = finished(tokio::task::spawn_blocking(move || first(true)).await)? {
            return Ok(compiled);
        }
        let turn = tokio::time::timeout(COMPILE_PATIENCE, Arc::clone(&self.compiling).acquire_owned()).await;
        let Ok(Ok(turn)) = turn else {
            return Err(Refusal::ForNow(
                "waited too long for the compiler, which is busy with other files".to_owned(),
            ));
        };
        let compiling = tokio::task::spawn_blocking(move || {
            // Held by the thread, not by who waits for it: what nobody waits for any more still takes a processor.
            let _turn = turn;
            job(false)
        });
        let compiled = tokio::time::timeout(COMPILE_PATIENCE, compiling).await;
        let compiled = compiled.map_err(|_| Refusal::Final(took_too_long()))?;
        finished(compiled)?.ok_or_else(|| Refusal::ForNow("the compiler gave no answer".to_owned()))
    }
}

fn took_too_long() -> String {
    format!(
        "compiling took too long, more than {} s; make the plugin smaller, or POST /plugins/reload later: what is compiled by then is taken from the cache",
        COMPILE_PATIENCE.as_secs()
    )
}

/// What became of work on another thread.
fn finished<R>(ended: Result<Result<R, LoadError>, tokio::task::JoinError>) -> Result<R, Refusal> {
    let ended = ended.map_err(|e| Refusal::Final(format!("compiling the plugin panicked: {e}")))?;
    ended.map_err(refused)
}

fn refused(error: LoadError) -> Refusal {
    match error.is_about_the_file() {
        true => Refusal::Final(error.to_string()),
        false => Refusal::ForNow(error.to_string()),
    }
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
        bytes: Arc<Vec<u8>>,
        config: PluginConfig,
        old: Option<Arc<Plugin>>,
        reached: impl Fn(PluginState) + Send + Sync,
    ) -> Result<Arc<Plugin>, Refusal> {
        let compiled = self.compile(&name, &config.grants, bytes).await?;
        reached(PluginState::Compiled);
        let options = StartOptions {
            name,
            compiled,
            grants: config.grants,
            config: runtime_config(config.config),
            tenant: self.tenant.clone(),
            kv: Arc::clone(&self.kv),
        };
        let plugin = Arc::new(self.runtime.start(options).await.map_err(refused)?);
        if old.is_some_and(|old| takes_rules(&old)) && !takes_rules(&plugin) {
            return Err(Refusal::Final(NOBODY_WOULD_EVALUATE_RULES.to_owned()));
        }
        reached(PluginState::Ready);
        (self.preconfigure)(Arc::clone(&plugin)).await?;
        Ok(plugin)
    }

    fn swap(&self, name: &str, unit: Option<Arc<Plugin>>) {
        if let Some(plugin) = &unit {
            (self.before_serving)(plugin);
        }
        self.set.rcu(|set| match &unit {
            Some(plugin) => set.with(Arc::<Plugin>::clone(plugin)),
            None => set.without(name),
        });
    }
}

/// Whether it evaluates the rules of people.
fn takes_rules(plugin: &Plugin) -> bool {
    plugin.roles().contains(Role::Correlator) && plugin.description().takes_rules
}

/// The configuration as the runtime takes it: as text, and as answers to questions for dotted paths.
fn runtime_config(config: Value) -> donjon_runtime::PluginConfig {
    let json = config.to_string();
    donjon_runtime::PluginConfig {
        json,
        lookup: Arc::new(move |path| json::at(&config, &split_path(path)).map(Value::to_string)),
    }
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
