//! Answers at their caps and over them: what counts, what is refused, and who is told.

use super::*;
use crate::fuzzing;

/// A verdict as a plugin means it, before it is put into flat lists.
#[derive(Clone)]
struct Meant {
    alert: u32,
    rule: u32,
    group: Vec<String>,
    branches: Vec<u32>,
    read: Vec<u32>,
}

fn verdict(alert: u32, rule: u32, group: &str) -> Meant {
    Meant {
        alert,
        rule,
        group: vec![group.to_owned()],
        branches: vec![0],
        read: vec![0],
    }
}

/// Four alerts with the columns a, b and c.
fn batch() -> WitBatch {
    fuzzing::batch(4, 3)
}

/// The flat lists, with each group value as a text of its own.
fn flat(verdicts: &[Meant]) -> wit_correlation::Findings {
    let mut said = fuzzing::no_findings();
    let of_batch = batch().text_ends.len();
    let end = |len: usize| u32::try_from(len).unwrap();
    for verdict in verdicts {
        said.alerts.push(verdict.alert);
        said.rules.push(verdict.rule);
        for value in &verdict.group {
            said.keys.push(end(of_batch + said.own_text_ends.len()));
            said.own_texts.extend(value.bytes());
            said.own_text_ends.push(end(said.own_texts.len()));
        }
        said.key_ends.push(end(said.keys.len()));
        said.branches.extend(&verdict.branches);
        said.branch_ends.push(end(said.branches.len()));
        said.read.extend(&verdict.read);
        said.read_ends.push(end(said.read.len()));
    }
    said
}

fn answered(said: wit_correlation::Findings) -> Result<Checked<Findings>, Misfit> {
    let (batch, rules) = (batch(), fuzzing::rules(100));
    let policies = [RuleId::from("plugin/policy")];
    let asked = Asked {
        batch: &batch,
        rules: &rules,
        policies: &policies,
        limits: &Limits::default(),
    };
    findings(said, &asked)
}

fn checked(verdicts: &[Meant]) -> Checked<Findings> {
    answered(flat(verdicts)).unwrap()
}

#[test]
fn the_first_64_verdicts_of_an_alert_count_and_the_alert_is_told_of_the_rest() {
    let groups = |count: usize| (0..count).map(|i| verdict(1, 1, &format!("g{i}")));
    let at_the_cap = checked(&groups(64).collect::<Vec<_>>());
    assert_eq!((at_the_cap.said.verdicts.len(), at_the_cap.dropped), (64, 0));
    assert_eq!(at_the_cap.refused, []);
    // The order among alerts does not matter: what happens to one alert never depends on the others (I10).
    let mut mixed: Vec<_> = groups(100).collect();
    mixed.insert(0, verdict(0, 1, "g"));
    mixed.push(verdict(2, 1, "g"));
    let over = checked(&mixed);
    assert_eq!(over.said.verdicts.len(), 66);
    assert_eq!(over.said.verdicts[64].group_key, ["g63"]);
    assert_eq!(over.dropped, 36);
    let reason = "more verdicts on the alert than the first that count: 64 (parts of the answer refused: 36)";
    assert_eq!(over.refused, [(1, reason.to_owned())]);
}

#[test]
fn the_same_verdict_twice_is_one_with_the_branches_and_columns_of_both() {
    let mut again = verdict(3, 1, "g");
    (again.branches, again.read) = (vec![2, 0, 2], vec![2, 2, 1, 0]);
    let checked = checked(&[verdict(3, 1, "g"), again, verdict(3, 1, "other"), verdict(2, 1, "g")]);
    let verdicts = &checked.said.verdicts;
    assert_eq!(verdicts.len(), 3);
    assert_eq!(
        (verdicts[0].branches.as_slice(), verdicts[0].read.as_slice()),
        (&[0, 2][..], &[0, 1, 2][..])
    );
    assert_eq!((checked.dropped, checked.refused.len()), (0, 0));
}

#[test]
fn a_verdict_that_does_not_fit_is_refused_alone_and_its_alert_told() {
    let long = "x".repeat(5_000);
    let mut many_values = verdict(0, 1, "g");
    many_values.group = vec!["x".into(); 17];
    let mut strange = verdict(2, 1, "g");
    strange.read = vec![0, 3];
    let checked = checked(&[
        verdict(0, 1, "fits"),
        many_values,
        verdict(1, 1, &long),
        strange,
        verdict(3, 100, "g"),
        verdict(3, FIRST_POLICY_HANDLE + 1, "g"),
        verdict(9, 1, "g"),
    ]);
    assert_eq!(checked.said.verdicts.len(), 1);
    let told: Vec<(usize, &str)> = checked.refused.iter().map(|(at, why)| (*at, why.as_str())).collect();
    let expected = [
        (0, "a group is named by more than 16 values: 17"),
        (
            1,
            "a value that names a group is longer than the limit of 4096 bytes: 5000",
        ),
        (2, "a verdict has read a column that is not among the 3: 3"),
    ];
    assert_eq!(told, expected);
    assert_eq!(checked.dropped, 4, "the one without an alert is counted");
    assert_eq!(checked.foreign, 2, "a rule and a policy that are not its own");
}

#[test]
fn rule_failures_are_bounded_for_each_alert() {
    let failure = |alert: u32, at: usize| wit_correlation::RuleFailure {
        alert,
        rule: u32::try_from(at).unwrap(),
        message: "m".repeat(5_000),
    };
    let said = wit_correlation::Findings {
        failures: (0..100).map(|at| failure(2, at)).chain([failure(3, 0)]).collect(),
        ..flat(&[])
    };
    let checked = answered(said).unwrap();
    assert_eq!(checked.said.failures.len(), 65);
    assert!(
        checked
            .said
            .failures
            .iter()
            .all(|f| f.message.len() <= MAX_ERROR_TEXT_BYTES)
    );
    assert_eq!(checked.refused.len(), 1);
    assert!(
        checked.refused[0]
            .1
            .starts_with("more rules failed on the alert than are kept: 64")
    );
}

fn set(path: &str, json: &str) -> wit_enrichment::Change {
    wit_enrichment::Change::Set(wit_enrichment::Setting {
        path: path.to_owned(),
        json: json.to_owned(),
    })
}

fn patched(changes: Vec<wit_enrichment::Change>) -> Checked<Vec<Patch>> {
    patches(vec![wit_enrichment::Patch { alert: 1, changes }], 4, &Limits::default())
}

#[test]
fn a_path_of_dots_and_a_deep_value_are_refused_before_anything_recursive_sees_them() {
    let dots = format!("a{}", ".".repeat(100));
    let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
    let brackets_in_text = format!("\"{}\\\"{}\"", "[".repeat(300), "{".repeat(300));
    let checked = patched(vec![
        set(&dots, "1"),
        set("a", &deep),
        wit_enrichment::Change::Remove(dots.clone()),
        set("labels.team", &brackets_in_text),
    ]);
    assert_eq!(checked.said[0].changes.len(), 1, "{:?}", checked.refused);
    assert_eq!(checked.dropped, 3);
    assert!(
        checked.refused[0]
            .1
            .starts_with("the path of a change has more than 16 keys: 101"),
        "{:?}",
        checked.refused
    );
    let value = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    assert_eq!(patched(vec![set("a", &value(MAX_VALUE_DEPTH))]).dropped, 0);
    assert!(
        patched(vec![set("a", &value(MAX_VALUE_DEPTH + 1))]).refused[0]
            .1
            .contains("nested deeper than")
    );
}

#[test]
fn changes_are_bounded_for_each_alert_however_many_patches_they_come_in() {
    let patch = |_| wit_enrichment::Patch {
        alert: 0,
        changes: vec![set("a", "1"); 100],
    };
    let checked = patches((0..3).map(patch).collect(), 4, &Limits::default());
    assert_eq!(checked.said.iter().map(|patch| patch.changes.len()).sum::<usize>(), 128);
    assert_eq!(checked.dropped, 172);
    assert!(
        checked.refused[0]
            .1
            .starts_with("more changes to the alert than the first that count: 128")
    );
    let checked = patched(vec![set(&"a".repeat(300), "1"), set("a", &"1".repeat(70_000))]);
    assert_eq!((checked.said.len(), checked.dropped), (0, 2));
}

#[test]
fn lists_that_do_not_fit_together_are_believed_in_nothing() {
    let good = || flat(&[verdict(0, 1, "g"), verdict(1, FIRST_POLICY_HANDLE, "h")]);
    let named: Vec<String> = answered(good())
        .unwrap()
        .said
        .verdicts
        .iter()
        .map(|v| v.rule.to_string())
        .collect();
    assert_eq!(named, ["r1", "plugin/policy"]);
    type Spoil = fn(&mut wit_correlation::Findings);
    let cases: [(Spoil, Misfit); 7] = [
        (|said| said.rules.truncate(1), Misfit::Lengths),
        (|said| said.read_ends.push(0), Misfit::Lengths),
        (|said| said.key_ends[1] = 0, Misfit::Ends),
        (|said| said.branch_ends[1] = 9, Misfit::Ends),
        (|said| said.keys[0] = 5, Misfit::TextId),
        (|said| said.own_texts[0] = 0xff, Misfit::Utf8),
        (|said| said.more.push(("a".into(), "1".into())), Misfit::More),
    ];
    for (spoil, expected) in cases {
        let mut said = good();
        spoil(&mut said);
        assert_eq!(answered(said).unwrap_err(), expected);
    }
}

#[test]
fn a_group_is_named_by_texts_of_the_batch_as_well_as_by_its_own() {
    let mut said = flat(&[verdict(0, 1, "own")]);
    said.keys[0] = 2;
    assert_eq!(
        answered(said).unwrap().said.verdicts[0].group_key,
        ["c"],
        "the name of the third column"
    );
}

#[test]
fn a_change_that_this_version_does_not_know_is_refused_and_told() {
    let other = wit_enrichment::Change::Other(("suppress".to_owned(), "{}".to_owned()));
    let checked = patched(vec![other, set("a", "1")]);
    assert_eq!(checked.said[0].changes.len(), 1);
    assert_eq!(checked.refused[0].1, "this version knows no such change: suppress");
}

#[test]
fn what_an_answer_makes_the_host_look_at_and_keep_is_bounded_for_each_alert() {
    let long = "x".repeat(4_000);
    // Few numbers stand for long texts: all verdicts name their group by the same one.
    let mut said = flat(&[verdict(0, 1, &long)]);
    let id = said.keys[0];
    for at in 1..60_000_u32 {
        said.alerts.push(0);
        said.rules.push(at % 100);
        said.keys.extend([id; 16]);
        said.key_ends.push(u32::try_from(said.keys.len()).unwrap());
        said.branches.push(at);
        said.branch_ends.push(at + 1);
        said.read_ends.push(1);
    }
    let checked = answered(said).unwrap();
    let kept = checked.said.verdicts.iter().flat_map(|verdict| &verdict.group_key);
    assert!(kept.map(String::len).sum::<usize>() <= 128 << 10);
    assert!(
        checked.refused[0].1.contains("together longer than the limit"),
        "{:?}",
        checked.refused
    );
    assert!(checked.dropped > 59_000);

    let wide = |at: u32| Meant {
        branches: (at * 4_000..(at + 1) * 4_000).collect(),
        ..verdict(1, 1, "g")
    };
    let checked = self::checked(&(0..40).map(wide).collect::<Vec<_>>());
    assert!(checked.said.verdicts[0].branches.len() <= 64 << 10);
    assert!(
        checked.refused[0].1.contains("more branches and columns"),
        "{:?}",
        checked.refused
    );

    let again = vec![verdict(2, 1, "g"); 1_000];
    let checked = self::checked(&again);
    assert_eq!((checked.said.verdicts.len(), checked.dropped), (1, 744));
    assert!(
        checked.refused[0]
            .1
            .starts_with("more verdicts on the alert than are looked at: 256")
    );
}
