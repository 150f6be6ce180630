//! Replacing the rules component under load: nothing is lost, nothing counts twice, no request fails, and every broken
//! file is reported and ignored.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use donjon_tests::server::wait_for;
use donjon_tests::{Server, files};
use serde_json::{Value, json};

const ALERTS: usize = 200_000;
const CONNECTIONS: usize = 8;
const BATCH: usize = 100;
const SERIES: usize = 500;
const REPLACEMENTS: usize = 10;

fn body(first: usize, count: usize) -> String {
    let alert = |i: usize| {
        let (series, host) = (i % SERIES, i % SERIES % 50);
        format!(
            "{{\"id\":\"e{i}\",\"name\":\"n\",\"fingerprint\":\"s{series}\",\"source\":[\"load\"],\"message\":\"{i}\",\"labels\":{{\"host\":\"h{host}\"}}}}\n"
        )
    };
    (first..first + count).map(alert).collect()
}

fn send_all(server: &Server, sent: &AtomicUsize) -> usize {
    let batches = ALERTS / BATCH;
    let next = AtomicUsize::new(0);
    let refused = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..CONNECTIONS {
            scope.spawn(|| {
                let mut client = server.client();
                loop {
                    let batch = next.fetch_add(1, Ordering::SeqCst);
                    if batch >= batches {
                        return;
                    }
                    let body = body(batch * BATCH, BATCH);
                    let answer = client
                        .post_bytes("/alerts/event", "application/x-ndjson", body.as_bytes())
                        .unwrap();
                    if answer.status != 202 {
                        refused.fetch_add(1, Ordering::SeqCst);
                    }
                    sent.fetch_add(BATCH, Ordering::SeqCst);
                    // About two seconds of load for each replacement, on any machine.
                    std::thread::sleep(Duration::from_millis(90));
                }
            });
        }
    });
    refused.into_inner()
}

fn status(server: &Server) -> Value {
    server.client().get("/plugins/rules").unwrap().json()
}

/// Good and broken files in turn, each waited for. Answers how many broken ones were reported.
fn replace_all(server: &Server, good: &[Vec<u8>; 2], sent: &AtomicUsize) -> usize {
    let mut reported = 0;
    for round in 0..REPLACEMENTS {
        // Spread the replacements over the load.
        let due = ALERTS * round / REPLACEMENTS;
        wait_for("more load", Duration::from_secs(300), || {
            Ok(sent.load(Ordering::SeqCst) >= due)
        })
        .unwrap();
        let before = status(server);
        let whole = &good[round / 2 % 2];
        match round % 4 {
            1 => server.drop_plugin("rules.wasm", b"this is no component").unwrap(),
            3 => server.drop_plugin("rules.wasm", &whole[..whole.len() / 2]).unwrap(),
            _ => server.drop_plugin("rules.wasm", whole).unwrap(),
        }
        wait_for("the replacement to be seen", Duration::from_secs(60), || {
            let now = status(server);
            Ok(match round % 2 {
                0 => now["hash"] != before["hash"],
                _ => now["last_error"]["at"] != before["last_error"]["at"],
            })
        })
        .unwrap_or_else(|error| panic!("round {round}: {error:#}\n{}\n{}", status(server), server.log()));
        let now = status(server);
        assert_eq!(now["state"], "serving", "round {round}: {now}");
        if round % 2 == 1 {
            assert!(now["last_error"]["message"].is_string(), "round {round}: {now}");
            assert_eq!(
                now["hash"], before["hash"],
                "a broken file must leave the old one serving"
            );
            reported += 1;
        }
    }
    reported
}

#[test]
fn replacing_the_rules_component_under_load_loses_nothing() {
    let server = Server::start().unwrap();
    let rule = json!({"ruleName": "load", "celQuery": "source == \"load\"", "timeframeInSeconds": 3600, "timeUnit": "seconds",
        "groupingCriteria": ["labels.host"]});
    assert_eq!(server.client().post("/rules", &rule).unwrap().status, 200);
    let v2 = std::fs::read(files::guest("rules-v2").unwrap()).unwrap();
    let good = [v2, std::fs::read(files::plugin("rules")).unwrap()];

    let sent = AtomicUsize::new(0);
    let (refused, reported) = std::thread::scope(|scope| {
        let load = scope.spawn(|| send_all(&server, &sent));
        let reported = replace_all(&server, &good, &sent);
        (load.join().unwrap(), reported)
    });
    assert_eq!(refused, 0, "requests were refused; log:\n{}", server.log());
    assert_eq!(reported, REPLACEMENTS / 2);
    assert_counted_once(&server);
}

fn assert_counted_once(server: &Server) {
    let mut client = server.client();
    wait_for("everything to be applied", Duration::from_secs(120), || {
        let ready = client.get("/readyz")?.json();
        Ok(ready["accepted"] == ready["applied"])
    })
    .unwrap();
    let metrics = client.get("/metrics").unwrap().text();
    let counted: u64 = metrics
        .lines()
        .filter(|line| line.starts_with("donjon_worker_events_total"))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum();
    assert_eq!(counted, ALERTS as u64, "events applied:\n{metrics}");
    // Every alert was judged by some version of the component: each is a match of the rule.
    let rules = client.get("/rules").unwrap().json();
    assert_eq!(rules[0]["counters"]["matches"], ALERTS, "{rules}");
    let alerts = client.get("/alerts?limit=10000").unwrap().json();
    let alerts = alerts.as_array().unwrap();
    assert_eq!(alerts.len(), SERIES);
    for alert in alerts {
        assert_eq!(alert["firingCounter"], ALERTS / SERIES, "{alert}");
    }
    // Version 2 marks its groups, so both versions have incidents of their own.
    let all = client.get("/incidents?limit=1000").unwrap().json();
    let marked = all["items"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|i| i["rule_fingerprint"].as_str().unwrap().starts_with("v2:"));
    let marked = marked.count();
    assert_eq!((marked, all["count"].as_u64().unwrap() as usize - marked), (50, 50));
}
