//! `donjon serve`: opens the data, starts the parts in the order in which alerts pass them, and stops them in the same
//! order, so that nothing that was acknowledged is left unapplied. Knows no route and no rule.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use donjon_store::journal::{Durability, Journal, JournalOptions, RetentionPolicy};
use donjon_store::{DataDir, OpenError, Reopened, State, StateOptions};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::{self, Config};
use crate::http::auth::Auth;
use crate::http::{App, Shared};
use crate::intake::{Intake, IntakeOptions, Progress};
use crate::telemetry::{self, Metrics};
use crate::worker::{Worker, WorkerError, WorkerParts};

mod plugin_wiring;
mod starter;

/// How often the end of the worker is looked for while stopping.
const STOP_POLL: Duration = Duration::from_millis(10);

/// The data directory or the address cannot be used: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct WrongSetUp(String);

/// Runs the server until it is told to stop.
///
/// # Errors
/// When it cannot start, or derived state cannot be written any more.
pub fn run(config: Config, manual_clock: bool) -> anyhow::Result<()> {
    telemetry::start_log(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the async runtime")?;
    let handle = runtime.handle().clone();
    let result = runtime.block_on(serve(config, manual_clock, handle));
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

/// The durable parts, opened.
struct Opened {
    dir: DataDir,
    journal: Journal,
    state: State,
}

fn open(config: &config::Storage) -> anyhow::Result<Opened> {
    let wrong = |error: OpenError| anyhow::Error::from(WrongSetUp(error.to_string()));
    let dir = DataDir::open(&config.data_dir).map_err(wrong)?;
    let durability = match config.durability {
        config::Durability::Fsync => Durability::Fsync,
        config::Durability::Buffered => Durability::Buffered,
    };
    let options = JournalOptions {
        durability,
        segment_bytes: config.segment_bytes,
        ..JournalOptions::default()
    };
    let (journal, report) =
        Journal::open(dir.journal(), options).map_err(|error| WrongSetUp(format!("open the journal: {error}")))?;
    if let Some(torn) = &report.torn {
        tracing::warn!(
            bytes = torn.bytes,
            "cut a torn tail off the journal; it was never acknowledged"
        );
    }
    for damage in &report.damage {
        tracing::error!(?damage, "journal is damaged; the entries of this block are lost");
    }
    let (state, reopened) = State::open(
        dir.state(),
        StateOptions {
            cache_bytes: config.cache_bytes,
        },
    )
    .map_err(|error| WrongSetUp(error.to_string()))?;
    if let Reopened::Rebuilt { moved_to, why } = reopened {
        tracing::error!(moved_to = %moved_to.display(), "derived state did not open and is rebuilt from the journal: {why}");
    }
    Ok(Opened { dir, journal, state })
}

async fn serve(config: Config, manual_clock: bool, handle: tokio::runtime::Handle) -> anyhow::Result<()> {
    let stopping = CancellationToken::new();
    listen_for_signals(stopping.clone())?;
    let Opened { dir, journal, state } = open(&config.storage)?;
    let clock = if manual_clock { Clock::manual() } else { Clock::System };
    let metrics = Arc::new(Metrics::default());
    let (reader, state_reader) = (journal.reader(), state.reader().clone());
    let progress = Arc::new(Progress::new(reader.last_seq(), state.reader().applied()?));
    let (committed_sender, committed) = watch::channel(state.reader().outbox_last()?);
    let (replayed_sender, replayed) = watch::channel(false);

    let plugins = plugin_wiring::start(&config, &dir, state.reader(), &metrics).await?;
    let listener = bind(config.server.listen).await?;
    let options = IntakeOptions {
        max_lag_entries: config.ingest.max_lag_entries,
        min_free_bytes: config.storage.min_free_bytes,
        data_dir: dir,
        retention: RetentionPolicy {
            max_age_days: config.storage.retention_days,
            max_bytes: config.storage.max_journal_bytes,
        },
    };
    let (intake, groups, journal_thread) = Intake::start(
        journal,
        options,
        clock.clone(),
        Arc::clone(&progress),
        Arc::clone(&metrics),
    )?;
    let broken = Arc::new(AtomicBool::new(false));
    let parts = WorkerParts {
        state,
        journal: reader.clone(),
        groups,
        plugins: plugins.directory.set(),
        pending_kv: plugins.pending_kv,
        stopping: stopping.clone(),
        required_plugins: required_plugins(&config),
        runtime: handle,
        progress: Arc::clone(&progress),
        committed: committed_sender,
        replayed: replayed_sender,
        metrics: Arc::clone(&metrics),
        max_batch_entries: config.ingest.max_batch_entries,
        flush_every: Duration::from_millis(config.storage.flush_ms),
    };
    let worker = spawn_worker(parts, Arc::clone(&broken), stopping.clone())?;
    let app: Shared = Arc::new(App {
        state: state_reader,
        journal: reader,
        intake: intake.clone(),
        clock,
        auth: Auth::new(&config.auth)?,
        limits: config.ingest.clone(),
        metrics,
        plugins: plugins.directory,
        plugin_changes: plugins.changes,
        committed,
        replayed,
        broken: Arc::clone(&broken),
        stopping: stopping.clone(),
    });
    if let Some(file) = &config.rules.starter_file {
        tokio::spawn(starter::apply(Arc::clone(&app), file.clone()));
    }
    let address = listener.local_addr().context("read the bound address")?;
    say_address(address)?;
    let router = crate::api::router(Arc::clone(&app), config.ingest.max_body_bytes, manual_clock);
    let drained = drain(
        listener,
        router,
        stopping,
        Duration::from_secs(config.server.drain_seconds),
    )
    .await;
    // From here on nothing is accepted; what was accepted is applied before the data is closed.
    intake.stop();
    app.plugins.shutdown().await;
    drop((intake, app));
    finish(journal_thread, worker).await;
    anyhow::ensure!(
        !broken.load(Ordering::SeqCst),
        "derived state could not be written; see the log, then start again"
    );
    tracing::info!("stopped; everything accepted is applied");
    drained
}

async fn bind(listen: SocketAddr) -> anyhow::Result<TcpListener> {
    let wrong =
        |error: std::io::Error| WrongSetUp(format!("listen on {listen}: {error}; is another server running there?"));
    Ok(TcpListener::bind(listen).await.map_err(wrong)?)
}

/// The first line on standard output, for people and scripts.
fn say_address(address: SocketAddr) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "listening on http://{address}").context("write to standard output")?;
    out.flush().context("write to standard output")
}

fn required_plugins(config: &Config) -> Vec<String> {
    let required = |plugin: &config::Plugin| plugin.policy == config::PluginPolicy::Required;
    config
        .plugins
        .iter()
        .filter(|(_, plugin)| required(plugin))
        .map(|(name, _)| name.clone())
        .collect()
}

fn spawn_worker(
    parts: WorkerParts,
    broken: Arc<AtomicBool>,
    stopping: CancellationToken,
) -> anyhow::Result<std::thread::JoinHandle<()>> {
    let run = move || {
        if let Err(error) = Worker::new(parts).and_then(Worker::run) {
            if matches!(error, WorkerError::Held) {
                tracing::warn!("{error}");
                return;
            }
            tracing::error!(%error, "worker stopped; nothing accepted is lost, the next start goes on from the journal");
            broken.store(true, Ordering::SeqCst);
            stopping.cancel();
        }
    };
    std::thread::Builder::new()
        .name("worker".into())
        .spawn(run)
        .context("start the worker")
}

/// Serves until a stop is asked for, then lets running requests end within the time allowed.
async fn drain(
    listener: TcpListener,
    router: axum::Router,
    stopping: CancellationToken,
    allowed: Duration,
) -> anyhow::Result<()> {
    let asked = stopping.clone();
    let server = axum::serve(listener, router).with_graceful_shutdown(async move { asked.cancelled().await });
    let server = tokio::spawn(server.into_future());
    stopping.cancelled().await;
    match tokio::time::timeout(allowed, server).await {
        Ok(Ok(served)) => served.context("serve"),
        Ok(Err(error)) => Err(error).context("serve"),
        Err(_) => {
            tracing::warn!("some clients kept their connections; closing them");
            Ok(())
        }
    }
}

/// Waits for journal and worker; both end once the last intake handle is gone.
async fn finish(journal: std::thread::JoinHandle<Journal>, worker: std::thread::JoinHandle<()>) {
    while !(journal.is_finished() && worker.is_finished()) {
        tokio::time::sleep(STOP_POLL).await;
    }
    if journal.join().is_err() || worker.join().is_err() {
        tracing::error!("a thread panicked while stopping; the next start goes on from the journal");
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
