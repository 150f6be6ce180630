//! The condition language of alert rules and filters: CEL, parsed by the `cel` crate, lowered into a compact tree of our own and evaluated
//! with Donjon's semantics of null, severity and source.
//!
//! Shared by the rules plugin (wasm32) and the host, so that a rule means the same where it is validated and where it runs. Must not know:
//! clocks, input and output, alerts as JSON documents, rules, incidents. Attributes come through [`Attributes`], nothing else goes in.
//!
//! * An absent attribute and JSON null are `null`: `x == null` is true, `x != "eu"` is true; any other operation on null does not match and is
//!   no error. `in null` is false, `has(a.null)` is false, a list index past the end is null.
//! * `severity` is compared by rank or name, `source` as its first element, or as the whole list where a list is wanted.
//! * `&&` and `||` absorb errors in either order, as the specification of CEL says.
//!
//! Besides these, what the specification of CEL says otherwise:
//!
//! * Numbers of different types meet: `1 + 1.0` is 2.0, `1 + 1u` is 2; a number equals the text it prints as.
//! * `string(1e21)` prints all digits. Of equal keys in a map the last counts.
//! * `timestamp()` also takes a blank for the `T`, no offset (UTC) and a second 60.
//! * `\w`, `\d`, `\s` and `\b` of `matches()` know all of Unicode, where RE2 knows ASCII. A pattern whose automaton would grow faster than it
//!   reads fails instead of running long.
//! * All branches of an expression share one budget of steps for one alert; beyond it the evaluation fails, which is an error and no match.

mod arithmetic;
mod check;
mod compare;
mod convert;
mod error;
mod eval;
#[doc(hidden)]
pub mod fuzzing;
mod guard;
mod json;
pub mod limits;
mod lower;
mod lower_call;
mod names;
mod parse;
pub mod path;
mod pattern;
mod scan;
mod time;
mod tree;
mod value;

pub use error::{Budget, Diagnostic, EvalError};
pub use limits::MAX_SOURCE_BYTES;
pub use value::Kind;

use cel::IdedExpr;
use cel::common::ast::{Expr, operators};
use eval::Machine;
use limits::MAX_DIAGNOSTICS;
use lower::Lowerer;
use std::ops::Range;
use std::sync::Arc;
use tree::Node;

/// An attribute of an alert, borrowed from wherever the caller keeps it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Datum<'a> {
    /// JSON null, an absent attribute, or a path through something that is no object.
    Null,
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A text, without quotes and escapes.
    Text(&'a str),
    /// The JSON text of a list or object. Parsed only if the expression needs its content.
    Json(&'a str),
}

/// Gives an evaluation its attributes.
pub trait Attributes {
    /// The attribute of a column. `column` is an index into [`Expression::columns`], `path` the text there; see [`path::split`].
    fn get(&self, column: usize, path: &str) -> Datum<'_>;
}

/// An operand of the top-level `||`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Branch {
    /// Its text in the source, without the parentheses around it.
    pub text: String,
    /// The columns it reads: ascending indexes into [`Expression::columns`].
    pub columns: Vec<usize>,
}

/// A compiled condition. Cheap to clone and to share between threads.
#[derive(Debug, Clone)]
pub struct Expression {
    compiled: Arc<Compiled>,
}

#[derive(Debug)]
struct Compiled {
    source: String,
    branches: Vec<Branch>,
    /// The trees of the branches, in the same order.
    nodes: Vec<Node>,
    columns: Vec<String>,
}

impl Expression {
    /// Parses a condition and checks the types that are known without an alert.
    ///
    /// # Errors
    /// At least one diagnostic: what is wrong, where, and what to write instead.
    pub fn compile(source: &str) -> Result<Self, Vec<Diagnostic>> {
        let parsed = parse::parse(source)?;
        let mut operands = Vec::new();
        flatten(parsed.program.expression(), &parsed, &mut operands);
        if operands.len() != parsed.branches.len() {
            // The tree and the tokens tell branches apart independently; a branch that only one of them sees must not get lost.
            let message = "the operands of || cannot be told apart here: put each into parentheses of its own";
            return Err(vec![Diagnostic::at(source, 0, message)]);
        }
        let mut lowerer = Lowerer::new(&parsed);
        let (mut branches, mut nodes, mut diagnostics) = (Vec::new(), Vec::new(), Vec::new());
        for (operand, range) in operands.into_iter().zip(&parsed.branches) {
            match lowerer.branch(operand, range.start) {
                Ok((node, columns)) => {
                    let text = source.get(range.clone()).unwrap_or(source).to_owned();
                    branches.push(Branch { text, columns });
                    nodes.push(node);
                }
                Err(diagnostic) if diagnostics.len() < MAX_DIAGNOSTICS => diagnostics.push(diagnostic),
                Err(_) => {}
            }
        }
        if !diagnostics.is_empty() {
            return Err(diagnostics);
        }
        let columns = lowerer.into_columns();
        Ok(Self {
            compiled: Arc::new(Compiled {
                source: source.to_owned(),
                branches,
                nodes,
                columns,
            }),
        })
    }

    /// The source it was compiled from.
    pub fn source(&self) -> &str {
        &self.compiled.source
    }

    /// The operands of the top-level `||`, through any parentheses; one if there is no `||`. In the order of the source.
    pub fn branches(&self) -> &[Branch] {
        &self.compiled.branches
    }

    /// The distinct attribute paths it reads, such as `labels.host`, `severity`, `source.0` (the first source) or `source` (the list).
    pub fn columns(&self) -> &[String] {
        &self.compiled.columns
    }

    /// Whether the condition holds. A null operand is no match, not an error.
    ///
    /// # Errors
    /// If no branch holds, the first real error of a branch.
    pub fn evaluate<A: Attributes>(&self, attributes: &A, budget: &mut Budget) -> Result<bool, EvalError> {
        let mut failure = None;
        let mut machine = Machine::new(attributes, &self.compiled.columns, budget);
        for node in &self.compiled.nodes {
            match machine.test(node) {
                Ok(true) => return Ok(true),
                Ok(false) | Err(EvalError::NullOperand) => {}
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        failure.map_or(Ok(false), Err)
    }

    /// Appends the index of each branch that holds to `out`, in ascending order. All branches share the budget: what an expression may
    /// cost for one alert does not grow with the number of its branches. An error makes only its branch not match and goes to `on_error` with
    /// the branch's index; once the budget is used up that is every later branch, and the first of them tells.
    pub fn matched_branches<A: Attributes>(
        &self,
        attributes: &A,
        budget: &mut Budget,
        out: &mut Vec<u32>,
        mut on_error: impl FnMut(u32, EvalError),
    ) {
        let mut machine = Machine::new(attributes, &self.compiled.columns, budget);
        for (index, node) in (0_u32..).zip(&self.compiled.nodes) {
            match machine.test(node) {
                Ok(true) => out.push(index),
                Ok(false) | Err(EvalError::NullOperand) => {}
                Err(error @ EvalError::BudgetExceeded) => return on_error(index, error),
                Err(error) => on_error(index, error),
            }
        }
    }
}

/// The operands of the top-level `||` in the order of the source. A `||` inside the text of a branch (`!!(a || b)`, whose double negation the
/// parser removes) belongs to that branch.
fn flatten<'e>(expression: &'e IdedExpr, parsed: &parse::Parsed<'_>, operands: &mut Vec<&'e IdedExpr>) {
    match &expression.expr {
        Expr::Call(call) if call.func_name == operators::LOGICAL_OR && !is_inside(expression.id, parsed) => {
            for operand in &call.args {
                flatten(operand, parsed, operands);
            }
        }
        _ => operands.push(expression),
    }
}

/// Whether a node stands inside the text of a branch, rather than between two.
fn is_inside(id: u64, parsed: &parse::Parsed<'_>) -> bool {
    let Some(offset) = parsed
        .program
        .source_info()
        .offset_for(id)
        .and_then(|(start, _)| usize::try_from(start).ok())
    else {
        return false;
    };
    let before = parsed.branches.partition_point(|range| range.start <= offset);
    let branch: Option<&Range<usize>> = before.checked_sub(1).and_then(|index| parsed.branches.get(index));
    branch.is_some_and(|range| range.contains(&offset))
}
