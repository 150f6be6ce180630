//! Inputs that attack stacks and time. Everything runs on a thread with a small stack, so an overflow aborts the test binary.
#![allow(clippy::panic, clippy::unwrap_used, reason = "tests")]

mod common;

use common::run;
use donjon_expr::Expression;
use serde_json::json;
use std::time::{Duration, Instant};

/// An unoptimised parser needs many times the stack and time of the one that ships.
const SCALE: usize = if cfg!(debug_assertions) { 16 } else { 1 };
const LIMIT: Duration = Duration::from_secs(if cfg!(debug_assertions) { 20 } else { 2 });

/// Compiles, evaluates and drops on a stack of this size; whether it compiled, and for how long all of it took.
fn survive(source: String, stack: usize) -> (bool, Duration) {
    let work = move || {
        let start = Instant::now();
        let alert = json!({"a": 1, "s": "xxxxxxxxxxxxxxxx", "l": [[1, 2], [3, 4]], "m": {"b": {"b": 1}}});
        let compiled = Expression::compile(&source);
        let accepted = compiled.is_ok();
        match compiled {
            Ok(expression) => drop(run(&expression, &alert)),
            Err(diagnostics) => assert!(!diagnostics.is_empty(), "refused without a diagnostic"),
        }
        (accepted, start.elapsed())
    };
    std::thread::Builder::new()
        .stack_size(stack * SCALE)
        .spawn(work)
        .unwrap()
        .join()
        .unwrap()
}

/// Patterns that grow with n.
fn grown(n: usize) -> Vec<String> {
    let nested = |open: &str, close: &str| format!("{}1{} == 1", open.repeat(n), close.repeat(n));
    let chain = |first: &str, more: &str| format!("{first}{}", more.repeat(n));
    // Parentheses with a chain of operators inside each, the deepest tree for its size.
    let chained_nests = |level: &str| format!("{}1{} == 1", "(".repeat(30), format!("{level})").repeat(30));
    vec![
        nested("(", ")"),
        nested("[", "]"),
        nested("{1:", "}"),
        nested("size(", ")"),
        nested("a[", "]"),
        nested("a.b(", ")"),
        nested("l.map(x,", ")"),
        nested("l.exists(x,", ")"),
        nested("(1+", ")"),
        nested("-(", ")"),
        nested("!(", ")"),
        nested("true ? (", ") : 1"),
        nested("(1 == 1 ? ", " : 2)"),
        chain("1", "+1"),
        chain("1", "==1"),
        chain("1", "-1*1"),
        chain("a", ".b"),
        chain("a", "[0]"),
        chain("m", "['b']"),
        chain("a", ".b()"),
        chain("s", ".lowerAscii()"),
        chain("a", "&&a"),
        chain("a == 1", "||a == 1"),
        chain("a", "||a&&a"),
        chain("", "!") + "true",
        chain("", "-") + "1 == 1",
        chain("", "a?a:") + "a",
        chain("", "a?") + "a",
        chain("a in [1", ",1") + "]",
        chain("a == {1:1", ",1:1") + "}",
        chain("s.contains(s", ",s") + ")",
        chain("1", " in [1]"),
        chain("l", ".filter(x, true)") + " == l",
        chain("s.matches('", "(a*)*") + "b')",
        chain("s.matches('", "(") + "a" + &")".repeat(n) + "')",
        chain("'", "x") + "' == s",
        chain("", "\"\"\""),
        chain("", "'"),
        chain("", "// x\n") + "true",
        chain("", " ") + "true",
        chain("", ")"),
        chain("", "("),
        chain("", "{a:"),
        chain("", "[a,"),
        chain("", "."),
        chain("a", "."),
        chain("", "? :"),
        chain("", "= "),
        chain("a.", "\u{1f600}"),
        chained_nests(&"+1".repeat(n.min(600))),
        chained_nests(&".b".repeat(n.min(600))),
    ]
}

#[test]
fn deep_and_long_inputs_neither_overflow_nor_run_long() {
    for n in [
        1, 3, 12, 16, 24, 31, 32, 33, 100, 500, 512, 513, 1_000, 1_024, 2_048, 5_000, 16_000,
    ] {
        for source in grown(n) {
            let start: String = source.chars().take(40).collect();
            for stack in [1024 * 1024, 512 * 1024] {
                let (_, elapsed) = survive(source.clone(), stack);
                assert!(elapsed < LIMIT, "{elapsed:?} for {n} of {start}");
            }
        }
    }
}

#[test]
fn what_the_limits_promise_is_accepted() {
    let accepted = |source: String| {
        let start: String = source.chars().take(40).collect();
        assert!(survive(source, 512 * 1024).0, "{start}");
    };
    accepted(format!("1{} == 1", "+1".repeat(120)));
    accepted(format!("a == 1{}", "||a == 1".repeat(1_000)));
    accepted(format!("{}a == 1{}", "(".repeat(32), ")".repeat(32)));
    accepted(format!("{}true", "a == 2 ? false : ".repeat(32)));
    accepted(format!("a in [1{}]", ",1".repeat(8_000)));
    accepted("l.exists(x, x.all(y, y > 0))".into());
}

#[test]
fn macros_on_large_attributes_end_in_time() {
    let rows = vec![vec![0_u8; 1_000]; 100];
    let alert = json!({"l": rows, "s": "a".repeat(1 << 20), "m": vec!["b".repeat(1_000); 1_000]});
    let sources = [
        "l.exists(x, l.exists(y, x == y && y == [1]))",
        "l.map(x, x + x).map(x, x + x).map(x, x + x).size() == 1",
        "l.exists(x, s.contains('b'))",
        "l.exists(x, s.matches('(a+)+$b'))",
        "l.map(x, s + s).size() == 1",
        "m.map(x, m.map(y, x + y)).size() == 1",
        "m.exists(x, m.exists(y, y + x in m))",
        "l == l && l == l && l == l && l == l",
        "s.lowerAscii().upperAscii().lowerAscii().size() == 1",
    ];
    for source in sources {
        let expression = Expression::compile(source).unwrap();
        let start = Instant::now();
        drop(run(&expression, &alert));
        assert!(start.elapsed() < LIMIT, "{:?} for {source}", start.elapsed());
    }
}
