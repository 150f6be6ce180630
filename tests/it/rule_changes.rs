//! Rules and the columns they read change together or not at all, and changing them costs the line of alerts nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use donjon_tests::server::wait_for;
use donjon_tests::{Server, ServerOptions, files};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(120);

fn server_with_guest(name: &str) -> Server {
    let options = ServerOptions {
        plugins: vec![files::guest(name).unwrap()],
        ..ServerOptions::default()
    };
    Server::start_with(options).unwrap()
}

fn rule(name: &str, condition: &str) -> Value {
    json!({"ruleName": name, "celQuery": condition, "timeframeInSeconds": 600, "timeUnit": "seconds"})
}

fn create(server: &Server, name: &str, condition: &str) -> Value {
    let answer = server.client().post("/rules", &rule(name, condition)).unwrap();
    assert_eq!(answer.status, 200, "{}\n{}", answer.text(), server.log());
    answer.json()
}

fn post(server: &Server, name: &str) -> Value {
    let body = json!({"name": name, "severity": "high"});
    let answer = server.client().post("/alerts/event?wait=true", &body).unwrap();
    assert_eq!(answer.status, 200, "{}\n{}", answer.text(), server.log());
    answer.json()["events"][0].clone()
}

fn metric(server: &Server, name: &str) -> f64 {
    let text = server.client().get("/metrics").unwrap().text();
    let value = text
        .lines()
        .filter(|line| line.starts_with(name))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    value.sum()
}

#[test]
fn a_failed_configure_keeps_rules_and_columns_in_force_and_says_so() {
    let server = server_with_guest("needy-rules");
    let delete = |rule: &Value| {
        let path = format!("/rules/{}", rule["id"].as_str().unwrap());
        assert_eq!(server.client().request("DELETE", &path, "", &[]).unwrap().status, 200);
    };
    create(&server, "matches", "severity == \"high\"");
    let needed = create(&server, "x", "severity != \"high\" && name == null");
    let needs = create(&server, "needs x", "name == \"x\"");
    assert_eq!(post(&server, "before")["incidents"].as_array().unwrap().len(), 1);
    // What a person states is tried first; nobody is kept from deleting.
    delete(&needed);
    let event = post(&server, "after");
    assert_eq!(
        event["incidents"].as_array().unwrap().len(),
        1,
        "the old rules on their old columns: {event}"
    );
    let reason = event["reason"].as_str().unwrap_or_default();
    assert!(
        reason.contains("rules v3 in force, v4 refused") && reason.contains("missed a rule named x"),
        "{event}"
    );
    let rules = server.client().get("/rules").unwrap().json();
    assert!(
        rules[0]["refused"].as_str().unwrap_or_default().contains("v4 refused"),
        "{rules}"
    );
    let plugin = server.client().get("/plugins/needy-rules").unwrap().json();
    assert!(
        plugin["rules_refused"]
            .as_str()
            .unwrap_or_default()
            .contains("v4 refused"),
        "{plugin}"
    );
    assert!((metric(&server, "donjon_rules_refused ") - 1.0).abs() < 0.5);
    delete(&needs);
    let event = post(&server, "later");
    assert_eq!(
        (event["incidents"].as_array().unwrap().len(), &event["reason"]),
        (1, &Value::Null),
        "{event}"
    );
    let rules = server.client().get("/rules").unwrap().json();
    assert!(rules[0]["refused"].is_null(), "{rules}");
    assert!(metric(&server, "donjon_rules_refused ").abs() < 0.5);
}

#[test]
fn an_acknowledgement_never_recompiles_rules_and_a_reload_does_once() {
    let server = Server::start().unwrap();
    create(&server, "all", "true");
    let incident = post(&server, "a")["incidents"][0].as_str().unwrap().to_owned();
    let configures = || metric(&server, "donjon_plugin_configures_total");
    let before = configures();
    assert!(before >= 1.0);
    for round in 0..20 {
        let path = format!("/incidents/{incident}/status");
        let answer = server.client().post(&path, &json!({"status": "acknowledged"})).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(
            post(&server, &format!("b{round}"))["incidents"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
    }
    assert!((configures() - before).abs() < 0.5, "{before} became {}", configures());
    let v2 = std::fs::read(files::guest("rules-v2").unwrap()).unwrap();
    server.drop_plugin("rules.wasm", &v2).unwrap();
    wait_for("version 2", PATIENCE, || {
        Ok(server.client().get("/plugins/rules")?.json()["version"] == "2.0.0")
    })
    .unwrap();
    assert_eq!(post(&server, "c")["incidents"].as_array().unwrap().len(), 1);
    assert!(
        (configures() - before - 1.0).abs() < 0.5,
        "{before} became {}",
        configures()
    );
}

#[test]
fn a_rule_that_the_plugin_does_not_take_is_refused_with_its_reason() {
    let server = server_with_guest("picky");
    create(&server, "fine", "true");
    let refused = |name: &str, condition: &str, part: &str| {
        let answer = server.client().post("/rules", &rule(name, condition)).unwrap();
        assert!(
            answer.status == 422 && answer.text().contains(part),
            "{}: {}",
            answer.status,
            answer.text()
        );
    };
    refused("trap", "true", "a rule that I cannot stand");
    refused(
        "long",
        &format!("labels.{} == 1", "x".repeat(300)),
        "path is longer than the limit of 256 bytes",
    );
    assert_eq!(
        server.client().get("/rules").unwrap().json().as_array().unwrap().len(),
        1
    );
    let event = post(&server, "still judged");
    assert_eq!(
        (event["incidents"].as_array().unwrap().len(), &event["reason"]),
        (1, &Value::Null)
    );
}

#[test]
fn the_line_goes_on_while_new_rules_are_compiled_beside_it() {
    let server = server_with_guest("picky");
    create(&server, "all", "true");
    post(&server, "first");
    let done = AtomicBool::new(false);
    let meanwhile = std::thread::scope(|scope| {
        scope.spawn(|| {
            create(&server, "slow", "name == \"slow\"");
            done.store(true, Ordering::SeqCst);
        });
        let mut applied = 0;
        while !done.load(Ordering::SeqCst) {
            let event = post(&server, &format!("n{applied}"));
            assert_eq!(event["incidents"].as_array().unwrap().len(), 1, "{event}");
            applied += 1;
        }
        applied
    });
    assert!(meanwhile > 3, "alerts applied while the rule was compiled: {meanwhile}");
    // In force from the entry after the command on, without another look at it.
    let configures = metric(&server, "donjon_plugin_configures_total");
    assert_eq!(post(&server, "slow")["incidents"].as_array().unwrap().len(), 2);
    assert!((metric(&server, "donjon_plugin_configures_total") - configures).abs() < 0.5);
}
