//! One batch between admission and commit: every tenant's new events are enriched and correlated by one set of plugins
//! (I9), and only then settled. Nothing is changed before all plugins have answered, so a batch can begin anew.

use std::sync::Arc;

use donjon_core::admit::{Admission, Dedup};
use donjon_core::batch::{KvSpace, KvWrite};
use donjon_core::branch_set::BranchSet;
use donjon_core::limits::{MAX_ERROR_TEXT_BYTES, cut};
use donjon_core::settle::{Judged, Judgement, RuleBook, settle};
use donjon_core::state::StateView;
use donjon_core::{Event, GroupKey, IncidentId, Object, TenantId, Timestamp};
use donjon_runtime::PluginSet;

use super::pieces::Load;
use super::rule_sets::TenantRules;
use super::stages::{self, Correlated, Found, Interrupted, Source, Stage};
use super::tally::Tally;
use super::{Worker, WorkerError, computed, policies, required};
use crate::intake::Waiter;
use crate::json;
use crate::line::evaluates_rules;
use crate::telemetry::Stage as Timed;

/// Most failures that one alert tells about.
const MAX_FAILURES: usize = 8;
const _: () = assert!(
    MAX_FAILURES * 64 <= MAX_ERROR_TEXT_BYTES,
    "each failure has room for a few words"
);

/// An event between admission and settling.
pub struct Pending {
    pub(super) event: Event,
    /// Where it was sent to, and whose key sent it.
    pub(super) sender: (String, String),
    pub(super) admission: Admission,
    pub(super) waiter: Option<(Arc<Waiter>, usize)>,
    pub(super) enrichments: Vec<(String, Option<String>)>,
    pub(super) incidents: Vec<IncidentId>,
    failures: Vec<String>,
    /// The attributes before the first patch, should the batch begin anew.
    original: Option<Box<Object>>,
}

impl Pending {
    pub(super) fn new(
        event: Event,
        sender: (String, String),
        admission: Admission,
        waiter: Option<(Arc<Waiter>, usize)>,
    ) -> Pending {
        Pending {
            event,
            sender,
            admission,
            waiter,
            enrichments: Vec::new(),
            incidents: Vec::new(),
            failures: Vec::new(),
            original: None,
        }
    }

    /// Whether it goes to the plugins.
    pub(super) fn is_new(&self) -> bool {
        self.admission.dedup != Dedup::Duplicate
    }

    /// Remembers why a plugin did not contribute; the first few are told.
    pub(super) fn note_failure(&mut self, why: String) {
        if self.failures.len() < MAX_FAILURES && !self.failures.contains(&why) {
            self.failures.push(why);
        }
    }

    /// All failures as one text.
    pub(super) fn failure(&self) -> Option<String> {
        let each = MAX_ERROR_TEXT_BYTES / self.failures.len().max(1) - 2;
        let short: Vec<&str> = self.failures.iter().map(|why| cut(why, each)).collect();
        (!short.is_empty()).then(|| short.join("; "))
    }

    /// Before a patch.
    pub(super) fn keep_original(&mut self) {
        if self.original.is_none() {
            self.original = Some(Box::new(self.event.alert.attributes.clone()));
        }
    }

    /// As it was before any plugin saw it.
    fn begin_anew(&mut self) {
        if let Some(original) = self.original.take() {
            self.event.alert.attributes = *original;
            self.event.alert.reread();
        }
        self.enrichments.clear();
        self.failures.clear();
    }
}

/// What plugins found on the new events of one tenant.
pub(super) struct JudgedTenant {
    tenant: TenantId,
    /// Positions of its new events in the batch.
    positions: Vec<usize>,
    kv_writes: Vec<(KvSpace, KvWrite)>,
    correlated: Correlated,
    tally: Tally,
}

impl Worker {
    /// Asks the plugins about a batch; from the beginning if other plugins take over meanwhile. None if they find more
    /// than one commit is to hold.
    pub(super) fn judge_batch(
        &mut self,
        pending: &mut [Pending],
        now: Timestamp,
        load: &mut Load,
    ) -> Result<Option<Vec<JudgedTenant>>, WorkerError> {
        let (before, followed) = (self.parts.pending_kv.mark(), load.clone());
        loop {
            required::wait_for_required(&self.parts)?;
            let plugins = self.parts.plugins.load_full();
            match self.judge_tenants(&plugins, pending, now, load) {
                Ok(judged) => return Ok(Some(judged)),
                Err(Interrupted::Ended(error)) => return Err(error),
                Err(Interrupted::TooMuch) => return Ok(None),
                Err(Interrupted::PluginsChanged) => {
                    self.parts.pending_kv.go_back(&before);
                    load.clone_from(&followed);
                    pending.iter_mut().for_each(Pending::begin_anew);
                }
            }
        }
    }

    /// The same by these plugins.
    pub(super) fn judge_tenants(
        &mut self,
        plugins: &PluginSet,
        pending: &mut [Pending],
        now: Timestamp,
        load: &mut Load,
    ) -> Result<Vec<JudgedTenant>, Interrupted> {
        let mut all = Vec::new();
        for tenant in tenants_of(pending) {
            self.load_rules(&tenant, plugins)?;
            let Some(rules) = self.rule_books.get_mut(&tenant) else {
                continue;
            };
            let (positions, mut news): (Vec<usize>, Vec<&mut Pending>) = pending
                .iter_mut()
                .enumerate()
                .filter(|(_, event)| event.is_new() && event.event.tenant == tenant)
                .unzip();
            if news.is_empty() {
                continue;
            }
            news.iter_mut().for_each(|event| computed::fill(event, &rules.computed));
            let mut stage = Stage {
                tally: Tally::default(),
                line: &self.parts.line,
                current: &self.parts.plugins,
                pending_kv: &self.parts.pending_kv,
                stopping: &self.parts.stopping,
                pause: &self.parts.pause,
                probes: &mut self.probes,
                load: &mut *load,
                tenant: &tenant,
                now,
            };
            let times = &self.parts.metrics.stages;
            let mut kv_writes = times.time(Timed::Enrich, || stage.enrich(plugins, &mut news))?;
            let mut correlated = times.time(Timed::Correlate, || stage.correlate(plugins, &mut news, rules))?;
            kv_writes.append(&mut correlated.kv_writes);
            let tally = stage.tally;
            all.push(JudgedTenant {
                tenant,
                positions,
                kv_writes,
                correlated,
                tally,
            });
        }
        Ok(all)
    }

    /// Takes what was found into derived state, event by event; answers what it adds to the figures once it is committed.
    pub(super) fn settle_judged(
        &mut self,
        judged: JudgedTenant,
        pending: &mut [Pending],
    ) -> Result<Tally, WorkerError> {
        let JudgedTenant {
            tenant,
            positions,
            kv_writes,
            correlated,
            mut tally,
        } = judged;
        self.working.tenant_mut(&tenant)?.offered += positions.len() as u64;
        for (space, write) in kv_writes {
            self.working.put_plugin_kv(space, write);
        }
        let events = |position: usize| positions.get(position).and_then(|at| pending.get(*at));
        tally.rule_errors = stages::note_rule_failures(&mut self.working, &tenant, events, &correlated.failures)?;
        for (at, found) in positions.iter().zip(&correlated.verdicts) {
            if let Some(event) = pending.get_mut(*at) {
                let judged = as_judged(event, found, &correlated.sources);
                event.incidents = settle(&mut self.working, judged, json::to_text_at_most)?;
            }
        }
        Ok(tally)
    }

    /// Takes events into derived state that nobody judges, for this reason.
    pub(super) fn settle_unjudged(&mut self, pending: &mut [Pending], why: &str) -> Result<(), WorkerError> {
        for event in pending.iter_mut().filter(|event| event.is_new()) {
            event.note_failure(why.to_owned());
            self.working.tenant_mut(&event.event.tenant)?.offered += 1;
            settle(&mut self.working, as_judged(event, &[], &[]), json::to_text_at_most)?;
        }
        Ok(())
    }

    /// Gives the plugins the rules of a tenant right after a change was committed: whoever asked for it is then told what
    /// is in force, and the next change finds the copies that it may use, not one that has yet to take over.
    pub(super) fn put_rules_in_force(&mut self, tenant: &TenantId) -> Result<(), WorkerError> {
        let plugins = self.parts.plugins.load_full();
        self.load_rules(tenant, &plugins)?;
        let Some(rules) = self.rule_books.get_mut(tenant).filter(|rules| rules.has_conditions()) else {
            return Ok(());
        };
        for plugin in plugins.plugins.iter().filter(|plugin| evaluates_rules(plugin.as_ref())) {
            // What a plugin does not take is noted for people, and tried again with the next alert.
            drop(rules.plan(plugin.as_ref(), tenant, &self.parts.line));
        }
        Ok(())
    }

    /// The rules of a tenant as committed, and the policies that plugins brought along; read again only when rules or
    /// plugins changed.
    pub(super) fn load_rules(&mut self, tenant: &TenantId, plugins: &PluginSet) -> Result<(), WorkerError> {
        let known = self.rule_books.get(tenant);
        if known.is_some_and(|known| known.is_current(plugins.generation)) {
            return Ok(());
        }
        let committed = self.working.committed();
        let version = committed.tenant(tenant)?.rules_version;
        let mut rules = committed.rules(tenant)?;
        rules.extend(policies::as_rules(tenant, plugins));
        let before = self.rule_books.remove(tenant);
        let book = RuleBook::new(rules);
        let computed = computed::wanted(&book, plugins);
        let rules = TenantRules::new(version, plugins.generation, book, computed, before);
        if !rules.has_conditions() {
            // No plugin is asked, and none has anything against them.
            self.parts.line.forget_trouble(tenant);
        }
        self.rule_books.insert(tenant.clone(), rules);
        Ok(())
    }
}

fn tenants_of(pending: &[Pending]) -> Vec<TenantId> {
    let mut tenants: Vec<TenantId> = Vec::new();
    for event in pending {
        if tenants.last() != Some(&event.event.tenant) && !tenants.contains(&event.event.tenant) {
            tenants.push(event.event.tenant.clone());
        }
    }
    tenants
}

/// Everything known about one event, its verdicts in the order of the rule book: higher priority first, then older first.
pub(super) fn as_judged<'a>(event: &'a Pending, found: &'a [Found], sources: &'a [Source]) -> Judged<'a> {
    let mut ordered: Vec<(&Found, &Source)> = found
        .iter()
        .filter_map(|found| Some((found, sources.get(found.source)?)))
        .collect();
    ordered.sort_by_key(|(found, _)| {
        let rule = &found.rule.rule;
        (std::cmp::Reverse(rule.draft.priority), rule.created_seq, found.place)
    });
    let judgement = |(found, source): (&'a Found, &'a Source)| Judgement {
        rule: &found.rule,
        group: GroupKey::new(found.verdict.group_key.clone()),
        branches: found
            .verdict
            .branches
            .iter()
            .copied()
            .filter(|at| (*at as usize) < found.rule.rule.draft.branches.len())
            .collect::<BranchSet>(),
        columns: &source.columns,
        read: &found.verdict.read,
        plugin: (source.plugin.name(), source.plugin.version()),
    };
    Judged {
        event: &event.event,
        admission: &event.admission,
        enrichments: event.enrichments.clone(),
        plugin_failure: event.failure(),
        judgements: ordered.into_iter().map(judgement).collect(),
    }
}
