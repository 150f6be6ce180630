//! Rules and alerts in, verdicts out: the plugin through its public face.

use donjon_plugin::{AlertKey, Batch, Correlator, Findings, OnMissingGroup, Plugin, Rule, RuleOutcome, Scalar};

use crate::Rules;

const TENANT: &str = "acme";

fn rule(id: &str, condition: &str, group_by: &[&str]) -> Rule {
    Rule {
        id: id.to_owned(),
        condition: condition.to_owned(),
        group_by: group_by.iter().map(|path| (*path).to_owned()).collect(),
        ..Rule::default()
    }
}

fn with_rules(rules: Vec<Rule>) -> Rules {
    let mut plugin = Rules::init("{}").unwrap();
    for report in plugin.configure(TENANT, rules).unwrap() {
        assert!(matches!(report.outcome, RuleOutcome::Accepted(_)), "{report:?}");
    }
    plugin
}

fn batch(columns: &[&str], rows: Vec<Vec<Scalar>>) -> Batch {
    Batch {
        tenant: TENANT.to_owned(),
        keys: vec![AlertKey::default(); rows.len()],
        columns: columns.iter().map(|path| (*path).to_owned()).collect(),
        rows,
        ..Batch::default()
    }
}

/// `alert rule key/key [branches] (columns read)`, one a verdict.
fn show(findings: &Findings) -> Vec<String> {
    let show = |v: &donjon_plugin::Verdict| {
        format!(
            "{} {} {} {:?} {:?}",
            v.alert,
            v.rule,
            v.group_key.join("/"),
            v.branches,
            v.read
        )
    };
    findings.verdicts.iter().map(show).collect()
}

#[test]
fn verdicts_name_alert_rule_group_branches_and_what_was_read() {
    let mut plugin = with_rules(vec![
        rule(
            "names",
            r#"name == "disk" || severity == "high" || service == "db""#,
            &["service"],
        ),
        rule("all", "true", &[]),
        rule("never", r#"name == "nothing""#, &["service"]),
    ]);
    // The order of the columns is the host's, and one of them no rule reads.
    let batch = batch(
        &["unused", "service", "severity", "name"],
        vec![
            vec![Scalar::Null, "db".into(), "high".into(), "cpu".into()],
            vec![Scalar::Null, "web".into(), "low".into(), "disk".into()],
            vec![Scalar::Null, Scalar::Null, "low".into(), "cpu".into()],
        ],
    );
    let findings = plugin.correlate(&batch).unwrap();
    assert_eq!(
        show(&findings),
        [
            "0 names db [1, 2] [1, 2]",
            "0 all none [0] []",
            "1 names web [0] [3]",
            "1 all none [0] []",
            "2 all none [0] []",
        ]
    );
    assert!(findings.failures.is_empty());
}

#[test]
fn a_new_order_of_columns_is_noticed() {
    let mut plugin = with_rules(vec![rule("r", r#"name == "disk""#, &["service"])]);
    let first = plugin
        .correlate(&batch(&["name", "service"], vec![vec!["disk".into(), "a".into()]]))
        .unwrap();
    let second = plugin
        .correlate(&batch(&["service", "name"], vec![vec!["b".into(), "disk".into()]]))
        .unwrap();
    let third = plugin.correlate(&batch(&["service"], vec![vec!["b".into()]])).unwrap();
    assert_eq!(show(&first), ["0 r a [0] [0]"]);
    assert_eq!(show(&second), ["0 r b [0] [1]"]);
    assert_eq!(
        show(&third),
        Vec::<String>::new(),
        "an attribute that was not handed over is null"
    );
}

#[test]
fn rules_belong_to_their_tenant_and_are_replaced_as_a_whole() {
    let mut plugin = with_rules(vec![rule("old", "true", &[])]);
    plugin.configure("other", vec![rule("theirs", "true", &[])]).unwrap();
    let alert = batch(&[], vec![vec![]]);
    assert_eq!(show(&plugin.correlate(&alert).unwrap()), ["0 old none [0] []"]);
    plugin.configure(TENANT, vec![rule("new", "true", &[])]).unwrap();
    assert_eq!(show(&plugin.correlate(&alert).unwrap()), ["0 new none [0] []"]);
    plugin.configure(TENANT, Vec::new()).unwrap();
    assert_eq!(plugin.correlate(&alert).unwrap(), Findings::default());
}

#[test]
fn a_failing_branch_is_reported_once_and_the_others_count() {
    let mut plugin = with_rules(vec![
        rule("broken", r#"10 / load > 1 || 10 / load > 2 || name == "disk""#, &[]),
        rule("sound", r#"name == "disk""#, &[]),
    ]);
    let alert = batch(&["name", "load"], vec![vec!["disk".into(), Scalar::Integer(0)]]);
    let findings = plugin.correlate(&alert).unwrap();
    assert_eq!(show(&findings), ["0 broken none [2] [0]", "0 sound none [0] [0]"]);
    let failures: Vec<_> = findings
        .failures
        .iter()
        .map(|failure| (failure.alert, failure.rule.as_str()))
        .collect();
    assert_eq!(failures, [(0, "broken")]);
    assert!(
        findings.failures[0].message.starts_with("branch 0: "),
        "{:?}",
        findings.failures
    );
}

#[test]
fn null_is_no_failure() {
    let mut plugin = with_rules(vec![rule("r", r#"load > 5 || name.contains("disk")"#, &[])]);
    let findings = plugin
        .correlate(&batch(&["load", "name"], vec![vec![Scalar::Null, Scalar::Null]]))
        .unwrap();
    assert_eq!(findings, Findings::default());
}

#[test]
fn grouping_follows_the_rule() {
    let multi_level = |on_missing_group| Rule {
        multi_level_property: Some("name".to_owned()),
        on_missing_group,
        ..rule("r", "true", &["customers"])
    };
    let skip = Rule {
        on_missing_group: OnMissingGroup::Skip,
        ..rule("r", "true", &["service"])
    };
    let customers =
        Scalar::Json(r#"{"1":{"name":"acme"},"2":{"name":"globex"},"3":{"name":"acme"},"4":{}}"#.to_owned());
    let cases: [(Rule, &str, Scalar, &[&str]); 7] = [
        (
            rule("r", "true", &["service"]),
            "service",
            "db".into(),
            &["0 r db [0] []"],
        ),
        (
            rule("r", "true", &["service"]),
            "service",
            Scalar::Null,
            &["0 r none [0] []"],
        ),
        (skip, "service", Scalar::Null, &[]),
        (
            rule("r", "true", &["source"]),
            "source.0",
            "grafana".into(),
            &["0 r grafana [0] []"],
        ),
        (
            multi_level(OnMissingGroup::None),
            "customers",
            customers,
            &["0 r acme [0] []", "0 r globex [0] []"],
        ),
        (
            multi_level(OnMissingGroup::None),
            "customers",
            "text".into(),
            &["0 r none [0] []"],
        ),
        (multi_level(OnMissingGroup::Skip), "customers", Scalar::Null, &[]),
    ];
    for (rule, column, value, expected) in cases {
        let name = format!("{rule:?} {value:?}");
        let findings = with_rules(vec![rule])
            .correlate(&batch(&[column], vec![vec![value]]))
            .unwrap();
        assert_eq!(show(&findings), expected, "{name}");
    }
}

#[test]
fn a_hundred_matching_rules_give_one_verdict_more_than_the_host_takes() {
    let rules = (0..100).map(|at| rule(&format!("r{at}"), "true", &[])).collect();
    let findings = with_rules(rules).correlate(&batch(&[], vec![vec![], vec![]])).unwrap();
    let of = |alert: u32| findings.verdicts.iter().filter(move |verdict| verdict.alert == alert);
    assert_eq!((of(0).count(), of(1).count()), (65, 65));
    assert_eq!(of(1).next().unwrap().rule, "r0", "in the order of the rules");
}

/// A condition that takes some ten thousand steps, each one another.
fn dear(number: usize) -> String {
    let list: Vec<String> = (0..30).map(|value| value.to_string()).collect();
    let list = list.join(",");
    format!("name == \"x{number}\" || [{list}].all(x, [{list}].all(y, x + y + 1 != y + 1000))")
}

#[test]
fn cheap_rules_are_evaluated_whatever_the_rules_beside_them_cost_and_dear_ones_beyond_the_budget_fail_and_tell() {
    let cheap = |id: usize| rule(&format!("cheap{id}"), r#"name == "disk""#, &[]);
    // The dear ones come first, and there are far more of them than an alert has steps for.
    let mut rules: Vec<Rule> = (0..400).map(|id| rule(&format!("dear{id}"), &dear(id), &[])).collect();
    rules.extend((0..20).map(cheap));
    let mut plugin = with_rules(rules);
    let text = |text: &str| vec![Scalar::Text(text.to_owned())];
    let alerts = batch(&["name"], vec![text("disk"), text("other")]);
    let findings = plugin.correlate(&alerts).unwrap();
    for alert in 0..2_u32 {
        let of_alert = |rule: &str| {
            let verdicts = findings.verdicts.iter().filter(|verdict| verdict.alert == alert);
            verdicts.filter(|verdict| verdict.rule.starts_with(rule)).count()
        };
        assert_eq!(of_alert("cheap"), if alert == 0 { 20 } else { 0 });
        // Some of the dear ones had what the others left.
        assert!((5..=65).contains(&of_alert("dear")), "{}", of_alert("dear"));
        let failed = findings.failures.iter().filter(|failure| failure.alert == alert);
        let failed: Vec<_> = failed.collect();
        assert!(failed.len() >= 60, "{}", failed.len());
        for failure in failed {
            assert!(
                failure.rule.starts_with("dear") && failure.message.contains("2000000 steps"),
                "{failure:?}"
            );
        }
    }
    // The same again, and the same one by one: nothing depends on what was judged before (I10).
    assert_eq!(
        format!("{:?}", plugin.correlate(&alerts).unwrap()),
        format!("{findings:?}")
    );
    let alone = plugin.correlate(&batch(&["name"], vec![text("disk")])).unwrap();
    let first: Vec<_> = show(&findings)
        .into_iter()
        .filter(|line| line.starts_with("0 "))
        .collect();
    assert_eq!(show(&alone), first);
}

#[test]
fn one_rule_among_few_may_use_all_of_its_own_steps() {
    let mut rules: Vec<Rule> = (0..3).map(|id| rule(&format!("dear{id}"), &dear(id), &[])).collect();
    rules.push(rule("cheap", "true", &[]));
    let findings = with_rules(rules)
        .correlate(&batch(&["name"], vec![vec![Scalar::Text("disk".to_owned())]]))
        .unwrap();
    assert_eq!(
        (findings.verdicts.len(), findings.failures.len()),
        (4, 0),
        "{:?}",
        findings.failures
    );
}

#[test]
fn both_looks_at_an_alert_share_one_budget() {
    let failed = |rules: usize| {
        let rules = (0..rules)
            .map(|id| rule(&format!("dear{id}"), &dear(id), &[]))
            .collect();
        let alert = batch(&["name"], vec![vec![Scalar::Text("disk".to_owned())]]);
        with_rules(rules).correlate(&alert).unwrap().failures.len()
    };
    // Each takes some 17,000 steps: a hundred fit into the budget, but not after a first look that has used up half.
    assert_eq!(failed(50), 0);
    assert!((20..=65).contains(&failed(100)), "{}", failed(100));
}
