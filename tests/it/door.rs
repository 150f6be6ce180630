//! What a request brings costs what it weighs: a bad element is kept alone, the sum of all bodies is bounded before they
//! are read, and every refusal is told in the same shape. No secret is told at all.

use std::io::{Read, Write};
use std::process::Command;
use std::time::Duration;

use donjon_tests::client::{Answer, read_to_end, send_raw};
use donjon_tests::server::wait_for;
use donjon_tests::{Server, ServerOptions, files};
use serde_json::{Value, json};

const WITHIN: Duration = Duration::from_secs(30);

fn start(config: &str) -> Server {
    let options = ServerOptions {
        plugins: vec![files::plugin("rules")],
        config: config.into(),
        ..ServerOptions::default()
    };
    Server::start_with(options).unwrap()
}

/// The bytes of all dead letters, newest first.
fn kept(server: &Server) -> Vec<Vec<u8>> {
    let mut client = server.client();
    let letters = client.get("/alerts/event/error").unwrap().json();
    let raw = |letter: &Value| {
        let id = letter["id"].as_str().unwrap();
        client.get(&format!("/alerts/event/error/{id}/raw")).unwrap().body
    };
    letters.as_array().unwrap().iter().map(raw).collect()
}

fn outcomes(answer: &Answer) -> Vec<String> {
    let events = answer.json()["events"].as_array().cloned().unwrap_or_default();
    events
        .iter()
        .map(|event| event["outcome"].as_str().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn a_bad_element_of_a_webhook_is_kept_as_that_element() {
    for provider in ["alertmanager", "prometheus", "grafana"] {
        let server = start("");
        let body = r#"{"receiver":"r","alerts":[1, {"labels":{"alertname":"A"}} ,{"no":"labels"},{"labels":5}]}"#;
        let path = format!("/alerts/event/{provider}?wait=true");
        let answer = server
            .client()
            .post_bytes(&path, "application/json", body.as_bytes())
            .unwrap();
        assert_eq!(
            outcomes(&answer),
            ["invalid", "first", "invalid", "invalid"],
            "{provider}: {}",
            answer.text()
        );
        let expected: [&[u8]; 3] = [br#"{"labels":5}"#, br#"{"no":"labels"}"#, b"1"];
        assert_eq!(kept(&server), expected, "{provider}");
    }
}

#[test]
fn twenty_kilobytes_of_bad_elements_stay_small() {
    let server = start("");
    let body = format!("{{\"alerts\":[{}1]}}", "1,".repeat(10_000));
    let (_, before) = server.memory().unwrap();
    let answer = server
        .client()
        .post_bytes("/alerts/event/alertmanager", "application/json", body.as_bytes())
        .unwrap();
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert_eq!(
        answer.json()["detail"].as_array().unwrap().len(),
        100,
        "the first are named"
    );
    let (_, after) = server.memory().unwrap();
    assert!(after - before < 100 << 20, "{} MiB for 20 KB", (after - before) >> 20);
    assert!(kept(&server).iter().all(|raw| raw == b"1"));
}

#[test]
fn alerts_are_counted_after_they_are_taken_out_of_a_webhook() {
    let server = start("[ingest]\nmax_items = 10\n");
    let body = |count: usize| {
        let alerts = vec![r#"{"labels":{"alertname":"A"}}"#; count].join(",");
        format!("{{\"alerts\":[{alerts}]}}")
    };
    let send = |body: String| {
        let answer = server
            .client()
            .post_bytes("/alerts/event/prometheus", "application/json", body.as_bytes())
            .unwrap();
        (answer.status, answer.json()["code"].clone())
    };
    assert_eq!(send(body(10)).0, 202);
    assert_eq!(send(body(11)), (413, json!("too_large")));
    assert_eq!(send(format!("[{},{}]", body(6), body(5))), (413, json!("too_large")));
    assert_eq!(kept(&server).len(), 0, "nothing of a refused request is kept");
}

/// A request for alerts that says how long it is, without its body.
fn head_of(length: usize) -> Vec<u8> {
    let head = format!("POST /alerts/event HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n");
    head.into_bytes()
}

#[test]
fn bodies_in_flight_are_bounded_before_they_are_read() {
    let server = start("[ingest]\nmax_body_bytes = 1048576\nmax_inflight_bytes = 4194304\n");
    let in_flight = |wanted: u64| {
        wait_for("bytes in flight", WITHIN, || {
            let text = server.client().get("/metrics")?.text();
            let line = text
                .lines()
                .find(|line| line.starts_with("donjon_ingest_inflight_bytes "));
            Ok(line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok()) == Some(wanted))
        })
    };
    // Three quarters for large ones: three fit, of which not one byte was sent.
    let waiting: Vec<_> = (0..3)
        .map(|_| send_raw(&server.url, &head_of(1 << 20)).unwrap())
        .collect();
    in_flight(3 << 20).unwrap();
    let refused = read_to_end(send_raw(&server.url, &head_of(1 << 20)).unwrap(), WITHIN).unwrap();
    assert!(refused.starts_with("HTTP/1.1 429"), "{refused}");
    assert!(
        refused.contains("\r\nretry-after: ") && refused.contains("\"busy\""),
        "{refused}"
    );
    // In chunks: counted as it is read, and what is small goes on.
    let chunked = "POST /alerts/event HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut chunks = send_raw(&server.url, chunked.as_bytes()).unwrap();
    let spaces = vec![b' '; 64 << 10];
    let mut said = [0u8; 12];
    for _ in 0..8 {
        let sent = chunks.write_all(format!("{:x}\r\n", spaces.len()).as_bytes());
        if sent
            .and_then(|()| chunks.write_all(&spaces))
            .and_then(|()| chunks.write_all(b"\r\n"))
            .is_err()
        {
            break;
        }
    }
    chunks.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"HTTP/1.1 429");
    // What an ordinary sender brings: a small body of many alerts, of which more is made than the limit of a small one.
    let alert = |at: usize| json!({"name": format!("small {at}"), "message": "x".repeat(300), "labels": {"at": at}});
    let alerts: Vec<Value> = (0..200).map(alert).collect();
    let small = server.client().post("/alerts/event?wait=true", &json!(alerts)).unwrap();
    assert_eq!(small.status, 200, "{}", small.text());
    assert_eq!(outcomes(&small), ["first"; 200]);
    drop((waiting, chunks));
    in_flight(0).unwrap();
    let large = format!("{{\"name\":\"large\",\"message\":\"{}\"}}", "x".repeat(1_000_000));
    let answer = server
        .client()
        .post_bytes("/alerts/event", "application/json", large.as_bytes())
        .unwrap();
    assert_eq!(answer.status, 202, "{}", answer.text());
    in_flight(0).unwrap();
}

#[test]
fn what_a_body_grows_to_is_counted_before_it_is_parsed() {
    let server = start("[ingest]\nmax_body_bytes = 4000000\nmax_inflight_bytes = 16777216\n");
    let ones = format!("{{\"name\":\"n\",\"list\":[{}1]}}", "1,".repeat(500_000));
    let (_, before) = server.memory().unwrap();
    let answer = server
        .client()
        .post_bytes("/alerts/event", "application/json", ones.as_bytes())
        .unwrap();
    assert_eq!(
        (answer.status, answer.json()["code"].as_str()),
        (413, Some("too_large")),
        "{}",
        answer.text()
    );
    assert!(answer.text().contains("ingest.max_inflight_bytes"), "{}", answer.text());
    let (_, after) = server.memory().unwrap();
    assert!(after - before < 16 << 20, "{} MiB", (after - before) >> 20);
    // A text full of commas is not a list.
    let text = format!("{{\"name\":\"n\",\"message\":\"{}\"}}", ",".repeat(1_000_000));
    let answer = server
        .client()
        .post_bytes("/alerts/event", "application/json", text.as_bytes())
        .unwrap();
    assert_eq!(answer.status, 202, "{}", answer.text());
}

#[test]
fn an_alert_that_is_too_long_is_not_parsed() {
    let server = start("");
    let long = format!("{{\"name\":\"n\",\"message\":\"{}\"}}", "x".repeat(5 << 20));
    let body = format!("[{long},{{\"name\":\"short\"}}]");
    let answer = server
        .client()
        .post_bytes("/alerts/event?wait=true", "application/json", body.as_bytes())
        .unwrap();
    assert_eq!(outcomes(&answer), ["invalid", "first"]);
    let raw = kept(&server);
    assert_eq!(
        (raw.len(), raw[0].len()),
        (1, 4 << 20),
        "as much of it as an entry holds"
    );
}

#[test]
fn a_byte_that_is_no_text_costs_only_its_element() {
    let server = start("");
    let mut client = server.client();
    let list = b"[{\"name\":\"a\"},{\"name\":\"b\xff\"},{\"name\":\"c\xc3\xa9\"}]";
    let answer = client
        .post_bytes("/alerts/event?wait=true", "application/json", list)
        .unwrap();
    assert_eq!(outcomes(&answer), ["first", "invalid", "first"], "{}", answer.text());
    let webhook = b"{\"alerts\":[{\"labels\":{\"alertname\":\"A\xfe\"}},{\"labels\":{\"alertname\":\"B\"}}]}";
    let answer = client
        .post_bytes("/alerts/event/alertmanager?wait=true", "application/json", webhook)
        .unwrap();
    assert_eq!(outcomes(&answer), ["invalid", "first"], "{}", answer.text());
    let expected: [&[u8]; 2] = [b"{\"labels\":{\"alertname\":\"A\xfe\"}}", b"{\"name\":\"b\xff\"}"];
    assert_eq!(kept(&server), expected, "byte for byte");
    let marked = b"\xef\xbb\xbf{\"name\":\"with a byte-order mark\"}";
    assert_eq!(
        client
            .post_bytes("/alerts/event", "application/json", marked)
            .unwrap()
            .status,
        202
    );
}

#[test]
fn refusals_of_the_http_layer_look_like_all_others() {
    let server = start("");
    let long = "x".repeat(200_000);
    let many: String = (0..200).map(|at| format!("h{at}: v\r\n")).collect();
    let kept_open = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (request, statuses) in [
        ("NONSENSE\r\n\r\n".to_owned(), [400, 400]),
        (
            format!("GET / HTTP/1.1\r\nHost: localhost\r\nlong: {long}\r\n\r\n"),
            [431, 431],
        ),
        (format!("GET / HTTP/1.1\r\nHost: localhost\r\n{many}\r\n"), [431, 431]),
        (format!("GET /{long} HTTP/1.1\r\nHost: localhost\r\n\r\n"), [414, 431]),
        (
            "GET / HTTP/1.1\r\nHost: localhost\r\nbroken\r\n\r\n".to_owned(),
            [400, 400],
        ),
    ] {
        let said = read_to_end(send_raw(&server.url, request.as_bytes()).unwrap(), WITHIN).unwrap();
        let (head, body) = said
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("no answer: {said:?}"));
        let status: u16 = head.split(' ').nth(1).unwrap().parse().unwrap();
        assert!(statuses.contains(&status), "{head}");
        assert!(head.contains("content-type: application/json"), "{head}");
        let body: Value = serde_json::from_str(body).unwrap();
        assert!(body["detail"].is_string() && body["code"].is_string(), "{body}");
        // The same on a connection that served a request before, whose answer is untouched.
        let mut stream = send_raw(&server.url, kept_open.as_bytes()).unwrap();
        let mut answer = vec![0u8; 4096];
        let read = stream.read(&mut answer).unwrap();
        assert!(answer[..read].starts_with(b"HTTP/1.1 200"), "served first");
        stream.write_all(request.as_bytes()).unwrap();
        let said = read_to_end(stream, WITHIN).unwrap();
        assert!(said.starts_with("HTTP/1.1 4") && said.contains("\"detail\":"), "{said}");
    }
}

#[test]
fn a_key_in_the_query_is_in_no_log() {
    let config = "[log]\nfilter = \"trace\"\n[auth]\nmode = \"api_key\"\n[[auth.keys]]\nname = \"a\"\nkey = \"TOPSECRET\"\n\
        tenant = \"t\"\nrole = \"admin\"\n";
    let server = start(config);
    let mut client = server.client();
    assert_eq!(client.get("/alerts?api_key=TOPSECRET").unwrap().status, 200);
    assert_eq!(client.get("/alerts?api_key=TOPSECRET&limit=x").unwrap().status, 400);
    assert_eq!(client.get("/nowhere?api_key=TOPSECRET").unwrap().status, 404);
    assert_eq!(client.get("/alerts?api_key=WRONGSECRET").unwrap().status, 401);
    let log = server.log();
    assert!(log.contains("/nowhere"), "requests are logged at this level: {log}");
    assert!(!log.contains("SECRET"), "{log}");
}

#[test]
fn errors_of_the_command_line_tell_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("donjon.toml");
    let key = |line: &str| {
        format!("[auth]\nmode = \"api_key\"\n[[auth.keys]]\nname = \"a\"\n{line}\ntenant = \"t\"\nrole = \"admin\"\n")
    };
    let run = |args: &[&str]| {
        let output = Command::new(files::donjon()).args(args).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    };
    for line in [
        "key = TOPSECRET",
        "key = [\"TOPSECRET\"]",
        "key = { a = \"TOPSECRET\" }",
        "role = \"TOPSECRET\"",
    ] {
        std::fs::write(&file, key(line)).unwrap();
        let (code, text) = run(&["check-config", file.to_str().unwrap()]);
        assert_eq!(code, Some(2), "{line}: {text}");
        assert!(!text.contains("TOPSECRET"), "{line}: {text}");
        assert!(
            text.contains(" at line ") || text.contains("auth.keys"),
            "says where: {text}"
        );
    }
    let (code, text) = run(&["incident", "list", "--url", "http://user:TOPSECRET@127.0.0.1:1"]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("127.0.0.1:1") && !text.contains("TOPSECRET"), "{text}");
}
