//! The rules that batches are judged by: those of people as committed, the policies that plugins bring along, and what
//! each plugin has of them. Rules and the columns that they read change together or not at all. Knows no alert.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use donjon_core::batch::{Column, RuleReport, RuleSpec, Wants};
use donjon_core::limits::{MAX_ERROR_TEXT_BYTES, cut};
use donjon_core::settle::{LiveRule, RuleBook};
use donjon_core::{RuleId, TenantId};
use donjon_runtime::{Configured, PluginCalls};

use crate::line::{LineStatus, RuleTrouble};

/// How long a refused version is left alone: doubled from the first to the longest, so that a plugin that computes for
/// seconds before it refuses does not do so batch after batch.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

const _: () = assert!(FIRST_PAUSE.as_millis() < LONGEST_PAUSE.as_millis());

/// The rules of a tenant, as of the running batch (I9).
pub struct TenantRules {
    /// Of the tenant's rules.
    version: u64,
    /// Of the plugin set whose policies are in the book.
    plugin_generation: u64,
    stale: bool,
    /// The newest rules and policies.
    book: Arc<RuleBook>,
    /// Computed attributes that rules or plugins read.
    pub computed: Vec<&'static str>,
    specs: Vec<RuleSpec>,
    by_plugin: HashMap<String, OfPlugin>,
}

/// What one plugin has.
#[derive(Default)]
struct OfPlugin {
    hash: String,
    in_force: Option<Arc<InForce>>,
    refused: Option<Refused>,
}

struct Refused {
    version: u64,
    why: String,
    pause: Duration,
    not_before: Instant,
}

/// What a plugin judges by: one version of rules and columns, and what its verdicts may name.
pub struct InForce {
    /// Version of the rules.
    pub version: u64,
    /// None for a plugin that wants documents.
    pub columns: Option<Arc<Vec<Column>>>,
    /// The rules and policies of this version.
    book: Arc<RuleBook>,
    /// Rules of people that the plugin took.
    taken: HashSet<RuleId>,
}

impl InForce {
    fn new(plugin: &dyn PluginCalls, configured: &Configured, book: &Arc<RuleBook>) -> InForce {
        let taken = configured.reports.iter().filter(|report| report.outcome.is_ok());
        let fields = matches!(plugin.description().wants_to_correlate, Wants::Fields(_));
        InForce {
            version: configured.version,
            columns: fields.then(|| Arc::clone(&configured.columns)),
            book: Arc::clone(book),
            taken: taken.map(|report| report.rule.clone()).collect(),
        }
    }

    /// The rule that a plugin speaks of, if it may: a rule that it took, or a policy of its own.
    pub fn rule(&self, plugin: &str, named: &RuleId) -> Option<(usize, &Arc<LiveRule>)> {
        let policy = named
            .as_str()
            .strip_prefix(plugin)
            .and_then(|rest| rest.strip_prefix('/'));
        match self.taken.contains(named) || policy.is_some() {
            true => self.book.get(named),
            false => None,
        }
    }
}

/// What to call a plugin with.
pub struct Plan {
    /// The rules and columns.
    pub in_force: Arc<InForce>,
    /// Why they are not the newest ones; every alert is told.
    pub refused: Option<String>,
}

impl TenantRules {
    /// From committed rules and policies; what plugins have goes over from `before`.
    pub fn new(
        version: u64,
        plugin_generation: u64,
        book: RuleBook,
        computed: Vec<&'static str>,
        before: Option<TenantRules>,
    ) -> TenantRules {
        let of_people = book.rules().iter().filter(|live| !live.rule.draft.condition.is_empty());
        let specs = of_people.map(|live| live.rule.spec()).collect();
        TenantRules {
            version,
            plugin_generation,
            stale: false,
            book: Arc::new(book),
            computed,
            specs,
            by_plugin: before.map(|before| before.by_plugin).unwrap_or_default(),
        }
    }

    /// The committed rules are others: they are read again before the next batch.
    pub fn are_stale(&mut self) {
        self.stale = true;
    }

    /// Whether these are the committed rules, with the policies of this set of plugins.
    pub fn is_current(&self, generation: u64) -> bool {
        !self.stale && self.plugin_generation == generation
    }

    /// Whether people stated any rule; policies of plugins have no condition to evaluate.
    pub fn has_conditions(&self) -> bool {
        !self.specs.is_empty()
    }

    /// What a correlator judges by, giving it the newest rules where it has not got them yet. If it does not take them,
    /// the rules and columns before stay in force.
    ///
    /// # Errors
    /// There are none: why it did not take the rules.
    pub fn plan(&mut self, plugin: &dyn PluginCalls, tenant: &TenantId, line: &LineStatus) -> Result<Plan, String> {
        if !plugin.description().takes_rules {
            let in_force = self.without_rules(plugin);
            return Ok(Plan {
                in_force,
                refused: None,
            });
        }
        let (version, book) = (self.version, &self.book);
        let of = self.by_plugin.entry(plugin.name().to_owned()).or_default();
        of.follow(plugin, tenant, line);
        let current = of.in_force.as_ref();
        if let Some(in_force) = current.filter(|now| now.version == version && Arc::ptr_eq(&now.book, book)) {
            return Ok(Plan {
                in_force: Arc::clone(in_force),
                refused: None,
            });
        }
        if of.may_try(version) {
            match plugin.configure(tenant, version, &self.specs) {
                Ok(configured) => {
                    let trouble = trouble_with(&configured.reports);
                    say(plugin.name(), &trouble);
                    line.set_trouble(tenant, plugin.name(), trouble);
                    let in_force = Arc::new(InForce::new(plugin, &configured, book));
                    of.in_force = Some(Arc::clone(&in_force));
                    of.refused = None;
                    return Ok(Plan {
                        in_force,
                        refused: None,
                    });
                }
                Err(error) => of.note_refused(version, &error.to_string(), plugin.name()),
            }
        }
        let text = of.refusal(version);
        let trouble = RuleTrouble {
            refused: Some(text.clone()),
            ..RuleTrouble::default()
        };
        line.set_trouble(tenant, plugin.name(), trouble);
        match &of.in_force {
            Some(old) => Ok(Plan {
                in_force: Arc::clone(old),
                refused: Some(text),
            }),
            None => Err(text),
        }
    }

    /// For a plugin that takes no rules: its policies are all it may speak of.
    fn without_rules(&self, plugin: &dyn PluginCalls) -> Arc<InForce> {
        let columns = match &plugin.description().wants_to_correlate {
            Wants::Fields(fields) => Some(Arc::new(fields.iter().map(|name| Column::new(name)).collect())),
            Wants::Documents => None,
        };
        Arc::new(InForce {
            version: self.version,
            columns,
            book: Arc::clone(&self.book),
            taken: HashSet::new(),
        })
    }
}

impl OfPlugin {
    /// Another file under the same name has only what it was given itself; the book of a version they share is known.
    fn follow(&mut self, plugin: &dyn PluginCalls, tenant: &TenantId, line: &LineStatus) {
        if self.hash == plugin.hash() {
            return;
        }
        plugin.hash().clone_into(&mut self.hash);
        self.refused = None;
        let (before, given) = (self.in_force.take(), plugin.configured(tenant));
        let given = before
            .zip(given)
            .filter(|(before, given)| before.version == given.version);
        if let Some((before, given)) = given {
            // What the file before did not take is no trouble any more.
            line.set_trouble(tenant, plugin.name(), trouble_with(&given.reports));
            self.in_force = Some(Arc::new(InForce::new(plugin, &given, &before.book)));
        }
    }

    /// Whether a version was not refused just now.
    fn may_try(&self, version: u64) -> bool {
        let refused = self.refused.as_ref().filter(|refused| refused.version == version);
        refused.is_none_or(|refused| Instant::now() >= refused.not_before)
    }

    /// For people.
    fn refusal(&self, version: u64) -> String {
        let why = self.refused.as_ref().map_or("", |refused| refused.why.as_str());
        match &self.in_force {
            Some(old) => format!("rules v{} in force, v{version} refused: {why}", old.version),
            None => format!("no rules in force, v{version} refused: {why}"),
        }
    }

    fn note_refused(&mut self, version: u64, error: &str, plugin: &str) {
        let pause = match &self.refused {
            Some(before) if before.version == version => before.pause.saturating_mul(2).min(LONGEST_PAUSE),
            _ => FIRST_PAUSE,
        };
        tracing::error!(
            plugin,
            version,
            error,
            "plugin could not be given the rules; those before stay in force"
        );
        self.refused = Some(Refused {
            version,
            why: cut(error, MAX_ERROR_TEXT_BYTES).to_owned(),
            pause,
            not_before: Instant::now() + pause,
        });
    }
}

/// The rules that were not taken, each with the first reason.
fn trouble_with(reports: &[RuleReport]) -> RuleTrouble {
    let why = |report: &RuleReport| {
        let diagnostics = report.outcome.as_ref().err()?;
        let first = diagnostics
            .first()
            .map_or("no reason given", |first| first.message.as_str());
        Some((report.rule.clone(), first.to_owned()))
    };
    RuleTrouble {
        refused: None,
        rules: reports.iter().filter_map(why).collect(),
    }
}

fn say(plugin: &str, trouble: &RuleTrouble) {
    for (rule, why) in &trouble.rules {
        tracing::warn!(plugin, %rule, "plugin refused a rule: {why}");
    }
}

#[cfg(test)]
#[path = "rule_sets_tests.rs"]
mod tests;
