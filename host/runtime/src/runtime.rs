//! The one wasmtime engine of the process: compiles files and starts plugins. Does not know where files come from or
//! when plugins are replaced.

use std::path::PathBuf;
use std::sync::Arc;

use donjon_core::TenantId;
use sha2::{Digest, Sha256};
use wasmtime::component::Component;
use wasmtime::{Config, Engine};

use crate::capabilities::Plan;
use crate::compile_cache::CompileCache;
use crate::compiled::{Compiled, Examined, examine};
use crate::convert::{self, Said};
use crate::errors::{CallError, LoadError, RuntimeError, StartStep};
use crate::guard::Budget;
use crate::host::PluginConfig;
use crate::instance::{Blueprint, Surroundings};
use crate::intake;
use crate::kv::KvRead;
use crate::limits::Limits;
use crate::plugin::{Plugin, Started};
use crate::ticker::Ticker;
use crate::total_memory::TotalMemory;

/// What the system says when it has nothing left to give.
const NO_ROOM: [rustix::io::Errno; 4] = [
    rustix::io::Errno::NOMEM,
    rustix::io::Errno::AGAIN,
    rustix::io::Errno::MFILE,
    rustix::io::Errno::NFILE,
];

/// How to set up the runtime.
#[derive(Clone, Debug, Default)]
pub struct RuntimeOptions {
    /// Where compiled plugins are kept; none to compile at every start.
    pub cache_dir: Option<PathBuf>,
    /// The caps on every plugin.
    pub limits: Limits,
}

/// How to start a plugin.
pub struct StartOptions {
    /// The name it is loaded under.
    pub name: String,
    /// What to start.
    pub compiled: Compiled,
    /// The capabilities that the operator grants, by the names of their interfaces (`kv`).
    pub grants: Vec<String>,
    /// Its configuration.
    pub config: PluginConfig,
    /// The first tenant: whether it starts is found out with an instance for this one.
    pub tenant: TenantId,
    /// Its committed data.
    pub kv: Arc<dyn KvRead>,
}

/// Compiles and starts plugins. One a process: the compiler's memory is kept for each.
pub struct Runtime {
    engine: Engine,
    limits: Arc<Limits>,
    total_memory: Arc<TotalMemory>,
    cache: Option<CompileCache>,
    ticker: Arc<Ticker>,
}

impl Runtime {
    /// Sets up the engine, its clock and the cache directory.
    ///
    /// # Errors
    /// This machine cannot run WebAssembly, or the cache directory cannot be used.
    pub fn new(options: RuntimeOptions) -> Result<Arc<Runtime>, RuntimeError> {
        let engine = Engine::new(&engine_config()).map_err(|e| RuntimeError::Engine(format!("{e:#}")))?;
        let cache = match &options.cache_dir {
            Some(dir) => Some(CompileCache::open(dir, &engine, options.limits.cached_files)?),
            None => None,
        };
        let ticker = Arc::new(Ticker::start(&engine).map_err(RuntimeError::Ticker)?);
        Ok(Arc::new(Runtime {
            engine,
            total_memory: TotalMemory::of(options.limits.total_memory_bytes),
            limits: Arc::new(options.limits),
            cache,
            ticker,
        }))
    }

    /// The caps on every plugin.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Bytes of linear memory that all plugins have now.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.total_memory.taken()
    }

    /// How often a plugin was refused memory because all together have as much as they may.
    #[must_use]
    pub fn memory_refusals(&self) -> u64 {
        self.total_memory.refused()
    }

    /// How many copies that nobody used were let go for the memory of others; each is made again when it is needed.
    #[must_use]
    pub fn copies_let_go(&self) -> u64 {
        self.total_memory.let_go()
    }

    /// Makes a file runnable, or says why not. Takes up to minutes: call it where waiting is allowed.
    ///
    /// # Errors
    /// The file is not a plugin for this version.
    pub fn compile(&self, bytes: &[u8]) -> Result<Compiled, LoadError> {
        self.compile_examined(bytes, self.examine(bytes)?)
    }

    /// Like [`Runtime::compile`], but refuses a plugin that asks for more than it is granted before it is compiled.
    ///
    /// # Errors
    /// The file is not a plugin for this version, or something it imports is not granted or does not exist.
    pub fn compile_granted(&self, name: &str, grants: &[String], bytes: &[u8]) -> Result<Compiled, LoadError> {
        let examined = self.examine(bytes)?;
        Plan::new(name, &examined.imports, grants)?;
        self.compile_examined(bytes, examined)
    }

    /// Like [`Runtime::compile_granted`], but answers none rather than compile a file that the cache does not hold.
    ///
    /// # Errors
    /// As [`Runtime::compile_granted`].
    pub fn compile_from_cache(
        &self,
        name: &str,
        grants: &[String],
        bytes: &[u8],
    ) -> Result<Option<Compiled>, LoadError> {
        let examined = self.examine(bytes)?;
        Plan::new(name, &examined.imports, grants)?;
        let hash = hash_of(bytes);
        let cached = self.cache.as_ref().and_then(|cache| cache.get(&hash));
        Ok(cached.map(|component| compiled(hash, examined, component, true)))
    }

    /// Always first: what the cache holds for a file was made under other rules if the rules have changed since.
    fn examine<'a>(&self, bytes: &'a [u8]) -> Result<Examined<'a>, LoadError> {
        examine(bytes, self.limits.file_bytes)
    }

    fn compile_examined(&self, bytes: &[u8], examined: Examined<'_>) -> Result<Compiled, LoadError> {
        let hash = hash_of(bytes);
        let cached = self.cache.as_ref().and_then(|cache| cache.get(&hash));
        let from_cache = cached.is_some();
        let component = match cached {
            Some(component) => component,
            None => self.compile_anew(&hash, &examined.component)?,
        };
        Ok(compiled(hash, examined, component, from_cache))
    }

    fn compile_anew(&self, hash: &str, component: &[u8]) -> Result<Component, LoadError> {
        let compile = || Component::from_binary(&self.engine, component);
        let component = intake::without_panic(compile).map_err(LoadError::Compile)?;
        let component = component.map_err(|e| match no_room(&e) {
            true => LoadError::NoRoom(intake::short(&format!("{e:#}"))),
            false => LoadError::Compile(intake::short(&format!("{e:#}"))),
        })?;
        if let Some(cache) = &self.cache {
            cache.put(hash, &component);
        }
        Ok(component)
    }

    /// Starts a plugin: links what is granted, instantiates it, asks it what it is and configures it.
    ///
    /// # Errors
    /// Something it imports is not granted or does not exist, or one of these calls fails.
    pub async fn start(&self, options: StartOptions) -> Result<Plugin, LoadError> {
        let StartOptions {
            name,
            compiled,
            grants,
            config,
            tenant,
            kv,
        } = options;
        let name: Arc<str> = Arc::from(name);
        let plan = Plan::new(&name, &compiled.imports, &grants)?;
        let given = Surroundings {
            config,
            kv,
            limits: Arc::clone(&self.limits),
            total_memory: Arc::clone(&self.total_memory),
            ticker: Arc::clone(&self.ticker),
        };
        let blueprint = Blueprint::new(Arc::clone(&name), &compiled, &plan, given)?;
        let failed = |step: StartStep| move |cause: CallError| LoadError::Start { step, cause };
        let instance = blueprint.instantiate(&tenant).await;
        let mut instance = instance.map_err(failed(StartStep::Instantiate))?;
        let said = instance.describe(Budget::start(&self.limits)).await;
        let description = said.map_err(failed(StartStep::Describe))?;
        let begun = blueprint.set_up(&mut instance, &tenant).await;
        begun.map_err(failed(StartStep::Init))?;
        let of_roles = blueprint.ask(&mut instance).await;
        let of_roles = of_roles.map_err(|(step, cause)| LoadError::Start { step, cause })?;
        let said = Said { description, of_roles };
        let description = convert::description(said, &self.limits)?;
        let unused_grants = plan.unused;
        Ok(Plugin::new(Started {
            name,
            compiled,
            description,
            unused_grants,
            blueprint,
            tenant,
            instance,
        }))
    }
}

fn compiled(hash: String, examined: Examined<'_>, component: Component, from_cache: bool) -> Compiled {
    Compiled {
        hash,
        imports: examined.imports,
        roles: examined.roles,
        api_version: examined.api_version,
        debug_build: examined.debug_build,
        from_cache,
        component,
    }
}

fn engine_config() -> Config {
    let mut config = Config::new();
    config.wasm_component_model(true);
    config.epoch_interruption(true);
    // No streams or futures in the contract; without them every store is smaller.
    config.concurrency_support(false);
    // The same batch gives the same answer on every machine (I10).
    config.cranelift_nan_canonicalization(true);
    config.relaxed_simd_deterministic(true);
    // Compiling a dropped-in plugin must leave the other processors to the alerts.
    config.parallel_compilation(false);
    config
}

/// Whether the system refused memory, addresses or descriptors.
pub(crate) fn no_room(error: &wasmtime::Error) -> bool {
    error.chain().any(|cause| {
        let errno = cause.downcast_ref::<rustix::io::Errno>().copied();
        let errno = errno.or_else(|| {
            cause
                .downcast_ref::<std::io::Error>()
                .and_then(rustix::io::Errno::from_io_error)
        });
        errno.is_some_and(|errno| NO_ROOM.contains(&errno))
    })
}

/// The name of a file's content.
#[must_use]
pub fn hash_of(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
