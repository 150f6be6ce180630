//! The functions of one argument: conversions, `size` and letter case.
//!
//! Must not know: the tree beyond the names of the functions.

use crate::error::{Budget, EvalError};
use crate::time::{Duration, Timestamp};
use crate::tree::Function;
use crate::value::{Text, Value, double_to_int, int_to_double};

/// Calls a function on a value.
pub(crate) fn call<'a>(function: Function, value: Value<'a>, budget: &mut Budget) -> Result<Value<'a>, EvalError> {
    if value.is_null() {
        return Err(EvalError::NullOperand);
    }
    if let Value::Text(text) = &value {
        budget.spend_bytes(text.len())?;
    }
    match function {
        Function::Size => size(&value),
        Function::LowerAscii => letters(function, &value, |text| text.to_ascii_lowercase()),
        Function::UpperAscii => letters(function, &value, |text| text.to_ascii_uppercase()),
        Function::Int => int(&value),
        Function::Uint => uint(&value),
        Function::Double => double(&value),
        Function::Text => text(value),
        Function::Bool => bool(&value),
        Function::Timestamp => timestamp(&value),
        Function::Duration => duration(&value),
    }
}

fn refuse<'a>(function: Function, value: &Value<'_>) -> Result<Value<'a>, EvalError> {
    Err(EvalError::Argument {
        function: function.name(),
        kind: value.kind(),
    })
}

fn failed(function: Function, value: &dyn std::fmt::Display) -> EvalError {
    EvalError::conversion(function.name(), &value.to_string())
}

/// Characters of a text, elements of a list, entries of a map.
fn size<'a>(value: &Value<'_>) -> Result<Value<'a>, EvalError> {
    let size = match value {
        Value::Text(text) => text.chars().count(),
        Value::List(list) => list.len(),
        Value::Map(entries) => entries.len(),
        other => return refuse(Function::Size, other),
    };
    i64::try_from(size)
        .map(Value::Int)
        .map_err(|_| EvalError::Overflow("size"))
}

fn letters<'a>(function: Function, value: &Value<'a>, change: fn(&str) -> String) -> Result<Value<'a>, EvalError> {
    match value {
        Value::Text(text) => Ok(Value::Text(Text::from(change(text)))),
        other => refuse(function, other),
    }
}

fn int<'a>(value: &Value<'_>) -> Result<Value<'a>, EvalError> {
    let fail = |value: &dyn std::fmt::Display| failed(Function::Int, value);
    match value {
        Value::Int(int) => Ok(Value::Int(*int)),
        Value::Uint(uint) => i64::try_from(*uint).map(Value::Int).map_err(|_| fail(uint)),
        Value::Double(double) => double_to_int(*double)
            .and_then(|int| i64::try_from(int).ok())
            .map(Value::Int)
            .ok_or_else(|| fail(double)),
        Value::Text(text) => text.parse().map(Value::Int).map_err(|_| fail(&&**text)),
        Value::Timestamp(timestamp) => Ok(Value::Int(timestamp.seconds())),
        other => refuse(Function::Int, other),
    }
}

fn uint<'a>(value: &Value<'_>) -> Result<Value<'a>, EvalError> {
    let fail = |value: &dyn std::fmt::Display| failed(Function::Uint, value);
    match value {
        Value::Uint(uint) => Ok(Value::Uint(*uint)),
        Value::Int(int) => u64::try_from(*int).map(Value::Uint).map_err(|_| fail(int)),
        Value::Double(double) => {
            let whole = double_to_int(*double).filter(|_| *double >= 0.0);
            whole
                .and_then(|int| u64::try_from(int).ok())
                .map(Value::Uint)
                .ok_or_else(|| fail(double))
        }
        Value::Text(text) => text.parse().map(Value::Uint).map_err(|_| fail(&&**text)),
        other => refuse(Function::Uint, other),
    }
}

fn double<'a>(value: &Value<'_>) -> Result<Value<'a>, EvalError> {
    match value {
        Value::Double(double) => Ok(Value::Double(*double)),
        Value::Int(int) => Ok(Value::Double(int_to_double(i128::from(*int)))),
        Value::Uint(uint) => Ok(Value::Double(int_to_double(i128::from(*uint)))),
        Value::Text(text) => text
            .parse()
            .map(Value::Double)
            .map_err(|_| failed(Function::Double, &&**text)),
        other => refuse(Function::Double, other),
    }
}

fn text(value: Value<'_>) -> Result<Value<'_>, EvalError> {
    let text = match value {
        Value::Text(text) => return Ok(Value::Text(text)),
        Value::Bool(bool) => bool.to_string(),
        Value::Int(int) => int.to_string(),
        Value::Uint(uint) => uint.to_string(),
        Value::Double(double) => double.to_string(),
        Value::Timestamp(timestamp) => timestamp.to_string(),
        Value::Duration(duration) => duration.to_string(),
        other => return refuse(Function::Text, &other),
    };
    Ok(Value::Text(Text::from(text)))
}

fn bool<'a>(value: &Value<'_>) -> Result<Value<'a>, EvalError> {
    match value {
        Value::Bool(bool) => Ok(Value::Bool(*bool)),
        Value::Text(text) => match &**text {
            "true" | "True" | "TRUE" | "t" | "1" => Ok(Value::Bool(true)),
            "false" | "False" | "FALSE" | "f" | "0" => Ok(Value::Bool(false)),
            other => Err(failed(Function::Bool, &other)),
        },
        other => refuse(Function::Bool, other),
    }
}

/// From RFC 3339 text or from seconds since 1970.
fn timestamp<'a>(value: &Value<'_>) -> Result<Value<'a>, EvalError> {
    match value {
        Value::Timestamp(timestamp) => Ok(Value::Timestamp(*timestamp)),
        Value::Text(text) => Timestamp::parse(text)
            .map(Value::Timestamp)
            .ok_or_else(|| failed(Function::Timestamp, &&**text)),
        Value::Int(int) => Timestamp::from_seconds(*int)
            .map(Value::Timestamp)
            .ok_or_else(|| failed(Function::Timestamp, int)),
        other => refuse(Function::Timestamp, other),
    }
}

fn duration<'a>(value: &Value<'_>) -> Result<Value<'a>, EvalError> {
    match value {
        Value::Duration(duration) => Ok(Value::Duration(*duration)),
        Value::Text(text) => Duration::parse(text)
            .map(Value::Duration)
            .ok_or_else(|| failed(Function::Duration, &&**text)),
        other => refuse(Function::Duration, other),
    }
}
