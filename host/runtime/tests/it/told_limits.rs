//! The limits that the contract tells authors are those that the host keeps.

use std::path::Path;

use donjon_core::limits::{MAX_BRANCHES, MAX_GROUP_PATHS, MAX_PATH_KEYS, MAX_VALUE_DEPTH};
use donjon_runtime::Limits;

/// A file of the contract as one line of text.
fn told(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit").join(file);
    let text = std::fs::read_to_string(path).unwrap();
    let lines = text.lines().map(|line| line.trim_start_matches([' ', '/']));
    lines.collect::<Vec<_>>().join(" ")
}

/// In which file what is told of what a plugin exports.
fn of_exports(limits: &Limits) -> Vec<(&'static str, String)> {
    vec![
        (
            "plugin.wit",
            format!(
                "first {} verdicts and the first {} failures count",
                limits.verdicts_per_alert, limits.rule_failures_per_alert
            ),
        ),
        (
            "plugin.wit",
            format!(
                "at most {MAX_GROUP_PATHS} values of at most {} bytes, a verdict names at most {} branches",
                limits.group_value_bytes, limits.indexes_per_verdict
            ),
        ),
        (
            "plugin.wit",
            format!("an answer has at most {} bytes", limits.answer_bytes),
        ),
        (
            "plugin.wit",
            format!(
                "At most {} of them, with at most {MAX_BRANCHES} branches each; all settings and branches together have at \
                 most {} bytes",
                limits.policies, limits.policies_bytes
            ),
        ),
        ("plugin.wit", format!("the first {} count", limits.changes_per_alert)),
        (
            "plugin.wit",
            format!(
                "at most {} bytes and {MAX_PATH_KEYS} keys, a value at most {} bytes and {MAX_VALUE_DEPTH} levels",
                limits.path_bytes, limits.text_bytes
            ),
        ),
    ]
}

/// The same of what it is handed, and of what the host does for it.
fn of_imports(limits: &Limits) -> Vec<(&'static str, String)> {
    vec![
        (
            "deps/types/types.wit",
            format!(
                "at most {} of at most {} bytes and {MAX_PATH_KEYS} keys",
                limits.columns, limits.path_bytes
            ),
        ),
        (
            "deps/host/host.wit",
            format!(
                "key has at most {} bytes, a value {};",
                limits.kv_key_bytes, limits.kv_value_bytes
            ),
        ),
        (
            "deps/host/host.wit",
            format!("at most {} and {} bytes", limits.kv_space_keys, limits.kv_space_bytes),
        ),
        (
            "deps/host/host.wit",
            format!(
                "at most {} keys and {} bytes",
                limits.kv_writes_per_batch, limits.kv_write_bytes_per_batch
            ),
        ),
        (
            "deps/host/host.wit",
            format!(
                "at most {} entries and {} bytes",
                limits.kv_scan_entries, limits.kv_scan_bytes
            ),
        ),
        (
            "deps/host/host.wit",
            format!(
                "Lines over {} bytes are cut, those over {} a second",
                limits.log_line_bytes, limits.log_lines_per_second
            ),
        ),
    ]
}

#[test]
fn the_contract_tells_the_limits_that_the_host_keeps() {
    let limits = Limits::default();
    for (file, expected) in of_exports(&limits).into_iter().chain(of_imports(&limits)) {
        assert!(told(file).contains(&expected), "{file} does not tell: {expected}");
    }
}
