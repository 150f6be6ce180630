//! `cel=` filters: the alert expression language over the JSON that clients see.

use donjon_expr::{Attributes, Budget, Datum, Expression};
use serde_json::Value;

/// Whether an object matches; what cannot be evaluated does not.
pub fn matches(condition: &Expression, object: &Value) -> bool {
    // Columns that are lists or objects are printed first, so that they can be lent out.
    let texts: Vec<Option<String>> = condition
        .columns()
        .iter()
        .map(|path| {
            at(object, path)
                .filter(|value| value.is_array() || value.is_object())
                .map(Value::to_string)
        })
        .collect();
    condition
        .evaluate(&View { object, texts: &texts }, &mut Budget::default())
        .unwrap_or(false)
}

struct View<'a> {
    object: &'a Value,
    texts: &'a [Option<String>],
}

impl Attributes for View<'_> {
    fn get(&self, column: usize, path: &str) -> Datum<'_> {
        match at(self.object, path) {
            None | Some(Value::Null) => Datum::Null,
            Some(Value::Bool(b)) => Datum::Bool(*b),
            Some(Value::Number(number)) => match number.as_i64() {
                Some(whole) => Datum::Int(whole),
                None => Datum::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Some(Value::String(text)) => Datum::Text(text),
            Some(Value::Array(_) | Value::Object(_)) => self
                .texts
                .get(column)
                .and_then(Option::as_deref)
                .map_or(Datum::Null, Datum::Json),
        }
    }
}

fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    donjon_core::value::split_path(path)
        .iter()
        .try_fold(object, |value, key| match value {
            Value::Object(object) => object.get(key),
            Value::Array(list) => list.get(key.parse::<usize>().ok()?),
            _ => None,
        })
}
