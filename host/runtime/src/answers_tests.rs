//! Answers at their caps and over them: what counts, what is refused, and who is told.

use super::*;

const SHAPE: Shape = Shape { alerts: 4, columns: 3 };

fn verdict(alert: u32, rule: &str, group: &str) -> wit_correlation::Verdict {
    wit_correlation::Verdict {
        alert,
        rule: rule.to_owned(),
        group_key: vec![group.to_owned()],
        branches: vec![0],
        read: vec![0],
    }
}

fn checked(verdicts: Vec<wit_correlation::Verdict>) -> Checked<Findings> {
    let said = wit_correlation::Findings {
        verdicts,
        failures: Vec::new(),
    };
    findings(said, SHAPE, &Limits::default())
}

#[test]
fn the_first_64_verdicts_of_an_alert_count_and_the_alert_is_told_of_the_rest() {
    let groups = |count: usize| (0..count).map(|i| verdict(1, "r", &format!("g{i}")));
    let at_the_cap = checked(groups(64).collect());
    assert_eq!((at_the_cap.said.verdicts.len(), at_the_cap.dropped), (64, 0));
    assert_eq!(at_the_cap.refused, []);
    // The order among alerts does not matter: what happens to one alert never depends on the others (I10).
    let mut mixed: Vec<_> = groups(100).collect();
    mixed.insert(0, verdict(0, "r", "g"));
    mixed.push(verdict(2, "r", "g"));
    let over = checked(mixed);
    assert_eq!(over.said.verdicts.len(), 66);
    assert_eq!(over.said.verdicts[64].group_key, ["g63"]);
    assert_eq!(over.dropped, 36);
    let reason = "more verdicts on the alert than the first that count: 64 (parts of the answer refused: 36)";
    assert_eq!(over.refused, [(1, reason.to_owned())]);
}

#[test]
fn the_same_verdict_twice_is_one_with_the_branches_and_columns_of_both() {
    let mut again = verdict(3, "r", "g");
    (again.branches, again.read) = (vec![2, 0, 2], vec![2, 2, 1, 0]);
    let checked = checked(vec![
        verdict(3, "r", "g"),
        again,
        verdict(3, "r", "other"),
        verdict(2, "r", "g"),
    ]);
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
    let mut many_values = verdict(0, "r", "g");
    many_values.group_key = vec!["x".into(); 17];
    let mut strange = verdict(2, "r", "g");
    strange.read = vec![0, 3];
    let checked = checked(vec![
        verdict(0, "r", "fits"),
        many_values,
        verdict(1, "r", &long),
        strange,
        verdict(3, &long, "g"),
        verdict(9, "r", "g"),
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
        (3, "the name of a rule is longer than the limit of 256 bytes: 5000"),
    ];
    assert_eq!(told, expected);
    assert_eq!(checked.dropped, 5, "the one without an alert is counted");
}

#[test]
fn rule_failures_are_bounded_for_each_alert() {
    let failure = |alert: u32, at: usize| wit_correlation::RuleFailure {
        alert,
        rule: format!("r{at}"),
        message: "m".repeat(5_000),
    };
    let said = wit_correlation::Findings {
        verdicts: Vec::new(),
        failures: (0..100).map(|at| failure(2, at)).chain([failure(3, 0)]).collect(),
    };
    let checked = findings(said, SHAPE, &Limits::default());
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
    wit_enrichment::Change::Set((path.to_owned(), json.to_owned()))
}

fn patched(changes: Vec<wit_enrichment::Change>) -> Checked<Vec<Patch>> {
    patches(
        vec![wit_enrichment::Patch { alert: 1, changes }],
        SHAPE,
        &Limits::default(),
    )
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
    let checked = patches((0..3).map(patch).collect(), SHAPE, &Limits::default());
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
