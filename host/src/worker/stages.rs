//! The stages of a batch that call plugins: enrich, then correlate. A plugin's failure is a value that travels with the
//! alert (I6). Knows how columns are cut out of alerts; decides nothing about incidents.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use donjon_core::batch::{Batch, Change, Column, Findings, KvWrite, RuleFailure, RuleSpec, Scalar, Verdict, Wants};
use donjon_core::branch_set::BranchSet;
use donjon_core::limits::{MAX_ERROR_TEXT_BYTES, cut};
use donjon_core::rule::RuleError;
use donjon_core::settle::{Judged, Judgement, RuleBook};
use donjon_core::state::{StateError, StateView};
use donjon_core::value::split_path;
use donjon_core::working::Working;
use donjon_core::{GroupKey, TenantId, Timestamp};
use donjon_runtime::{Configured, PluginCalls, PluginSet, Role};

use tokio_util::sync::CancellationToken;

use super::{Pause, Pending, RETRY, Tenant, WorkerError};
use crate::json;
use crate::plugin_kv::PendingKv;
use crate::telemetry::{Metrics, PluginLabel};

/// What a patch may not touch: identity, status and time of an alert (I5).
const FIXED_ATTRIBUTES: [&str; 5] = ["id", "event_id", "fingerprint", "status", "lastReceived"];

/// Alerts of one call, so that a call stays far below its time limit with thousands of rules.
const CALL_ALERTS: usize = 512;

/// The columns that each correlator reads for one tenant's rules; forgotten when the rules change.
#[derive(Default)]
pub struct ColumnPlan {
    by_plugin: HashMap<String, Planned>,
}

struct Planned {
    hash: String,
    columns: Arc<Vec<Column>>,
}

/// One tenant's part of a batch.
pub struct Stage<'a> {
    /// Counters.
    pub metrics: &'a Metrics,
    /// Plugins whose failure holds the line.
    pub required: &'a [String],
    /// The plugins that serve now: only looked at while a required plugin holds the line.
    pub current: &'a ArcSwap<PluginSet>,
    /// What plugins wrote in this batch.
    pub pending_kv: &'a PendingKv,
    /// A stop was asked for.
    pub stopping: &'a CancellationToken,
    /// Waits a while.
    pub pause: &'a Pause,
    /// Whose alerts.
    pub tenant: &'a TenantId,
    /// Batch time.
    pub now: Timestamp,
}

/// Who gave verdicts, and the columns it was handed.
pub type Source = (Arc<dyn PluginCalls>, Arc<Vec<Column>>);

/// What all correlators found: columns and verdicts a plugin.
#[derive(Default)]
pub struct Correlated {
    /// The plugins, each with the columns it was handed.
    pub columns: Vec<Source>,
    /// Verdicts by position of the event: position of the plugin, and the verdict.
    pub verdicts: Vec<Vec<(usize, Verdict)>>,
    /// Rules that could not be evaluated.
    pub failures: Vec<RuleFailure>,
    /// Writes of plugins to their own data.
    pub kv_writes: Vec<(String, KvWrite)>,
}

impl Correlated {
    /// Takes over the findings on a slice whose first alert has the position `first` in the batch.
    fn take(&mut self, plugin: &Arc<dyn PluginCalls>, columns: Arc<Vec<Column>>, findings: Findings, first: usize) {
        let at = self.columns.len();
        self.columns.push((Arc::clone(plugin), columns));
        for verdict in findings.verdicts {
            if let Some(verdicts) = self.verdicts.get_mut(first + verdict.alert) {
                verdicts.push((at, verdict));
            }
        }
        let failures = findings.failures.into_iter();
        self.failures.extend(failures.map(|failure| RuleFailure {
            alert: first + failure.alert,
            ..failure
        }));
    }
}

impl Stage<'_> {
    /// Lets every enricher propose patches, and applies what is allowed.
    ///
    /// # Errors
    /// When a stop was asked for while a required plugin held the line.
    pub fn enrich(
        &self,
        plugins: &PluginSet,
        events: &mut [&mut Pending],
    ) -> Result<Vec<(String, KvWrite)>, WorkerError> {
        let mut kv_writes = Vec::new();
        for plugin in of_role(plugins, Role::Enricher) {
            for slice in events.chunks_mut(CALL_ALERTS) {
                let outcome = self.until_it_works(plugin, slice.len(), |plugin| {
                    let outcome = plugin.enrich(self.batch(slice, wanted_columns(plugin.as_ref()).as_deref()));
                    let failed = outcome.failed.len();
                    (outcome, failed)
                })?;
                self.note_failed(plugin.as_ref(), slice, &outcome.failed);
                for patch in outcome.patches {
                    if let Some(event) = slice.get_mut(patch.alert) {
                        apply_patch(plugin.name(), event, patch.changes);
                    }
                }
                self.take_writes(plugin.as_ref(), outcome.kv_writes, &mut kv_writes);
            }
        }
        Ok(kv_writes)
    }

    /// Lets every correlator judge the batch.
    ///
    /// # Errors
    /// When a stop was asked for while a required plugin held the line.
    pub fn correlate(
        &self,
        plugins: &PluginSet,
        events: &mut [&mut Pending],
        rules: &mut Tenant,
    ) -> Result<Correlated, WorkerError> {
        let mut correlated = Correlated {
            verdicts: vec![Vec::new(); events.len()],
            ..Correlated::default()
        };
        for plugin in of_role(plugins, Role::Correlator) {
            if plugin.description().takes_rules && !has_conditions(rules) {
                continue;
            }
            let mut first = 0;
            for slice in events.chunks_mut(CALL_ALERTS) {
                let (columns, outcome) = self.until_it_works(plugin, slice.len(), |plugin| {
                    let columns = self.plan(plugin, rules);
                    let batch = self.batch(slice, columns.as_ref().map(|columns| columns.as_slice()));
                    let outcome = plugin.correlate(batch);
                    let failed = outcome.failed.len();
                    ((columns.unwrap_or_default(), outcome), failed)
                })?;
                self.note_failed(plugin.as_ref(), slice, &outcome.failed);
                correlated.take(plugin, columns, outcome.findings, first);
                self.take_writes(plugin.as_ref(), outcome.kv_writes, &mut correlated.kv_writes);
                first += slice.len();
            }
        }
        Ok(correlated)
    }

    /// Calls a plugin; a required one that fails on every alert of a slice is called until it works, or until the plugin
    /// that took its place does. The journal fills up to its limit meanwhile.
    fn until_it_works<T>(
        &self,
        plugin: &Arc<dyn PluginCalls>,
        alerts: usize,
        mut call: impl FnMut(&Arc<dyn PluginCalls>) -> (T, usize),
    ) -> Result<T, WorkerError> {
        let mut plugin = Arc::clone(plugin);
        loop {
            let (outcome, failed) = call(&plugin);
            let required = self.required.iter().any(|name| name == plugin.name());
            if !required || failed < alerts || alerts < 2 {
                return Ok(outcome);
            }
            tracing::error!(
                plugin = plugin.name(),
                "required plugin fails on every alert; holding the line"
            );
            if self.stopping.is_cancelled() {
                return Err(WorkerError::Held);
            }
            (self.pause)(RETRY);
            match self.current.load().get(plugin.name()) {
                Some(current) => plugin = Arc::clone(current),
                None => return Ok(outcome),
            }
        }
    }

    /// Keeps writes for the commit, and shows them to the plugin's later calls of this batch.
    fn take_writes(&self, plugin: &dyn PluginCalls, writes: Vec<KvWrite>, all: &mut Vec<(String, KvWrite)>) {
        for write in writes {
            self.pending_kv.put(plugin.name(), &write);
            all.push((plugin.name().to_owned(), write));
        }
    }

    /// The columns for a correlator, configuring it with the tenant's rules where it has not got them yet. `None` for a
    /// plugin that wants documents.
    fn plan(&self, plugin: &Arc<dyn PluginCalls>, rules: &mut Tenant) -> Option<Arc<Vec<Column>>> {
        let wanted = wanted_columns(plugin.as_ref())?;
        if !plugin.description().takes_rules {
            return Some(Arc::new(wanted));
        }
        if let Some(planned) = rules.columns.by_plugin.get(plugin.name())
            && planned.hash == plugin.hash()
            && plugin
                .configured(self.tenant)
                .is_some_and(|configured| configured.version == rules.version)
        {
            return Some(Arc::clone(&planned.columns));
        }
        // Policies of other plugins have no condition to evaluate.
        let of_people = rules
            .book
            .rules()
            .iter()
            .filter(|live| !live.rule.draft.condition.is_empty());
        let specs: Vec<RuleSpec> = of_people.map(|live| live.rule.spec()).collect();
        let columns = match plugin.configure(self.tenant, rules.version, &specs) {
            Ok(configured) => {
                note_refused(plugin.name(), &configured);
                configured.columns
            }
            Err(error) => {
                tracing::error!(plugin = plugin.name(), %error, "plugin could not be configured with the rules");
                Arc::new(wanted)
            }
        };
        let planned = Planned {
            hash: plugin.hash().to_owned(),
            columns: Arc::clone(&columns),
        };
        rules.columns.by_plugin.insert(plugin.name().to_owned(), planned);
        Some(columns)
    }

    /// Cuts the columns out of the alerts, or prints the documents where no columns are given.
    fn batch(&self, events: &[&mut Pending], columns: Option<&[Column]>) -> Batch {
        let key = |event: &&mut Pending| (event.event.event_id.clone(), event.event.alert.fingerprint.clone());
        let row = |event: &&mut Pending| -> Vec<Scalar> {
            let attributes = &event.event.alert.attributes;
            columns
                .unwrap_or_default()
                .iter()
                .map(|column| column.of(attributes, json::to_text))
                .collect()
        };
        let document = |event: &&mut Pending| json::object_to_vec(&event.event.alert.attributes);
        Batch {
            tenant: self.tenant.clone(),
            now: self.now,
            keys: events.iter().map(key).collect(),
            columns: columns
                .unwrap_or_default()
                .iter()
                .map(|column| column.name.clone())
                .collect(),
            rows: if columns.is_some() {
                events.iter().map(row).collect()
            } else {
                Vec::new()
            },
            documents: if columns.is_some() {
                Vec::new()
            } else {
                events.iter().map(document).collect()
            },
        }
    }

    fn note_failed(&self, plugin: &dyn PluginCalls, events: &mut [&mut Pending], failed: &[(usize, String)]) {
        if failed.is_empty() {
            return;
        }
        let label = PluginLabel {
            plugin: plugin.name().to_owned(),
        };
        self.metrics
            .plugin_failures
            .get_or_create(&label)
            .inc_by(failed.len() as u64);
        for (at, reason) in failed {
            if let Some(event) = events.get_mut(*at) {
                event.plugin_failure =
                    Some(cut(&format!("{}: {reason}", plugin.name()), MAX_ERROR_TEXT_BYTES).to_owned());
            }
        }
    }
}

/// Says which rules a plugin did not take.
fn note_refused(plugin: &str, configured: &Configured) {
    for report in configured.reports.iter() {
        if let Err(diagnostics) = &report.outcome {
            let why = diagnostics
                .first()
                .map_or("no reason given", |first| first.message.as_str());
            tracing::warn!(plugin, rule = %report.rule, "plugin refused a rule: {why}");
        }
    }
}

fn of_role(plugins: &PluginSet, role: Role) -> impl Iterator<Item = &Arc<dyn PluginCalls>> {
    plugins.plugins.iter().filter(move |plugin| plugin.role() == role)
}

/// Whether people stated any rule; policies of plugins have no condition to evaluate.
fn has_conditions(rules: &Tenant) -> bool {
    rules
        .book
        .rules()
        .iter()
        .any(|live| !live.rule.draft.condition.is_empty())
}

fn wanted_columns(plugin: &dyn PluginCalls) -> Option<Vec<Column>> {
    match &plugin.description().wants {
        Wants::Fields(fields) => Some(fields.iter().map(|name| Column::new(name)).collect()),
        Wants::Documents => None,
    }
}

/// Applies the allowed changes of one patch and remembers them with the event.
fn apply_patch(plugin: &str, event: &mut Pending, changes: Vec<Change>) {
    for change in changes {
        let path = match &change {
            Change::Set { path, .. } | Change::Remove { path } => path.clone(),
        };
        let keys = split_path(&path);
        if keys
            .first()
            .is_none_or(|first| first.is_empty() || FIXED_ATTRIBUTES.contains(&first.as_str()))
        {
            event.plugin_failure = Some(format!("{plugin}: may not change attribute: {path}"));
            continue;
        }
        let attributes = &mut event.event.alert.attributes;
        match change {
            Change::Remove { .. } => {
                attributes.remove_at(&keys);
                event.enrichments.push((path, None));
            }
            Change::Set { json: text, .. } => match json::parse(text.as_bytes()) {
                Err(error) => event.plugin_failure = Some(format!("{plugin}: value of {path} is not JSON: {error}")),
                Ok(value) => {
                    if attributes.set_at(&keys, value) {
                        event.enrichments.push((path, Some(text)));
                    } else {
                        event.plugin_failure = Some(format!("{plugin}: something else is in the way of: {path}"));
                    }
                }
            },
        }
    }
    event.event.alert.reread();
}

/// Everything known about one event, its verdicts in the order of the rule book. Verdicts of unknown rules are dropped:
/// a plugin proposes, it never decides (I5).
pub fn judged<'a>(
    event: &'a Pending,
    position: usize,
    plugins: &'a [Source],
    verdicts: &'a [Vec<(usize, Verdict)>],
    book: &'a RuleBook,
) -> Judged<'a> {
    let mut ordered: Vec<(usize, Judgement<'a>)> = Vec::new();
    for (plugin, verdict) in verdicts.get(position).map(Vec::as_slice).unwrap_or_default() {
        let (Some((place, rule)), Some((plugin, columns))) = (book.get(&verdict.rule), plugins.get(*plugin)) else {
            continue;
        };
        let judgement = Judgement {
            rule,
            group: GroupKey::new(verdict.group_key.clone()),
            branches: verdict
                .branches
                .iter()
                .copied()
                .filter(|at| (*at as usize) < rule.rule.draft.branches.len())
                .collect::<BranchSet>(),
            columns,
            read: &verdict.read,
            plugin: (plugin.name(), &plugin.description().version),
        };
        ordered.push((place, judgement));
    }
    ordered.sort_by_key(|(place, _)| *place);
    Judged {
        event: &event.event,
        admission: &event.admission,
        enrichments: event.enrichments.clone(),
        plugin_failure: event.plugin_failure.clone(),
        judgements: ordered.into_iter().map(|(_, judgement)| judgement).collect(),
    }
}

/// Keeps failed evaluations with their rules, where people look for them.
pub fn note_rule_failures<V: StateView>(
    working: &mut Working<V>,
    tenant: &TenantId,
    events: &[&mut Pending],
    failures: &[RuleFailure],
    metrics: &Metrics,
) -> Result<(), StateError> {
    for failure in failures {
        let Some(event) = events.get(failure.alert) else {
            continue;
        };
        metrics.rule_errors.inc();
        let stats = working.stats_mut(tenant, &failure.rule)?;
        stats.errors += 1;
        stats.last_error = Some(RuleError {
            message: cut(&failure.message, MAX_ERROR_TEXT_BYTES).to_owned(),
            event_id: event.event.event_id.as_str().to_owned(),
            at: event.event.accepted,
        });
    }
    Ok(())
}
