//! `donjon serve`: opens the data, starts the parts in the order in which alerts pass them, and stops them in the same
//! order, so that nothing that was acknowledged is left unapplied. Knows no route and no rule.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use donjon_core::limits::MAX_CHANGES_PER_COMMIT;
use donjon_core::{Seq, Timestamp};
use donjon_store::DataDir;
use donjon_store::journal::{Journal, RetentionPolicy};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::Config;
use crate::disk_space::DiskSpace;
use crate::http::auth::Auth;
use crate::http::browsers::Browsers;
use crate::http::connections::{Connections, connection_limit};
use crate::http::in_flight::ByteBudget;
use crate::http::reads::Reads;
use crate::http::{App, Shared};
use crate::intake::{Intake, IntakeOptions, JournalCheck, Progress};
use crate::rule_changes::RuleChanges;
use crate::telemetry::{self, Metrics};
use crate::worker::{CheckpointKeeper, Worker, WorkerError, WorkerParts};

mod memory;
mod opening;
mod plugin_wiring;
mod starter;

pub use memory::MemorySum;
use opening::Opened;
#[cfg(test)]
pub(crate) use opening::missing_after;

/// How often the end of the worker is looked for while stopping.
const STOP_POLL: Duration = Duration::from_millis(10);

/// `EMFILE` and `ENFILE`, for which the standard library has no kind.
const TOO_MANY_OPEN_FILES: i32 = 24;
const TOO_MANY_OPEN_FILES_IN_ALL: i32 = 23;

/// The data directory or the address cannot be used: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WrongSetUp(String);

/// What only the command line may ask for.
#[derive(Clone, Debug)]
pub struct RunOptions {
    /// The configuration file: a reload reads the settings of plugins anew.
    pub config_file: Option<std::path::PathBuf>,
    /// Time stands still until a test moves it.
    pub manual_clock: bool,
    /// Begin with what the journal holds, although its first days are neither in derived state nor in a checkpoint.
    pub accept_missing_history: bool,
}

/// Runs the server until it is told to stop.
///
/// # Errors
/// When it cannot start, or derived state cannot be written any more.
pub fn run(config: Config, options: RunOptions) -> anyhow::Result<()> {
    telemetry::start_log(&config.log)?;
    if let Some(warning) = MemorySum::of(&config).warning(memory::available(Path::new("/"))) {
        tracing::warn!("{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the async runtime")?;
    let result = runtime.block_on(serve(config, options));
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

async fn serve(config: Config, options: RunOptions) -> anyhow::Result<()> {
    let stopping = CancellationToken::new();
    listen_for_signals(stopping.clone())?;
    // Raised before anything needs many files.
    let limit = connection_limit(config.server.max_connections);
    let opened = opening::open(&config.storage, options.accept_missing_history)?;
    let clock = if options.manual_clock {
        Clock::manual()
    } else {
        Clock::system()
    };
    clock.go_on_after(opened.last_accepted);
    let metrics = Arc::new(Metrics::default());
    let (journal, state) = (opened.journal.reader(), opened.state.reader().clone());
    let auth = Auth::new(&config.auth)?;
    let reads = Reads::new(&config.reads, auth.tenants());
    let plugins = plugin_wiring::start(&config, &opened.dir, &state, &metrics, options.config_file).await?;
    let listener = bind(config.server.listen).await?;
    let path = start_path(&config, opened, &clock, &metrics, &plugins, &stopping)?;
    let state_for_rules = state.clone();
    let app: Shared = Arc::new(App {
        state,
        journal,
        intake: path.intake.clone(),
        clock,
        auth,
        limits: config.ingest.clone(),
        in_flight: ByteBudget::new(config.ingest.max_inflight_bytes),
        metrics,
        rule_changes: RuleChanges::new(state_for_rules, plugins.directory.set()),
        plugins: plugins.directory,
        line: plugins.line,
        plugin_changes: plugins.changes,
        committed: path.committed.clone(),
        replayed: path.replayed.clone(),
        broken: Arc::clone(&path.broken),
        reads,
        stopping: stopping.clone(),
    });
    if let Some(file) = &config.rules.starter_file {
        tokio::spawn(starter::apply(Arc::clone(&app), file.clone()));
    }
    say_address(listener.local_addr().context("read the bound address")?)?;
    let (browsers, streams) = (Browsers::new(&config), config.server.max_event_streams);
    let router = crate::api::router(Arc::clone(&app), browsers, streams, options.manual_clock);
    let (in_flight, metrics) = (Arc::clone(&app.in_flight), Arc::clone(&app.metrics));
    let connections = Connections::new(&config.server, limit, in_flight, metrics);
    let server = tokio::spawn(connections.serve(listener, router, stopping.clone()));
    let drained = drain(server, stopping, Duration::from_secs(config.server.drain_seconds)).await;
    app.plugins.shutdown().await;
    path.finish().await?;
    drained
}

/// The two threads of the path, and what they tell.
struct RunningPath {
    intake: Intake,
    journal_thread: std::thread::JoinHandle<Journal>,
    worker: std::thread::JoinHandle<()>,
    committed: watch::Receiver<Seq>,
    replayed: watch::Receiver<bool>,
    broken: Arc<AtomicBool>,
}

/// Starts the journal's thread and the worker.
fn start_path(
    config: &Config,
    opened: Opened,
    clock: &Clock,
    metrics: &Arc<Metrics>,
    plugins: &plugin_wiring::Started,
    stopping: &CancellationToken,
) -> anyhow::Result<RunningPath> {
    let Opened {
        dir,
        journal,
        state,
        checkpoints,
        last_accepted,
    } = opened;
    let reader = journal.reader();
    let (replay_to, applied) = (reader.last_seq(), state.reader().applied()?);
    let progress = Arc::new(Progress::new(replay_to.max(applied), applied));
    let (committed_sender, committed) = watch::channel(applied);
    let (replayed_sender, replayed) = watch::channel(false);
    let disk_space = DiskSpace::new(dir.path().to_owned(), config.storage.min_free_bytes);
    let every_entries = config.storage.checkpoint_entries;
    let keeper = CheckpointKeeper::new(checkpoints, every_entries, &disk_space, metrics);
    let options = intake_options(config, dir, disk_space.clone(), last_accepted);
    let check = JournalCheck::new(reader.clone());
    let (intake, groups, journal_thread) = Intake::start(
        journal,
        options,
        clock.clone(),
        Arc::clone(&progress),
        Arc::clone(metrics),
    )?;
    let broken = Arc::new(AtomicBool::new(false));
    let parts = WorkerParts {
        state: Arc::new(state),
        checkpoints: keeper,
        journal: reader,
        groups,
        disk_space,
        plugins: plugins.directory.set(),
        pending_kv: plugins.pending_kv.clone(),
        stopping: stopping.clone(),
        line: Arc::clone(&plugins.line),
        pause: Arc::new(std::thread::sleep),
        replay_to,
        progress,
        committed: committed_sender,
        replayed: replayed_sender,
        metrics: Arc::clone(metrics),
        max_batch_entries: config.ingest.max_batch_entries,
        changes_per_commit: MAX_CHANGES_PER_COMMIT,
        flush_every: Duration::from_millis(config.storage.flush_ms),
    };
    let first_look = plugins.directory.first_look();
    let worker = spawn_worker(parts, first_look, Arc::clone(&broken), stopping.clone())?;
    check.spawn(stopping.clone()).context("check the journal")?;
    Ok(RunningPath {
        intake,
        journal_thread,
        worker,
        committed,
        replayed,
        broken,
    })
}

fn intake_options(
    config: &Config,
    data_dir: DataDir,
    disk_space: DiskSpace,
    last_accepted: Timestamp,
) -> IntakeOptions {
    IntakeOptions {
        max_lag_entries: config.ingest.max_lag_entries,
        max_lag_bytes: config.ingest.max_lag_bytes,
        disk_space,
        data_dir,
        last_accepted,
        retention: RetentionPolicy {
            max_age_days: config.storage.retention_days,
            max_bytes: config.storage.max_journal_bytes,
        },
    }
}

impl RunningPath {
    /// Accepts nothing any more, and waits until everything accepted is applied and flushed.
    async fn finish(self) -> anyhow::Result<()> {
        self.intake.stop();
        while !(self.journal_thread.is_finished() && self.worker.is_finished()) {
            tokio::time::sleep(STOP_POLL).await;
        }
        if self.journal_thread.join().is_err() || self.worker.join().is_err() {
            tracing::error!("a thread panicked while stopping; the next start goes on from the journal");
        }
        anyhow::ensure!(
            !self.broken.load(Ordering::SeqCst),
            "what is accepted could not be applied any more; see the log, then start again"
        );
        let (accepted, applied) = (self.intake.progress().accepted(), self.intake.progress().applied());
        if applied < accepted {
            tracing::warn!(%accepted, %applied, "stopped; what is not applied yet will be at the next start");
        } else {
            tracing::info!("stopped; everything accepted is applied");
        }
        Ok(())
    }
}

async fn bind(listen: SocketAddr) -> anyhow::Result<TcpListener> {
    let wrong = |error: std::io::Error| {
        let hint = match error.raw_os_error() {
            Some(TOO_MANY_OPEN_FILES | TOO_MANY_OPEN_FILES_IN_ALL) => "; raise the limit on open files (ulimit -n)",
            _ if error.kind() == std::io::ErrorKind::AddrInUse => "; is another server running there?",
            _ => "; see server.listen",
        };
        WrongSetUp(format!("listen on {listen}: {error}{hint}"))
    };
    Ok(TcpListener::bind(listen).await.map_err(wrong)?)
}

/// The first line on standard output, for people and scripts.
fn say_address(address: SocketAddr) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "listening on http://{address}").context("write to standard output")?;
    out.flush().context("write to standard output")
}

/// Waits until the first look at the plugin directory is over; false if a stop was asked for before.
async fn is_over(mut first_look: watch::Receiver<bool>, stopping: CancellationToken) -> bool {
    tokio::select! {
        looked = first_look.wait_for(|looked| *looked) => looked.is_ok(),
        () = stopping.cancelled() => false,
    }
}

/// Stack of the worker. Values are nested at most 128 levels deep (what ingest parses; plugins may add 64), and every
/// walk over one, its destructor and the printer included, needs well below 1 KiB a level; wasmtime runs guests on stacks
/// of their own. So a twentieth would do: the rest is because running out of it is the one error that nothing catches.
const WORKER_STACK_BYTES: usize = 8 << 20;

fn spawn_worker(
    parts: WorkerParts,
    first_look: watch::Receiver<bool>,
    broken: Arc<AtomicBool>,
    stopping: CancellationToken,
) -> anyhow::Result<std::thread::JoinHandle<()>> {
    let (asked_to_stop, runtime) = (stopping.clone(), tokio::runtime::Handle::current());
    let work = move || {
        // What was accepted before the plugins are there waits for them, as the journal's backlog does.
        match runtime.block_on(is_over(first_look, asked_to_stop)) {
            true => Worker::new(parts).and_then(Worker::run),
            false => Ok(()),
        }
    };
    let run = move || watch_over(work, &broken, &stopping);
    std::thread::Builder::new()
        .name("worker".into())
        .stack_size(WORKER_STACK_BYTES)
        .spawn(run)
        .context("start the worker")
}

/// Runs the worker. The server must not go on accepting what nobody applies, whatever ended it.
fn watch_over(work: impl FnOnce() -> Result<(), WorkerError>, broken: &AtomicBool, stopping: &CancellationToken) {
    let why = match std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
        Ok(Ok(())) if stopping.is_cancelled() => return,
        Ok(Ok(())) => "the journal's thread ended although no stop was asked for".to_owned(),
        Ok(Err(error @ WorkerError::Held)) => return tracing::warn!("{error}"),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "panic; its place is on standard error".to_owned(),
    };
    tracing::error!("worker stopped; nothing accepted is lost, the next start goes on from the journal: {why}");
    broken.store(true, Ordering::SeqCst);
    stopping.cancel();
}

/// Waits until a stop is asked for, then lets running requests end within the time allowed.
async fn drain(
    server: tokio::task::JoinHandle<()>,
    stopping: CancellationToken,
    allowed: Duration,
) -> anyhow::Result<()> {
    stopping.cancelled().await;
    match tokio::time::timeout(allowed, server).await {
        Ok(served) => served.context("serve"),
        Err(_) => {
            tracing::warn!("some clients kept their connections; closing them");
            Ok(())
        }
    }
}

/// The first SIGTERM or Ctrl-C asks for a stop, the second stops at once.
fn listen_for_signals(stopping: CancellationToken) -> anyhow::Result<()> {
    use signal_hook::consts::{SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]).context("listen for signals")?;
    let run = move || {
        for signal in signals.forever() {
            if stopping.is_cancelled() {
                tracing::warn!("second signal; stopping at once");
                std::process::exit(128 + signal);
            }
            tracing::info!("stopping: finishing requests and applying what was accepted");
            stopping.cancel();
        }
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(run)
        .context("listen for signals")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_that_ends_unasked_stops_the_server() {
        let end_of = |asked: bool, end: fn() -> Result<(), WorkerError>| {
            let (broken, stopping) = (AtomicBool::new(false), CancellationToken::new());
            if asked {
                stopping.cancel();
            }
            watch_over(end, &broken, &stopping);
            (broken.into_inner(), stopping.is_cancelled())
        };
        assert_eq!(end_of(true, || Ok(())), (false, true), "a stop was asked for");
        assert_eq!(end_of(false, || Ok(())), (true, true), "the journal's thread died");
        let failed = || Err(WorkerError::Journal("gone".to_owned()));
        assert_eq!(end_of(false, failed), (true, true));
        assert_eq!(end_of(true, failed), (true, true));
        assert_eq!(end_of(true, || Err(WorkerError::Held)), (false, true));
        assert_eq!(end_of(false, || panic!("as a bug would")), (true, true));
    }
}
