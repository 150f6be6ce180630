//! A plugin speaks for its own policies and for rules that it was given, for nothing else; and it may not break an alert.

use std::time::Duration;

use donjon_tests::server::wait_for;
use donjon_tests::{Server, ServerOptions, files};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

fn drop_guest(server: &Server, name: &str, state: &str) -> Value {
    let bytes = std::fs::read(files::guest(name).unwrap()).unwrap();
    server.drop_plugin(&format!("{name}.wasm"), &bytes).unwrap();
    let mut last = Value::Null;
    wait_for(&format!("{name} to be {state}"), PATIENCE, || {
        last = server.client().get(&format!("/plugins/{name}"))?.json();
        Ok(last["state"] == state)
    })
    .unwrap_or_else(|error| panic!("{error:#}: {last}\n{}", server.log()));
    last
}

fn post(server: &Server, body: &Value) -> Value {
    let answer = server.client().post("/alerts/event?wait=true", body).unwrap();
    assert_eq!(answer.status, 200, "{}\n{}", answer.text(), server.log());
    answer.json()["events"][0].clone()
}

#[test]
fn a_plugin_speaks_for_its_own_policies_only_and_the_rest_is_counted() {
    let server = Server::start().unwrap();
    let rule =
        json!({"ruleName": "mine", "celQuery": "name == \"never\"", "timeframeInSeconds": 600, "timeUnit": "seconds"});
    let rule = server.client().post("/rules", &rule).unwrap().json();
    let id = rule["id"].as_str().unwrap();
    drop_guest(&server, "speaker", "serving");
    let event = post(&server, &json!({"name": format!("speak {id}")}));
    assert_eq!(
        event["incidents"].as_array().unwrap().len(),
        1,
        "its own policy only: {event}"
    );
    let rules = server.client().get("/rules").unwrap().json();
    assert_eq!(
        (&rules[0]["counters"]["matches"], &rules[0]["counters"]["errors"]),
        (&json!(0), &json!(0)),
        "{rules}"
    );
    let speaker = server.client().get("/plugins/speaker").unwrap().json();
    assert_eq!(
        speaker["dropped"]["names a rule or policy that is not its own"], 3,
        "{speaker}"
    );
    let metrics = server.client().get("/metrics").unwrap().text();
    let counted = |line: &&str| {
        line.starts_with("donjon_plugin_dropped_total") && line.contains("speaker") && line.ends_with(" 3")
    };
    assert!(metrics.lines().any(|line| counted(&line)), "{metrics}");
    assert!(server.log().contains("do not count"), "{}", server.log());
}

#[test]
fn policies_of_one_name_in_two_plugins_are_two() {
    let server = Server::start().unwrap();
    drop_guest(&server, "speaker", "serving");
    drop_guest(&server, "panicker", "serving");
    let event = post(&server, &json!({"name": "n"}));
    assert_eq!(event["incidents"].as_array().unwrap().len(), 2, "{event}");
    let incidents = server.client().get("/incidents").unwrap().json();
    let mut names: Vec<&str> = incidents["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|i| i["user_generated_name"].as_str().or(i["ai_generated_name"].as_str()))
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["Same name", "Speaker's own"], "{incidents}");
}

#[test]
fn a_plugin_with_a_policy_that_does_not_fit_is_refused_with_the_reason() {
    let server = Server::start().unwrap();
    let status = drop_guest(&server, "badpolicy", "rejected");
    let message = status["last_error"]["message"].as_str().unwrap_or_default();
    assert!(
        message.contains("unknown field rulename") && message.contains("ruleName"),
        "{status}"
    );
}

#[test]
fn patches_that_break_an_alert_are_refused_and_all_failures_are_told() {
    let server = Server::start().unwrap();
    drop_guest(&server, "bender", "serving");
    drop_guest(&server, "panicker", "serving");
    let event = post(&server, &json!({"name": "poison", "severity": "high", "source": ["s"]}));
    let reason = event["reason"].as_str().unwrap_or_default();
    for part in [
        "must stay an object: labels",
        "must stay a list of texts: source",
        "severity",
        "panicker",
    ] {
        assert!(reason.contains(part), "{part} in {reason}");
    }
    let alert = server.client().get("/alerts").unwrap().json()[0].clone();
    assert_eq!(
        (&alert["source"], &alert["severity"]),
        (&json!(["s"]), &json!("high")),
        "{alert}"
    );
    assert_eq!(alert["labels"], json!({"bent": true}), "{alert}");
}

#[test]
fn a_verdict_on_a_branch_that_the_rule_does_not_have_is_refused_and_told() {
    let server = Server::start_with(ServerOptions {
        plugins: vec![files::guest("picky").unwrap()],
        ..ServerOptions::default()
    })
    .unwrap();
    let rule = json!({"ruleName": "all", "celQuery": "name != \"\"", "timeframeInSeconds": 600, "timeUnit": "seconds"});
    assert_eq!(server.client().post("/rules", &rule).unwrap().status, 200);
    let both = json!([{"name": "no branch", "fingerprint": "strange"}, {"name": "fine"}]);
    let answer = server.client().post("/alerts/event?wait=true", &both).unwrap().json();
    let incidents = |at: usize| answer["events"][at]["incidents"].as_array().unwrap().len();
    assert_eq!((incidents(0), incidents(1)), (0, 1), "{answer}");
    let strange = server.client().get("/alerts/strange").unwrap().json();
    let told = strange["plugin_failure"].as_str().unwrap_or_default();
    assert!(
        told.contains("names a branch that its rule does not have") && told.ends_with(": 77"),
        "{strange}"
    );
    let picky = server.client().get("/plugins/picky").unwrap().json();
    assert_eq!(
        picky["dropped"]["names a branch that its rule does not have"], 1,
        "{picky}"
    );
}
