//! What the fuzz target `condition` calls. Nothing here is used by the product.

use crate::{Attributes, Budget, Datum, Expression};

/// One alert that answers every column with a datum chosen by the column's name, so that all kinds meet all operators.
struct Anything;

impl Attributes for Anything {
    fn get(&self, column: usize, path: &str) -> Datum<'_> {
        match (column + path.len()) % 7 {
            0 => Datum::Null,
            1 => Datum::Bool(true),
            2 => Datum::Int(i64::MIN),
            3 => Datum::Float(1.5),
            4 => Datum::Text("critical"),
            5 => Datum::Json(r#"["a",{"k":[1,null,"b"]},-0.0,"\u00e9\n"]"#),
            _ => Datum::Text("7"),
        }
    }
}

/// A condition: it compiles or says why, at a place inside of it; evaluation ends, and says the same as its branches do.
///
/// # Panics
/// When it does not: that is what is looked for.
pub fn condition(data: &[u8]) {
    let Ok(source) = std::str::from_utf8(data) else {
        return;
    };
    let expression = match Expression::compile(source) {
        Ok(expression) => expression,
        Err(diagnostics) => {
            assert!(!diagnostics.is_empty(), "refused without a word: {source:?}");
            return;
        }
    };
    let (mut matched, mut failed) = (Vec::new(), 0);
    expression.matched_branches(&Anything, &mut Budget::default(), &mut matched, |_, _| failed += 1);
    let branches = expression.branches().len();
    assert!(
        matched.len() + failed <= branches,
        "more answers than branches: {source:?}"
    );
    assert!(matched.iter().all(|branch| (*branch as usize) < branches), "{source:?}");
    if let Ok(whole) = expression.evaluate(&Anything, &mut Budget::default())
        && failed == 0
    {
        assert_eq!(whole, !matched.is_empty(), "branches and whole differ: {source:?}");
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn conditions_of_the_corpus_are_compiled_or_refused() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/corpus/condition");
        let mut files = 0;
        for file in std::fs::read_dir(dir).unwrap() {
            super::condition(&std::fs::read(file.unwrap().path()).unwrap());
            files += 1;
        }
        assert!(files > 0, "no corpus in {dir}");
    }
}
