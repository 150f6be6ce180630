//! The next copy of a plugin: made in the background as soon as one breaks, and kept warm from then on, so that the next
//! break costs the exchange of a pointer. A plugin that never broke has no spare: it would only take memory. Whoever needs
//! a copy waits for it no longer than may be. Knows no calls with alerts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use donjon_core::TenantId;
use tokio::task::JoinHandle;

use crate::convert::WitRule;
use crate::errors::{CallError, StartStep};
use crate::guard::Budget;
use crate::instance::{Blueprint, Instance};

/// What every new copy has to be told.
#[derive(Clone, Default)]
pub(crate) struct Lessons {
    /// The newest state that is known.
    pub(crate) state: Option<Vec<u8>>,
    pub(crate) rules: Arc<BTreeMap<TenantId, Vec<WitRule>>>,
}

/// The copy after the one that serves.
#[derive(Default)]
pub(crate) struct Spare {
    making: Option<JoinHandle<Result<Instance, CallError>>>,
    /// Why the newest copy is gone.
    broken_by: Option<String>,
}

impl Spare {
    /// The serving copy broke: the next one is made, if it is not there already.
    pub(crate) fn needed(&mut self, blueprint: &Arc<Blueprint>, lessons: &Lessons, broken_by: &CallError) {
        self.broken_by = Some(broken_by.to_string());
        self.begin(blueprint, lessons);
    }

    /// What copies are told has changed: a spare made before is of no use.
    pub(crate) fn renew(&mut self, blueprint: &Arc<Blueprint>, lessons: &Lessons) {
        if let Some(making) = self.making.take() {
            making.abort();
            self.begin(blueprint, lessons);
        }
    }

    /// The spare copy, once it is there.
    ///
    /// # Errors
    /// It is not there in time, and comes later; or it cannot be made.
    pub(crate) async fn take(
        &mut self,
        blueprint: &Arc<Blueprint>,
        lessons: &Lessons,
        patience: Duration,
    ) -> Result<Instance, CallError> {
        self.begin(blueprint, lessons);
        let Some(making) = self.making.as_mut() else {
            return Err(self.none());
        };
        // A copy that nothing broke is only new, and is waited for: making it has limits of its own.
        let made = match self.broken_by {
            Some(_) => tokio::time::timeout(patience, making).await.ok(),
            None => Some(making.await),
        };
        let Some(made) = made else {
            return Err(self.none());
        };
        self.making = None;
        let instance = made.unwrap_or_else(|_| Err(self.none()))?;
        if self.broken_by.is_some() {
            self.begin(blueprint, lessons);
        }
        Ok(instance)
    }

    /// The serving copy is given up though nothing broke it: the next one is made.
    pub(crate) fn wanted(&mut self, blueprint: &Arc<Blueprint>, lessons: &Lessons) {
        self.begin(blueprint, lessons);
    }

    /// Whether a copy waits to be used.
    pub(crate) fn is_made(&self) -> bool {
        self.making.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Lets a copy go that waits to be used.
    pub(crate) fn let_go(&mut self) {
        if self.is_made() {
            self.making = None;
        }
    }

    fn begin(&mut self, blueprint: &Arc<Blueprint>, lessons: &Lessons) {
        if self.making.is_none() {
            let making = make(Arc::clone(blueprint), lessons.clone());
            self.making = Some(tokio::spawn(making));
        }
    }

    fn none(&self) -> CallError {
        CallError::NoInstance {
            cause: self.broken_by.clone().unwrap_or_else(|| "none".to_owned()),
        }
    }
}

/// A new copy that knows its configuration, its state and all rules.
async fn make(blueprint: Arc<Blueprint>, lessons: Lessons) -> Result<Instance, CallError> {
    let restart = |step: StartStep, error: CallError| CallError::Restart {
        step,
        cause: error.to_string(),
    };
    let begun = match blueprint.begin(lessons.state.as_deref()).await {
        Err((StartStep::Restore, error)) => {
            tracing::warn!("a plugin does not take its own state back and starts without it: {error}");
            blueprint.begin(None).await
        }
        begun => begun,
    };
    let mut instance = begun.map_err(|(step, error)| restart(step, error))?;
    for (tenant, rules) in lessons.rules.iter() {
        let budget = Budget::configure(blueprint.limits());
        let said = instance.configure(tenant.as_str(), rules, budget).await;
        said.map_err(|error| restart(StartStep::Configure, error))?;
        instance.ready.insert(tenant.clone());
    }
    Ok(instance)
}
