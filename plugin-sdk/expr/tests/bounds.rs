//! What an evaluation may cost: everything it reads is charged, all branches share one budget, and a caller can end it.
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests")]

mod common;

use common::{Row, compile, run};
use donjon_expr::limits::{DEFAULT_STEPS, STEPS_PER_QUESTION};
use donjon_expr::{Budget, EvalError, Expression};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Steps that one evaluation takes.
fn cost(source: &str, alert: &Value) -> u32 {
    let expression = compile(source);
    let mut budget = Budget::new(u32::MAX);
    drop(expression.evaluate(&Row::new(&expression, alert), &mut budget));
    u32::MAX - budget.remaining()
}

#[test]
fn every_byte_that_is_compared_is_charged() {
    let long = "s".repeat(64 * 1024);
    let alert = json!({"s": long, "t": long, "m": {long.as_str(): 1}, "l": vec![1; 100], "n": [long, long]});
    let once = u32::try_from(long.len() / 32).unwrap();
    for (source, times) in [
        ("l.exists(x, s != t)", 1),
        ("l.all(x, s == t)", 100),
        ("l.all(x, s <= t)", 100),
        ("l.all(x, s in n)", 100),
        ("l.all(x, s in m)", 100),
        ("l.all(x, s.contains(t))", 200),
        ("l.all(x, s.startsWith(t))", 100),
        ("l.all(x, s.matches('^x') || true)", 400),
        ("[s + s].exists(x, l.all(y, x != s))", 2),
    ] {
        let found = cost(source, &alert);
        assert!(
            found >= times * once,
            "{source}: {found} steps, at least {}",
            times * once
        );
    }
    // Texts of different lengths are told apart without reading them, and a variable is not copied each time it is read.
    assert!(cost("[s + s].exists(x, l.all(y, x != t))", &alert) < 6 * once);
    // A list is parsed once, not once a round.
    assert!(cost("l.all(x, s in n || true)", &alert) < 110 * once);
}

#[test]
fn all_branches_share_one_budget() {
    let alert = json!({"l": vec![1; 150], "a": 1});
    let dear = "l.exists(x, l.exists(y, x != y))";
    let expression = compile(&format!("a == 1 || {} || a == 1", vec![dear; 20].join(" || ")));
    let outcome = run(&expression, &alert);
    assert_eq!(outcome.matched, [0], "what was found before counts");
    let [(branch, EvalError::BudgetExceeded)] = outcome.errors.as_slice() else {
        panic!("told once: {:?}", outcome.errors);
    };
    assert!(*branch < 4, "{branch}");
}

#[test]
fn honest_rules_are_far_from_the_budget() {
    let alert =
        json!({"message": "x".repeat(64 * 1024), "name": "n", "labels": {"host": "h"}, "tags": vec!["a tag"; 200]});
    for source in [
        "message.contains('OutOfMemoryError') || message.contains('refused')",
        "message.matches('(?i)out of memory.*\\\\d+') || message.matches('\\\\w+Exception')",
        "tags.exists(t, t.startsWith('z')) && tags.all(t, t.size() < 64)",
    ] {
        let found = cost(source, &alert);
        assert!(found < DEFAULT_STEPS / 2, "{source}: {found}");
    }
    let thousand = (0..1_000).map(|n| format!("name=='h{n}'")).collect::<Vec<_>>();
    assert!(cost(&thousand.join(" || "), &alert) < DEFAULT_STEPS / 2);
}

#[test]
fn an_evaluation_ends_when_it_is_told_to() {
    let alert = json!({"l": vec![1; 3_000]});
    let expression = compile("l.exists(x, l.exists(y, x != y)) || l.exists(x, x == 2)");
    let asked = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&asked);
    let mut budget = Budget::interruptible(u32::MAX, move || counted.fetch_add(1, Ordering::Relaxed) >= 9);
    let row = Row::new(&expression, &alert);
    assert_eq!(expression.evaluate(&row, &mut budget), Err(EvalError::Interrupted));
    assert!(budget.was_interrupted());
    assert_eq!(budget.remaining(), 0, "nothing goes on for free");
    assert_eq!(asked.load(Ordering::Relaxed), 10);
    // Without an interruption it is the budget that decides, to the step.
    let whole = cost("l.exists(x, x == 2)", &alert);
    let short = compile("l.exists(x, x == 2)");
    for (steps, expected) in [(whole, Ok(false)), (whole - 1, Err(EvalError::BudgetExceeded))] {
        let mut budget = Budget::interruptible(steps, || false);
        assert_eq!(short.evaluate(&Row::new(&short, &alert), &mut budget), expected);
        assert!(!budget.was_interrupted());
    }
    assert!(whole > STEPS_PER_QUESTION, "{whole}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_048, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_larger_budget_never_changes_an_answer(
        parts in prop::collection::vec(0_usize..8, 1..6), steps in 0_u32..400, questions in any::<bool>()
    ) {
        let conditions = [
            "a == 1", "s.contains('yy')", "l.exists(x, x > 2)", "s.matches('x+y')", "!(s < 'y')", "l.all(x, x in l)",
            "m.k == 'v'", "size(s) > 40",
        ];
        let source: Vec<&str> = parts.iter().map(|part| conditions[*part % conditions.len()]).collect();
        let expression = compile(&source.join(if steps % 2 == 0 { " || " } else { " && " }));
        let alert = json!({"a": 2, "s": "x".repeat(100), "l": [1, 2, 3], "m": {"k": "v"}});
        let row = Row::new(&expression, &alert);
        let mut small = if questions { Budget::interruptible(steps, || false) } else { Budget::new(steps) };
        let whole = expression.evaluate(&row, &mut Budget::default());
        match expression.evaluate(&row, &mut small) {
            Err(EvalError::BudgetExceeded) => prop_assert_eq!(small.remaining(), 0),
            other => prop_assert_eq!(other, whole),
        }
    }

    #[test]
    fn patterns_find_what_the_regex_crate_finds(pattern in "[ab.*+?|()^$\\\\wdsb\u{e9}]{0,12}", text in "[ab1 \u{e9}\u{416}]{0,40}") {
        let source = format!("s.matches(r'{pattern}')");
        if let (Ok(expected), Ok(expression)) = (regex::Regex::new(&pattern), Expression::compile(&source)) {
            let alert = json!({"s": text});
            let found = expression.evaluate(&Row::new(&expression, &alert), &mut Budget::default());
            prop_assert_eq!(found, Ok(expected.is_match(&text)), "{} in {:?}", pattern, text);
        }
    }
}
