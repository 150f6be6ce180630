//! What the types of the configuration cannot say: values that do not fit, or do not fit together. Knows no file.

use std::collections::BTreeMap;

use donjon_core::limits::MAX_NAME_BYTES;

use super::{AuthMode, Config, ConfigError, Key, Role};

/// The least reserve. A quarter of it is the floor below which nothing is begun: the largest block of the journal and a
/// commit of sled have to fit, because sled does not survive a write that meets a full disk.
const MIN_RESERVE_BYTES: u64 = 16 << 20;

/// What a plugin can be granted.
const CAPABILITIES: [&str; 9] = [
    "log",
    "clock",
    "config",
    "kv",
    "topology",
    "history",
    "elasticsearch",
    "blob",
    "progress",
];

impl Config {
    /// Checks what types cannot say.
    ///
    /// # Errors
    /// When values do not fit together.
    pub fn check(&self) -> Result<(), ConfigError> {
        let invalid = |text: String| Err(ConfigError::Invalid(text));
        for key in &self.auth.keys {
            key.check()?;
        }
        self.check_that_keys_differ()?;
        if self.auth.mode == AuthMode::None && !self.auth.keys.is_empty() {
            return invalid(
                "there are [[auth.keys]] but auth.mode is \"none\", which asks for no key; set mode = \"api_key\""
                    .into(),
            );
        }
        if self.auth.mode == AuthMode::ApiKey && self.auth.keys.is_empty() {
            return invalid("auth.mode is \"api_key\" but there is no [[auth.keys]] entry".into());
        }
        if self.auth.mode == AuthMode::None && !self.server.listen.ip().is_loopback() && !self.server.allow_open_access
        {
            return invalid(format!(
                "auth.mode is \"none\" on an address that others can reach; configure keys, or set \
                 server.allow_open_access = true: {}",
                self.server.listen
            ));
        }
        self.check_values()
    }

    /// Plugins are granted what there is.
    fn check_grants(&self) -> Result<(), ConfigError> {
        for (name, plugin) in &self.plugins {
            if let Some(unknown) = plugin
                .grants
                .iter()
                .find(|grant| !CAPABILITIES.contains(&grant.as_str()))
            {
                return Err(ConfigError::Invalid(format!(
                    "plugins.{name}.grants: unknown capability {unknown}; there are: {}",
                    CAPABILITIES.join(", ")
                )));
            }
        }
        Ok(())
    }

    /// Values and ranges.
    fn check_values(&self) -> Result<(), ConfigError> {
        let invalid = |text: String| Err(ConfigError::Invalid(text));
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&self.log.filter) {
            return invalid(format!("log.filter does not parse: {}: {error}", self.log.filter));
        }
        self.check_grants()?;
        for (name, value, least) in [
            ("storage.cache_bytes", self.storage.cache_bytes, 1 << 20),
            ("storage.segment_bytes", self.storage.segment_bytes, 64 << 10),
            ("storage.min_free_bytes", self.storage.min_free_bytes, MIN_RESERVE_BYTES),
            (
                "plugin_host.memory_bytes",
                self.plugin_host.memory_bytes as u64,
                1 << 20,
            ),
        ] {
            if value < least {
                return invalid(format!("{name} must be at least {least}, found: {value}"));
            }
        }
        let (total, one) = (self.plugin_host.total_memory_bytes, self.plugin_host.memory_bytes);
        if total < one {
            return invalid(format!(
                "plugin_host.total_memory_bytes is for all plugins and must be at least plugin_host.memory_bytes, which is for \
                 one: {total} < {one}"
            ));
        }
        for (name, value) in [
            ("ingest.max_body_bytes", self.ingest.max_body_bytes as u64),
            ("ingest.max_items", self.ingest.max_items as u64),
            ("server.max_connections", self.server.max_connections as u64),
            ("server.header_timeout_ms", self.server.header_timeout_ms),
            ("server.body_timeout_ms", self.server.body_timeout_ms),
            ("server.idle_timeout_ms", self.server.idle_timeout_ms),
            ("ingest.max_lag_entries", self.ingest.max_lag_entries),
            ("ingest.max_lag_bytes", self.ingest.max_lag_bytes),
            ("ingest.max_batch_entries", self.ingest.max_batch_entries as u64),
            ("reads.scans_at_once", self.reads.scans_at_once as u64),
            ("reads.deadline_ms", self.reads.deadline_ms),
            ("reads.max_answer_bytes", self.reads.max_answer_bytes as u64),
            ("storage.flush_ms", self.storage.flush_ms),
            ("storage.checkpoint_entries", self.storage.checkpoint_entries),
            ("plugin_host.rescan_seconds", self.plugin_host.rescan_seconds),
            ("plugin_host.call_cpu_ms", self.plugin_host.call_cpu_ms),
            ("plugin_host.call_timeout_ms", self.plugin_host.call_timeout_ms),
            ("plugin_host.max_file_bytes", self.plugin_host.max_file_bytes as u64),
        ] {
            if value == 0 {
                return invalid(format!("configuration value must be above zero: {name}"));
            }
        }
        // A body, and the same once more decompressed.
        let least = 4 * self.ingest.max_body_bytes as u64;
        if self.ingest.max_inflight_bytes < least {
            return invalid(format!(
                "ingest.max_inflight_bytes must be at least four times ingest.max_body_bytes, {least}, found: {}",
                self.ingest.max_inflight_bytes
            ));
        }
        Ok(())
    }
}

impl Config {
    /// One key opens one door.
    fn check_that_keys_differ(&self) -> Result<(), ConfigError> {
        let mut seen = BTreeMap::new();
        for key in &self.auth.keys {
            if let Some(other) = seen.insert(key.sha256()?, &key.name) {
                let text = format!("auth.keys: two entries have the same key: {other} and {}", key.name);
                return Err(ConfigError::Invalid(text));
            }
        }
        Ok(())
    }
}

impl Key {
    fn check(&self) -> Result<(), ConfigError> {
        let given = [self.key.is_some(), self.key_file.is_some(), self.key_sha256.is_some()];
        if given.iter().filter(|given| **given).count() != 1 {
            return Err(ConfigError::Invalid(format!(
                "auth.keys: give exactly one of key, key_file, key_sha256 for: {}",
                self.name
            )));
        }
        if self.operator && self.role != Role::Admin {
            let text = format!(
                "auth.keys: operator = true is for keys with role = \"admin\", found it at: {}",
                self.name
            );
            return Err(ConfigError::Invalid(text));
        }
        self.sha256()?;
        if self.tenant.is_empty() || self.name.is_empty() {
            let text = format!("auth.keys: name and tenant must not be empty, found: {:?}", self.name);
            return Err(ConfigError::Invalid(text));
        }
        for (what, text) in [("name", &self.name), ("tenant", &self.tenant)] {
            if text.len() > MAX_NAME_BYTES || text.contains(char::is_control) {
                let told = format!(
                    "auth.keys: {what} must have at most {MAX_NAME_BYTES} bytes and no control characters, found: {text:?}"
                );
                return Err(ConfigError::Invalid(told));
            }
        }
        Ok(())
    }
}
