//! `GET /events` by journal position: whatever derived state went through, a client that names what it saw last is told
//! of everything after it.

use std::time::Duration;

use donjon_tests::{Server, ServerOptions, files};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(20);
const ALERTS: usize = 300;

/// Follows the stream until the alert `last` was told of; answers the incidents of its events, and the last position.
fn told(server: &Server, resume: &str, last: &str) -> (Vec<String>, u64) {
    let mut lines = server.client().follow("/events", resume).unwrap();
    let (mut incidents, mut position, mut seen, mut kind) = (Vec::new(), 0, false, String::new());
    lines
        .wait_for(PATIENCE, |line| {
            if let Some(event) = line.strip_prefix("event:") {
                kind = event.trim().to_owned();
            }
            if let Some(data) = line.strip_prefix("data:").map(str::trim)
                && let Ok(data) = serde_json::from_str::<Value>(data)
            {
                incidents.extend(data["incident_id"].as_str().map(str::to_owned));
                assert!(
                    kind != "incident-change" || data != json!({}),
                    "everything is still there, so nothing is to be reloaded"
                );
                let names = data["fingerprints"].as_array();
                seen |= names.is_some_and(|names| names.is_empty() || names.iter().any(|name| name == last));
            }
            if let Some(id) = line.strip_prefix("id:") {
                position = id.trim().parse().unwrap();
            }
            seen && line.starts_with("id:")
        })
        .unwrap();
    incidents.sort();
    (incidents, position)
}

/// Sends an alert each of its own incident, one request after the other; answers the incidents.
fn send(server: &Server, names: std::ops::Range<usize>) -> Vec<String> {
    let mut client = server.client();
    let incident = |n: usize| {
        let alert = json!({"name": format!("n{n}"), "fingerprint": format!("f{n}")});
        let answer = client.post("/alerts/event?wait=true", &alert).unwrap();
        let event = answer.json()["events"][0].clone();
        event["incidents"][0]
            .as_str()
            .unwrap_or_else(|| panic!("{event}"))
            .to_owned()
    };
    let mut incidents: Vec<String> = names.map(incident).collect();
    incidents.sort();
    incidents
}

#[test]
fn a_client_that_resumes_after_a_rebuild_misses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut options = ServerOptions {
        data_dir: Some(data.clone()),
        plugins: vec![files::plugin("rules")],
        config: "[ingest]\nmax_batch_entries = 1\n".into(),
        ..ServerOptions::default()
    };
    let server = Server::start_with(options.clone()).unwrap();
    let rule = json!({"ruleName": "each", "celQuery": "true", "timeframeInSeconds": 600, "timeUnit": "seconds",
                      "groupingCriteria": ["fingerprint"]});
    assert_eq!(server.client().post("/rules", &rule).unwrap().status, 200);
    let seen = send(&server, 0..ALERTS / 2);
    let (_, position) = told(&server, "Last-Event-ID: 0\r\n", &format!("f{}", ALERTS / 2 - 1));
    assert!(position > 0);
    let missed = send(&server, ALERTS / 2..ALERTS);
    server.kill().unwrap();

    // The journal is all there is, and it is worked through in other batches.
    std::fs::remove_dir_all(data.join("state")).unwrap();
    std::fs::remove_dir_all(data.join("checkpoints")).unwrap();
    options.config = "[ingest]\nmax_batch_entries = 2048\n".into();
    let server = Server::start_with(options).unwrap();
    let last = format!("f{}", ALERTS - 1);
    let resume = format!("Last-Event-ID: {position}\r\n");
    let (told_of, newest) = told(&server, &resume, &last);
    assert_eq!(
        told_of, missed,
        "exactly what came after the position, neither more nor less"
    );
    assert!(newest > position && !told_of.contains(&seen[0]));
}
