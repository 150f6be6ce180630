//! Values during one evaluation. Texts borrow from the expression or the attributes, so that the common path does not allocate.
//!
//! Must not know: attributes, columns or the tree.

use crate::time::{Duration, Timestamp};
use std::fmt;
use std::ops::Deref;
use std::rc::Rc;

/// The type of a value, for messages and for the checks at compile time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Not known before evaluation.
    Any,
    /// `null`, or an absent attribute.
    Null,
    /// `true` or `false`.
    Bool,
    /// A signed whole number.
    Int,
    /// An unsigned whole number.
    Uint,
    /// A number with a fraction.
    Double,
    /// A text.
    Text,
    /// A point in time.
    Timestamp,
    /// A length of time.
    Duration,
    /// A list.
    List,
    /// A map or object.
    Map,
}

impl Kind {
    /// Whether values of this type may be numbers.
    pub(crate) fn is_number(self) -> bool {
        matches!(self, Self::Int | Self::Uint | Self::Double)
    }

    /// Whether nothing can be said before evaluation.
    pub(crate) fn is_open(self) -> bool {
        matches!(self, Self::Any | Self::Null)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "any",
            Self::Null => "null",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Double => "double",
            Self::Text => "string",
            Self::Timestamp => "timestamp",
            Self::Duration => "duration",
            Self::List => "list",
            Self::Map => "map",
        })
    }
}

/// A text: lent by the expression or the alert, or made during the evaluation. A made one is shared, so that a variable of a macro that is
/// read a thousand times is not copied a thousand times.
#[derive(Debug, Clone)]
pub(crate) enum Text<'a> {
    Lent(&'a str),
    Made(Rc<str>),
}

impl Deref for Text<'_> {
    type Target = str;

    #[inline]
    fn deref(&self) -> &str {
        match self {
            Self::Lent(text) => text,
            Self::Made(text) => text,
        }
    }
}

impl From<String> for Text<'_> {
    fn from(text: String) -> Self {
        Self::Made(text.into())
    }
}

/// Entries of a map in the order they were written. Of entries with equal keys the last counts.
pub(crate) type Entries<'a> = Vec<(Value<'a>, Value<'a>)>;

/// A value. Lists and maps are shared, because a macro reads its variables often.
#[derive(Debug, Clone)]
pub(crate) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Text<'a>),
    Timestamp(Timestamp),
    Duration(Duration),
    List(Rc<Vec<Value<'a>>>),
    Map(Rc<Entries<'a>>),
}

impl Value<'_> {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Null => Kind::Null,
            Self::Bool(_) => Kind::Bool,
            Self::Int(_) => Kind::Int,
            Self::Uint(_) => Kind::Uint,
            Self::Double(_) => Kind::Double,
            Self::Text(_) => Kind::Text,
            Self::Timestamp(_) => Kind::Timestamp,
            Self::Duration(_) => Kind::Duration,
            Self::List(_) => Kind::List,
            Self::Map(_) => Kind::Map,
        }
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }
}

/// A constant of the tree.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Constant {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Box<str>),
    Timestamp(Timestamp),
    Duration(Duration),
}

impl Constant {
    #[inline]
    pub(crate) fn value(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(bool) => Value::Bool(*bool),
            Self::Int(int) => Value::Int(*int),
            Self::Uint(uint) => Value::Uint(*uint),
            Self::Double(double) => Value::Double(*double),
            Self::Text(text) => Value::Text(Text::Lent(text)),
            Self::Timestamp(timestamp) => Value::Timestamp(*timestamp),
            Self::Duration(duration) => Value::Duration(*duration),
        }
    }
}

/// A whole double as an integer; `None` if it does not fit or is no number. Cuts the fraction off.
pub(crate) fn double_to_int(double: f64) -> Option<i128> {
    if double.is_nan() || double.abs() >= 1e38 {
        return None;
    }
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the range was checked, cutting the fraction off is meant"
    )]
    Some(double as i128)
}

/// The nearest double of an integer.
pub(crate) fn int_to_double(int: i128) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "the nearest double is meant")]
    {
        int as f64
    }
}
