//! What is refused, where the diagnostic points and what it says.
#![allow(clippy::panic, reason = "tests")]

use donjon_expr::{Expression, MAX_SOURCE_BYTES};

#[track_caller]
fn refused(source: &str, line: u32, column: u32, fragment: &str) {
    let Err(diagnostics) = Expression::compile(source) else {
        panic!("{source} compiles");
    };
    let found = diagnostics
        .first()
        .unwrap_or_else(|| panic!("{source}: refused without a diagnostic"));
    assert!(found.message.contains(fragment), "{source}: {found:?}");
    assert_eq!((found.line, found.column), (line, column), "{source}: {found:?}");
}

#[test]
fn syntax_errors_point_at_the_place_and_say_what_to_write() {
    refused("severity = \"high\"", 1, 10, "unexpected '=': use == to compare");
    refused("a == 1 &&\n  b === 2", 2, 5, "use == to compare");
    refused("a ==", 1, 5, "a value is missing");
    refused("a == 1 and b == 2", 1, 8, "unexpected 'and': use &&");
    refused("a == 1 OR b == 2", 1, 8, "unexpected 'OR': use ||");
    refused("a & b", 1, 3, "use &&");
    refused("a | b", 1, 3, "use ||");
    refused("not a", 1, 5, "missing");
    refused("a <> 1", 1, 3, "use !=");
    refused("a =~ \"x\"", 1, 3, "matches()");
    refused("a contains \"x\"", 1, 3, "write it as a method");
    refused("a == \"x", 1, 6, "text is not closed");
    refused("a == \"x\ny\"", 1, 6, "text is not closed");
    refused("a == \"\u{e9}\" && b == '''x", 1, 18, "three closing quotes");
    refused("a.matches(\"\\d+\")", 1, 12, "unknown escape");
    refused("a == \u{201c}x\u{201d}", 1, 6, "straight quotes");
    refused("a == `x`", 1, 6, "labels[\"a-b\"]");
    refused("a # b", 1, 3, "unexpected character '#'");
    refused("(a == 1", 1, 1, "not closed");
    refused("a == 1)", 1, 7, "no matching bracket");
    refused("[a == 1)", 1, 8, "no matching bracket");
    refused("a b", 1, 3, "an operator such as && or == is missing");
    refused("1 +* 2", 1, 4, "a value is missing before it");
    refused("a ? b", 1, 6, "':' is missing");
    refused("", 1, 1, "empty");
    refused(" // nothing\n", 1, 1, "empty");
    refused("a == if", 1, 6, "reserved word");
    refused("a == 99999999999999999999", 1, 6, "too large");
    refused("a == b'x'", 1, 6, "byte texts");
    refused("a.?b == 1", 1, 2, "optional syntax");
}

#[test]
fn unknown_functions_name_the_nearest_one() {
    refused("message.contain(\"x\")", 1, 9, "did you mean contains?");
    refused("a == 1 || lower(message) == \"x\"", 1, 11, "did you mean lowerAscii?");
    refused("len(tags) > 1", 1, 1, "did you mean size?");
    refused("name.startswith(\"a\")", 1, 6, "did you mean startsWith?");
    refused("not (a)", 1, 1, "use !(...)");
    refused("tags.exists(t)", 1, 6, "macro of a list");
    refused("message.contains()", 1, 9, "wrong number of arguments");
    refused("size()", 1, 1, "wrong number of arguments");
}

#[test]
fn types_are_checked_where_they_are_known() {
    refused("\"abc\"", 1, 1, "condition is not a boolean");
    refused("a == 1 ||\n (size(b))", 2, 3, "condition is not a boolean");
    refused("tags.map(t, t)", 1, 1, "condition is not a boolean");
    refused("1 + 1", 1, 1, "condition is not a boolean");
    refused("a && 5", 1, 3, "needs conditions");
    refused("!\"x\"", 1, 1, "needs conditions");
    refused("size(a) > \"5\"", 1, 9, "cannot order these types: int and string");
    refused("a > [1]", 1, 3, "cannot order");
    refused("1 - \"a\" == 0", 1, 3, "'-' is not defined");
    refused("a in \"abc\"", 1, 3, "use contains()");
    refused("\"abc\".exists(t, t)", 1, 7, "needs a list or map");
    refused("size(a).contains(\"x\")", 1, 9, "needs texts");
    refused("a.matches(b)", 1, 3, "must be a text between quotes");
    refused("a.matches(\"(x\")", 1, 3, "unclosed group");
    refused("a.matches(\"(\\\\w{500}){500}\")", 1, 3, "too large");
    refused("timestamp(\"yesterday\") < timestamp(a)", 1, 1, "yesterday");
    refused("int(\"x\") == 1", 1, 1, "cannot convert");
    refused("duration(5) > duration(a)", 1, 1, "does not accept");
    refused("has(a)", 1, 5, "has() needs a path with a dot");
    refused("tags.exists(1, true)", 1, 13, "plain name");
    refused("T{a: 1} == 1", 1, 2, "messages are not supported");
    refused("l.exists(a, a.exists(b, b.exists(c, c)))", 1, 27, "nested too deeply");
}

#[test]
fn every_broken_branch_is_reported() {
    let diagnostics = Expression::compile("foo(a) || b == 1 || bar(c)")
        .err()
        .unwrap_or_default();
    assert_eq!(
        diagnostics
            .iter()
            .map(|diagnostic| diagnostic.column)
            .collect::<Vec<_>>(),
        [1, 21]
    );
}

#[test]
fn limits_are_named() {
    refused(&format!("a == \"{}\"", "x".repeat(MAX_SOURCE_BYTES)), 0, 0, "too long");
    refused(
        &format!("{}a{}", "(".repeat(33), ")".repeat(33)),
        1,
        33,
        "nested too deeply",
    );
    refused(&format!("1{} == 1", "+1".repeat(600)), 1, 258, "too many operators");
    refused(&format!("a{}", "||a".repeat(1_100)), 1, 3_074, "too many && and ||");
    refused(&(["a.matches(\"x\")"; 65].join("&&")), 1, 1_027, "too many matches()");
}
