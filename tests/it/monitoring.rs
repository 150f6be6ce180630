//! A real Prometheus lets a real rule fire and resolve; the incident must follow. Once through a real Alertmanager's
//! webhook, once with Prometheus sending straight to the server.

use std::path::Path;
use std::time::Duration;

use donjon_tests::Server;
use donjon_tests::client::Client;
use donjon_tests::server::wait_for;
use donjon_tests::services::{Service, alertmanager, prometheus};
use serde_json::{Value, json};

/// Alertmanager groups and repeats; Prometheus evaluates each second.
const PATIENCE: Duration = Duration::from_secs(90);

fn rule_file(expression: &str) -> String {
    format!(
        "groups:\n- name: t\n  interval: 1s\n  rules:\n  - alert: DiskFull\n    expr: {expression}\n    labels:\n      \
         severity: critical\n      host: db-7\n    annotations:\n      summary: disk is full\n"
    )
}

fn create_rule(client: &mut Client, source: &str) {
    let rule = json!({
        "ruleName": "disks", "celQuery": format!("source == \"{source}\" && severity == \"critical\""),
        "timeframeInSeconds": 3600, "timeUnit": "seconds", "groupingCriteria": ["labels.host"], "resolveOn": "all_resolved",
    });
    let answer = client.post("/rules", &rule).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn incidents(client: &mut Client) -> Vec<Value> {
    client.get("/incidents").unwrap().json()["items"]
        .as_array()
        .cloned()
        .unwrap_or_default()
}

fn wait_for_status(server: &Server, status: &str) -> Value {
    let mut client = server.client();
    let mut found = Value::Null;
    wait_for(&format!("an incident that is {status}"), PATIENCE, || {
        let all = incidents(&mut client);
        found = all.first().cloned().unwrap_or_default();
        Ok(all.len() == 1 && found["status"] == status)
    })
    .unwrap_or_else(|error| panic!("{error:#}; incident: {found}; log:\n{}", server.log()));
    found
}

/// Changes the rule so that its alert ends, as an operator's fix would.
fn resolve(dir: &Path, prometheus: &Service) {
    std::fs::write(dir.join("rules.yml"), rule_file("vector(1) > 2")).unwrap();
    let answer = Client::new(&prometheus.url)
        .post_bytes("/-/reload", "text/plain", b"")
        .unwrap();
    assert_eq!(answer.status, 200);
}

fn fire_and_resolve(server: &Server, dir: &Path, alertmanager: &str, source: &str) {
    create_rule(&mut server.client(), source);
    let prometheus = prometheus(dir, &rule_file("vector(1)"), alertmanager).unwrap();
    let incident = wait_for_status(server, "firing");
    assert_eq!(incident["rule_fingerprint"], "db-7");
    assert_eq!(incident["alert_sources"], json!([source]));
    let id = incident["id"].as_str().unwrap().to_owned();
    let alerts = server.client().get(&format!("/incidents/{id}/alerts")).unwrap().json();
    assert_eq!(alerts["items"][0]["name"], "DiskFull");
    assert_eq!(alerts["items"][0]["explanation"]["values"]["severity"], "critical");
    resolve(dir, &prometheus);
    let resolved = wait_for_status(server, "resolved");
    assert_eq!(resolved["id"], id.as_str());
    assert!(resolved["end_time"].is_string());
}

#[test]
fn an_incident_follows_prometheus_through_alertmanager() {
    let server = Server::start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let config = format!(
        "route:\n  receiver: donjon\n  group_wait: 1s\n  group_interval: 1s\n  repeat_interval: 1m\nreceivers:\n- name: donjon\n  \
         webhook_configs:\n  - url: {}/alerts/event/alertmanager\n    send_resolved: true\n",
        server.url
    );
    let alertmanager = alertmanager(dir.path(), &config).unwrap();
    let target = alertmanager.url.trim_start_matches("http://").to_owned();
    fire_and_resolve(&server, dir.path(), &target, "alertmanager");
}

#[test]
fn an_incident_follows_prometheus_directly() {
    let server = Server::start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let target = server.url.trim_start_matches("http://").to_owned();
    fire_and_resolve(&server, dir.path(), &target, "prometheus");
}
