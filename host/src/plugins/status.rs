//! What people see of plugins: one record a name, written by the keeper and read by everybody. Knows no HTTP.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use donjon_core::TenantId;
use donjon_runtime::Roles;

use super::options::PluginConfig;
use super::unit::Unit;

/// Where a plugin is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PluginState {
    /// Its file was seen.
    Discovered,
    /// Its file was checked and compiled.
    Compiled,
    /// It was started.
    Ready,
    /// It gets batches (a role without a stage waits to be called).
    Serving,
    /// Its file is gone; a batch may still use it.
    Draining,
    /// Its file was refused and there is none to serve in its place; `last_error` says why.
    Rejected,
    /// It is required and there is no file of it.
    Missing,
}

impl PluginState {
    /// The word for people and interfaces.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            PluginState::Discovered => "discovered",
            PluginState::Compiled => "compiled",
            PluginState::Ready => "ready",
            PluginState::Serving => "serving",
            PluginState::Draining => "draining",
            PluginState::Rejected => "rejected",
            PluginState::Missing => "missing",
        }
    }
}

/// Why a file was refused or a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginError {
    /// When, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What, and what to do.
    pub message: String,
    /// SHA-256 of the file it concerns; none if it could not be read.
    pub hash: Option<String>,
    /// Whose alerts or rules it is about, and who may therefore read the message; none if it concerns everybody.
    pub tenant: Option<TenantId>,
}

/// Where the bytes that serve came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The file in the directory.
    File,
    /// The last good file of the name, kept in the data directory: the one in the directory was refused.
    Kept,
}

impl Source {
    /// The word for people and interfaces.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Source::File => "file",
            Source::Kept => "kept",
        }
    }
}

/// A plugin as people see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginStatus {
    /// Its name.
    pub name: String,
    /// The file in the directory.
    pub file: String,
    /// Where it is in its life.
    pub state: PluginState,
    /// Its roles; none before it was started.
    pub roles: Roles,
    /// Its version.
    pub version: Option<String>,
    /// SHA-256 of the file that serves.
    pub hash: Option<String>,
    /// The interfaces it imports.
    pub imports: Vec<String>,
    /// What it is granted: what serves was started with these, whatever the configuration says since.
    pub grants: Vec<String>,
    /// What it is granted and does not use.
    pub unused_grants: Vec<String>,
    /// Where what serves came from; none if nothing does.
    pub source: Option<Source>,
    /// Since when it serves, in milliseconds since the Unix epoch.
    pub loaded_at_ms: Option<u64>,
    /// The newest refusal or failed call.
    pub last_error: Option<PluginError>,
    /// Calls made.
    pub calls: u64,
    /// Calls that failed.
    pub failures: u64,
}

impl PluginStatus {
    /// A required plugin without a file.
    #[must_use]
    pub fn missing(name: String) -> PluginStatus {
        PluginStatus {
            file: format!("{name}.wasm"),
            name,
            state: PluginState::Missing,
            roles: Roles::default(),
            version: None,
            hash: None,
            imports: Vec::new(),
            grants: Vec::new(),
            unused_grants: Vec::new(),
            source: None,
            loaded_at_ms: None,
            last_error: None,
            calls: 0,
            failures: 0,
        }
    }
}

/// What is known of one name.
pub struct Record<U> {
    pub file: String,
    pub state: PluginState,
    pub serving: Option<Serving<U>>,
    /// As configured.
    pub grants: Vec<String>,
    pub loaded_at_ms: Option<u64>,
    pub refusal: Option<PluginError>,
}

/// What serves under a name.
pub struct Serving<U> {
    pub unit: Arc<U>,
    pub source: Source,
    /// What it was started with: with other settings it is started anew.
    pub config: PluginConfig,
}

/// The records of all names.
pub struct Board<U>(Mutex<BTreeMap<String, Record<U>>>);

impl<U> Default for Board<U> {
    fn default() -> Board<U> {
        Board(Mutex::new(BTreeMap::new()))
    }
}

impl<U: Unit> Board<U> {
    pub fn records(&self) -> MutexGuard<'_, BTreeMap<String, Record<U>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the record of a name, if there is one.
    pub fn change(&self, name: &str, change: impl FnOnce(&mut Record<U>)) {
        if let Some(record) = self.records().get_mut(name) {
            change(record);
        }
    }

    pub fn statuses(&self) -> Vec<PluginStatus> {
        self.records()
            .iter()
            .map(|(name, record)| status(name, record))
            .collect()
    }
}

fn status<U: Unit>(name: &str, record: &Record<U>) -> PluginStatus {
    let serving = record.serving.as_ref();
    let facts = serving.map(|serving| serving.unit.facts());
    let calls = serving.map(|serving| serving.unit.calls()).unwrap_or_default();
    let hash = facts.as_ref().map(|facts| facts.hash.clone());
    let call_error = calls.newest_failure.map(|failure| PluginError {
        at_ms: failure.at_ms,
        message: failure.message,
        hash: hash.clone(),
        tenant: failure.tenant,
    });
    let newest = [record.refusal.clone(), call_error]
        .into_iter()
        .flatten()
        .max_by_key(|error| error.at_ms);
    PluginStatus {
        name: name.to_owned(),
        file: record.file.clone(),
        state: record.state,
        roles: facts.as_ref().map(|facts| facts.roles).unwrap_or_default(),
        version: facts.as_ref().map(|facts| facts.version.clone()),
        hash,
        imports: facts.as_ref().map(|facts| facts.imports.clone()).unwrap_or_default(),
        grants: serving.map_or(&record.grants, |serving| &serving.config.grants).clone(),
        unused_grants: facts.map(|facts| facts.unused_grants).unwrap_or_default(),
        source: serving.map(|serving| serving.source),
        loaded_at_ms: record.loaded_at_ms,
        last_error: newest,
        calls: calls.made,
        failures: calls.failed,
    }
}
