//! What is cut of an alert is told, and nothing else is.

use donjon_core::{Seq, Timestamp};

use super::*;

/// `{"a":{"a":...{"t":text}}}`, so deep, and the columns of all its levels.
fn nested(depth: usize, text: &str) -> (Object, Vec<Column>) {
    let leaf: Object = [("t".to_owned(), Value::text(text))].into_iter().collect();
    let object = (0..depth).fold(leaf, |inner, _| {
        [("a".to_owned(), Value::Object(inner))].into_iter().collect()
    });
    let columns = (1..=depth).map(|level| Column::new(&vec!["a"; level].join(".")));
    (object, columns.collect())
}

/// The alert as a plugin is handed it.
fn handed(object: &Object, columns: &[Column]) -> (Batch, Row) {
    let names = columns.iter().map(|column| column.name.as_str());
    let mut builder = BatchBuilder::new(TenantId::from("t"), 1, names);
    let row = put_row(&mut builder, object, columns);
    builder.end_alert(Seq(1), Timestamp(1));
    (builder.finish(), row)
}

#[test]
fn columns_and_rows_are_capped_and_what_is_left_out_is_told() {
    let (object, columns) = nested(20, &"x".repeat(MAX_VALUE_BYTES * 2));
    let (batch, row) = handed(&object, &columns);
    assert_eq!(batch.cell_words.len(), 0, "cut JSON is no JSON");
    let told = row.over.unwrap();
    assert!(
        told.starts_with("20 of the attributes") && told.ends_with("together: a, a.a, a.a.a"),
        "{told}"
    );

    let (object, columns) = nested(20, &"x".repeat(MAX_VALUE_BYTES - 1_000));
    let (batch, row) = handed(&object, &columns);
    let kept = batch.cell_words.len();
    assert!(
        (16..20).contains(&kept) && row.bytes <= MAX_ROW_BYTES + 20 * CELL_BYTES,
        "{kept}"
    );
    assert!(row.over.unwrap().starts_with(&format!("{} of the", 20 - kept)));

    let long: Object = [("m".to_owned(), Value::text("é".repeat(MAX_VALUE_BYTES)))]
        .into_iter()
        .collect();
    let (batch, row) = handed(&long, &[Column::new("m"), Column::new("absent")]);
    let kept = "é".repeat(MAX_VALUE_BYTES / 2);
    assert_eq!((batch.cell(0, 0), batch.cell(0, 1)), (Some(Cell::Text(&kept)), None));
    assert!(row.over.unwrap().starts_with("1 of the"));
}

#[test]
fn an_ordinary_row_is_whole() {
    let (object, columns) = nested(3, "text");
    let (batch, row) = handed(&object, &columns);
    assert_eq!(row.over, None);
    let expected = [
        r#"{"a":{"a":{"t":"text"}}}"#,
        r#"{"a":{"t":"text"}}"#,
        r#"{"t":"text"}"#,
    ];
    let values = [0, 1, 2].map(|column| batch.cell(0, column));
    assert_eq!(values, expected.map(|json| Some(Cell::Json(json))));
}
