//! The next copy of a plugin: made in the background as soon as one breaks, and kept warm from then on, so that the next
//! break costs the exchange of a pointer. A plugin that never broke has no spare: it would only take memory. Whoever needs
//! a copy waits for it no longer than may be, whatever it is waited for. Knows no calls with alerts.

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
    /// What broke the newest copy, unless it was let go since.
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
        // One that nothing broke is only new, or was let go for its memory: its plugin is not to blame, and is not missed
        // for it as long as making a copy may take.
        let wait = match self.broken_by {
            Some(_) => patience,
            None => blueprint.limits().making_wall(),
        };
        let was_under_way = self.making.is_some();
        let attempt = async {
            match self.made(blueprint, lessons).await {
                // Begun while another copy served, it may have failed for want of the memory that was that one's.
                Err(_) if was_under_way => self.made(blueprint, lessons).await,
                made => made,
            }
        };
        let Ok(made) = tokio::time::timeout(wait, attempt).await else {
            return Err(match self.broken_by {
                Some(_) => self.none(),
                None => CallError::StillMade { waited: wait },
            });
        };
        let instance = made?;
        if self.broken_by.is_some() {
            self.begin(blueprint, lessons);
        }
        Ok(instance)
    }

    /// The copy that is being made, or a new one.
    async fn made(&mut self, blueprint: &Arc<Blueprint>, lessons: &Lessons) -> Result<Instance, CallError> {
        self.begin(blueprint, lessons);
        let Some(making) = self.making.as_mut() else {
            return Err(self.none());
        };
        let made = making.await;
        self.making = None;
        made.unwrap_or_else(|_| Err(self.none()))
    }

    /// Whether a copy waits to be used.
    pub(crate) fn is_made(&self) -> bool {
        self.making.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Lets a copy go that waits to be used. The next one is made because it is needed again: nothing broke.
    pub(crate) fn let_go(&mut self) {
        self.broken_by = None;
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
pub(crate) async fn make(blueprint: Arc<Blueprint>, lessons: Lessons) -> Result<Instance, CallError> {
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
