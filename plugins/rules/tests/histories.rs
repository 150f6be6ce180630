//! What is judged is a function of the rules in force and of the alert: neither of how the rules came to be in force, nor of
//! where batches were cut.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a panic is how a test fails"
)]

use donjon_plugin::testing::{self, BatchBuilder};
use donjon_plugin::{Correlator, Plugin, Rule, Value, Verdict};
use donjon_plugin_rules::Rules;
use proptest::prelude::*;

const CONDITIONS: [&str; 6] = [
    "name == \"a\"",
    "true",
    "load > 2 || name == \"b\"",
    "10 / load > 3",
    "name ==",
    "has(labels.host) && name != \"c\"",
];

/// The content of a rule: condition, whether it groups, and by what.
type Content = (usize, bool);

fn rule(handle: u32, (condition, grouped): Content) -> Rule {
    Rule {
        handle,
        condition: CONDITIONS[condition].to_owned(),
        group_by: if grouped {
            vec!["name".into(), "load".into()]
        } else {
            Vec::new()
        },
        ..Rule::default()
    }
}

fn content() -> impl Strategy<Value = Content> {
    (0..CONDITIONS.len(), any::<bool>())
}

/// One change of the rules: what is changed, and the order afterwards, out of the handles there are.
type Step = (Vec<(u32, Content)>, Vec<u32>);

fn step() -> impl Strategy<Value = Step> {
    let changed = prop::collection::btree_map(0_u32..8, content(), 0..4);
    let order = Just((0_u32..8).collect::<Vec<_>>()).prop_shuffle();
    (changed, order, 0_usize..=8).prop_map(|(changed, mut order, kept)| {
        order.truncate(kept);
        (changed.into_iter().collect(), order)
    })
}

type Alert = (usize, Option<i64>, bool);

fn alert() -> impl Strategy<Value = Alert> {
    (0_usize..4, prop::option::of(-2_i64..6), any::<bool>())
}

fn add(batch: BatchBuilder, (name, load, host): &Alert) -> BatchBuilder {
    let load = load.map_or(Value::Null, Value::Int);
    let host = if *host { "h".into() } else { Value::Null };
    batch.alert([
        ("name", Value::Text(["a", "b", "c", "d"][*name])),
        ("load", load),
        ("labels.host", host),
    ])
}

/// Verdicts and failures, alerts counted over all batches.
type Judged = (Vec<Verdict>, Vec<(u32, u32, String)>);

fn judge(plugin: &mut Rules, alerts: &[Alert], cut: usize) -> Judged {
    let (mut verdicts, mut failures) = (Vec::new(), Vec::new());
    let mut before = 0;
    for part in alerts.chunks(cut.max(1)) {
        let columns = testing::batch().columns(["name", "load", "labels.host"]);
        let batch = part.iter().fold(columns, add).build();
        let findings = plugin.correlate(&batch).unwrap();
        for mut verdict in findings.verdicts(&batch) {
            verdict.alert += before;
            verdicts.push(verdict);
        }
        let failed = findings
            .failures()
            .iter()
            .map(|f| (f.alert + before, f.rule, f.message.clone()));
        failures.extend(failed);
        before += u32::try_from(part.len()).unwrap();
    }
    (verdicts, failures)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_024, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn what_is_judged_depends_on_no_history_of_changes_and_on_no_cut(
        steps in prop::collection::vec(step(), 1..6),
        alerts in prop::collection::vec(alert(), 0..12),
        cut in 1_usize..5,
    ) {
        let mut lived = Rules::init("acme", "{}").unwrap();
        let mut contents = std::collections::BTreeMap::new();
        let mut in_force = Vec::new();
        for (changed, order) in &steps {
            // As a host does: what is new or changed goes along, what is gone does not come back.
            contents.extend(changed.iter().copied());
            in_force = order.iter().copied().filter(|handle| contents.contains_key(handle)).collect();
            contents.retain(|handle, _| in_force.contains(handle));
            let rules = changed.iter().map(|(handle, content)| rule(*handle, *content));
            let reports = lived.configure(rules.collect(), &in_force).unwrap();
            prop_assert_eq!(reports.len(), changed.len());
            judge(&mut lived, &alerts, cut);
        }
        let mut fresh = Rules::init("acme", "{}").unwrap();
        let rules = contents.iter().map(|(handle, content)| rule(*handle, *content));
        fresh.configure(rules.collect(), &in_force).unwrap();
        let expected = judge(&mut fresh, &alerts, usize::MAX);
        prop_assert_eq!(&judge(&mut lived, &alerts, cut), &expected);
        let places: Vec<_> = expected.0.iter().map(|v| (v.alert, in_force.iter().position(|h| *h == v.rule))).collect();
        prop_assert!(places.is_sorted(), "in the order in force: {:?}", places);
    }
}
