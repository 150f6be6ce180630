//! The plugin directory of a running server: a task that keeps it, and the handle that everybody else has. Decides when to
//! look and who is told when a look is done; what a look does is in `keeper.rs`.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use donjon_runtime::{KvRead, Plugin, PluginSet, Runtime};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::keeper::Keeper;
use super::loader::{COMPILED_AT_ONCE, ComponentLoader, Loader};
use super::options::{BeforeServing, OnChange, PluginOptions, Preconfigure, Reread};
use super::status::{Board, PluginStatus};
use super::unit::Unit;
use super::watch::Watch;

/// How long the first look waits for files that are still being written.
const LONGEST_FIRST_SETTLING: Duration = Duration::from_secs(5);
/// How long the first look lasts at most: a file that compiles longer serves later.
const LONGEST_FIRST_LOOK: Duration = Duration::from_secs(60);
/// How long a reload is waited for at most: a file that compiles longer follows by itself.
const LONGEST_RELOAD: Duration = Duration::from_secs(20);
/// After a report, so that a thousand reports are one look.
const PAUSE_AFTER_REPORT: Duration = Duration::from_millis(20);
/// Requests for a reload that may wait.
const WAITING_RELOADS: usize = 16;

/// The plugins of a directory, kept up to date until [`PluginDirectory::shutdown`].
pub struct PluginDirectory {
    set: Arc<ArcSwap<PluginSet>>,
    watching: Watching<Plugin>,
}

/// The configuration could not be read anew; nothing was changed. Its text may hold a secret: it is for the log.
#[derive(Debug, thiserror::Error)]
#[error("the configuration cannot be used; nothing was changed: {0}")]
pub struct UnusableConfig(String);

/// Asks for a reload, from wherever.
#[derive(Clone)]
pub struct Reloader(mpsc::Sender<Reload>);

/// A request for a reload, and who waits for it.
type Reload = oneshot::Sender<Result<(), UnusableConfig>>;

impl Reloader {
    /// Reads the settings of plugins anew, looks now and reads every file again, so that a plugin that was refused gets
    /// another chance. Returns when it is done; files that are still being written, or that take long to compile, follow
    /// by themselves.
    ///
    /// # Errors
    /// The configuration cannot be used any more; then nothing is done.
    pub async fn reload(&self) -> Result<(), UnusableConfig> {
        let (done, wait) = oneshot::channel();
        match self.0.send(done).await {
            // An error means that the task has stopped: there is nothing to wait for.
            Ok(()) => wait.await.unwrap_or(Ok(())),
            Err(_) => Ok(()),
        }
    }
}

impl PluginDirectory {
    /// Begins to load what is in the directory, and watches it from then on. Returns at once: see
    /// [`PluginDirectory::first_look`].
    ///
    /// # Errors
    /// There is no such directory and it cannot be made.
    pub async fn start(
        options: PluginOptions,
        runtime: Arc<Runtime>,
        kv: Arc<dyn KvRead>,
        preconfigure: Preconfigure,
        before_serving: BeforeServing,
        on_change: OnChange,
    ) -> io::Result<PluginDirectory> {
        let set = Arc::new(ArcSwap::from_pointee(PluginSet::default()));
        let loader = ComponentLoader {
            runtime,
            kv,
            tenant: options.tenant.clone(),
            preconfigure,
            before_serving,
            set: Arc::clone(&set),
            compiling: Arc::new(Semaphore::new(COMPILED_AT_ONCE)),
        };
        Ok(PluginDirectory {
            set,
            watching: Watching::start(options, loader, on_change).await?,
        })
    }

    /// The plugins that serve, to be read at the start of each batch (I9).
    #[must_use]
    pub fn set(&self) -> Arc<ArcSwap<PluginSet>> {
        Arc::clone(&self.set)
    }

    /// Every plugin as people see it, in the order of names.
    #[must_use]
    pub fn statuses(&self) -> Vec<PluginStatus> {
        self.watching.board.statuses()
    }

    /// Becomes true once it is decided about every file that was there at the start: it serves or it was refused.
    #[must_use]
    pub fn first_look(&self) -> watch::Receiver<bool> {
        self.watching.looked.clone()
    }

    /// For those who ask for reloads.
    #[must_use]
    pub fn reloader(&self) -> Reloader {
        self.watching.reloads.clone()
    }

    /// Stops watching. What serves stays in the set until the set is dropped.
    pub async fn shutdown(&self) {
        self.watching.shutdown().await;
    }
}

/// A watched directory, whatever its files become.
pub struct Watching<U> {
    pub board: Arc<Board<U>>,
    pub looked: watch::Receiver<bool>,
    pub reloads: Reloader,
    stop: CancellationToken,
    task: tokio::sync::Mutex<Option<JoinHandle<()>>>,
}

impl<U: Unit> Watching<U> {
    pub async fn start<L: Loader<Unit = U>>(
        options: PluginOptions,
        loader: L,
        on_change: OnChange,
    ) -> io::Result<Watching<U>> {
        tokio::fs::create_dir_all(&options.dir).await?;
        let wake = Arc::new(Notify::new());
        // Before the first look, so that nothing can happen unseen between the two.
        let watch = Watch::new(&options.dir, Arc::clone(&wake));
        let board = Arc::new(Board::default());
        let (reloads, asked) = mpsc::channel(WAITING_RELOADS);
        let (first_look, looked) = watch::channel(false);
        let stop = CancellationToken::new();
        let keeping = Keeping {
            rescan: options.rescan,
            reread: options.reread.clone(),
            keeper: Keeper::new(options, loader, Arc::clone(&board), on_change),
            watch,
            wake,
            asked,
            waiting: Vec::new(),
            begun: Instant::now(),
            first_look,
        };
        let task = tokio::spawn(keeping.run(stop.clone()));
        Ok(Watching {
            board,
            looked,
            reloads: Reloader(reloads),
            stop,
            task: tokio::sync::Mutex::new(Some(task)),
        })
    }

    pub async fn shutdown(&self) {
        self.stop.cancel();
        if let Some(task) = self.task.lock().await.take()
            && let Err(e) = task.await
        {
            tracing::error!("watching the plugin directory ended badly: {e}");
        }
    }
}

impl<U> Drop for Watching<U> {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// The task.
struct Keeping<L: Loader> {
    keeper: Keeper<L>,
    watch: Watch,
    wake: Arc<Notify>,
    rescan: Duration,
    reread: Option<Reread>,
    asked: mpsc::Receiver<Reload>,
    waiting: Vec<Waiting>,
    begun: Instant,
    first_look: watch::Sender<bool>,
}

/// Somebody who waits for the attempts that a reload began.
struct Waiting {
    newest_attempt: u64,
    until: Instant,
    done: Reload,
}

impl<L: Loader> Keeping<L> {
    async fn run(mut self, stop: CancellationToken) {
        self.keeper.look().await;
        let mut last_renewal = Instant::now();
        loop {
            self.tell_who_waits();
            let rescan_at = last_renewal + self.rescan;
            let next = self.next().map_or(rescan_at, |next| next.min(rescan_at));
            tokio::select! {
                () = stop.cancelled() => return,
                ended = self.keeper.attempt() => {
                    self.keeper.take(ended);
                    // What it left to do has a time of its own.
                    continue;
                }
                () = self.wake.notified() => tokio::time::sleep(PAUSE_AFTER_REPORT).await,
                () = tokio::time::sleep_until(next.into()) => {}
                Some(done) = self.asked.recv() => {
                    self.reload(done).await;
                    continue;
                }
            }
            if last_renewal.elapsed() >= self.rescan {
                self.watch.renew();
                last_renewal = Instant::now();
            }
            self.keeper.look().await;
        }
    }

    async fn reload(&mut self, done: Reload) {
        if let Some(reread) = self.reread.clone() {
            let settings = tokio::task::spawn_blocking(move || reread()).await;
            match settings.unwrap_or_else(|e| Err(e.to_string())) {
                Ok(settings) => self.keeper.set_settings(settings),
                Err(why) => {
                    let error = UnusableConfig(why);
                    tracing::error!("plugins are not reloaded: {error}");
                    // Nobody waits any more: fine.
                    return drop(done.send(Err(error)));
                }
            }
        }
        self.keeper.forget_handled();
        self.keeper.look().await;
        self.waiting.push(Waiting {
            newest_attempt: self.keeper.newest_attempt(),
            until: Instant::now() + LONGEST_RELOAD,
            done,
        });
    }

    /// When there is something to do without anything being reported.
    fn next(&self) -> Option<Instant> {
        let waiting = self.waiting.iter().map(|waiting| waiting.until);
        let first = match *self.first_look.borrow() {
            true => None,
            false => Some(self.begun + self.longest_first_look()),
        };
        self.keeper.next().into_iter().chain(waiting).chain(first).min()
    }

    fn longest_first_look(&self) -> Duration {
        match self.keeper.loading().is_empty() {
            true => LONGEST_FIRST_SETTLING,
            false => LONGEST_FIRST_LOOK,
        }
    }

    fn tell_who_waits(&mut self) {
        let now = Instant::now();
        for waiting in std::mem::take(&mut self.waiting) {
            if self.keeper.has_ended(waiting.newest_attempt) || now >= waiting.until {
                // Nobody waits any more: fine.
                let _ = waiting.done.send(Ok(()));
            } else {
                self.waiting.push(waiting);
            }
        }
        if *self.first_look.borrow() {
            return;
        }
        let loading = self.keeper.loading();
        let decided = loading.is_empty() && !self.keeper.is_unsettled();
        if !decided && self.begun.elapsed() >= self.longest_first_look() {
            tracing::warn!(
                ?loading,
                "plugins that take long to load will serve later; alerts go on without them, unless they are required"
            );
        } else if !decided {
            return;
        }
        self.first_look.send_replace(true);
    }
}
