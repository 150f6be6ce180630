//! The calls of one batch: each on an instance that knows the rules of the tenant, on top of what earlier calls of the
//! batch have written. The failure policy is in `judge.rs`.

use std::future::Future;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use donjon_core::batch::{Batch, Findings, Patch};
use donjon_core::{RuleId, Timestamp};

use crate::answers::{self, Asked, Checked};
use crate::convert::{self, WitBatch};
use crate::counters::Counters;
use crate::errors::CallError;
use crate::guard::Budget;
use crate::instance::{Blueprint, Instance};
use crate::judge::{JudgeCall, Patience};
use crate::kv::BatchWrites;
use crate::pace::Pace;
use crate::roles::Role;
use crate::running::Running;
use crate::spare::RestartPatience;
use crate::wasi::CallOrigin;

/// The call of a role that judges batches.
pub(crate) trait RoleCall {
    type Said: Send;
    const ROLE: Role;

    /// Calls it, and checks what it says before anybody believes it.
    fn run<'a>(
        instance: &'a mut Instance,
        asked: Asked<'a>,
        budget: Budget,
    ) -> impl Future<Output = Result<Checked<Self::Said>, CallError>> + Send + 'a;
}

pub(crate) struct Correlating;

impl RoleCall for Correlating {
    type Said = Findings;
    const ROLE: Role = Role::Correlator;

    async fn run(instance: &mut Instance, asked: Asked<'_>, budget: Budget) -> Result<Checked<Findings>, CallError> {
        let said = instance.correlate(asked.batch, budget).await?;
        answers::findings(said, &asked).map_err(|why| CallError::Malformed(why.to_string()))
    }
}

pub(crate) struct Enriching;

impl RoleCall for Enriching {
    type Said = Vec<Patch>;
    const ROLE: Role = Role::Enricher;

    async fn run(instance: &mut Instance, asked: Asked<'_>, budget: Budget) -> Result<Checked<Vec<Patch>>, CallError> {
        let said = instance.enrich(asked.batch, budget).await?;
        Ok(answers::patches(said, asked.batch.seqs.len(), asked.limits))
    }
}

pub(crate) struct Session<'a, R> {
    blueprint: &'a Arc<Blueprint>,
    /// How long the next instance is waited for.
    patience: RestartPatience,
    policies: &'a [RuleId],
    counters: &'a Counters,
    pace: &'a Pace,
    running: &'a mut Running,
    batch: WitBatch,
    writes: BatchWrites,
    wrote_too_much: bool,
    role: PhantomData<fn() -> R>,
}

impl<'a, R: RoleCall> Session<'a, R> {
    pub(crate) fn new(
        (blueprint, policies, patience): (&'a Arc<Blueprint>, &'a [RuleId], Patience),
        (counters, pace): (&'a Counters, &'a Pace),
        running: &'a mut Running,
        batch: Batch,
    ) -> Self {
        Session {
            blueprint,
            patience: RestartPatience::of_alerts(patience == Patience::Long, blueprint.limits()),
            policies,
            counters,
            pace,
            running,
            batch: convert::batch(batch),
            writes: BatchWrites::new(),
            wrote_too_much: false,
            role: PhantomData,
        }
    }

    /// What the calls that succeeded have written, and whether one wanted to write more than a batch may, be it that it
    /// failed then or went on without.
    pub(crate) fn into_writes(self) -> (BatchWrites, bool) {
        (self.writes, self.wrote_too_much)
    }

    async fn attempt(&mut self, range: Range<usize>) -> Result<Checked<R::Said>, CallError> {
        let (part, whole) = (range.len(), self.batch.seqs.len());
        let rules = Arc::clone(self.running.rules());
        let sliced = (part < whole).then(|| convert::slice(&self.batch, self.running.tenant(), range));
        let tenant = self.running.tenant().clone();
        let instance = self.running.instance(self.blueprint, self.patience).await?;
        let asked = Asked {
            batch: sliced.as_ref().unwrap_or(&self.batch),
            rules: &rules,
            policies: self.policies,
            limits: self.blueprint.limits(),
        };
        let first = CallOrigin {
            seq: asked.batch.seqs.first().copied().unwrap_or(0),
            accepted: Timestamp(asked.batch.accepted.first().copied().unwrap_or(0)),
        };
        instance.open_batch(&tenant, first, std::mem::take(&mut self.writes));
        let begun = Instant::now();
        let said = R::run(instance, asked, Budget::judge(self.blueprint.limits())).await;
        match &said {
            Ok(_) => self.pace.took(part, begun.elapsed()),
            Err(error) if error.is_time_out() => self.pace.timed_out(part),
            Err(_) => {}
        }
        let (writes, refused_by_batch) = instance.close_batch(said.is_ok());
        self.writes = writes;
        self.wrote_too_much |= refused_by_batch;
        said
    }
}

impl<R: RoleCall> JudgeCall for Session<'_, R> {
    type Answer = Checked<R::Said>;

    async fn call(&mut self, range: Range<usize>) -> Result<Self::Answer, CallError> {
        let begun = Instant::now();
        let said = self.attempt(range).await;
        self.counters
            .count(begun.elapsed(), said.as_ref().err(), Some(self.running.tenant()));
        if let Err(error) = &said
            && !error.spares_instance()
        {
            self.running.lose(self.blueprint, error);
        }
        said
    }
}
