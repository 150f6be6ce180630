//! What the calls of a plugin change: its instance, and what the next instance has to be told. A trap or time-out throws
//! the instance away; this is where the next one comes from.

use std::collections::BTreeMap;

use donjon_core::TenantId;

use crate::bindings::correlator::exports::donjon::plugin::correlation::RuleReport;
use crate::convert::WitRule;
use crate::errors::{CallError, StartStep};
use crate::guard::Budget;
use crate::instance::{Blueprint, Instance};
use crate::judge::Strikes;

/// What calls change.
#[derive(Default)]
pub(crate) struct Running {
    /// None after a trap or time-out.
    pub(crate) instance: Option<Instance>,
    /// The newest state that is known, for the next instance.
    pub(crate) state: Option<Vec<u8>>,
    /// What every new instance has to be told.
    pub(crate) rules: BTreeMap<TenantId, Vec<WitRule>>,
    pub(crate) strikes: Strikes,
}

impl Running {
    pub(crate) fn new(instance: Option<Instance>, state: Option<Vec<u8>>) -> Running {
        Running {
            instance,
            state,
            ..Running::default()
        }
    }

    /// The instance, or a new one that has been told everything but the rules.
    pub(crate) async fn instance(&mut self, blueprint: &Blueprint) -> Result<&mut Instance, CallError> {
        if self.instance.is_none() {
            let begun = match blueprint.begin(self.state.as_deref()).await {
                Err((StartStep::Restore, error)) => {
                    tracing::warn!("a plugin does not take its own state back and starts without it: {error}");
                    self.state = None;
                    blueprint.begin(None).await
                }
                begun => begun,
            };
            let restart = |(step, error): (StartStep, CallError)| CallError::Restart {
                step,
                cause: error.to_string(),
            };
            self.instance = Some(begun.map_err(restart)?);
        }
        self.instance.as_mut().ok_or_else(no_instance)
    }

    /// The instance, or a new one, that has the rules of a tenant.
    pub(crate) async fn instance_for(
        &mut self,
        tenant: &TenantId,
        blueprint: &Blueprint,
    ) -> Result<&mut Instance, CallError> {
        self.instance(blueprint).await?;
        let instance = self.instance.as_mut().ok_or_else(no_instance)?;
        if let Some(rules) = self.rules.get(tenant).filter(|_| !instance.ready.contains(tenant)) {
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
        blueprint: &Blueprint,
        tenant: &TenantId,
        rules: Vec<WitRule>,
    ) -> Result<Vec<RuleReport>, CallError> {
        let instance = self.instance(blueprint).await?;
        let budget = Budget::configure(blueprint.limits());
        let said = instance.configure(tenant.as_str(), &rules, budget).await;
        match &said {
            Ok(_) => {
                instance.ready.insert(tenant.clone());
                self.rules.insert(tenant.clone(), rules);
            }
            // The instance may have forgotten the rules it had: the next batch gives them to it again.
            Err(error) if error.spares_instance() => drop(instance.ready.remove(tenant)),
            Err(_) => self.instance = None,
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
