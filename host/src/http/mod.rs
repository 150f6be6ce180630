//! What `api` and `ingest` share: the parts a handler needs, who is calling, and how errors look. Knows no route.

pub mod auth;
pub mod body;
pub mod browsers;
mod connection;
pub mod connections;
pub mod error;
pub mod guards;
pub mod in_flight;
pub mod pieces;
pub mod reads;
pub mod shares;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use donjon_core::command::{Command, CommandOutcome, Guard};
use donjon_core::settle::answered_before;
use donjon_store::StateReader;
use donjon_store::journal::JournalReader;
use tokio::sync::watch;

use crate::clock::Clock;
use crate::config::Ingest;
use crate::intake::{Applied, Holding, Intake, Item};
use crate::line::LineStatus;
use crate::plugins::PluginDirectory;
use crate::rule_changes::RuleChanges;
use crate::telemetry::Metrics;
use auth::{Auth, Caller};
use error::ApiError;
use reads::{Pace, Work};

/// How long a client is kept waiting for what is durable to be applied.
pub const APPLY_WAIT: Duration = Duration::from_secs(60);

/// What handlers work with. Reads go to committed state and the journal, never to the worker's memory.
pub struct App {
    /// Committed derived state.
    pub state: StateReader,
    /// The alert history.
    pub journal: JournalReader,
    /// The way in for alerts and commands.
    pub intake: Intake,
    /// The time.
    pub clock: Clock,
    /// Who may do what.
    pub auth: Auth,
    /// Limits of ingest.
    pub limits: Ingest,
    /// What requests hold in memory before the journal has it.
    pub in_flight: Arc<in_flight::ByteBudget>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// The plugins.
    pub plugins: PluginDirectory,
    /// What holds the line, or hampers it.
    pub line: Arc<LineStatus>,
    /// Tries changes of rules before they are taken.
    pub rule_changes: RuleChanges,
    /// Grows with every change in the plugin directory.
    pub plugin_changes: watch::Receiver<u64>,
    /// Everything up to this entry is committed.
    pub committed: watch::Receiver<donjon_core::Seq>,
    /// Whether the journal is replayed.
    pub replayed: watch::Receiver<bool>,
    /// Set when the worker had to give up.
    pub broken: Arc<AtomicBool>,
    /// How much may be read at a time.
    pub reads: reads::Reads,
    /// Ends long answers at a stop.
    pub stopping: tokio_util::sync::CancellationToken,
}

/// The parts, shared.
pub type Shared = Arc<App>;

impl App {
    /// Gives a command and waits until it is applied.
    ///
    /// # Errors
    /// When it was refused; or it is not applied in time, although it will be.
    pub async fn command(&self, caller: &Caller, guard: Guard, command: Command) -> Result<CommandOutcome, ApiError> {
        let item = Item::Command {
            actor: caller.name.clone(),
            guard,
            command,
        };
        // In the queue before the journal it stays counted as its body was, whether or not its sender still waits.
        let holding = caller.admitted.clone().map(|admitted| admitted as Arc<dyn Holding>);
        let tenant = caller.tenant.clone();
        let receipt = self.intake.accept_holding(tenant, vec![item], true, holding).await?;
        let outcomes = receipt.outcomes(APPLY_WAIT).await;
        let outcomes = outcomes.ok_or_else(|| ApiError::not_yet_applied(APPLY_WAIT))?;
        match outcomes.into_iter().next().flatten() {
            Some(Applied::Command(outcome)) => told(outcome),
            _ => Err(ApiError::internal("a command was answered as if it were an alert")),
        }
    }

    /// What a command with this guard was answered before, for those that are refused before they are given: the first
    /// time it was let through, and that is what counts.
    ///
    /// # Errors
    /// When it was answered with an error, or committed state cannot be read.
    pub async fn answer_of(
        self: &Arc<Self>,
        caller: &Caller,
        guard: &Guard,
    ) -> Result<Option<CommandOutcome>, ApiError> {
        let Some(key) = guard.once else {
            return Ok(None);
        };
        let (app, tenant) = (Arc::clone(self), caller.tenant.clone());
        let read = move |_: &Pace| Ok(answered_before(&app.state, &tenant, &key, app.clock.now())?);
        let reads = self.reads.of(&caller.tenant);
        reads.run(Work::LookUp, read).await?.map(told).transpose()
    }
}

/// Outcomes that are the same error for every command.
fn told(outcome: CommandOutcome) -> Result<CommandOutcome, ApiError> {
    match outcome {
        CommandOutcome::NotStorable { why } => Err(ApiError::not_storable(&why)),
        CommandOutcome::ConditionFailed(present) => Err(ApiError::condition_failed(present)),
        CommandOutcome::KeyReused => Err(ApiError::key_reused()),
        outcome => Ok(outcome),
    }
}
