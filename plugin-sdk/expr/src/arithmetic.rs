//! `+ - * / %` and unary minus on values. Whole numbers overflow with an error; doubles follow IEEE 754, as in CEL.
//!
//! Must not know: the tree.

use crate::compare::whole;
use crate::error::{Budget, EvalError};
use crate::time::{Duration, Timestamp};
use crate::tree::ArithmeticOperator::{self, Add, Divide, Multiply, Remainder, Subtract};
use crate::value::{Text, Value, int_to_double};
use std::rc::Rc;

/// The result of an operator. Whole numbers of different types meet in the signed type, a whole number and a double in double.
pub(crate) fn apply<'a>(
    left: Value<'a>,
    right: Value<'a>,
    operator: ArithmeticOperator,
    budget: &mut Budget,
) -> Result<Value<'a>, EvalError> {
    let symbol = operator.symbol();
    let overflow = EvalError::Overflow(symbol);
    match (left, operator, right) {
        (Value::Null, _, _) | (_, _, Value::Null) => Err(EvalError::NullOperand),
        (Value::Int(left), _, Value::Int(right)) => signed(left, right, operator).map(Value::Int),
        (Value::Uint(left), _, Value::Uint(right)) => unsigned(left, right, operator).map(Value::Uint),
        (Value::Text(left), Add, Value::Text(right)) => {
            budget.spend_bytes(left.len().saturating_add(right.len()))?;
            Ok(Value::Text(Text::from([&*left, &*right].concat())))
        }
        (Value::List(left), Add, Value::List(right)) => {
            budget.spend(left.len().saturating_add(right.len()))?;
            Ok(Value::List(Rc::new(left.iter().chain(right.iter()).cloned().collect())))
        }
        (Value::Timestamp(left), Add, Value::Duration(right))
        | (Value::Duration(right), Add, Value::Timestamp(left)) => Timestamp::from_nanos(left.nanos() + right.nanos())
            .map(Value::Timestamp)
            .ok_or(overflow),
        (Value::Timestamp(left), Subtract, Value::Duration(right)) => {
            Timestamp::from_nanos(left.nanos() - right.nanos())
                .map(Value::Timestamp)
                .ok_or(overflow)
        }
        (Value::Timestamp(left), Subtract, Value::Timestamp(right)) => {
            Duration::from_nanos(left.nanos() - right.nanos())
                .map(Value::Duration)
                .ok_or(overflow)
        }
        (Value::Duration(left), Add, Value::Duration(right)) => Duration::from_nanos(left.nanos() + right.nanos())
            .map(Value::Duration)
            .ok_or(overflow),
        (Value::Duration(left), Subtract, Value::Duration(right)) => Duration::from_nanos(left.nanos() - right.nanos())
            .map(Value::Duration)
            .ok_or(overflow),
        (left, _, right) => mixed(&left, &right, operator),
    }
}

/// Numbers of different types, doubles included.
fn mixed<'a>(left: &Value<'_>, right: &Value<'_>, operator: ArithmeticOperator) -> Result<Value<'a>, EvalError> {
    let symbol = operator.symbol();
    if let (Some(left), Some(right)) = (whole(left), whole(right)) {
        let signed_only = |int| i64::try_from(int).map_err(|_| EvalError::Overflow(symbol));
        return signed(signed_only(left)?, signed_only(right)?, operator).map(Value::Int);
    }
    match (double(left), operator, double(right)) {
        (Some(left), Add, Some(right)) => Ok(Value::Double(left + right)),
        (Some(left), Subtract, Some(right)) => Ok(Value::Double(left - right)),
        (Some(left), Multiply, Some(right)) => Ok(Value::Double(left * right)),
        (Some(left), Divide, Some(right)) => Ok(Value::Double(left / right)),
        _ => Err(EvalError::Types {
            operation: symbol,
            left: left.kind(),
            right: right.kind(),
        }),
    }
}

fn double(value: &Value<'_>) -> Option<f64> {
    match value {
        Value::Double(double) => Some(*double),
        other => whole(other).map(int_to_double),
    }
}

fn signed(left: i64, right: i64, operator: ArithmeticOperator) -> Result<i64, EvalError> {
    if right == 0 && matches!(operator, Divide | Remainder) {
        return Err(EvalError::DivisionByZero(operator.symbol()));
    }
    let result = match operator {
        Add => left.checked_add(right),
        Subtract => left.checked_sub(right),
        Multiply => left.checked_mul(right),
        Divide => left.checked_div(right),
        Remainder => left.checked_rem(right),
    };
    result.ok_or(EvalError::Overflow(operator.symbol()))
}

fn unsigned(left: u64, right: u64, operator: ArithmeticOperator) -> Result<u64, EvalError> {
    if right == 0 && matches!(operator, Divide | Remainder) {
        return Err(EvalError::DivisionByZero(operator.symbol()));
    }
    let result = match operator {
        Add => left.checked_add(right),
        Subtract => left.checked_sub(right),
        Multiply => left.checked_mul(right),
        Divide => left.checked_div(right),
        Remainder => left.checked_rem(right),
    };
    result.ok_or(EvalError::Overflow(operator.symbol()))
}

/// Unary minus.
pub(crate) fn negate<'a>(value: &Value<'_>) -> Result<Value<'a>, EvalError> {
    let overflow = EvalError::Overflow("-");
    match value {
        Value::Null => Err(EvalError::NullOperand),
        Value::Int(int) => int.checked_neg().map(Value::Int).ok_or(overflow),
        Value::Double(double) => Ok(Value::Double(-double)),
        Value::Duration(duration) => Duration::from_nanos(-duration.nanos())
            .map(Value::Duration)
            .ok_or(overflow),
        other => Err(EvalError::Argument {
            function: "-",
            kind: other.kind(),
        }),
    }
}
