//! What is cut of an alert is told, and nothing else is.

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

#[test]
fn columns_and_rows_are_capped_and_what_is_left_out_is_told() {
    let (object, columns) = nested(20, &"x".repeat(MAX_VALUE_BYTES * 2));
    let row = row_of(&object, &columns);
    assert_eq!(row.values, vec![Scalar::Null; 20], "cut JSON is no JSON");
    let told = row.over.unwrap();
    assert!(
        told.starts_with("20 of the attributes") && told.ends_with("together: a, a.a, a.a.a"),
        "{told}"
    );

    let (object, columns) = nested(20, &"x".repeat(MAX_VALUE_BYTES - 1_000));
    let row = row_of(&object, &columns);
    let kept = row.values.iter().filter(|value| **value != Scalar::Null).count();
    assert!(
        (16..20).contains(&kept) && row.bytes <= MAX_ROW_BYTES + 20 * SCALAR_BYTES,
        "{kept}"
    );
    assert!(row.over.unwrap().starts_with(&format!("{} of the", 20 - kept)));

    let long: Object = [("m".to_owned(), Value::text("é".repeat(MAX_VALUE_BYTES)))]
        .into_iter()
        .collect();
    let row = row_of(&long, &[Column::new("m"), Column::new("absent")]);
    assert_eq!(
        row.values,
        [Scalar::Text("é".repeat(MAX_VALUE_BYTES / 2)), Scalar::Null]
    );
    assert!(row.over.unwrap().starts_with("1 of the"));
}

#[test]
fn an_ordinary_row_is_whole() {
    let (object, columns) = nested(3, "text");
    let row = row_of(&object, &columns);
    assert_eq!(row.over, None);
    let json = |text: &str| Scalar::Json(text.to_owned());
    let expected = [
        r#"{"a":{"a":{"t":"text"}}}"#,
        r#"{"a":{"t":"text"}}"#,
        r#"{"t":"text"}"#,
    ];
    assert_eq!(row.values, expected.map(json));
}
