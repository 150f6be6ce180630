//! What a running plugin can reach: the data of its store and the host functions over it. Reads no clock and no file:
//! configuration was handed over, own data goes through `kv.rs`.

use std::sync::Arc;

use donjon_core::Timestamp;
use donjon_core::batch::KvValue;
use donjon_core::limits::MAX_ERROR_TEXT_BYTES;
use donjon_core::text::one_line;

use crate::bindings::plugin::donjon::host::{config, kv, log};
use crate::bindings::plugin::donjon::types::types::Error;
use crate::guard::Guard;
use crate::kv::{KvBuffer, KvError};
use crate::log_gate::LogGate;
use crate::wasi::WasiState;

/// Looks up a dotted path in a plugin's configuration and answers the value as JSON text.
pub type ConfigLookup = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// The configuration of a plugin. How it is written down is the host's affair.
#[derive(Clone)]
pub struct PluginConfig {
    /// The whole of it as JSON text, handed to `init`.
    pub json: String,
    /// Answers the plugin's questions for parts of it.
    pub lookup: ConfigLookup,
}

impl Default for PluginConfig {
    fn default() -> PluginConfig {
        PluginConfig {
            json: "{}".to_owned(),
            lookup: Arc::new(|_| None),
        }
    }
}

impl std::fmt::Debug for PluginConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The values may be secrets.
        f.write_str("PluginConfig")
    }
}

/// Longest path into a configuration that is looked up, in bytes.
const MAX_CONFIG_PATH_BYTES: usize = 4 << 10;

pub(crate) struct StoreData {
    pub(crate) guard: Guard,
    pub(crate) kv: KvBuffer,
    pub(crate) config: PluginConfig,
    pub(crate) log: Arc<LogGate>,
    pub(crate) wasi: WasiState,
    /// The newest line of the running call that was logged as an error.
    pub(crate) last_error_line: Option<String>,
}

impl log::Host for StoreData {
    fn log(&mut self, level: log::Level, message: String) {
        let level = match level {
            log::Level::Trace => tracing::Level::TRACE,
            log::Level::Debug => tracing::Level::DEBUG,
            log::Level::Info => tracing::Level::INFO,
            log::Level::Warn => tracing::Level::WARN,
            log::Level::Error => {
                self.last_error_line = Some(one_line(&message, MAX_ERROR_TEXT_BYTES));
                tracing::Level::ERROR
            }
        };
        self.log.log(level, &message);
    }
}

impl config::Host for StoreData {
    fn get(&mut self, path: String) -> Option<String> {
        // Nothing that long is in a configuration, and nothing interrupts a look-up.
        (path.len() <= MAX_CONFIG_PATH_BYTES).then(|| (self.config.lookup)(&path))?
    }
}

impl kv::Host for StoreData {
    fn get(&mut self, key: String) -> Result<Option<kv::Entry>, Error> {
        let found = self.kv.get(&key).map_err(kv_error)?;
        Ok(found.map(entry))
    }

    fn set(&mut self, key: String, value: Vec<u8>, expires: Option<u64>) -> Result<u64, Error> {
        self.kv.set(key, value, expires.map(Timestamp)).map_err(kv_error)
    }

    fn cas(
        &mut self,
        key: String,
        expected: Option<u64>,
        value: Vec<u8>,
        expires: Option<u64>,
    ) -> Result<Result<u64, Option<kv::Entry>>, Error> {
        let said = self.kv.cas(key, expected, value, expires.map(Timestamp));
        Ok(said.map_err(kv_error)?.map_err(|present| present.map(entry)))
    }

    fn delete(&mut self, key: String) -> Result<(), Error> {
        self.kv.delete(key).map_err(kv_error)
    }

    fn scan(&mut self, prefix: String, after: Option<String>, limit: u32) -> Result<Vec<(String, kv::Entry)>, Error> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let found = self.kv.scan(&prefix, after, limit).map_err(kv_error)?;
        Ok(found.into_iter().map(|(key, value)| (key, entry(value))).collect())
    }
}

fn entry(value: KvValue) -> kv::Entry {
    kv::Entry {
        value: value.bytes,
        version: value.version,
        expires: value.expires.map(|at| at.0),
    }
}

fn kv_error(error: KvError) -> Error {
    match error {
        KvError::Quota(what) => Error::Quota(what),
        KvError::Closed => Error::Denied("own data can be read and written only while a batch is judged".to_owned()),
        KvError::Unavailable(what) => Error::Unavailable(what),
    }
}
