//! The next copy of a plugin: made in the background as soon as one breaks, and kept warm from then on, so that the next
//! break costs the exchange of a pointer. A plugin that never broke has no spare: it would only take memory. Whoever needs
//! a copy waits for it no longer than may be, whatever it is waited for. Knows no calls with alerts.

use std::sync::Arc;
use std::time::Duration;

use donjon_core::TenantId;
use tokio::task::JoinHandle;

use crate::errors::{CallError, StartStep};
use crate::given_rules::GivenRules;
use crate::guard::Budget;
use crate::instance::{Blueprint, Instance};
use crate::limits::Limits;

/// What every new copy has to be told.
#[derive(Clone)]
pub(crate) struct Lessons {
    pub(crate) tenant: TenantId,
    pub(crate) rules: Arc<GivenRules>,
}

/// How long a copy is waited for that is not there.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RestartPatience {
    /// Where one broke.
    pub(crate) broken: Duration,
    /// Where nothing broke: it is the first of its tenant, or was let go for its memory. Its plugin is not to blame.
    pub(crate) new: Duration,
}

impl RestartPatience {
    /// What alerts wait for is waited for as long as making it may take; nothing else is missed for longer than a call of
    /// it may take.
    pub(crate) fn of_alerts(is_required: bool, limits: &Limits) -> RestartPatience {
        match is_required {
            true => RestartPatience {
                broken: limits.making_wall(),
                new: limits.making_wall(),
            },
            false => RestartPatience {
                broken: limits.restart_wait,
                new: limits.call_wall,
            },
        }
    }

    /// Rules are tried beside what serves.
    pub(crate) fn of_rules(limits: &Limits) -> RestartPatience {
        RestartPatience {
            broken: limits.configure_wall,
            new: limits.making_wall(),
        }
    }
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
        patience: RestartPatience,
    ) -> Result<Instance, CallError> {
        let wait = match self.broken_by {
            Some(_) => patience.broken,
            None => patience.new,
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

/// A new copy that knows its tenant, its configuration and its rules.
pub(crate) async fn make(blueprint: Arc<Blueprint>, lessons: Lessons) -> Result<Instance, CallError> {
    let restart = |step: StartStep, error: CallError| CallError::Restart {
        step,
        cause: error.to_string(),
    };
    let mut instance = blueprint
        .instantiate(&lessons.tenant)
        .await
        .map_err(|error| restart(StartStep::Instantiate, error))?;
    let begun = blueprint.set_up(&mut instance, &lessons.tenant).await;
    begun.map_err(|error| restart(StartStep::Init, error))?;
    if !lessons.rules.is_empty() {
        let (rules, in_force) = lessons.rules.all();
        let said = instance
            .configure(&rules, &in_force, Budget::configure(blueprint.limits()))
            .await;
        said.map_err(|error| restart(StartStep::Configure, error))?;
    }
    Ok(instance)
}
