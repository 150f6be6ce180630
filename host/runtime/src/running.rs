//! What the calls of a plugin change: its instance, and what the next instance has to be told. A trap or time-out throws
//! the instance away; the next one comes from `spare.rs`. One that grew serves on until a smaller one is there.

use std::sync::{Arc, Weak};
use std::time::Instant;

use donjon_core::TenantId;
use donjon_core::batch::{RuleReport, RuleSpec};
use tokio::sync::Mutex;

use crate::convert::Reports;
use crate::counters::Counters;
use crate::errors::{CallError, StartStep};
use crate::given_rules::GivenRules;
use crate::growth::Growth;
use crate::guard::Budget;
use crate::instance::{Blueprint, Instance};
use crate::judge::Strikes;
use crate::spare::{self, Lessons, RestartPatience, Spare};

/// By this part of its limit a copy may grow before it is thought of making it again.
const GROWN_PART: usize = 8;

/// What calls change.
pub(crate) struct Running {
    /// None after a trap or time-out, and after it was let go.
    instance: Option<Instance>,
    /// What every new instance has to be told.
    pub(crate) lessons: Lessons,
    spare: Spare,
    /// Bytes of the newest instance once it had its rules.
    at_rest: usize,
    growth: Growth,
    /// Lives as long as an instance is being made in place of one that grew.
    replacing: Weak<()>,
    pub(crate) strikes: Strikes,
}

impl Running {
    pub(crate) fn new(tenant: TenantId, instance: Option<Instance>) -> Running {
        Running {
            instance,
            lessons: Lessons {
                tenant,
                rules: Arc::default(),
            },
            spare: Spare::default(),
            at_rest: 0,
            growth: Growth::default(),
            replacing: Weak::default(),
            strikes: Strikes::default(),
        }
    }

    /// Whose alerts it sees.
    pub(crate) fn tenant(&self) -> &TenantId {
        &self.lessons.tenant
    }

    /// The rules that it was given.
    pub(crate) fn rules(&self) -> &Arc<GivenRules> {
        &self.lessons.rules
    }

    /// Whether it has an instance at the moment.
    pub(crate) fn is_live(&self) -> bool {
        self.instance.is_some()
    }

    fn install(&mut self, instance: Instance) -> &mut Instance {
        self.growth.begin_copy();
        self.at_rest = instance.memory_at_rest();
        self.instance.insert(instance)
    }

    /// After a call: whether the instance is to be made again because calls made it grow.
    fn is_worth_replacing(&mut self, blueprint: &Blueprint) -> bool {
        let Some(instance) = &self.instance else { return false };
        self.at_rest = instance.memory_at_rest();
        let slack = blueprint.limits().memory_bytes / GROWN_PART;
        // Where memory is short, it is not the others who go for it: this copy itself may be let go once it is idle.
        let has_room = blueprint.total_memory().has_room(self.at_rest);
        let is_being_replaced = self.replacing.strong_count() > 0;
        has_room
            && !is_being_replaced
            && self
                .growth
                .is_worth_replacing(instance.memory_bytes(), self.at_rest, slack)
    }

    /// Lets this instance serve in place of a larger one, unless that broke or was given other rules meanwhile; answers
    /// the bytes that this gave back.
    fn replace_with(&mut self, made: Instance, rules: &Arc<GivenRules>) -> Option<usize> {
        let larger = self.instance.as_ref()?.memory_bytes();
        let given_back = larger.checked_sub(made.memory_bytes()).filter(|bytes| *bytes > 0)?;
        Arc::ptr_eq(&self.lessons.rules, rules).then(|| {
            self.install(made);
            given_back
        })
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

    /// The instance with its rules, or the next one as soon as it is there; one that broke is waited for no longer than
    /// `patience`.
    pub(crate) async fn instance(
        &mut self,
        blueprint: &Arc<Blueprint>,
        patience: RestartPatience,
    ) -> Result<&mut Instance, CallError> {
        if self.instance.is_none() {
            let next = self.spare.take(blueprint, &self.lessons, patience).await?;
            return Ok(self.install(next));
        }
        self.instance.as_mut().ok_or_else(no_instance)
    }

    /// Gives the instance, or a new one, other rules. If it fails, the next instance is given those before.
    pub(crate) async fn configure(
        &mut self,
        blueprint: &Arc<Blueprint>,
        rules: &[RuleSpec],
    ) -> Result<Vec<RuleReport>, CallError> {
        let limits = Arc::clone(blueprint.limits());
        let budget = Budget::configure(&limits);
        let Some(change) = self.lessons.rules.change_to(rules) else {
            return Err(CallError::refused(
                "too many changes of rules for one copy; load the plugin again",
            ));
        };
        let instance = self.instance(blueprint, RestartPatience::of_rules(&limits)).await?;
        match instance.configure(&change.changed, &change.in_force, budget).await {
            Ok(said) => {
                let mut said = Reports::new(said);
                let (rules, reports) = change.done(|handle, rule| said.take(handle, rule, &limits));
                self.lessons.rules = Arc::new(rules);
                self.spare.renew(blueprint, &self.lessons);
                Ok(reports)
            }
            // It may have taken half of the rules: the next instance is given those before.
            Err(error) if error.spares_instance() => {
                self.instance = None;
                Err(error)
            }
            Err(error) => {
                self.lose(blueprint, &error);
                Err(error)
            }
        }
    }
}

/// After a call on `running`, which `lane` holds: makes the copy again if calls made it grow and that may give
/// memory back for good (`growth.rs`). It serves until the next one is there: nobody waits, and nothing is judged by a cold
/// copy for longer than there is a reason.
pub(crate) fn replace_if_grown(
    lane: &Arc<Mutex<Running>>,
    running: &mut Running,
    blueprint: &Arc<Blueprint>,
    counters: &Arc<Counters>,
) {
    if !running.is_worth_replacing(blueprint) {
        return;
    }
    let token = Arc::new(());
    running.replacing = Arc::downgrade(&token);
    let lessons = running.lessons.clone();
    let (lane, blueprint, counters) = (Arc::downgrade(lane), Arc::clone(blueprint), Arc::clone(counters));
    tokio::spawn(async move {
        let _token = token;
        let rules = Arc::clone(&lessons.rules);
        let made = match spare::make(Arc::clone(&blueprint), lessons).await {
            Ok(made) => made,
            Err(error) => {
                let plugin = blueprint.name();
                tracing::warn!(
                    plugin,
                    "a copy that grew is kept, as the next one cannot be made: {error}"
                );
                return;
            }
        };
        let Some(lane) = lane.upgrade() else { return };
        let Some(bytes) = lane.lock().await.replace_with(made, &rules) else {
            return;
        };
        if let Some(replaced) = counters.add_replaced(Instant::now()) {
            let plugin = blueprint.name();
            tracing::info!(
                plugin,
                replaced,
                bytes,
                "copies of the plugin were made again because calls made them grow; the newest gave back so many bytes"
            );
        }
    });
}

fn no_instance() -> CallError {
    CallError::Restart {
        step: StartStep::Instantiate,
        cause: "no instance".to_owned(),
    }
}
