//! Wrong input: each gets a clear message, a 4xx or exit code 2, and nothing is lost.

use std::process::Command;

use donjon_tests::client::{Answer, Client};
use donjon_tests::{Server, ServerOptions, files};
use serde_json::{Value, json};

fn detail(answer: &Answer) -> String {
    match &answer.json()["detail"] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The server still takes an alert and applies it.
fn assert_serves(server: &Server) {
    let answer = server
        .client()
        .post("/alerts/event?wait=true", &json!({"name": "still here"}))
        .unwrap();
    assert_eq!(answer.status, 200, "{}\n{}", answer.text(), server.log());
}

fn dead_letters(server: &Server) -> usize {
    let kept = server.client().get("/alerts/event/error").unwrap();
    kept.json().as_array().unwrap().len()
}

#[test]
fn a_webhook_sent_to_the_address_of_single_alerts_is_refused_with_the_right_one() {
    let server = Server::start().unwrap();
    let alerts =
        json!([{"status": "firing", "labels": {"alertname": "a"}}, {"status": "firing", "labels": {"alertname": "b"}}]);
    let webhook =
        json!({"version": "4", "receiver": "donjon", "groupLabels": {}, "commonLabels": {}, "alerts": alerts});
    let answer = server.client().post("/alerts/event?wait=true", &webhook).unwrap();
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert!(
        answer.text().contains("/alerts/event/alertmanager"),
        "{}",
        answer.text()
    );
    assert_eq!(dead_letters(&server), 1, "kept");
    let answer = server
        .client()
        .post("/alerts/event/alertmanager?wait=true", &webhook)
        .unwrap();
    assert_eq!(
        answer.json()["events"].as_array().map(Vec::len),
        Some(2),
        "{}",
        answer.text()
    );
    assert_serves(&server);
}

#[test]
fn malformed_lines_stay_alone() {
    let server = Server::start().unwrap();
    let body = "{\"name\":\"a\"}\n{\"name\":\n[1]\n{\"name\":\"b\",\"labels\":5}\n{\"name\":\"c\"}\n";
    let answer = server
        .client()
        .post_bytes("/alerts/event?wait=true", "application/x-ndjson", body.as_bytes())
        .unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let events = answer.json();
    let outcomes: Vec<&str> = events["events"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(outcomes, ["first", "invalid", "invalid", "invalid", "first"]);
    let kept = server.client().get("/alerts/event/error").unwrap().json();
    let reasons: Vec<&str> = kept
        .as_array()
        .unwrap()
        .iter()
        .map(|letter| letter["error_message"].as_str().unwrap())
        .collect();
    assert_eq!(reasons.len(), 3);
    assert!(reasons[0].contains("field labels: must be an object"), "{reasons:?}");
    assert!(reasons[1].contains("must be a JSON object"), "{reasons:?}");
    assert!(reasons[2].contains("malformed JSON"), "{reasons:?}");
    let id = kept[0]["id"].as_str().unwrap();
    let raw = server.client().get(&format!("/alerts/event/error/{id}/raw")).unwrap();
    assert_eq!(raw.text(), "{\"name\":\"b\",\"labels\":5}");
    let dismissed = server
        .client()
        .post("/alerts/event/error/dismiss", &json!({"ids": [id]}))
        .unwrap();
    assert_eq!(dismissed.status, 200);
    assert_eq!(dead_letters(&server), 2);
}

#[test]
fn hostile_bodies_are_refused() {
    let server = Server::start().unwrap();
    let check = |kind: &str, headers: &str, body: &[u8], status: u16, text: &str| {
        let head = format!("Content-Type: {kind}\r\n{headers}");
        let answer = server.client().request("POST", "/alerts/event", &head, body).unwrap();
        assert_eq!(answer.status, status, "{}", answer.text());
        assert!(answer.text().contains(text), "{}", answer.text());
    };
    check("application/json", "", &vec![b' '; 100_000_000], 413, "");
    check(
        "application/json",
        "",
        "[".repeat(100_000).as_bytes(),
        400,
        "malformed JSON",
    );
    check("application/json", "", b"", 400, "empty");
    check("application/json", "", b"\"text\"", 422, "must be an alert object");
    check(
        "application/json",
        "Content-Encoding: br\r\n",
        b"x",
        415,
        "use gzip, zstd or none",
    );
    check(
        "application/json",
        "Content-Encoding: gzip\r\n",
        b"x",
        400,
        "does not decompress",
    );
    let deep = format!(
        "{{\"name\":\"x\",\"labels\":{}1{}}}",
        "{\"a\":".repeat(5000),
        "}".repeat(5000)
    );
    let answer = server
        .client()
        .post_bytes("/alerts/event?wait=true", "application/json", deep.as_bytes())
        .unwrap();
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert!(detail(&answer).contains("recursion limit"), "{}", answer.text());
    assert_eq!(dead_letters(&server), 1, "kept all the same");
    let answer = server.client().post("/alerts/event/nagios9", &json!({})).unwrap();
    assert_eq!(
        (answer.status, detail(&answer).contains("Provider nagios9 not found")),
        (400, true)
    );
    assert_serves(&server);
}

#[test]
fn rules_that_do_not_parse_are_refused() {
    let server = Server::start().unwrap();
    let rule = |condition: &str| json!({"ruleName": "r", "celQuery": condition, "timeframeInSeconds": 60, "timeUnit": "seconds"});
    let deep = format!("{}true{}", "(".repeat(10_000), ")".repeat(10_000));
    let long = vec!["1"; 5000].join("+") + " == 1";
    for condition in [
        "severity = \"high\"",
        "",
        "labels.",
        &deep,
        &long,
        "nofunction(name)",
        "\"unterminated",
    ] {
        let answer = server.client().post("/rules", &rule(condition)).unwrap();
        assert!(matches!(answer.status, 400 | 422), "{condition}: {}", answer.text());
        assert!(detail(&answer).len() > 5, "{}", answer.text());
    }
    let answer = server
        .client()
        .post("/rules", &rule("severity = \"high\""))
        .unwrap()
        .json();
    assert_eq!(
        (&answer["detail"][0]["line"], &answer["detail"][0]["column"]),
        (&json!(1), &json!(10)),
        "{answer}"
    );
    assert_eq!(server.client().get("/rules").unwrap().json(), json!([]));
    assert_serves(&server);
}

#[test]
fn wrong_keys_are_told_apart() {
    let config = "[auth]\nmode = \"api_key\"\n[[auth.keys]]\nname = \"a\"\nkey = \"admin\"\ntenant = \"t\"\nrole = \"admin\"\n\
        [[auth.keys]]\nname = \"w\"\nkey = \"hook\"\ntenant = \"t\"\nrole = \"webhook\"\n\
        [[auth.keys]]\nname = \"o\"\nkey = \"other\"\ntenant = \"u\"\nrole = \"noc\"\n";
    let options = ServerOptions {
        plugins: vec![files::plugin("rules")],
        config: config.into(),
        ..ServerOptions::default()
    };
    let server = Server::start_with(options).unwrap();
    let with = |key: &str| Client::new(&server.url).with_header("X-API-KEY", key);
    let alert = json!({"name": "n", "fingerprint": "f"});
    assert_eq!(server.client().get("/alerts").unwrap().status, 401);
    let wrong = with("wrong").get("/alerts").unwrap();
    assert_eq!((wrong.status, detail(&wrong).as_str()), (401, "Invalid API Key"));
    assert_eq!(
        with("hook").post("/alerts/event?wait=true", &alert).unwrap().status,
        200
    );
    let forbidden = with("hook").get("/alerts").unwrap();
    assert_eq!(
        (forbidden.status, detail(&forbidden).contains("its role is: webhook")),
        (403, true)
    );
    assert_eq!(with("other").post("/alerts/event", &alert).unwrap().status, 403);
    let alerts = |key: &str| with(key).get("/alerts").unwrap().json().as_array().unwrap().len();
    assert_eq!(
        (alerts("admin"), alerts("other")),
        (1, 0),
        "tenants do not see each other"
    );
    let basic = Client::new(&server.url)
        .with_header("Authorization", "Basic dXNlcjphZG1pbg==")
        .get("/alerts")
        .unwrap();
    assert_eq!(basic.status, 200);
    let query = server.client().get("/alerts?api_key=admin").unwrap();
    assert_eq!(query.status, 200);
    let bearer = Client::new(&server.url)
        .with_header("Authorization", "Bearer admin")
        .get("/alerts")
        .unwrap();
    assert_eq!(bearer.status, 200);
}

fn run(args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(files::donjon()).args(args).output().unwrap();
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
fn a_wrong_set_up_ends_with_exit_code_2() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("donjon.toml");
    std::fs::write(&config, "[storage]\ndata_dirr = \"x\"\n").unwrap();
    let (code, text) = run(&["serve", "--config", config.to_str().unwrap()]);
    assert_eq!(code, Some(2), "{text}");
    assert!(
        text.contains("unknown configuration key in [storage]: data_dirr; did you mean `data_dir`?"),
        "{text}"
    );
    let (code, _) = run(&["check-config", config.to_str().unwrap()]);
    assert_eq!(code, Some(2));

    let server = Server::start().unwrap();
    let data = server.data_dir.to_str().unwrap();
    let (code, text) = run(&["serve", "--listen", "127.0.0.1:0", "--data-dir", data]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("in use by another process"), "{text}");
    let fresh = dir.path().join("data");
    let address = server.url.trim_start_matches("http://");
    let (code, text) = run(&["serve", "--listen", address, "--data-dir", fresh.to_str().unwrap()]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("another server running"), "{text}");
    assert_serves(&server);
}
