//! What the worker sees of a plugin: calls that answer, one after the other. The seam for everything that is no component,
//! such as the scripted plugins of the simulation. Knows neither components nor async code.

use std::sync::Arc;

use donjon_core::TenantId;
use donjon_core::batch::{Batch, RuleReport, RuleSpec};

use crate::convert::Description;
use crate::counters::PluginCounters;
use crate::errors::CallError;
use crate::pace::MOST_ALERTS;
use crate::plugin::{Configured, CorrelateOutcome, EnrichOutcome};
use crate::roles::{Role, Roles};

/// A plugin that serves. The calls wait for their answer: never from a task of the async runtime.
pub trait PluginCalls: Send + Sync {
    /// The name it is loaded under.
    fn name(&self) -> &str;

    /// The version it gives itself.
    fn version(&self) -> &str;

    /// What tells two files of one name apart.
    fn hash(&self) -> &str;

    /// Its roles.
    fn roles(&self) -> Roles;

    /// What it says about itself.
    fn description(&self) -> &Description;

    /// The rules of a tenant that it has, and what it made of them.
    fn configured(&self, tenant: &TenantId) -> Option<Configured>;

    /// Gives it the rules of a tenant. If it fails, it keeps the rules it had.
    ///
    /// # Errors
    /// It is no correlator, it refused, or it broke.
    fn configure(&self, tenant: &TenantId, version: u64, rules: &[RuleSpec]) -> Result<Configured, CallError>;

    /// Tries the rules of a tenant beside what serves; the same rules given to `configure` are then in force at once.
    ///
    /// # Errors
    /// It is no correlator, it refused, or it broke. What serves is as it was.
    fn prepare(&self, tenant: &TenantId, rules: &[RuleSpec]) -> Result<Arc<[RuleReport]>, CallError>;

    /// How many alerts the next call of a role should get.
    fn slice_alerts(&self, _role: Role) -> usize {
        MOST_ALERTS
    }

    /// Whether alerts wait for it: then its failures are looked into to the end, however long that takes.
    fn set_required(&self, _required: bool) {}

    /// Judges a batch. Never fails as a whole: what goes wrong is said alert by alert.
    fn correlate(&self, batch: Batch) -> CorrelateOutcome;

    /// Asks for changes to a batch. Never fails as a whole: what goes wrong is said alert by alert.
    fn enrich(&self, batch: Batch) -> EnrichOutcome;

    /// Counts parts of an answer that the host did not take, with the reason in one or two words, and tells them in the
    /// log now and then.
    fn add_dropped(&self, reason: &'static str, count: u64);

    /// How its calls went so far.
    fn counters(&self) -> PluginCounters;
}
