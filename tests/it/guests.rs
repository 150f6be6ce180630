//! Hostile and broken components: each is reported in words, and alerts go on without it.

use std::time::Duration;

use donjon_tests::server::wait_for;
use donjon_tests::{Server, ServerOptions, files};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

fn server_with(config: &str) -> Server {
    let options = ServerOptions {
        plugins: vec![files::plugin("rules")],
        config: config.into(),
        ..ServerOptions::default()
    };
    let server = Server::start_with(options).unwrap();
    let rule = json!({"ruleName": "all", "celQuery": "true", "timeframeInSeconds": 600, "timeUnit": "seconds"});
    assert_eq!(server.client().post("/rules", &rule).unwrap().status, 200);
    server
}

fn status(server: &Server, name: &str) -> Value {
    server.client().get(&format!("/plugins/{name}")).unwrap().json()
}

fn wait_for_state(server: &Server, name: &str, state: &str) -> Value {
    let mut last = Value::Null;
    wait_for(&format!("{name} to be {state}"), PATIENCE, || {
        last = status(server, name);
        Ok(last["state"] == state)
    })
    .unwrap_or_else(|error| panic!("{error:#}: {last}\n{}", server.log()));
    last
}

fn drop_guest(server: &Server, name: &str) {
    let bytes = std::fs::read(files::guest(name).unwrap()).unwrap();
    server.drop_plugin(&format!("{name}.wasm"), &bytes).unwrap();
}

fn post(server: &Server, name: &str) -> Value {
    let answer = server
        .client()
        .post("/alerts/event?wait=true", &json!({"name": name}))
        .unwrap();
    assert_eq!(answer.status, 200, "{}\n{}", answer.text(), server.log());
    answer.json()["events"][0].clone()
}

/// The alert went through the rules component, whatever the other plugin did.
fn assert_correlated(event: &Value) {
    assert!(!event["incidents"].as_array().unwrap().is_empty(), "{event}");
}

fn message(status: &Value) -> String {
    status["last_error"]["message"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn files_that_are_no_plugins_are_refused() {
    let server = server_with("");
    let rules = std::fs::read(files::plugin("rules")).unwrap();
    for (name, bytes, text) in [
        ("text", b"#!/bin/sh\necho hello\n".to_vec(), "not"),
        ("half", rules[..rules.len() / 3].to_vec(), ""),
        ("nothing", Vec::new(), "empty"),
        ("elf", b"\x7fELF\x02\x01\x01\0".to_vec(), ""),
        ("bare", b"\0asm\x01\0\0\0".to_vec(), "component"),
    ] {
        server.drop_plugin(&format!("{name}.wasm"), &bytes).unwrap();
        let status = wait_for_state(&server, name, "rejected");
        let message = message(&status);
        assert!(
            message.len() > 10 && message.to_lowercase().contains(text),
            "{name}: {status}"
        );
    }
    assert_correlated(&post(&server, "still here"));
}

#[test]
fn a_component_that_loops_for_ever_is_stopped() {
    let server = server_with("[plugin_host]\ncall_cpu_ms = 200\ncall_timeout_ms = 1000\n");
    drop_guest(&server, "looper");
    wait_for_state(&server, "looper", "serving");
    let event = post(&server, "loop");
    assert!(
        event["reason"].as_str().unwrap_or_default().contains("looper"),
        "{event}"
    );
    assert_correlated(&event);
    let calm = post(&server, "calm");
    assert_correlated(&calm);
    assert!(status(&server, "looper")["failures"].as_u64().unwrap() > 0);
    let stored = server.client().get("/alerts").unwrap().json();
    assert!(
        stored
            .as_array()
            .unwrap()
            .iter()
            .any(|alert| alert["plugin_failure"].as_str().is_some_and(|t| t.contains("looper")))
    );
}

#[test]
fn a_component_that_loops_at_its_start_is_refused() {
    let server = server_with(
        "[plugin_host]\ncall_cpu_ms = 200\ncall_timeout_ms = 1000\n[plugins.looper.config]\nloop_in_init = true\n",
    );
    drop_guest(&server, "looper");
    let status = wait_for_state(&server, "looper", "rejected");
    assert!(message(&status).contains("init"), "{status}");
    assert_correlated(&post(&server, "still here"));
}

#[test]
fn a_component_that_eats_memory_is_named_so() {
    let server = server_with("[plugin_host]\nmemory_bytes = 33554432\n");
    drop_guest(&server, "hog");
    wait_for_state(&server, "hog", "serving");
    let event = post(&server, "anything");
    assert!(
        event["reason"].as_str().unwrap_or_default().contains("out of memory"),
        "{event}"
    );
    assert_correlated(&event);
}

#[test]
fn a_poison_alert_goes_on_alone() {
    let server = server_with("");
    drop_guest(&server, "panicker");
    wait_for_state(&server, "panicker", "serving");
    let names: Vec<Value> = (0..40)
        .map(|i| json!({"name": if i == 17 { "poison".to_owned() } else { format!("n{i}") }}))
        .collect();
    let answer = server
        .client()
        .post("/alerts/event?wait=true", &Value::Array(names))
        .unwrap()
        .json();
    for (i, event) in answer["events"].as_array().unwrap().iter().enumerate() {
        assert_eq!(event["reason"].is_string(), i == 17, "{i}: {event}");
        // The rule's incident, and that of the plugin's own policy where the plugin could judge.
        assert_eq!(
            event["incidents"].as_array().unwrap().len(),
            if i == 17 { 1 } else { 2 },
            "{i}: {event}"
        );
    }
}

#[test]
fn a_capability_that_was_not_granted_is_named() {
    let server = server_with("");
    drop_guest(&server, "denied");
    let status = wait_for_state(&server, "denied", "rejected");
    assert!(message(&status).contains("donjon:host/elasticsearch"), "{status}");
}

#[test]
fn an_enricher_changes_what_rules_see_and_keeps_its_own_data() {
    let server = server_with("[plugins.tagger]\ngrants = [\"kv\"]\n");
    let rule = json!({"ruleName": "tagged", "celQuery": "labels.enriched_by == \"tagger\"", "timeframeInSeconds": 600, "timeUnit": "seconds"});
    assert_eq!(server.client().post("/rules", &rule).unwrap().status, 200);
    assert_eq!(post(&server, "before")["incidents"].as_array().unwrap().len(), 1);
    drop_guest(&server, "tagger");
    wait_for_state(&server, "tagger", "serving");
    assert_eq!(post(&server, "after")["incidents"].as_array().unwrap().len(), 2);
    let alerts = server.client().get("/alerts").unwrap().json();
    assert_eq!(alerts[0]["labels"]["enriched_by"], "tagger", "{}", alerts[0]);
    assert_eq!(alerts[0]["enriched_fields"], json!(["labels.enriched_by"]));
    std::fs::remove_file(server.plugin_dir.join("tagger.wasm")).unwrap();
    wait_for("the plugin to be unloaded", PATIENCE, || {
        let answer = server.client().get("/plugins/tagger")?;
        Ok(answer.status == 404 || answer.json()["state"] == "gone")
    })
    .unwrap();
    assert_eq!(post(&server, "without")["incidents"].as_array().unwrap().len(), 1);
}
