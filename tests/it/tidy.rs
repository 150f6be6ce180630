//! Taste as a gate: the forbidden edges between crates and modules, file headers, sizes, and what must not be written.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use donjon_tests::files::root;
use serde_json::Value;

/// What a crate may never depend on, directly (the first list) or through anything (the second).
const FORBIDDEN_CRATES: [(&str, &[&str], &[&str]); 6] = [
    (
        "donjon-core",
        &[
            "donjon-store",
            "donjon-runtime",
            "serde",
            "rand",
            "uuid",
            "jiff",
            "tracing",
        ],
        &["tokio", "sled", "wasmtime", "axum", "serde_derive", "rand"],
    ),
    (
        "donjon-store",
        &["donjon-runtime", "donjon-expr", "serde_json", "jiff"],
        &["tokio", "axum", "wasmtime"],
    ),
    (
        "donjon-runtime",
        &["donjon-store", "donjon-expr", "figment", "toml", "clap"],
        &["sled", "axum"],
    ),
    (
        "donjon-plugin",
        &["donjon-core", "donjon-expr", "donjon-store", "donjon-runtime"],
        &["tokio", "wasmtime", "sled"],
    ),
    (
        "donjon-expr",
        &["donjon-core", "donjon-plugin", "serde"],
        &["tokio", "wasmtime", "sled"],
    ),
    (
        "donjon-plugin-rules",
        &["donjon-core", "donjon-store", "donjon-runtime"],
        &["tokio", "wasmtime", "sled"],
    ),
];

/// Modules of the host, each with the modules that it may name. Arrows go down only; `api` and `ingest` never meet, but
/// for the router that `api` puts together.
const HOST_EDGES: [(&str, &[&str]); 21] = [
    ("main", &[]),
    (
        "lib",
        &[
            "api",
            "cli",
            "clock",
            "config",
            "disk_space",
            "http",
            "ingest",
            "intake",
            "json",
            "line",
            "near",
            "plugin_kv",
            "plugins",
            "rule_changes",
            "rules",
            "serve",
            "telemetry",
            "time",
            "worker",
        ],
    ),
    ("cli", &["config", "json", "serve"]),
    (
        "serve",
        &[
            "api",
            "clock",
            "config",
            "disk_space",
            "http",
            "intake",
            "line",
            "plugin_kv",
            "plugins",
            "rule_changes",
            "rules",
            "telemetry",
            "worker",
        ],
    ),
    ("line", &[]),
    ("rule_changes", &["rules"]),
    (
        "api",
        &[
            "http",
            "json",
            "line",
            "near",
            "plugins",
            "rule_changes",
            "rules",
            "time",
            "ingest",
        ],
    ),
    ("ingest", &["http", "intake", "json", "telemetry", "time"]),
    (
        "http",
        &[
            "clock",
            "config",
            "ingest",
            "intake",
            "line",
            "plugins",
            "rule_changes",
            "rules",
            "telemetry",
        ],
    ),
    (
        "worker",
        &[
            "disk_space",
            "ingest",
            "intake",
            "json",
            "line",
            "plugin_kv",
            "rules",
            "telemetry",
            "time",
        ],
    ),
    ("intake", &["clock", "disk_space", "telemetry"]),
    ("plugins", &["json"]),
    ("plugin_kv", &[]),
    ("rules", &["time"]),
    ("telemetry", &["config"]),
    ("clock", &[]),
    ("config", &["near"]),
    ("json", &[]),
    ("near", &[]),
    ("disk_space", &[]),
    // Only compiled for tests.
    (
        "simulation",
        &[
            "clock",
            "disk_space",
            "ingest",
            "intake",
            "json",
            "line",
            "plugin_kv",
            "rules",
            "serve",
            "telemetry",
            "time",
            "worker",
        ],
    ),
];

/// Words that are not written in sources, and what to write instead.
const BANNED: [(&str, &str); 4] = [
    ("#[ignore", "a test runs or is deleted"),
    ("FIXME", "mend it, or write an issue"),
    (concat!("XX", "X"), "say what is meant"),
    (
        "std::process::exit",
        "return an error; only the second signal may stop at once (serve.rs)",
    ),
];

const MAX_FILE_LINES: usize = 500;
const MAX_FUNCTION_LINES: usize = 70;

fn sources() -> Vec<PathBuf> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "*.rs"])
        .current_dir(root())
        .output()
        .unwrap();
    let files: Vec<PathBuf> = String::from_utf8(listed.stdout)
        .unwrap()
        .lines()
        .map(|line| root().join(line))
        .filter(|p| p.exists())
        .collect();
    assert!(files.len() > 50, "only {} sources were found", files.len());
    files
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// The platform that is built for, as the compiler names it.
fn host_triple() -> String {
    let told = Command::new("rustc").arg("-vV").output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    let line = told.lines().find_map(|line| line.strip_prefix("host: "));
    line.expect("rustc names its host").to_owned()
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        // Only this machine's crates: those of other platforms are not fetched by a build, and nothing here asks for them.
        .args([
            "metadata",
            "--format-version",
            "1",
            "--locked",
            "--offline",
            "--filter-platform",
        ])
        .arg(host_triple())
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Package name to the names of its normal dependencies.
fn dependencies(metadata: &Value) -> (BTreeMap<String, String>, BTreeMap<String, Vec<String>>) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let names: BTreeMap<String, String> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| (text(&p["id"]), text(&p["name"])))
        .collect();
    let mut edges = BTreeMap::new();
    for node in metadata["resolve"]["nodes"].as_array().unwrap() {
        let normal = |dep: &&Value| {
            dep["dep_kinds"]
                .as_array()
                .unwrap()
                .iter()
                .any(|kind| kind["kind"].is_null())
        };
        let deps = node["deps"]
            .as_array()
            .unwrap()
            .iter()
            .filter(normal)
            .map(|dep| text(&dep["pkg"]))
            .collect();
        edges.insert(text(&node["id"]), deps);
    }
    (names, edges)
}

#[test]
fn crates_keep_their_forbidden_edges() {
    let (names, edges) = dependencies(&metadata());
    for (krate, direct, transitive) in FORBIDDEN_CRATES {
        let id = names
            .iter()
            .find(|(_, name)| *name == krate)
            .unwrap_or_else(|| panic!("no crate {krate}"))
            .0;
        for dependency in &edges[id] {
            assert!(
                !direct.contains(&names[dependency].as_str()),
                "{krate} must not depend on {}",
                names[dependency]
            );
        }
        let (mut seen, mut open) = (std::collections::BTreeSet::new(), vec![id.clone()]);
        while let Some(next) = open.pop() {
            if seen.insert(next.clone()) {
                open.extend(edges[&next].iter().cloned());
            }
        }
        for dependency in &seen {
            assert!(
                !transitive.contains(&names[dependency].as_str()),
                "{krate} must not reach {}",
                names[dependency]
            );
        }
    }
    let with_wasmtime: Vec<_> = sources_named("Cargo.toml")
        .into_iter()
        .filter(|text| text.1.contains("\nwasmtime"))
        .map(|t| t.0)
        .collect();
    assert_eq!(
        with_wasmtime,
        ["Cargo.toml", "host/runtime/Cargo.toml"],
        "wasmtime appears in one crate only"
    );
}

fn sources_named(name: &str) -> Vec<(String, String)> {
    let listed = Command::new("git")
        .args([
            "ls-files",
            "--cached",
            "--others",
            "--exclude-standard",
            name,
            &format!("*/{name}"),
        ])
        .current_dir(root())
        .output()
        .unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    text.lines()
        .map(|line| (line.to_owned(), std::fs::read_to_string(root().join(line)).unwrap()))
        .collect()
}

#[test]
fn modules_of_the_host_keep_their_directions() {
    let host = root().join("host/src");
    for path in sources().iter().filter(|path| path.starts_with(&host)) {
        let inner = path.strip_prefix(&host).unwrap();
        let module = inner.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        let Some((_, allowed)) = HOST_EDGES.iter().find(|(name, _)| *name == module) else {
            assert_eq!(module, "time", "{} is of a module without declared edges", shown(path));
            continue;
        };
        let text = std::fs::read_to_string(path).unwrap();
        for used in text.split("crate::").skip(1) {
            let used: String = used.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            let fine = used.is_empty() || used == module || allowed.contains(&used.as_str());
            assert!(fine, "{} must not use crate::{used}", shown(path));
        }
        if module == "api" && inner != Path::new("api/mod.rs") {
            assert!(
                !text.contains("crate::ingest"),
                "{}: api never calls ingest",
                shown(path)
            );
        }
    }
}

#[test]
fn every_file_says_why_it_exists_and_stays_readable() {
    for path in sources() {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = shown(&path);
        assert!(
            text.starts_with("//!"),
            "{name} must open with //! and say why it exists"
        );
        let lines = text.lines().count();
        assert!(
            lines <= MAX_FILE_LINES,
            "{name} has {lines} lines, the limit is {MAX_FILE_LINES}: split it"
        );
        for (banned, instead) in BANNED {
            let allowed = name.ends_with("tidy.rs") || (banned.contains("exit") && name == "host/src/serve.rs");
            assert!(allowed || !text.contains(banned), "{name} contains {banned}: {instead}");
        }
        if let Some((function, length)) = longest_function(&text) {
            assert!(
                length <= MAX_FUNCTION_LINES,
                "{name}: {function} has {length} lines, the limit is {MAX_FUNCTION_LINES}"
            );
        }
    }
}

/// Functions by indentation: rustfmt closes one at the column where it began.
fn longest_function(text: &str) -> Option<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let starts = lines.iter().enumerate().filter(|(_, line)| {
        // The declaration of a trait's function has no body.
        let line = if line.ends_with(';') { "" } else { line.trim_start() };
        [
            "fn ",
            "pub fn ",
            "pub(crate) fn ",
            "pub(super) fn ",
            "async fn ",
            "pub async fn ",
            "const fn ",
            "pub const fn ",
        ]
        .iter()
        .any(|begin| line.starts_with(begin))
            // One of a trait may have no body.
            && !line.ends_with(';')
    });
    let length = |(at, line): (usize, &&str)| {
        let indent = line.len() - line.trim_start().len();
        let close = format!("{}}}", " ".repeat(indent));
        let end = lines[at..].iter().position(|line| *line == close)?;
        Some((line.trim().to_owned(), end + 1))
    };
    starts.filter_map(length).max_by_key(|(_, length)| *length)
}

#[test]
fn the_top_level_is_what_the_user_fixed() {
    let allowed = [
        "Cargo.toml",
        "Cargo.lock",
        "host",
        "plugin-sdk",
        "plugins",
        "wit",
        "tests",
        "README.md",
        "Makefile",
        "target",
    ];
    for entry in std::fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            name.starts_with('.') || allowed.contains(&name.as_str()),
            "{name} does not belong at the top level"
        );
    }
}

#[test]
fn every_item_of_the_contract_is_documented() {
    for (path, text) in sources_named("*.wit")
        .into_iter()
        .chain(sources_named("wit/deps/host/host.wit"))
    {
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for (at, line) in lines.iter().enumerate() {
            let item = [
                "interface ",
                "record ",
                "variant ",
                "enum ",
                "resource ",
                "world ",
                "package ",
                "type ",
            ]
            .iter()
            .any(|begin| line.starts_with(begin))
                || line.contains(": func(");
            let documented = at > 0 && lines[at - 1].starts_with("///");
            assert!(!item || documented, "{path}:{}: not documented: {line}", at + 1);
        }
    }
}
