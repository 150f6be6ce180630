//! Numbers, texts, times, lists, maps and macros: what the types of values do to each other.
#![allow(clippy::panic, reason = "tests")]

mod common;

use common::Expect::{Error, Match, Silent};
use common::{Row, check, check_all, compile, observed, run};
use donjon_expr::{Budget, EvalError};
use serde_json::{Value, json};

#[test]
fn numbers_texts_and_booleans_compare_across_types() {
    check_all(
        &observed(),
        &[
            ("1 == 1.0 && 1 == 1u && 2u > 1 && 1.5 < 2u && -1 < 1u", Match),
            (
                "labels.big == 9007199254740993 && labels.big != 9007199254740992.0 && labels.big > 9007199254740992.0",
                Match,
            ),
            (
                "labels.whole == \"5\" && labels.whole == \"5.0\" && labels.ratio == \"0.5\" && labels.ratio != \".5\"",
                Match,
            ),
            ("labels.n in [\"5\"] && labels.num in [7] && labels.n in [4, 5]", Match),
            (
                "\"true\" != flag && flag != \"yes\" && flag == true && flag != 1",
                Match,
            ),
            ("labels.n > \"a\"", Error),
            ("labels.tags > 1", Error),
            ("labels.tags == \"a\"", Silent),
            ("labels.host == 1 || labels.tags == {} || labels == []", Silent),
            ("0.0/0.0 == 0.0/0.0 || 0.0/0.0 < 1.0 || 0.0/0.0 >= 1.0", Silent),
            ("\"b\" > \"a\" && true > false", Match),
        ],
    );
}

#[test]
fn arithmetic_and_conversions() {
    check_all(
        &observed(),
        &[
            (
                "labels.n * 2 + 1 == 11 && labels.n % 3 == 2 && labels.n / 2 == 2 && 7 - labels.n == 2",
                Match,
            ),
            (
                "labels.ratio * 100 >= 50 && labels.n + labels.ratio == 5.5 && 2u + 1 == 3",
                Match,
            ),
            ("9223372036854775807 + labels.n > 0", Error),
            ("labels.n / 0 == 1", Error),
            ("labels.n % 0 == 1", Error),
            ("-(-9223372036854775807 - 1) > labels.n", Error),
            ("1.0 / 0.0 > 1e300", Match),
            ("labels.n / 0 == 1 || flag", Match),
            ("flag || labels.n / 0 == 1", Match),
            ("!(labels.n / 0 == 1 && false)", Match),
            ("labels.n + \"a\" == \"5a\"", Error),
            ("labels.host + \"-x\" == \"h1-x\" && [1] + [2] == [1, 2]", Match),
            (
                "int(\"5\") == 5 && uint(5) == 5u && double(\"0.5\") == 0.5 && bool(\"true\") && string(1.5) == \"1.5\"",
                Match,
            ),
            ("int(labels.host) == 1", Error),
            ("uint(-labels.n) == 1", Error),
            ("int(labels.tags) == 1", Error),
            ("int(5.9) == 5 && int(-5.9) == -5 && string(true) == \"true\"", Match),
            ("labels.host", Error),
            ("labels.n", Error),
            ("labels.n && flag", Error),
            ("labels.tags[-1] == 1", Error),
        ],
    );
}

#[test]
fn times() {
    check_all(
        &observed(),
        &[
            (
                "timestamp(\"1970-01-01T00:00:01Z\") == timestamp(1) && int(timestamp(\"2000-02-29T12:00:00Z\")) == 951825600",
                Match,
            ),
            (
                "timestamp(labels.at) - timestamp(\"2026-11-21T03:10:00Z\") == duration(\"20.764s\")",
                Match,
            ),
            (
                "timestamp(labels.at) + duration(\"1h\") > timestamp(\"2026-11-21T04:10:20Z\")",
                Match,
            ),
            ("string(timestamp(labels.at)) == \"2026-11-21T03:10:20.764Z\"", Match),
            (
                "string(timestamp(\"2024-03-01T00:00:00+01:00\") - duration(\"1ns\")) == \"2024-02-29T22:59:59.999999999Z\"",
                Match,
            ),
            (
                "string(duration(\"-1h1.5s\")) == \"-3601.5s\" && duration(\"-1s\") < duration(\"0\") && -duration(\"1s\") == duration(\"-1s\")",
                Match,
            ),
            (
                "timestamp(\"2026-11-21 03:10:20.852000\") == timestamp(\"2026-11-21T03:10:20.852Z\")",
                Match,
            ),
            ("timestamp(labels.host) > timestamp(0)", Error),
            ("duration(labels.host) > duration(\"1s\")", Error),
            ("timestamp(labels.at) > 5 + labels.n", Error),
            ("timestamp(253402300799) + duration(labels.took) > timestamp(0)", Error),
        ],
    );
}

#[test]
fn lists_maps_and_macros() {
    check_all(
        &observed(),
        &[
            (
                "labels.list.exists(e, e.k == 2) && labels.list[1].k == 2 && labels.list.all(e, has(e.k) && !has(e.z))",
                Match,
            ),
            (
                "labels.list.map(e, e.k * 10) == [10, 20] && labels.list.filter(e, e.k > 1).size() == 1",
                Match,
            ),
            ("labels.list.map(e, e.k > 1, e.k) == [2]", Match),
            (
                "labels.tags.exists_one(t, t == \"a\") && !labels.tags.exists_one(t, t != \"z\")",
                Match,
            ),
            (
                "labels.exists(k, k == \"host\") && labels.nested.all(k, k == \"az\")",
                Match,
            ),
            (
                "labels.nested == {\"az\": {\"id\": \"z1\"}} && labels.nested.az != {\"id\": \"z2\"}",
                Match,
            ),
            (
                "{\"a\": 1, 2: \"b\"}[\"a\"] == 1 && {\"a\": 1, 2: \"b\"}[2] == \"b\" && {\"a\": 1}.b == null",
                Match,
            ),
            ("\"a\" in {\"a\": 1} && 2 in [1, 2.0] && !(3 in [1, 2])", Match),
            ("labels.tags.exists(t, [\"b\", \"c\"].exists(u, u == t))", Match),
            (
                "labels[\"a-b\"] == \"dashed\" && labels[\"a.b\"] == \"dotted\" && labels['host'] == \"h1\"",
                Match,
            ),
            ("[\"host\"].exists(k, labels[k] == \"h1\")", Match),
            ("labels.tags.exists(t, t > 5)", Error),
            ("labels.tags.exists(t, t == \"b\" || t > 5)", Match),
            ("labels.host.exists(t, true)", Error),
            ("\"h\" in labels.host", Error),
            ("labels.odd[0] == labels.esc && labels.esc in labels.odd", Match),
            ("[].all(t, false) && ![].exists(t, true)", Match),
            ("[[1, 2], [3]].exists(l, l.exists(i, i == 3))", Match),
            ("labels.tags == [\"a\", \"b\"] && labels.tags != [\"a\"]", Match),
        ],
    );
}

#[test]
fn macros_and_large_attributes_are_bounded_by_the_budget() {
    let list: Vec<u32> = (0..2_000).collect();
    let alert = json!({"big": list});
    let nested = compile("big.exists(a, big.exists(b, a + b == -1))");
    assert!(matches!(
        run(&nested, &alert).errors.as_slice(),
        [(0, EvalError::BudgetExceeded)]
    ));
    check("size(big.map(a, a + 1).filter(a, a > 0)) == 2000", &alert, Match);
    let mut small = Budget::new(3);
    let row = Row::new(&nested, &alert);
    assert_eq!(nested.evaluate(&row, &mut small), Err(EvalError::BudgetExceeded));
    assert_eq!(small.remaining(), 0);
    let deep = json!({"x": serde_json::from_str::<Value>(&format!("{}{}", "[".repeat(100), "]".repeat(100))).unwrap_or_default()});
    check("x[0] == 1", &deep, Error);
    check("x == \"a\"", &deep, Silent);
}
