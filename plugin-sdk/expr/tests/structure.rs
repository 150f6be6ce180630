//! What an expression says about itself: branches, columns and paths.
#![allow(clippy::panic, reason = "tests")]

use donjon_expr::{Expression, path};

fn compile(source: &str) -> Expression {
    Expression::compile(source).unwrap_or_else(|diagnostics| panic!("{source}: {diagnostics:?}"))
}

#[test]
fn branches_are_the_operands_of_the_top_level_or() {
    let texts = |source: &str| {
        compile(source)
            .branches()
            .iter()
            .map(|branch| branch.text.clone())
            .collect::<Vec<_>>()
    };
    assert_eq!(texts("a == 1"), ["a == 1"]);
    assert_eq!(texts("(a == 1)||( b == 2 )"), ["a == 1", "b == 2"]);
    assert_eq!(
        texts("((a) || ((b) || c)) || (d && (e || f))"),
        ["a", "b", "c", "d && (e || f)"]
    );
    assert_eq!(texts("((a) || (b)) && (c)"), ["((a) || (b)) && (c)"]);
    assert_eq!(texts("a || b ? c : d"), ["a || b ? c : d"]);
    assert_eq!(texts("a || (b ? c : d)"), ["a", "b ? c : d"]);
    assert_eq!(texts("x == \") || (\" || y == '||'"), ["x == \") || (\"", "y == '||'"]);
    assert_eq!(texts("x || !!(a || b)"), ["x", "!!(a || b)"]);
    assert_eq!(
        texts("name == \"\u{e9}||\" || // a || comment\n l.exists(t, t || u)"),
        ["name == \"\u{e9}||\"", "l.exists(t, t || u)"]
    );
    let expression = compile("a == b || b == 1 || a == c");
    let columns: Vec<_> = expression
        .branches()
        .iter()
        .map(|branch| branch.columns.clone())
        .collect();
    assert_eq!(expression.columns(), ["a", "b", "c"]);
    assert_eq!(columns, [vec![0, 1], vec![1], vec![0, 2]]);
    assert_eq!(expression.source(), "a == b || b == 1 || a == c");
}

#[test]
fn columns_escape_dots_and_paths_split_back() {
    let expression = compile(
        "labels[\"a.b\"].c == 1 || x[\"p\\\\q\"] == 2 || labels[\"\"] == 3 || has(l[\"a.b\"].c) || labels[k] == 4",
    );
    assert_eq!(
        expression.columns(),
        ["labels.a\\.b.c", "x.p\\\\q", "labels.", "l.a\\.b.c", "labels", "k"]
    );
    assert_eq!(path::split("labels.a\\.b.c"), ["labels", "a.b", "c"]);
    assert_eq!(path::split("labels."), ["labels", ""]);
    assert_eq!(path::split(""), [""]);
}

#[test]
fn paths_split_as_those_of_the_host_do() {
    let cases = include_str!("common/path_cases.txt");
    for case in cases.lines().filter(|line| !line.starts_with('#')) {
        let Some((path, keys)) = case.split_once(" => ") else {
            panic!("not a case: {case}");
        };
        let expected: Vec<&str> = keys.split('|').skip(1).collect();
        assert_eq!(path::split(path), expected, "{path}");
    }
}

#[test]
fn splitting_undoes_joining() {
    for segments in [
        vec!["labels", "a.b", "c\\d", ""],
        vec![""],
        vec!["\\.", "."],
        vec!["a\\", "b"],
    ] {
        assert_eq!(path::split(&path::join(&segments)), segments);
    }
}

#[test]
fn an_expression_is_shared_between_threads() {
    let expression = compile("severity == \"high\" || name.matches(\"^db\")");
    let copy = expression.clone();
    let columns = std::thread::spawn(move || copy.columns().to_vec()).join();
    assert_eq!(columns.ok().as_deref(), Some(expression.columns()));
}
