//! The plugin directory of a running server: a task that keeps it, and the handle that everybody else has. Decides when to
//! look; what a look does is in `keeper.rs`.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use donjon_runtime::{KvRead, Plugin, PluginSet, Runtime};
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::keeper::Keeper;
use super::loader::{ComponentLoader, Loader, Unit};
use super::options::{OnChange, PluginOptions, Preconfigure};
use super::status::{Board, PluginStatus};
use super::watch::Watch;

/// How long the start waits for files that are still being written.
const LONGEST_FIRST_LOOK: Duration = Duration::from_secs(5);
/// After a report, so that a thousand reports are one look.
const PAUSE_AFTER_REPORT: Duration = Duration::from_millis(20);
/// Requests for a reload that may wait.
const WAITING_RELOADS: usize = 16;

/// The plugins of a directory, kept up to date until [`PluginDirectory::shutdown`].
pub struct PluginDirectory {
    set: Arc<ArcSwap<PluginSet>>,
    watching: Watching<Plugin>,
}

impl PluginDirectory {
    /// Loads what is in the directory, then watches it. Returns after the first full look; a file that is refused is no
    /// error.
    ///
    /// # Errors
    /// There is no such directory and it cannot be made.
    pub async fn start(
        options: PluginOptions,
        runtime: Arc<Runtime>,
        kv: Arc<dyn KvRead>,
        preconfigure: Preconfigure,
        on_change: OnChange,
    ) -> io::Result<PluginDirectory> {
        let set = Arc::new(ArcSwap::from_pointee(PluginSet::default()));
        let loader = ComponentLoader {
            runtime,
            kv,
            preconfigure,
            set: Arc::clone(&set),
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

    /// Looks now and reads every file again, so that a plugin that was refused gets another chance. Returns when it is
    /// done; files that are still being written follow by themselves.
    pub async fn reload(&self) {
        self.watching.reload().await;
    }

    /// Stops watching. What serves stays in the set until the set is dropped.
    pub async fn shutdown(&self) {
        self.watching.shutdown().await;
    }
}

/// A watched directory, whatever its files become.
pub struct Watching<U> {
    pub board: Arc<Board<U>>,
    reloads: mpsc::Sender<oneshot::Sender<()>>,
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
        let rescan = options.rescan;
        let mut keeper = Keeper::new(options, loader, Arc::clone(&board), on_change);
        first_look(&mut keeper).await;
        let (reloads, asked) = mpsc::channel(WAITING_RELOADS);
        let stop = CancellationToken::new();
        let task = tokio::spawn(keep(keeper, watch, wake, asked, rescan, stop.clone()));
        Ok(Watching {
            board,
            reloads,
            stop,
            task: tokio::sync::Mutex::new(Some(task)),
        })
    }

    pub async fn reload(&self) {
        let (done, wait) = oneshot::channel();
        if self.reloads.send(done).await.is_ok() {
            // An error means that the task has stopped: there is nothing to wait for.
            let _ = wait.await;
        }
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

/// Looks until nothing is left to settle.
async fn first_look<L: Loader>(keeper: &mut Keeper<L>) {
    let begun = Instant::now();
    keeper.look().await;
    while let Some(next) = keeper
        .next()
        .filter(|_| keeper.is_unsettled() && begun.elapsed() < LONGEST_FIRST_LOOK)
    {
        tokio::time::sleep_until(next.into()).await;
        keeper.look().await;
    }
}

async fn keep<L: Loader>(
    mut keeper: Keeper<L>,
    mut watch: Watch,
    wake: Arc<Notify>,
    mut asked: mpsc::Receiver<oneshot::Sender<()>>,
    rescan: Duration,
    stop: CancellationToken,
) {
    let mut last_renewal = Instant::now();
    loop {
        let rescan_at = last_renewal + rescan;
        let next = keeper.next().map_or(rescan_at, |next| next.min(rescan_at));
        let mut done = None;
        tokio::select! {
            () = stop.cancelled() => return,
            () = wake.notified() => tokio::time::sleep(PAUSE_AFTER_REPORT).await,
            () = tokio::time::sleep_until(next.into()) => {}
            Some(reload) = asked.recv() => {
                keeper.forget_handled();
                done = Some(reload);
            }
        }
        if last_renewal.elapsed() >= rescan {
            watch.renew();
            last_renewal = Instant::now();
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = keeper.look() => {}
        }
        if let Some(done) = done {
            // Nobody waits any more: fine.
            let _ = done.send(());
        }
    }
}
