//! The functions of the language by name, and what to say about a name that is none of them.
//!
//! Must not know: what the functions do.

use crate::tree::{Function, TextTest};

/// What a function name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Callee {
    Text(TextTest),
    Matches,
    Unary(Function),
}

const FUNCTIONS: [(&str, Callee); 14] = [
    ("contains", Callee::Text(TextTest::Contains)),
    ("startsWith", Callee::Text(TextTest::StartsWith)),
    ("endsWith", Callee::Text(TextTest::EndsWith)),
    ("matches", Callee::Matches),
    ("size", Callee::Unary(Function::Size)),
    ("lowerAscii", Callee::Unary(Function::LowerAscii)),
    ("upperAscii", Callee::Unary(Function::UpperAscii)),
    ("int", Callee::Unary(Function::Int)),
    ("uint", Callee::Unary(Function::Uint)),
    ("double", Callee::Unary(Function::Double)),
    ("string", Callee::Unary(Function::Text)),
    ("bool", Callee::Unary(Function::Bool)),
    ("timestamp", Callee::Unary(Function::Timestamp)),
    ("duration", Callee::Unary(Function::Duration)),
];

/// The macros, which the parser has expanded unless they were written wrongly.
const MACROS: [&str; 6] = ["has", "all", "exists", "exists_one", "map", "filter"];

/// Names from other languages that mean one of ours.
const RELATED: [(&str, &str); 18] = [
    ("len", "size"),
    ("length", "size"),
    ("count", "size"),
    ("lower", "lowerAscii"),
    ("tolower", "lowerAscii"),
    ("tolowercase", "lowerAscii"),
    ("upper", "upperAscii"),
    ("toupper", "upperAscii"),
    ("touppercase", "upperAscii"),
    ("regex", "matches"),
    ("like", "contains"),
    ("includes", "contains"),
    ("float", "double"),
    ("str", "string"),
    ("any", "exists"),
    ("some", "exists"),
    ("every", "all"),
    ("date", "timestamp"),
];

/// The function of a name.
pub(crate) fn find(name: &str) -> Option<Callee> {
    FUNCTIONS
        .into_iter()
        .find(|(known, _)| *known == name)
        .map(|(_, callee)| callee)
}

/// What to say about a function that does not exist.
pub(crate) fn unknown(name: &str) -> String {
    if name == "has" {
        return "has() takes one path with a dot, such as has(labels.region)".into();
    }
    if MACROS.contains(&name) {
        return format!("{name} is a macro of a list: write tags.{name}(t, t == \"a\")");
    }
    if name.eq_ignore_ascii_case("not") {
        return format!("unknown function '{name}': use !(...)");
    }
    let name: String = name.chars().take(40).collect();
    format!("unknown function '{name}': did you mean {}?", nearest(&name))
}

/// What to say about a function with the wrong number of arguments.
pub(crate) fn usage(name: &str, arguments: usize) -> String {
    let example = match find(name) {
        Some(Callee::Unary(_)) => format!("{name}(labels.x)"),
        _ => format!("{name}(message, \"disk\") or message.{name}(\"disk\")"),
    };
    format!("wrong number of arguments, write {example}: got {arguments}")
}

fn nearest(name: &str) -> &'static str {
    let lower = name.to_ascii_lowercase();
    if let Some((_, meant)) = RELATED.into_iter().find(|(related, _)| *related == lower) {
        return meant;
    }
    let names = FUNCTIONS.into_iter().map(|(known, _)| known).chain(MACROS);
    names
        .min_by_key(|known| distance(&lower, &known.to_ascii_lowercase()))
        .unwrap_or("contains")
}

/// Edits that turn one text into the other.
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (above, from) in left.bytes().enumerate() {
        let mut diagonal = above;
        let mut before = above + 1;
        let mut next = vec![before];
        for (to, old) in right.bytes().zip(row.iter().skip(1)) {
            let cost = (diagonal + usize::from(from != to)).min(before + 1).min(old + 1);
            diagonal = *old;
            before = cost;
            next.push(cost);
        }
        row = next;
    }
    row.last().copied().unwrap_or(0)
}
