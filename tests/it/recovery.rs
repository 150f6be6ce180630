//! Derived state that is gone: a slow start, never a loss. Days of the journal are freed only once checkpoints hold what
//! they said, and a broken sled begins with the newest checkpoint that reads.

use std::path::{Path, PathBuf};
use std::time::Duration;

use donjon_tests::client::Client;
use donjon_tests::server::wait_for;
use donjon_tests::{Server, ServerOptions, files};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);
const DAY_MS: u64 = 86_400_000;
const HOSTS: usize = 40;

fn files_in(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|item| item.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    found.sort();
    found
}

fn send(client: &mut Client, round: usize, status: &str) {
    let alert = |host| {
        json!({"name": format!("check {round}"), "status": status, "severity": "high",
               "fingerprint": format!("{host}-{round}"), "labels": {"host": format!("h{host}")}})
    };
    let alerts: Vec<Value> = (0..HOSTS).map(alert).collect();
    let answer = client.post("/alerts/event?wait=true", &Value::Array(alerts)).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn next_day(client: &mut Client) {
    let moved = client.post("/-/test/clock", &json!({"advance_ms": DAY_MS})).unwrap();
    assert_eq!(moved.status, 200, "{}", moved.text());
}

/// What a user sees: incidents, their alerts, rules.
fn seen(server: &Server) -> Vec<Value> {
    let mut client = server.client();
    let incidents = client.get("/incidents?limit=1000").unwrap().json();
    let mut seen = vec![client.get("/rules").unwrap().json()];
    for incident in incidents["items"].as_array().unwrap() {
        let id = incident["id"].as_str().unwrap();
        let alerts = client
            .get(&format!("/incidents/{id}/alerts?limit=1000"))
            .unwrap()
            .json();
        let of = |alert: &Value| json!([alert["fingerprint"], alert["status"], alert["explanation"]]);
        let alerts: Vec<Value> = alerts["items"].as_array().unwrap().iter().map(of).collect();
        seen.push(json!([incident, alerts]));
    }
    assert_eq!(seen.len(), HOSTS + 1, "one incident for each host");
    seen
}

fn wait_for_files(what: &str, dir: &Path, extension: &str, wanted: impl Fn(&[PathBuf]) -> bool) {
    wait_for(what, PATIENCE, || Ok(wanted(&files_in(dir, extension)))).unwrap();
}

/// The first day's entries are gone from the journal; returns what users saw.
fn live_for_three_days(options: &ServerOptions, journal: &Path, checkpoints: &Path) -> Vec<Value> {
    let server = Server::start_with(options.clone()).unwrap();
    let mut client = server.client();
    let rule = json!({"ruleName": "by host", "celQuery": "severity == 'high'", "timeframeInSeconds": 500_000,
                      "timeUnit": "seconds", "groupingCriteria": ["labels.host"]});
    assert_eq!(client.post("/rules", &rule).unwrap().status, 200);
    send(&mut client, 0, "firing");
    let first_day = files_in(journal, "journal");
    assert_eq!(first_day.len(), 1);
    next_day(&mut client);
    send(&mut client, 1, "firing");
    wait_for_files("the first day to be freed", journal, "journal", |found| {
        !found.contains(&first_day[0])
    });
    assert_eq!(files_in(checkpoints, "checkpoint").len(), 2, "a single one may rot");
    send(&mut client, 1, "resolved");
    next_day(&mut client);
    send(&mut client, 2, "firing");
    let seen = seen(&server);
    server.kill().unwrap();
    seen
}

fn junk(path: &Path) {
    let bytes = std::fs::metadata(path).unwrap().len();
    std::fs::write(path, vec![0xA5; usize::try_from(bytes).unwrap()]).unwrap();
}

#[test]
fn broken_state_comes_back_from_a_checkpoint_and_what_is_left_of_the_journal() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let (journal, checkpoints) = (data.join("journal"), data.join("checkpoints"));
    let options = ServerOptions {
        data_dir: Some(data.clone()),
        plugins: vec![files::plugin("rules")],
        config: "[storage]\nretention_days = 0\n".into(),
        args: vec!["--manual-clock".into()],
        ..ServerOptions::default()
    };
    let expected = live_for_three_days(&options, &journal, &checkpoints);

    junk(&data.join("state/db"));
    let server = Server::start_with(options.clone()).unwrap();
    assert_eq!(seen(&server), expected);
    assert!(server.log().contains("restored from a checkpoint"), "{}", server.log());
    assert!(data.join("state.broken-1/db").exists(), "nothing is deleted");
    server.kill().unwrap();

    // Somebody moved the state away, and the newest checkpoint rotted: the one before, and what the journal kept for it.
    std::fs::rename(data.join("state"), dir.path().join("away")).unwrap();
    junk(files_in(&checkpoints, "checkpoint").last().unwrap());
    let server = Server::start_with(options.clone()).unwrap();
    assert_eq!(seen(&server), expected);
    assert!(server.log().contains("using an older one"), "{}", server.log());
    server.kill().unwrap();

    // Nothing to begin with: the start is refused until somebody decides.
    junk(&data.join("state/db"));
    for checkpoint in files_in(&checkpoints, "checkpoint") {
        junk(&checkpoint);
    }
    for _ in 0..2 {
        let error = Server::start_with(options.clone()).err();
        let error = error
            .map(|error| format!("{error:#}"))
            .expect("the first day is nowhere");
        let clear = error.contains("exit status: 2") && error.contains("--accept-missing-history");
        assert!(clear, "{error}");
    }
    let mut accepting = options.clone();
    accepting.args.push("--accept-missing-history".into());
    Server::start_with(accepting).unwrap().kill().unwrap();
    Server::start_with(options).unwrap();
}
