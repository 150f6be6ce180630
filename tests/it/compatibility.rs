//! What clients of the reference rely on, where no scenario looks: conditions over computed attributes, filters, roles,
//! status codes, and corners of `create_on`, naming and grouping.

use donjon_tests::client::{Answer, Client};
use donjon_tests::{Server, ServerOptions, files};
use serde_json::{Value, json};

fn server(config: &str) -> Server {
    Server::start_with(ServerOptions {
        plugins: vec![files::plugin("rules")],
        config: config.to_owned(),
        ..ServerOptions::default()
    })
    .unwrap()
}

/// A tenant of its own for each case: keys `a0`, `a1`, ...
fn tenants(count: usize) -> String {
    let key = |n| format!("[[auth.keys]]\nname = \"k{n}\"\nkey = \"a{n}\"\ntenant = \"t{n}\"\nrole = \"admin\"\n");
    format!(
        "[auth]\nmode = \"api_key\"\n{}",
        (0..count).map(key).collect::<String>()
    )
}

fn rule(changes: &Value) -> Value {
    let mut rule = json!({"ruleName": "r", "celQuery": "true", "timeframeInSeconds": 600, "timeUnit": "seconds",
                          "createOn": "any", "resolveOn": "never"});
    for (key, value) in changes.as_object().unwrap() {
        rule[key] = value.clone();
    }
    rule
}

fn ok(answer: Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

fn send(client: &mut Client, alert: &Value) {
    ok(client.post("/alerts/event?wait=true", alert).unwrap());
}

fn put(client: &mut Client, path: &str, body: &Value) -> Answer {
    let head = "Content-Type: application/json\r\n";
    client.request("PUT", path, head, body.to_string().as_bytes()).unwrap()
}

fn incidents(client: &mut Client, query: &str) -> Vec<Value> {
    let found = ok(client.get(&format!("/incidents?{query}")).unwrap());
    found["items"].as_array().unwrap().clone()
}

#[test]
fn create_on_all_wants_every_branch_and_every_member_firing() {
    /// Fingerprint, labels, status.
    type Sent = (&'static str, &'static str, &'static str);
    let sequences: [(&str, &[Sent], usize); 5] = [
        ("one alert with both", &[("A", "xy", "firing")], 1),
        ("two alerts", &[("A", "x", "firing"), ("B", "y", "firing")], 1),
        (
            "the same branch twice",
            &[("A", "x", "firing"), ("B", "x", "firing")],
            0,
        ),
        (
            "a member is resolved",
            &[("A", "x", "firing"), ("A", "x", "resolved"), ("B", "xy", "firing")],
            0,
        ),
        (
            "the last one is resolved",
            &[("A", "x", "firing"), ("B", "xy", "resolved")],
            0,
        ),
    ];
    let server = server(&tenants(sequences.len()));
    for (n, (what, events, visible)) in sequences.into_iter().enumerate() {
        let mut client = server.client().with_header("X-API-KEY", &format!("a{n}"));
        let all = rule(&json!({"celQuery": "(labels.x == 1) || (labels.y == 1)", "createOn": "all"}));
        ok(client.post("/rules", &all).unwrap());
        for (at, (fingerprint, branches, status)) in events.iter().enumerate() {
            let labels: Value = branches.chars().map(|b| (b.to_string(), 1)).collect();
            send(
                &mut client,
                &json!({"id": format!("{at}"), "name": "n", "fingerprint": fingerprint,
                                      "status": status, "labels": labels}),
            );
        }
        assert_eq!(incidents(&mut client, "").len(), visible, "{what}");
    }
}

#[test]
fn conditions_read_what_the_server_computes() {
    let conditions = [
        "providerType == \"keep\"",
        "unresolvedCounter >= 1",
        "firingCounter == 1",
        "apiKeyRef != null",
        "pushed == true",
        "dismissed == false",
        "isFullDuplicate == false",
        "firingStartTime == lastReceived",
    ];
    let server = server(&tenants(conditions.len()));
    for (n, condition) in conditions.into_iter().enumerate() {
        let mut client = server.client().with_header("X-API-KEY", &format!("a{n}"));
        let reads = rule(&json!({"celQuery": condition, "incidentNameTemplate": "by {{ providerType }}"}));
        ok(client.post("/rules", &reads).unwrap());
        send(&mut client, &json!({"name": "n"}));
        let found = incidents(&mut client, "");
        assert_eq!(found.len(), 1, "{condition}");
        assert_eq!(found[0]["user_generated_name"], "by keep");
    }
}

#[test]
fn listings_filter_by_the_names_of_the_reference() {
    let server = server("");
    let mut client = server.client();
    ok(client
        .post(
            "/rules",
            &rule(&json!({"ruleName": "shown", "groupingCriteria": ["service"]})),
        )
        .unwrap());
    ok(client
        .post("/rules", &rule(&json!({"ruleName": "below", "threshold": 5})))
        .unwrap());
    ok(client
        .post(
            "/rules",
            &rule(&json!({"ruleName": "candidate", "requireApprove": true})),
        )
        .unwrap());
    send(
        &mut client,
        &json!({"name": "n", "service": "svc1", "source": ["prom"]}),
    );
    let mut check = |query: &str, expected: &[&str]| {
        let encoded = query.replace(' ', "%20").replace('"', "%22").replace("==", "%3D%3D");
        let found = incidents(&mut client, &encoded);
        let names: Vec<&str> = found.iter().map(|one| one["rule_name"].as_str().unwrap()).collect();
        assert_eq!(names, expected, "{query}");
    };
    check("", &["shown"]);
    check("candidate=any", &["shown", "candidate"]);
    check("candidate=true", &["candidate"]);
    check("visible=any&candidate=any", &["shown", "below", "candidate"]);
    check("predicted=true", &["shown"]);
    check("predicted=false", &[]);
    check("cel=name == \"shown\"", &["shown"]);
    check("cel=name.contains(\"ho\")", &["shown"]);
    check("cel=\"prom\" in sources", &["shown"]);
    check("cel=\"svc1\" in affectedServices", &["shown"]);
    check("cel=hasLinkedIncident == false", &["shown"]);
    check("cel=name == \"other\"", &[]);
    // Every field of the answer can be named, and no other.
    let shown = incidents(&mut client, "").remove(0);
    for field in shown.as_object().unwrap().keys() {
        incidents(&mut client, &format!("cel={field}%20!=%20123456"));
    }
    let unknown = client.get("/incidents?cel=sevrity%20==%203").unwrap();
    assert_eq!(unknown.status, 400);
    assert!(unknown.text().contains("did you mean severity?"), "{}", unknown.text());
}

#[test]
fn every_error_has_the_same_shape() {
    let server = server("");
    let mut client = server.client();
    let big = vec![b' '; 40_000_000];
    for (method, path, body, status) in [
        ("POST", "/alerts/event", big.as_slice(), 413),
        ("POST", "/alerts/event?wait=perhaps", b"{}".as_slice(), 400),
        ("GET", "/alerts?limit=-3", b"", 400),
        ("GET", "/alerts/event/error/99999999999999999999/raw", b"", 400),
        ("GET", "/nowhere", b"", 404),
        ("DELETE", "/incidents", b"", 405),
        ("POST", "/alerts/event/error/dismiss", b"{\"id\": 1}", 422),
        ("POST", "/alerts/event/error/dismiss", b"[1]", 422),
        ("POST", "/alerts/event/error/dismiss", b"{\"alert_id\": \"x\"}", 422),
    ] {
        let head = "Content-Type: application/json\r\n";
        let answer = server.client().request(method, path, head, body).unwrap();
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text());
        let told = answer.json();
        assert!(
            told["code"].is_string() && !told["detail"].is_null(),
            "{method} {path}: {told}"
        );
    }
    let document = ok(client.get("/openapi.json").unwrap());
    let mut names: Vec<String> = Vec::new();
    for operations in document["paths"].as_object().unwrap().values() {
        for operation in operations.as_object().unwrap().values() {
            names.push(operation["operationId"].as_str().unwrap().to_owned());
        }
    }
    let count = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), count, "each operation has a name of its own: {names:?}");
}

#[test]
fn status_codes_and_roles_are_those_of_the_reference() {
    let server = server(
        "[auth]\nmode = \"api_key\"\n[[auth.keys]]\nname = \"boss\"\nkey = \"a\"\ntenant = \"t\"\nrole = \"admin\"\n\
         [[auth.keys]]\nname = \"hook\"\nkey = \"w\"\ntenant = \"t\"\nrole = \"webhook\"\n",
    );
    let mut admin = server.client().with_header("Authorization", "Digest a");
    let mut hook = server.client().with_header("X-API-KEY", "w");
    let created = ok(admin.post("/rules", &rule(&json!({}))).unwrap());
    let path = format!("/rules/{}", created["id"].as_str().unwrap());
    for field in [
        "ruleName",
        "celQuery",
        "timeframeInSeconds",
        "timeUnit",
        "resolveOn",
        "createOn",
    ] {
        let refused = put(&mut admin, &path, &rule(&json!({field: null})));
        assert_eq!(refused.status, 400, "{field}: {}", refused.text());
        assert!(refused.text().contains("Invalid request body"), "{}", refused.text());
    }
    assert_eq!(put(&mut hook, &path, &rule(&json!({}))).status, 403);
    ok(put(&mut admin, &path, &rule(&json!({"resolveOn": "all"}))));

    let nothing = ok(hook.post("/alerts/event?wait=true", &json!([])).unwrap());
    assert_eq!(nothing["events"], json!([]));
    send(&mut hook, &json!({"name": "n"}));
    let id = incidents(&mut admin, "")[0]["id"].as_str().unwrap().to_owned();
    let status = json!({"status": "acknowledged"});
    let changed = ok(hook.post(&format!("/incidents/{id}/status"), &status).unwrap());
    assert_eq!(
        (&changed["status"], &changed["assignee"]),
        (&json!("acknowledged"), &json!("hook"))
    );
}

#[test]
fn names_and_groups_keep_what_tells_them_apart() {
    let server = server("");
    let mut client = server.client();
    let long = "x".repeat(600);
    let grouped = rule(&json!({"ruleName": "long", "celQuery": "name == 'long'", "groupingCriteria": ["message"]}));
    ok(client.post("/rules", &grouped).unwrap());
    for end in ["a", "b", "a"] {
        send(
            &mut client,
            &json!({"name": "long", "message": format!("{long}{end}"), "fingerprint": end}),
        );
    }
    assert_eq!(incidents(&mut client, "").len(), 2);

    let named = json!({"ruleName": "later", "celQuery": "name == 'later'"});
    let created = ok(client.post("/rules", &rule(&named)).unwrap());
    send(&mut client, &json!({"name": "later", "fingerprint": "1"}));
    let mut prefixed = rule(&named);
    prefixed["incidentPrefix"] = json!("OPS");
    ok(put(
        &mut client,
        &format!("/rules/{}", created["id"].as_str().unwrap()),
        &prefixed,
    ));
    for fingerprint in ["2", "3"] {
        send(&mut client, &json!({"name": "later", "fingerprint": fingerprint}));
    }
    let names: Vec<Value> = incidents(&mut client, "")
        .iter()
        .map(|one| one["user_generated_name"].clone())
        .collect();
    assert_eq!(names, ["long", "long", "OPS-3 - later"]);
}

#[test]
fn old_ways_to_dismiss_and_assign_are_understood() {
    let server = server("");
    let mut client = server.client();
    let received = "2026-01-02T03:04:05.000Z";
    for (sent, field, expected) in [
        (json!({"dismissed": "true"}), "dismissed", json!(true)),
        (json!({"dismissed": "False"}), "dismissed", json!(false)),
        (
            json!({"dismissed": true, "dismissUntil": "2000-01-01T00:00:00.000Z"}),
            "dismissed",
            json!(false),
        ),
        (
            json!({"dismissUntil": "2999-01-01T00:00:00.000Z"}),
            "dismissed",
            json!(true),
        ),
        (
            json!({"dismissed": true, "dismissUntil": "forever"}),
            "dismissed",
            json!(true),
        ),
        (json!({"deleted": [received]}), "deleted", json!(true)),
        (
            json!({"deleted": ["2000-01-01T00:00:00.000Z"]}),
            "deleted",
            json!(false),
        ),
        (json!({"assignees": {received: "bob"}}), "assignee", json!("bob")),
    ] {
        let mut alert = json!({"name": "n", "fingerprint": "f", "lastReceived": received});
        for (key, value) in sent.as_object().unwrap() {
            alert[key] = value.clone();
        }
        send(&mut client, &alert);
        let shown = ok(client.get("/alerts/f").unwrap());
        assert_eq!(shown[field], expected, "{sent}");
        assert!(shown.get("assignees").is_none(), "{shown}");
    }
}
