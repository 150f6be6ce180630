//! What the calls of a plugin change: its instance, and what the next instance has to be told. A trap or time-out throws
//! the instance away; the next one comes from `spare.rs`.

use std::sync::Arc;
use std::time::Duration;

use donjon_core::TenantId;

use crate::bindings::correlator::exports::donjon::plugin::correlation::RuleReport;
use crate::convert::WitRule;
use crate::errors::{CallError, StartStep};
use crate::guard::Budget;
use crate::instance::{Blueprint, Instance};
use crate::judge::Strikes;
use crate::spare::{Lessons, Spare};

/// What calls change.
#[derive(Default)]
pub(crate) struct Running {
    /// None after a trap or time-out.
    pub(crate) instance: Option<Instance>,
    /// What every new instance has to be told.
    pub(crate) lessons: Lessons,
    spare: Spare,
    /// Bytes of the newest instance once it had its rules.
    at_rest: usize,
    pub(crate) strikes: Strikes,
}

impl Running {
    pub(crate) fn new(instance: Option<Instance>, state: Option<Vec<u8>>) -> Running {
        let lessons = Lessons {
            state,
            ..Lessons::default()
        };
        Running {
            instance,
            lessons,
            ..Running::default()
        }
    }

    /// Gives up an instance that calls made grow far beyond what its rules take: it never gives memory back. Only for one
    /// without a state of its own.
    pub(crate) fn replace_if_grown(&mut self, blueprint: &Arc<Blueprint>) {
        let Some(instance) = &self.instance else { return };
        self.at_rest = instance.memory_at_rest();
        if instance.has_grown(blueprint.limits()) {
            self.instance = None;
            self.spare.wanted(blueprint, &self.lessons);
        }
    }

    /// Lets the instance go until the next call, and the one that waits; answers their bytes. Its rules stay known.
    pub(crate) fn let_go(&mut self) -> usize {
        let bytes = self.memory_bytes();
        self.spare.let_go();
        self.instance = None;
        bytes
    }

    /// Bytes of the instance, and about as many of the one that waits.
    pub(crate) fn memory_bytes(&self) -> usize {
        let waits = if self.spare.is_made() { self.at_rest.max(1) } else { 0 };
        waits + self.instance.as_ref().map_or(0, Instance::memory_bytes)
    }

    /// The instance broke: it is thrown away, and the next one made.
    pub(crate) fn lose(&mut self, blueprint: &Arc<Blueprint>, error: &CallError) {
        self.instance = None;
        self.spare.needed(blueprint, &self.lessons, error);
    }

    /// The instance, or the next one as soon as it is there; one that broke is waited for no longer than `patience`.
    pub(crate) async fn instance(
        &mut self,
        blueprint: &Arc<Blueprint>,
        patience: Duration,
    ) -> Result<&mut Instance, CallError> {
        if self.instance.is_none() {
            self.instance = Some(self.spare.take(blueprint, &self.lessons, patience).await?);
        }
        self.instance.as_mut().ok_or_else(no_instance)
    }

    /// The instance, or the next one, that has the rules of a tenant.
    pub(crate) async fn instance_for(
        &mut self,
        tenant: &TenantId,
        blueprint: &Arc<Blueprint>,
        patience: Duration,
    ) -> Result<&mut Instance, CallError> {
        self.instance(blueprint, patience).await?;
        let instance = self.instance.as_mut().ok_or_else(no_instance)?;
        let rules = self.lessons.rules.get(tenant);
        // Only after it refused newer ones.
        if let Some(rules) = rules.filter(|_| !instance.ready.contains(tenant)) {
            let said = instance
                .configure(tenant.as_str(), rules, Budget::configure(blueprint.limits()))
                .await;
            said.map_err(|e| CallError::Restart {
                step: StartStep::Configure,
                cause: e.to_string(),
            })?;
            instance.ready.insert(tenant.clone());
        }
        Ok(instance)
    }

    /// Gives the instance, or a new one, the rules of a tenant. If it fails, the next instance is given those before.
    pub(crate) async fn configure(
        &mut self,
        blueprint: &Arc<Blueprint>,
        tenant: &TenantId,
        rules: Vec<WitRule>,
    ) -> Result<Vec<RuleReport>, CallError> {
        let budget = Budget::configure(blueprint.limits());
        let instance = self.instance(blueprint, budget.wall).await?;
        let said = instance.configure(tenant.as_str(), &rules, budget).await;
        match &said {
            Ok(_) => {
                instance.ready.insert(tenant.clone());
                Arc::make_mut(&mut self.lessons.rules).insert(tenant.clone(), rules);
                self.spare.renew(blueprint, &self.lessons);
            }
            // The instance may have forgotten the rules it had: the next batch gives them to it again.
            Err(error) if error.spares_instance() => drop(instance.ready.remove(tenant)),
            Err(error) => self.lose(blueprint, &error.clone()),
        }
        said
    }
}

fn no_instance() -> CallError {
    CallError::Restart {
        step: StartStep::Instantiate,
        cause: "no instance".to_owned(),
    }
}
