//! The stages of a batch that call plugins: enrich, then correlate. A plugin's failure is a value that travels with the
//! alert (I6). Knows how columns are cut out of alerts; decides nothing about incidents.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use donjon_core::batch::{Batch, Column, Findings, KvSpace, KvWrite, RuleFailure, Verdict, Wants};
use donjon_core::limits::{MAX_ERROR_TEXT_BYTES, cut};
use donjon_core::rule::RuleError;
use donjon_core::settle::LiveRule;
use donjon_core::state::{StateError, StateView};
use donjon_core::working::Working;
use donjon_core::{RuleId, TenantId, Timestamp};
use donjon_runtime::{CorrelateOutcome, PluginCalls, PluginSet, Role};
use tokio_util::sync::CancellationToken;

use super::handed::{Handed, hand};
use super::pieces::Load;
use super::probes::{Asked, Probes};
use super::required::Attempt;
use super::rule_sets::{InForce, Plan, TenantRules};
use super::slices::{self, Slices};
use super::tally::Tally;
use super::{Pause, Pending, WorkerError, patches};
use crate::line::{LineStatus, Policy, evaluates_rules};
use crate::plugin_kv::PendingKv;

/// What an alert is told that nobody compared with rules.
const UNSEEN: &str =
    "no correlator is loaded, no rule was evaluated; once one is, judge it again by its journal position";
/// What an alert is told whose tenant has rules that no correlator takes.
const NO_RULE_EVALUATED: &str = "no correlator that takes rules is loaded, no rule was evaluated; once one is, judge it \
     again by its journal position";
/// A plugin spoke of a rule that it was not given, or of a policy that is not its own.
const FOREIGN: &str = "names a rule or policy that is not its own";
/// A verdict names a branch beyond those of its rule.
const NO_SUCH_BRANCH: &str = "names a branch that its rule does not have";

/// Why a batch is not judged to its end.
pub enum Interrupted {
    /// Other plugins serve: the batch begins anew.
    PluginsChanged,
    /// More is found than one commit is to hold: the batch is applied in pieces.
    TooMuch,
    /// The worker ends.
    Ended(WorkerError),
}

impl<E: Into<WorkerError>> From<E> for Interrupted {
    fn from(error: E) -> Interrupted {
        Interrupted::Ended(error.into())
    }
}

/// One tenant's part of a batch.
pub struct Stage<'a> {
    /// What it adds to the figures.
    pub tally: Tally,
    /// What holds the line.
    pub line: &'a LineStatus,
    /// The plugins that serve now: only looked at while a required plugin holds the line.
    pub current: &'a ArcSwap<PluginSet>,
    /// What plugins wrote in this batch.
    pub pending_kv: &'a PendingKv,
    /// A stop was asked for.
    pub stopping: &'a CancellationToken,
    /// Waits a while.
    pub pause: &'a Pause,
    /// What required plugins judged, and who sent poison.
    pub probes: &'a mut Probes,
    /// How much plugins found on the batch so far.
    pub load: &'a mut Load,
    /// Whose alerts.
    pub tenant: &'a TenantId,
    /// Batch time.
    pub now: Timestamp,
}

/// Who gave verdicts: a plugin, and what it was handed.
pub struct Source {
    /// The plugin.
    pub plugin: Arc<dyn PluginCalls>,
    /// Its columns; none if it was handed documents.
    pub columns: Arc<Vec<Column>>,
}

/// A verdict that counts.
#[derive(Clone)]
pub struct Found {
    /// Position of the plugin among the sources.
    pub source: usize,
    /// Place of the rule in the order of the book.
    pub place: usize,
    /// The rule.
    pub rule: Arc<LiveRule>,
    /// What the plugin said.
    pub verdict: Verdict,
}

/// What all plugins found on one tenant's alerts.
#[derive(Default)]
pub struct Correlated {
    /// Who was asked.
    pub sources: Vec<Source>,
    /// Verdicts by position of the event.
    pub verdicts: Vec<Vec<Found>>,
    /// Rules that could not be evaluated.
    pub failures: Vec<RuleFailure>,
    /// Writes of plugins to their own data.
    pub kv_writes: Vec<(KvSpace, KvWrite)>,
}

/// Findings that do not count.
#[derive(Default)]
struct Misfits {
    /// How many are about what is not the plugin's.
    foreign: u64,
    /// Verdicts by alert of the slice that name a branch that is not there, and what to tell.
    branchless: Vec<(usize, String)>,
}

impl Correlated {
    /// Takes over the findings on a slice whose first alert has the position `first` in the batch. A plugin speaks for
    /// the rules it took and for its own policies (I5), and for branches that rules have: what does not count is answered.
    fn take(&mut self, plugin: &Arc<dyn PluginCalls>, in_force: &InForce, findings: Findings, first: usize) -> Misfits {
        let (source, mut misfits) = (self.sources.len(), Misfits::default());
        self.sources.push(Source {
            plugin: Arc::clone(plugin),
            columns: in_force.columns.clone().unwrap_or_default(),
        });
        let mut known: HashMap<RuleId, Option<(usize, Arc<LiveRule>)>> = HashMap::new();
        let mut rule_of = |named: &RuleId| {
            if let Some(found) = known.get(named) {
                return found.clone();
            }
            let found = in_force
                .rule(plugin.name(), named)
                .map(|(place, rule)| (place, Arc::clone(rule)));
            known.insert(named.clone(), found.clone());
            found
        };
        for verdict in findings.verdicts {
            let Some((place, rule)) = rule_of(&verdict.rule) else {
                misfits.foreign += 1;
                continue;
            };
            // Policies of one branch name none: what is said of them means nothing, and is left out.
            let branches = rule.rule.draft.branches.len();
            let strange = verdict.branches.iter().find(|at| **at as usize >= branches);
            if let Some(strange) = strange.filter(|_| branches > 0) {
                let why = format!("a verdict {NO_SUCH_BRANCH}, which has {branches}: {strange}");
                misfits.branchless.push((verdict.alert, why));
                continue;
            }
            if let Some(verdicts) = self.verdicts.get_mut(first + verdict.alert) {
                verdicts.push(Found {
                    source,
                    place,
                    rule,
                    verdict,
                });
            }
        }
        for failure in findings.failures {
            match rule_of(&failure.rule) {
                Some((_, rule)) => self.failures.push(RuleFailure {
                    alert: first + failure.alert,
                    rule: rule.rule.id.clone(),
                    message: failure.message,
                }),
                None => misfits.foreign += 1,
            }
        }
        misfits
    }
}

impl Stage<'_> {
    /// Lets every enricher propose patches, and applies what is allowed.
    ///
    /// # Errors
    /// When a stop was asked for, or other plugins serve, while a required plugin held the line.
    pub fn enrich(
        &mut self,
        plugins: &PluginSet,
        events: &mut [&mut Pending],
    ) -> Result<Vec<(KvSpace, KvWrite)>, Interrupted> {
        let mut kv_writes = Vec::new();
        for plugin in of_role(plugins, Role::Enricher) {
            let columns = wanted_columns(&plugin.description().wants_to_enrich);
            let mut slices = Slices::new(events);
            while let Some(slice) = slices.next(plugin.slice_alerts(Role::Enricher)) {
                let attempt = self.until_it_works((plugin.as_ref(), Role::Enricher), plugins.generation, |stage| {
                    let (handed, first_alert) =
                        stage.handed((plugin.as_ref(), Role::Enricher), slice, columns.as_deref());
                    let (alerts, over) = (handed.batch.len(), handed.over);
                    let outcome = plugin.enrich(handed.batch);
                    let (failed, why) = failed_of(&outcome.failed);
                    Attempt {
                        alerts,
                        over,
                        failed,
                        why,
                        may_pass: outcome.may_pass,
                        wrote_too_much: outcome.wrote_too_much,
                        first_alert,
                        outcome,
                    }
                })?;
                let (alerts, outcome) = (attempt.alerts, attempt.outcome);
                self.note_failed(plugin.as_ref(), slice, &attempt.over);
                self.note_failed(plugin.as_ref(), slice, &outcome.failed);
                self.note_failed(plugin.as_ref(), slice, &outcome.refused);
                for patch in outcome.patches {
                    if let Some(event) = slice.get_mut(patch.alert) {
                        event.keep_original();
                        patches::apply(plugin.name(), event, patch.changes);
                    }
                }
                self.take_writes(plugin.as_ref(), outcome.kv_writes, &mut kv_writes)?;
                slices.done(alerts);
            }
        }
        Ok(kv_writes)
    }

    /// Lets every correlator judge the batch.
    ///
    /// # Errors
    /// When a stop was asked for, or other plugins serve, while a required plugin held the line.
    pub fn correlate(
        &mut self,
        plugins: &PluginSet,
        events: &mut [&mut Pending],
        rules: &mut TenantRules,
    ) -> Result<Correlated, Interrupted> {
        let mut correlated = Correlated {
            verdicts: vec![Vec::new(); events.len()],
            ..Correlated::default()
        };
        for plugin in of_role(plugins, Role::Correlator) {
            let description = plugin.description();
            if description.takes_rules && description.policies.is_empty() && !rules.has_conditions() {
                continue;
            }
            let mut first = 0;
            let mut slices = Slices::new(events);
            while let Some(slice) = slices.next(plugin.slice_alerts(Role::Correlator)) {
                let attempt =
                    self.until_it_works((plugin.as_ref(), Role::Correlator), plugins.generation, |stage| {
                        let plan = rules.plan(plugin.as_ref(), stage.tenant, stage.line);
                        stage.correlate_once(plugin.as_ref(), slice, plan)
                    })?;
                let (alerts, (plan, outcome)) = (attempt.alerts, attempt.outcome);
                let slice = slice.get_mut(..alerts).unwrap_or_default();
                self.note_failed(plugin.as_ref(), slice, &attempt.over);
                self.note_failed(plugin.as_ref(), slice, &outcome.failed);
                self.note_failed(plugin.as_ref(), slice, &outcome.refused);
                if let Some(plan) = plan {
                    if let Some(text) = &plan.refused {
                        let every: Vec<_> = (0..slice.len()).map(|at| (at, text.clone())).collect();
                        self.note_failed(plugin.as_ref(), slice, &every);
                    }
                    let foreign = outcome.foreign;
                    let misfits = correlated.take(plugin, &plan.in_force, outcome.findings, first);
                    self.tally.dropped(plugin, FOREIGN, foreign + misfits.foreign);
                    self.tally
                        .dropped(plugin, NO_SUCH_BRANCH, misfits.branchless.len() as u64);
                    self.note_failed(plugin.as_ref(), slice, &misfits.branchless);
                    self.weigh(&correlated.verdicts, first, slice)?;
                }
                self.take_writes(plugin.as_ref(), outcome.kv_writes, &mut correlated.kv_writes)?;
                first += alerts;
                slices.done(alerts);
            }
        }
        if let Some(why) = unseen(plugins, rules) {
            for event in events.iter_mut() {
                event.note_failure(format!("{why}: {}", event.event.seq));
            }
        }
        Ok(correlated)
    }

    /// Counts what was found on a slice whose first alert has this position.
    fn weigh(&mut self, verdicts: &[Vec<Found>], first: usize, slice: &[&mut Pending]) -> Result<(), Interrupted> {
        for (found, event) in verdicts.iter().skip(first).zip(slice) {
            // By all plugins so far: where there are several, this errs to the safe side.
            let alert_bytes = match found.is_empty() {
                true => 0,
                false => slices::bytes_of(&event.event.alert.attributes),
            };
            self.load.add(found, alert_bytes);
        }
        self.check_load()
    }

    /// One call; without rules in force every alert has failed.
    fn correlate_once(
        &self,
        plugin: &dyn PluginCalls,
        slice: &[&mut Pending],
        plan: Result<Plan, String>,
    ) -> Attempt<(Option<Plan>, CorrelateOutcome)> {
        match plan {
            Ok(plan) => {
                let columns = plan.in_force.columns.as_ref().map(|columns| columns.as_slice());
                let (handed, first_alert) = self.handed((plugin, Role::Correlator), slice, columns);
                let (alerts, over) = (handed.batch.len(), handed.over);
                let outcome = plugin.correlate(handed.batch);
                let (failed, why) = failed_of(&outcome.failed);
                Attempt {
                    alerts,
                    over,
                    failed,
                    why,
                    may_pass: outcome.may_pass,
                    wrote_too_much: outcome.wrote_too_much,
                    first_alert,
                    outcome: (Some(plan), outcome),
                }
            }
            Err(why) => {
                let first = slice.get(..1).unwrap_or_default();
                let first = hand(self.tenant, first, None);
                let outcome = CorrelateOutcome {
                    failed: (0..slice.len()).map(|at| (at, why.clone())).collect(),
                    ..CorrelateOutcome::default()
                };
                Attempt {
                    alerts: slice.len(),
                    over: Vec::new(),
                    failed: slice.len(),
                    why,
                    may_pass: true,
                    wrote_too_much: false,
                    first_alert: Some(first.batch),
                    outcome: (None, outcome),
                }
            }
        }
    }

    /// What a plugin is handed of a slice, and the first alert of it where none like it is known to be judged.
    fn handed(&self, asked: Asked<'_>, slice: &[&mut Pending], columns: Option<&[Column]>) -> (Handed, Option<Batch>) {
        let handed = hand(self.tenant, slice, columns);
        let is_wanted = self.line.policy(asked.0) == Policy::Required && self.probes.wants(asked, &handed.batch);
        let first = is_wanted.then(|| handed.batch.slice(0..1));
        (handed, first)
    }

    /// Keeps writes for the commit, and shows them to the plugin's later calls of this batch.
    fn take_writes(
        &mut self,
        plugin: &dyn PluginCalls,
        writes: Vec<KvWrite>,
        all: &mut Vec<(KvSpace, KvWrite)>,
    ) -> Result<(), Interrupted> {
        let space = KvSpace::new(plugin.name(), self.tenant);
        for write in writes {
            self.load.write(&write);
            self.pending_kv.put(&space, &write);
            all.push((space.clone(), write));
        }
        self.check_load()
    }

    /// Whether the batch is given back: more was found or written than one commit is to hold.
    pub(super) fn check_load(&self) -> Result<(), Interrupted> {
        match self.load.fewer_entries() {
            Some(_) => Err(Interrupted::TooMuch),
            None => Ok(()),
        }
    }

    fn note_failed(&mut self, plugin: &dyn PluginCalls, events: &mut [&mut Pending], failed: &[(usize, String)]) {
        if failed.is_empty() {
            return;
        }
        self.tally.failed(plugin.name(), failed.len());
        for (at, reason) in failed {
            if let Some(event) = events.get_mut(*at) {
                event.note_failure(format!("{}: {reason}", plugin.name()));
            }
        }
    }
}

/// Why no rule of the tenant is evaluated at all, if it has any or nothing could tell.
fn unseen(plugins: &PluginSet, rules: &TenantRules) -> Option<&'static str> {
    let mut correlators = of_role(plugins, Role::Correlator).peekable();
    match correlators.peek() {
        None => Some(UNSEEN),
        Some(_) => {
            let evaluated = !rules.has_conditions() || correlators.any(|plugin| evaluates_rules(plugin.as_ref()));
            (!evaluated).then_some(NO_RULE_EVALUATED)
        }
    }
}

/// What the loop needs to know of failed alerts.
fn failed_of(failed: &[(usize, String)]) -> (usize, String) {
    (
        failed.len(),
        failed.first().map(|(_, why)| why.clone()).unwrap_or_default(),
    )
}

fn of_role(plugins: &PluginSet, role: Role) -> impl Iterator<Item = &Arc<dyn PluginCalls>> {
    plugins
        .plugins
        .iter()
        .filter(move |plugin| plugin.roles().contains(role))
}

fn wanted_columns(wants: &Wants) -> Option<Vec<Column>> {
    match wants {
        Wants::Fields(fields) => Some(fields.iter().map(|name| Column::new(name)).collect()),
        Wants::Documents => None,
    }
}

/// Keeps failed evaluations with their rules, where people look for them; answers how many.
pub fn note_rule_failures<'a, V: StateView>(
    working: &mut Working<V>,
    tenant: &TenantId,
    event: impl Fn(usize) -> Option<&'a Pending>,
    failures: &[RuleFailure],
) -> Result<u64, StateError> {
    let mut noted = 0;
    for failure in failures {
        let Some(event) = event(failure.alert) else {
            continue;
        };
        noted += 1;
        let stats = working.stats_mut(tenant, &failure.rule)?;
        stats.errors += 1;
        stats.last_error = Some(RuleError {
            message: cut(&failure.message, MAX_ERROR_TEXT_BYTES).to_owned(),
            event_id: event.event.event_id.as_str().to_owned(),
            at: event.event.accepted,
        });
    }
    Ok(noted)
}

#[cfg(test)]
#[path = "roles_tests.rs"]
mod tests;
