//! A plugin for tests of the worker: takes no rules and answers as a closure says. Knows no test.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use donjon_core::TenantId;
use donjon_core::batch::{Batch, Cell, Column, RuleReport, RuleSpec, Wants};
use donjon_runtime::{
    CallError, Configured, CorrelateOutcome, Description, EnrichOutcome, PluginCalls, PluginCounters, Policy, Role,
    Roles,
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

/// What it does when it is called; it has the roles that are scripted.
#[derive(Default)]
struct Script {
    correlate: Option<Box<Correlate>>,
    enrich: Option<Box<Enrich>>,
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
        let correlate: Box<Correlate> = Box::new(correlate);
        Scripted::new(
            name,
            Script {
                correlate: Some(correlate),
                enrich: None,
            },
        )
    }

    pub(super) fn enricher(name: &str, enrich: impl Fn(Batch) -> EnrichOutcome + Send + Sync + 'static) -> Scripted {
        Scripted::new(name, Script::default()).enriches(enrich)
    }

    /// It is an enricher, too.
    pub(super) fn enriches(mut self, enrich: impl Fn(Batch) -> EnrichOutcome + Send + Sync + 'static) -> Scripted {
        self.script.enrich = Some(Box::new(enrich));
        self
    }

    fn new(name: &str, script: Script) -> Scripted {
        Scripted {
            description: Description {
                name: name.to_owned(),
                version: "1".to_owned(),
                about: String::new(),
                wants_to_correlate: Wants::Fields(vec![FINGERPRINT.to_owned()]),
                wants_to_enrich: Wants::Fields(vec![FINGERPRINT.to_owned()]),
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
        let wants = Wants::Fields(vec![field.to_owned()]);
        self.description.wants_to_correlate = wants.clone();
        self.description.wants_to_enrich = wants;
        self
    }

    /// It gets this attribute of alerts when it enriches.
    pub(super) fn wants_to_enrich(mut self, field: &str) -> Scripted {
        self.description.wants_to_enrich = Wants::Fields(vec![field.to_owned()]);
        self
    }

    /// So many alerts a call.
    pub(super) fn slices(mut self, alerts: usize) -> Scripted {
        self.slice_alerts = alerts;
        self
    }

    /// It takes rules, of which there are none.
    pub(super) fn takes_rules(mut self) -> Scripted {
        self.description.takes_rules = true;
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
    fn roles(&self) -> Roles {
        let correlates = self.script.correlate.iter().map(|_| Role::Correlator);
        correlates
            .chain(self.script.enrich.iter().map(|_| Role::Enricher))
            .collect()
    }
    fn description(&self) -> &Description {
        &self.description
    }
    fn configured(&self, _: &TenantId) -> Option<Configured> {
        None
    }
    fn configure(&self, _: &TenantId, version: u64, rules: &[RuleSpec]) -> Result<Configured, CallError> {
        assert!(
            self.description.takes_rules && rules.is_empty(),
            "it understands no rule"
        );
        Ok(Configured {
            version,
            columns: Arc::new(vec![Column::new(FINGERPRINT)]),
            reports: Arc::from([]),
        })
    }
    fn prepare(&self, _: &TenantId, _: &[RuleSpec]) -> Result<Arc<[RuleReport]>, CallError> {
        unreachable!("it takes no rules")
    }
    fn slice_alerts(&self, _: Role) -> usize {
        self.slice_alerts
    }
    fn correlate(&self, batch: Batch) -> CorrelateOutcome {
        let correlate = self.script.correlate.as_ref();
        correlate.unwrap_or_else(|| unreachable!("no correlator"))(batch)
    }
    fn enrich(&self, batch: Batch) -> EnrichOutcome {
        let enrich = self.script.enrich.as_ref();
        enrich.unwrap_or_else(|| unreachable!("no enricher"))(batch)
    }
    fn add_dropped(&self, _: &'static str, count: u64) {
        self.dropped.fetch_add(count, Ordering::SeqCst);
    }
    fn counters(&self) -> PluginCounters {
        PluginCounters::default()
    }
}
