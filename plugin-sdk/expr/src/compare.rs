//! Equality and order of two values: null, numbers of every type, texts against numbers, and severities.
//!
//! Must not know: which attribute a value came from; the tree says when severities are meant.

use crate::error::{Budget, EvalError};
use crate::tree::{Comparison, OrderOperator};
use crate::value::{Value, double_to_int};
use std::cmp::Ordering;
use std::fmt::{self, Write};

/// `==` as section I.2 wants it: never an error of types, values of different types are different.
pub(crate) fn equal(
    left: &Value<'_>,
    right: &Value<'_>,
    by: Comparison,
    budget: &mut Budget,
) -> Result<bool, EvalError> {
    match (left, right) {
        (Value::List(left), Value::List(right)) if by == Comparison::Plain => equal_lists(left, right, budget),
        (Value::Map(left), Value::Map(right)) if by == Comparison::Plain => equal_maps(left, right, budget),
        _ => {
            spend_for_equality(left, right, budget)?;
            Ok(match by {
                Comparison::Plain => equal_scalars(left, right),
                Comparison::Severity => equal_severity(left, right),
            })
        }
    }
}

/// Texts are read to their end only if they are of one length.
fn spend_for_equality(left: &Value<'_>, right: &Value<'_>, budget: &mut Budget) -> Result<(), EvalError> {
    match (left, right) {
        (Value::Text(left), Value::Text(right)) if left.len() == right.len() => budget.spend_bytes(left.len()),
        _ => Ok(()),
    }
}

/// Equality of anything but two lists or two maps.
pub(crate) fn equal_scalars(left: &Value<'_>, right: &Value<'_>) -> bool {
    match (left, right) {
        (Value::Null, Value::Null) => true,
        (Value::Text(left), Value::Text(right)) => same_text(left, right),
        (Value::Bool(left), Value::Bool(right)) => left == right,
        (Value::Timestamp(left), Value::Timestamp(right)) => left == right,
        (Value::Duration(left), Value::Duration(right)) => left == right,
        (Value::Text(text), other) | (other, Value::Text(text)) => is_text_of(other, text),
        _ => order_numbers(left, right) == Some(Some(Ordering::Equal)),
    }
}

/// `==` of texts, eight bytes at a time: in a component the comparison of the standard library goes byte by byte.
pub(crate) fn same_text(left: &str, right: &str) -> bool {
    let (left_words, left_rest) = left.as_bytes().as_chunks::<8>();
    let (right_words, right_rest) = right.as_bytes().as_chunks::<8>();
    let number = |word: &[u8; 8]| u64::from_le_bytes(*word);
    left.len() == right.len()
        && left_words.iter().map(number).eq(right_words.iter().map(number))
        && left_rest.iter().eq(right_rest)
}

/// Whether a text is the text of a number. A double has two texts, `5` and `5.0`.
fn is_text_of(value: &Value<'_>, text: &str) -> bool {
    match value {
        Value::Int(int) => prints_as(int, text),
        Value::Uint(uint) => prints_as(uint, text),
        Value::Double(double) => prints_as(double, text) || prints_as(&format_args!("{double:?}"), text),
        _ => false,
    }
}

/// Compares without building the printed text.
fn prints_as(value: &dyn fmt::Display, text: &str) -> bool {
    struct Rest<'t>(&'t str);
    impl Write for Rest<'_> {
        fn write_str(&mut self, piece: &str) -> fmt::Result {
            self.0 = self.0.strip_prefix(piece).ok_or(fmt::Error)?;
            Ok(())
        }
    }
    let mut rest = Rest(text);
    write!(rest, "{value}").is_ok() && rest.0.is_empty()
}

fn equal_lists(left: &[Value<'_>], right: &[Value<'_>], budget: &mut Budget) -> Result<bool, EvalError> {
    if left.len() != right.len() {
        return Ok(false);
    }
    for (left, right) in left.iter().zip(right) {
        budget.spend(1)?;
        if !equal(left, right, Comparison::Plain, budget)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Both ways, so that repeated keys cannot make a smaller map equal to a larger one.
fn equal_maps(
    left: &[(Value<'_>, Value<'_>)],
    right: &[(Value<'_>, Value<'_>)],
    budget: &mut Budget,
) -> Result<bool, EvalError> {
    for (key, value) in left {
        match find(right, key, budget)? {
            Some(other) if equal(value, other, Comparison::Plain, budget)? => {}
            _ => return Ok(false),
        }
    }
    for (key, _) in right {
        if find(left, key, budget)?.is_none() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The value of a key; the last one, if a key is repeated. Keys of different types are different, except for numbers.
pub(crate) fn find<'m, 'a>(
    entries: &'m [(Value<'a>, Value<'a>)],
    key: &Value<'_>,
    budget: &mut Budget,
) -> Result<Option<&'m Value<'a>>, EvalError> {
    budget.spend(1 + entries.len() / 8)?;
    let is_key = |candidate: &Value<'_>| match (candidate, key) {
        (Value::Text(candidate), Value::Text(key)) => **candidate == **key,
        (Value::Text(_), _) | (_, Value::Text(_)) => false,
        _ => equal_scalars(candidate, key),
    };
    for (candidate, value) in entries.iter().rev() {
        spend_for_equality(candidate, key, budget)?;
        if is_key(candidate) {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

/// Whether one value stands in the order that an operator asks for.
pub(crate) fn ordered(
    left: &Value<'_>,
    right: &Value<'_>,
    by: Comparison,
    operator: OrderOperator,
    budget: &mut Budget,
) -> Result<bool, EvalError> {
    if left.is_null() || right.is_null() {
        return Err(EvalError::NullOperand);
    }
    if let (Value::Text(left), Value::Text(right)) = (left, right) {
        budget.spend_bytes(left.len().min(right.len()))?;
    }
    let order = match by {
        Comparison::Plain => order(left, right, operator)?,
        Comparison::Severity => {
            order_numbers(&rank_or_number(left)?, &rank_or_number(right)?).ok_or(EvalError::Types {
                operation: operator.symbol(),
                left: left.kind(),
                right: right.kind(),
            })?
        }
    };
    Ok(match operator {
        OrderOperator::Less => order == Some(Ordering::Less),
        OrderOperator::LessOrEqual => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        OrderOperator::Greater => order == Some(Ordering::Greater),
        OrderOperator::GreaterOrEqual => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    })
}

/// The order of two values of comparable types; `None` if one is not a number (NaN).
fn order(left: &Value<'_>, right: &Value<'_>, operator: OrderOperator) -> Result<Option<Ordering>, EvalError> {
    match (left, right) {
        (Value::Text(left), Value::Text(right)) => Ok(Some((**left).cmp(&**right))),
        (Value::Bool(left), Value::Bool(right)) => Ok(Some(left.cmp(right))),
        (Value::Timestamp(left), Value::Timestamp(right)) => Ok(Some(left.cmp(right))),
        (Value::Duration(left), Value::Duration(right)) => Ok(Some(left.cmp(right))),
        _ => {
            let types = || EvalError::Types {
                operation: operator.symbol(),
                left: left.kind(),
                right: right.kind(),
            };
            order_numbers(left, right).ok_or_else(types)
        }
    }
}

/// The exact order of two numbers of any types; the outer `None` if they are not both numbers, the inner one for NaN.
fn order_numbers(left: &Value<'_>, right: &Value<'_>) -> Option<Option<Ordering>> {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => Some(Some(left.cmp(right))),
        (Value::Double(left), Value::Double(right)) => Some(left.partial_cmp(right)),
        (Value::Double(left), _) => Some(order_mixed(whole(right)?, *left).map(Ordering::reverse)),
        (_, Value::Double(right)) => Some(order_mixed(whole(left)?, *right)),
        _ => Some(Some(whole(left)?.cmp(&whole(right)?))),
    }
}

/// A whole number of either type.
pub(crate) fn whole(value: &Value<'_>) -> Option<i128> {
    match value {
        Value::Int(int) => Some(i128::from(*int)),
        Value::Uint(uint) => Some(i128::from(*uint)),
        _ => None,
    }
}

/// Compares without rounding the whole number to a double.
fn order_mixed(int: i128, double: f64) -> Option<Ordering> {
    let Some(truncated) = double_to_int(double) else {
        return 0.0.partial_cmp(&double);
    };
    let by_whole = int.cmp(&truncated);
    Some(by_whole.then_with(|| 0.0.partial_cmp(&double.fract()).unwrap_or(Ordering::Equal)))
}

/// Rank of a severity name in any letter case: low is 1, critical 5.
fn rank(name: &str) -> Option<i64> {
    let names = [("low", 1), ("info", 2), ("warning", 3), ("high", 4), ("critical", 5)];
    names
        .into_iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, rank)| rank)
}

/// The rank of a name, or the value itself.
fn rank_or_number<'a>(value: &Value<'a>) -> Result<Value<'a>, EvalError> {
    match value {
        Value::Text(name) => rank(name).map(Value::Int).ok_or_else(|| EvalError::severity(name)),
        other => Ok(other.clone()),
    }
}

/// Names in any letter case, a name against a number by its rank.
fn equal_severity(left: &Value<'_>, right: &Value<'_>) -> bool {
    match (left, right) {
        (Value::Text(left), Value::Text(right)) => left.eq_ignore_ascii_case(right),
        (Value::Text(name), other) | (other, Value::Text(name)) => {
            rank(name).is_some_and(|rank| equal_scalars(&Value::Int(rank), other))
        }
        _ => equal_scalars(left, right),
    }
}
