//! The compact tree that is evaluated: columns resolved, patterns compiled, severities and sources told apart at compile time.
//!
//! Must not know: the parser's tree, or how a node is evaluated.

use crate::pattern::Pattern;
use crate::value::Constant;

/// Two operands, in the order of the source.
pub(crate) type Pair = Box<(Node, Node)>;

/// An expression. Boxes keep the enum small; depth is bounded by the guards.
#[derive(Debug)]
pub(crate) enum Node {
    Constant(Constant),
    /// The attribute of a column, as a scalar or as a parsed list or object.
    Attribute(usize),
    /// The column `source` as a list, whatever form it has.
    SourceList(usize),
    /// A variable of a macro, by its place on the stack.
    Local(usize),
    Not(Box<Node>),
    And(Pair),
    Or(Pair),
    Choose(Box<(Node, Node, Node)>),
    /// An attribute against a text: the commonest condition, without a value in between.
    EqualsText(Box<EqualsText>),
    Equals {
        sides: Pair,
        by: Comparison,
        negated: bool,
    },
    Order {
        sides: Pair,
        by: Comparison,
        operator: OrderOperator,
    },
    In(Pair, Comparison),
    /// `x in [...]` with many texts, sorted.
    InTexts(Box<Node>, Box<[Box<str>]>),
    Arithmetic(Pair, ArithmeticOperator),
    Negate(Box<Node>),
    Select(Box<Node>, Box<str>),
    Index(Pair),
    /// `has(...)`.
    Present(Box<Node>),
    List(Box<[Node]>),
    Map(Box<[(Node, Node)]>),
    TextTest(Pair, TextTest),
    /// `text.contains("part")`: the search is prepared once.
    ContainsPart(Box<(Node, memchr::memmem::Finder<'static>)>),
    Matches(Box<Node>, Box<Pattern>),
    Call(Box<Node>, Function),
    /// `accumulator + [element]` of map and filter, without copying the accumulator.
    Append(usize, Box<Node>),
    /// True unless the operand is `false`: the loop condition of exists and all.
    NotStrictlyFalse(Box<Node>),
    Fold(Box<Fold>),
}

/// `attribute == "text"`, or `!=` if negated.
#[derive(Debug)]
pub(crate) struct EqualsText {
    pub(crate) column: usize,
    pub(crate) text: Box<str>,
    pub(crate) by: Comparison,
    pub(crate) negated: bool,
}

/// A macro: folds `step` over the elements of `range`. The accumulator lives at `slot` of the stack, the element behind it.
#[derive(Debug)]
pub(crate) struct Fold {
    pub(crate) slot: usize,
    pub(crate) range: Node,
    pub(crate) start: Node,
    pub(crate) condition: Node,
    pub(crate) step: Node,
    pub(crate) result: Node,
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    /// By their values.
    Plain,
    /// One side is the attribute `severity`: by name or rank.
    Severity,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OrderOperator {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl OrderOperator {
    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Self::Less => "<",
            Self::LessOrEqual => "<=",
            Self::Greater => ">",
            Self::GreaterOrEqual => ">=",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ArithmeticOperator {
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}

impl ArithmeticOperator {
    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
        }
    }
}

/// A test of a text against another text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TextTest {
    Contains,
    StartsWith,
    EndsWith,
}

impl TextTest {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Contains => "contains",
            Self::StartsWith => "startsWith",
            Self::EndsWith => "endsWith",
        }
    }
}

/// A function of one argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Function {
    Size,
    LowerAscii,
    UpperAscii,
    Int,
    Uint,
    Double,
    Text,
    Bool,
    Timestamp,
    Duration,
}

impl Function {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Size => "size",
            Self::LowerAscii => "lowerAscii",
            Self::UpperAscii => "upperAscii",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Double => "double",
            Self::Text => "string",
            Self::Bool => "bool",
            Self::Timestamp => "timestamp",
            Self::Duration => "duration",
        }
    }
}
