//! `cel=` filters: the alert expression language over the JSON that clients see. One budget for a whole request.

use donjon_core::incident::Incident;
use donjon_core::value::split_path;
use donjon_expr::{Attributes, Budget, Datum, EvalError, Expression};
use serde_json::Value;

use super::incident_view::{for_condition, names_for_conditions};
use crate::http::error::ApiError;
use crate::http::reads::Pace;
use crate::{json, near};

/// Steps that the condition of one request may take over all incidents: a second of computing or two.
const STEPS_PER_REQUEST: u32 = 100_000_000;

// A request is worth many incidents.
const _: () = assert!(STEPS_PER_REQUEST / donjon_expr::limits::DEFAULT_STEPS >= 1000);

/// A condition over incidents, and what is left to evaluate it with.
pub struct Condition {
    expression: Expression,
    /// The field that each column begins with, and the path behind it.
    columns: Vec<(String, Vec<String>)>,
    budget: Budget,
    pace: Pace,
}

impl Condition {
    /// Compiles a condition, which may take a while.
    ///
    /// # Errors
    /// 400: it does not parse, or names what incidents do not have.
    pub fn new(text: &str, pace: &Pace) -> Result<Condition, ApiError> {
        let expression = Expression::compile(text).map_err(|found| {
            let first = found
                .first()
                .map(|d| format!("line {}, column {}: {}", d.line, d.column, d.message));
            ApiError::bad_request(format!("Error parsing CEL expression: {}", first.unwrap_or_default()))
        })?;
        let column = |path: &String| {
            let mut keys = split_path(path).into_iter();
            let first = keys.next().unwrap_or_default();
            if names_for_conditions().any(|name| name == first) {
                return Ok((first, keys.collect()));
            }
            let hint = near::nearest(&first, names_for_conditions());
            let hint = hint.map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            let detail = format!("Error parsing CEL expression: incidents have no field {first}{hint}");
            Err(ApiError::bad_request(detail))
        };
        let columns = expression.columns().iter().map(column).collect::<Result<_, _>>()?;
        let asked = pace.clone();
        Ok(Condition {
            expression,
            columns,
            budget: Budget::interruptible(STEPS_PER_REQUEST, move || asked.is_over()),
            pace: pace.clone(),
        })
    }

    /// Whether an incident matches; what cannot be evaluated does not.
    ///
    /// # Errors
    /// The budget of the request is used up, or its time.
    pub fn matches(&mut self, incident: &Incident) -> Result<bool, ApiError> {
        let cells = self.columns.iter().map(|(name, rest)| cell(incident, name, rest));
        let row = Row(cells.collect());
        match self.expression.evaluate(&row, &mut self.budget) {
            Ok(matches) => Ok(matches),
            Err(EvalError::Interrupted) => self.pace.check().map(|()| false),
            Err(EvalError::BudgetExceeded) => Err(ApiError::bad_request(format!(
                "the condition is too expensive for so many incidents, simplify it or narrow the list by other filters: \
                 more than {STEPS_PER_REQUEST} steps"
            ))),
            Err(_) => Ok(false),
        }
    }
}

/// A column. Lists and objects are printed, so that they can be lent out.
enum Cell {
    Plain(Value),
    Printed(String),
}

fn cell(incident: &Incident, name: &str, rest: &[String]) -> Cell {
    let whole = for_condition(incident, name);
    match json::at(&whole, rest) {
        Some(part @ (Value::Array(_) | Value::Object(_))) => Cell::Printed(part.to_string()),
        Some(part) => Cell::Plain(part.clone()),
        None => Cell::Plain(Value::Null),
    }
}

struct Row(Vec<Cell>);

impl Attributes for Row {
    fn get(&self, column: usize, _path: &str) -> Datum<'_> {
        match self.0.get(column) {
            Some(Cell::Printed(text)) => Datum::Json(text),
            Some(Cell::Plain(Value::Bool(b))) => Datum::Bool(*b),
            Some(Cell::Plain(Value::Number(number))) => match number.as_i64() {
                Some(whole) => Datum::Int(whole),
                None => Datum::Float(number.as_f64().unwrap_or(f64::NAN)),
            },
            Some(Cell::Plain(Value::String(text))) => Datum::Text(text),
            _ => Datum::Null,
        }
    }
}
