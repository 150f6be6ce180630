//! Rules and alerts in, verdicts out: the plugin through its public face.

use donjon_plugin::testing::{self, BatchBuilder};
use donjon_plugin::{Batch, Correlator, Findings, OnMissingGroup, Plugin, Rule, RuleOutcome, Value};

use crate::Rules;

fn rule(handle: u32, condition: &str, group_by: &[&str]) -> Rule {
    Rule {
        handle,
        condition: condition.to_owned(),
        group_by: group_by.iter().map(|path| (*path).to_owned()).collect(),
        ..Rule::default()
    }
}

fn new_plugin() -> Rules {
    Rules::init("acme", "{}").unwrap()
}

fn with_rules(rules: Vec<Rule>) -> Rules {
    let mut plugin = new_plugin();
    let in_force: Vec<u32> = rules.iter().map(|rule| rule.handle).collect();
    for report in plugin.configure(rules, &in_force).unwrap() {
        assert!(matches!(report.outcome, RuleOutcome::Accepted(_)), "{report:?}");
    }
    plugin
}

fn disk() -> BatchBuilder {
    testing::batch().alert([("name", "disk")])
}

/// `alert rule key/key [branches] (columns read)`, one a verdict.
fn show(findings: &Findings, batch: &Batch) -> Vec<String> {
    let show = |v: &donjon_plugin::Verdict| {
        let group = v.group.join("/");
        format!("{} {} {group} {:?} {:?}", v.alert, v.rule, v.branches, v.read)
    };
    findings.verdicts(batch).iter().map(show).collect()
}

fn judged(plugin: &mut Rules, batch: &Batch) -> Vec<String> {
    let findings = plugin.correlate(batch).unwrap();
    assert!(findings.failures().is_empty(), "{:?}", findings.failures());
    show(&findings, batch)
}

#[test]
fn verdicts_name_alert_rule_group_branches_and_what_was_read() {
    let mut plugin = with_rules(vec![
        rule(
            7,
            r#"name == "disk" || severity == "high" || service == "db""#,
            &["service"],
        ),
        rule(3, "true", &[]),
        rule(5, r#"name == "nothing""#, &["service"]),
    ]);
    // The order of the columns is the host's, and one of them no rule reads.
    let batch = testing::batch()
        .columns(["unused", "service", "severity", "name"])
        .alert([("service", "db"), ("severity", "high"), ("name", "cpu")])
        .alert([("service", "web"), ("severity", "low"), ("name", "disk")])
        .alert([("severity", "low"), ("name", "cpu")])
        .build();
    assert_eq!(
        judged(&mut plugin, &batch),
        [
            "0 7 db [1, 2] [1, 2]",
            "0 3 none [0] []",
            "1 7 web [0] [3]",
            "1 3 none [0] []",
            "2 3 none [0] []",
        ]
    );
}

#[test]
fn a_new_order_of_columns_is_noticed() {
    let mut plugin = with_rules(vec![rule(1, r#"name == "disk""#, &["service"])]);
    let mut seen = Vec::new();
    for alert in [
        &[("name", "disk"), ("service", "a")][..],
        &[("service", "b"), ("name", "disk")],
        &[("service", "b")],
    ] {
        let batch = testing::batch().alert(alert.iter().copied()).build();
        seen.push(judged(&mut plugin, &batch).join(", "));
    }
    assert_eq!(
        seen,
        ["0 1 a [0] [0]", "0 1 b [0] [1]", ""],
        "an attribute that was not handed over is null"
    );
}

#[test]
fn rules_change_one_by_one_and_are_judged_in_the_order_in_force() {
    let mut plugin = with_rules(vec![rule(1, "true", &[]), rule(2, "true", &[])]);
    let batch = disk().build();
    let verdict = |handle: u32| format!("{handle}");
    let mut order = |changed: Vec<Rule>, in_force: &[u32]| -> Vec<String> {
        plugin.configure(changed, in_force).unwrap();
        let findings = plugin.correlate(&batch).unwrap();
        findings.verdicts(&batch).iter().map(|v| verdict(v.rule)).collect()
    };
    assert_eq!(order(Vec::new(), &[2, 1]), ["2", "1"]);
    assert_eq!(order(vec![rule(9, "true", &[])], &[2, 9, 1]), ["2", "9", "1"]);
    assert_eq!(order(vec![rule(2, "false", &[])], &[1, 2, 9]), ["1", "9"]);
    assert_eq!(order(Vec::new(), &[]), Vec::<String>::new());
}

#[test]
fn a_failing_branch_is_reported_once_and_the_others_count() {
    let mut plugin = with_rules(vec![
        rule(1, r#"10 / load > 1 || 10 / load > 2 || name == "disk""#, &[]),
        rule(2, r#"name == "disk""#, &[]),
    ]);
    let batch = testing::batch()
        .alert([("name", Value::from("disk")), ("load", 0.into())])
        .build();
    let findings = plugin.correlate(&batch).unwrap();
    assert_eq!(show(&findings, &batch), ["0 1 none [2] [0]", "0 2 none [0] [0]"]);
    let [failure] = findings.failures() else {
        panic!("{:?}", findings.failures());
    };
    assert_eq!((failure.alert, failure.rule), (0, 1));
    assert!(failure.message.starts_with("branch 0: "), "{failure:?}");
}

#[test]
fn null_is_no_failure() {
    let mut plugin = with_rules(vec![rule(1, r#"load > 5 || name.contains("disk")"#, &[])]);
    let batch = testing::batch()
        .columns(["load", "name"])
        .alert([("name", Value::Null)])
        .build();
    assert!(plugin.correlate(&batch).unwrap().is_empty());
}

#[test]
fn grouping_follows_the_rule() {
    let multi_level = |on_missing_group| Rule {
        settings: r#"{"multiLevelProperty":"name"}"#.to_owned(),
        on_missing_group,
        ..rule(1, "true", &["customers"])
    };
    let skip = Rule {
        on_missing_group: OnMissingGroup::Skip,
        ..rule(1, "true", &["service"])
    };
    let customers = Value::Json(r#"{"1":{"name":"acme"},"2":{"name":"globex"},"3":{"name":"acme"},"4":{}}"#);
    let by = |path| rule(1, "true", &[path]);
    let cases: [(Rule, &str, Value, &[&str]); 7] = [
        (by("service"), "service", "db".into(), &["0 1 db [0] []"]),
        (by("service"), "service", Value::Null, &["0 1 none [0] []"]),
        (skip, "service", Value::Null, &[]),
        (by("source"), "source.0", "grafana".into(), &["0 1 grafana [0] []"]),
        (
            multi_level(OnMissingGroup::None),
            "customers",
            customers,
            &["0 1 acme [0] []", "0 1 globex [0] []"],
        ),
        (
            multi_level(OnMissingGroup::None),
            "customers",
            "text".into(),
            &["0 1 none [0] []"],
        ),
        (multi_level(OnMissingGroup::Skip), "customers", Value::Null, &[]),
    ];
    for (rule, column, value, expected) in cases {
        let name = format!("{rule:?} {value:?}");
        let batch = testing::batch().columns([column]).alert([(column, value)]).build();
        assert_eq!(judged(&mut with_rules(vec![rule]), &batch), expected, "{name}");
    }
}

#[test]
fn a_hundred_matching_rules_give_one_verdict_more_than_the_host_takes() {
    let rules = (0..100).map(|at| rule(at, "true", &[])).collect();
    let batch = disk().alert([("name", "other")]).build();
    let verdicts = with_rules(rules).correlate(&batch).unwrap().verdicts(&batch);
    let of = |alert: u32| verdicts.iter().filter(move |verdict| verdict.alert == alert);
    assert_eq!((of(0).count(), of(1).count()), (65, 65));
    assert_eq!(of(1).next().unwrap().rule, 0, "in the order of the rules");
}

/// A condition that takes some ten thousand steps, each one another.
fn dear(number: u32) -> String {
    let list: Vec<String> = (0..30).map(|value| value.to_string()).collect();
    let list = list.join(",");
    format!("name == \"x{number}\" || [{list}].all(x, [{list}].all(y, x + y + 1 != y + 1000))")
}

/// So many dear rules, from handle 0 on.
fn dear_rules(count: u32) -> Vec<Rule> {
    (0..count).map(|handle| rule(handle, &dear(handle), &[])).collect()
}

#[test]
fn cheap_rules_are_evaluated_whatever_the_rules_beside_them_cost_and_dear_ones_beyond_the_budget_fail_and_tell() {
    const CHEAP: u32 = 1_000;
    // The dear ones come first, and there are far more of them than an alert has steps for.
    let mut rules = dear_rules(400);
    rules.extend((0..20).map(|at| rule(CHEAP + at, r#"name == "disk""#, &[])));
    let mut plugin = with_rules(rules);
    let batch = disk().alert([("name", "other")]).build();
    let findings = plugin.correlate(&batch).unwrap();
    let verdicts = findings.verdicts(&batch);
    for alert in 0..2_u32 {
        let of_alert = |cheap: bool| {
            let verdicts = verdicts.iter().filter(|verdict| verdict.alert == alert);
            verdicts.filter(|verdict| (verdict.rule >= CHEAP) == cheap).count()
        };
        assert_eq!(of_alert(true), if alert == 0 { 20 } else { 0 });
        // Some of the dear ones had what the others left.
        assert!((5..=65).contains(&of_alert(false)), "{}", of_alert(false));
        let failed: Vec<_> = findings.failures().iter().filter(|f| f.alert == alert).collect();
        assert!(failed.len() >= 60, "{}", failed.len());
        for failure in failed {
            assert!(
                failure.rule < CHEAP && failure.message.contains("2000000 steps"),
                "{failure:?}"
            );
        }
    }
    // The same again, and the same one by one: nothing depends on what was judged before (I10).
    assert_eq!(plugin.correlate(&batch).unwrap(), findings);
    let one = disk().build();
    let alone = show(&plugin.correlate(&one).unwrap(), &one);
    let first = show(&findings, &batch)
        .into_iter()
        .filter(|line| line.starts_with("0 "));
    assert_eq!(alone, first.collect::<Vec<_>>());
}

#[test]
fn one_rule_among_few_may_use_all_of_its_own_steps() {
    let mut rules = dear_rules(3);
    rules.push(rule(9, "true", &[]));
    let findings = with_rules(rules).correlate(&disk().build()).unwrap();
    assert_eq!((findings.len(), findings.failures().len()), (4, 0), "{findings:?}");
}

#[test]
fn both_looks_at_an_alert_share_one_budget() {
    let failed = |count: u32| {
        let findings = with_rules(dear_rules(count)).correlate(&disk().build()).unwrap();
        findings.failures().len()
    };
    // Each takes some 17,000 steps: a hundred fit into the budget, but not after a first look that has used up half.
    assert_eq!(failed(50), 0);
    assert!((20..=65).contains(&failed(100)), "{}", failed(100));
}
