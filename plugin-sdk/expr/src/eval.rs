//! Evaluates the tree for one alert. Conditions are evaluated as booleans and texts as borrowed texts, so that the common rule never
//! builds a value.
//!
//! Must not know: where attributes come from, beyond the trait; or what a branch is.

use crate::arithmetic;
use crate::compare::{equal, equal_scalars, find, ordered, same_text};
use crate::convert;
use crate::error::{Budget, EvalError};
use crate::json;
use crate::limits::MAX_SOURCE_BYTES;
use crate::tree::{Comparison, EqualsText, Fold, Node, Pair, TextTest};
use crate::value::{Constant, Text, Value, double_to_int};
use crate::{Attributes, Datum};
use memchr::memmem::Finder;
use std::rc::Rc;

type Outcome<'a> = Result<Value<'a>, EvalError>;

/// One evaluation: the alert, the variables of macros and what is left of the budget.
pub(crate) struct Machine<'a, 'b, A> {
    attributes: &'a A,
    columns: &'a [String],
    /// Two slots for each macro around the current node. An accumulator may hold an error that a later element absorbs.
    locals: Vec<Outcome<'a>>,
    /// Columns that were JSON, parsed, by their index: a macro that reads one in every round parses it once. Empty until there is one.
    parsed: Vec<Option<Value<'a>>>,
    budget: &'b mut Budget,
}

impl<'a, 'b, A: Attributes> Machine<'a, 'b, A> {
    pub(crate) fn new(attributes: &'a A, columns: &'a [String], budget: &'b mut Budget) -> Self {
        Self {
            attributes,
            columns,
            locals: Vec::new(),
            parsed: Vec::new(),
            budget,
        }
    }

    /// A node in the place of a condition.
    pub(crate) fn test(&mut self, node: &'a Node) -> Result<bool, EvalError> {
        self.budget.spend(1)?;
        match node {
            Node::EqualsText(equals) => self.equals_text(equals),
            Node::And(sides) => self.logic(sides, false),
            Node::Or(sides) => self.logic(sides, true),
            Node::Not(operand) => self.test(operand).map(|bool| !bool),
            Node::TextTest(sides, test) => self.text_test(sides, *test),
            Node::ContainsPart(test) => self.contains_part(&test.0, &test.1),
            Node::Matches(text, pattern) => {
                let text = self.text(text, "matches")?;
                pattern.is_match(&text, self.budget)
            }
            Node::Equals { sides, by, negated } => {
                let (left, right) = self.pair(sides)?;
                Ok(equal(&left, &right, *by, self.budget)? != *negated)
            }
            Node::Order { sides, by, operator } => {
                let (left, right) = self.pair(sides)?;
                ordered(&left, &right, *by, *operator, self.budget)
            }
            Node::In(sides, by) => self.contained(sides, *by),
            Node::InTexts(subject, texts) => self.in_texts(subject, texts),
            Node::Present(tested) => self.present(tested),
            Node::NotStrictlyFalse(operand) => Ok(!matches!(self.test(operand), Ok(false))),
            other => match self.value(other)? {
                Value::Bool(bool) => Ok(bool),
                Value::Null => Err(EvalError::NullOperand),
                value => Err(EvalError::NotBoolean(value.kind())),
            },
        }
    }

    /// A node in any other place.
    fn value(&mut self, node: &'a Node) -> Outcome<'a> {
        self.budget.spend(1)?;
        match node {
            Node::Constant(constant) => Ok(constant.value()),
            Node::Attribute(column) => self.attribute(*column),
            Node::SourceList(column) => self.source_list(*column),
            Node::Local(slot) => self.locals.get(*slot).cloned().unwrap_or(Err(EvalError::NullOperand)),
            Node::Choose(parts) => {
                let (condition, yes, no) = &**parts;
                if self.test(condition)? {
                    self.value(yes)
                } else {
                    self.value(no)
                }
            }
            Node::Arithmetic(sides, operator) => {
                let (left, right) = self.pair(sides)?;
                arithmetic::apply(left, right, *operator, self.budget)
            }
            Node::Negate(operand) => arithmetic::negate(&self.value(operand)?),
            Node::Select(base, key) => {
                let base = self.value(base)?;
                self.entry(&base, &Value::Text(Text::Lent(key)))
            }
            Node::Index(sides) => self.index(sides),
            Node::List(elements) => self.list(elements),
            Node::Map(entries) => self.map(entries),
            Node::Call(argument, function) => {
                let argument = self.value(argument)?;
                convert::call(*function, argument, self.budget)
            }
            Node::Append(slot, element) => self.append(*slot, element),
            Node::Fold(fold) => self.fold(fold),
            condition => self.test(condition).map(Value::Bool),
        }
    }

    fn pair(&mut self, sides: &'a Pair) -> Result<(Value<'a>, Value<'a>), EvalError> {
        Ok((self.value(&sides.0)?, self.value(&sides.1)?))
    }

    #[inline]
    fn fetch(&self, column: usize) -> Datum<'a> {
        self.attributes
            .get(column, self.columns.get(column).map_or("", String::as_str))
    }

    #[inline(never)]
    fn attribute(&mut self, column: usize) -> Outcome<'a> {
        match self.fetch(column) {
            Datum::Json(text) => self.json(column, text),
            scalar => Ok(scalar_of(scalar)),
        }
    }

    /// A list or object, parsed at its first mention in this evaluation.
    fn json(&mut self, column: usize, text: &'a str) -> Outcome<'a> {
        if let Some(Some(value)) = self.parsed.get(column) {
            return Ok(value.clone());
        }
        let value = json::parse(text, self.budget)?;
        if self.parsed.is_empty() {
            self.parsed.resize(self.columns.len(), None);
        }
        if let Some(slot) = self.parsed.get_mut(column) {
            *slot = Some(value.clone());
        }
        Ok(value)
    }

    /// `source` as a list; a text is a list of one.
    #[inline(never)]
    fn source_list(&mut self, column: usize) -> Outcome<'a> {
        match self.attribute(column)? {
            text @ Value::Text(_) => Ok(Value::List(Rc::new(vec![text]))),
            other => Ok(other),
        }
    }

    /// `attribute == "text"`, borrowed on both sides when the attribute is a text.
    #[inline]
    fn equals_text(&mut self, equals: &EqualsText) -> Result<bool, EvalError> {
        let found = match (self.fetch(equals.column), equals.by) {
            (Datum::Text(text), _) if text.len() != equals.text.len() => false,
            (Datum::Text(text), by) => {
                self.budget.spend_bytes(text.len())?;
                match by {
                    Comparison::Plain => same_text(text, &equals.text),
                    Comparison::Severity => text.eq_ignore_ascii_case(&equals.text),
                }
            }
            (Datum::Null | Datum::Json(_), _) => false,
            (scalar, by) => equal(
                &scalar_of(scalar),
                &Value::Text(Text::Lent(&equals.text)),
                by,
                self.budget,
            )?,
        };
        Ok(found != equals.negated)
    }

    /// `&&` (decided by false) and `||` (decided by true): a deciding side absorbs an error of the other one, in either order. Of two
    /// errors a real one is kept rather than a null operand.
    fn logic(&mut self, sides: &'a Pair, deciding: bool) -> Result<bool, EvalError> {
        let first = match self.test(&sides.0) {
            Ok(bool) if bool == deciding => return Ok(deciding),
            Ok(_) => return self.test(&sides.1),
            Err(error) => error,
        };
        match self.test(&sides.1) {
            Ok(bool) if bool == deciding => Ok(deciding),
            Err(second) if first == EvalError::NullOperand => Err(second),
            _ => Err(first),
        }
    }

    /// A node that must be a text.
    #[inline]
    fn text(&mut self, node: &'a Node, function: &'static str) -> Result<Text<'a>, EvalError> {
        match node {
            Node::Constant(Constant::Text(text)) => Ok(Text::Lent(text)),
            Node::Attribute(column) => match self.fetch(*column) {
                Datum::Text(text) => Ok(Text::Lent(text)),
                _ => text_of(self.attribute(*column)?, function),
            },
            other => text_of(self.value(other)?, function),
        }
    }

    fn text_test(&mut self, sides: &'a Pair, test: TextTest) -> Result<bool, EvalError> {
        let text = self.text(&sides.0, test.name())?;
        let part = self.text(&sides.1, test.name())?;
        self.budget.spend_bytes(match test {
            TextTest::Contains => text.len().saturating_add(part.len()),
            TextTest::StartsWith | TextTest::EndsWith => text.len().min(part.len()),
        })?;
        Ok(match test {
            TextTest::Contains => text.contains(&*part),
            TextTest::StartsWith => text.starts_with(&*part),
            TextTest::EndsWith => text.ends_with(&*part),
        })
    }

    fn contains_part(&mut self, text: &'a Node, part: &Finder<'static>) -> Result<bool, EvalError> {
        let text = self.text(text, TextTest::Contains.name())?;
        self.budget
            .spend_bytes(text.len().saturating_add(part.needle().len()))?;
        Ok(part.find(text.as_bytes()).is_some())
    }

    #[inline(never)]
    fn present(&mut self, tested: &'a Node) -> Result<bool, EvalError> {
        match tested {
            Node::Attribute(column) => Ok(!matches!(self.fetch(*column), Datum::Null)),
            other => Ok(!self.value(other)?.is_null()),
        }
    }

    /// `in`: an element of a list or a key of a map. Nothing is in null, and a key whose value is null counts as absent.
    #[inline(never)]
    fn contained(&mut self, sides: &'a Pair, by: Comparison) -> Result<bool, EvalError> {
        let subject = self.value(&sides.0)?;
        // The elements of a list literal are compared one by one, without building the list.
        if let Node::List(elements) = &sides.1 {
            for element in elements {
                let element = self.value(element)?;
                if equal(&subject, &element, by, self.budget)? {
                    return Ok(true);
                }
            }
            return Ok(false);
        }
        match self.value(&sides.1)? {
            Value::List(elements) => {
                for element in elements.iter() {
                    self.budget.spend(1)?;
                    if equal(&subject, element, by, self.budget)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Value::Map(entries) => Ok(find(&entries, &subject, self.budget)?.is_some_and(|value| !value.is_null())),
            Value::Null => Ok(false),
            other => Err(EvalError::Argument {
                function: "in",
                kind: other.kind(),
            }),
        }
    }

    #[inline(never)]
    fn in_texts(&mut self, subject: &'a Node, texts: &'a [Box<str>]) -> Result<bool, EvalError> {
        match self.value(subject)? {
            Value::Text(text) => {
                // All candidates together are a part of the source.
                self.budget.spend_bytes(text.len().min(MAX_SOURCE_BYTES))?;
                Ok(texts.binary_search_by(|candidate| (**candidate).cmp(&*text)).is_ok())
            }
            other => {
                self.budget.spend(texts.len())?;
                Ok(texts
                    .iter()
                    .any(|text| equal_scalars(&other, &Value::Text(Text::Lent(text)))))
            }
        }
    }

    #[inline(never)]
    fn index(&mut self, sides: &'a Pair) -> Outcome<'a> {
        let (base, key) = self.pair(sides)?;
        match (&base, &key) {
            (Value::Null, _) => Ok(Value::Null),
            (_, Value::Null) => Err(EvalError::NullOperand),
            (Value::Map(_), _) | (_, Value::Text(_)) => self.entry(&base, &key),
            (Value::List(elements), key) => {
                let at = position(key)?;
                // Past the end is absent, as an absent attribute is.
                Ok(usize::try_from(at)
                    .ok()
                    .and_then(|at| elements.get(at))
                    .cloned()
                    .unwrap_or(Value::Null))
            }
            _ => Err(EvalError::Argument {
                function: "[...]",
                kind: base.kind(),
            }),
        }
    }

    /// The entry of a map; null if it is absent or the base is no map.
    #[inline(never)]
    fn entry(&mut self, base: &Value<'a>, key: &Value<'a>) -> Outcome<'a> {
        match base {
            Value::Map(entries) => Ok(find(entries, key, self.budget)?.cloned().unwrap_or(Value::Null)),
            _ => Ok(Value::Null),
        }
    }

    #[inline(never)]
    fn list(&mut self, elements: &'a [Node]) -> Outcome<'a> {
        let mut values = Vec::with_capacity(elements.len());
        for element in elements {
            values.push(self.value(element)?);
        }
        Ok(Value::List(Rc::new(values)))
    }

    #[inline(never)]
    fn map(&mut self, entries: &'a [(Node, Node)]) -> Outcome<'a> {
        let mut values = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            values.push((self.value(key)?, self.value(value)?));
        }
        Ok(Value::Map(Rc::new(values)))
    }

    /// `accumulator + [element]`: takes the accumulator off its slot, which the fold fills again.
    #[inline(never)]
    fn append(&mut self, slot: usize, element: &'a Node) -> Outcome<'a> {
        let element = self.value(element)?;
        let accumulator = self
            .locals
            .get_mut(slot)
            .map(|local| std::mem::replace(local, Ok(Value::Null)));
        let Value::List(mut list) = accumulator.unwrap_or(Err(EvalError::NullOperand))? else {
            return Err(EvalError::NullOperand);
        };
        Rc::make_mut(&mut list).push(element);
        Ok(Value::List(list))
    }

    #[inline(never)]
    fn fold(&mut self, fold: &'a Fold) -> Outcome<'a> {
        let elements = match self.value(&fold.range)? {
            Value::List(elements) => elements,
            Value::Map(entries) => {
                self.budget.spend(entries.len())?;
                Rc::new(entries.iter().map(|(key, _)| key.clone()).collect())
            }
            Value::Null => return Err(EvalError::NullOperand),
            other => {
                return Err(EvalError::Argument {
                    function: "a macro such as exists",
                    kind: other.kind(),
                });
            }
        };
        let start = self.value(&fold.start)?;
        self.locals.truncate(fold.slot);
        self.locals.extend([Ok(start), Ok(Value::Null)]);
        let outcome = self.run(fold, &elements);
        self.locals.truncate(fold.slot);
        outcome
    }

    fn run(&mut self, fold: &'a Fold, elements: &[Value<'a>]) -> Outcome<'a> {
        for element in elements {
            self.budget.spend(1)?;
            self.assign(fold.slot + 1, Ok(element.clone()));
            if !self.test(&fold.condition)? {
                break;
            }
            let step = self.value(&fold.step);
            self.assign(fold.slot, step);
        }
        self.value(&fold.result)
    }

    fn assign(&mut self, slot: usize, outcome: Outcome<'a>) {
        if let Some(local) = self.locals.get_mut(slot) {
            *local = outcome;
        }
    }
}

/// A datum that is no JSON text.
fn scalar_of(datum: Datum<'_>) -> Value<'_> {
    match datum {
        Datum::Bool(bool) => Value::Bool(bool),
        Datum::Int(int) => Value::Int(int),
        Datum::Float(double) => Value::Double(double),
        Datum::Text(text) => Value::Text(Text::Lent(text)),
        Datum::Null | Datum::Json(_) => Value::Null,
    }
}

fn text_of<'a>(value: Value<'a>, function: &'static str) -> Result<Text<'a>, EvalError> {
    match value {
        Value::Text(text) => Ok(text),
        Value::Null => Err(EvalError::NullOperand),
        other => Err(EvalError::Argument {
            function,
            kind: other.kind(),
        }),
    }
}

/// The position that a number means in a list; a double must be whole.
fn position(key: &Value<'_>) -> Result<u64, EvalError> {
    let refused = EvalError::Argument {
        function: "[...] of a list",
        kind: key.kind(),
    };
    match key {
        Value::Int(int) => u64::try_from(*int).map_err(|_| EvalError::NegativeIndex(*int)),
        Value::Uint(uint) => Ok(*uint),
        Value::Double(double) if double.fract() == 0.0 => double_to_int(*double)
            .and_then(|int| u64::try_from(int).ok())
            .ok_or(refused),
        _ => Err(refused),
    }
}
