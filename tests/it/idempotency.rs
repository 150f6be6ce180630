//! A command whose answer was lost is sent again under its key: it is applied once and answered as before, also over a
//! crash, and where what is remembered has to be made again from the journal.

use std::time::Duration;

use donjon_tests::client::{Answer, Client};
use donjon_tests::server::wait_for;
use donjon_tests::{Server, ServerOptions, files};
use serde_json::{Value, json};

fn rule(name: &str, condition: &str) -> Value {
    json!({"ruleName": name, "celQuery": condition, "timeframeInSeconds": 60, "timeUnit": "seconds",
           "createOn": "any", "resolveOn": "never"})
}

fn with_key(client: &mut Client, method: &str, path: &str, key: &str, body: &Value) -> Answer {
    let headers = format!("Content-Type: application/json\r\nIdempotency-Key: {key}\r\n");
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    client.request(method, path, &headers, body.as_bytes()).unwrap()
}

fn post(client: &mut Client, path: &str, key: &str, body: &Value) -> Answer {
    with_key(client, "POST", path, key, body)
}

fn count(client: &mut Client, path: &str) -> usize {
    client.get(path).unwrap().json().as_array().unwrap().len()
}

fn options(data: &std::path::Path) -> ServerOptions {
    ServerOptions {
        data_dir: Some(data.to_owned()),
        plugins: vec![files::plugin("rules")],
        args: vec!["--manual-clock".into()],
        ..ServerOptions::default()
    }
}

#[test]
fn a_retried_command_is_applied_once_also_over_a_crash() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_with(options(data.path())).unwrap();
    let mut client = server.client();
    let first = post(&mut client, "/rules", "k1", &rule("a", "true"));
    assert_eq!(first.status, 200, "{}", first.text());
    let again = post(&mut client, "/rules", "\"k1\"", &rule("a", "true"));
    assert_eq!((again.status, again.text()), (200, first.text()), "as before");
    assert_eq!(count(&mut client, "/rules"), 1, "no twin");
    let other = post(&mut client, "/rules", "k1", &rule("b", "true"));
    assert_eq!(
        (other.status, other.json()["code"].clone()),
        (422, json!("idempotency_key_reused"))
    );
    let other = post(&mut client, "/rules/apply", "k1", &rule("a", "true"));
    assert_eq!(other.status, 422, "another path is another request: {}", other.text());
    let second = post(&mut client, "/rules", "k2", &rule("a", "true"));
    assert_eq!(second.status, 200, "another key is another rule");
    assert_eq!(count(&mut client, "/rules"), 2);

    let delete = format!("/rules/{}", first.json()["id"].as_str().unwrap());
    for _ in 0..2 {
        let answer = with_key(&mut client, "DELETE", &delete, "k3", &Value::Null);
        assert_eq!(answer.status, 200, "answered as before: {}", answer.text());
    }
    assert_eq!(client.request("DELETE", &delete, "", &[]).unwrap().status, 404);
    let again = post(&mut client, "/rules", "k1", &rule("a", "true"));
    assert_eq!(
        again.json()["id"],
        first.json()["id"],
        "what was created then, although it is gone: {}",
        again.text()
    );
    server.kill().unwrap();

    // What is remembered is derived state: here it is made again from the journal.
    std::fs::remove_dir_all(data.path().join("state")).unwrap();
    let server = Server::start_with(options(data.path())).unwrap();
    let mut client = server.client();
    let again = with_key(&mut client, "DELETE", &delete, "k3", &Value::Null);
    assert_eq!(again.status, 200, "{}", again.text());
    assert_eq!(post(&mut client, "/rules", "k1", &rule("b", "true")).status, 422);
    assert_eq!(count(&mut client, "/rules"), 1);
    // A day later the key is free.
    client
        .post("/-/test/clock", &json!({"advance_ms": 24 * 3600 * 1000 + 1}))
        .unwrap();
    assert_eq!(post(&mut client, "/rules", "k1", &rule("b", "true")).status, 200);
    assert_eq!(count(&mut client, "/rules"), 2);
}

/// A client that gave up sends again while the first request is still under way: a proxy that retries, an operator who
/// presses the key twice.
#[test]
fn requests_with_one_key_at_the_same_time_are_applied_once_and_answered_alike() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_with(options(data.path())).unwrap();
    for round in 0..5 {
        let key = format!("at-once-{round}");
        let answers: Vec<Answer> = std::thread::scope(|scope| {
            let send = || post(&mut server.client(), "/rules", &key, &rule("a", "true"));
            let all: Vec<_> = (0..8).map(|_| scope.spawn(send)).collect();
            all.into_iter().map(|one| one.join().unwrap()).collect()
        });
        for answer in &answers {
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(answer.json()["id"], answers[0].json()["id"]);
        }
        assert_eq!(count(&mut server.client(), "/rules"), round + 1, "no twin");
    }
}

/// The first dismissal named everything; what came since stays.
#[test]
fn a_retried_dismissal_puts_away_nothing_that_came_since() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_with(options(data.path())).unwrap();
    let mut client = server.client();
    let (letters, path) = ("/alerts/event/error", "/alerts/event/error/dismiss");
    client.post("/alerts/event?wait=true", &json!([5])).unwrap();
    assert_eq!(count(&mut client, letters), 1);
    assert_eq!(post(&mut client, path, "d1", &Value::Null).status, 200);
    assert_eq!(count(&mut client, letters), 0);
    client.post("/alerts/event?wait=true", &json!([6])).unwrap();
    assert_eq!(post(&mut client, path, "d1", &Value::Null).status, 200);
    assert_eq!(count(&mut client, letters), 1);
    for bad in ["", "a b", "\"", &"k".repeat(256)] {
        assert_eq!(post(&mut client, path, bad, &Value::Null).status, 400, "{bad:?}");
    }
    assert_eq!(count(&mut client, letters), 1);
}

/// Acknowledging for the second time would undo what somebody did in between.
#[test]
fn a_retried_change_of_an_incident_does_not_undo_what_came_since() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_with(options(data.path())).unwrap();
    let mut client = server.client();
    client.post("/rules", &rule("all", "true")).unwrap();
    let sent = client.post("/alerts/event?wait=true", &json!({"name": "a"})).unwrap();
    let incident = sent.json()["events"][0]["incidents"][0].as_str().unwrap().to_owned();
    let (incident, path) = (
        format!("/incidents/{incident}"),
        format!("/incidents/{incident}/status"),
    );
    let set = |status: &str| json!({"status": status});
    assert_eq!(post(&mut client, &path, "s1", &set("acknowledged")).status, 200);
    assert_eq!(post(&mut client, &path, "s2", &set("resolved")).status, 200);
    let again = post(&mut client, &path, "s1", &set("acknowledged"));
    assert_eq!(
        (again.status, &again.json()["status"]),
        (200, &json!("resolved")),
        "{}",
        again.text()
    );
    assert_eq!(client.get(&incident).unwrap().json()["status"], "resolved");
    assert_eq!(post(&mut client, &path, "s1", &set("firing")).status, 422);
}

#[test]
fn alerts_are_judged_again_once_under_a_key() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_with(options(data.path())).unwrap();
    let mut client = server.client();
    let many = |from: u64| {
        json!(
            (from..from + 200)
                .map(|n| json!({"name": format!("n{n}")}))
                .collect::<Vec<_>>()
        )
    };
    client.post("/alerts/event?wait=true", &many(0)).unwrap();
    let range = |to: u64| json!({"from": 1, "to": to, "all": true});
    let accepted = |client: &mut Client| client.get("/readyz").unwrap().json()["accepted"].as_u64().unwrap();
    // Several commands, each of which is applied once.
    let first = post(&mut client, "/alerts/rejudge", "j1", &range(200));
    assert_eq!(
        (first.status, &first.json()["judged"]),
        (200, &json!(200)),
        "{}",
        first.text()
    );
    client.post("/alerts/event?wait=true", &many(0)).unwrap();
    let again = post(&mut client, "/alerts/rejudge", "j1", &range(200));
    assert_eq!(
        (again.status, again.text()),
        (200, first.text()),
        "although all have newer events"
    );
    assert_eq!(
        post(&mut client, "/alerts/rejudge", "j1", &range(100)).status,
        422,
        "another request"
    );
    let beyond = accepted(&mut client) + 1;
    assert_eq!(
        post(&mut client, "/alerts/rejudge", "j2", &range(beyond)).status,
        422,
        "a retry would judge more"
    );
}

#[test]
fn a_key_of_one_tenant_is_none_of_another() {
    let key = |tenant: &str| {
        format!("[[auth.keys]]\nname = \"{tenant}\"\nkey = \"{tenant}\"\ntenant = \"{tenant}\"\nrole = \"admin\"\n")
    };
    let server = Server::start_with(ServerOptions {
        plugins: vec![files::plugin("rules")],
        config: format!("[auth]\nmode = \"api_key\"\n{}{}", key("a"), key("b")),
        ..ServerOptions::default()
    })
    .unwrap();
    let (mut a, mut b) = (
        Client::new(&server.url).with_header("X-API-KEY", "a"),
        Client::new(&server.url).with_header("X-API-KEY", "b"),
    );
    let (mine, theirs) = (
        post(&mut a, "/rules", "same", &rule("mine", "true")),
        post(&mut b, "/rules", "same", &rule("theirs", "true")),
    );
    assert_eq!((mine.status, theirs.status), (200, 200), "{}", theirs.text());
    assert_eq!((count(&mut a, "/rules"), count(&mut b, "/rules")), (1, 1));
    assert_eq!(
        post(&mut b, "/rules", "same", &rule("theirs", "true")).text(),
        theirs.text()
    );
}

/// A plugin that came since takes no such rule. When the command was given, nobody minded.
#[test]
fn a_retry_is_answered_as_before_even_where_a_new_command_would_be_refused() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_with(options(data.path())).unwrap();
    let mut client = server.client();
    let first = post(&mut client, "/rules", "k1", &rule("trap", "true"));
    assert_eq!(first.status, 200, "{}", first.text());
    let path = format!("/rules/{}", first.json()["id"].as_str().unwrap());
    assert_eq!(client.request("DELETE", &path, "", &[]).unwrap().status, 200);
    let picky = std::fs::read(files::guest("picky").unwrap()).unwrap();
    server.drop_plugin("picky.wasm", &picky).unwrap();
    wait_for("another plugin", Duration::from_secs(120), || {
        Ok(server.client().get("/plugins/picky")?.json()["state"] == "serving")
    })
    .unwrap();
    let refused = post(&mut client, "/rules", "k2", &rule("trap", "name == 'x'"));
    assert_eq!(refused.status, 422, "{}", refused.text());
    let again = post(&mut client, "/rules", "k1", &rule("trap", "true"));
    assert_eq!(
        (again.status, &again.json()["id"]),
        (200, &first.json()["id"]),
        "{}",
        again.text()
    );
    let free = post(&mut client, "/rules", "k2", &rule("fine", "true"));
    assert_eq!(
        free.status,
        200,
        "a key whose command was never taken is free: {}",
        free.text()
    );
}
