//! One running copy of a plugin: a store, its bindings and the calls of the contract, each under its guards. A trap or
//! time-out makes it worthless; whoever holds it throws it away. Knows nothing of retries.

use std::sync::Arc;

use donjon_core::TenantId;
use wasmtime::Store;
use wasmtime::component::{InstancePre, Linker};

use crate::bindings::correlator::{Correlator, CorrelatorIndices, exports::donjon::plugin::correlation};
use crate::bindings::enricher::{Enricher, EnricherIndices, exports::donjon::plugin::enrichment};
use crate::bindings::plugin::{Plugin, PluginIndices, exports::donjon::plugin::lifecycle};
use crate::capabilities::Plan;
use crate::compiled::Compiled;
use crate::convert::{self, OfRoles, WitBatch, WitError, WitRule, WitWanted};
use crate::errors::{CallError, LoadError, StartStep};
use crate::guard::{self, Budget, Guard};
use crate::host::{PluginConfig, StoreData};
use crate::intake::short;
use crate::kv::{BatchWrites, KvBuffer, KvRead};
use crate::limits::Limits;
use crate::log_gate::LogGate;
use crate::roles::{Role, Roles};
use crate::ticker::Ticker;
use crate::total_memory::TotalMemory;
use crate::wasi::{self, CallOrigin, WasiState};

/// Everything that is needed to make one more instance of a plugin.
pub(crate) struct Blueprint {
    name: Arc<str>,
    roles: Roles,
    linked: InstancePre<StoreData>,
    lifecycle: PluginIndices,
    calls: RoleIndices,
    config: PluginConfig,
    kv: Arc<dyn KvRead>,
    limits: Arc<Limits>,
    total_memory: Arc<TotalMemory>,
    /// One for all instances.
    log: Arc<LogGate>,
    /// Without ticks nothing could be interrupted.
    _ticker: Arc<Ticker>,
}

/// Of the roles that a stage calls.
struct RoleIndices {
    correlator: Option<CorrelatorIndices>,
    enricher: Option<EnricherIndices>,
}

struct RoleCalls {
    correlator: Option<Correlator>,
    enricher: Option<Enricher>,
}

/// What the host gives to all instances of a plugin.
pub(crate) struct Surroundings {
    pub(crate) config: PluginConfig,
    pub(crate) kv: Arc<dyn KvRead>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) total_memory: Arc<TotalMemory>,
    pub(crate) ticker: Arc<Ticker>,
}

impl Blueprint {
    /// Links what the plan allows and checks the types of everything that will be called.
    pub(crate) fn new(
        name: Arc<str>,
        compiled: &Compiled,
        plan: &Plan,
        given: Surroundings,
    ) -> Result<Self, LoadError> {
        let misfit = |e: wasmtime::Error| LoadError::Contract(short(&format!("{e:#}")));
        let mut linker: Linker<StoreData> = Linker::new(compiled.component.engine());
        plan.link(&mut linker)?;
        wasi::link(&mut linker, &compiled.component).map_err(misfit)?;
        let linked = linker.instantiate_pre(&compiled.component).map_err(misfit)?;
        let lifecycle = PluginIndices::new(&linked).map_err(misfit)?;
        let has = |role| compiled.roles.contains(role);
        let correlator = has(Role::Correlator).then(|| CorrelatorIndices::new(&linked));
        let enricher = has(Role::Enricher).then(|| EnricherIndices::new(&linked));
        let calls = RoleIndices {
            correlator: correlator.transpose().map_err(misfit)?,
            enricher: enricher.transpose().map_err(misfit)?,
        };
        let Surroundings {
            config,
            kv,
            limits,
            total_memory,
            ticker,
        } = given;
        let log = LogGate::new(Arc::clone(&name), limits.log_lines_per_second, limits.log_line_bytes);
        Ok(Blueprint {
            name,
            roles: compiled.roles,
            linked,
            lifecycle,
            calls,
            config,
            kv,
            limits,
            total_memory,
            log: Arc::new(log),
            _ticker: ticker,
        })
    }

    pub(crate) fn limits(&self) -> &Arc<Limits> {
        &self.limits
    }

    /// The name that the plugin is loaded under.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// A new instance for a tenant, on which nothing has been called.
    pub(crate) async fn instantiate(&self, tenant: &TenantId) -> Result<Instance, CallError> {
        let data = StoreData {
            guard: Guard::new(&self.limits, &self.total_memory),
            kv: KvBuffer::new(Arc::clone(&self.name), Arc::clone(&self.kv), Arc::clone(&self.limits)),
            config: self.config.clone(),
            log: Arc::clone(&self.log),
            wasi: WasiState::new(
                Arc::clone(&self.name),
                tenant.clone(),
                Arc::clone(&self.log),
                self.limits.log_line_bytes,
            ),
            last_error_line: None,
        };
        let mut store = guard::guarded_store(self.linked.engine(), data, self.limits.answer_bytes);
        let budget = Budget::start(&self.limits);
        guard::arm(&mut store, budget);
        let made = guard::within(budget, self.linked.instantiate_async(&mut store)).await;
        let instance = made.ok_or(None).and_then(|made| made.map_err(Some));
        let instance = instance.map_err(|broken| guard::explain(store.data(), broken))?;
        // Only here the types are compared.
        let misfit = |of: &'static str| move |e: wasmtime::Error| CallError::Misfit(short(&format!("{of}: {e:#}")));
        let lifecycle = self
            .lifecycle
            .load(&mut store, &instance)
            .map_err(misfit("donjon:plugin/lifecycle"))?;
        let correlator = self.calls.correlator.as_ref();
        let correlator = correlator
            .map(|indices| indices.load(&mut store, &instance))
            .transpose();
        let enricher = self.calls.enricher.as_ref();
        let enricher = enricher.map(|indices| indices.load(&mut store, &instance)).transpose();
        let calls = RoleCalls {
            correlator: correlator.map_err(misfit("donjon:plugin/correlation"))?,
            enricher: enricher.map_err(misfit("donjon:plugin/enrichment"))?,
        };
        Ok(Instance {
            store,
            lifecycle,
            calls,
            roles: self.roles,
            memory_at_rest: 0,
        })
    }

    /// What all plugins share.
    pub(crate) fn total_memory(&self) -> &Arc<TotalMemory> {
        &self.total_memory
    }

    /// Tells a new instance its tenant and its configuration.
    pub(crate) async fn set_up(&self, instance: &mut Instance, tenant: &TenantId) -> Result<(), CallError> {
        instance
            .init(tenant, &self.config.json, Budget::start(&self.limits))
            .await?;
        instance.memory_at_rest = instance.memory_bytes();
        Ok(())
    }

    /// Asks an instance that is set up about each of its roles.
    pub(crate) async fn ask(&self, instance: &mut Instance) -> Result<OfRoles, (StartStep, CallError)> {
        let budget = Budget::start(&self.limits);
        let wants = |error| (StartStep::Wants, error);
        let mut said = OfRoles::default();
        if self.roles.contains(Role::Correlator) {
            said.wants_to_correlate = Some(instance.wants_to_correlate(budget).await.map_err(wants)?);
            said.rule_kinds = instance.rule_kinds(budget).await.map_err(wants)?;
            let policies = instance.policies(budget).await;
            said.policies = policies.map_err(|error| (StartStep::Policies, error))?;
        }
        if self.roles.contains(Role::Enricher) {
            said.wants_to_enrich = Some(instance.wants_to_enrich(budget).await.map_err(wants)?);
        }
        Ok(said)
    }
}

pub(crate) struct Instance {
    store: Store<StoreData>,
    lifecycle: Plugin,
    calls: RoleCalls,
    roles: Roles,
    /// Bytes of its memory once it was set up, and had its rules if it takes any: it does not give back what calls need beyond.
    memory_at_rest: usize,
}

/// What an answer is before it is looked at: `None` if it did not come in time.
type Answered<R> = Option<wasmtime::Result<Result<R, WitError>>>;

impl Instance {
    pub(crate) async fn describe(&mut self, budget: Budget) -> Result<lifecycle::Description, CallError> {
        let guest = self.lifecycle.donjon_plugin_lifecycle();
        guard::arm(&mut self.store, budget);
        let said = guard::within(budget, guest.call_describe(&mut self.store)).await;
        self.settle(said.map(|said| said.map(Ok)))
    }

    async fn init(&mut self, tenant: &TenantId, config: &str, budget: Budget) -> Result<(), CallError> {
        let guest = self.lifecycle.donjon_plugin_lifecycle();
        guard::arm(&mut self.store, budget);
        let said = guard::within(budget, guest.call_init(&mut self.store, tenant.as_str(), config)).await;
        self.settle(said)
    }

    async fn wants_to_correlate(&mut self, budget: Budget) -> Result<WitWanted, CallError> {
        let Some(role) = &self.calls.correlator else {
            return Err(self.is_no(Role::Correlator));
        };
        guard::arm(&mut self.store, budget);
        let guest = role.donjon_plugin_correlation();
        let said = guard::within(budget, guest.call_wants(&mut self.store)).await;
        self.settle(said.map(|said| said.map(Ok)))
    }

    async fn rule_kinds(&mut self, budget: Budget) -> Result<Vec<String>, CallError> {
        let Some(role) = &self.calls.correlator else {
            return Err(self.is_no(Role::Correlator));
        };
        guard::arm(&mut self.store, budget);
        let guest = role.donjon_plugin_correlation();
        let said = guard::within(budget, guest.call_rule_kinds(&mut self.store)).await;
        self.settle(said.map(|said| said.map(Ok)))
    }

    async fn policies(&mut self, budget: Budget) -> Result<Vec<correlation::Policy>, CallError> {
        let Some(role) = &self.calls.correlator else {
            return Err(self.is_no(Role::Correlator));
        };
        guard::arm(&mut self.store, budget);
        let guest = role.donjon_plugin_correlation();
        let said = guard::within(budget, guest.call_policies(&mut self.store)).await;
        self.settle(said)
    }

    async fn wants_to_enrich(&mut self, budget: Budget) -> Result<WitWanted, CallError> {
        let Some(role) = &self.calls.enricher else {
            return Err(self.is_no(Role::Enricher));
        };
        guard::arm(&mut self.store, budget);
        let guest = role.donjon_plugin_enrichment();
        let said = guard::within(budget, guest.call_wants(&mut self.store)).await;
        self.settle(said.map(|said| said.map(Ok)))
    }

    pub(crate) async fn configure(
        &mut self,
        changed: &[WitRule],
        in_force: &[u32],
        budget: Budget,
    ) -> Result<Vec<correlation::RuleReport>, CallError> {
        let Some(role) = &self.calls.correlator else {
            return Err(self.is_no(Role::Correlator));
        };
        guard::arm(&mut self.store, budget);
        let guest = role.donjon_plugin_correlation();
        let said = guard::within(budget, guest.call_configure(&mut self.store, changed, in_force)).await;
        self.memory_at_rest = self.memory_bytes();
        self.settle(said)
    }

    /// Bytes of its memory.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.store.data().guard.memory_bytes()
    }

    /// The same before its first call with alerts.
    pub(crate) fn memory_at_rest(&self) -> usize {
        self.memory_at_rest
    }

    pub(crate) async fn correlate(
        &mut self,
        batch: &WitBatch,
        budget: Budget,
    ) -> Result<correlation::Findings, CallError> {
        let Some(role) = &self.calls.correlator else {
            return Err(self.is_no(Role::Correlator));
        };
        guard::arm(&mut self.store, budget);
        let guest = role.donjon_plugin_correlation();
        let said = guard::within(budget, guest.call_correlate(&mut self.store, batch)).await;
        self.settle(said)
    }

    pub(crate) async fn enrich(
        &mut self,
        batch: &WitBatch,
        budget: Budget,
    ) -> Result<Vec<enrichment::Patch>, CallError> {
        let Some(role) = &self.calls.enricher else {
            return Err(self.is_no(Role::Enricher));
        };
        guard::arm(&mut self.store, budget);
        let guest = role.donjon_plugin_enrichment();
        let said = guard::within(budget, guest.call_enrich(&mut self.store, batch)).await;
        self.settle(said)
    }

    /// Before a call with alerts of its tenant, with the first of them.
    pub(crate) fn open_batch(&mut self, tenant: &TenantId, first: CallOrigin, writes: BatchWrites) {
        let data = self.store.data_mut();
        data.kv.begin(tenant, first.accepted, writes);
        data.wasi.begin_alerts(first);
    }

    /// After it: what the batch has written so far, and whether the call wanted to write more than a batch may.
    pub(crate) fn close_batch(&mut self, succeeded: bool) -> (BatchWrites, bool) {
        let data = self.store.data_mut();
        data.wasi.end_alerts();
        data.kv.end(succeeded)
    }

    fn settle<R>(&self, said: Answered<R>) -> Result<R, CallError> {
        match said {
            Some(Ok(Ok(answer))) => Ok(answer),
            Some(Ok(Err(error))) => Err(convert::refusal(error)),
            Some(Err(trap)) => Err(guard::explain(self.store.data(), Some(trap))),
            None => Err(guard::explain(self.store.data(), None)),
        }
    }

    fn is_no(&self, expected: Role) -> CallError {
        CallError::Role {
            expected: expected.as_str(),
            found: self.roles.to_string(),
        }
    }
}
