//! The life cycle of plugins: looks through the directory, begins an attempt at what settled, lets what came of it serve,
//! and unloads what is gone. Names do not wait for each other, a failure at any step leaves the one that serves in place,
//! and no number of files beside it takes its place. Knows neither notifications nor what a plugin is.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use donjon_core::limits::MAX_ERROR_TEXT_BYTES;
use donjon_core::text::one_line;
use tokio::task::{AbortHandle, JoinError, JoinSet};

use super::attempt::{Attempt, Outcome, Room};
use super::files::{self, EXTENSION, Listing};
use super::kept::{Kept, MAX_KEPT_BYTES};
use super::loader::Loader;
use super::options::{OnChange, PluginChange, PluginConfig, PluginEvent, PluginOptions};
use super::settle::{Due, Ended, Settling, Stamp};
use super::status::{Board, PluginError, PluginState, Record, Serving, Source};
use super::unit::{Refusal, Unit};

/// Most plugins that serve. Those that do keep their places; new names beyond are refused.
pub const MAX_PLUGINS: usize = 64;
const _: () = assert!(MAX_PLUGINS < files::MAX_NAMES);
/// How often a plugin that is being unloaded is looked after.
const DRAIN_POLL: Duration = Duration::from_millis(50);

/// Keeps the plugins of one directory.
pub struct Keeper<L: Loader> {
    options: PluginOptions,
    loader: Arc<L>,
    board: Arc<Board<L::Unit>>,
    on_change: OnChange,
    settling: Settling,
    draining: Vec<(String, Arc<L::Unit>)>,
    attempts: JoinSet<Outcome<L::Unit>>,
    /// The attempt that counts for each name; one that is overtaken is stopped.
    running: BTreeMap<String, Running>,
    begun: u64,
    room: Room,
    kept: Option<Arc<Kept>>,
    /// Names that have a place before others: with settings, or known from the last run.
    awaited: BTreeSet<String>,
    listed: BTreeSet<String>,
    /// Why names were refused, so that each reason is logged once.
    told: HashMap<String, String>,
    told_of_directory: Told,
}

/// An attempt that has not ended.
struct Running {
    number: u64,
    stamp: Stamp,
    config: PluginConfig,
    task: AbortHandle,
}

/// What has been said about the directory, so that it is said once.
#[derive(Default, PartialEq, Eq)]
struct Told {
    unreadable: bool,
    open_to_everybody: bool,
    beyond: usize,
    entries: usize,
}

impl<L: Loader> Keeper<L> {
    pub fn new(options: PluginOptions, loader: L, board: Arc<Board<L::Unit>>, on_change: OnChange) -> Keeper<L> {
        let kept = options.kept_dir.as_ref().and_then(|dir| {
            let opened = Kept::open(dir, MAX_KEPT_BYTES);
            let told = opened.inspect_err(
                |e| tracing::warn!(dir = %dir.display(), "cannot keep plugin files for the next start: {e}"),
            );
            told.ok().map(Arc::new)
        });
        let mut awaited = kept.as_ref().map(|kept| kept.names()).unwrap_or_default();
        awaited.extend(options.per_plugin.keys().cloned());
        Keeper {
            settling: Settling::new(options.settle),
            room: Room::new(loader.file_bytes()),
            options,
            loader: Arc::new(loader),
            board,
            on_change,
            draining: Vec::new(),
            attempts: JoinSet::new(),
            running: BTreeMap::new(),
            begun: 0,
            kept,
            awaited,
            listed: BTreeSet::new(),
            told: HashMap::new(),
            told_of_directory: Told::default(),
        }
    }

    /// When there will be something to do without anything being reported.
    pub fn next(&self) -> Option<Instant> {
        let drain = (!self.draining.is_empty()).then(|| Instant::now() + DRAIN_POLL);
        self.settling.next().into_iter().chain(drain).min()
    }

    /// Whether a file is still being written.
    pub fn is_unsettled(&self) -> bool {
        self.settling.is_unsettled()
    }

    /// The names at which an attempt runs.
    pub fn loading(&self) -> Vec<&str> {
        self.running.keys().map(String::as_str).collect()
    }

    /// The number of the newest attempt.
    pub fn newest_attempt(&self) -> u64 {
        self.begun
    }

    /// Whether all attempts up to that number have ended.
    pub fn has_ended(&self, newest: u64) -> bool {
        self.running.values().all(|running| running.number > newest)
    }

    /// Reads every file again at the next look.
    pub fn forget_handled(&mut self) {
        self.settling.forget_handled();
    }

    /// Takes the settings of plugins as they are now. Those of which they changed are started anew.
    pub fn set_settings(&mut self, settings: HashMap<String, PluginConfig>) {
        self.awaited.extend(settings.keys().cloned());
        self.options.per_plugin = settings;
        let changed: Vec<String> = self
            .running
            .iter()
            .filter(|(name, running)| self.config_of(name) != running.config)
            .map(|(name, _)| name.clone())
            .collect();
        for name in changed {
            self.stop(&name);
            self.settling.begin_again(&name);
        }
    }

    fn config_of(&self, name: &str) -> PluginConfig {
        self.options.per_plugin.get(name).cloned().unwrap_or_default()
    }

    /// One full look: an attempt at everything that is due has begun when it returns.
    pub async fn look(&mut self) {
        let (dir, mut known) = (self.options.dir.clone(), self.awaited.clone());
        known.extend(self.board.records().keys().cloned());
        let listed = tokio::task::spawn_blocking(move || files::list(&dir, &known)).await;
        match listed.unwrap_or_else(|e| Err(std::io::Error::other(e))) {
            Ok(listing) => self.follow(listing),
            // A directory that cannot be read says nothing about its files: what serves goes on.
            Err(e) if !self.told_of_directory.unreadable => {
                self.told_of_directory.unreadable = true;
                tracing::error!(dir = %self.options.dir.display(), "cannot read the plugin directory; what is loaded goes on: {e}");
            }
            Err(_) => {}
        }
        self.finish_draining();
    }

    fn follow(&mut self, listing: Listing) {
        self.tell_of_directory(&listing);
        self.listed = listing.files.keys().cloned().collect();
        let now = Instant::now();
        let mut due = match listing.unreadable {
            0 => self.settling.observe(now, &listing.files),
            _ => self.settling.observe_some(now, &listing.files),
        };
        // Who is waited for goes first.
        due.sort_by_key(|due| match due {
            Due::Read(name, _) => !self.awaited.contains(name),
            Due::Gone(_) => false,
        });
        for due in due {
            match due {
                Due::Read(name, stamp) => self.begin(name, stamp),
                Due::Gone(name) => self.unload(&name),
            }
        }
    }

    fn tell_of_directory(&mut self, listing: &Listing) {
        let now = Told {
            unreadable: false,
            open_to_everybody: listing.open_to_everybody,
            beyond: listing.beyond,
            entries: listing.unreadable,
        };
        let (dir, before) = (self.options.dir.display(), &self.told_of_directory);
        if now.open_to_everybody && !before.open_to_everybody {
            tracing::warn!(%dir, "everybody may write to the plugin directory, and so use what is granted to the name of any plugin; chmod o-w");
        }
        if now.beyond > 0 && before.beyond == 0 {
            let (ignored, limit) = (now.beyond, files::MAX_NAMES);
            tracing::warn!(%dir, ignored, "more plugin files than are looked at; the last by name are ignored: limit {limit}");
        }
        if now.entries > 0 && before.entries == 0 {
            tracing::warn!(%dir, "the system does not name some entries of the plugin directory; the others are looked after");
        }
        self.told_of_directory = now;
    }

    /// Begins an attempt at a file, and stops the one before of its name.
    fn begin(&mut self, name: String, stamp: Stamp) {
        self.stop(&name);
        let config = self.config_of(&name);
        let old = self.enter(&name, &config);
        if !self.has_place(&name) {
            let reason = format!("{MAX_PLUGINS} plugins serve already, which is the limit; remove one");
            return self.refuse(&name, stamp, None, Refusal::ForNow(reason));
        }
        let same_config = {
            let records = self.board.records();
            let serving = records.get(&name).and_then(|record| record.serving.as_ref());
            serving.is_some_and(|serving| serving.config == config)
        };
        let attempt = Attempt {
            name: name.clone(),
            dir: self.options.dir.clone(),
            stamp,
            config: config.clone(),
            old,
            same_config,
            loader: Arc::clone(&self.loader),
            board: Arc::clone(&self.board),
            kept: self.kept.clone(),
            room: self.room.clone(),
        };
        self.begun += 1;
        let running = Running {
            number: self.begun,
            stamp,
            config,
            task: self.attempts.spawn(attempt.run()),
        };
        self.running.insert(name, running);
    }

    fn stop(&mut self, name: &str) {
        if let Some(running) = self.running.remove(name) {
            running.task.abort();
        }
    }

    /// Whether a name may serve beside those that do. Who serves has a place, and so has who is waited for.
    fn has_place(&self, name: &str) -> bool {
        let records = self.board.records();
        let serves = |name: &str| records.get(name).is_some_and(|record| record.serving.is_some());
        let taken = records.values().filter(|record| record.serving.is_some()).count();
        let reserved = match self.awaited.contains(name) {
            true => 0,
            false => self
                .awaited
                .intersection(&self.listed)
                .filter(|name| !serves(name))
                .count(),
        };
        serves(name) || taken + reserved < MAX_PLUGINS
    }

    /// Makes a record for a name that has none, and notes its settings. Answers what serves.
    fn enter(&self, name: &str, config: &PluginConfig) -> Option<Arc<L::Unit>> {
        let mut records = self.board.records();
        let record = records.entry(name.to_owned()).or_insert_with(|| Record {
            file: one_line(&format!("{name}.{EXTENSION}"), MAX_ERROR_TEXT_BYTES),
            state: PluginState::Discovered,
            serving: None,
            grants: Vec::new(),
            loaded_at_ms: None,
            refusal: None,
        });
        record.grants.clone_from(&config.grants);
        record.serving.as_ref().map(|serving| Arc::clone(&serving.unit))
    }

    /// Waits until an attempt ends.
    pub async fn attempt(&mut self) -> Result<(tokio::task::Id, Outcome<L::Unit>), JoinError> {
        match self.attempts.join_next_with_id().await {
            Some(ended) => ended,
            None => std::future::pending().await,
        }
    }

    /// Takes what came of an attempt.
    pub fn take(&mut self, ended: Result<(tokio::task::Id, Outcome<L::Unit>), JoinError>) {
        let (id, outcome) = match ended {
            Ok((id, outcome)) => (id, outcome),
            Err(error) => {
                let (refusal, hash, instead) = (
                    Refusal::Final(format!("loading the plugin panicked: {error}")),
                    None,
                    None,
                );
                (error.id(), Outcome::Refused { refusal, hash, instead })
            }
        };
        let of_task = self.running.iter().find(|(_, running)| running.task.id() == id);
        // Without a name it was overtaken.
        let Some(name) = of_task.map(|(name, _)| name.clone()) else {
            return;
        };
        let Some(Running { stamp, config, .. }) = self.running.remove(&name) else {
            return;
        };
        match outcome {
            Outcome::Moved => drop(self.settling.ended(Instant::now(), &name, stamp, Ended::Moved)),
            Outcome::Same => {
                self.settling.ended(Instant::now(), &name, stamp, Ended::Decided);
                self.told.remove(&name);
                self.board.change(&name, |record| {
                    record.refusal = None;
                    if let Some(serving) = &mut record.serving {
                        serving.source = Source::File;
                    }
                });
            }
            Outcome::Ready { unit, took } if self.has_place(&name) => {
                self.settling.ended(Instant::now(), &name, stamp, Ended::Decided);
                self.told.remove(&name);
                self.board.change(&name, |record| record.refusal = None);
                self.serve(&name, unit, config, Source::File, took);
            }
            Outcome::Ready { .. } => {
                let reason = format!("{MAX_PLUGINS} plugins serve already, which is the limit; remove one");
                self.refuse(&name, stamp, None, Refusal::ForNow(reason));
            }
            Outcome::Refused { refusal, hash, instead } => {
                self.withdraw_if_revoked(&name, &config);
                if let Some(unit) = instead.filter(|_| self.has_place(&name)) {
                    tracing::warn!(plugin = %name, "the last good file of the plugin serves, which was kept; mend the one in the directory");
                    self.serve(&name, unit, config, Source::Kept, Duration::ZERO);
                }
                self.refuse(&name, stamp, hash, refusal);
            }
        }
    }

    fn serve(&mut self, name: &str, unit: Arc<L::Unit>, config: PluginConfig, source: Source, took: Duration) {
        let facts = unit.facts();
        self.loader.swap(name, Some(Arc::clone(&unit)));
        self.board.change(name, |record| {
            record.state = PluginState::Serving;
            record.serving = Some(Serving { unit, source, config });
            record.loaded_at_ms = Some(now_ms());
        });
        let (version, hash, from) = (facts.version, facts.hash, source.as_str());
        let took_ms = took.as_millis();
        tracing::info!(plugin = name, %version, roles = %facts.roles, %hash, from, %took_ms, "plugin loaded");
        if !facts.unused_grants.is_empty() {
            tracing::warn!(plugin = name, grants = ?facts.unused_grants, "grants that the plugin does not use; remove them");
        }
        for twin in self.others_of(name, &hash) {
            tracing::warn!(
                plugin = name,
                "the same file serves as {twin} too, so that every alert is judged twice; remove one of them, unless they \
                 have settings of their own"
            );
        }
        if facts.debug_build {
            tracing::warn!(
                plugin = name,
                "the plugin was built for debugging and is many times slower; use `donjon plugin build`"
            );
        }
        self.tell(name, PluginChange::Loaded { version, hash });
    }

    /// Other names that the same file serves under.
    fn others_of(&self, name: &str, hash: &str) -> Vec<String> {
        let records = self.board.records();
        let is_twin = |record: &Record<L::Unit>| {
            let serving = record.serving.as_ref();
            serving.is_some_and(|serving| serving.unit.facts().hash == hash)
        };
        let twins = records
            .iter()
            .filter(|(other, record)| *other != name && is_twin(record));
        twins.map(|(other, _)| other.clone()).collect()
    }

    /// Notes why a file does not serve. The same reason again is noted and not told.
    fn refuse(&mut self, name: &str, stamp: Stamp, hash: Option<String>, refusal: Refusal) {
        let ended = match refusal {
            Refusal::Final(_) => Ended::Decided,
            Refusal::ForNow(_) | Refusal::RulesOf(..) => Ended::ForNow,
        };
        let pause = self.settling.ended(Instant::now(), name, stamp, ended);
        let reason = one_line(refusal.reason(), MAX_ERROR_TEXT_BYTES);
        let message = match pause {
            Some(pause) => format!("{reason}; trying again in {} s", pause.as_secs()),
            None => reason.clone(),
        };
        let error = PluginError {
            at_ms: now_ms(),
            message,
            hash,
            tenant: refusal.tenant().cloned(),
        };
        self.board.change(name, |record| {
            record.refusal = Some(error);
            if record.serving.is_none() {
                record.state = PluginState::Rejected;
            }
        });
        if self.told.insert(name.to_owned(), reason.clone()).as_ref() != Some(&reason) {
            let plugin = one_line(name, MAX_ERROR_TEXT_BYTES);
            tracing::error!(plugin, "plugin refused: {reason}");
            self.tell(name, PluginChange::Rejected { reason });
        }
    }

    /// What cannot be started with fewer grants does not go on with those that were taken away. If it is required, the
    /// line is held from then on.
    fn withdraw_if_revoked(&mut self, name: &str, config: &PluginConfig) {
        let mut records = self.board.records();
        let Some(record) = records.get_mut(name) else { return };
        let keeps = |serving: &Serving<L::Unit>| {
            let had = &serving.config.grants;
            had.iter().all(|grant| config.grants.contains(grant))
        };
        if record.serving.as_ref().is_none_or(keeps) {
            return;
        }
        let Some(serving) = record.serving.take() else { return };
        record.state = PluginState::Rejected;
        drop(records);
        tracing::error!(
            plugin = name,
            "plugin unloaded: a grant was taken away, and it cannot be started without; see the refusal"
        );
        self.loader.swap(name, None);
        self.draining.push((name.to_owned(), serving.unit));
    }

    fn unload(&mut self, name: &str) {
        self.stop(name);
        self.told.remove(name);
        if let Some(kept) = &self.kept
            && let Err(error) = kept.forget(name)
        {
            tracing::warn!(
                plugin = name,
                "cannot remove the kept file of a plugin that was taken away: {error}"
            );
        }
        let mut records = self.board.records();
        let serving = records.get_mut(name).and_then(|record| {
            record.state = PluginState::Draining;
            record.serving.take()
        });
        match serving {
            Some(serving) => {
                drop(records);
                self.loader.swap(name, None);
                self.draining.push((name.to_owned(), serving.unit));
            }
            None => drop(records.remove(name)),
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

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
