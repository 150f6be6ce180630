//! The truth table of the condition language, one line a case: what section I.2 of the semantics decides.
#![allow(clippy::panic, reason = "tests")]

mod common;

use common::Expect::{Error, Match, Silent};
use common::{check, check_all, compile, observed, run};
use donjon_expr::EvalError;
use serde_json::json;

#[test]
fn every_line_of_the_observed_table_as_decided() {
    check_all(
        &observed(),
        &[
            ("severity == \"high\"", Match),
            ("severity > \"warning\"", Match),
            ("severity > \"critical\"", Silent),
            ("severity == 4", Match),
            ("source == \"prometheus\"", Match),
            ("source.contains(\"prom\")", Match),
            ("\"prometheus\" in source", Match),
            ("service == null", Match),
            ("service != null", Silent),
            ("missing == null", Match),
            ("missing != null", Silent),
            ("labels.missing == null", Match),
            ("labels.missing != \"x\"", Match),
            ("labels.host != null", Match),
            ("labels.empty == null", Silent),
            ("labels.n == \"5\"", Match),
            ("labels.num == 7", Match),
            ("labels.num != 7", Silent),
            ("labels.num > 5", Error),
            ("labels.n > 3.5", Match),
            ("labels.n == 5.0", Match),
            ("labels.ratio > 0", Match),
            ("labels.n > 3", Match),
            ("flag == \"true\"", Silent),
            ("service.contains(\"x\")", Silent),
            ("labels[\"missing\"] == \"x\"", Silent),
            ("contains(message,\"disk\")", Match),
            ("message.contains(\"disk\")", Match),
            ("message.startsWith(\"disk\") && startsWith(message, \"di\")", Match),
            ("message.endsWith(\"full\") && !endsWith(message, \"disk\")", Match),
            ("message.matches(\"f.ll\") && matches(message, '^disk')", Match),
            ("size(message) == 12 && message.size() == 12", Match),
            ("labels.host in [\"h0\", \"h1\"]", Match),
            ("\"host\" in labels && !(\"zone\" in labels)", Match),
            ("labels.tags[0] == \"a\"", Match),
            ("labels.tags.exists(t, t == \"b\")", Match),
            ("labels.tags.all(t, t == \"b\")", Silent),
            ("labels.n > 3 ? flag : false", Match),
            ("int(labels.num) > 5 && string(labels.n) == \"5\"", Match),
            ("timestamp(labels.at) < timestamp(\"2026-11-21T04:10:21+01:00\")", Match),
            ("duration(labels.took) == duration(\"1m30s\")", Match),
            (
                "message.upperAscii() == \"DISK IS FULL\" && lowerAscii(\"ABC\") == \"abc\"",
                Match,
            ),
        ],
    );
}

#[test]
fn null_is_no_match_and_no_error() {
    check_all(
        &observed(),
        &[
            ("labels.region > 3", Silent),
            ("!(labels.region > 3)", Silent),
            ("labels.region + 1 == 2", Silent),
            ("-labels.region == 2", Silent),
            (
                "labels.region.contains(\"x\") || !labels.region.contains(\"x\")",
                Silent,
            ),
            ("size(labels.region) == 0", Silent),
            ("labels.region.exists(t, true)", Silent),
            ("missing", Silent),
            ("!missing", Silent),
            ("missing && true", Silent),
            ("missing || true", Match),
            ("true || missing", Match),
            ("!(missing && false)", Match),
            ("labels.region in [\"eu\"]", Silent),
            ("!(labels.region in [\"eu\"])", Match),
            ("labels.region in [null]", Match),
            ("\"x\" in labels.region", Silent),
            ("!(\"x\" in missing)", Match),
            (
                "labels.none == null && !has(labels.none) && !(\"none\" in labels)",
                Match,
            ),
            ("has(labels.host) && has(labels.nested.az.id)", Match),
            ("has(labels.missing.deeper)", Silent),
            ("labels.host.deeper.still == null", Match),
            ("missing.a.b.c == null && missing.a != \"eu\"", Match),
            ("labels.tags[7] == null", Match),
            ("labels.tags[7] == \"a\"", Silent),
            ("labels[labels.missing] == 1", Silent),
            ("int(labels.missing) == 0", Silent),
            ("null == null", Match),
            ("labels.tags.exists(t, t == labels.missing)", Silent),
            ("(missing > 1) == (missing > 1)", Silent),
            ("missing > 1 ? true : true", Silent),
        ],
    );
}

#[test]
fn severity_compares_by_rank_and_by_name() {
    let table = [
        (
            "severity >= \"HIGH\" && severity < \"critical\" && \"low\" < severity",
            Match,
        ),
        (
            "severity == \"High\" && \"high\" == severity && severity != \"critical\"",
            Match,
        ),
        (
            "severity > 3 && severity <= 4 && 5 > severity && severity > 3.5 && severity >= 0",
            Match,
        ),
        (
            "severity == 4 && 4 == severity && severity == 4.0 && severity != 5",
            Match,
        ),
        (
            "severity in [\"HIGH\", \"critical\"] && severity in [4] && !(severity in [\"low\", 1])",
            Match,
        ),
        (
            "[\"low\", \"high\"].exists(s, s == severity) && [\"low\"].all(s, s < severity)",
            Match,
        ),
        ("severity > \"sev-001\"", Error),
        ("severity == \"sev-001\"", Silent),
        ("severity > true", Error),
        ("severity > labels.missing", Silent),
        ("severity.startsWith(\"hi\")", Match),
        ("labels.severity > \"warning\"", Silent),
        ("severity == null", Silent),
    ];
    check_all(&observed(), &table);
    check(
        "severity >= \"high\" && severity == \"high\" && severity in [\"high\"]",
        &json!({"severity": 4}),
        Match,
    );
    check("severity > \"low\"", &json!({"severity": "P1"}), Error);
    check("severity == \"p1\"", &json!({"severity": "P1"}), Match);
    check("severity > \"low\"", &json!({}), Silent);
    check("severity != \"low\" && severity == null", &json!({}), Match);
}

#[test]
fn source_is_its_first_element_or_the_whole_list() {
    let table = [
        ("source == \"x\"", Silent),
        (
            "source != \"x\" && source in [\"prometheus\"] && source.size() == 2 && size(source) == 2",
            Match,
        ),
        ("source[1] == \"x\" && source[0] == source && source[5] == null", Match),
        (
            "source.exists(s, s == \"x\") && source.all(s, s != \"y\") && source.exists_one(s, s == \"x\")",
            Match,
        ),
        (
            "source.filter(s, s == \"x\") == [\"x\"] && source.map(s, size(s)) == [10, 1]",
            Match,
        ),
        ("source == [\"prometheus\", \"x\"] && [\"x\"] != source", Match),
        ("source.startsWith(\"pro\") && source.matches(\"^p\")", Match),
        ("source != null", Match),
    ];
    check_all(&observed(), &table);
    check("source == \"one\" || \"one\" in source", &json!({}), Silent);
    check("source == null", &json!({"source": []}), Match);
    let expression = compile("source == \"a\" || \"b\" in source || labels.source == \"c\"");
    assert_eq!(expression.columns(), ["source.0", "source", "labels.source"]);
    let text_source = compile("\"one\" in source && size(source) == 1 && source.exists(s, s == \"one\")");
    assert_eq!(run(&text_source, &json!({"source": "one"})).matched, [0]);
}

#[test]
fn conditions_of_the_scenarios() {
    let alert = json!({
        "id": "evt-a1", "name": "alert a1", "fingerprint": "a1", "status": "firing", "severity": "high", "source": ["zabbix"],
        "labels": {"host": "db-7", "n": 5, "num": "7", "ratio": 0.5, "tags": ["blue", "green"], "nested": {"az": {"id": "z1"}}, "empty": ""},
        "message": "disk is full", "environment": "prod"
    });
    check_all(
        &alert,
        &[
            (
                "(source == \"nagios\") || (source == \"zabbix\" && severity == \"high\")",
                Match,
            ),
            ("(source == \"zabbix\" && labels.host == \"db-7\")", Match),
            (
                "(source == \"zabbix\" && labels.host == \"db-7\" && message.contains(\"disk\"))",
                Match,
            ),
            ("contains(message, \"full\")", Match),
            ("message.matches(\"f.ll\")", Match),
            ("has(labels.region) && labels.region == \"eu\"", Silent),
            ("labels.host in [\"db-6\",\"db-7\"]", Match),
            ("labels.tags.exists(t, t == \"green\")", Match),
            ("labels.region != \"eu\"", Match),
            ("service != null", Silent),
            ("labels.n == \"5\"", Match),
            ("severity > \"warning\"", Match),
            ("((labels.host == \"db-7\") || (name == \"zz\"))", Match),
        ],
    );
    check("source == \"second\"", &json!({"source": ["first", "second"]}), Silent);
    let second_fails = compile("(labels.host == \"db-7\") || (labels.n > \"a\")");
    let outcome = run(&second_fails, &alert);
    assert_eq!(outcome.matched, [0]);
    assert!(
        matches!(outcome.errors.as_slice(), [(1, EvalError::Types { .. })]),
        "{outcome:?}"
    );
}
