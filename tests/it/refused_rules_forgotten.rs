//! That rules were refused is told for as long as it is so, and no longer: not of a tenant that has none any more, nor of a
//! plugin that is gone.

use std::time::Duration;

use donjon_tests::server::wait_for;
use donjon_tests::{Server, ServerOptions, files};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(120);
fn rule(name: &str) -> Value {
    json!({"ruleName": name, "celQuery": "true", "timeframeInSeconds": 600, "timeUnit": "seconds", "createOn": "any",
           "resolveOn": "never", "groupingCriteria": []})
}

/// A rule that the plugin does not take any more, because the one that it needs is deleted.
fn refused_rule(server: &Server, alert: &str) -> String {
    let create = |name: &str| {
        let created = server.client().post("/rules", &rule(name)).unwrap();
        assert_eq!(created.status, 200, "{}\n{}", created.text(), server.log());
        format!("/rules/{}", created.json()["id"].as_str().unwrap())
    };
    let (needed, path) = (create("x"), create("needs x"));
    let alert = json!({"name": alert, "severity": "high"});
    let judged = server.client().post("/alerts/event?wait=true", &alert).unwrap();
    assert_eq!(judged.status, 200, "{}\n{}", judged.text(), server.log());
    let deleted = server.client().request("DELETE", &needed, "", &[]).unwrap();
    assert_eq!(deleted.status, 200, "{}\n{}", deleted.text(), server.log());
    assert_eq!(refused(server), "1", "{}", server.log());
    path
}

/// As `/metrics` counts them.
fn refused(server: &Server) -> String {
    let text = server.client().get("/metrics").unwrap().text();
    let found = text.lines().find_map(|line| line.strip_prefix("donjon_rules_refused "));
    found.unwrap().to_owned()
}

#[test]
fn a_refusal_ends_with_the_last_rule_and_with_the_plugin() {
    let options = ServerOptions {
        plugins: vec![files::guest("needy-rules").unwrap()],
        ..ServerOptions::default()
    };
    let server = Server::start_with(options).unwrap();
    let path = refused_rule(&server, "first");
    let deleted = server.client().request("DELETE", &path, "", &[]).unwrap();
    assert_eq!(deleted.status, 200, "{}\n{}", deleted.text(), server.log());
    assert_eq!(refused(&server), "0", "the tenant has no rule, and no alert came since");
    let plugin = server.client().get("/plugins/needy-rules").unwrap().json();
    assert!(plugin["rules_refused"].is_null(), "{plugin}");

    refused_rule(&server, "second");
    std::fs::remove_file(server.plugin_dir.join("needy-rules.wasm")).unwrap();
    wait_for("the plugin to be unloaded", PATIENCE, || {
        Ok(server.client().get("/plugins/needy-rules")?.json()["state"] == "missing")
    })
    .unwrap();
    assert_eq!(refused(&server), "0");
    let rules = server.client().get("/rules").unwrap().json();
    assert!(rules[0]["refused"].is_null(), "{rules}");
}
