//! Many rules as one command: all change together or none, and one entry of the journal says so.

use std::process::{Command, Output};

use donjon_tests::{Server, files};
use serde_json::{Value, json};

fn rule(name: &str, condition: &str) -> Value {
    json!({"ruleName": name, "celQuery": condition, "timeframeInSeconds": 60, "timeUnit": "seconds"})
}

fn accepted(server: &Server) -> u64 {
    server.client().get("/readyz").unwrap().json()["accepted"]
        .as_u64()
        .unwrap()
}

fn donjon(server: &Server, args: &[&str]) -> Output {
    let mut command = Command::new(files::donjon());
    command.args(args).env("DONJON_URL", &server.url).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn rules_are_applied_as_one_command_or_not_at_all() {
    let server = Server::start().unwrap();
    let mut client = server.client();
    let before = accepted(&server);
    let rules: Vec<Value> = (0..50)
        .map(|n| rule(&format!("r{n}"), &format!("name == 'n{n}'")))
        .collect();
    let answer = client.post("/rules/apply", &json!(rules)).unwrap();
    assert_eq!(
        (answer.status, &answer.json()["created"]),
        (200, &json!(50)),
        "{}",
        answer.text()
    );
    assert_eq!(accepted(&server), before + 1, "one entry");
    let names = client.get("/rules").unwrap().json();
    let names: Vec<&str> = names
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| rule["name"].as_str().unwrap())
        .collect();
    let expected: Vec<String> = (0..50).map(|n| format!("r{n}")).collect();
    assert_eq!(names, expected, "in the order of the request");

    let some = json!([
        rule("r7", "name == 'seven'"),
        rule("new", "true"),
        rule("r8", "name == 'n8'")
    ]);
    let answer = client.post("/rules/apply", &some).unwrap().json();
    let outcomes: Vec<Value> = answer["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| rule["outcome"].clone())
        .collect();
    assert_eq!(outcomes, ["changed", "created", "unchanged"], "{answer}");
    assert_eq!(answer["rules"][0]["version"], 2);
    assert_eq!(client.get("/rules/").unwrap().status, 404);
}

#[test]
fn rules_are_applied_only_to_the_list_that_was_read() {
    let server = Server::start().unwrap();
    let mut client = server.client();
    client
        .post("/rules/apply", &json!([rule("r7", "true"), rule("r9", "true")]))
        .unwrap();
    let listed = client.get("/rules").unwrap();
    client.post("/rules", &rule("between", "true")).unwrap();
    let entries = accepted(&server);
    let headers = format!(
        "Content-Type: application/json\r\nIf-Match: {}\r\n",
        listed.header("etag").unwrap()
    );
    let body = json!([rule("r7", "false"), rule("r9", "false")]).to_string();
    let stale = client
        .request("POST", "/rules/apply", &headers, body.as_bytes())
        .unwrap();
    assert_eq!(stale.status, 412, "{}", stale.text());
    let present = client.get("/rules").unwrap();
    assert_eq!(stale.header("etag"), present.header("etag"));
    let headers = format!(
        "Content-Type: application/json\r\nIf-Match: {}\r\n",
        present.header("etag").unwrap()
    );
    let fresh = client
        .request("POST", "/rules/apply", &headers, body.as_bytes())
        .unwrap();
    assert_eq!(
        (fresh.status, &fresh.json()["changed"]),
        (200, &json!(2)),
        "{}",
        fresh.text()
    );
    assert_eq!(
        accepted(&server),
        entries + 2,
        "what was refused is in the journal, too"
    );
}

#[test]
fn a_bad_rule_among_many_is_told_with_its_place_and_none_is_changed() {
    let server = Server::start().unwrap();
    let mut client = server.client();
    client.post("/rules/apply", &json!([rule("a", "true")])).unwrap();
    let (before, etag) = (
        accepted(&server),
        client.get("/rules").unwrap().header("etag").unwrap().to_owned(),
    );
    let mut refused = |bodies: Value, status: u16, part: &str| {
        let answer = client.post("/rules/apply", &bodies).unwrap();
        assert!(
            answer.status == status && answer.text().contains(part),
            "{}: {}",
            answer.status,
            answer.text()
        );
        answer.json()
    };
    let told = refused(json!([rule("a", "false"), rule("b", "name = 1")]), 422, "rule b");
    assert_eq!(told["detail"][0]["loc"], json!(["body", 1, "celQuery"]), "{told}");
    assert_eq!(told["detail"][0]["line"], 1);
    refused(
        json!([rule("a", "false"), rule("b", "true"), rule("a", "true")]),
        422,
        "two rules have this name",
    );
    refused(
        json!([rule("a", "false"), {"ruleName": ""}]),
        400,
        "Rule name is required",
    );
    refused(json!([rule("a", "false"), 5]), 422, "must be a JSON object");
    refused(
        json!([
            rule("a", "false"),
            rule("b", &format!("labels.{} == 1", "x".repeat(300)))
        ]),
        422,
        "rule b",
    );
    let many: Vec<Value> = (0..1001).map(|n| rule(&format!("r{n}"), "true")).collect();
    refused(json!(many), 413, "1001");
    let condition = format!("name == '{}'", "x".repeat(12_000));
    let long: Vec<Value> = (0..100).map(|n| rule(&format!("r{n}"), &condition)).collect();
    refused(json!(long), 413, "send them in several parts");
    assert_eq!(accepted(&server), before);
    assert_eq!(
        server.client().get("/rules").unwrap().header("etag"),
        Some(etag.as_str())
    );
}

#[test]
fn files_and_directories_of_rules_are_applied_together() {
    let server = Server::start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, rules: Value| {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, rules.to_string()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let one = write("one.json", rule("one", "true"));
    write("more/b.json", json!([rule("b1", "true"), rule("b2", "true")]));
    write("more/a.json", rule("a", "true"));
    write("more/readme.txt", json!("no rules"));
    let more = dir.path().join("more").to_str().unwrap().to_owned();
    let before = accepted(&server);
    let applied = donjon(&server, &["rule", "apply", &one, &more]);
    let said: Vec<String> = text(&applied.stdout)
        .lines()
        .map(|line| {
            let mut words = line.split(' ');
            format!("{} {}", words.next().unwrap(), words.nth(1).unwrap())
        })
        .collect();
    assert_eq!(
        said,
        ["created one", "created a", "created b1", "created b2"],
        "{}",
        text(&applied.stderr)
    );
    assert_eq!(accepted(&server), before + 1);
    let again = text(&donjon(&server, &["rule", "apply", &more]).stdout);
    assert!(
        again.lines().count() == 3 && again.lines().all(|line| line.starts_with("unchanged ")),
        "{again}"
    );

    write("more/c.json", rule("broken", "name = 1"));
    let refused = donjon(&server, &["rule", "apply", &more]);
    let why = text(&refused.stderr);
    assert!(refused.status.code() == Some(2) && why.contains("rule broken"), "{why}");
    let empty = tempfile::tempdir().unwrap();
    let refused = donjon(&server, &["rule", "apply", empty.path().to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(2), "{}", text(&refused.stderr));
    assert_eq!(
        server.client().get("/rules").unwrap().json().as_array().unwrap().len(),
        4
    );
}
