//! Whatever is asked for, answers are bounded in bytes, work in steps and time, and what was left out is told.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use donjon_tests::client::{Answer, Client};
use donjon_tests::{Server, ServerOptions, files};
use serde_json::{Value, json};

const MIB: usize = 1 << 20;

fn server(config: &str) -> Server {
    Server::start_with(ServerOptions {
        plugins: vec![files::plugin("rules")],
        config: config.to_owned(),
        ..ServerOptions::default()
    })
    .unwrap()
}

fn ok(answer: Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// Alerts with a large attribute each; those of one request are one batch.
fn send_large(client: &mut Client, count: usize, bytes: usize) {
    let text = "x".repeat(bytes);
    for n in 0..count {
        let alert = json!({"name": format!("large {n}"), "fingerprint": format!("f{n}"), "big": text});
        ok(client.post("/alerts/event?wait=true", &alert).unwrap());
    }
}

/// Follows a list from page to page; the names of its items, and how many pages it took.
fn follow(client: &mut Client, path: &str, most_bytes: usize, name: &str) -> (Vec<String>, usize) {
    let (mut names, mut pages, mut offset) = (Vec::new(), 0, 0_usize);
    loop {
        let answer = client.get(&format!("{path}offset={offset}")).unwrap();
        assert!(answer.body.len() <= most_bytes, "{} bytes", answer.body.len());
        let next = answer.header("x-donjon-next-offset").map(|next| next.parse().unwrap());
        assert_eq!(answer.header("x-donjon-partial").is_some(), next.is_some());
        let body = ok(answer);
        let items = body.as_array().or_else(|| body["items"].as_array()).unwrap();
        names.extend(items.iter().map(|item| item[name].as_str().unwrap().to_owned()));
        pages += 1;
        match next {
            Some(next) => offset = next,
            None => return (names, pages),
        }
    }
}

#[test]
fn pages_of_large_documents_end_early_and_say_where_to_go_on() {
    let server = server("[reads]\nmax_answer_bytes = 4194304\ndeadline_ms = 60000\n");
    let mut client = server.client();
    ok(client
        .post(
            "/rules",
            &json!({"ruleName": "all", "celQuery": "name.startsWith(\"large\")", "timeframeInSeconds": 600, "timeUnit": "seconds"}),
        )
        .unwrap());
    send_large(&mut client, 9, MIB);
    let newest_first: Vec<String> = (0..9).rev().map(|n| format!("f{n}")).collect();
    let incident = ok(client.get("/incidents").unwrap())["items"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    for path in ["/alerts?".to_owned(), format!("/incidents/{incident}/alerts?")] {
        let (names, pages) = follow(&mut client, &path, 4 * MIB + 1024, "fingerprint");
        assert_eq!(names, newest_first, "{path}");
        assert_eq!(pages, 3, "three documents of a MiB fit below four: {path}");
    }
    let object = ok(client.get(&format!("/incidents/{incident}/alerts")).unwrap());
    assert_eq!(
        (&object["partial"], &object["next_offset"], &object["count"]),
        (&json!("bytes"), &json!(3), &json!(9))
    );
    // An item that is larger than an answer comes alone rather than never.
    send_large(&mut client, 1, 3 * MIB);
    ok(client
        .post(
            "/alerts/event?wait=true",
            &json!({"name": "large 0", "fingerprint": "f0", "big": "y".repeat(3 * MIB)}),
        )
        .unwrap());
    let (events, pages) = follow(&mut client, "/alerts/f0/history?", 4 * MIB, "name");
    assert_eq!((events.len(), pages), (3, 3));
    // Small answers are as they always were.
    let small = client.get("/alerts?limit=1&offset=3").unwrap();
    assert_eq!(
        (small.header("x-donjon-partial"), small.json().as_array().map(Vec::len)),
        (None, Some(1))
    );
    assert_eq!(client.get("/alerts?offset=100001").unwrap().status, 400);
}

#[test]
fn refused_items_are_listed_within_the_same_bounds() {
    let server = server("[reads]\nmax_answer_bytes = 4194304\n");
    let mut client = server.client();
    for _ in 0..7 {
        // One good alert beside the bad one, so that the request is answered.
        let body = json!([{"name": "good"}, ["x".repeat(MIB)]]);
        assert!(client.post("/alerts/event?wait=true", &body).unwrap().status < 300);
    }
    let (ids, pages) = follow(&mut client, "/alerts/event/error?limit=10000&", 4 * MIB + 1024, "id");
    assert_eq!((ids.len(), pages), (7, 3));
    let raw = client.get(&format!("/alerts/event/error/{}/raw", ids[0])).unwrap();
    assert!(raw.status == 200 && raw.body.len() > MIB, "{}", raw.status);
}

/// Many small incidents.
fn incidents(client: &mut Client, count: usize) {
    let rule = json!({"ruleName": "each", "celQuery": "kind == \"many\"", "timeframeInSeconds": 600,
        "timeUnit": "seconds", "groupingCriteria": ["fingerprint"]});
    ok(client.post("/rules", &rule).unwrap());
    let alerts: Vec<Value> = (0..count)
        .map(|n| json!({"name": "n", "kind": "many", "fingerprint": format!("m{n}")}))
        .collect();
    ok(client.post("/alerts/event?wait=true", &json!(alerts)).unwrap());
}

#[test]
fn a_condition_has_one_budget_for_all_incidents() {
    let server = server("[reads]\ndeadline_ms = 60000\n");
    let mut client = server.client();
    incidents(&mut client, 3_000);
    let list = |size: usize| format!("[{}]", vec!["1"; size].join(","));
    let dear = format!("alerts_count >= 0 && {0}.all(x, {0}.all(y, x != y + 1000))", list(300));
    let answer = client.get(&format!("/incidents?cel={}", encoded(&dear))).unwrap();
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert!(answer.text().contains("too expensive"), "{}", answer.text());
    // What people ask is far below it.
    let honest =
        "severity != \"low\" && user_generated_name.matches(\"^each\") && alert_sources.exists(s, s == \"keep\")";
    let found = ok(client
        .get(&format!("/incidents?limit=1&cel={}", encoded(honest)))
        .unwrap());
    assert_eq!(found["count"], 3_000);
}

#[test]
fn a_read_ends_at_its_deadline() {
    let dir = tempfile::tempdir().unwrap();
    let start = |config: &str| {
        Server::start_with(ServerOptions {
            data_dir: Some(dir.path().to_owned()),
            plugins: vec![files::plugin("rules")],
            config: config.to_owned(),
            ..ServerOptions::default()
        })
        .unwrap()
    };
    let patient = start("");
    incidents(&mut patient.client(), 3_000);
    patient.stop().unwrap();
    let server = start("[reads]\ndeadline_ms = 1\n");
    let mut client = server.client();
    let list = |size: usize| format!("[{}]", vec!["1"; size].join(","));
    let dear = format!("{0}.all(x, {0}.all(y, x != y + 1000))", list(100));
    let answer = client.get(&format!("/incidents?cel={}", encoded(&dear))).unwrap();
    assert_eq!(
        (answer.status, answer.header("retry-after").is_some()),
        (503, true),
        "{}",
        answer.text()
    );
    assert!(answer.text().contains("reads.deadline_ms"), "{}", answer.text());
}

/// The largest patterns that are accepted: each class of Unicode takes tens of KiB.
fn patterns() -> String {
    let one = "name.matches('\\\\w{4}\\\\W{2}(?i)[a-z\u{e9}]{20}')";
    [one; 3].join(" || ")
}

#[test]
fn health_is_told_while_patterns_are_compiled_and_conditions_evaluated() {
    let server = Arc::new(server("[reads]\ndeadline_ms = 60000\n"));
    incidents(&mut server.client(), 500);
    let stop = Arc::new(AtomicBool::new(false));
    let condition = patterns().replace("name", "user_generated_name");
    let readers: Vec<_> = (0..4)
        .map(|_| {
            let (server, stop, path) = (
                Arc::clone(&server),
                Arc::clone(&stop),
                format!("/incidents?cel={}", encoded(&condition)),
            );
            std::thread::spawn(move || {
                let mut client = server.client();
                let rule =
                    json!({"ruleName": "r", "celQuery": patterns(), "timeframeInSeconds": 600, "timeUnit": "seconds"});
                let mut asked = 0;
                while !stop.load(Ordering::Relaxed) {
                    let found = client.get(&path).unwrap();
                    assert_eq!(found.status, 200, "{}", found.text());
                    let valid = client.post("/rules/validate", &rule).unwrap();
                    assert_eq!(valid.status, 200, "{}", valid.text());
                    asked += 1;
                }
                asked
            })
        })
        .collect();
    // Not one of these waits behind a compilation: with that on the async threads a few hundred would take minutes.
    let mut client = server.client();
    let begin = Instant::now();
    let mut asked = 0;
    while begin.elapsed() < Duration::from_secs(3) {
        assert_eq!(client.get("/healthz").unwrap().status, 200);
        asked += 1;
    }
    stop.store(true, Ordering::Relaxed);
    let compiled: i32 = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
    assert!(compiled > 0 && asked > 0, "{compiled} compiled, {asked} asked");
    println!("{compiled} compilations, {asked} looks at /healthz in 3 s");
}

#[test]
fn patterns_beyond_their_sum_are_refused_in_words() {
    let server = server("");
    let mut client = server.client();
    let rule = |condition: &str| json!({"ruleName": "r", "celQuery": condition, "timeframeInSeconds": 600, "timeUnit": "seconds"});
    let many = ["name.matches('\\\\w\\\\W\\\\w')"; 60].join(" || ");
    let refused = client.post("/rules/validate", &rule(&many)).unwrap();
    assert_eq!(refused.status, 422, "{}", refused.text());
    assert!(refused.text().contains("too large together"), "{}", refused.text());
    assert_eq!(client.post("/rules", &rule(&many)).unwrap().status, 422);
}
