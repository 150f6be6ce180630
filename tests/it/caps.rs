//! What a rule or a plugin can make is small enough to be stored: products of limits are bounded too, going over one is
//! told, and the server serves on, also after a restart.

use std::time::Duration;

use donjon_tests::client::Client;
use donjon_tests::server::wait_for;
use donjon_tests::{Server, ServerOptions, files};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

fn options(dir: &tempfile::TempDir, guest: Option<&str>) -> ServerOptions {
    let mut plugins = vec![files::plugin("rules")];
    plugins.extend(guest.map(|name| files::guest(name).unwrap()));
    ServerOptions {
        data_dir: Some(dir.path().join("data")),
        plugins,
        ..ServerOptions::default()
    }
}

fn post(client: &mut Client, path: &str, body: &Value) -> Value {
    let answer = client.post(path, body).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn rule(changes: &Value) -> Value {
    let mut body = json!({"ruleName": "all", "celQuery": "true", "timeframeInSeconds": 600, "timeUnit": "seconds"});
    for (key, value) in changes.as_object().unwrap() {
        body[key] = value.clone();
    }
    body
}

/// One alert through a guest, alone and after a restart; answers the last event.
fn survives(guest: &str, reason: &str, mark: &str) {
    let dir = tempfile::tempdir().unwrap();
    let options = options(&dir, Some(guest));
    let server = Server::start_with(options.clone()).unwrap();
    let mut client = server.client();
    post(&mut client, "/rules", &rule(&json!({})));
    wait_for("the guest to serve", PATIENCE, || {
        Ok(server.client().get(&format!("/plugins/{guest}"))?.json()["state"] == "serving")
    })
    .unwrap();
    let send = |client: &mut Client, name: &str| {
        let event = post(client, "/alerts/event?wait=true", &json!({"name": name}))["events"][0].clone();
        assert!(!event["incidents"].as_array().unwrap().is_empty(), "{event}");
        let told = event["reason"].as_str().unwrap_or_default().to_owned();
        assert!(told.contains(guest) && told.contains(reason), "{told}");
        assert!(told.len() <= 1024, "{} bytes of reason", told.len());
    };
    send(&mut client, "first");
    let shown = client.get("/alerts").unwrap();
    let alert = &shown.json()[0];
    assert_eq!(alert["labels"][mark], true, "what fits is kept");
    assert!(
        shown.text().len() < 256 * 1024,
        "{} bytes are shown",
        shown.text().len()
    );
    server.kill().unwrap();

    let server = Server::start_with(options).unwrap();
    wait_for("the guest to serve again", PATIENCE, || {
        Ok(server.client().get(&format!("/plugins/{guest}"))?.json()["state"] == "serving")
    })
    .unwrap();
    send(&mut server.client(), "second");
    assert_eq!(
        server.client().get("/alerts").unwrap().json().as_array().unwrap().len(),
        2
    );
}

#[test]
fn an_enricher_has_a_budget_and_what_goes_over_it_is_told() {
    survives("bloater", "take at most 65536 bytes", "bloated");
}

#[test]
fn a_path_of_dots_is_refused_and_the_host_goes_on() {
    survives("deep-path", "the path of a change is longer than the limit", "dug");
}

#[test]
fn a_rule_with_more_placeholders_than_a_name_can_hold_is_refused() {
    let server = Server::start().unwrap();
    let mut client = server.client();
    let hostile = rule(&json!({"incidentNameTemplate": "{{a}}".repeat(819)}));
    let refused = client.post("/rules", &hostile).unwrap();
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert!(
        refused.text().contains("more placeholders than the limit of 16: 819"),
        "{}",
        refused.text()
    );
    for (changes, told) in [
        (json!({"ruleName": "a\u{0}b"}), "NUL"),
        (json!({"groupingCriteria": ["labels.a\u{0}"]}), "NUL"),
        (json!({"timeframeInSeconds": i64::MAX}), "longer than the limit"),
    ] {
        let refused = client.post("/rules", &rule(&changes)).unwrap();
        assert_eq!(refused.status, 422, "{}", refused.text());
        assert!(refused.text().contains(told), "{}", refused.text());
    }
}

#[test]
fn a_name_of_the_largest_template_is_stored_and_the_line_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let options = options(&dir, None);
    let server = Server::start_with(options.clone()).unwrap();
    let mut client = server.client();
    post(
        &mut client,
        "/rules",
        &rule(&json!({"incidentNameTemplate": "{{a}}".repeat(16)})),
    );
    let alert = |n: usize| json!({"name": format!("n{n}"), "a": format!("{n:04}{}", "x".repeat(508))});
    let alerts: Vec<Value> = (0..80).map(alert).collect();
    let answer = post(&mut client, "/alerts/event?wait=true", &Value::Array(alerts));
    assert!(
        answer["events"]
            .as_array()
            .unwrap()
            .iter()
            .all(|event| event["outcome"] == "first")
    );
    server.kill().unwrap();
    let server = Server::start_with(options).unwrap();
    let incidents = server.client().get("/incidents").unwrap().json();
    let incident = &incidents["items"][0];
    assert_eq!(incident["alerts_count"], 80);
    let name = incident["user_generated_name"].as_str().unwrap_or_default();
    assert!(name.starts_with("0000xx") && name.len() <= 1024, "{name}");
}
