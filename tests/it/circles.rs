//! No circles between the modules of a crate: what cannot be read without everything else cannot be changed alone either.
//! Reads sources as text: paths that begin with `crate`, `super`, `self` or a child's name, followed through re-exports.
//! The root of a crate and modules that are only compiled for tests are left out.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use donjon_tests::files::root;

const CRATES: [&str; 8] = [
    "host/src",
    "host/core/src",
    "host/runtime/src",
    "host/store/src",
    "plugin-sdk/src",
    "plugin-sdk/expr/src",
    "plugins/rules/src",
    "tests/src",
];

/// Circles that were there before this test. The list only ever gets shorter: a module that is in no circle any more must
/// leave it, and a new circle is no reason to add a line.
const KNOWN: &[(&str, &[&str])] = &[
    ("host/src", &["api::rule_apply", "api::rules"]),
    ("host/src", &["cli::plugin_build", "cli::plugin_build::toolchain"]),
    (
        "host/src",
        &[
            "http",
            "http::auth",
            "http::body",
            "http::error",
            "http::guards",
            "http::reads",
        ],
    ),
    (
        "host/src",
        &[
            "ingest::providers",
            "ingest::providers::alertmanager",
            "ingest::providers::grafana",
        ],
    ),
    ("host/src", &["intake", "intake::size"]),
    ("host/src", &["serve", "serve::opening"]),
    (
        "host/src",
        &[
            "worker",
            "worker::commit",
            "worker::computed",
            "worker::handed",
            "worker::judging",
            "worker::patches",
            "worker::pieces",
            "worker::replay",
            "worker::required",
            "worker::slices",
            "worker::stages",
            "worker::unstorable",
        ],
    ),
    ("host/core/src", &["settle", "settle::group", "settle::members"]),
    (
        "host/runtime/src",
        &[
            "answers",
            "bindings",
            "calls",
            "capabilities",
            "convert",
            "given_rules",
            "guard",
            "host",
            "instance",
            "lanes",
            "plugin",
            "running",
            "runtime",
            "session",
            "spare",
            "wasi",
            "wasi::clocks",
            "wasi::environment",
            "wasi::random",
            "wasi::state",
            "wasi::streams",
        ],
    ),
    (
        "host/store/src",
        &["checkpoint", "checkpoint::file", "state::capturing"],
    ),
    ("host/store/src", &["journal::damage", "journal::scan"]),
    ("host/store/src", &["simulation", "simulation::files"]),
    (
        "host/store/src",
        &["state::dead_letters", "state::plugin_data", "state::write"],
    ),
    ("host/store/src", &["state::lists", "state::reader"]),
    ("plugin-sdk/src", &["testing", "testing::kv"]),
];

/// Where a module is, below the root of its crate.
type Place = Vec<String>;

/// The tokens of a source, without comments, texts and single characters: words, `::`, and everything else one by one.
fn tokens(source: &str) -> Vec<String> {
    let chars: Vec<char> = source.chars().collect();
    let at = |i: usize| chars.get(i).copied().unwrap_or('\0');
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let (mut found, mut i) = (Vec::new(), 0);
    while i < chars.len() {
        match at(i) {
            '/' if at(i + 1) == '/' => i += chars[i..].iter().take_while(|c| **c != '\n').count(),
            '"' => {
                i += 1;
                while i < chars.len() && at(i) != '"' {
                    i += if at(i) == '\\' { 2 } else { 1 };
                }
                i += 1;
            }
            'r' if at(i + 1) == '"' || (at(i + 1) == '#' && (at(i + 2) == '"' || at(i + 2) == '#')) => {
                let hashes = chars[i + 1..].iter().take_while(|c| **c == '#').count();
                let end: String = std::iter::once('"').chain(std::iter::repeat_n('#', hashes)).collect();
                let rest: String = chars[i + 2 + hashes..].iter().collect();
                let length = rest.split(&end).next().unwrap_or_default().chars().count();
                i += 2 + hashes + length + end.len();
            }
            '\'' if at(i + 1) == '\\' => i += 3 + chars[i + 3..].iter().take_while(|c| **c != '\'').count() + 1,
            '\'' if at(i + 2) == '\'' => i += 3,
            ':' if at(i + 1) == ':' => {
                found.push("::".to_owned());
                i += 2;
            }
            c if is_word(c) => {
                let word: String = chars[i..].iter().take_while(|c| is_word(**c)).collect();
                i += word.chars().count();
                found.push(word);
            }
            c => {
                if !c.is_whitespace() {
                    found.push(c.to_string());
                }
                i += 1;
            }
        }
    }
    found
}

/// Splits off what is only compiled for tests: children by name, and a module of tests at the end.
fn without_tests(mut tokens: Vec<String>) -> (Vec<String>, Vec<String>) {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut children = Vec::new();
    let marks: Vec<usize> = (0..tokens.len())
        .filter(|at| tokens[*at..].starts_with(&MARK.map(str::to_owned)))
        .collect();
    for mark in marks {
        let rest = tokens.iter().enumerate().skip(mark + MARK.len());
        let mut is_attribute = false;
        let mut item = rest.skip_while(|(_, token)| {
            is_attribute |= *token == "#";
            let skipped = is_attribute || matches!(token.as_str(), "pub" | "(" | ")" | "crate" | "super");
            is_attribute &= *token != "]";
            skipped
        });
        let (Some((_, word)), Some((_, name)), Some((at, after))) = (item.next(), item.next(), item.next()) else {
            continue;
        };
        match (word.as_str(), after.as_str()) {
            ("mod", ";") => children.push(name.clone()),
            ("mod", "{") => {
                tokens.truncate(at);
                break;
            }
            _ => {}
        }
    }
    (tokens, children)
}

/// The paths of a `use`, each with the name it is known by, from the token after it; answers where it ends.
fn used(tokens: &[String], mut at: usize, before: &[String], found: &mut Vec<(Place, String)>) -> usize {
    let mut path = before.to_vec();
    let mut name = None;
    while let Some(token) = tokens.get(at) {
        match token.as_str() {
            "{" => {
                loop {
                    at = used(tokens, at + 1, &path, found);
                    if tokens.get(at).is_none_or(|token| token != ",") {
                        break;
                    }
                }
                path.clear();
            }
            "," | ";" | "}" => break,
            "as" => name = tokens.get(at + 1).cloned(),
            "::" | "self" if path.len() > before.len() || !before.is_empty() => {}
            "::" => {}
            word if name.is_none() => path.push(word.to_owned()),
            _ => {}
        }
        at += 1;
    }
    if path.len() > before.len() || tokens.get(at.wrapping_sub(1)).is_some_and(|token| token == "self") {
        let name = name.or_else(|| path.last().cloned()).unwrap_or_default();
        found.push((path, name));
    }
    at
}

/// What a module says of others.
#[derive(Default)]
struct Said {
    uses: Vec<Place>,
    /// By the name under which others find it here.
    handed_on: BTreeMap<String, Place>,
}

fn said(tokens: &[String]) -> Said {
    let (mut said, mut at) = (Said::default(), 0);
    while at < tokens.len() {
        let before = at.checked_sub(1).map_or("", |before| tokens[before].as_str());
        if tokens[at] == "use" {
            let mut found = Vec::new();
            at = used(tokens, at + 1, &[], &mut found);
            for (path, name) in found {
                match before {
                    "pub" | ")" => drop(said.handed_on.insert(name, path)),
                    _ => said.uses.push(path),
                }
            }
        } else if before != "::" && tokens.get(at + 1).is_some_and(|next| next == "::") {
            let mut path = vec![tokens[at].clone()];
            while tokens.get(at + 1).is_some_and(|next| next == "::") {
                path.extend(tokens.get(at + 2).cloned());
                at += 2;
            }
            said.uses.push(path);
        }
        at += 1;
    }
    said
}

/// The module that a path leads to, seen from another one; none outside of the crate.
fn resolve(all: &BTreeMap<Place, Said>, from: &Place, path: &[String], depth: usize) -> Option<Place> {
    let whole: Place = match path.first()?.as_str() {
        "crate" => path[1..].to_vec(),
        "self" => [from.as_slice(), &path[1..]].concat(),
        "super" => {
            let up = path.iter().take_while(|part| *part == "super").count();
            [from.get(..from.len().checked_sub(up)?)?, &path[up..]].concat()
        }
        child if all.contains_key(&[from.as_slice(), &[child.to_owned()]].concat()) => [from.as_slice(), path].concat(),
        _ => return None,
    };
    let length = (0..=whole.len())
        .rev()
        .find(|length| all.contains_key(&whole[..*length]))?;
    let place: Place = whole[..length].to_vec();
    let handed_on = whole.get(length).and_then(|name| all.get(&place)?.handed_on.get(name));
    let further = handed_on.filter(|_| depth < 8).and_then(|to| {
        let to = [to.as_slice(), &whole[length + 1..]].concat();
        resolve(all, &place, &to, depth + 1)
    });
    Some(further.unwrap_or(place))
}

/// Modules that reach each other, from the sources of a crate.
fn circles(sources: &BTreeMap<Place, String>) -> Vec<BTreeSet<String>> {
    let (mut all, mut of_tests): (BTreeMap<Place, Said>, Vec<Place>) = (BTreeMap::new(), Vec::new());
    for (place, source) in sources {
        let (tokens, children) = without_tests(tokens(source));
        of_tests.extend(children.into_iter().map(|child| [place.as_slice(), &[child]].concat()));
        all.insert(place.clone(), said(&tokens));
    }
    all.retain(|place, _| !of_tests.iter().any(|of| place.starts_with(of)));
    let edges = |(place, said): (&Place, &Said)| {
        let to = said.uses.iter().filter_map(|path| resolve(&all, place, path, 0));
        (
            place.clone(),
            to.filter(|to| to != place && !to.is_empty()).collect::<BTreeSet<_>>(),
        )
    };
    let edges: BTreeMap<Place, BTreeSet<Place>> = all.iter().map(edges).collect();
    let reached = |from: &Place| {
        let (mut seen, mut open) = (BTreeSet::new(), vec![from]);
        while let Some(next) = open.pop() {
            open.extend(edges[next].iter().filter(|to| seen.insert((*to).clone())));
        }
        seen
    };
    let reach: BTreeMap<&Place, BTreeSet<Place>> = edges.keys().map(|place| (place, reached(place))).collect();
    let circle = |place: &&Place| -> BTreeSet<String> {
        let back = reach[place].iter().filter(|to| reach[to].contains(*place));
        back.map(|to| to.join("::")).collect()
    };
    let found: BTreeSet<BTreeSet<String>> = edges.keys().map(|place| circle(&place)).collect();
    found.into_iter().filter(|circle| circle.len() > 1).collect()
}

fn sources_of(dir: &Path, below: &Path, sources: &mut BTreeMap<Place, String>) {
    for entry in std::fs::read_dir(dir.join(below)).unwrap() {
        let path = below.join(entry.unwrap().file_name());
        let whole = dir.join(&path);
        if whole.is_dir() {
            sources_of(dir, &path, sources);
            continue;
        }
        let name = path.to_str().unwrap_or_default();
        // A binary of a few lines beside a library is a crate of its own.
        let is_module = name.ends_with(".rs") && !name.ends_with("tests.rs") && name != "main.rs";
        if is_module {
            let mut place: Place = name.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
            place.retain(|part| part != "mod" && part != "lib");
            sources.insert(place, std::fs::read_to_string(&whole).unwrap());
        }
    }
}

#[test]
fn no_crate_has_a_circle_of_modules_that_is_not_known() {
    let mut wrong = Vec::new();
    for dir in CRATES {
        let mut sources = BTreeMap::new();
        sources_of(&root().join(dir), Path::new(""), &mut sources);
        assert!(sources.len() > 4, "{dir}");
        let found = circles(&sources);
        let known: Vec<BTreeSet<&str>> = KNOWN
            .iter()
            .filter(|(of, _)| *of == dir)
            .map(|(_, modules)| modules.iter().copied().collect())
            .collect();
        for circle in &found {
            let circle: BTreeSet<&str> = circle.iter().map(String::as_str).collect();
            if !known.iter().any(|known| circle.is_subset(known)) {
                wrong.push(format!(
                    "{dir}: these modules need each other, take one arrow away: {circle:?}"
                ));
            }
        }
        for module in known.iter().flatten() {
            if !found.iter().any(|circle| circle.contains(*module)) {
                wrong.push(format!("{dir}: in no circle any more, take it from KNOWN: {module}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn circles_are_found_through_re_exports_and_not_where_only_names_are_alike() {
    let found = |sources: &[(&str, &str)]| {
        let place = |name: &str| {
            name.split("::")
                .filter(|part| !part.is_empty())
                .map(str::to_owned)
                .collect()
        };
        let sources: BTreeMap<Place, String> = sources
            .iter()
            .map(|(name, source)| (place(name), (*source).to_owned()))
            .collect();
        circles(&sources)
            .into_iter()
            .map(|circle| circle.into_iter().collect::<Vec<_>>().join(" "))
            .collect::<Vec<_>>()
    };
    let lib = ("", "mod a; mod b; pub use b::{B as Bee, c::C};");
    assert_eq!(
        found(&[lib, ("a", "use crate::Bee;"), ("b", "fn f() { crate::a::g() }")]),
        ["a b"]
    );
    assert_eq!(
        found(&[
            lib,
            ("a", "use super::b::{self, c::C};"),
            ("b", "use super::a;"),
            ("b::c", "")
        ]),
        ["a b"]
    );
    assert_eq!(
        found(&[
            lib,
            ("a", "use crate::b::X;"),
            ("b", "pub use c::X;"),
            ("b::c", "use super::super::a::A;")
        ]),
        ["a b::c"]
    );
    assert!(found(&[lib, ("a", "use crate::b::X;"), ("b", "pub use c::X;"), ("b::c", "")]).is_empty());
    assert!(
        found(&[
            lib,
            ("a", "use crate::b::B;"),
            ("b", "// crate::a::A\nconst S: &str = \"crate::a\"; use std::a::b;")
        ])
        .is_empty()
    );
    assert!(
        found(&[
            lib,
            ("a", "use crate::b::B;"),
            ("b", "#[cfg(test)]\nmod tests { use crate::a; }")
        ])
        .is_empty()
    );
    assert!(
        found(&[
            lib,
            ("a", "use crate::b::B;"),
            ("b", "#[cfg(test)]\n#[path = \"x.rs\"]\nmod c;"),
            ("b::c", "use crate::a;")
        ])
        .is_empty()
    );
}
