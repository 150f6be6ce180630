//! Turns the parser's tree into ours: attribute paths become columns, macros keep their expanded form, types are checked where they
//! are known.
//!
//! Must not know: attribute values. What is decided here holds for every alert.

use crate::check;
use crate::error::Diagnostic;
use crate::limits::MAX_MACRO_NESTING;
use crate::parse::Parsed;
use crate::path;
use crate::pattern::PatternSum;
use crate::tree::{Fold, Node};
use crate::value::{Constant, Kind};
use cel::IdedExpr;
use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, MapExpr, SelectExpr, operators};
use std::collections::HashMap;

/// The attribute whose values compare by rank.
const SEVERITY: &str = "severity";
/// The attribute that is a list but compares as its first element.
const SOURCE: &str = "source";
const FIRST_SOURCE: &str = "source.0";

/// A lowered node and what is known about its type.
#[derive(Debug)]
pub(crate) struct Typed {
    pub(crate) node: Node,
    pub(crate) kind: Kind,
}

impl Typed {
    pub(crate) fn new(node: Node, kind: Kind) -> Self {
        Self { node, kind }
    }
}

/// Lowers the branches of one source into one set of columns.
pub(crate) struct Lowerer<'p, 's> {
    pub(crate) parsed: &'p Parsed<'s>,
    /// What the patterns so far add up to.
    pub(crate) patterns: PatternSum,
    columns: Vec<String>,
    known: HashMap<String, usize>,
    /// Columns that the current branch reads, with repetitions.
    touched: Vec<usize>,
    /// Variables of the macros around the current node; their place is their slot on the stack.
    scope: Vec<(String, Kind)>,
}

impl<'p, 's> Lowerer<'p, 's> {
    pub(crate) fn new(parsed: &'p Parsed<'s>) -> Self {
        Self {
            parsed,
            patterns: PatternSum::default(),
            columns: Vec::new(),
            known: HashMap::new(),
            touched: Vec::new(),
            scope: Vec::new(),
        }
    }

    /// The distinct columns of everything lowered so far.
    pub(crate) fn into_columns(self) -> Vec<String> {
        self.columns
    }

    /// A branch, which must be a condition, and its columns in ascending order.
    pub(crate) fn branch(&mut self, expression: &IdedExpr, start: usize) -> Result<(Node, Vec<usize>), Diagnostic> {
        self.touched.clear();
        let typed = self.lower(expression)?;
        if !check::may_be(typed.kind, &[Kind::Bool]) {
            let message = format!(
                "condition is not a boolean: compare the {} with == or another operator",
                typed.kind
            );
            return Err(Diagnostic::at(self.parsed.source, start, message));
        }
        let mut columns = std::mem::take(&mut self.touched);
        columns.sort_unstable();
        columns.dedup();
        Ok((typed.node, columns))
    }

    /// Any expression in the place of a scalar. Recursion is bounded by the guards before the parser.
    pub(crate) fn lower(&mut self, expression: &IdedExpr) -> Result<Typed, Diagnostic> {
        if let Some(segments) = self.path_of(expression) {
            let column = path::join(&segments);
            let column = if column == SOURCE {
                FIRST_SOURCE.to_owned()
            } else {
                column
            };
            return Ok(Typed::new(Node::Attribute(self.column(column)), Kind::Any));
        }
        match &expression.expr {
            Expr::Literal(literal) => self.literal(expression.id, literal),
            Expr::Ident(name) => self.variable(expression.id, name),
            Expr::Select(select) => self.select(select),
            Expr::Call(call) => self.call(expression.id, call),
            Expr::List(list) => {
                let elements: Result<Box<[Node]>, _> = list
                    .elements
                    .iter()
                    .map(|element| self.lower(element).map(|typed| typed.node))
                    .collect();
                Ok(Typed::new(Node::List(elements?), Kind::List))
            }
            Expr::Map(map) => self.map(map),
            Expr::Comprehension(comprehension) => self.comprehension(expression.id, comprehension),
            Expr::Struct(_) => Err(self.parsed.complain(
                expression.id,
                "messages are not supported: write a map such as {\"a\": 1}",
            )),
            Expr::Unspecified => Err(self.parsed.complain(expression.id, "a value is missing")),
        }
    }

    /// An expression in a place that wants a list: `source` is the whole list there.
    pub(crate) fn lower_list(&mut self, expression: &IdedExpr) -> Result<Typed, Diagnostic> {
        if self.path_of(expression).is_some_and(|segments| segments == [SOURCE]) {
            return Ok(Typed::new(Node::SourceList(self.column(SOURCE.to_owned())), Kind::Any));
        }
        self.lower(expression)
    }

    /// Whether a node is the attribute whose values compare by rank.
    pub(crate) fn is_severity(&self, node: &Node) -> bool {
        matches!(node, Node::Attribute(column) if self.columns.get(*column).is_some_and(|path| path == SEVERITY))
    }

    /// The segments of a static attribute path: names, selections and literal text indexes.
    fn path_of<'e>(&self, expression: &'e IdedExpr) -> Option<Vec<&'e str>> {
        let mut segments = Vec::new();
        let mut at = expression;
        loop {
            match &at.expr {
                Expr::Ident(name) if self.slot(name).is_none() => {
                    segments.push(name.trim_start_matches('.'));
                    segments.reverse();
                    return Some(segments);
                }
                Expr::Select(select) if !select.test => {
                    segments.push(&select.field);
                    at = &select.operand;
                }
                Expr::Call(CallExpr {
                    func_name,
                    target: None,
                    args,
                }) if func_name == operators::INDEX => {
                    let [
                        base,
                        IdedExpr {
                            expr: Expr::Literal(LiteralValue::String(key)),
                            ..
                        },
                    ] = args.as_slice()
                    else {
                        return None;
                    };
                    segments.push(key.inner());
                    at = base;
                }
                _ => return None,
            }
        }
    }

    fn column(&mut self, path: String) -> usize {
        let column = *self.known.entry(path).or_insert_with_key(|path| {
            self.columns.push(path.clone());
            self.columns.len() - 1
        });
        self.touched.push(column);
        column
    }

    /// Slot of the innermost variable of a name.
    fn slot(&self, name: &str) -> Option<usize> {
        self.scope.iter().rposition(|(variable, _)| variable == name)
    }

    fn variable(&self, id: u64, name: &str) -> Result<Typed, Diagnostic> {
        let slot = self
            .slot(name)
            .ok_or_else(|| self.parsed.complain(id, format!("unknown variable: {name}")))?;
        let kind = self.scope.get(slot).map_or(Kind::Any, |(_, kind)| *kind);
        Ok(Typed::new(Node::Local(slot), kind))
    }

    fn literal(&self, id: u64, literal: &LiteralValue) -> Result<Typed, Diagnostic> {
        let (constant, kind) = match literal {
            LiteralValue::Boolean(bool) => (Constant::Bool(*bool.inner()), Kind::Bool),
            LiteralValue::Int(int) => (Constant::Int(*int.inner()), Kind::Int),
            LiteralValue::UInt(uint) => (Constant::Uint(*uint.inner()), Kind::Uint),
            LiteralValue::Double(double) => (Constant::Double(*double.inner()), Kind::Double),
            LiteralValue::String(text) => (Constant::Text(text.inner().into()), Kind::Text),
            LiteralValue::Null => (Constant::Null, Kind::Null),
            LiteralValue::Bytes(_) => {
                return Err(self
                    .parsed
                    .complain(id, "byte texts are not supported: remove the b in front of the text"));
            }
        };
        Ok(Typed::new(Node::Constant(constant), kind))
    }

    /// A selection that is no static path, or the test of `has()`.
    fn select(&mut self, select: &SelectExpr) -> Result<Typed, Diagnostic> {
        if !select.test {
            let base = self.lower_list(&select.operand)?;
            return Ok(Typed::new(
                Node::Select(Box::new(base.node), select.field.as_str().into()),
                Kind::Any,
            ));
        }
        let tested = match self.path_of(&select.operand) {
            Some(mut segments) => {
                segments.push(&select.field);
                Node::Attribute(self.column(path::join(&segments)))
            }
            None => Node::Select(
                Box::new(self.lower(&select.operand)?.node),
                select.field.as_str().into(),
            ),
        };
        Ok(Typed::new(Node::Present(Box::new(tested)), Kind::Bool))
    }

    fn map(&mut self, map: &MapExpr) -> Result<Typed, Diagnostic> {
        let mut entries = Vec::with_capacity(map.entries.len());
        for entry in &map.entries {
            let EntryExpr::MapEntry(pair) = &entry.expr else {
                return Err(self
                    .parsed
                    .complain(entry.id, "messages are not supported: write a map such as {\"a\": 1}"));
            };
            let key = self.lower(&pair.key)?;
            if !check::may_be(key.kind, &[Kind::Text, Kind::Int, Kind::Uint, Kind::Bool]) {
                return Err(self
                    .parsed
                    .complain(entry.id, format!("a key of a map cannot be of this type: {}", key.kind)));
            }
            entries.push((key.node, self.lower(&pair.value)?.node));
        }
        Ok(Typed::new(Node::Map(entries.into()), Kind::Map))
    }

    /// An expanded macro. Its two variables live on the stack while condition, step and result are evaluated.
    fn comprehension(&mut self, id: u64, parts: &ComprehensionExpr) -> Result<Typed, Diagnostic> {
        let slot = self.scope.len();
        if slot / 2 >= MAX_MACRO_NESTING {
            let message = format!("macros are nested too deeply: at most {MAX_MACRO_NESTING} inside each other");
            return Err(self.parsed.complain_at_name(id, message));
        }
        if parts.iter_var2.is_some() {
            return Err(self
                .parsed
                .complain_at_name(id, "macros with two variables are not supported: use one"));
        }
        let range = self.lower_list(&parts.iter_range)?;
        if !check::may_be(range.kind, &[Kind::List, Kind::Map]) {
            return Err(self.parsed.complain_at_name(
                id,
                format!(
                    "a macro needs a list or map before the dot, not this type: {}",
                    range.kind
                ),
            ));
        }
        let start = self.lower(&parts.accu_init)?;
        self.scope.push((parts.accu_var.clone(), start.kind));
        self.scope.push((parts.iter_var.clone(), Kind::Any));
        let body = self.body(parts);
        self.scope.truncate(slot);
        let [condition, step, result] = body?;
        let kind = result.kind;
        let fold = Fold {
            slot,
            range: range.node,
            start: start.node,
            condition: condition.node,
            step: step.node,
            result: result.node,
        };
        Ok(Typed::new(Node::Fold(Box::new(fold)), kind))
    }

    fn body(&mut self, parts: &ComprehensionExpr) -> Result<[Typed; 3], Diagnostic> {
        Ok([
            self.lower(&parts.loop_cond)?,
            self.lower(&parts.loop_step)?,
            self.lower(&parts.result)?,
        ])
    }

    /// `accumulator + [element]`, which only the expansion of map and filter can contain.
    pub(crate) fn append(&mut self, arguments: &[IdedExpr]) -> Option<Result<Typed, Diagnostic>> {
        let [
            IdedExpr {
                expr: Expr::Ident(name),
                ..
            },
            IdedExpr {
                expr: Expr::List(list), ..
            },
        ] = arguments
        else {
            return None;
        };
        let ([element], Some(slot), true) = (list.elements.as_slice(), self.slot(name), name.starts_with('@')) else {
            return None;
        };
        Some(
            self.lower(element)
                .map(|element| Typed::new(Node::Append(slot, Box::new(element.node)), Kind::List)),
        )
    }
}
