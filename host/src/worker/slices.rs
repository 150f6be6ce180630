//! Cuts a batch into the slices that a plugin is called with: as many alerts as it manages in the time that a call is
//! meant to take. How many of them fit into a call is known when it is made (`handed.rs`). Knows no plugin.

use donjon_core::{Object, Value};

use super::Pending;

/// What a value takes beside its text.
const VALUE_BYTES: usize = 16;

/// What is left of a batch.
pub struct Slices<'a, 'e> {
    rest: &'a mut [&'e mut Pending],
}

impl<'a, 'e> Slices<'a, 'e> {
    /// All of a batch.
    pub fn new(events: &'a mut [&'e mut Pending]) -> Slices<'a, 'e> {
        Slices { rest: events }
    }

    /// The next slice, of at most so many alerts and at least one; none at the end.
    pub fn next(&mut self, most: usize) -> Option<&mut [&'e mut Pending]> {
        let len = self.rest.len().min(most.max(1));
        self.rest.get_mut(..len).filter(|slice| !slice.is_empty())
    }

    /// So many of them are done: at least one, or the next slice is this one again.
    pub fn done(&mut self, alerts: usize) {
        let rest = std::mem::take(&mut self.rest);
        self.rest = rest.get_mut(alerts.max(1)..).unwrap_or_default();
    }
}

/// About as many bytes as the JSON text of an alert has.
pub fn bytes_of(object: &Object) -> usize {
    object
        .iter()
        .map(|(key, value)| key.len() + bytes_of_value(value))
        .sum()
}

fn bytes_of_value(value: &Value) -> usize {
    VALUE_BYTES
        + match value {
            Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) => 0,
            Value::Text(text) => text.len(),
            Value::List(values) => values.iter().map(bytes_of_value).sum(),
            Value::Object(object) => bytes_of(object),
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alert_weighs_about_as_much_as_its_text() {
        let text = format!(
            r#"{{"name":"n","labels":{{"a":[{}],"b":"{}"}}}}"#,
            vec!["1.5"; 100].join(","),
            "x".repeat(1_000)
        );
        let Ok(Value::Object(object)) = crate::json::parse(&text) else {
            panic!("an object");
        };
        let weight = bytes_of(&object);
        assert!(
            (text.len() / 2..text.len() * 4).contains(&weight),
            "{weight} for {}",
            text.len()
        );
    }
}
