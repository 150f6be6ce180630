//! Hostile components together: all of them serve beside the rules component, and nobody else's alerts notice.

use std::time::{Duration, Instant};

use donjon_tests::server::wait_for;
use donjon_tests::{Server, ServerOptions, files};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(120);

/// Guest, the names it serves under, each of which is what it does.
const GUESTS: [(&str, &[&str]); 6] = [
    (
        "villain",
        &[
            "recursion",
            "slow-start",
            "floods-verdicts",
            "long-group",
            "reads-twice",
            "unknown-rules",
            "foreign-rules",
            "forges-log-lines",
            "fills-its-store",
        ],
    ),
    ("vandal", &["deep-path", "deep-value", "bloat"]),
    ("claimant", &["claimant"]),
    ("looper", &["looper"]),
    ("hog", &["hog"]),
    ("panicker", &["panicker"]),
];

fn config(foreign: &str) -> String {
    let mut text = String::from("[plugins.rules]\npolicy = \"required\"\n");
    for name in GUESTS.iter().flat_map(|(_, names)| *names) {
        text += &format!("[plugins.{name}]\npolicy = \"optional\"\n");
        // Whoever imports an interface needs the grant, used or not.
        if GUESTS[0].1.contains(name) {
            text += "grants = [\"kv\"]\n";
        }
        text += &format!("[plugins.{name}.config]\ndeed = \"{name}\"\nforeign = \"{foreign}\"\n");
    }
    text
}

fn server_with(config: String) -> Server {
    let options = ServerOptions {
        plugins: vec![files::plugin("rules")],
        config,
        ..ServerOptions::default()
    };
    Server::start_with(options).unwrap()
}

fn rule(server: &Server, name: &str, condition: &str) -> String {
    let rule = json!({"ruleName": name, "celQuery": condition, "timeframeInSeconds": 600, "timeUnit": "seconds"});
    let answer = server.client().post("/rules", &rule).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["id"].as_str().unwrap_or_default().to_owned()
}

fn drop_guest(server: &Server, guest: &str, name: &str) {
    let bytes = std::fs::read(files::guest(guest).unwrap()).unwrap();
    server.drop_plugin(&format!("{name}.wasm"), &bytes).unwrap();
}

fn wait_until_serving(server: &Server, name: &str) {
    let mut last = Value::Null;
    wait_for(&format!("{name} to serve"), PATIENCE, || {
        last = server.client().get(&format!("/plugins/{name}"))?.json();
        Ok(last["state"] == "serving")
    })
    .unwrap_or_else(|error| panic!("{error:#}: {last}\n{}", server.log()));
}

/// The open incident of a rule, of which there is one.
fn incident_of(server: &Server, rule: &str) -> Value {
    let incidents = server.client().get("/incidents?limit=1000").unwrap().json();
    let items = incidents["items"].as_array().cloned().unwrap_or_default();
    let mut of_rule = items.iter().filter(|incident| incident["rule_id"] == rule);
    match (of_rule.next(), of_rule.next()) {
        (Some(incident), None) => incident["id"].clone(),
        (_, _) => panic!("not one incident of {rule}: {items:?}"),
    }
}

/// Sends alerts one by one, each waited for; answers their times, and those that are not in the incident.
fn send(server: &Server, incident: &Value, names: impl Iterator<Item = String>) -> (Vec<Duration>, Vec<Value>) {
    let (mut times, mut lost) = (Vec::new(), Vec::new());
    for (at, name) in names.enumerate() {
        // The same alert again would be a duplicate, which no plugin sees.
        let alert = json!({"name": name, "at": at});
        let begun = Instant::now();
        let answer = server.client().post("/alerts/event?wait=true", &alert).unwrap();
        times.push(begun.elapsed());
        let event = answer.json()["events"][0].clone();
        let is_correlated = event["incidents"].as_array().is_some_and(|ids| ids.contains(incident));
        if answer.status != 200 || !is_correlated {
            lost.push(event);
        }
    }
    (times, lost)
}

/// Percentiles, and which were slowest: for people, as nothing here depends on time.
fn print_times(when: &str, times: &[Duration]) {
    let mut slowest: Vec<(usize, &Duration)> = times.iter().enumerate().collect();
    slowest.sort_by_key(|(_, time)| std::cmp::Reverse(**time));
    let at = |of_hundred: usize| {
        slowest
            .get(times.len() * (100 - of_hundred) / 100)
            .map(|(_, time)| *time)
    };
    println!(
        "an alert waited for {when}: p50 {:?}, p99 {:?}, slowest {:?}",
        at(50),
        at(99),
        &slowest[..4]
    );
}

#[test]
fn with_every_hostile_guest_serving_no_alert_is_lost_and_each_is_correlated() {
    let server = server_with(config("panicker/same-name"));
    let all = rule(&server, "all", "true");
    let first = server
        .client()
        .post("/alerts/event?wait=true", &json!({"name": "first"}));
    assert_eq!(first.unwrap().status, 200);
    let incident = incident_of(&server, &all);
    let calm = |round: &str| (0..200).map(|at| format!("{round} {at}")).collect::<Vec<_>>();
    let (before, lost) = send(&server, &incident, calm("before").into_iter());
    assert!(lost.is_empty(), "{lost:?}");
    for (guest, names) in GUESTS {
        for name in names {
            drop_guest(&server, guest, name);
        }
    }
    for name in GUESTS.iter().flat_map(|(_, names)| *names) {
        wait_until_serving(&server, name);
    }
    // The hog needs no poison: each alert makes it break until its first second is spent, and it is left alone.
    let (first, lost) = send(&server, &incident, calm("first").into_iter());
    assert!(lost.is_empty(), "{lost:?}");
    let (beside, lost) = send(&server, &incident, calm("beside").into_iter());
    assert!(lost.is_empty(), "{lost:?}");
    let poisoned = (0..400).map(|at| match at % 20 {
        7 => "poison".to_owned(),
        13 => "loop".to_owned(),
        _ => format!("during {at}"),
    });
    let (_, lost) = send(&server, &incident, poisoned);
    assert!(
        lost.is_empty(),
        "{} of 400, such as {:?}\n{}",
        lost.len(),
        lost.first(),
        server.log()
    );
    let (after, lost) = send(&server, &incident, calm("after").into_iter());
    assert!(lost.is_empty(), "{lost:?}");
    print_times("alone", &before);
    print_times("while the hog spends its second", &first);
    print_times("beside them, not provoked yet", &beside);
    print_times("right after they were provoked", &after);
    wait_until_serving(&server, "rules");
    let log = server.log();
    assert!(
        !log.lines().any(|line| line.starts_with("2026-11-21T00:00:00Z ERROR")),
        "a guest forged a line"
    );
    let (status, log) = server.stop().unwrap();
    assert!(status.success(), "{log}");
}

#[test]
fn what_is_over_a_limit_is_refused_and_the_alert_told() {
    let server = server_with(config("x"));
    rule(&server, "all", "true");
    let told = [
        (
            "floods-verdicts",
            "villain",
            "more verdicts on the alert than the first that count: 64",
        ),
        (
            "long-group",
            "villain",
            "a value that names a group is longer than the limit",
        ),
        ("recursion", "villain", "call stack exhausted"),
        ("deep-path", "vandal", "the path of a change"),
        ("deep-value", "vandal", "the value of a change is nested deeper"),
    ];
    for (name, guest, reason) in told {
        drop_guest(&server, guest, name);
        wait_until_serving(&server, name);
        let answer = server
            .client()
            .post("/alerts/event?wait=true", &json!({"name": "poison", "for": name}))
            .unwrap();
        let event = answer.json()["events"][0].clone();
        let said = event["reason"].as_str().unwrap_or_default();
        assert!(
            said.contains(name) && said.contains(reason),
            "{name}: {event}\n{}",
            server.log()
        );
        let incidents = event["incidents"].as_array().unwrap().len();
        assert_eq!(
            incidents,
            if name == "floods-verdicts" { 65 } else { 1 },
            "{name}: {event}"
        );
        std::fs::remove_file(server.plugin_dir.join(format!("{name}.wasm"))).unwrap();
        wait_for("the plugin to be unloaded", PATIENCE, || {
            let answer = server.client().get(&format!("/plugins/{name}"))?;
            Ok(answer.status == 404 || answer.json()["state"] == "gone")
        })
        .unwrap();
    }
}

#[test]
fn large_alerts_all_reach_an_enricher_that_wants_documents() {
    let server = server_with(config("x"));
    drop_guest(&server, "vandal", "bloat");
    wait_until_serving(&server, "bloat");
    let text = "y".repeat(1 << 20);
    let count = 64;
    for part in 0..4 {
        let alerts: Vec<Value> = (0..count / 4)
            .map(|at| json!({"name": format!("large {part} {at}"), "text": text}))
            .collect();
        let answer = server
            .client()
            .post("/alerts/event?wait=true", &Value::Array(alerts))
            .unwrap();
        for event in answer.json()["events"].as_array().unwrap() {
            assert!(event["reason"].is_null(), "{event}");
        }
    }
    let one = server.client().get("/alerts?limit=1").unwrap().json();
    assert!(
        one[0]["labels"]["bytes"].as_u64().unwrap_or_default() > 1 << 20,
        "not enriched"
    );
}

#[test]
fn many_matching_rules_are_told_of_and_the_first_ones_count_however_alerts_are_batched() {
    let server = server_with(String::new());
    for at in 0..70 {
        rule(&server, &format!("rule {at}"), "true");
    }
    let alerts: Vec<Value> = (0..300).map(|at| json!({"name": format!("n{at}")})).collect();
    let together = server
        .client()
        .post("/alerts/event?wait=true", &Value::Array(alerts))
        .unwrap()
        .json();
    let alone = server
        .client()
        .post("/alerts/event?wait=true", &json!({"name": "alone"}))
        .unwrap()
        .json();
    let events = together["events"]
        .as_array()
        .unwrap()
        .iter()
        .chain(alone["events"].as_array().unwrap());
    let mut incidents: Vec<&Value> = Vec::new();
    for event in events {
        incidents.push(&event["incidents"]);
        let reason = event["reason"].as_str().unwrap_or_default();
        assert!(
            reason.contains("rules: more verdicts on the alert than the first that count: 64"),
            "{event}"
        );
    }
    assert_eq!(incidents[0].as_array().unwrap().len(), 64);
    assert!(
        incidents.iter().all(|of_event| *of_event == incidents[0]),
        "the same 64 rules for every alert"
    );
}
