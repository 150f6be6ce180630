//! That rules were refused is told for as long as it is so, and no longer: not of a tenant that has none any more, nor of a
//! plugin that is gone.

use std::time::Duration;

use donjon_tests::server::wait_for;
use donjon_tests::{Server, ServerOptions, files};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(120);
/// The guest breaks on it once it has judged an alert.
const BAD: &str = "trap when used";

fn create(server: &Server, name: &str) -> String {
    let rule = json!({"ruleName": name, "celQuery": "true", "timeframeInSeconds": 600, "timeUnit": "seconds"});
    let answer = server.client().post("/rules", &rule).unwrap();
    assert_eq!(answer.status, 200, "{}\n{}", answer.text(), server.log());
    answer.json()["id"].as_str().unwrap().to_owned()
}

fn delete(server: &Server, rule: &str) {
    let path = format!("/rules/{rule}");
    let answer = server.client().request("DELETE", &path, "", &[]).unwrap();
    assert_eq!(answer.status, 200, "{}\n{}", answer.text(), server.log());
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
        plugins: vec![files::guest("stateful-rules").unwrap()],
        ..ServerOptions::default()
    };
    let server = Server::start_with(options).unwrap();
    let good = create(&server, "good");
    let alert = json!({"name": "n", "severity": "high"});
    assert_eq!(
        server.client().post("/alerts/event?wait=true", &alert).unwrap().status,
        200
    );
    let bad = create(&server, BAD);
    delete(&server, &good);
    assert_eq!(refused(&server), "1", "{}", server.log());

    delete(&server, &bad);
    assert_eq!(refused(&server), "0", "the tenant has no rule, and no alert came since");
    let plugin = server.client().get("/plugins/stateful-rules").unwrap().json();
    assert!(plugin["rules_refused"].is_null(), "{plugin}");

    create(&server, BAD);
    assert_eq!(refused(&server), "1", "{}", server.log());
    std::fs::remove_file(server.plugin_dir.join("stateful-rules.wasm")).unwrap();
    wait_for("the plugin to be unloaded", PATIENCE, || {
        let answer = server.client().get("/plugins/stateful-rules")?;
        Ok(answer.status == 404 || answer.json()["state"] == "gone")
    })
    .unwrap();
    assert_eq!(refused(&server), "0");
    let rules = server.client().get("/rules").unwrap().json();
    assert!(rules[0]["refused"].is_null(), "{rules}");
}
