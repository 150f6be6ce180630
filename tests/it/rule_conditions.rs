//! Two people who change one rule do not overwrite each other unseen. It is decided in the order of the journal, so two
//! changes of one moment cannot both go through.

use std::sync::Barrier;

use donjon_tests::Server;
use donjon_tests::client::{Answer, Client};
use serde_json::{Value, json};

fn rule(name: &str, condition: &str) -> Value {
    json!({"ruleName": name, "celQuery": condition, "timeframeInSeconds": 60, "timeUnit": "seconds",
           "createOn": "any", "resolveOn": "never"})
}

fn with(client: &mut Client, method: &str, path: &str, headers: &str, body: &Value) -> Answer {
    let headers = format!("Content-Type: application/json\r\n{headers}");
    let body = if body.is_null() {
        String::new()
    } else {
        body.to_string()
    };
    client.request(method, path, &headers, body.as_bytes()).unwrap()
}

#[test]
fn two_editors_of_a_rule_do_not_overwrite_each_other() {
    let server = Server::start().unwrap();
    let mut client = server.client();
    let created = client.post("/rules", &rule("a", "true")).unwrap();
    assert_eq!(created.header("etag"), Some("\"1\""), "{}", created.text());
    let path = format!("/rules/{}", created.json()["id"].as_str().unwrap());
    let read = client.get(&path).unwrap();
    let seen = format!("If-Match: {}\r\n", read.header("etag").unwrap());
    let mine = with(&mut client, "PUT", &path, &seen, &rule("a", "severity == 'high'"));
    assert_eq!(
        (mine.status, mine.header("etag")),
        (200, Some("\"2\"")),
        "{}",
        mine.text()
    );
    let theirs = with(&mut client, "PUT", &path, &seen, &rule("a", "severity == 'low'"));
    assert_eq!(
        (theirs.status, theirs.header("etag"), &theirs.json()["code"]),
        (412, Some("\"2\""), &json!("condition_failed"))
    );
    let text = theirs.json()["detail"].as_str().unwrap().to_owned();
    assert!(
        text.contains("read it, decide again") && text.contains("\"2\""),
        "{text}"
    );
    assert_eq!(with(&mut client, "DELETE", &path, &seen, &Value::Null).status, 412);
    for bad in ["x", "2", "\"2", "*, \"2\""] {
        let bad = format!("If-Match: {bad}\r\n");
        assert_eq!(
            with(&mut client, "PUT", &path, &bad, &rule("a", "true")).status,
            400,
            "{bad}"
        );
    }
    let weak = with(&mut client, "PUT", &path, "If-Match: W/\"2\"\r\n", &rule("a", "true"));
    assert_eq!(weak.status, 412, "a weak tag never matches");
    assert_eq!(
        client.get("/rules").unwrap().json()[0]["definition_cel"],
        "severity == 'high'"
    );
    // Any of several, whatever is there, and who does not ask is not asked.
    for condition in ["If-Match: \"7\", \"2\"\r\n", "If-Match: *\r\n", ""] {
        let answer = with(&mut client, "PUT", &path, condition, &rule("a", "true"));
        assert_eq!(answer.status, 200, "{condition}: {}", answer.text());
    }
    // Where it is not understood it is not passed over.
    assert_eq!(
        with(&mut client, "POST", "/rules", &seen, &rule("b", "true")).status,
        400
    );
    assert_eq!(
        with(&mut client, "DELETE", &path, "If-Match: \"5\"\r\n", &Value::Null).status,
        200
    );
    assert_eq!(
        with(&mut client, "DELETE", &path, "If-Match: \"5\"\r\n", &Value::Null).status,
        404
    );
}

#[test]
fn of_changes_of_one_moment_with_one_etag_one_goes_through() {
    let server = Server::start().unwrap();
    let created = server.client().post("/rules", &rule("a", "true")).unwrap();
    let path = format!("/rules/{}", created.json()["id"].as_str().unwrap());
    for round in 1..=10 {
        let (together, seen) = (Barrier::new(4), format!("If-Match: \"{round}\"\r\n"));
        let change = |n: usize| {
            let mut client = server.client();
            together.wait();
            with(
                &mut client,
                "PUT",
                &path,
                &seen,
                &rule("a", &format!("name == '{round}-{n}'")),
            )
            .status
        };
        let mut statuses = std::thread::scope(|scope| {
            let changes: Vec<_> = (0..4).map(|n| scope.spawn(move || change(n))).collect();
            changes
                .into_iter()
                .map(|change| change.join().unwrap())
                .collect::<Vec<_>>()
        });
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 412, 412, 412], "round {round}");
    }
    assert_eq!(server.client().get(&path).unwrap().header("etag"), Some("\"11\""));
}

#[test]
fn a_rule_is_created_under_an_id_of_ones_own_and_not_replaced() {
    let server = Server::start().unwrap();
    let mut client = server.client();
    let absent = "If-None-Match: *\r\n";
    let created = with(&mut client, "PUT", "/rules/disk-full", absent, &rule("a", "true"));
    assert_eq!(
        (created.status, &created.json()["id"]),
        (200, &json!("disk-full")),
        "{}",
        created.text()
    );
    assert_eq!(created.header("etag"), Some("\"1\""));
    let again = with(&mut client, "PUT", "/rules/disk-full", absent, &rule("b", "true"));
    assert_eq!(
        (again.status, again.header("etag")),
        (412, Some("\"1\"")),
        "{}",
        again.text()
    );
    assert_eq!(
        with(&mut client, "PUT", "/rules/other", "", &rule("b", "true")).status,
        404
    );
    for bad in ["a%20b", ".hidden", "a%2Fb", "%C3%A9", &"x".repeat(65)] {
        let answer = with(&mut client, "PUT", &format!("/rules/{bad}"), absent, &rule("b", "true"));
        assert_eq!(answer.status, 400, "{bad}: {}", answer.text());
    }
    let both = format!("{absent}If-Match: *\r\n");
    assert_eq!(
        with(&mut client, "PUT", "/rules/disk-full", &both, &rule("b", "true")).status,
        400
    );
    let named = "If-None-Match: \"1\"\r\n";
    assert_eq!(
        with(&mut client, "PUT", "/rules/disk-full", named, &rule("b", "true")).status,
        400
    );
    assert_eq!(
        client.request("DELETE", "/rules/disk-full", "", &[]).unwrap().status,
        200
    );
    let taken = with(&mut client, "PUT", "/rules/disk-full", absent, &rule("c", "true"));
    assert_eq!(
        (taken.status, &taken.json()["code"]),
        (409, &json!("rule_id_taken")),
        "{}",
        taken.text()
    );
    assert_eq!(client.get("/rules").unwrap().json(), json!([]));
}
