//! SIGKILL at random moments under load, again and again on one data directory. The bug this guards against: an alert
//! that was acknowledged and then forgotten, or counted again when the journal is replayed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use donjon_tests::server::wait_for;
use donjon_tests::{Server, ServerOptions, files};
use rand::Rng;
use serde_json::{Value, json};

const KILLS: usize = 22;
const CONNECTIONS: usize = 4;
const BATCH: usize = 50;
const SERIES: usize = 400;
/// Between two requests of a connection, so that the histories can show everything that was sent.
const PAUSE: Duration = Duration::from_millis(5);

fn options(data_dir: &Path) -> ServerOptions {
    ServerOptions {
        data_dir: Some(data_dir.to_owned()),
        plugins: vec![files::plugin("rules")],
        ..ServerOptions::default()
    }
}

fn create_rules(server: &Server) {
    for (name, condition, resolve_on) in [
        ("all", "source == \"load\"", "never"),
        ("high", "severity == \"high\" || labels.host == \"h1\"", "all_resolved"),
    ] {
        let rule = json!({"ruleName": name, "celQuery": condition, "timeframeInSeconds": 36000, "timeUnit": "seconds",
            "groupingCriteria": ["labels.host"], "resolveOn": resolve_on});
        assert_eq!(server.client().post("/rules", &rule).unwrap().status, 200);
    }
}

/// Batch `number`: each alert of it names its batch, so that every single one can be looked for.
fn batch(number: usize) -> Value {
    let alert = |i: usize| {
        let serial = number * BATCH + i;
        let series = serial % SERIES;
        json!({"id": format!("e{serial}"), "name": "n", "fingerprint": format!("s{series}"), "source": ["load"],
            "severity": if series.is_multiple_of(3) { "high" } else { "warning" }, "message": serial.to_string(),
            "labels": {"host": format!("h{}", series % 10)}})
    };
    (0..BATCH).map(alert).collect()
}

/// Sends batches until the server goes away; answers the acknowledged ones.
fn send_until_killed(server: &Server, next: &AtomicUsize, over: &AtomicBool) -> Vec<usize> {
    let acknowledged = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                let mut client = server.client();
                while !over.load(Ordering::SeqCst) {
                    let number = next.fetch_add(1, Ordering::SeqCst);
                    match client.post("/alerts/event", &batch(number)) {
                        Ok(answer) if answer.status == 202 => acknowledged.lock().unwrap().push(number),
                        Ok(answer) => panic!("answered {}: {}", answer.status, answer.text()),
                        Err(_) => return,
                    }
                    std::thread::sleep(PAUSE);
                }
            });
        }
        let pause = rand::rng().random_range(20..700);
        std::thread::sleep(Duration::from_millis(pause));
        server.signal("KILL").unwrap();
        over.store(true, Ordering::SeqCst);
    });
    acknowledged.into_inner().unwrap()
}

/// Everything stored, by event: how often each serial is in the histories of its alert.
fn stored_events(server: &Server) -> BTreeMap<String, usize> {
    let mut client = server.client();
    let mut stored = BTreeMap::new();
    for series in 0..SERIES {
        let answer = client.get(&format!("/alerts/s{series}/history")).unwrap();
        for event in answer.json().as_array().map(Vec::as_slice).unwrap_or_default() {
            *stored.entry(event["message"].as_str().unwrap().to_owned()).or_insert(0) += 1;
        }
    }
    stored
}

/// What people see of incidents, without identifiers and times.
fn incidents(server: &Server) -> Vec<String> {
    let mut client = server.client();
    let all = client
        .get("/incidents?limit=1000&visible=any&candidate=any")
        .unwrap()
        .json();
    let mut seen = Vec::new();
    for incident in all["items"].as_array().unwrap() {
        let id = incident["id"].as_str().unwrap();
        let alerts = client
            .get(&format!("/incidents/{id}/alerts?limit=1000"))
            .unwrap()
            .json();
        let mut members: Vec<&str> = alerts["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|alert| alert["fingerprint"].as_str().unwrap())
            .collect();
        members.sort_unstable();
        seen.push(format!(
            "{} {} {} {} {} {}",
            incident["rule_name"],
            incident["rule_fingerprint"],
            incident["status"],
            incident["severity"],
            incident["alerts_count"],
            members.join(" ")
        ));
    }
    seen.sort();
    seen
}

fn wait_applied(server: &Server) {
    let mut client = server.client();
    wait_for("everything to be applied", Duration::from_secs(120), || {
        let ready = client.get("/readyz")?.json();
        Ok(ready["ready"] == true && ready["accepted"] == ready["applied"])
    })
    .unwrap();
}

#[test]
fn sigkill_at_any_moment_loses_no_acknowledged_alert() {
    let data = tempfile::tempdir().unwrap();
    let next = AtomicUsize::new(0);
    let mut acknowledged = Vec::new();
    for round in 0..KILLS {
        let server = Server::start_with(options(data.path())).unwrap();
        if round == 0 {
            create_rules(&server);
        }
        let over = AtomicBool::new(false);
        acknowledged.extend(send_until_killed(&server, &next, &over));
    }
    let server = Server::start_with(options(data.path())).unwrap();
    wait_applied(&server);
    let stored = stored_events(&server);
    let total = next.load(Ordering::SeqCst) * BATCH;
    // Histories show the newest thousand events of an alert; the test must stay below that to see all.
    assert!(
        total / SERIES < 1000,
        "too much was sent for the histories to show: {total}"
    );
    assert!(
        acknowledged.len() >= KILLS,
        "hardly anything was acknowledged: {}",
        acknowledged.len()
    );
    for number in &acknowledged {
        for serial in number * BATCH..(number + 1) * BATCH {
            let times = stored.get(&serial.to_string()).copied().unwrap_or(0);
            assert_eq!(times, 1, "acknowledged event {serial} is stored {times} times");
        }
    }
    assert!(
        stored.values().all(|times| *times == 1),
        "an event is stored more than once"
    );

    // The same input without interruption: what was in flight at a kill may or may not have been kept, so what was kept is sent.
    let calm_data = tempfile::tempdir().unwrap();
    let calm = Server::start_with(options(calm_data.path())).unwrap();
    create_rules(&calm);
    let mut client = calm.client();
    for number in 0..next.load(Ordering::SeqCst) {
        let kept: Vec<Value> = batch(number)
            .as_array()
            .unwrap()
            .iter()
            .filter(|alert| stored.contains_key(alert["message"].as_str().unwrap()))
            .cloned()
            .collect();
        if !kept.is_empty() {
            assert_eq!(client.post("/alerts/event", &Value::Array(kept)).unwrap().status, 202);
        }
    }
    wait_applied(&calm);
    assert_eq!(incidents(&server), incidents(&calm));
}
