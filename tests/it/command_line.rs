//! The commands a person types, against a running server.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use donjon_tests::{Server, ServerOptions, files};
use serde_json::{Value, json};

fn donjon(server: &Server, args: &[&str], input: &str) -> Output {
    let mut child = Command::new(files::donjon())
        .args(args)
        .env("DONJON_URL", &server.url)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn rules_alerts_and_incidents_from_the_command_line() {
    let server = Server::start().unwrap();
    let rule = |threshold: u32| {
        json!([{"ruleName": "disk", "celQuery": "message.contains(\"disk\")", "timeframeInSeconds": 60, "timeUnit": "seconds",
            "threshold": threshold}])
        .to_string()
    };
    let applied = donjon(&server, &["rule", "apply", "-"], &rule(2));
    assert!(
        applied.status.success() && text(&applied.stdout).starts_with("created "),
        "{}",
        text(&applied.stderr)
    );
    let again = donjon(&server, &["rule", "apply", "-"], &rule(1));
    assert!(text(&again.stdout).starts_with("changed "), "{}", text(&again.stderr));
    let listed = donjon(&server, &["rule", "list", "-o", "json"], "");
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    assert_eq!(
        (listed.as_array().unwrap().len(), &listed[0]["version"]),
        (1, &json!(2))
    );

    let sent = donjon(
        &server,
        &["alert", "send", "--wait", "-"],
        "{\"name\":\"a\",\"message\":\"disk is full\"}\n{\"name\":\"b\"}\n",
    );
    assert!(sent.status.success(), "{}", text(&sent.stderr));
    assert!(text(&sent.stdout).contains("first"), "{}", text(&sent.stdout));
    let list = donjon(&server, &["incident", "list"], "");
    assert!(text(&list.stdout).contains("disk"), "{}", text(&list.stdout));
    let list = donjon(&server, &["incident", "list", "-o", "json"], "");
    let list: Value = serde_json::from_slice(&list.stdout).unwrap();
    let id = list["items"][0]["id"].as_str().unwrap();
    let shown = text(&donjon(&server, &["incident", "show", id], "").stdout);
    assert!(shown.contains("message.contains(\"disk\")"), "{shown}");

    let wrong = donjon(&server, &["rule", "apply", "-"], &rule(0));
    assert_eq!(wrong.status.code(), Some(2));
    assert!(text(&wrong.stderr).contains("threshold"), "{}", text(&wrong.stderr));
    let wrong = donjon(&server, &["alert", "send", "-"], "{\"name\":\"c\"}\n{bad\n");
    assert_eq!(wrong.status.code(), Some(2));
    assert!(
        text(&wrong.stderr).contains("malformed JSON"),
        "{}",
        text(&wrong.stderr)
    );
    let unreachable = donjon(&server, &["incident", "list", "--url", "http://127.0.0.1:1"], "");
    assert_eq!(unreachable.status.code(), Some(1));
    assert!(
        text(&unreachable.stderr).contains("is the server running"),
        "{}",
        text(&unreachable.stderr)
    );
}

#[test]
fn help_and_completion_are_there_for_every_command() {
    let run = |args: &[&str]| {
        let output = Command::new(files::donjon()).args(args).output().unwrap();
        (output.status.code(), text(&output.stdout))
    };
    for command in [
        "serve",
        "check-config",
        "plugin build",
        "alert send",
        "incident list",
        "incident show",
        "rule list",
        "rule apply",
    ] {
        let mut args: Vec<&str> = command.split(' ').collect();
        args.push("--help");
        let (code, help) = run(&args);
        assert!(code == Some(0) && help.contains("Usage:"), "{command}: {help}");
    }
    assert!(run(&["completion", "bash"]).1.contains("complete"));
    assert!(run(&["version"]).1.starts_with("donjon "));
    let (code, defaults) = run(&["check-config", "--defaults"]);
    assert!(code == Some(0) && defaults.contains("[storage]"), "{defaults}");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("donjon.toml");
    std::fs::write(&file, defaults).unwrap();
    let checked = Command::new(files::donjon())
        .arg("check-config")
        .arg(&file)
        .output()
        .unwrap();
    let told = text(&checked.stderr);
    assert!(
        checked.status.success(),
        "the printed defaults are a valid file: {told}"
    );
    assert!(told.contains("all parts together take about"), "{told}");
}

#[test]
fn an_incident_of_large_alerts_is_shown_and_each_names_its_position() {
    let server = Server::start().unwrap();
    let rule = json!({"ruleName": "all", "celQuery": "true", "timeframeInSeconds": 600, "timeUnit": "seconds"});
    assert_eq!(server.client().post("/rules", &rule).unwrap().status, 200);
    for at in 0..12 {
        let alert = json!({"name": "n", "fingerprint": format!("f{at}"), "message": "x".repeat(1 << 20)});
        let answer = server.client().post("/alerts/event?wait=true", &alert).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let incidents = server.client().get("/incidents").unwrap().json();
    let id = incidents["items"][0]["id"].as_str().unwrap();
    let shown = donjon(&server, &["incident", "show", id], "");
    assert!(shown.status.success(), "{}", text(&shown.stderr));
    assert!(text(&shown.stdout).contains("f11"));

    let alerts = server.client().get("/alerts?limit=25").unwrap().json();
    let position = |at: usize| alerts[at]["journal_position"].as_u64().unwrap();
    assert!(
        position(0) > position(11) && position(11) > 1,
        "newest first, after the rule"
    );
}

#[test]
fn a_list_of_rules_that_needs_several_pages_is_printed_whole() {
    let server = Server::start_with(ServerOptions {
        plugins: vec![files::plugin("rules")],
        config: "[reads]\nmax_answer_bytes = 8192\n".into(),
        ..ServerOptions::default()
    })
    .unwrap();
    let rule = |at: usize| json!({"ruleName": format!("rule {at}"), "celQuery": format!("name == \"n{at}\""), "timeframeInSeconds": 60, "timeUnit": "seconds"});
    let rules: Vec<Value> = (0..60).map(rule).collect();
    let applied = donjon(&server, &["rule", "apply", "-"], &Value::from(rules).to_string());
    assert!(applied.status.success(), "{}", text(&applied.stderr));
    let one_page = server.client().get("/rules").unwrap().json();
    assert!(one_page.as_array().unwrap().len() < 60, "the list needs several pages");
    let listed = donjon(&server, &["rule", "list", "-o", "json"], "");
    let listed: Value = serde_json::from_slice(&listed.stdout).unwrap();
    let names: Vec<&str> = listed
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|rule| rule["name"].as_str())
        .collect();
    let expected: Vec<String> = (0..60).map(|at| format!("rule {at}")).collect();
    assert_eq!(names, expected);
}
