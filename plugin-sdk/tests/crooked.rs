//! Lists that do not fit together are read without a panic, whatever they are.

use donjon_plugin::wire;
use donjon_plugin::{Batch, Value};
use proptest::prelude::*;

fn ends() -> impl Strategy<Value = Vec<u32>> {
    prop::collection::vec(prop_oneof![0_u32..12, Just(u32::MAX)], 0..5)
}

fn words() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(prop_oneof![0_u64..6, any::<u64>()], 0..6)
}

fn lists() -> impl Strategy<Value = wire::Batch> {
    let texts = ("[a-cä]{0,8}", ends(), ends());
    let cells = (
        ends(),
        prop::collection::vec(0_u16..5, 0..6),
        prop::collection::vec(0_u8..8, 0..6),
        words(),
    );
    let alerts = (words(), words(), prop::collection::vec(any::<u8>(), 0..9), ends());
    (texts, cells, alerts).prop_map(|(texts, cells, alerts)| wire::Batch {
        texts: texts.0.into_bytes(),
        text_ends: texts.1,
        columns: texts.2,
        cell_ends: cells.0,
        cell_columns: cells.1,
        cell_kinds: cells.2,
        cell_words: cells.3,
        seqs: alerts.0,
        accepted: alerts.1,
        documents: alerts.2,
        document_ends: alerts.3,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_024, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn crooked_lists_are_read_without_a_panic_and_both_ways_of_reading_agree(lists in lists()) {
        let count = lists.seqs.len();
        let batch = Batch::from_wire(lists).unwrap();
        prop_assert_eq!(batch.alerts().count(), count);
        for alert in batch.alerts() {
            let (_, _, _) = (alert.seq(), alert.accepted(), alert.document());
            let columns: Vec<_> = alert.columns().collect();
            for (column, path) in batch.columns() {
                let value = alert.value_at(column);
                prop_assert!(alert.text_id_at(column).is_none() || matches!(value, Value::Text(_) | Value::Null));
                let _ = (alert.value(path), alert.text(path));
            }
            // Only a list in order can be searched.
            if columns.is_sorted_by(|a, b| a < b) {
                for (column, value) in alert.cells() {
                    prop_assert!(alert.value_at(column) == value || matches!(value, Value::Float(_)));
                }
            }
        }
    }
}
