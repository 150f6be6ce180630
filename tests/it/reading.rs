//! Reading what happened: filters, explanations, histories, events, metrics and the interface's own description.

use std::time::Duration;

use donjon_tests::{Client, Server};
use serde_json::{Value, json};

fn rule(name: &str, condition: &str, more: Value) -> Value {
    let mut rule = json!({"ruleName": name, "celQuery": condition, "timeframeInSeconds": 600, "timeUnit": "seconds"});
    for (key, value) in more.as_object().unwrap() {
        rule[key] = value.clone();
    }
    rule
}

fn post(client: &mut Client, path: &str, body: &Value) -> Value {
    let answer = client.post(path, body).unwrap();
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

fn names(client: &mut Client, query: &str) -> Vec<String> {
    let answer = client.get(&format!("/incidents?{query}")).unwrap();
    assert_eq!(answer.status, 200, "{query}: {}", answer.text());
    answer.json()["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|i| i["user_generated_name"].as_str().unwrap().to_owned())
        .collect()
}

/// Every query, and the names of what it finds.
fn check_filters(client: &mut Client) {
    for (query, expected) in [
        ("", vec!["db", "web"]),
        ("candidate=true", vec!["ask"]),
        ("candidate=any&visible=any", vec!["db", "web", "ask"]),
        ("candidate=any&visible=false", vec!["ask"]),
        ("status=acknowledged", vec!["web"]),
        ("status=acknowledged&status=firing", vec!["db", "web"]),
        ("severity=critical", vec!["db"]),
        ("severity=critical,low", vec!["db", "web"]),
        ("assignees=ann", vec!["db"]),
        ("sources=nagios", vec!["web"]),
        ("affected_services=db", vec!["db"]),
        ("cel=severity%20%3E%20%22warning%22", vec!["db"]),
        (
            "cel=alerts_count%20%3D%3D%201%20%26%26%20user_generated_name.startsWith(%22w%22)",
            vec!["web"],
        ),
        ("sorting=-severity", vec!["db", "web"]),
        ("sorting=severity", vec!["web", "db"]),
        ("sorting=-creation_time&limit=1", vec!["web"]),
        ("offset=1", vec!["web"]),
    ] {
        assert_eq!(names(client, query), expected, "{query}");
    }
}

/// One incident each of `db` (assigned, critical), `web` (low) and the candidate `ask`.
fn three_incidents(client: &mut Client) {
    post(
        client,
        "/rules",
        &rule("db", "service == \"db\"", json!({"assignee": "ann"})),
    );
    post(client, "/rules", &rule("web", "service == \"web\"", json!({})));
    post(
        client,
        "/rules",
        &rule("ask", "service == \"ask\"", json!({"requireApprove": true})),
    );
    for (service, severity, source) in [
        ("db", "critical", "zabbix"),
        ("web", "low", "nagios"),
        ("ask", "info", "keep"),
    ] {
        let alert = json!({"name": service, "service": service, "severity": severity, "source": [source]});
        post(client, "/alerts/event?wait=true", &alert);
    }
}

#[test]
fn every_filter_of_the_incident_list_is_honoured() {
    let server = Server::start().unwrap();
    let mut client = server.client();
    three_incidents(&mut client);
    let all = client.get("/incidents").unwrap().json();
    let web = all["items"][1]["id"].as_str().unwrap().to_owned();
    post(
        &mut client,
        &format!("/incidents/{web}/status"),
        &json!({"status": "acknowledged"}),
    );
    check_filters(&mut client);
    for query in [
        "status=open",
        "severity=5x",
        "sorting=name",
        "limit=many",
        "cel=severity%20%3D%20%22x%22",
        "visible=maybe",
    ] {
        assert_eq!(
            client.get(&format!("/incidents?{query}")).unwrap().status,
            400,
            "{query}"
        );
    }
    let ask = client.get("/incidents?candidate=true").unwrap().json()["items"][0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let confirmed = post(&mut client, &format!("/incidents/{ask}/confirm"), &Value::Null);
    assert_eq!(
        (&confirmed["is_visible"], &confirmed["is_candidate"]),
        (&json!(true), &json!(false))
    );
    assert_eq!(
        client
            .post(&format!("/incidents/{ask}/confirm"), &Value::Null)
            .unwrap()
            .status,
        404
    );
    assert_eq!(
        client
            .post(&format!("/incidents/{web}/status"), &json!({"status": "open"}))
            .unwrap()
            .status,
        422
    );
    assert_eq!(
        client
            .get("/incidents/00000000-0000-8000-8000-000000000000")
            .unwrap()
            .status,
        404
    );
}

#[test]
fn an_incident_says_why_each_alert_belongs_to_it() {
    let server = Server::start().unwrap();
    let mut client = server.client();
    let condition = "labels.host == \"db-7\" || severity == \"critical\" && labels.n > 3";
    let created = post(
        &mut client,
        "/rules",
        &rule("why", condition, json!({"groupingCriteria": ["labels.host"]})),
    );
    let alert = json!({"name": "n", "fingerprint": "f", "labels": {"host": "db-7", "n": 5}, "severity": "critical"});
    let applied = post(&mut client, "/alerts/event?wait=true", &alert);
    let id = applied["events"][0]["incidents"][0].as_str().unwrap().to_owned();
    let alerts = client.get(&format!("/incidents/{id}/alerts")).unwrap().json();
    let why = &alerts["items"][0]["explanation"];
    assert_eq!(why["rule_id"], created["id"]);
    assert_eq!(why["rule_version"], 1);
    assert_eq!(
        why["branches"][0],
        json!({"index": 0, "text": "labels.host == \"db-7\""})
    );
    assert_eq!(why["branches"][1]["index"], 1);
    assert_eq!(why["group_key"], json!(["db-7"]));
    assert_eq!(
        why["values"],
        json!({"labels.host": "db-7", "labels.n": 5, "severity": "critical"})
    );
    assert_eq!(why["plugin"]["name"], "rules");
    assert_eq!(why["event_id"], alerts["items"][0]["event_id"]);
    let alert = client.get("/alerts/f").unwrap().json();
    assert_eq!((&alert["incident"], &alert["firingCounter"]), (&json!(id), &json!(1)));
    assert_eq!(client.get("/alerts/unknown").unwrap().status, 404);
}

#[test]
fn rules_keep_their_versions_and_count() {
    let server = Server::start().unwrap();
    let mut client = server.client();
    let id = post(
        &mut client,
        "/rules",
        &rule("r", "labels.n > \"a\" || name == \"x\"", json!({})),
    )["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let event = post(
        &mut client,
        "/alerts/event?wait=true",
        &json!({"name": "x", "labels": {"n": 5}}),
    );
    assert_eq!(
        event["events"][0]["incidents"].as_array().unwrap().len(),
        1,
        "the other branch still counts: {event}"
    );
    let counters = client.get("/rules").unwrap().json()[0]["counters"].clone();
    assert_eq!(
        (&counters["matches"], &counters["errors"], &counters["evaluations"]),
        (&json!(1), &json!(1), &json!(1)),
        "{counters}"
    );
    assert!(counters["last_error"]["event_id"].is_string(), "{counters}");
    let put = client
        .request(
            "PUT",
            &format!("/rules/{id}"),
            "Content-Type: application/json\r\n",
            rule("r2", "true", json!({"createOn": "any", "resolveOn": "never"}))
                .to_string()
                .as_bytes(),
        )
        .unwrap();
    assert_eq!(put.json()["version"], 2);
    let versions = client.get(&format!("/rules/{id}/versions")).unwrap().json();
    assert_eq!(
        (versions[0]["name"].as_str(), versions[1]["name"].as_str()),
        (Some("r"), Some("r2"))
    );
    let deleted = client.request("DELETE", &format!("/rules/{id}"), "", b"").unwrap();
    assert_eq!(deleted.json()["message"], "Rule deleted");
    assert_eq!(
        client
            .request("DELETE", &format!("/rules/{id}"), "", b"")
            .unwrap()
            .status,
        404
    );
    assert_eq!(client.get("/rules").unwrap().json(), json!([]));
    let after = post(
        &mut client,
        "/alerts/event?wait=true",
        &json!({"name": "x", "message": "2"}),
    );
    assert_eq!(
        after["events"][0]["incidents"],
        json!([]),
        "a deleted rule judges nothing"
    );
}

#[test]
fn histories_reach_back_beyond_what_the_state_holds() {
    let server = Server::start().unwrap();
    let mut client = server.client();
    for i in 0..150 {
        let alert = json!({"name": "n", "fingerprint": "f", "message": i.to_string(), "status": if i % 10 == 9 { "resolved" } else { "firing" }});
        assert_eq!(client.post("/alerts/event", &alert).unwrap().status, 202);
    }
    post(&mut client, "/alerts/event?wait=true", &json!({"name": "other"}));
    let history = client.get("/alerts/f/history").unwrap().json();
    let messages: Vec<&str> = history
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["message"].as_str().unwrap())
        .collect();
    let expected: Vec<String> = (0..150).rev().map(|i| i.to_string()).collect();
    assert_eq!(messages, expected);
    assert_eq!(
        (&history[0]["status"], &history[0]["unresolvedCounter"]),
        (&json!("resolved"), &json!(0))
    );
    assert_eq!(history[5]["unresolvedCounter"], 5);
}

#[test]
fn events_are_streamed_and_resumed() {
    let server = Server::start().unwrap();
    let mut client = server.client();
    post(&mut client, "/rules", &rule("r", "name == \"x\"", json!({})));
    let mut lines = server.client().follow("/events", "").unwrap();
    let event = post(&mut client, "/alerts/event?wait=true", &json!({"name": "x"}));
    let incident = event["events"][0]["incidents"][0].as_str().unwrap().to_owned();
    let data = lines
        .wait_for(Duration::from_secs(10), |line| {
            line.starts_with("data:") && line.contains("created")
        })
        .unwrap();
    assert!(data.contains(&incident), "{data}");
    let id = lines
        .wait_for(Duration::from_secs(10), |line| line.starts_with("id:"))
        .unwrap();
    let id: u64 = id.trim_start_matches("id:").trim().parse().unwrap();
    drop(lines);
    post(
        &mut client,
        "/alerts/event?wait=true",
        &json!({"name": "x", "message": "while away"}),
    );
    let mut again = server
        .client()
        .follow("/events", &format!("Last-Event-ID: {id}\r\n"))
        .unwrap();
    let missed = again
        .wait_for(Duration::from_secs(10), |line| {
            line.starts_with("data:") && line.contains("incident_id")
        })
        .unwrap();
    assert!(missed.contains("updated") && missed.contains(&incident), "{missed}");
    // A number that this server never gave: it cannot tell what was missed.
    let mut stranger = server.client().follow("/events", "Last-Event-ID: 999999\r\n").unwrap();
    for wanted in [
        "event: incident-change",
        "event: rule-change",
        "event: poll-alerts",
        "id: ",
    ] {
        let told = stranger.wait_for(Duration::from_secs(10), |line| line.starts_with(wanted));
        assert!(told.is_ok(), "{wanted}");
    }
    assert_eq!(
        server
            .client()
            .request("GET", "/events", "Last-Event-ID: x\r\n", b"")
            .unwrap()
            .status,
        400
    );
}

#[test]
fn the_interface_describes_and_measures_itself() {
    let server = Server::start().unwrap();
    let mut client = server.client();
    let document = client.get("/openapi.json").unwrap().json();
    for path in [
        "/alerts/event",
        "/api/v2/alerts",
        "/incidents/{id}/alerts",
        "/rules/{id}",
        "/events",
        "/plugins",
        "/readyz",
    ] {
        assert!(document["paths"][path].is_object(), "{path} is not described");
    }
    assert_eq!(client.get("/healthz").unwrap().status, 200);
    assert_eq!(client.get("/nowhere").unwrap().status, 404);
    let wrong_way = client.request("DELETE", "/incidents", "", b"").unwrap();
    assert_eq!(wrong_way.status, 405);
    assert!(wrong_way.text().contains("not for DELETE"), "{}", wrong_way.text());
    post(&mut client, "/alerts/event?wait=true", &json!({"name": "x"}));
    let metrics = client.get("/metrics").unwrap().text();
    for line in [
        "donjon_worker_events_total{kind=\"first\"} 1",
        "donjon_ingest_items_total{kind=\"accepted\"} 1",
        "donjon_applied_seq 1",
        "# UNIT donjon_journal_commit_seconds seconds",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    assert_eq!(
        client.post("/-/test/clock", &json!({})).unwrap().status,
        404,
        "only with --manual-clock"
    );
    let plugins = client.get("/plugins").unwrap().json();
    assert_eq!(
        (&plugins[0]["name"], &plugins[0]["state"], &plugins[0]["role"]),
        (&json!("rules"), &json!("serving"), &json!("correlator"))
    );
    assert!(plugins[0]["hash"].as_str().unwrap().len() == 64 && plugins[0]["imports"].is_array());
}

#[test]
fn bodies_may_be_compressed() {
    let server = Server::start().unwrap();
    let dir = server.scratch().join("body");
    std::fs::write(&dir, "{\"name\":\"a\"}\n{\"name\":\"b\"}\n").unwrap();
    for (tool, encoding) in [("gzip", "gzip"), ("zstd", "zstd")] {
        let Ok(packed) = std::process::Command::new(tool).arg("-c").arg(&dir).output() else {
            // zstd's command is not on every machine; its decoder is tested in the unit tests all the same.
            assert_eq!(tool, "zstd", "gzip is on every machine");
            continue;
        };
        let headers = format!("Content-Type: application/x-ndjson\r\nContent-Encoding: {encoding}\r\n");
        let answer = server
            .client()
            .request("POST", "/alerts/event?wait=true", &headers, &packed.stdout)
            .unwrap();
        assert_eq!(
            (answer.status, answer.json()["events"].as_array().map(Vec::len)),
            (200, Some(2)),
            "{}",
            answer.text()
        );
    }
}
