//! Where the attributes that rules read are among the columns of a batch, and one alert with its values at these places.
//!
//! Worked out once for a list of columns, which stays the same from batch to batch until rules or plugins change. It must
//! not know rules: they come as lists of paths.

use std::collections::HashMap;

use donjon_expr::{Attributes, Datum};
use donjon_plugin::{Alert, Batch, Column, Value};

/// The column of an attribute; none if the host did not hand it over, which reads as null.
pub(crate) type Place = Option<Column>;

/// The places of all attributes of one rule.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct RuleColumns {
    /// In the order of the columns of the expression.
    pub(crate) condition: Vec<Place>,
    /// In the order of the paths of the grouping.
    pub(crate) grouping: Vec<Place>,
}

/// The places for one list of columns.
#[derive(Default)]
pub(crate) struct ColumnMap {
    of: Option<Vec<String>>,
    rules: Vec<RuleColumns>,
}

impl ColumnMap {
    /// The places of each rule, in the order of the rules; worked out anew only when the columns changed. A rule comes as
    /// the paths of its condition and those of its grouping.
    pub(crate) fn for_batch<'r>(
        &mut self,
        batch: &Batch,
        rules: impl Iterator<Item = (&'r [String], &'r [String])>,
    ) -> &[RuleColumns] {
        let known = |of: &Vec<String>| of.iter().map(String::as_str).eq(batch.columns().map(|(_, path)| path));
        if !self.of.as_ref().is_some_and(known) {
            let places: HashMap<&str, Column> = batch.columns().map(|(column, path)| (path, column)).collect();
            let find = |paths: &[String]| paths.iter().map(|path| places.get(path.as_str()).copied()).collect();
            let of_rule = |(condition, grouping)| RuleColumns {
                condition: find(condition),
                grouping: find(grouping),
            };
            self.rules = rules.map(of_rule).collect();
            self.of = Some(batch.columns().map(|(_, path)| path.to_owned()).collect());
        }
        &self.rules
    }
}

/// The values of one alert after the other, one at the place of each column. The memory is that of the whole batch: an
/// alert costs as much as it has values, whatever the number of columns.
pub(crate) struct Row<'a> {
    values: Vec<Value<'a>>,
}

impl<'a> Row<'a> {
    pub(crate) fn new(batch: &Batch) -> Self {
        Row {
            values: vec![Value::Null; batch.column_count()],
        }
    }

    /// Take in the values of an alert, in place of those of the one before.
    pub(crate) fn read(&mut self, alert: Alert<'a>, before: Option<Alert<'a>>) {
        for column in before.into_iter().flat_map(Alert::columns) {
            self.set(column, Value::Null);
        }
        for (column, value) in alert.cells() {
            self.set(column, value);
        }
    }

    fn set(&mut self, column: Column, value: Value<'a>) {
        if let Some(old) = self.values.get_mut(column.place()) {
            *old = value;
        }
    }

    /// The value at a place.
    pub(crate) fn value(&self, place: Place) -> Value<'a> {
        let value = place.and_then(|column| self.values.get(column.place()));
        value.copied().unwrap_or_default()
    }
}

/// One alert as the condition of one rule reads it.
pub(crate) struct RowOfRule<'r, 'a> {
    pub(crate) row: &'r Row<'a>,
    pub(crate) places: &'r [Place],
}

impl Attributes for RowOfRule<'_, '_> {
    fn get(&self, column: usize, _path: &str) -> Datum<'_> {
        match self.row.value(self.places.get(column).copied().flatten()) {
            Value::Null => Datum::Null,
            Value::Bool(value) => Datum::Bool(value),
            Value::Int(value) => Datum::Int(value),
            Value::Float(value) => Datum::Float(value),
            Value::Text(text) => Datum::Text(text),
            Value::Json(json) => Datum::Json(json),
        }
    }
}

#[cfg(test)]
mod tests {
    use donjon_plugin::testing;

    use super::*;

    #[test]
    fn no_value_of_an_alert_is_left_to_the_next() {
        let batch = testing::batch()
            .alert([("a", "1"), ("b", "2")])
            .alert([("b", "3")])
            .build();
        let mut row = Row::new(&batch);
        let mut before = None;
        let mut seen = Vec::new();
        for alert in batch.alerts() {
            row.read(alert, before.replace(alert));
            seen.push(["a", "b"].map(|path| row.value(batch.column(path))));
        }
        let text = Value::Text;
        assert_eq!(seen, [[text("1"), text("2")], [Value::Null, text("3")]]);
        assert_eq!(row.value(None), Value::Null);
    }
}
