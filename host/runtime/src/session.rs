//! The calls of one batch: each on an instance that knows the rules of the tenant, on top of what earlier calls of the
//! batch have written. The failure policy is in `judge.rs`.

use std::future::Future;
use std::marker::PhantomData;
use std::ops::Range;
use std::time::Instant;

use donjon_core::{TenantId, Timestamp};

use crate::bindings::correlator::exports::donjon::plugin::correlation::Findings;
use crate::bindings::enricher::exports::donjon::plugin::enrichment::Patch;
use crate::convert::{self, WitBatch};
use crate::counters::Counters;
use crate::errors::CallError;
use crate::guard::Budget;
use crate::instance::{Blueprint, Instance};
use crate::judge::JudgeCall;
use crate::kv::BatchWrites;
use crate::running::Running;

/// The call of a role that judges batches.
pub(crate) trait RoleCall {
    type Said: Send;

    fn run<'a>(
        instance: &'a mut Instance,
        batch: &'a WitBatch,
        budget: Budget,
    ) -> impl Future<Output = Result<Self::Said, CallError>> + Send + 'a;
}

pub(crate) struct Correlating;

impl RoleCall for Correlating {
    type Said = Findings;

    async fn run(instance: &mut Instance, batch: &WitBatch, budget: Budget) -> Result<Findings, CallError> {
        instance.correlate(batch, budget).await
    }
}

pub(crate) struct Enriching;

impl RoleCall for Enriching {
    type Said = Vec<Patch>;

    async fn run(instance: &mut Instance, batch: &WitBatch, budget: Budget) -> Result<Vec<Patch>, CallError> {
        instance.enrich(batch, budget).await
    }
}

pub(crate) struct Session<'a, R> {
    blueprint: &'a Blueprint,
    counters: &'a Counters,
    running: &'a mut Running,
    tenant: TenantId,
    batch: WitBatch,
    writes: BatchWrites,
    role: PhantomData<fn() -> R>,
}

impl<'a, R: RoleCall> Session<'a, R> {
    pub(crate) fn new(
        blueprint: &'a Blueprint,
        counters: &'a Counters,
        running: &'a mut Running,
        batch: WitBatch,
    ) -> Self {
        let tenant = convert::tenant(&batch);
        Session {
            blueprint,
            counters,
            running,
            tenant,
            batch,
            writes: BatchWrites::new(),
            role: PhantomData,
        }
    }

    /// What the calls that succeeded have written.
    pub(crate) fn into_writes(self) -> BatchWrites {
        self.writes
    }

    async fn attempt(&mut self, range: Range<usize>) -> Result<(usize, R::Said), CallError> {
        let limits = self.blueprint.limits();
        let (part, whole) = (range.len(), self.batch.keys.len());
        let instance = self.running.instance_for(&self.tenant, self.blueprint).await?;
        let sliced = (part < whole).then(|| convert::slice(&self.batch, range));
        let batch = sliced.as_ref().unwrap_or(&self.batch);
        instance.open_batch(Timestamp(batch.now), std::mem::take(&mut self.writes));
        let said = R::run(instance, batch, Budget::judge(limits, part, whole)).await;
        self.writes = instance.close_batch(said.is_ok());
        said.map(|said| (part, said))
    }
}

impl<R: RoleCall> JudgeCall for Session<'_, R> {
    type Answer = (usize, R::Said);

    async fn call(&mut self, range: Range<usize>) -> Result<Self::Answer, CallError> {
        let begun = Instant::now();
        let said = self.attempt(range).await;
        self.counters.count(begun.elapsed(), said.as_ref().err());
        if said.as_ref().is_err_and(|error| !error.spares_instance()) {
            self.running.instance = None;
        }
        said
    }
}
