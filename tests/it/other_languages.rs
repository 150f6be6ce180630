//! Plugins in Python and JavaScript, made with the commands of README.md: they serve like any other, without a grant, and
//! an exception in one reaches the operator as a traceback.

use std::time::Duration;

use donjon_tests::languages::{Language, team};
use donjon_tests::server::wait_for;
use donjon_tests::{Server, ServerOptions, files};
use serde_json::{Value, json};

/// Compiling 18 MB of Python takes ten seconds on a quiet machine.
const PATIENCE: Duration = Duration::from_secs(180);

fn enriches_and_tells_where_it_failed(language: Language, traceback: &[&str]) {
    let component = team(language).unwrap();
    let server = Server::start_with(ServerOptions {
        plugins: vec![files::plugin("rules")],
        config: "[plugins.team]\nconfig = { teams = { db = \"storage\", \"dä😀\" = \"größe\" } }\n".into(),
        ..ServerOptions::default()
    })
    .unwrap();
    server.drop_plugin("team.wasm", &component).unwrap();
    let status = || server.client().get("/plugins/team").unwrap().json();
    let mut last = Value::Null;
    wait_for("the plugin to serve", PATIENCE, || {
        last = status();
        Ok(last["state"] == "serving")
    })
    .unwrap_or_else(|error| panic!("{error:#}: {last}\n{}", server.log()));
    let imports = last["imports"].to_string();
    assert!(
        imports.contains("wasi:cli/stderr@0.2."),
        "an operator sees them: {last}"
    );

    let post = |alert: &Value| {
        let answer = server.client().post("/alerts/event?wait=true", alert).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["events"][0].clone()
    };
    post(&json!({"name": "full", "fingerprint": "full", "service": "db", "labels": {"shard": -7}}));
    let alert = server.client().get("/alerts/full").unwrap().json();
    assert_eq!(alert["labels"]["team"], "storage--7", "{alert}\n{}", server.log());

    let event = post(&json!({"name": "lost", "service": "nowhere"}));
    let reason = event["reason"].as_str().unwrap_or_default().to_owned();
    let message = status()["last_error"]["message"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    for part in traceback {
        assert!(
            reason.contains(part),
            "{part} is not in the reason of the alert: {event}"
        );
        assert!(message.contains(part), "{part} is not in what /plugins says: {message}");
        assert!(
            server.log().contains(part),
            "{part} is not in the log:\n{}",
            server.log()
        );
    }
    post(&json!({"name": "again", "fingerprint": "again", "service": "dä😀"}));
    let alert = server.client().get("/alerts/again").unwrap().json();
    assert_eq!(alert["labels"]["team"], "größe-0", "it serves on: {alert}");
}

#[test]
fn a_python_enricher_serves_and_its_exception_reaches_the_operator_with_file_and_line() {
    enriches_and_tells_where_it_failed(
        Language::Python,
        &["team.py\", line 32, in changed", "KeyError: 'nowhere'"],
    );
}

#[test]
fn a_javascript_enricher_serves_and_its_exception_reaches_the_operator_with_file_and_line() {
    enriches_and_tells_where_it_failed(Language::JavaScript, &["no team for nowhere", "changed (/team.js:22"]);
}
