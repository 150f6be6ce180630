//! What a plugin judges by, with plugins that do as they are told. Knows no component.

use std::collections::BTreeMap;
use std::sync::Mutex;

use arc_swap::ArcSwap;
use donjon_core::batch::{AcceptedRule, Batch, Diagnostic};
use donjon_core::{Seq, Timestamp};
use donjon_runtime::{
    CallError, CorrelateOutcome, Description, EnrichOutcome, PluginCounters, PluginSet, Policy, Role, Roles,
};
use serde_json::json;

use super::*;
use crate::worker::{check_policies, policies};

/// Takes rules unless told not to, and counts how often it is asked.
struct Scripted {
    hash: &'static str,
    description: Description,
    refuses: Mutex<Vec<u64>>,
    configured: Mutex<Option<Configured>>,
    asked: Mutex<Vec<u64>>,
}

fn scripted(hash: &'static str, policies: &[(&str, &str)]) -> Scripted {
    let policy = |(id, settings): &(&str, &str)| Policy {
        id: RuleId::from(*id),
        settings: (*settings).to_owned(),
        branches: Vec::new(),
    };
    Scripted {
        hash,
        description: Description {
            name: "p".to_owned(),
            version: "1".to_owned(),
            about: String::new(),
            wants_to_correlate: Wants::Fields(Vec::new()),
            wants_to_enrich: Wants::Fields(Vec::new()),
            takes_rules: true,
            policies: policies.iter().map(policy).collect(),
        },
        refuses: Mutex::default(),
        configured: Mutex::default(),
        asked: Mutex::default(),
    }
}

impl PluginCalls for Scripted {
    fn name(&self) -> &str {
        "p"
    }
    fn version(&self) -> &str {
        "1"
    }
    fn hash(&self) -> &str {
        self.hash
    }
    fn roles(&self) -> Roles {
        Role::Correlator.into()
    }
    fn description(&self) -> &Description {
        &self.description
    }
    fn configured(&self, _: &TenantId) -> Option<Configured> {
        self.configured.lock().unwrap().clone()
    }
    fn configure(&self, _: &TenantId, version: u64, rules: &[RuleSpec]) -> Result<Configured, CallError> {
        if let Some(known) = self.configured(&tenant()).filter(|known| known.version == version) {
            return Ok(known);
        }
        self.asked.lock().unwrap().push(version);
        if self.refuses.lock().unwrap().contains(&version) {
            return Err(CallError::Role {
                expected: "friend",
                found: "foe".to_owned(),
            });
        }
        let report = |rule: &RuleSpec| RuleReport {
            rule: rule.id.clone(),
            outcome: if rule.name == "bad" {
                Err(vec![Diagnostic {
                    message: "bad indeed".to_owned(),
                    line: 1,
                    column: 1,
                }])
            } else {
                Ok(AcceptedRule::default())
            },
        };
        let columns = rules.iter().map(|rule| Column::new(rule.id.as_str())).collect();
        let configured = Configured {
            version,
            columns: Arc::new(columns),
            reports: rules.iter().map(report).collect(),
        };
        *self.configured.lock().unwrap() = Some(configured.clone());
        Ok(configured)
    }
    fn prepare(&self, _: &TenantId, _: &[RuleSpec]) -> Result<Arc<[RuleReport]>, CallError> {
        Ok(Arc::from([]))
    }
    fn correlate(&self, _: Batch) -> CorrelateOutcome {
        CorrelateOutcome::default()
    }
    fn enrich(&self, _: Batch) -> EnrichOutcome {
        EnrichOutcome::default()
    }
    fn add_dropped(&self, _: &'static str, _: u64) {}
    fn counters(&self) -> PluginCounters {
        PluginCounters::default()
    }
}

fn tenant() -> TenantId {
    TenantId::from("t")
}

/// Where a plugin of the same name serves.
fn line() -> LineStatus {
    line_of(&Arc::new(ArcSwap::from_pointee(serving())))
}

fn serving() -> PluginSet {
    PluginSet::default().with(Arc::new(scripted("a", &[])))
}

fn line_of(set: &Arc<ArcSwap<PluginSet>>) -> LineStatus {
    LineStatus::new(BTreeMap::new(), Arc::clone(set), Arc::default())
}

fn rules(version: u64, ids: &[&str], plugin: &Scripted, before: Option<TenantRules>) -> TenantRules {
    let rule = |id: &&str| {
        let body = json!({"ruleName": id, "celQuery": "true", "timeframeInSeconds": 5, "timeUnit": "seconds"});
        donjon_core::Rule {
            id: RuleId::from(*id),
            tenant: tenant(),
            version: 1,
            draft: crate::rules::draft_from_json(&body).unwrap(),
            created_seq: Seq(1),
            created: Timestamp(0),
            created_by: String::new(),
            updated: None,
            updated_by: None,
            deleted: false,
            offered_at_creation: 0,
        }
    };
    let mut all: Vec<_> = ids.iter().map(rule).collect();
    all.extend(policies::as_rules_of(&tenant(), plugin));
    TenantRules::new(version, version, RuleBook::new(all), Vec::new(), before)
}

#[test]
fn a_refused_version_leaves_the_pair_before_in_force_and_is_not_asked_again_at_once() {
    let (plugin, line) = (scripted("a", &[]), line());
    let mut now = rules(1, &["one"], &plugin, None);
    let first = now.plan(&plugin, &tenant(), &line).unwrap();
    assert!(first.refused.is_none());
    assert_eq!(now.plan(&plugin, &tenant(), &line).unwrap().in_force.version, 1);

    plugin.refuses.lock().unwrap().push(2);
    let mut now = rules(2, &["one", "two"], &plugin, Some(now));
    for _ in 0..3 {
        let plan = now.plan(&plugin, &tenant(), &line).unwrap();
        assert!(plan.refused.unwrap().starts_with("rules v1 in force, v2 refused: "));
        let names = |plan: &InForce| {
            plan.columns
                .as_ref()
                .unwrap()
                .iter()
                .map(|c| c.name.clone())
                .collect::<Vec<_>>()
        };
        assert_eq!(
            (plan.in_force.version, names(&plan.in_force)),
            (1, vec!["one".to_owned()])
        );
        assert!(plan.in_force.rule("p", &RuleId::from("one")).is_some());
        assert!(plan.in_force.rule("p", &RuleId::from("two")).is_none());
    }
    assert_eq!(*plugin.asked.lock().unwrap(), [1, 2], "each version is computed once");
    assert_eq!(line.refused_count(), 1);

    plugin.refuses.lock().unwrap().clear();
    let mut now = rules(3, &["two"], &plugin, Some(now));
    assert_eq!(now.plan(&plugin, &tenant(), &line).unwrap().in_force.version, 3);
    assert_eq!(line.refused_count(), 0);
}

#[test]
fn trouble_of_a_plugin_ends_when_it_is_unloaded() {
    let (plugin, set) = (scripted("a", &[]), Arc::new(ArcSwap::from_pointee(serving())));
    let line = line_of(&set);
    plugin.refuses.lock().unwrap().push(1);
    assert!(
        rules(1, &["one"], &plugin, None)
            .plan(&plugin, &tenant(), &line)
            .is_err()
    );
    assert_eq!((line.refused_count(), line.trouble(&tenant()).len()), (1, 1));
    set.store(Arc::new(serving().without("p")));
    assert_eq!((line.refused_count(), line.trouble(&tenant()).len()), (0, 0));
    set.store(Arc::new(serving()));
    assert_eq!(line.refused_count(), 0, "what comes back was not given the rules yet");
}

#[test]
fn trouble_with_a_file_ends_when_another_one_takes_its_rules() {
    let (old, new, line) = (scripted("a", &[]), scripted("b", &[]), line());
    let mut now = rules(1, &["bad"], &old, None);
    now.plan(&old, &tenant(), &line).unwrap();
    assert_eq!(line.trouble(&tenant())["p"].rules.len(), 1);
    new.configure(&tenant(), 1, &[]).unwrap();
    now.plan(&new, &tenant(), &line).unwrap();
    assert_eq!(line.trouble(&tenant()).len(), 0);
}

#[test]
fn without_a_pair_before_there_is_nothing_to_judge_by() {
    let (plugin, line) = (scripted("a", &[]), line());
    plugin.refuses.lock().unwrap().push(1);
    let why = rules(1, &["one"], &plugin, None)
        .plan(&plugin, &tenant(), &line)
        .err()
        .unwrap();
    assert!(why.starts_with("no rules in force, v1 refused: "), "{why}");
}

#[test]
fn what_a_new_file_was_given_at_its_load_is_taken_over_as_it_is() {
    let (old, new, line) = (scripted("a", &[]), scripted("b", &[]), line());
    let mut now = rules(1, &["one"], &old, None);
    let _ = now.plan(&old, &tenant(), &line);
    let _ = new.configure(&tenant(), 1, &[]);
    let plan = now.plan(&new, &tenant(), &line).unwrap();
    assert_eq!(
        plan.in_force.columns.as_ref().unwrap().len(),
        0,
        "its own columns, not those of the one before"
    );
    assert_eq!(*new.asked.lock().unwrap(), [1]);
}

#[test]
fn verdicts_count_for_rules_that_were_taken_and_for_own_policies() {
    let (plugin, line) = (scripted("a", &[("own", "{}")]), line());
    let mut now = rules(1, &["good", "bad"], &plugin, None);
    let in_force = now.plan(&plugin, &tenant(), &line).unwrap().in_force;
    let may = |named: &str| {
        in_force
            .rule("p", &RuleId::from(named))
            .map(|(_, live)| live.rule.id.to_string())
    };
    assert_eq!(may("good").as_deref(), Some("good"));
    assert_eq!(may("p/own").as_deref(), Some("p/own"));
    assert_eq!((may("bad"), may("own"), may("unknown")), (None, None, None));
    assert!(in_force.rule("other", &RuleId::from("p/own")).is_none());
    assert_eq!(line.trouble(&tenant())["p"].rules[&RuleId::from("bad")], "bad indeed");
}

#[test]
fn policies_that_do_not_fit_are_refused() {
    let why = |policies: &[(&str, &str)]| check_policies(&scripted("a", policies)).err().unwrap_or_default();
    assert_eq!(why(&[("a", "{}"), ("b", r#"{"threshold": 2}"#)]), "");
    assert!(why(&[("a", "{}"), ("a", "{}")]).contains("two policies have one id: a"));
    assert!(why(&[("a", "no json")]).contains("settings of policy a do not fit: settings: malformed JSON"));
    assert!(why(&[("", "{}")]).contains("empty id"));
}
