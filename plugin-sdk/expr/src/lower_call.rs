//! Lowers operators and functions, and refuses what cannot work for any alert.
//!
//! Must not know: how paths and macros are lowered (`lower.rs`).

use crate::check;
use crate::convert;
use crate::error::{Budget, Diagnostic};
use crate::lower::{Lowerer, Typed};
use crate::names;
use crate::tree::{ArithmeticOperator, Comparison, EqualsText, Function, Node, OrderOperator, Pair, TextTest};
use crate::value::{Constant, Kind, Value};
use cel::IdedExpr;
use cel::common::ast::{CallExpr, Expr, operators};
use memchr::memmem::Finder;

impl Lowerer<'_, '_> {
    /// A call: an operator, or a function in either of its forms.
    pub(crate) fn call(&mut self, id: u64, call: &CallExpr) -> Result<Typed, Diagnostic> {
        let name = call.func_name.trim_start_matches('.');
        if call.target.is_none() {
            match (name, call.args.as_slice()) {
                (operators::CONDITIONAL, [condition, yes, no]) => return self.choose(id, condition, yes, no),
                (_, [left, right]) => {
                    if let Some(lowered) = self.binary(id, name, left, right, &call.args) {
                        return lowered;
                    }
                }
                (operators::LOGICAL_NOT, [operand]) => {
                    let operand = self.condition(id, "!", operand)?;
                    return Ok(Typed::new(Node::Not(Box::new(operand)), Kind::Bool));
                }
                (operators::NEGATE, [operand]) => return self.negate(id, operand),
                (operators::NOT_STRICTLY_FALSE, [operand]) => {
                    let operand = self.lower(operand)?;
                    return Ok(Typed::new(Node::NotStrictlyFalse(Box::new(operand.node)), Kind::Bool));
                }
                _ => {}
            }
        }
        let arguments: Vec<&IdedExpr> = call.target.as_deref().into_iter().chain(&call.args).collect();
        self.function(id, name, &arguments)
    }

    /// An operator of two operands; `None` if the name is a function.
    fn binary(
        &mut self,
        id: u64,
        name: &str,
        left: &IdedExpr,
        right: &IdedExpr,
        both: &[IdedExpr],
    ) -> Option<Result<Typed, Diagnostic>> {
        let order = |operator| (operator, left, right);
        Some(match name {
            operators::LOGICAL_AND => self.logic(id, "&&", left, right, Node::And),
            operators::LOGICAL_OR => self.logic(id, "||", left, right, Node::Or),
            operators::EQUALS => self.equals(left, right, false),
            operators::NOT_EQUALS => self.equals(left, right, true),
            operators::LESS => self.order(id, order(OrderOperator::Less)),
            operators::LESS_EQUALS => self.order(id, order(OrderOperator::LessOrEqual)),
            operators::GREATER => self.order(id, order(OrderOperator::Greater)),
            operators::GREATER_EQUALS => self.order(id, order(OrderOperator::GreaterOrEqual)),
            operators::IN => self.contained(id, left, right),
            operators::INDEX => self.index(id, left, right),
            operators::ADD => self
                .append(both)
                .unwrap_or_else(|| self.arithmetic(id, left, right, ArithmeticOperator::Add)),
            operators::SUBSTRACT => self.arithmetic(id, left, right, ArithmeticOperator::Subtract),
            operators::MULTIPLY => self.arithmetic(id, left, right, ArithmeticOperator::Multiply),
            operators::DIVIDE => self.arithmetic(id, left, right, ArithmeticOperator::Divide),
            operators::MODULO => self.arithmetic(id, left, right, ArithmeticOperator::Remainder),
            _ => return None,
        })
    }

    /// An operand that must be a condition.
    fn condition(&mut self, id: u64, operator: &str, operand: &IdedExpr) -> Result<Node, Diagnostic> {
        let operand = self.lower(operand)?;
        if check::may_be(operand.kind, &[Kind::Bool]) {
            return Ok(operand.node);
        }
        let message = format!(
            "'{operator}' needs conditions, such as severity == \"high\", not this type: {}",
            operand.kind
        );
        Err(self.parsed.complain(id, message))
    }

    fn logic(
        &mut self,
        id: u64,
        symbol: &str,
        left: &IdedExpr,
        right: &IdedExpr,
        node: fn(Pair) -> Node,
    ) -> Result<Typed, Diagnostic> {
        let sides = (self.condition(id, symbol, left)?, self.condition(id, symbol, right)?);
        Ok(Typed::new(node(Box::new(sides)), Kind::Bool))
    }

    fn choose(&mut self, id: u64, condition: &IdedExpr, yes: &IdedExpr, no: &IdedExpr) -> Result<Typed, Diagnostic> {
        let condition = self.condition(id, "?:", condition)?;
        let (yes, no) = (self.lower(yes)?, self.lower(no)?);
        let kind = if yes.kind == no.kind { yes.kind } else { Kind::Any };
        Ok(Typed::new(Node::Choose(Box::new((condition, yes.node, no.node))), kind))
    }

    fn comparison(&self, left: &Node, right: &Node) -> Comparison {
        if self.is_severity(left) != self.is_severity(right) {
            Comparison::Severity
        } else {
            Comparison::Plain
        }
    }

    fn equals(&mut self, left: &IdedExpr, right: &IdedExpr, negated: bool) -> Result<Typed, Diagnostic> {
        // `source == ["a", "b"]` means the whole list, anything else its first element.
        let is_list = |side: &IdedExpr| matches!(side.expr, Expr::List(_));
        let left_side = if is_list(right) {
            self.lower_list(left)?
        } else {
            self.lower(left)?
        };
        let right_side = if is_list(left) {
            self.lower_list(right)?
        } else {
            self.lower(right)?
        };
        let by = self.comparison(&left_side.node, &right_side.node);
        let node = match (left_side.node, right_side.node) {
            (Node::Attribute(column), Node::Constant(Constant::Text(text)))
            | (Node::Constant(Constant::Text(text)), Node::Attribute(column)) => {
                Node::EqualsText(Box::new(EqualsText {
                    column,
                    text,
                    by,
                    negated,
                }))
            }
            sides => Node::Equals {
                sides: Box::new(sides),
                by,
                negated,
            },
        };
        Ok(Typed::new(node, Kind::Bool))
    }

    fn order(
        &mut self,
        id: u64,
        (operator, left, right): (OrderOperator, &IdedExpr, &IdedExpr),
    ) -> Result<Typed, Diagnostic> {
        let (left, right) = (self.lower(left)?, self.lower(right)?);
        let by = match (self.is_severity(&left.node), self.is_severity(&right.node)) {
            (false, false) => Comparison::Plain,
            _ => Comparison::Severity,
        };
        if by == Comparison::Plain && !check::are_ordered(left.kind, right.kind) {
            let message = format!(
                "'{}' cannot order these types: {} and {}",
                operator.symbol(),
                left.kind,
                right.kind
            );
            return Err(self.parsed.complain(id, message));
        }
        Ok(Typed::new(
            Node::Order {
                sides: Box::new((left.node, right.node)),
                by,
                operator,
            },
            Kind::Bool,
        ))
    }

    fn contained(&mut self, id: u64, left: &IdedExpr, right: &IdedExpr) -> Result<Typed, Diagnostic> {
        let (left, right) = (self.lower(left)?, self.lower_list(right)?);
        if !check::may_be(right.kind, &[Kind::List, Kind::Map]) {
            let message = format!(
                "'in' needs a list or map on its right, use contains() for texts, not this type: {}",
                right.kind
            );
            return Err(self.parsed.complain(id, message));
        }
        let by = if self.is_severity(&left.node) {
            Comparison::Severity
        } else {
            Comparison::Plain
        };
        let node = match (by, texts(&right.node)) {
            (Comparison::Plain, Some(texts)) => Node::InTexts(Box::new(left.node), texts),
            _ => Node::In(Box::new((left.node, right.node)), by),
        };
        Ok(Typed::new(node, Kind::Bool))
    }

    fn index(&mut self, id: u64, base: &IdedExpr, key: &IdedExpr) -> Result<Typed, Diagnostic> {
        let (base, key) = (self.lower_list(base)?, self.lower(key)?);
        if !check::may_be(base.kind, &[Kind::List, Kind::Map]) {
            return Err(self.parsed.complain(
                id,
                format!("'[...]' needs a list or map before it, not this type: {}", base.kind),
            ));
        }
        Ok(Typed::new(Node::Index(Box::new((base.node, key.node))), Kind::Any))
    }

    fn arithmetic(
        &mut self,
        id: u64,
        left: &IdedExpr,
        right: &IdedExpr,
        operator: ArithmeticOperator,
    ) -> Result<Typed, Diagnostic> {
        let (left, right) = (self.lower(left)?, self.lower(right)?);
        let Some(kind) = check::arithmetic(left.kind, operator, right.kind) else {
            let message = format!(
                "'{}' is not defined for these types: {} and {}",
                operator.symbol(),
                left.kind,
                right.kind
            );
            return Err(self.parsed.complain(id, message));
        };
        Ok(Typed::new(
            Node::Arithmetic(Box::new((left.node, right.node)), operator),
            kind,
        ))
    }

    fn negate(&mut self, id: u64, operand: &IdedExpr) -> Result<Typed, Diagnostic> {
        let operand = self.lower(operand)?;
        if !check::may_be(operand.kind, &[Kind::Int, Kind::Double, Kind::Duration]) {
            return Err(self.parsed.complain(
                id,
                format!("'-' needs a signed number, not this type: {}", operand.kind),
            ));
        }
        Ok(Typed::new(Node::Negate(Box::new(operand.node)), operand.kind))
    }

    fn function(&mut self, id: u64, name: &str, arguments: &[&IdedExpr]) -> Result<Typed, Diagnostic> {
        let Some(callee) = names::find(name) else {
            return Err(self.parsed.complain_at_name(id, names::unknown(name)));
        };
        match (callee, arguments) {
            (names::Callee::Text(test), [text, part]) => self.text_test(id, test, text, part),
            (names::Callee::Matches, [text, pattern]) => self.matches(id, text, pattern),
            (names::Callee::Unary(function), [argument]) => self.unary(id, function, argument),
            _ => Err(self.parsed.complain_at_name(id, names::usage(name, arguments.len()))),
        }
    }

    /// An operand that must be a text.
    fn text(&mut self, id: u64, name: &str, operand: &IdedExpr) -> Result<Node, Diagnostic> {
        let operand = self.lower(operand)?;
        if check::may_be(operand.kind, &[Kind::Text]) {
            return Ok(operand.node);
        }
        Err(self.parsed.complain_at_name(
            id,
            format!(
                "{name}() needs texts, convert with string(): not this type: {}",
                operand.kind
            ),
        ))
    }

    fn text_test(&mut self, id: u64, test: TextTest, text: &IdedExpr, part: &IdedExpr) -> Result<Typed, Diagnostic> {
        let sides = (self.text(id, test.name(), text)?, self.text(id, test.name(), part)?);
        let node = match sides {
            (text, Node::Constant(Constant::Text(part))) if test == TextTest::Contains => {
                Node::ContainsPart(Box::new((text, Finder::new(part.as_bytes()).into_owned())))
            }
            sides => Node::TextTest(Box::new(sides), test),
        };
        Ok(Typed::new(node, Kind::Bool))
    }

    fn matches(&mut self, id: u64, text: &IdedExpr, pattern: &IdedExpr) -> Result<Typed, Diagnostic> {
        let text = self.text(id, "matches", text)?;
        let Node::Constant(Constant::Text(pattern)) = self.lower(pattern)?.node else {
            return Err(self.parsed.complain_at_name(
                id,
                "the pattern of matches() must be a text between quotes: it is compiled once, not for every alert",
            ));
        };
        match self.patterns.compile(&pattern) {
            Ok(pattern) => Ok(Typed::new(Node::Matches(Box::new(text), Box::new(pattern)), Kind::Bool)),
            Err(refusal) => Err(self.parsed.complain_at_name(id, refusal.to_string())),
        }
    }

    /// A function of one argument; constant arguments are computed once, here.
    fn unary(&mut self, id: u64, function: Function, argument: &IdedExpr) -> Result<Typed, Diagnostic> {
        let argument = if function == Function::Size {
            self.lower_list(argument)?
        } else {
            self.lower(argument)?
        };
        if !check::accepts(function, argument.kind) {
            return Err(self.parsed.complain_at_name(
                id,
                format!("{}() does not accept this type: {}", function.name(), argument.kind),
            ));
        }
        let kind = check::result(function);
        let Node::Constant(constant) = &argument.node else {
            return Ok(Typed::new(Node::Call(Box::new(argument.node), function), kind));
        };
        if *constant == Constant::Null {
            return Ok(Typed::new(Node::Call(Box::new(argument.node), function), kind));
        }
        match convert::call(function, constant.value(), &mut Budget::default()) {
            Ok(value) => Ok(Typed::new(Node::Constant(constant_of(value)), kind)),
            Err(error) => Err(self.parsed.complain_at_name(id, error.to_string())),
        }
    }
}

/// The texts of a list of constant texts, sorted for binary search.
fn texts(node: &Node) -> Option<Box<[Box<str>]>> {
    let Node::List(elements) = node else {
        return None;
    };
    let mut texts = Vec::with_capacity(elements.len());
    for element in elements {
        let Node::Constant(Constant::Text(text)) = element else {
            return None;
        };
        texts.push(text.clone());
    }
    texts.sort_unstable();
    Some(texts.into())
}

/// A computed scalar as a constant. No function of one argument returns a list or map.
fn constant_of(value: Value<'_>) -> Constant {
    match value {
        Value::Bool(bool) => Constant::Bool(bool),
        Value::Int(int) => Constant::Int(int),
        Value::Uint(uint) => Constant::Uint(uint),
        Value::Double(double) => Constant::Double(double),
        Value::Text(text) => Constant::Text((*text).into()),
        Value::Timestamp(timestamp) => Constant::Timestamp(timestamp),
        Value::Duration(duration) => Constant::Duration(duration),
        Value::Null | Value::List(_) | Value::Map(_) => Constant::Null,
    }
}
