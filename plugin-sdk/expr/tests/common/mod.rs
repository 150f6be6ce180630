//! An alert given as JSON, laid out as a row of scalars by column: how a caller of the crate feeds an expression.
#![allow(
    dead_code,
    clippy::panic,
    reason = "each test binary uses its own part; tests may panic"
)]

use donjon_expr::{Attributes, Budget, Datum, EvalError, Expression, path};
use serde_json::{Value, json};

enum Cell {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Json(String),
}

/// The cells of an expression's columns.
pub struct Row(Vec<Cell>);

impl Row {
    pub fn new(expression: &Expression, alert: &Value) -> Self {
        Self(
            expression
                .columns()
                .iter()
                .map(|column| cell(find(alert, column)))
                .collect(),
        )
    }
}

impl Attributes for Row {
    fn get(&self, column: usize, _path: &str) -> Datum<'_> {
        match self.0.get(column) {
            None | Some(Cell::Null) => Datum::Null,
            Some(Cell::Bool(bool)) => Datum::Bool(*bool),
            Some(Cell::Int(int)) => Datum::Int(*int),
            Some(Cell::Float(float)) => Datum::Float(*float),
            Some(Cell::Text(text)) => Datum::Text(text),
            Some(Cell::Json(text)) => Datum::Json(text),
        }
    }
}

fn find<'v>(alert: &'v Value, column: &str) -> Option<&'v Value> {
    path::split(column)
        .iter()
        .try_fold(alert, |value, segment| match value {
            Value::Array(elements) => elements.get(segment.parse::<usize>().ok()?),
            other => other.get(&**segment),
        })
}

fn cell(value: Option<&Value>) -> Cell {
    match value {
        None | Some(Value::Null) => Cell::Null,
        Some(Value::Bool(bool)) => Cell::Bool(*bool),
        Some(Value::Number(number)) => match number.as_i64() {
            Some(int) => Cell::Int(int),
            None => number.as_f64().map_or(Cell::Null, Cell::Float),
        },
        Some(Value::String(text)) => Cell::Text(text.clone()),
        Some(value) => Cell::Json(value.to_string()),
    }
}

/// What one evaluation of all branches says.
#[derive(Debug, PartialEq)]
pub struct Outcome {
    pub matched: Vec<u32>,
    pub errors: Vec<(u32, EvalError)>,
}

pub fn run(expression: &Expression, alert: &Value) -> Outcome {
    let row = Row::new(expression, alert);
    let (mut matched, mut errors) = (Vec::new(), Vec::new());
    expression.matched_branches(&row, &mut Budget::default(), &mut matched, |branch, error| {
        errors.push((branch, error))
    });
    Outcome { matched, errors }
}

/// What a condition must say about an alert.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Expect {
    Match,
    /// No match and nothing to report.
    Silent,
    /// No match and an error to count.
    Error,
}

pub fn compile(source: &str) -> Expression {
    Expression::compile(source).unwrap_or_else(|diagnostics| panic!("{source}: {diagnostics:?}"))
}

#[track_caller]
pub fn check(source: &str, alert: &Value, expected: Expect) {
    let expression = compile(source);
    let outcome = run(&expression, alert);
    let found = match (outcome.matched.is_empty(), outcome.errors.is_empty()) {
        (false, _) => Expect::Match,
        (true, true) => Expect::Silent,
        (true, false) => Expect::Error,
    };
    assert_eq!(found, expected, "{source}: {outcome:?}");
    let whole = expression.evaluate(&Row::new(&expression, alert), &mut Budget::default());
    match expected {
        Expect::Match => assert_eq!(whole, Ok(true), "{source}"),
        Expect::Silent => assert_eq!(whole, Ok(false), "{source}"),
        Expect::Error => assert!(whole.is_err(), "{source}"),
    }
}

#[track_caller]
pub fn check_all(alert: &Value, table: &[(&str, Expect)]) {
    for (source, expected) in table {
        check(source, alert, *expected);
    }
}

/// The payload of the observed truth table.
pub fn observed() -> Value {
    json!({
        "source": ["prometheus", "x"], "severity": "high", "service": null, "message": "disk is full", "flag": true, "name": "a1",
        "labels": {"host": "h1", "n": 5, "num": "7", "ratio": 0.5, "tags": ["a", "b"], "empty": "", "a.b": "dotted", "a-b": "dashed",
                   "nested": {"az": {"id": "z1"}}, "none": null, "big": 9_007_199_254_740_993_i64, "whole": 5.0,
                   "at": "2026-11-21T03:10:20.764Z", "took": "90s", "list": [{"k": 1}, {"k": 2}], "esc": "\"q\"\\\n\u{e9}\u{1f600}",
                   "odd": ["\"q\"\\\n\u{e9}\u{1f600}"]}
    })
}
