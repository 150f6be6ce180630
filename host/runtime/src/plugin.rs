//! A started plugin: one instance behind a lock, what is needed to make another one like it, and its failures. The worker
//! calls it; it hands back proposals and never changes anything (I5).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use donjon_core::TenantId;
use donjon_core::batch::{Batch, Findings, KvWrite, Patch, RuleReport, RuleSpec, Wants};

use crate::compiled::{Compiled, Role};
use crate::convert::{self, Description, Dropped, Shape, WitRule};
use crate::counters::{Counters, PluginCounters};
use crate::errors::CallError;
use crate::guard::Budget;
use crate::instance::{Blueprint, Instance};
use crate::judge::{Judged, Strikes, judge};
use crate::kv::as_list;
use crate::running::Running;
use crate::session::{Correlating, Enriching, RoleCall, Session};

const BACKING_OFF: &str = "plugin is backing off";

/// What a correlator made of a batch.
#[derive(Debug, Default)]
pub struct CorrelateOutcome {
    /// Checked: positions lie inside the batch.
    pub findings: Findings,
    /// Alerts that go on without this plugin, with the reason, in the order of the batch.
    pub failed: Vec<(usize, String)>,
    /// To be committed with the batch.
    pub kv_writes: Vec<KvWrite>,
    /// Parts of the answer that were out of range or over a limit.
    pub dropped: u64,
}

/// What an enricher made of a batch.
#[derive(Debug, Default)]
pub struct EnrichOutcome {
    /// Checked: positions lie inside the batch.
    pub patches: Vec<Patch>,
    /// Alerts that go on without this plugin, with the reason, in the order of the batch.
    pub failed: Vec<(usize, String)>,
    /// To be committed with the batch.
    pub kv_writes: Vec<KvWrite>,
    /// Parts of the answer that were out of range or over a limit.
    pub dropped: u64,
}

/// A running plugin. One call at a time; others wait.
pub struct Plugin {
    name: Arc<str>,
    compiled: Compiled,
    description: Description,
    unused_grants: Vec<String>,
    blueprint: Blueprint,
    running: tokio::sync::Mutex<Running>,
    configured: Mutex<BTreeMap<TenantId, Configured>>,
    counters: Counters,
}

/// The rules that a plugin has for one tenant.
#[derive(Clone, Debug)]
pub struct Configured {
    /// The version of the rules, as given.
    pub version: u64,
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
    pub(crate) instance: Instance,
    pub(crate) state: Option<Vec<u8>>,
}

impl Plugin {
    pub(crate) fn new(started: Started) -> Plugin {
        let Started {
            name,
            compiled,
            description,
            unused_grants,
            blueprint,
            instance,
            state,
        } = started;
        let running = Running {
            instance: Some(instance),
            state,
            rules: BTreeMap::new(),
            strikes: Strikes::default(),
        };
        Plugin {
            name,
            compiled,
            description,
            unused_grants,
            blueprint,
            running: tokio::sync::Mutex::new(running),
            configured: Mutex::new(BTreeMap::new()),
            counters: Counters::default(),
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

    /// Its role.
    #[must_use]
    pub fn role(&self) -> Role {
        self.compiled.role
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

    /// What it wants to be handed.
    #[must_use]
    pub fn wants(&self) -> &Wants {
        &self.description.wants
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

    /// The version of the rules it has for a tenant.
    #[must_use]
    pub fn configured_version(&self, tenant: &TenantId) -> Option<u64> {
        self.configured(tenant).map(|configured| configured.version)
    }

    /// The rules it has for a tenant and what it made of them, so that nobody has to configure it again to know.
    #[must_use]
    pub fn configured(&self, tenant: &TenantId) -> Option<Configured> {
        self.configured
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(tenant)
            .cloned()
    }

    /// Gives it the rules of a tenant. If it fails, it keeps the rules it had.
    ///
    /// # Errors
    /// It is no correlator, it refused, or it broke.
    pub async fn configure(
        &self,
        tenant: &TenantId,
        rules_version: u64,
        rules: &[RuleSpec],
    ) -> Result<Vec<RuleReport>, CallError> {
        let mut running = self.running.lock().await;
        let wit_rules = convert::rules(rules);
        let begun = Instant::now();
        let said = self.configure_instance(&mut running, tenant, &wit_rules).await;
        self.counters.count(begun.elapsed(), said.as_ref().err());
        let reports = convert::reports(said?, rules, self.blueprint.limits());
        running.rules.insert(tenant.clone(), wit_rules);
        let configured = Configured {
            version: rules_version,
            reports: Arc::from(reports.as_slice()),
        };
        self.configured
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(tenant.clone(), configured);
        Ok(reports)
    }

    async fn configure_instance(
        &self,
        running: &mut Running,
        tenant: &TenantId,
        rules: &[WitRule],
    ) -> Result<Vec<crate::bindings::correlator::exports::donjon::plugin::correlation::RuleReport>, CallError> {
        let instance = running.instance(&self.blueprint).await?;
        let said = instance
            .configure(tenant.as_str(), rules, Budget::configure(self.blueprint.limits()))
            .await;
        match &said {
            Ok(_) => drop(instance.ready.insert(tenant.clone())),
            // The instance may have forgotten the rules it had: the next batch gives them to it again.
            Err(error) if error.spares_instance() => drop(instance.ready.remove(tenant)),
            Err(_) => running.instance = None,
        }
        said
    }

    /// Judges a batch. Never fails as a whole: what goes wrong is said alert by alert.
    pub async fn correlate(&self, batch: Batch) -> CorrelateOutcome {
        let (judged, shape, kv_writes) = self.judge::<Correlating>(batch).await;
        let mut outcome = CorrelateOutcome {
            failed: judged.failed,
            kv_writes,
            ..CorrelateOutcome::default()
        };
        for (start, (len, said)) in judged.answers {
            let shape = Shape { alerts: len, ..shape };
            let (found, Dropped(dropped)) = convert::findings(said, shape, self.blueprint.limits());
            outcome.dropped += dropped;
            outcome
                .findings
                .verdicts
                .extend(found.verdicts.into_iter().map(|mut verdict| {
                    verdict.alert += start;
                    verdict
                }));
            outcome
                .findings
                .failures
                .extend(found.failures.into_iter().map(|mut failure| {
                    failure.alert += start;
                    failure
                }));
        }
        self.report_dropped(outcome.dropped);
        outcome
    }

    /// Asks for changes to a batch. Never fails as a whole: what goes wrong is said alert by alert.
    pub async fn enrich(&self, batch: Batch) -> EnrichOutcome {
        let (judged, shape, kv_writes) = self.judge::<Enriching>(batch).await;
        let mut outcome = EnrichOutcome {
            failed: judged.failed,
            kv_writes,
            ..EnrichOutcome::default()
        };
        for (start, (len, said)) in judged.answers {
            let shape = Shape { alerts: len, ..shape };
            let (patches, Dropped(dropped)) = convert::patches(said, shape, self.blueprint.limits());
            outcome.dropped += dropped;
            outcome.patches.extend(patches.into_iter().map(|mut patch| {
                patch.alert += start;
                patch
            }));
        }
        self.report_dropped(outcome.dropped);
        outcome
    }

    async fn judge<R: RoleCall>(&self, batch: Batch) -> (Judged<(usize, R::Said)>, Shape, Vec<KvWrite>) {
        let shape = Shape {
            alerts: batch.len(),
            columns: batch.columns.len(),
        };
        let mut running = self.running.lock().await;
        if running.strikes.is_pausing(Instant::now()) {
            let failed = (0..shape.alerts).map(|alert| (alert, BACKING_OFF.to_owned())).collect();
            return (
                Judged {
                    answers: Vec::new(),
                    failed,
                    gave_up: false,
                },
                shape,
                Vec::new(),
            );
        }
        let limits = self.blueprint.limits();
        let mut session = Session::<R>::new(&self.blueprint, &self.counters, &mut running, convert::batch(batch));
        let judged = judge(&mut session, shape.alerts, limits).await;
        let writes = session.into_writes();
        if shape.alerts > 0 {
            running.strikes.count(judged.gave_up, Instant::now(), limits);
        }
        (judged, shape, as_list(writes))
    }

    /// Its state, to hand to the next version. None if it has none or cannot tell.
    pub async fn snapshot(&self) -> Option<Vec<u8>> {
        let mut running = self.running.lock().await;
        let limits = self.blueprint.limits();
        let Some(instance) = running.instance.as_mut() else {
            return running.state.clone();
        };
        let begun = Instant::now();
        let said = match instance.snapshot(Budget::start(limits)).await {
            Ok(state) if state.len() > limits.state_bytes => Err(CallError::Refused(format!(
                "its state is over the limit of {} bytes",
                limits.state_bytes
            ))),
            said => said,
        };
        self.counters.count(begun.elapsed(), said.as_ref().err());
        match said {
            Ok(state) => running.state = Some(state).filter(|state| !state.is_empty()),
            Err(error) => {
                tracing::warn!(plugin = %self.name, "cannot take the state of the plugin: {error}");
                if !error.spares_instance() {
                    running.instance = None;
                }
                return None;
            }
        }
        running.state.clone()
    }

    fn report_dropped(&self, dropped: u64) {
        if dropped > 0 {
            self.counters.add_dropped(dropped);
            tracing::warn!(plugin = %self.name, dropped, "parts of an answer were out of range or over a limit");
        }
    }
}
