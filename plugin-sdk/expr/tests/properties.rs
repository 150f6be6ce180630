//! Properties over random expressions: nothing panics, branches and the whole agree, and where the semantics are the same the interpreter of
//! the `cel` crate agrees too.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "tests"
)]

mod common;

use common::{Row, run};
use donjon_expr::{Budget, Expression};
use proptest::prelude::*;
use serde_json::{Value, json};

/// A generator of random choices from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }

    fn pick<'t>(&mut self, texts: &[&'t str]) -> &'t str {
        texts[self.roll(texts.len())]
    }
}

const TOKENS: [&str; 64] = [
    "a",
    "b",
    "labels",
    "severity",
    "source",
    "\"high\"",
    "'x'",
    "\"\\u00e9\"",
    "1",
    "0",
    "2.5",
    "7u",
    "-",
    "+",
    "*",
    "/",
    "%",
    "==",
    "!=",
    "<",
    "<=",
    ">",
    ">=",
    "in",
    "&&",
    "||",
    "!",
    "(",
    ")",
    "[",
    "]",
    "{",
    "}",
    ",",
    ":",
    "?",
    ".",
    "null",
    "true",
    "false",
    "has(",
    ".exists(t,",
    ".all(t,",
    ".map(t,",
    ".filter(t,",
    ".exists_one(t,",
    "contains(",
    ".contains(",
    ".matches(\"[a\")",
    ".matches('x+')",
    "size(",
    ".size()",
    "int(",
    "string(",
    "timestamp(",
    "duration(",
    "@result",
    "t",
    "\n",
    "// c\n",
    "=",
    "\"",
    "r'\\d'",
    "\u{e9}",
];

fn soup(seed: u64) -> String {
    let mut dice = Dice(seed);
    let length = 1 + dice.roll(30);
    let glue = dice.pick(&["", " "]);
    (0..length).map(|_| dice.pick(&TOKENS).to_owned() + glue).collect()
}

/// Conditions that compile, over absent attributes and every type.
fn condition(dice: &mut Dice, depth: usize) -> String {
    let operand = |dice: &mut Dice| {
        dice.pick(&[
            "n",
            "missing",
            "labels.x",
            "labels[\"k\"]",
            "severity",
            "source",
            "tags",
            "1",
            "2.5",
            "\"high\"",
            "\"5\"",
            "null",
            "flag",
            "[1, \"a\"]",
            "labels",
            "name",
        ])
    };
    match dice.roll(if depth == 0 { 5 } else { 9 }) {
        0 => format!("{} {} {}", operand(dice), dice.pick(&["==", "!="]), operand(dice)),
        1 => format!(
            "{} {} {}",
            dice.pick(&["n", "severity", "missing", "name"]),
            dice.pick(&["<", ">=", ">"]),
            dice.pick(&["1", "\"high\"", "n", "missing"])
        ),
        2 => format!(
            "{} in {}",
            operand(dice),
            dice.pick(&["source", "tags", "[1, \"a\"]", "labels", "missing", "{\"a\": 1}"])
        ),
        3 => format!("{}.contains(\"i\")", dice.pick(&["name", "source", "missing", "n"])),
        4 => format!(
            "tags.{}(t, t == {})",
            dice.pick(&["exists", "all", "exists_one"]),
            operand(dice)
        ),
        5 | 6 => format!("({} || {})", condition(dice, depth - 1), condition(dice, depth - 1)),
        7 => format!("({} && {})", condition(dice, depth - 1), condition(dice, depth - 1)),
        _ => format!("!({})", condition(dice, depth - 1)),
    }
}

fn alert() -> Value {
    json!({
        "n": 5, "ratio": 0.5, "name": "disk is full", "flag": true, "severity": "high", "source": ["prometheus", "a"], "word": "\u{e9}t\u{e9}",
        "tags": ["a", "b", "disk"], "counts": [3, 1, 2], "labels": {"k": "v", "host": "h1", "n": 7, "list": ["x", "y"]}
    })
}

/// Well-typed expressions over attributes that are present, without severity and source: what both interpreters must agree on.
struct Typed(Dice);

impl Typed {
    fn bool(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self
                .0
                .pick(&["flag", "true", "false", "has(labels.host)", "has(labels.zone)"])
                .to_owned();
        }
        let next = depth - 1;
        match self.0.roll(14) {
            0 | 1 => format!("({} && {})", self.bool(next), self.bool(next)),
            2 | 3 => format!("({} || {})", self.bool(next), self.bool(next)),
            4 => format!("!({})", self.bool(next)),
            5 => format!("({} {} {})", self.int(next), self.relation(), self.int(next)),
            6 => format!("({} {} {})", self.double(next), self.relation(), self.double(next)),
            7 => format!("({} {} {})", self.text(next), self.relation(), self.text(next)),
            // Small whole numbers only: cel rounds a large one to a double, here the comparison is exact.
            8 => format!(
                "({} {} {})",
                self.0.pick(&["n", "labels.n", "0", "-3"]),
                self.relation(),
                self.double(next)
            ),
            9 => format!(
                "{}.{}({})",
                self.text(next),
                self.0.pick(&["contains", "startsWith", "endsWith"]),
                self.text(next)
            ),
            10 => format!("({} in {})", self.text(next), self.texts(next)),
            11 => format!(
                "{}.{}(t, {} == t)",
                self.texts(next),
                self.0.pick(&["exists", "all", "exists_one"]),
                self.text(next)
            ),
            12 => format!("({} == {})", self.ints(next), self.ints(next)),
            _ => format!("({} ? {} : {})", self.bool(next), self.bool(next), self.bool(next)),
        }
    }

    fn relation(&mut self) -> &'static str {
        self.0.pick(&["==", "!=", "<", "<=", ">", ">="])
    }

    fn int(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self
                .0
                .pick(&["n", "labels.n", "0", "1", "-3", "9223372036854775807", "counts[1]"])
                .to_owned();
        }
        let next = depth - 1;
        match self.0.roll(5) {
            0 | 1 => format!(
                "({} {} {})",
                self.int(next),
                self.0.pick(&["+", "-", "*", "/", "%"]),
                self.int(next)
            ),
            2 => format!("size({})", self.text(next)),
            3 => format!("{}.size()", self.texts(next)),
            _ => format!("({} ? {} : {})", self.bool(next), self.int(next), self.int(next)),
        }
    }

    fn double(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self.0.pick(&["ratio", "0.0", "1.5", "-2.25", "1e10"]).to_owned();
        }
        match self.0.roll(3) {
            0 => format!("double({})", self.int(depth - 1)),
            _ => format!(
                "({} {} {})",
                self.double(depth - 1),
                self.0.pick(&["+", "-", "*", "/"]),
                self.double(depth - 1)
            ),
        }
    }

    fn text(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self
                .0
                .pick(&[
                    "name",
                    "labels.host",
                    "labels[\"k\"]",
                    "word",
                    "\"disk\"",
                    "''",
                    "\"\\u00e9\"",
                    "labels.list[0]",
                ])
                .to_owned();
        }
        match self.0.roll(3) {
            0 => format!("string({})", self.int(depth - 1)),
            _ => format!("({} + {})", self.text(depth - 1), self.text(depth - 1)),
        }
    }

    fn texts(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self
                .0
                .pick(&["tags", "labels.list", "[\"a\", \"disk\"]", "[name]"])
                .to_owned();
        }
        match self.0.roll(3) {
            0 => format!("({} + {})", self.texts(depth - 1), self.texts(depth - 1)),
            1 => format!("{}.map(t, t + {})", self.texts(depth - 1), self.text(depth - 1)),
            _ => format!("{}.filter(t, {} != t)", self.texts(depth - 1), self.text(depth - 1)),
        }
    }

    fn ints(&mut self, depth: usize) -> String {
        match self.0.roll(3) {
            0 => "counts".to_owned(),
            1 => format!("[{}, {}]", self.int(depth), self.int(depth)),
            _ => format!("counts.map(i, i + {})", self.int(depth)),
        }
    }
}

/// What the interpreter of `cel` says; `None` if it fails or the result is no boolean.
fn oracle(source: &str, alert: &Value) -> Option<bool> {
    let program = cel::Program::compile(source).ok()?;
    let mut context = cel::Context::default();
    for (name, value) in alert.as_object()? {
        context.add_variable(name.clone(), value).ok()?;
    }
    match program.execute(&context) {
        Ok(cel::Value::Bool(bool)) => Some(bool),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_096, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn token_soup_never_panics(seed in any::<u64>()) {
        let source = soup(seed);
        match Expression::compile(&source) {
            Ok(expression) => drop(run(&expression, &alert())),
            Err(diagnostics) => {
                prop_assert!(!diagnostics.is_empty());
                prop_assert!(diagnostics.iter().all(|diagnostic| !diagnostic.message.is_empty()));
            }
        }
    }

    #[test]
    fn any_text_never_panics(source in "\\PC{0,60}") {
        if let Ok(expression) = Expression::compile(&source) {
            drop(run(&expression, &alert()));
        }
    }

    #[test]
    fn the_branches_together_are_the_whole(seed in any::<u64>()) {
        let source = condition(&mut Dice(seed), 3);
        let Ok(expression) = Expression::compile(&source) else {
            // The generator may order what has no order, which is refused as it should be.
            return Ok(());
        };
        let alert = alert();
        let row = Row::new(&expression, &alert);
        let outcome = run(&expression, &alert);
        // Under a double negation there is one branch, so this compares the union with the absorbing `||` of the tree.
        let negated = Expression::compile(&format!("!!({source})")).unwrap();
        prop_assert_eq!(negated.branches().len(), 1);
        let undivided = negated.evaluate(&Row::new(&negated, &alert), &mut Budget::default());
        prop_assert_eq!(undivided == Ok(true), !outcome.matched.is_empty(), "{}", source);
        prop_assert_eq!(undivided.is_err(), outcome.matched.is_empty() && !outcome.errors.is_empty(), "{}", source);
        let whole = expression.evaluate(&row, &mut Budget::default());
        prop_assert_eq!(whole == Ok(true), !outcome.matched.is_empty(), "{}", source);
        for branch in expression.branches() {
            prop_assert!(Expression::compile(&branch.text).is_ok(), "{}", branch.text);
            prop_assert!(branch.columns.iter().all(|column| *column < expression.columns().len()));
        }
    }

    #[test]
    fn the_interpreter_of_cel_agrees(seed in any::<u64>()) {
        let source = Typed(Dice(seed)).bool(4);
        let alert = alert();
        if let (Some(expected), Ok(expression)) = (oracle(&source, &alert), Expression::compile(&source)) {
            let found = expression.evaluate(&Row::new(&expression, &alert), &mut Budget::default());
            prop_assert_eq!(found, Ok(expected), "{}", source);
        }
    }
}

/// The differential test is worth something only if most of its cases are compared.
#[test]
fn the_oracle_answers_most_cases() {
    let answered = (0..1_000_u64)
        .filter(|seed| oracle(&Typed(Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))).bool(4), &alert()).is_some())
        .count();
    assert!(answered > 500, "{answered} of 1000");
}
