//! What can go wrong: a source that is refused ([`Diagnostic`]) and an evaluation that has no answer ([`EvalError`]).
//!
//! Must not know: how either is shown or counted; that is the business of host and plugin.

use crate::limits::{DEFAULT_STEPS, STEPS_PER_QUESTION};
use crate::value::Kind;
use std::fmt;
use std::sync::Arc;

/// One reason why a source is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message} (line {line}, column {column})")]
pub struct Diagnostic {
    /// What is wrong and what to write instead.
    pub message: String,
    /// Line of the offending place, counted from 1; 0 if unknown.
    pub line: u32,
    /// Column of the offending place in characters, counted from 1; 0 if unknown.
    pub column: u32,
}

impl Diagnostic {
    /// A diagnostic at a byte offset of the source; an offset past the end points just behind the last character.
    pub(crate) fn at(source: &str, offset: usize, message: impl Into<String>) -> Self {
        let before = source.get(..offset).unwrap_or(source);
        let line = before.matches('\n').count().saturating_add(1);
        let column = before
            .rsplit('\n')
            .next()
            .unwrap_or_default()
            .chars()
            .count()
            .saturating_add(1);
        Self {
            message: message.into(),
            line: u32::try_from(line).unwrap_or(0),
            column: u32::try_from(column).unwrap_or(0),
        }
    }
}

/// Why an evaluation has no boolean answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EvalError {
    /// An operation other than `==`, `!=`, `in` or `has` met an absent attribute. Inside this crate only: the public methods turn it
    /// into "no match", because an absent attribute is no mistake of the rule.
    #[error("an operand is null: test it with != null first")]
    NullOperand,
    /// The operands have types the operator is not defined for.
    #[error(
        "{operation} is not defined for these types, convert one with int(), double() or string(): {left} and {right}"
    )]
    Types {
        /// The operator as it is written.
        operation: &'static str,
        /// Type of the left operand.
        left: Kind,
        /// Type of the right operand.
        right: Kind,
    },
    /// A function or unary operator got a value of a type that it does not accept.
    #[error("{function} does not accept this type, convert the value first: {kind}")]
    Argument {
        /// Name of the function or operator.
        function: &'static str,
        /// Type of the value.
        kind: Kind,
    },
    /// The condition, or an operand of `&&`, `||`, `!` or `?:`, is not a boolean.
    #[error("condition is not a boolean, compare the value with == : {0}")]
    NotBoolean(Kind),
    /// A severity was ordered against a name that is none of low, info, warning, high, critical.
    #[error("unknown severity, use low, info, warning, high or critical: {0}")]
    UnknownSeverity(Box<str>),
    /// A value could not be converted.
    #[error("{function} cannot convert this value: {value}")]
    Conversion {
        /// Name of the converting function.
        function: &'static str,
        /// Text of the value, shortened.
        value: Box<str>,
    },
    /// A result of integer or time arithmetic left the range of its type.
    #[error("arithmetic overflow, use double() for large values: {0}")]
    Overflow(&'static str),
    /// An integer was divided by zero.
    #[error("division by zero, test the divisor first: {0}")]
    DivisionByZero(&'static str),
    /// A list was indexed with a negative number.
    #[error("list indexes start at 0, got: {0}")]
    NegativeIndex(i64),
    /// An attribute that should be a list or object is not valid JSON, or is nested too deeply.
    #[error("attribute is not readable as json: {0}")]
    Json(&'static str),
    /// The evaluation used more steps than its budget.
    #[error("evaluation is too expensive, use smaller lists, simpler patterns or fewer nested macros: budget exceeded")]
    BudgetExceeded,
    /// The caller's interrupt ended the evaluation.
    #[error("evaluation was ended before it was done: interrupted")]
    Interrupted,
}

impl EvalError {
    /// A conversion error that keeps the first characters of the value only, so that a hostile value stays small in a log.
    pub(crate) fn conversion(function: &'static str, value: &str) -> Self {
        Self::Conversion {
            function,
            value: shorten(value),
        }
    }

    /// An unknown severity name, shortened like a conversion.
    pub(crate) fn severity(name: &str) -> Self {
        Self::UnknownSeverity(shorten(name))
    }
}

/// The first 40 characters of a text.
fn shorten(text: &str) -> Box<str> {
    text.chars().take(40).collect::<String>().into_boxed_str()
}

/// Asks whether an evaluation is still wanted; true ends it.
type Interrupt = Arc<dyn Fn() -> bool + Send + Sync>;

/// The steps one evaluation may still use. Shared by the caller across evaluations if it wants to bound their sum.
#[derive(Clone)]
pub struct Budget {
    /// Steps until the next question, all that are left where nobody asks.
    steps: u32,
    /// Steps beyond those.
    reserve: u32,
    interrupt: Option<Interrupt>,
    interrupted: bool,
}

impl Budget {
    /// A budget of so many steps (see [`crate::limits::DEFAULT_STEPS`] for what a step is).
    pub fn new(steps: u32) -> Self {
        Self {
            steps,
            reserve: 0,
            interrupt: None,
            interrupted: false,
        }
    }

    /// A budget that also ends when `interrupt` says so, which it is asked every [`STEPS_PER_QUESTION`] steps. For evaluations that nothing
    /// else ends: a host that runs conditions by itself asks a clock there, and whether anybody still waits.
    pub fn interruptible(steps: u32, interrupt: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        let first = steps.min(STEPS_PER_QUESTION);
        Self {
            steps: first,
            reserve: steps - first,
            interrupt: Some(Arc::new(interrupt)),
            interrupted: false,
        }
    }

    /// Steps that are left.
    pub fn remaining(&self) -> u32 {
        self.steps.saturating_add(self.reserve)
    }

    /// Whether it ended because it was told to, rather than because it was used up.
    pub fn was_interrupted(&self) -> bool {
        self.interrupted
    }

    /// Takes steps, or fails and leaves nothing, so that an absorbed failure cannot go on for free.
    #[inline]
    pub(crate) fn spend(&mut self, steps: usize) -> Result<(), EvalError> {
        match u32::try_from(steps)
            .ok()
            .and_then(|steps| self.steps.checked_sub(steps))
        {
            Some(left) => {
                self.steps = left;
                Ok(())
            }
            None => self.ask(steps),
        }
    }

    /// Takes steps beyond the next question.
    #[cold]
    fn ask(&mut self, steps: usize) -> Result<(), EvalError> {
        self.interrupted = self.interrupted || self.interrupt.as_ref().is_some_and(|interrupt| interrupt());
        let left = u32::try_from(steps)
            .ok()
            .and_then(|steps| self.remaining().checked_sub(steps))
            .filter(|_| !self.interrupted);
        let Some(left) = left else {
            return Err(self.exhaust());
        };
        self.steps = left.min(STEPS_PER_QUESTION);
        self.reserve = left - self.steps;
        Ok(())
    }

    /// Nothing is left from here on.
    pub(crate) fn exhaust(&mut self) -> EvalError {
        (self.steps, self.reserve) = (0, 0);
        if self.interrupted {
            EvalError::Interrupted
        } else {
            EvalError::BudgetExceeded
        }
    }

    /// Takes the steps for reading so many bytes of text.
    #[inline]
    pub(crate) fn spend_bytes(&mut self, bytes: usize) -> Result<(), EvalError> {
        self.spend(bytes >> 5)
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(DEFAULT_STEPS)
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Budget({self})")
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} steps left", self.remaining())
    }
}
