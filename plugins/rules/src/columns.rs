//! Where the attributes that rules read are in the rows of a batch.
//!
//! Worked out once for a list of columns, which stays the same from batch to batch until rules or plugins change.

use std::collections::HashMap;

use donjon_expr::{Attributes, Datum};
use donjon_plugin::Scalar;

use crate::rule_set::CompiledRule;

/// The position of an attribute in a row; none if the host did not hand it over, which reads as null.
pub(crate) type Place = Option<u32>;

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
    /// The places of each rule, in the order of the rules; worked out anew only when the columns changed.
    pub(crate) fn for_batch(&mut self, columns: &[String], rules: &[CompiledRule]) -> &[RuleColumns] {
        if self.of.as_deref() != Some(columns) {
            let places: HashMap<&str, u32> = columns.iter().map(String::as_str).zip(0u32..).collect();
            let find = |paths: &[String]| paths.iter().map(|path| places.get(path.as_str()).copied()).collect();
            let of_rule = |rule: &CompiledRule| RuleColumns {
                condition: find(rule.expression.columns()),
                grouping: find(rule.grouping.paths()),
            };
            self.rules = rules.iter().map(of_rule).collect();
            self.of = Some(columns.to_owned());
        }
        &self.rules
    }
}

/// The value at a place of a row.
pub(crate) fn value_at(row: &[Scalar], place: Place) -> &Scalar {
    place
        .and_then(|place| row.get(usize::try_from(place).ok()?))
        .unwrap_or(&Scalar::Null)
}

/// One alert as the condition of one rule reads it.
pub(crate) struct Row<'a> {
    pub(crate) values: &'a [Scalar],
    pub(crate) places: &'a [Place],
}

impl Attributes for Row<'_> {
    fn get(&self, column: usize, _path: &str) -> Datum<'_> {
        match value_at(self.values, self.places.get(column).copied().flatten()) {
            Scalar::Null => Datum::Null,
            Scalar::Boolean(value) => Datum::Bool(*value),
            Scalar::Integer(value) => Datum::Int(*value),
            Scalar::Number(value) => Datum::Float(*value),
            Scalar::Text(text) => Datum::Text(text),
            Scalar::Json(json) => Datum::Json(json),
        }
    }
}
