//! The life cycle of plugins: looks through the directory, loads what settled, replaces, and unloads what is gone. A
//! failure at any step leaves the one that serves in place. Knows neither notifications nor what a plugin is.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::loader::Loader;
use super::options::{OnChange, PluginChange, PluginConfig, PluginEvent, PluginOptions};
use super::settle::{Due, Seen, Settling, Stamp};
use super::status::{Board, PluginError, PluginState, Record};

/// Most plugins; further files, in the order of names, are ignored and reported.
const MAX_PLUGINS: usize = 64;
/// Longest name of a plugin, in characters.
const MAX_NAME_CHARS: usize = 64;
/// How often a plugin that is being unloaded is looked after.
const DRAIN_POLL: Duration = Duration::from_millis(50);
const EXTENSION: &str = "wasm";

/// Keeps the plugins of one directory.
pub struct Keeper<L: Loader> {
    options: PluginOptions,
    loader: L,
    board: Arc<Board<L::Unit>>,
    on_change: OnChange,
    settling: Settling,
    draining: Vec<(String, Arc<L::Unit>)>,
    unreadable: bool,
}

impl<L: Loader> Keeper<L> {
    pub fn new(options: PluginOptions, loader: L, board: Arc<Board<L::Unit>>, on_change: OnChange) -> Keeper<L> {
        let settling = Settling::new(options.settle);
        Keeper {
            options,
            loader,
            board,
            on_change,
            settling,
            draining: Vec::new(),
            unreadable: false,
        }
    }

    /// When there will be something to do without anything being reported.
    pub fn next(&self) -> Option<Instant> {
        let drain = (!self.draining.is_empty()).then(|| Instant::now() + DRAIN_POLL);
        self.settling.next().into_iter().chain(drain).min()
    }

    /// Whether a file is still being written.
    pub fn is_unsettled(&self) -> bool {
        self.settling.next().is_some()
    }

    /// Reads every file again at the next look.
    pub fn forget_handled(&mut self) {
        self.settling.forget_handled();
    }

    /// One full look: everything that is due is done when it returns.
    pub async fn look(&mut self) {
        let dir = self.options.dir.clone();
        let listed = tokio::task::spawn_blocking(move || list(&dir))
            .await
            .unwrap_or_else(|e| Err(io::Error::other(e)));
        match listed {
            Ok(listing) => {
                self.unreadable = false;
                for due in self.settling.observe(Instant::now(), &listing) {
                    match due {
                        Due::Read(name) => self.read(name).await,
                        Due::Gone(name) => self.unload(&name),
                    }
                }
            }
            // A directory that cannot be read says nothing about its files: what serves goes on.
            Err(e) if !self.unreadable => {
                self.unreadable = true;
                tracing::error!(dir = %self.options.dir.display(), "cannot read the plugin directory; what is loaded goes on: {e}");
            }
            Err(_) => {}
        }
        self.finish_draining();
    }

    async fn read(&mut self, name: String) {
        let file = format!("{name}.{EXTENSION}");
        let path = self.options.dir.join(&file);
        let config = self.options.per_plugin.get(&name).cloned().unwrap_or_default();
        self.enter(&name, file, &config);
        if let Err(reason) = check_name(&name) {
            return self.refuse(&name, None, reason);
        }
        let limit = self.loader.file_bytes();
        let reading = tokio::task::spawn_blocking(move || read_file(&path, limit));
        let bytes = match reading.await.unwrap_or_else(|e| Err(io::Error::other(e))) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return,
            Err(e) => return self.refuse(&name, None, format!("cannot read the file; check its permissions: {e}")),
        };
        let hash = self.loader.hash(&bytes);
        let old = self.board.unit(&name);
        if old
            .as_ref()
            .is_some_and(|unit| super::loader::Unit::facts(unit.as_ref()).hash == hash)
        {
            return self.board.change(&name, |record| record.refusal = None);
        }
        self.load(name, bytes, hash, config, old).await;
    }

    async fn load(
        &mut self,
        name: String,
        bytes: Vec<u8>,
        hash: String,
        config: PluginConfig,
        old: Option<Arc<L::Unit>>,
    ) {
        let begun = Instant::now();
        let (board, of) = (Arc::clone(&self.board), name.clone());
        let serves = old.is_some();
        let reached = move |state| {
            board.change(&of, |record| {
                if !serves {
                    record.state = state
                }
            })
        };
        match self.loader.load(name.clone(), bytes, config, old, reached).await {
            Ok(unit) => self.serve(&name, unit, begun.elapsed()),
            Err(reason) => self.refuse(&name, Some(hash), reason),
        }
    }

    /// Makes a record for a name that has none.
    fn enter(&self, name: &str, file: String, config: &PluginConfig) {
        self.board.records().entry(name.to_owned()).or_insert_with(|| Record {
            file,
            state: PluginState::Discovered,
            unit: None,
            grants: config.grants.clone(),
            policy: config.policy.as_str(),
            loaded_at_ms: None,
            refusal: None,
        });
    }

    fn serve(&mut self, name: &str, unit: Arc<L::Unit>, took: Duration) {
        let facts = super::loader::Unit::facts(unit.as_ref());
        self.loader.swap(name, Some(Arc::clone(&unit)));
        self.board.change(name, |record| {
            record.state = PluginState::Serving;
            record.unit = Some(unit);
            record.loaded_at_ms = Some(now_ms());
            record.refusal = None;
        });
        let (version, hash) = (facts.version, facts.hash);
        let took_ms = took.as_millis();
        tracing::info!(plugin = name, %version, role = facts.role, %hash, %took_ms, "plugin loaded");
        if !facts.unused_grants.is_empty() {
            tracing::warn!(plugin = name, grants = ?facts.unused_grants, "grants that the plugin does not use; remove them");
        }
        self.tell(name, PluginChange::Loaded { version, hash });
    }

    fn refuse(&self, name: &str, hash: Option<String>, reason: String) {
        tracing::error!(plugin = name, "plugin refused: {reason}");
        let refusal = PluginError {
            at_ms: now_ms(),
            message: reason.clone(),
            hash,
        };
        self.board.change(name, |record| {
            record.refusal = Some(refusal);
            if record.unit.is_none() {
                record.state = PluginState::Rejected;
            }
        });
        self.tell(name, PluginChange::Rejected { reason });
    }

    fn unload(&mut self, name: &str) {
        let unit = self.board.unit(name);
        self.board.change(name, |record| {
            record.unit = None;
            record.state = PluginState::Draining;
        });
        match unit {
            Some(unit) => {
                self.loader.swap(name, None);
                self.draining.push((name.to_owned(), unit));
            }
            None => drop(self.board.records().remove(name)),
        }
    }

    /// Lets go of unloaded plugins that no batch uses any more.
    fn finish_draining(&mut self) {
        let (done, still): (Vec<_>, Vec<_>) = std::mem::take(&mut self.draining)
            .into_iter()
            .partition(|(_, unit)| Arc::strong_count(unit) == 1);
        self.draining = still;
        for (name, unit) in done {
            drop(unit);
            let mut records = self.board.records();
            // A file of the same name may have come back meanwhile.
            if records
                .get(&name)
                .is_some_and(|record| record.state == PluginState::Draining)
            {
                records.remove(&name);
            }
            drop(records);
            tracing::info!(plugin = %name, "plugin unloaded");
            self.tell(&name, PluginChange::Unloaded);
        }
    }

    fn tell(&self, name: &str, change: PluginChange) {
        (self.on_change)(PluginEvent {
            name: name.to_owned(),
            change,
        });
    }
}

/// A name is used in configuration keys, metrics and keys of the plugin's data.
fn check_name(name: &str) -> Result<(), String> {
    let plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    match plain && name.chars().count() <= MAX_NAME_CHARS {
        true => Ok(()),
        false => Err(format!(
            "rename the file: letters, digits, - and _ only, at most {MAX_NAME_CHARS}: {name}"
        )),
    }
}

/// Files by the names of their plugins. Hidden files, other extensions and directories are none of ours; links are
/// followed at every look.
fn list(dir: &Path) -> io::Result<BTreeMap<String, Seen>> {
    let mut files: BTreeMap<String, PathBuf> = BTreeMap::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let (Some(stem), Some(extension)) = (path.file_stem().and_then(|s| s.to_str()), path.extension()) else {
            continue;
        };
        if extension == EXTENSION && !stem.starts_with('.') {
            files.insert(stem.to_owned(), path);
        }
    }
    let ignored = files.len().saturating_sub(MAX_PLUGINS);
    if ignored > 0 {
        tracing::error!(dir = %dir.display(), ignored, "more plugin files than the limit of {MAX_PLUGINS}; the last are ignored");
    }
    Ok(files
        .into_iter()
        .take(MAX_PLUGINS)
        .filter_map(|(name, path)| Some((name, see(&path)?)))
        .collect())
}

fn see(path: &Path) -> Option<Seen> {
    let metadata = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
    let stamp = Stamp {
        len: metadata.len(),
        modified: nanos(metadata.mtime(), metadata.mtime_nsec()),
        changed: nanos(metadata.ctime(), metadata.ctime_nsec()),
        inode: metadata.ino(),
    };
    let quiet = metadata
        .modified()
        .ok()
        .and_then(|at| SystemTime::now().duration_since(at).ok())
        .unwrap_or_default();
    Some(Seen { stamp, quiet })
}

/// The whole file, or one byte more than the limit of it: whoever loads it says that it is too large.
fn read_file(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?
        .take(limit as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
