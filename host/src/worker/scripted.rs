//! A plugin for tests of the worker: takes no rules and answers as a closure says. Knows no test.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use donjon_core::TenantId;
use donjon_core::batch::{Batch, Cell, RuleReport, RuleSpec, Wants};
use donjon_runtime::{
    CallError, Configured, CorrelateOutcome, Description, EnrichOutcome, PluginCalls, PluginCounters, Policy, Role,
};

type Correlate = dyn Fn(Batch) -> CorrelateOutcome + Send + Sync;
type Enrich = dyn Fn(Batch) -> EnrichOutcome + Send + Sync;

/// What it gets of alerts, unless it wants something else.
const FINGERPRINT: &str = "fingerprint";

/// The fingerprint of an alert of a batch that it was asked about.
pub(super) fn fingerprint_of(batch: &Batch, alert: usize) -> &str {
    let column = batch.column_names().position(|name| name == FINGERPRINT);
    match column.and_then(|column| batch.cell(alert, column)) {
        Some(Cell::Text(fingerprint)) => fingerprint,
        _ => "",
    }
}

/// The fingerprints of all.
pub(super) fn fingerprints(batch: &Batch) -> impl Iterator<Item = &str> {
    (0..batch.len()).map(|alert| fingerprint_of(batch, alert))
}

/// What it does when it is called.
enum Script {
    Correlates(Box<Correlate>),
    Enriches(Box<Enrich>),
}

pub(super) struct Scripted {
    description: Description,
    script: Script,
    slice_alerts: usize,
    /// Parts of answers that did not count.
    pub(super) dropped: Arc<AtomicU64>,
}

impl Scripted {
    pub(super) fn correlator(
        name: &str,
        correlate: impl Fn(Batch) -> CorrelateOutcome + Send + Sync + 'static,
    ) -> Scripted {
        Scripted::new(name, Script::Correlates(Box::new(correlate)))
    }

    pub(super) fn enricher(name: &str, enrich: impl Fn(Batch) -> EnrichOutcome + Send + Sync + 'static) -> Scripted {
        Scripted::new(name, Script::Enriches(Box::new(enrich)))
    }

    fn new(name: &str, script: Script) -> Scripted {
        Scripted {
            description: Description {
                name: name.to_owned(),
                version: "1".to_owned(),
                about: String::new(),
                wants: Wants::Fields(vec![FINGERPRINT.to_owned()]),
                takes_rules: false,
                policies: Vec::new(),
            },
            script,
            slice_alerts: 512,
            dropped: Arc::default(),
        }
    }

    /// It gets this attribute of alerts.
    pub(super) fn wants(mut self, field: &str) -> Scripted {
        self.description.wants = Wants::Fields(vec![field.to_owned()]);
        self
    }

    /// So many alerts a call.
    pub(super) fn slices(mut self, alerts: usize) -> Scripted {
        self.slice_alerts = alerts;
        self
    }

    /// It brings policies of these names along.
    pub(super) fn policies(mut self, names: impl Iterator<Item = String>) -> Scripted {
        let policy = |name: String| Policy {
            id: name.into(),
            settings: String::new(),
            branches: Vec::new(),
        };
        self.description.policies = names.map(policy).collect();
        self
    }
}

impl PluginCalls for Scripted {
    fn name(&self) -> &str {
        &self.description.name
    }
    fn version(&self) -> &str {
        "1"
    }
    fn hash(&self) -> &str {
        "1"
    }
    fn role(&self) -> Role {
        match self.script {
            Script::Correlates(_) => Role::Correlator,
            Script::Enriches(_) => Role::Enricher,
        }
    }
    fn description(&self) -> &Description {
        &self.description
    }
    fn configured(&self, _: &TenantId) -> Option<Configured> {
        None
    }
    fn configure(&self, _: &TenantId, _: u64, _: &[RuleSpec]) -> Result<Configured, CallError> {
        unreachable!("it takes no rules")
    }
    fn prepare(&self, _: &TenantId, _: &[RuleSpec]) -> Result<Arc<[RuleReport]>, CallError> {
        unreachable!("it takes no rules")
    }
    fn slice_alerts(&self) -> usize {
        self.slice_alerts
    }
    fn correlate(&self, batch: Batch) -> CorrelateOutcome {
        match &self.script {
            Script::Correlates(correlate) => correlate(batch),
            Script::Enriches(_) => unreachable!("no correlator"),
        }
    }
    fn enrich(&self, batch: Batch) -> EnrichOutcome {
        match &self.script {
            Script::Enriches(enrich) => enrich(batch),
            Script::Correlates(_) => unreachable!("no enricher"),
        }
    }
    fn add_dropped(&self, _: &'static str, count: u64) {
        self.dropped.fetch_add(count, Ordering::SeqCst);
    }
    fn counters(&self) -> PluginCounters {
        PluginCounters::default()
    }
}
