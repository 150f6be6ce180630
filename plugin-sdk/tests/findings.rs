//! Verdicts in, flat lists out.

use donjon_plugin::{Findings, GroupValue, Verdict, policy, testing};

#[test]
fn verdicts_come_back_as_they_were_given_and_own_texts_follow_those_of_the_batch() {
    let batch = testing::batch()
        .alert([("name", "disk"), ("host", "db")])
        .alert([("name", "cpu")])
        .build();
    let mut findings = Findings::new();
    let name = batch.column("name").unwrap();
    for alert in batch.alerts() {
        findings
            .verdict(&alert, policy(1))
            .group([GroupValue::from(alert.text_id_at(name).unwrap()), "own".into()])
            .branches([0, 2])
            .reading(["name", "unknown"]);
        findings.verdict(&alert, 7);
        findings.failure(&alert, 7, "why");
    }
    let verdicts = findings.verdicts(&batch);
    let first = Verdict {
        alert: 0,
        rule: 2_147_483_649,
        group: vec!["disk".into(), "own".into()],
        branches: vec![0, 2],
        read: vec![u32::try_from(name.place()).unwrap()],
    };
    assert_eq!(verdicts.first(), Some(&first));
    let bare = Verdict {
        alert: 1,
        rule: 7,
        ..Verdict::default()
    };
    assert_eq!(
        verdicts.get(3),
        Some(&bare),
        "a bare verdict takes nothing of its neighbours"
    );
    assert_eq!((findings.len(), findings.failures().len()), (4, 2));

    let mut again = Findings::new();
    verdicts.into_iter().for_each(|verdict| again.push(verdict));
    assert_eq!(again.verdicts(&batch), findings.verdicts(&batch));

    let lists = findings.into_wire(&batch);
    assert_eq!(lists.own_texts, b"own", "an own text crosses once");
    let texts = 5; // name, disk, host, db, cpu
    assert_eq!(lists.keys.iter().filter(|id| **id == texts).count(), 2);
    assert_eq!(lists.key_ends, [2, 2, 4, 4]);
    assert_eq!(
        (lists.branch_ends, lists.read_ends),
        (vec![2, 2, 4, 4], vec![1, 1, 2, 2])
    );
}
