//! Stopping: the first SIGTERM drains, the second stops at once, and neither loses what was acknowledged.

use std::time::{Duration, Instant};

use donjon_tests::{Server, ServerOptions, files};
use serde_json::{Value, json};

#[test]
fn sigterm_applies_everything_that_was_accepted() {
    let data = tempfile::tempdir().unwrap();
    let options = ServerOptions {
        data_dir: Some(data.path().to_owned()),
        plugins: vec![files::plugin("rules")],
        ..ServerOptions::default()
    };
    let server = Server::start_with(options.clone()).unwrap();
    let alerts: Vec<Value> = (0..20_000)
        .map(|i| json!({"name": "n", "fingerprint": format!("f{i}")}))
        .collect();
    assert_eq!(
        server
            .client()
            .post("/alerts/event", &Value::Array(alerts))
            .unwrap()
            .status,
        202
    );
    let (status, log) = server.stop().unwrap();
    assert!(status.success(), "{status}: {log}");
    assert!(log.contains("everything accepted is applied"), "{log}");
    let server = Server::start_with(options).unwrap();
    assert!(
        !server.log().contains("applying journal entries"),
        "nothing is left to replay: {}",
        server.log()
    );
    assert_eq!(
        server
            .client()
            .get("/alerts?limit=10000&offset=15000")
            .unwrap()
            .json()
            .as_array()
            .unwrap()
            .len(),
        5000
    );
}

#[test]
fn a_second_signal_stops_at_once() {
    let server = Server::start().unwrap();
    // A client that keeps its request open holds the drain.
    let mut open = std::net::TcpStream::connect(server.url.trim_start_matches("http://")).unwrap();
    std::io::Write::write_all(
        &mut open,
        b"POST /alerts/event HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{",
    )
    .unwrap();
    std::thread::sleep(Duration::from_millis(300));
    server.signal("TERM").unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let begin = Instant::now();
    let (status, _) = server.stop().unwrap();
    assert_eq!(status.code(), Some(143), "{status}");
    assert!(begin.elapsed() < Duration::from_secs(10));
}

#[test]
fn derived_state_that_does_not_open_is_rebuilt_from_the_journal() {
    let data = tempfile::tempdir().unwrap();
    let options = ServerOptions {
        data_dir: Some(data.path().to_owned()),
        plugins: vec![files::plugin("rules")],
        ..ServerOptions::default()
    };
    let server = Server::start_with(options.clone()).unwrap();
    let rule = json!({"ruleName": "r", "celQuery": "true", "timeframeInSeconds": 600, "timeUnit": "seconds"});
    let created = server.client().post("/rules", &rule).unwrap().json();
    assert_eq!(
        server
            .client()
            .post("/alerts/event?wait=true", &json!({"name": "n"}))
            .unwrap()
            .status,
        200
    );
    let before = server.client().get("/incidents").unwrap().json();
    server.stop().unwrap();
    std::fs::write(data.path().join("state/db"), vec![0xa5; 100_000]).unwrap();
    let server = Server::start_with(options).unwrap();
    assert!(server.log().contains("applying journal entries"), "{}", server.log());
    assert_eq!(
        server.client().get("/incidents").unwrap().json(),
        before,
        "the same incidents, identifiers included"
    );
    assert_eq!(server.client().get("/rules").unwrap().json()[0]["id"], created["id"]);
}
