//! Batches as authors see them, whatever the lists that crossed the border are like.

use donjon_plugin::wire::{self, kind};
use donjon_plugin::{Alert, Batch, Error, Value, Wanted, testing};

#[test]
fn alerts_are_read_in_place_with_all_kinds_of_values() {
    let batch = testing::batch()
        .columns(["absent"])
        .alert([
            ("t", Value::Text("a")),
            ("b", true.into()),
            ("i", (-5).into()),
            ("f", 1.5.into()),
            ("j", Value::Json("[1]")),
            ("null", Value::Null),
        ])
        .alert([("t", "a")])
        .build();
    let alerts: Vec<Alert> = batch.alerts().collect();
    let [first, second] = alerts.as_slice() else {
        panic!("{alerts:?}");
    };
    assert_eq!(first.text("t"), Some("a"));
    assert_eq!(first.value("b"), Value::Bool(true));
    assert_eq!(first.value("i").as_int(), Some(-5));
    assert_eq!(first.value("f"), Value::Float(1.5));
    assert_eq!(first.value("j"), Value::Json("[1]"));
    for path in ["null", "absent", "never asked for"] {
        assert!(first.value(path).is_null(), "{path}");
    }
    assert_eq!(
        (first.text("i"), first.text("j")),
        (None, None),
        "not every value is a text"
    );
    let column = batch.column("t").unwrap();
    assert_eq!(
        first.text_id_at(column),
        second.text_id_at(column),
        "equal texts, one id"
    );
    assert_eq!(batch.text(second.text_id_at(column).unwrap()), Some("a"));
    assert_eq!(first.text_id_at(batch.column("j").unwrap()), None);
    assert_eq!(second.cells().collect::<Vec<_>>(), [(column, Value::Text("a"))]);
    assert_eq!(
        batch.columns().next().map(|(column, path)| (column.place(), path)),
        Some((0, "absent"))
    );
}

#[test]
fn time_and_place_are_those_of_each_alert() {
    let batch = testing::batch()
        .accepted(500)
        .alert([("n", "a")])
        .accepted(700)
        .alert([("n", "b")])
        .build();
    let seen: Vec<_> = batch
        .alerts()
        .map(|alert| (alert.index(), alert.seq(), alert.accepted()))
        .collect();
    assert_eq!(seen, [(0, 1, 500), (1, 2, 700)]);
}

#[test]
fn documents_come_one_an_alert() {
    let batch = testing::batch().document(r#"{"a":1}"#).document("{}").build();
    let seen: Vec<_> = batch.alerts().map(Alert::document).collect();
    assert_eq!(seen, [r#"{"a":1}"#.as_bytes(), b"{}"]);
}

#[test]
fn crooked_lists_read_as_null_and_never_panic() {
    let sound = wire::Batch {
        seqs: vec![1, 2],
        accepted: vec![5],
        texts: "nä".into(),
        text_ends: vec![1, 3],
        columns: vec![0, 9],
        cell_ends: vec![1, 2],
        cell_columns: vec![0, 0],
        cell_kinds: vec![kind::TEXT, kind::JSON],
        cell_words: vec![1, u64::MAX],
        documents: b"{}".to_vec(),
        document_ends: vec![2],
    };
    let crooked: Vec<fn(&mut wire::Batch)> = vec![
        |_| {},
        |lists| lists.text_ends = vec![2, 1],
        |lists| lists.text_ends = vec![1, 2],
        |lists| lists.text_ends = vec![],
        |lists| lists.cell_ends = vec![7, 1],
        |lists| lists.cell_ends = vec![u32::MAX],
        |lists| lists.cell_kinds = vec![9],
        |lists| lists.cell_words = vec![],
        |lists| lists.cell_columns = vec![5],
        |lists| lists.document_ends = vec![9, 3],
        |lists| lists.columns = vec![u32::MAX],
    ];
    for (case, bend) in crooked.iter().enumerate() {
        let mut lists = sound.clone();
        bend(&mut lists);
        let batch = Batch::from_wire(lists).unwrap();
        for alert in batch.alerts() {
            let seen = (alert.seq(), alert.accepted(), alert.value("n"), alert.document());
            let cells: Vec<_> = alert.cells().collect();
            if (case, alert.index()) == (0, 0) {
                assert_eq!(seen, (1, 5, Value::Text("ä"), &b"{}"[..]));
                assert_eq!(cells.len(), 1);
            }
            if case > 0 && case < 7 || alert.index() == 1 {
                assert!(seen.2.is_null(), "case {case}: {seen:?}");
            }
        }
    }
    let no_text = wire::Batch {
        texts: vec![0xff],
        ..wire::Batch::default()
    };
    assert!(matches!(Batch::from_wire(no_text), Err(Error::Invalid(_))));
}

#[test]
fn a_plugin_is_handed_what_it_wants_and_nothing_else() {
    let wanted = Wanted::columns(["name", "absent"]);
    let batch = testing::batch()
        .wanted(&wanted)
        .alert([("secret", "x"), ("name", "disk")])
        .build();
    let columns: Vec<&str> = batch.columns().map(|(_, path)| path).collect();
    assert_eq!(columns, ["name", "absent"]);
    let alert = batch.alerts().next().unwrap();
    assert_eq!((alert.text("name"), alert.text("secret")), (Some("disk"), None));
}
