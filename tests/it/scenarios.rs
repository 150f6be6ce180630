//! The behaviour scenarios of `shared/scenarios`, run by their own runner over HTTP.

use std::process::Command;

use donjon_tests::{Server, ServerOptions, files};
use serde_json::Value;

/// What this version promises: prefixes and single ids. The others belong to later versions.
const PREFIXES: [&str; 11] = [
    "cond-",
    "group-",
    "window-",
    "all-",
    "threshold-",
    "approve-",
    "resolve-",
    "refire-",
    "name-",
    "dedup-full",
    "dedup-partial",
];
const SINGLE: [&str; 8] = [
    "incident-defaults",
    "same-fingerprint-counted-once",
    "resolved-never-opens",
    "two-rules-two-incidents",
    // Beyond the promise, and true already.
    "resolved-joins-open-incident",
    "severity-max",
    "dedup-no-id-never-full",
    "manual-ack-alerts",
];

#[test]
fn promised_scenarios_pass() {
    let runner = files::shared("scenarios/run.py", "scenarios.py");
    let file = files::shared("scenarios/scenarios.json", "scenarios.json");
    let all: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let ids: Vec<String> = all["scenarios"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["id"].as_str().unwrap().to_owned())
        .collect();
    let promised: Vec<&String> = ids
        .iter()
        .filter(|id| PREFIXES.iter().any(|prefix| id.starts_with(prefix)) || SINGLE.contains(&id.as_str()))
        .collect();
    assert!(promised.len() >= 45, "only {} scenarios were found", promised.len());

    let config = Command::new("python3")
        .arg(&runner)
        .arg("--file")
        .arg(&file)
        .arg("--emit-config")
        .output()
        .unwrap();
    assert!(config.status.success());
    let server = Server::start_with(ServerOptions {
        plugins: vec![files::plugin("rules")],
        config: String::from_utf8(config.stdout).unwrap(),
        args: vec!["--manual-clock".into()],
        ..ServerOptions::default()
    })
    .unwrap();
    let mut run = Command::new("python3");
    run.arg(&runner)
        .arg("--file")
        .arg(&file)
        .args(["--base-url", &server.url, "--verbose"]);
    for id in promised {
        run.args(["--only", id]);
    }
    let output = run.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let failed: Vec<&str> = text.lines().filter(|line| line.starts_with("FAIL")).collect();
    assert!(output.status.success(), "{}\nlog:\n{}", failed.join("\n"), server.log());
}
