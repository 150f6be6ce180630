//! The calls of one batch: each on an instance that knows the rules of the tenant, on top of what earlier calls of the
//! batch have written. The failure policy is in `judge.rs`.

use std::future::Future;
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use donjon_core::{TenantId, Timestamp};

use crate::bindings::correlator::exports::donjon::plugin::correlation::Findings;
use crate::bindings::enricher::exports::donjon::plugin::enrichment::Patch;
use crate::convert::{self, WitBatch};
use crate::counters::Counters;
use crate::errors::CallError;
use crate::guard::Budget;
use crate::instance::{Blueprint, Instance};
use crate::judge::{JudgeCall, Patience};
use crate::kv::BatchWrites;
use crate::pace::Pace;
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
    blueprint: &'a Arc<Blueprint>,
    /// How long the next instance is waited for where one broke.
    restart_wait: Duration,
    counters: &'a Counters,
    pace: &'a Pace,
    running: &'a mut Running,
    tenant: TenantId,
    batch: WitBatch,
    writes: BatchWrites,
    wrote_too_much: bool,
    role: PhantomData<fn() -> R>,
}

impl<'a, R: RoleCall> Session<'a, R> {
    pub(crate) fn new(
        (blueprint, patience): (&'a Arc<Blueprint>, Patience),
        (counters, pace): (&'a Counters, &'a Pace),
        running: &'a mut Running,
        batch: WitBatch,
    ) -> Self {
        let tenant = convert::tenant(&batch);
        Session {
            blueprint,
            restart_wait: match patience {
                Patience::Long => blueprint.limits().making_wall(),
                Patience::Short => blueprint.limits().restart_wait,
            },
            counters,
            pace,
            running,
            tenant,
            batch,
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

    async fn attempt(&mut self, range: Range<usize>) -> Result<(usize, R::Said), CallError> {
        let (part, whole) = (range.len(), self.batch.keys.len());
        let instance = self
            .running
            .instance_for(&self.tenant, self.blueprint, self.restart_wait)
            .await?;
        let sliced = (part < whole).then(|| convert::slice(&self.batch, range));
        let batch = sliced.as_ref().unwrap_or(&self.batch);
        instance.open_batch(&self.tenant, Timestamp(batch.now), std::mem::take(&mut self.writes));
        let begun = Instant::now();
        let said = R::run(instance, batch, Budget::judge(self.blueprint.limits())).await;
        match &said {
            Ok(_) => self.pace.took(part, begun.elapsed()),
            Err(error) if error.is_time_out() => self.pace.timed_out(part),
            Err(_) => {}
        }
        let (writes, refused_by_batch) = instance.close_batch(said.is_ok());
        self.writes = writes;
        self.wrote_too_much |= refused_by_batch;
        said.map(|said| (part, said))
    }
}

impl<R: RoleCall> JudgeCall for Session<'_, R> {
    type Answer = (usize, R::Said);

    async fn call(&mut self, range: Range<usize>) -> Result<Self::Answer, CallError> {
        let begun = Instant::now();
        let said = self.attempt(range).await;
        self.counters
            .count(begun.elapsed(), said.as_ref().err(), Some(&self.tenant));
        if let Err(error) = &said
            && !error.spares_instance()
        {
            self.running.lose(self.blueprint, error);
        }
        said
    }
}
