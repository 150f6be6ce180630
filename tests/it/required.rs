//! `required` means required: a plugin that is missing, deleted or fails holds the line and `/readyz` says why; what
//! passed a server without a correlator says so, and is judged again on demand.

use std::time::Duration;

use donjon_tests::server::wait_for;
use donjon_tests::{Server, ServerOptions, files};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(120);

fn server(plugins: &[&str], config: &str, held: bool) -> Server {
    let options = ServerOptions {
        plugins: plugins.iter().map(|name| files::plugin(name)).collect(),
        config: config.into(),
        begins_held: held,
        ..ServerOptions::default()
    };
    Server::start_with(options).unwrap()
}

fn rule_for_everything(server: &Server) {
    let rule = json!({"ruleName": "all", "celQuery": "true", "timeframeInSeconds": 600, "timeUnit": "seconds"});
    let answer = server.client().post("/rules", &rule).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn send(server: &Server, name: &str) {
    let answer = server
        .client()
        .post("/alerts/event", &json!({"name": name, "fingerprint": name}));
    assert_eq!(answer.unwrap().status, 202);
}

fn ready(server: &Server) -> (u16, Value) {
    let answer = server.client().get("/readyz").unwrap();
    (answer.status, answer.json())
}

fn held_because(server: &Server, part: &str) {
    wait_for(&format!("/readyz to say: {part}"), PATIENCE, || {
        let (status, body) = ready(server);
        Ok(status == 503 && body["held"].as_str().is_some_and(|why| why.contains(part)))
    })
    .unwrap_or_else(|error| panic!("{error:#}: {:?}\n{}", ready(server), server.log()));
}

/// Everything accepted is applied, and every alert is in an incident.
fn all_in_incidents(server: &Server, alerts: usize) {
    wait_for("the line to go on", PATIENCE, || {
        let (status, body) = ready(server);
        Ok(status == 200 && body["accepted"] == body["applied"])
    })
    .unwrap_or_else(|error| panic!("{error:#}: {:?}\n{}", ready(server), server.log()));
    let stored = server.client().get("/alerts").unwrap().json();
    let stored = stored.as_array().unwrap();
    assert_eq!(stored.len(), alerts);
    for alert in stored {
        assert!(alert["incident"].is_string(), "{alert}\n{}", server.log());
    }
}

#[test]
fn a_required_plugin_that_is_missing_holds_the_line_and_nothing_passes_unjudged() {
    let server = server(&[], "[plugins.rules]\npolicy = \"required\"\n", true);
    held_because(&server, "not loaded");
    rule_for_everything(&server);
    send(&server, "waits");
    server.drop_plugin("rules.wasm", b"this is no component").unwrap();
    std::thread::sleep(Duration::from_millis(1500));
    let (status, body) = ready(&server);
    assert_eq!(status, 503, "a refused file is no plugin: {body}");
    assert!(body["applied"].as_u64() < body["accepted"].as_u64(), "{body}");
    assert!(
        server
            .client()
            .get("/metrics")
            .unwrap()
            .text()
            .contains("donjon_line_held 1")
    );
    server
        .drop_plugin("rules.wasm", &std::fs::read(files::plugin("rules")).unwrap())
        .unwrap();
    all_in_incidents(&server, 1);
}

#[test]
fn deleting_the_correlator_of_rules_holds_the_line_though_nothing_is_configured() {
    let server = server(&["rules"], "", false);
    rule_for_everything(&server);
    assert_eq!(
        server.client().get("/plugins/rules").unwrap().json()["policy"],
        "required"
    );
    std::fs::remove_file(server.plugin_dir.join("rules.wasm")).unwrap();
    held_because(&server, "not loaded");
    send(&server, "while it is gone");
    server
        .drop_plugin("rules.wasm", &std::fs::read(files::plugin("rules")).unwrap())
        .unwrap();
    all_in_incidents(&server, 1);
}

#[test]
fn a_required_plugin_that_fails_on_a_single_alert_holds_the_line_until_another_takes_its_place() {
    let server = server(
        &[],
        "[plugins.picky]\npolicy = \"required\"\nconfig = { broken = true }\n",
        true,
    );
    let picky = std::fs::read(files::guest("picky").unwrap()).unwrap();
    server.drop_plugin("picky.wasm", &picky).unwrap();
    server.wait_ready().unwrap();
    rule_for_everything(&server);
    send(&server, "one at a time");
    held_because(&server, "required plugin fails: picky");
    send(&server, "another");
    // Any program of that name: here the rules plugin itself.
    server
        .drop_plugin("picky.wasm", &std::fs::read(files::plugin("rules")).unwrap())
        .unwrap();
    all_in_incidents(&server, 2);
}

#[test]
fn a_poison_alert_is_put_aside_at_once_and_judged_again_on_demand() {
    let server = server(&[], "[plugins.picky]\npolicy = \"required\"\n", true);
    let picky = std::fs::read(files::guest("picky").unwrap()).unwrap();
    server.drop_plugin("picky.wasm", &picky).unwrap();
    server.wait_ready().unwrap();
    rule_for_everything(&server);
    send(&server, "good");
    send(&server, "poison");
    send(&server, "good after it");
    wait_for("all to be applied", PATIENCE, || {
        let (_, body) = ready(&server);
        Ok(body["accepted"] == body["applied"])
    })
    .unwrap();
    let aside = server.client().get("/alerts/poison").unwrap().json();
    assert!(aside["incident"].is_null(), "{aside}");
    let told = aside["plugin_failure"].as_str().unwrap_or_default();
    assert!(told.contains("picky") && told.contains("poisonous"), "{aside}");
    let after = server.client().get("/alerts/good%20after%20it").unwrap().json();
    assert!(after["incident"].is_string(), "{after}");
    let hash = || server.client().get("/plugins/picky").unwrap().json()["hash"].clone();
    let before = hash();
    server
        .drop_plugin("picky.wasm", &std::fs::read(files::plugin("rules")).unwrap())
        .unwrap();
    wait_for("the replacement", PATIENCE, || Ok(hash() != before)).unwrap();
    let answer = server
        .client()
        .post("/alerts/rejudge", &json!({"from": 1, "to": 1000}))
        .unwrap();
    assert_eq!(answer.json()["judged"], 1, "{}", answer.text());
    let judged = server.client().get("/alerts/poison").unwrap().json();
    assert!(
        judged["incident"].is_string() && judged["plugin_failure"].is_null(),
        "{judged}"
    );
}

#[test]
fn an_alert_that_no_correlator_saw_says_so_and_rejudge_makes_good() {
    let server = server(&[], "", false);
    rule_for_everything(&server);
    let sent = server.client().post(
        "/alerts/event?wait=true",
        &json!({"name": "unseen", "fingerprint": "unseen"}),
    );
    let event = sent.unwrap().json()["events"][0].clone();
    assert!(
        event["reason"].as_str().unwrap_or_default().contains("no correlator"),
        "{event}"
    );
    let alert = server.client().get("/alerts/unseen").unwrap().json();
    assert!(
        alert["plugin_failure"]
            .as_str()
            .unwrap_or_default()
            .contains("no correlator"),
        "{alert}"
    );
    server
        .drop_plugin("rules.wasm", &std::fs::read(files::plugin("rules")).unwrap())
        .unwrap();
    wait_for("the correlator", PATIENCE, || {
        Ok(server.client().get("/plugins/rules")?.json()["state"] == "serving")
    })
    .unwrap();
    let again = |body: Value| server.client().post("/alerts/rejudge", &body).unwrap();
    assert_eq!(again(json!({"from": 9, "to": 3})).status, 422);
    assert_eq!(again(json!({"from": 1})).status, 422);
    assert_eq!(again(json!({"from": 1, "to": 1_000_000})).json()["judged"], 1);
    let alert = server.client().get("/alerts/unseen").unwrap().json();
    assert!(
        alert["incident"].is_string() && alert["plugin_failure"].is_null(),
        "{alert}"
    );
    assert_eq!(again(json!({"from": 1, "to": 1_000_000})).json()["judged"], 0);
    assert_eq!(
        again(json!({"from": 1, "to": 1_000_000, "all": true})).json()["judged"],
        1
    );
    let incidents = server.client().get("/incidents").unwrap().json();
    assert_eq!(
        (&incidents["count"], &incidents["items"][0]["alerts_count"]),
        (&json!(1), &json!(1))
    );
}
