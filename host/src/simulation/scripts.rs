//! Plugins that follow a script. What they answer is a function of the alert alone, so that a replay must give the same;
//! when they answer is up to the dice: a stalled plugin fails whole calls until it is let go. Behind the same trait as
//! the real ones; the failure policy of the runtime is not in here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use donjon_core::batch::{
    AcceptedRule, Batch, Cell, Change, Column, Findings, KvSpace, KvValue, KvWrite, OnMissingGroup, Patch, RuleFailure,
    RuleReport, RuleSpec, Verdict, Wants,
};
use donjon_core::{TenantId, Timestamp};
use donjon_runtime::{
    CallError, Configured, CorrelateOutcome, Description, EnrichOutcome, KvRead, PluginCalls, PluginCounters, Role,
    Roles,
};

use super::mischief::{Mischief, text};

/// When runs begin: noon of some day.
pub const BEGIN_MS: u64 = 1_750_075_200_000;
/// How long after that values of plugins expire at most.
const MARKS_LAST_MS: u64 = 4 * 24 * 60 * 60 * 1000;

/// The conditions that the scripted correlator understands.
pub const CONDITIONS: [&str; 5] = [
    r#"severity == "critical""#,
    r#"name == "cpu""#,
    r#"service == "shop" || service == "bank""#,
    r#"labels.site == "s1" || severity == "high""#,
    r#"labels.enriched == "yes""#,
];

/// What the run decides about the plugins, and hears about them.
#[derive(Clone, Default)]
pub struct Direction {
    /// How many whole calls are to fail before the plugins work again.
    calls: Arc<AtomicUsize>,
    /// Alerts of one call.
    slice: Arc<AtomicUsize>,
    /// Parts of answers that the host did not take.
    dropped: Arc<AtomicU64>,
}

impl Direction {
    /// Plugins that want so many alerts in one call.
    pub fn with_slices(alerts: usize) -> Direction {
        let direction = Direction::default();
        direction.slice.store(alerts, Ordering::SeqCst);
        direction
    }

    fn slice_alerts(&self) -> usize {
        self.slice.load(Ordering::SeqCst)
    }

    pub fn stall(&self, calls: usize) {
        self.calls.store(calls, Ordering::SeqCst);
    }

    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::SeqCst)
    }

    fn drop(&self, count: u64) {
        self.dropped.fetch_add(count, Ordering::SeqCst);
    }

    /// Whether this call fails.
    fn strikes(&self) -> bool {
        let less = |left: usize| left.checked_sub(1);
        self.calls
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
            .is_ok()
    }
}

/// Reads what the batch is handed by the names of the columns.
struct Row<'a> {
    batch: &'a Batch,
    at: usize,
}

impl<'a> Row<'a> {
    fn get(&self, column: &str) -> Option<Cell<'a>> {
        let at = self.batch.column_names().position(|name| name == column)?;
        self.batch.cell(self.at, at)
    }

    fn mischief(&self) -> Option<Mischief> {
        Mischief::of(self.get("labels.mischief"))
    }
}

fn rows(batch: &Batch) -> impl Iterator<Item = Row<'_>> {
    (0..batch.len()).map(move |at| Row { batch, at })
}

fn described(name: &str, fields: &[&str], takes_rules: bool) -> Description {
    let wants = Wants::Fields(fields.iter().map(|field| (*field).to_owned()).collect());
    Description {
        name: name.to_owned(),
        version: "1.0.0".to_owned(),
        about: "follows a script".to_owned(),
        wants_to_correlate: wants.clone(),
        wants_to_enrich: wants,
        takes_rules,
        policies: Vec::new(),
    }
}

/// Counts the alerts of each name in its own data, and puts the count and a mark on the alert.
pub struct Enricher {
    description: Description,
    kv: Arc<dyn KvRead>,
    direction: Direction,
}

impl Enricher {
    pub const NAME: &'static str = "enricher";

    pub fn new(kv: Arc<dyn KvRead>, direction: Direction) -> Enricher {
        let description = described(Self::NAME, &["name", "severity", "labels.mischief"], false);
        Enricher {
            description,
            kv,
            direction,
        }
    }

    /// What is stored under a key, with the writes of this call on top.
    fn count(&self, space: &KvSpace, key: &str, writes: &BTreeMap<String, u64>) -> u64 {
        let stored = || {
            let value = self.kv.get(space, key).unwrap()?;
            Some(String::from_utf8(value.bytes).unwrap().parse().unwrap())
        };
        writes.get(key).copied().or_else(stored).unwrap_or(0)
    }
}

fn set(path: impl Into<String>, json: impl Into<String>) -> Change {
    Change::Set {
        path: path.into(),
        json: json.into(),
    }
}

fn changes_for(mischief: Option<Mischief>, count: u64, critical: bool) -> Vec<Change> {
    let mut changes = vec![set("labels.count", format!("\"{count}\""))];
    if critical {
        changes.push(set("labels.enriched", "\"yes\""));
    }
    match mischief {
        Some(Mischief::EnricherLies) => {
            changes.push(set("status", "\"resolved\""));
            changes.push(set("a.".repeat(3000), "1"));
            changes.push(set("labels.broken", "{"));
            changes.push(Change::Remove {
                path: "fingerprint".to_owned(),
            });
        }
        Some(Mischief::EnricherBloats) => {
            let much = format!("\"{}\"", "x".repeat(3000));
            changes.extend((0..120).map(|n| set(format!("bloat.b{n}"), much.clone())));
        }
        _ => {}
    }
    changes
}

/// A value of its own for each alert, which expires soon, late, or before it is written.
fn mark(name: &str, count: u64) -> KvWrite {
    KvWrite {
        key: format!("mark/{name}/{count}"),
        value: Some(KvValue {
            bytes: vec![7; 20],
            version: 1,
            expires: Some(Timestamp(BEGIN_MS + count * count * 977_000 % MARKS_LAST_MS)),
        }),
    }
}

/// Takes rules as people state them and judges by the few conditions it understands.
pub struct Correlator {
    description: Description,
    direction: Direction,
    rules: Mutex<BTreeMap<TenantId, (Configured, Vec<RuleSpec>)>>,
}

impl Correlator {
    pub const NAME: &'static str = "rules";

    pub fn new(direction: Direction) -> Correlator {
        Correlator {
            description: described(Self::NAME, &["labels.mischief"], true),
            direction,
            rules: Mutex::default(),
        }
    }

    fn judge(&self, row: &Row<'_>, rules: &[RuleSpec], findings: &mut Findings) {
        let mischief = row.mischief();
        let (alert, read) = (row.at, vec![0]);
        for rule in rules {
            if mischief == Some(Mischief::RulesFail) {
                findings.failures.push(RuleFailure {
                    alert,
                    rule: rule.id.clone(),
                    message: "no such attribute".to_owned(),
                });
                continue;
            }
            let mut branches = branches_of(&rule.condition, row);
            let Some(group_key) = group_of(rule, row).filter(|_| !branches.is_empty()) else {
                continue;
            };
            if mischief == Some(Mischief::CorrelatorLies) {
                branches.push(77);
            }
            findings.verdicts.push(Verdict {
                alert,
                rule: rule.id.clone(),
                group_key,
                branches,
                read: read.clone(),
            });
        }
        if mischief == Some(Mischief::CorrelatorLies) {
            findings.verdicts.push(Verdict {
                alert,
                rule: "rule-of-nobody".into(),
                group_key: vec!["x".to_owned()],
                branches: vec![0],
                read,
            });
        }
    }
}

/// The branches of a condition that match.
fn branches_of(condition: &str, row: &Row<'_>) -> Vec<u32> {
    let matches = |branch: &str| {
        let (column, value) = branch.split_once(" == ").unwrap();
        text(row.get(column.trim())) == Some(value.trim().trim_matches('"'))
    };
    let branches = condition.split("||").enumerate();
    let matched = branches.filter(|(_, branch)| matches(branch));
    matched.map(|(at, _)| u32::try_from(at).unwrap()).collect()
}

fn group_of(rule: &RuleSpec, row: &Row<'_>) -> Option<Vec<String>> {
    let value = |path: &String| match (text(row.get(path)), rule.on_missing_group) {
        (Some(text), _) => Some(text.to_owned()),
        (None, OnMissingGroup::None) => Some("none".to_owned()),
        (None, OnMissingGroup::Skip) => None,
    };
    rule.group_by.iter().map(value).collect()
}

/// The attributes that a rule reads.
fn columns_of(rule: &RuleSpec) -> Vec<String> {
    let of_branches = rule
        .condition
        .split("||")
        .filter_map(|branch| branch.split_once(" == "));
    let mut columns: Vec<String> = of_branches.map(|(column, _)| column.trim().to_owned()).collect();
    columns.extend(rule.group_by.iter().cloned());
    columns
}

fn configured(version: u64, wants: &Wants, rules: &[RuleSpec]) -> Configured {
    let report = |rule: &RuleSpec| RuleReport {
        rule: rule.id.clone(),
        outcome: Ok(AcceptedRule {
            branches: rule
                .condition
                .split("||")
                .map(|branch| branch.trim().to_owned())
                .collect(),
            columns: columns_of(rule),
            indexed: false,
        }),
    };
    let Wants::Fields(fields) = wants else {
        panic!("the scripted correlator wants fields");
    };
    let mut names: Vec<String> = fields
        .iter()
        .cloned()
        .chain(rules.iter().flat_map(columns_of))
        .collect();
    names.sort();
    names.dedup();
    Configured {
        version,
        columns: Arc::new(names.iter().map(|name| Column::new(name)).collect()),
        reports: rules.iter().map(report).collect(),
    }
}

fn all_failed(batch: &Batch) -> Vec<(usize, String)> {
    (0..batch.len()).map(|at| (at, "timed out".to_owned())).collect()
}

impl PluginCalls for Enricher {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn version(&self) -> &str {
        &self.description.version
    }

    fn hash(&self) -> &str {
        "script"
    }

    fn roles(&self) -> Roles {
        Role::Enricher.into()
    }

    fn description(&self) -> &Description {
        &self.description
    }

    fn configured(&self, _tenant: &TenantId) -> Option<Configured> {
        None
    }

    fn configure(&self, _tenant: &TenantId, _version: u64, _rules: &[RuleSpec]) -> Result<Configured, CallError> {
        Err(CallError::Trap("takes no rules".to_owned()))
    }

    fn prepare(&self, _tenant: &TenantId, _rules: &[RuleSpec]) -> Result<Arc<[RuleReport]>, CallError> {
        Err(CallError::Trap("takes no rules".to_owned()))
    }

    fn slice_alerts(&self, _: Role) -> usize {
        self.direction.slice_alerts()
    }

    fn add_dropped(&self, _reason: &'static str, count: u64) {
        self.direction.drop(count);
    }

    fn correlate(&self, _batch: Batch) -> CorrelateOutcome {
        panic!("an enricher is not asked to correlate");
    }

    fn enrich(&self, batch: Batch) -> EnrichOutcome {
        let mut outcome = EnrichOutcome::default();
        if self.direction.strikes() {
            outcome.failed = all_failed(&batch);
            outcome.may_pass = true;
            return outcome;
        }
        let (space, mut writes) = (KvSpace::new(Self::NAME, &batch.tenant), BTreeMap::new());
        for row in rows(&batch) {
            let mischief = row.mischief();
            if mischief == Some(Mischief::EnricherTraps) {
                outcome.failed.push((row.at, "trapped: unreachable".to_owned()));
                continue;
            }
            if mischief == Some(Mischief::EnricherBloats) {
                outcome.refused.push((row.at, "answer is over its limit".to_owned()));
            }
            let key = text(row.get("name")).unwrap_or_default().to_owned();
            let count = self.count(&space, &key, &writes) + 1;
            outcome.kv_writes.push(mark(&key, count));
            writes.insert(key, count);
            let critical = text(row.get("severity")) == Some("critical");
            outcome.patches.push(Patch {
                alert: row.at,
                changes: changes_for(mischief, count, critical),
            });
        }
        let write = |(key, count): (String, u64)| KvWrite {
            key,
            value: Some(KvValue {
                bytes: count.to_string().into_bytes(),
                version: count,
                expires: None,
            }),
        };
        outcome.kv_writes.extend(writes.into_iter().map(write));
        outcome
    }

    fn counters(&self) -> PluginCounters {
        PluginCounters::default()
    }
}

impl PluginCalls for Correlator {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn version(&self) -> &str {
        &self.description.version
    }

    fn hash(&self) -> &str {
        "script"
    }

    fn roles(&self) -> Roles {
        Role::Correlator.into()
    }

    fn description(&self) -> &Description {
        &self.description
    }

    fn configured(&self, tenant: &TenantId) -> Option<Configured> {
        let rules = self.rules.lock().unwrap();
        rules.get(tenant).map(|(configured, _)| configured.clone())
    }

    fn configure(&self, tenant: &TenantId, version: u64, rules: &[RuleSpec]) -> Result<Configured, CallError> {
        let configured = configured(version, &self.description.wants_to_correlate, rules);
        let kept = (configured.clone(), rules.to_vec());
        self.rules.lock().unwrap().insert(tenant.clone(), kept);
        Ok(configured)
    }

    fn prepare(&self, _tenant: &TenantId, rules: &[RuleSpec]) -> Result<Arc<[RuleReport]>, CallError> {
        Ok(configured(0, &self.description.wants_to_correlate, rules).reports)
    }

    fn slice_alerts(&self, _: Role) -> usize {
        self.direction.slice_alerts()
    }

    fn add_dropped(&self, _reason: &'static str, count: u64) {
        self.direction.drop(count);
    }

    fn correlate(&self, batch: Batch) -> CorrelateOutcome {
        let mut outcome = CorrelateOutcome::default();
        if self.direction.strikes() {
            outcome.failed = all_failed(&batch);
            outcome.may_pass = true;
            return outcome;
        }
        let known = self.rules.lock().unwrap();
        // Only a probe, whose answer nobody uses, may come before the rules: the bytes of the end would tell otherwise.
        let rules = known
            .get(&batch.tenant)
            .map(|(_, rules)| rules.as_slice())
            .unwrap_or_default();
        for row in rows(&batch) {
            if row.mischief() == Some(Mischief::CorrelatorTraps) {
                outcome.failed.push((row.at, "trapped: unreachable".to_owned()));
            } else {
                self.judge(&row, rules, &mut outcome.findings);
            }
        }
        outcome
    }

    fn enrich(&self, _batch: Batch) -> EnrichOutcome {
        panic!("a correlator is not asked to enrich");
    }

    fn counters(&self) -> PluginCounters {
        PluginCounters::default()
    }
}
