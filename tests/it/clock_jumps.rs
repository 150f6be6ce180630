//! A clock that jumps is not believed, and is told: one wrong second must not keep windows open for ten years.

use std::time::Duration;

use donjon_tests::client::Client;
use donjon_tests::server::wait_for;
use donjon_tests::{Server, ServerOptions, files};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(30);
const SECOND_MS: i64 = 1000;
const HOUR_MS: i64 = 3600 * SECOND_MS;
const DAY_MS: i64 = 24 * HOUR_MS;
const TEN_YEARS_MS: i64 = 3650 * DAY_MS;

fn start(data_dir: &std::path::Path, manual: bool, config: &str) -> Server {
    Server::start_with(ServerOptions {
        data_dir: Some(data_dir.to_owned()),
        plugins: vec![files::plugin("rules")],
        config: config.into(),
        args: if manual {
            vec!["--manual-clock".into()]
        } else {
            Vec::new()
        },
        ..ServerOptions::default()
    })
    .unwrap()
}

fn rule(client: &mut Client, seconds: u64) {
    let rule = json!({"ruleName": "all", "celQuery": "true", "timeframeInSeconds": seconds, "timeUnit": "seconds"});
    assert_eq!(client.post("/rules", &rule).unwrap().status, 200);
}

/// The incident that an alert came into.
fn incident(client: &mut Client, name: &str) -> String {
    let answer = client.post("/alerts/event?wait=true", &json!({"name": name})).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let found = client.get("/incidents?limit=1000").unwrap().json();
    let newest = found["items"].as_array().unwrap().iter().max_by_key(|incident| {
        incident["last_seen_time"]
            .as_str()
            .map(str::to_owned)
            .zip(incident["running_number"].as_u64())
    });
    let count = found["count"].as_u64().unwrap();
    format!("{count} {}", newest.unwrap()["id"])
}

fn clock(client: &mut Client, change: serde_json::Value) -> i64 {
    let answer = client.post("/-/test/clock", &change).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["now_ms"].as_i64().unwrap()
}

fn advance(client: &mut Client, ms: i64) -> i64 {
    clock(client, json!({"advance_ms": ms}))
}

fn jump(client: &mut Client, ms: i64) -> i64 {
    clock(client, json!({"jump_ms": ms}))
}

#[test]
fn a_clock_that_jumps_ahead_once_does_not_freeze_windows() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), true, "");
    let mut client = server.client();
    rule(&mut client, 2);
    let begin = advance(&mut client, 0);
    let first = incident(&mut client, "a");
    assert_eq!(jump(&mut client, TEN_YEARS_MS), begin, "not believed");
    assert_eq!(incident(&mut client, "b"), first, "within the window");
    wait_for("the jump to be told", PATIENCE, || {
        Ok(server.log().contains("jumped ahead") && client.get("/readyz")?.json()["clock_ahead_ms"] == TEN_YEARS_MS)
    })
    .unwrap();
    let metrics = client.get("/metrics").unwrap().text();
    assert!(
        metrics.contains(&format!("donjon_clock_ahead_ms {TEN_YEARS_MS}")),
        "{metrics}"
    );
    assert_eq!(advance(&mut client, 5 * SECOND_MS), begin + 5 * SECOND_MS);
    let second = incident(&mut client, "c");
    assert_ne!(second, first, "five seconds later the window of two is over");
    jump(&mut client, -TEN_YEARS_MS);
    assert_eq!(advance(&mut client, 10 * SECOND_MS), begin + 15 * SECOND_MS);
    assert_ne!(incident(&mut client, "d"), second);
    wait_for("the end to be told", PATIENCE, || {
        Ok(server.log().contains("agrees with"))
    })
    .unwrap();
    let log = server.log();
    assert_eq!(log.matches("is not believed").count(), 1, "{log}");
}

/// A wrong clock that nobody could know for wrong: it was so from the start.
#[test]
fn a_journal_of_the_far_future_freezes_nothing_and_retention_frees_it() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), true, "");
    let mut client = server.client();
    rule(&mut client, 1);
    advance(&mut client, TEN_YEARS_MS);
    let future = incident(&mut client, "in ten years");
    server.kill().unwrap();

    let server = start(data.path(), false, "");
    wait_for("it to be told", PATIENCE, || {
        Ok(server.log().contains("ahead of the clock of this machine"))
    })
    .unwrap();
    let mut client = server.client();
    let first = incident(&mut client, "now");
    assert_ne!(first, future);
    std::thread::sleep(Duration::from_secs(2));
    let second = incident(&mut client, "two seconds later");
    assert_ne!(second, first, "the window is one second");
    let journal = data.path().join("journal");
    let future = |dir: &std::path::Path| {
        let now = std::fs::read_dir(dir).unwrap();
        now.filter(|item| {
            let name = item.as_ref().unwrap().file_name().into_string().unwrap();
            name.ends_with(".journal") && name.as_str() > "20300000"
        })
        .count()
    };
    assert_eq!(future(&journal), 1);
    server.kill().unwrap();

    // Retention looks at days in the order of the journal: what lies before today's entries is not of the future.
    let server = start(data.path(), true, "[storage]\nretention_days = 0\n");
    let mut client = server.client();
    advance(&mut client, DAY_MS);
    incident(&mut client, "tomorrow");
    wait_for("the day of the future to be freed", PATIENCE, || {
        Ok(future(&journal) == 0)
    })
    .unwrap();
    // What was freed is not taken for damage.
    server.kill().unwrap();
    let server = start(data.path(), true, "");
    let ready = server.client().get("/readyz").unwrap().json();
    assert_eq!(ready["journal_damage"], 0, "{ready}\n{}", server.log());
}

#[test]
fn a_clock_set_back_by_two_hours_does_not_freeze_windows() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), true, "");
    let mut client = server.client();
    rule(&mut client, 2);
    let first = incident(&mut client, "a");
    jump(&mut client, -2 * HOUR_MS);
    advance(&mut client, 10 * SECOND_MS);
    let second = incident(&mut client, "b");
    assert_ne!(second, first, "ten seconds later the window of two is over");
    wait_for("it to be told", PATIENCE, || {
        Ok(server.log().contains("seconds behind"))
    })
    .unwrap();
    // After a day both agree.
    for _ in 0..24 {
        advance(&mut client, HOUR_MS);
    }
    wait_for("the end to be told", PATIENCE, || {
        Ok(server.log().contains("agrees with"))
    })
    .unwrap();
    assert_eq!(client.get("/readyz").unwrap().json()["clock_ahead_ms"], 0);
}

/// The other side of not believing: a machine that slept, or was put right by hand, is followed after an hour.
#[test]
fn a_clock_that_insists_is_believed_after_an_hour() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), true, "");
    let mut client = server.client();
    let begin = advance(&mut client, 0);
    jump(&mut client, 30 * DAY_MS);
    assert_eq!(advance(&mut client, HOUR_MS), begin + 30 * DAY_MS + HOUR_MS);
    wait_for("it to be told", PATIENCE, || Ok(server.log().contains("is believed"))).unwrap();
}
