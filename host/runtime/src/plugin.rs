//! A started plugin: its copies, what is needed to make another one like them, and its failures. The worker
//! calls it; it hands back proposals and never changes anything (I5).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use donjon_core::batch::{Batch, Column, KvWrite, RuleReport, RuleSpec};
use donjon_core::rule::policy_id;
use donjon_core::{RuleId, TenantId};

use crate::answers::Checked;
use crate::calls::PluginCalls;
use crate::columns;
use crate::compiled::Compiled;
use crate::convert::Description;
use crate::counters::{Counters, PluginCounters};
use crate::errors::CallError;
use crate::instance::{Blueprint, Instance};
use crate::judge::{Judged, Patience, Trouble, judge};
use crate::kv::as_list;
use crate::lanes::{Lanes, Ready};
pub use crate::outcomes::{CorrelateOutcome, EnrichOutcome};
use crate::pace::Paces;
use crate::roles::{Role, Roles};
use crate::running::{Running, replace_if_grown};
use crate::session::{Correlating, Enriching, RoleCall, Session};

const BACKING_OFF: &str = "plugin is backing off";

/// A running plugin. One call a copy at a time; others wait.
pub struct Plugin {
    name: Arc<str>,
    compiled: Compiled,
    description: Description,
    /// Its policies as they are called among rules.
    policy_ids: Vec<RuleId>,
    unused_grants: Vec<String>,
    blueprint: Arc<Blueprint>,
    lanes: Lanes,
    counters: Arc<Counters>,
    paces: Paces,
    /// As the host says; at first whether it evaluates the rules of people.
    required: AtomicBool,
    /// For the worker, which is a thread of its own and waits for each call.
    runtime: tokio::runtime::Handle,
}

/// The rules that a plugin has for one tenant: rules and their columns change together or not at all.
#[derive(Clone, Debug)]
pub struct Configured {
    /// The version of the rules, as given.
    pub version: u64,
    /// What it is handed of each alert under these rules; empty for a plugin that wants documents.
    pub columns: Arc<Vec<Column>>,
    /// What became of each rule, in the order in which they were given.
    pub reports: Arc<[RuleReport]>,
}

/// What [`crate::Runtime::start`] found out.
pub(crate) struct Started {
    pub(crate) name: Arc<str>,
    pub(crate) compiled: Compiled,
    pub(crate) description: Description,
    pub(crate) unused_grants: Vec<String>,
    pub(crate) blueprint: Blueprint,
    pub(crate) tenant: TenantId,
    pub(crate) instance: Instance,
}

impl Plugin {
    pub(crate) fn new(started: Started) -> Plugin {
        let Started {
            name,
            compiled,
            description,
            unused_grants,
            blueprint,
            tenant,
            instance,
        } = started;
        let waits_for_rules = description.takes_rules
            && description.policies.is_empty()
            && compiled.roles.iter().all(|role| role == Role::Correlator);
        let lanes = Lanes::new((&tenant, instance), waits_for_rules, blueprint.total_memory());
        let policies = description.policies.iter();
        let policy_ids = policies.map(|policy| policy_id(&name, policy.id.as_str())).collect();
        let required = AtomicBool::new(description.takes_rules);
        Plugin {
            name,
            compiled,
            description,
            policy_ids,
            unused_grants,
            blueprint: Arc::new(blueprint),
            lanes,
            counters: Arc::default(),
            paces: Paces::default(),
            required,
            runtime: tokio::runtime::Handle::current(),
        }
    }

    /// The name it is loaded under.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version it gives itself.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.description.version
    }

    /// SHA-256 of its file.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.compiled.hash
    }

    /// The interfaces it imports.
    #[must_use]
    pub fn imports(&self) -> &[String] {
        &self.compiled.imports
    }

    /// Its roles.
    #[must_use]
    pub fn roles(&self) -> Roles {
        self.compiled.roles
    }

    /// Whether it was built for debugging: many times slower and larger.
    #[must_use]
    pub fn is_debug_build(&self) -> bool {
        self.compiled.debug_build
    }

    /// The version of the contract it was built against.
    #[must_use]
    pub fn api_version(&self) -> &str {
        &self.compiled.api_version
    }

    /// What it says about itself.
    #[must_use]
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// Whether it takes the rules of the host.
    #[must_use]
    pub fn takes_rules(&self) -> bool {
        self.description.takes_rules
    }

    /// Grants that it does not use.
    #[must_use]
    pub fn unused_grants(&self) -> &[String] {
        &self.unused_grants
    }

    /// How its calls went so far.
    #[must_use]
    pub fn counters(&self) -> PluginCounters {
        self.counters.read()
    }

    /// How many alerts the next call of a role should get, from what they have cost it so far.
    #[must_use]
    pub fn slice_alerts(&self, role: Role) -> usize {
        self.paces.of(role).alerts()
    }

    /// The version of the rules it has for a tenant.
    #[must_use]
    pub fn configured_version(&self, tenant: &TenantId) -> Option<u64> {
        self.configured(tenant).map(|configured| configured.version)
    }

    /// The rules it has for a tenant and what it made of them, so that nobody has to configure it again to know.
    #[must_use]
    pub fn configured(&self, tenant: &TenantId) -> Option<Configured> {
        self.lanes.configured(tenant)
    }

    /// Tries the rules of a tenant on a copy that does not serve, and keeps that copy: the same rules given to
    /// [`Plugin::configure`] are then in force at once. Takes as long as compiling them does.
    ///
    /// # Errors
    /// It is no correlator, it refused, or it broke. What serves is as it was.
    pub async fn prepare(&self, tenant: &TenantId, rules: &[RuleSpec]) -> Result<Arc<[RuleReport]>, CallError> {
        let mut running = self.lanes.spare(tenant);
        let had_rules = !running.rules().is_empty();
        let mut said = self.configure_on(&mut running, rules).await;
        if had_rules && said.as_ref().is_err_and(|error| !error.spares_instance()) {
            // What broke it may be left from the rules before.
            running = Running::new(tenant.clone(), None);
            said = self.configure_on(&mut running, rules).await;
        }
        let configured = said?;
        let reports = Arc::clone(&configured.reports);
        let ready = Ready {
            running,
            rules: rules.to_vec(),
            configured,
        };
        self.lanes.keep_ready(tenant, ready);
        Ok(reports)
    }

    /// Gives it the rules of a tenant, unless it has this version. If it fails, it keeps the rules it had.
    ///
    /// # Errors
    /// It is no correlator, it refused, or it broke.
    pub async fn configure(
        &self,
        tenant: &TenantId,
        rules_version: u64,
        rules: &[RuleSpec],
    ) -> Result<Configured, CallError> {
        if let Some(known) = self.configured(tenant).filter(|known| known.version == rules_version) {
            return Ok(known);
        }
        if let Some(configured) = self.lanes.take_over(tenant, rules_version, rules) {
            return Ok(configured);
        }
        self.prepare(tenant, rules).await?;
        let taken = self.lanes.take_over(tenant, rules_version, rules);
        taken
            .ok_or_else(|| CallError::refused("other rules came in between, or its memory was needed; give them again"))
    }

    async fn configure_on(&self, running: &mut Running, rules: &[RuleSpec]) -> Result<Configured, CallError> {
        let begun = Instant::now();
        let said = running.configure(&self.blueprint, rules).await;
        self.counters
            .count_configure(begun.elapsed(), said.as_ref().err(), running.tenant());
        let mut reports = said?;
        let columns = columns::of_rules(&self.description.wants_to_correlate, &mut reports);
        // It may have taken a rule that the host does not: judged on columns that it is not handed, that would take the
        // places of others on an alert.
        if reports.iter().any(|report| report.outcome.is_err()) {
            let taken = rules.iter().zip(&reports).filter(|(_, report)| report.outcome.is_ok());
            let taken: Vec<RuleSpec> = taken.map(|(rule, _)| rule.clone()).collect();
            running.configure(&self.blueprint, &taken).await?;
        }
        Ok(Configured {
            version: 0,
            columns: Arc::new(columns),
            reports: Arc::from(reports),
        })
    }

    /// Judges a batch. Never fails as a whole: what goes wrong is said alert by alert.
    pub async fn correlate(&self, batch: Batch) -> CorrelateOutcome {
        let (judged, (kv_writes, wrote_too_much)) = self.judge::<Correlating>(batch).await;
        let mut outcome = CorrelateOutcome {
            failed: judged.failed,
            may_pass: judged.trouble.may_pass,
            wrote_too_much,
            kv_writes,
            ..CorrelateOutcome::default()
        };
        for (start, checked) in judged.answers {
            outcome.dropped += checked.dropped;
            outcome.foreign += checked.foreign;
            outcome.refused.extend(moved(checked.refused, start));
            let findings = &mut outcome.findings;
            findings
                .verdicts
                .extend(checked.said.verdicts.into_iter().map(|mut verdict| {
                    verdict.alert += start;
                    verdict
                }));
            findings
                .failures
                .extend(checked.said.failures.into_iter().map(|mut failure| {
                    failure.alert += start;
                    failure
                }));
        }
        self.report_dropped(outcome.dropped);
        outcome
    }

    /// Asks for changes to a batch. Never fails as a whole: what goes wrong is said alert by alert.
    pub async fn enrich(&self, batch: Batch) -> EnrichOutcome {
        let (judged, (kv_writes, wrote_too_much)) = self.judge::<Enriching>(batch).await;
        let mut outcome = EnrichOutcome {
            failed: judged.failed,
            may_pass: judged.trouble.may_pass,
            wrote_too_much,
            kv_writes,
            ..EnrichOutcome::default()
        };
        for (start, checked) in judged.answers {
            outcome.dropped += checked.dropped;
            outcome.refused.extend(moved(checked.refused, start));
            outcome.patches.extend(checked.said.into_iter().map(|mut patch| {
                patch.alert += start;
                patch
            }));
        }
        self.report_dropped(outcome.dropped);
        outcome
    }

    async fn judge<R: RoleCall>(&self, batch: Batch) -> (Judged<Checked<R::Said>>, (Vec<KvWrite>, bool)) {
        let alerts = batch.len();
        let lane = self.lanes.serving(&batch.tenant);
        let mut running = lane.lock().await;
        // What alerts wait for is asked whenever the line asks, which waits itself: left alone, it could not show either
        // that it judges other alerts, and a `retry` for one of them would hold the line without end.
        let patience = self.patience();
        if patience == Patience::Short && running.strikes.is_pausing(Instant::now()) {
            let failed = (0..alerts).map(|alert| (alert, BACKING_OFF.to_owned())).collect();
            return (
                Judged {
                    answers: Vec::new(),
                    failed,
                    trouble: Trouble {
                        may_pass: true,
                        ..Trouble::default()
                    },
                },
                (Vec::new(), false),
            );
        }
        let limits = self.blueprint.limits();
        let mut session = Session::<R>::new(
            (&self.blueprint, &self.policy_ids, patience),
            (&self.counters, self.paces.of(R::ROLE)),
            &mut running,
            batch,
        );
        let judged = judge(&mut session, alerts, limits, patience).await;
        let (writes, wrote_too_much) = session.into_writes();
        // Several alerts are asked about again, fewer at a time: that they were too many is not held against the plugin.
        if alerts > 0 && !(wrote_too_much && alerts > 1) {
            running.strikes.count(&judged.trouble, Instant::now(), limits, patience);
        }
        replace_if_grown(&lane, &mut running, &self.blueprint, &self.counters);
        (judged, (as_list(writes), wrote_too_much))
    }

    fn patience(&self) -> Patience {
        match self.required.load(Ordering::Relaxed) {
            true => Patience::Long,
            false => Patience::Short,
        }
    }

    fn report_dropped(&self, dropped: u64) {
        if dropped > 0 {
            self.count_dropped("out of range or over a limit", dropped);
        }
    }

    fn count_dropped(&self, reason: &'static str, dropped: u64) {
        if let Some(dropped) = self.counters.add_dropped(reason, dropped, Instant::now()) {
            tracing::warn!(plugin = %self.name, dropped, "parts of answers do not count, see GET /plugins: {reason}");
        }
    }
}

impl PluginCalls for Plugin {
    fn name(&self) -> &str {
        self.name()
    }

    fn version(&self) -> &str {
        self.version()
    }

    fn hash(&self) -> &str {
        self.hash()
    }

    fn roles(&self) -> Roles {
        self.roles()
    }

    fn description(&self) -> &Description {
        self.description()
    }

    fn configured(&self, tenant: &TenantId) -> Option<Configured> {
        self.configured(tenant)
    }

    fn configure(&self, tenant: &TenantId, version: u64, rules: &[RuleSpec]) -> Result<Configured, CallError> {
        self.runtime.block_on(self.configure(tenant, version, rules))
    }

    fn prepare(&self, tenant: &TenantId, rules: &[RuleSpec]) -> Result<Arc<[RuleReport]>, CallError> {
        self.runtime.block_on(self.prepare(tenant, rules))
    }

    fn slice_alerts(&self, role: Role) -> usize {
        self.slice_alerts(role)
    }

    fn set_required(&self, required: bool) {
        self.required.store(required, Ordering::Relaxed);
    }

    fn correlate(&self, batch: Batch) -> CorrelateOutcome {
        self.runtime.block_on(self.correlate(batch))
    }

    fn enrich(&self, batch: Batch) -> EnrichOutcome {
        self.runtime.block_on(self.enrich(batch))
    }

    fn add_dropped(&self, reason: &'static str, count: u64) {
        self.count_dropped(reason, count);
    }

    fn counters(&self) -> PluginCounters {
        self.counters()
    }
}

/// Reasons of a slice at their positions in the batch.
fn moved(refused: Vec<(usize, String)>, start: usize) -> impl Iterator<Item = (usize, String)> {
    refused.into_iter().map(move |(alert, reason)| (start + alert, reason))
}
