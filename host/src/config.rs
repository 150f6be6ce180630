//! The configuration: defaults, then a TOML file, then `DONJON_SECTION__KEY` variables, then flags. Parsed once, checked
//! once; the rest of the program sees only checked values. Knows no part that it configures.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

mod check;
mod load;

/// Every key with its default, explained: what `donjon check-config --defaults` prints. A test keeps it true.
pub const REFERENCE: &str = include_str!("config/reference.toml");

pub use load::{ConfigError, load};

/// Everything that can be configured. `donjon check-config --defaults` prints it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen.
    pub server: Server,
    /// Where and how data is kept.
    pub storage: Storage,
    /// What is taken in.
    pub ingest: Ingest,
    /// What reading may take.
    pub reads: Reads,
    /// Who may do what.
    pub auth: Auth,
    /// The plugin directory and the limits of its plugins.
    pub plugin_host: PluginHost,
    /// Settings of single plugins, by name.
    pub plugins: BTreeMap<String, Plugin>,
    /// Rules to begin with.
    pub rules: Rules,
    /// The log.
    pub log: Log,
}

/// `[server]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Server {
    /// Address and port; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Allow `auth.mode = "none"` on an address that others can reach.
    pub allow_open_access: bool,
    /// Names beside loopback that requests may come under while `auth.mode = "none"`, and that pages of browsers may be
    /// loaded from.
    pub allowed_hosts: Vec<String>,
    /// How long running requests may take once a stop was asked for.
    pub drain_seconds: u64,
    /// Most connections at once; never more than the limit on open files leaves.
    pub max_connections: usize,
    /// Most clients of `GET /events` at once.
    pub max_event_streams: usize,
    /// How long the head of a request may take.
    pub header_timeout_ms: u64,
    /// How long the body of a request may take before it must have a rate.
    pub body_timeout_ms: u64,
    /// A connection without a request is closed after that time.
    pub idle_timeout_ms: u64,
}

/// `[storage]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Storage {
    /// Everything durable is below this directory.
    pub data_dir: PathBuf,
    /// `fsync`: acknowledged means on stable storage. `buffered`: a crash of the machine may lose the last moments.
    pub durability: Durability,
    /// Refuse alerts (429) while less than this is free on the file system.
    pub min_free_bytes: u64,
    /// Memory for the cache of derived state.
    pub cache_bytes: u64,
    /// Largest journal segment.
    pub segment_bytes: u64,
    /// Free whole days of the journal after that many; none keeps them.
    pub retention_days: Option<u32>,
    /// Free the oldest days of the journal above that size; none keeps them.
    pub max_journal_bytes: Option<u64>,
    /// Make a checkpoint of derived state after that many journal entries; should derived state break, it begins with
    /// the newest one that reads and works through the entries after it.
    pub checkpoint_entries: u64,
    /// How often derived state is flushed to stable storage; after a crash so much is worked through again.
    pub flush_ms: u64,
}

/// When an alert is acknowledged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Once it is on stable storage.
    #[default]
    Fsync,
    /// Once the operating system has it.
    Buffered,
}

/// `[ingest]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ingest {
    /// Largest request body, before and after decompression.
    pub max_body_bytes: usize,
    /// Most alerts in one request.
    pub max_items: usize,
    /// Refuse requests (429) while bodies that are being read and parsed would take more memory.
    pub max_inflight_bytes: u64,
    /// Refuse alerts (429) while that many accepted ones wait to be applied.
    pub max_lag_entries: u64,
    /// Refuse alerts (429) while the waiting ones take that much memory.
    pub max_lag_bytes: u64,
    /// Most entries the worker applies in one step.
    pub max_batch_entries: usize,
}

/// `[reads]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Reads {
    /// Lists that are made at a time; further ones wait for their turn.
    pub scans_at_once: usize,
    /// How long a read may take, waiting for its turn included.
    pub deadline_ms: u64,
    /// A page ends early once it has that many bytes.
    pub max_answer_bytes: usize,
}

/// `[auth]`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Whether keys are asked for.
    pub mode: AuthMode,
    /// The keys.
    pub keys: Vec<Key>,
}

/// Whether keys are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuthMode {
    /// Everybody acts as admin of the tenant `keep`.
    #[default]
    None,
    /// A key decides tenant and role.
    ApiKey,
}

/// `[[auth.keys]]`: exactly one of `key`, `key_file`, `key_sha256`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Shown as the actor.
    pub name: String,
    /// The key itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// A file that holds the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// The hex SHA-256 of the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_sha256: Option<String>,
    /// Whose data it opens.
    pub tenant: String,
    /// What it may do.
    pub role: Role,
    /// Whether it may also do what concerns all tenants, such as reloading plugins.
    #[serde(default)]
    pub operator: bool,
}

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything.
    Admin,
    /// Read.
    Noc,
    /// Send alerts.
    Webhook,
}

/// `[plugin_host]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PluginHost {
    /// The directory that plugins are dropped into.
    pub dir: PathBuf,
    /// A file is read once it has not changed for so long.
    pub settle_ms: u64,
    /// The directory is looked through at least so often.
    pub rescan_seconds: u64,
    /// Memory of all plugins together.
    pub total_memory_bytes: usize,
    /// Memory of one plugin instance.
    pub memory_bytes: usize,
    /// CPU time of one call.
    pub call_cpu_ms: u64,
    /// Duration of one call, waiting included.
    pub call_timeout_ms: u64,
    /// Largest file that is taken for a plugin.
    pub max_file_bytes: usize,
    /// Where compiled plugins are kept, outside of the data; by default `donjon/plugins` in the user's cache folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_dir: Option<PathBuf>,
}

/// `[plugins.NAME]`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Plugin {
    /// Capabilities beyond log, clock and config.
    pub grants: Vec<String>,
    /// What happens when it fails; if nothing is said, a correlator that takes rules is required, others are optional.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<PluginPolicy>,
    /// Handed to the plugin.
    pub config: BTreeMap<String, serde_json::Value>,
}

/// What happens to alerts when a plugin is missing or fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PluginPolicy {
    /// The alerts go on without it, and say so.
    Optional,
    /// The line is held until it works.
    Required,
}

/// `[rules]`
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// A JSON list of rules, as for `POST /rules`, created at start while the tenant `keep` has none.
    pub starter_file: Option<PathBuf>,
}

/// `[log]`
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `text` or `json`.
    pub format: LogFormat,
    /// Like `info` or `donjon=debug,info`.
    pub filter: String,
}

/// The form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For machines.
    Json,
}

impl Default for Server {
    fn default() -> Self {
        Server {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            allow_open_access: false,
            allowed_hosts: Vec::new(),
            drain_seconds: 20,
            max_connections: 8192,
            max_event_streams: 1000,
            header_timeout_ms: 10_000,
            body_timeout_ms: 30_000,
            idle_timeout_ms: 120_000,
        }
    }
}

impl Default for Storage {
    fn default() -> Self {
        Storage {
            data_dir: PathBuf::from("donjon-data"),
            durability: Durability::Fsync,
            min_free_bytes: 256 << 20,
            cache_bytes: 128 << 20,
            segment_bytes: 64 << 20,
            retention_days: None,
            max_journal_bytes: None,
            checkpoint_entries: 20_000_000,
            flush_ms: 1000,
        }
    }
}

impl Default for Ingest {
    fn default() -> Self {
        Ingest {
            max_body_bytes: 32 << 20,
            max_items: 100_000,
            max_inflight_bytes: 512 << 20,
            max_lag_entries: 100_000,
            max_lag_bytes: 512 << 20,
            max_batch_entries: 2048,
        }
    }
}

impl Default for Reads {
    fn default() -> Self {
        Reads {
            scans_at_once: 4,
            deadline_ms: 10_000,
            max_answer_bytes: 16 << 20,
        }
    }
}

impl Default for PluginHost {
    fn default() -> Self {
        PluginHost {
            dir: PathBuf::from("plugins"),
            settle_ms: 300,
            rescan_seconds: 30,
            total_memory_bytes: 512 << 20,
            memory_bytes: 256 << 20,
            call_cpu_ms: 1000,
            call_timeout_ms: 5000,
            max_file_bytes: 32 << 20,
            cache_dir: None,
        }
    }
}

impl Default for Log {
    fn default() -> Self {
        Log {
            format: LogFormat::Text,
            filter: "info".into(),
        }
    }
}

impl Key {
    /// The SHA-256 of the key: what is kept in memory.
    ///
    /// # Errors
    /// When the file cannot be read or the digest is not 64 hex digits.
    pub fn sha256(&self) -> Result<[u8; 32], ConfigError> {
        let invalid = |text: String| ConfigError::Invalid(text);
        if let Some(hex) = &self.key_sha256 {
            return from_hex(hex).ok_or_else(|| {
                invalid(format!(
                    "auth.keys: key_sha256 must be 64 hex digits for: {}",
                    self.name
                ))
            });
        }
        let key = match (&self.key, &self.key_file) {
            (Some(key), _) => key.clone(),
            (None, Some(file)) => std::fs::read_to_string(file)
                .map_err(|error| invalid(format!("auth.keys: read key_file {}: {error}", file.display())))?,
            (None, None) => String::new(),
        };
        let key = key.trim_end_matches(['\n', '\r']);
        if key.is_empty() {
            return Err(invalid(format!("auth.keys: empty key for: {}", self.name)));
        }
        Ok(Sha256::digest(key.as_bytes()).into())
    }
}

fn from_hex(hex: &str) -> Option<[u8; 32]> {
    let mut bytes = [0u8; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (to, pair) in bytes.iter_mut().zip(hex.as_bytes().chunks(2)) {
        *to = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}
