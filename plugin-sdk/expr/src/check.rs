//! The rules of types that can be decided before any alert is seen.
//!
//! Must not know: the tree. An open type (any, null) is always accepted; evaluation decides.

use crate::tree::ArithmeticOperator::{self, Add, Remainder, Subtract};
use crate::tree::Function;
use crate::value::Kind;

/// Whether a value of this type may be of one of the wanted types.
pub(crate) fn may_be(kind: Kind, wanted: &[Kind]) -> bool {
    kind.is_open() || wanted.contains(&kind)
}

/// Whether `<` can be defined for two types.
pub(crate) fn are_ordered(left: Kind, right: Kind) -> bool {
    if left.is_open() || right.is_open() {
        // One known side is enough to refuse what has no order at all.
        return !matches!((left, right), (Kind::List | Kind::Map, _) | (_, Kind::List | Kind::Map));
    }
    (left.is_number() && right.is_number())
        || (left == right && matches!(left, Kind::Text | Kind::Bool | Kind::Timestamp | Kind::Duration))
}

/// The type of an arithmetic result; `None` if the operator is not defined for the types.
pub(crate) fn arithmetic(left: Kind, operator: ArithmeticOperator, right: Kind) -> Option<Kind> {
    use Kind::{Any, Double, Duration, Int, List, Text, Timestamp};
    match (left, operator, right) {
        _ if left.is_open() || right.is_open() => Some(Any),
        _ if left == right && left.is_number() => (left != Double || operator != Remainder).then_some(left),
        _ if left.is_number() && right.is_number() => match (left, right) {
            (Double, _) | (_, Double) => (operator != Remainder).then_some(Double),
            _ => Some(Int),
        },
        (Text, Add, Text) => Some(Text),
        (List, Add, List) => Some(List),
        (Timestamp, Add | Subtract, Duration) | (Duration, Add, Timestamp) => Some(Timestamp),
        (Timestamp, Subtract, Timestamp) | (Duration, Add | Subtract, Duration) => Some(Duration),
        _ => None,
    }
}

/// Whether a function takes an argument of this type.
pub(crate) fn accepts(function: Function, kind: Kind) -> bool {
    let wanted: &[Kind] = match function {
        Function::Size => &[Kind::Text, Kind::List, Kind::Map],
        Function::LowerAscii | Function::UpperAscii => &[Kind::Text],
        Function::Int => &[Kind::Int, Kind::Uint, Kind::Double, Kind::Text, Kind::Timestamp],
        Function::Uint | Function::Double => &[Kind::Int, Kind::Uint, Kind::Double, Kind::Text],
        Function::Text => &[
            Kind::Bool,
            Kind::Int,
            Kind::Uint,
            Kind::Double,
            Kind::Text,
            Kind::Timestamp,
            Kind::Duration,
        ],
        Function::Bool => &[Kind::Bool, Kind::Text],
        Function::Timestamp => &[Kind::Text, Kind::Int, Kind::Timestamp],
        Function::Duration => &[Kind::Text, Kind::Duration],
    };
    may_be(kind, wanted)
}

/// The type that a function returns.
pub(crate) fn result(function: Function) -> Kind {
    match function {
        Function::Size | Function::Int => Kind::Int,
        Function::LowerAscii | Function::UpperAscii | Function::Text => Kind::Text,
        Function::Uint => Kind::Uint,
        Function::Double => Kind::Double,
        Function::Bool => Kind::Bool,
        Function::Timestamp => Kind::Timestamp,
        Function::Duration => Kind::Duration,
    }
}
