//! Clients that are slow, silent or too many cost little and stop nobody else.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use donjon_tests::client::{read_to_end, send_raw};
use donjon_tests::server::wait_for;
use donjon_tests::{Server, ServerOptions, files};
use serde_json::json;

const WITHIN: Duration = Duration::from_secs(30);

fn start(config: &str, open_files: Option<u32>) -> Server {
    let options = ServerOptions {
        plugins: vec![files::plugin("rules")],
        config: config.into(),
        open_files,
        ..ServerOptions::default()
    };
    Server::start_with(options).unwrap()
}

/// So many connections, without those that were closed before they could say anything.
fn crowd(server: &Server, count: usize, says: &str) -> Vec<TcpStream> {
    (0..count)
        .filter_map(|_| send_raw(&server.url, says.as_bytes()).ok())
        .collect()
}

/// A connection that was served, and stays.
fn served(server: &Server) -> TcpStream {
    let mut served = None;
    wait_for("a place", WITHIN, || {
        let mut stream = send_raw(&server.url, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let mut answer = [0u8; 4096];
        let read = stream.read(&mut answer)?;
        let ok = answer[..read].starts_with(b"HTTP/1.1 200");
        served = ok.then_some(stream);
        Ok(ok)
    })
    .unwrap();
    served.unwrap()
}

#[test]
fn a_connection_that_says_nothing_is_closed() {
    let server = start("[server]\nheader_timeout_ms = 300\nidle_timeout_ms = 300\n", None);
    let silent = send_raw(&server.url, b"").unwrap();
    assert_eq!(read_to_end(silent, WITHIN).unwrap(), "");
    let half = send_raw(&server.url, b"GET /healthz HTTP/1.1\r\nHo").unwrap();
    let said = read_to_end(half, WITHIN).unwrap();
    assert!(
        said.starts_with("HTTP/1.1 408") && said.contains("\"timeout\""),
        "{said}"
    );
    let idle = send_raw(&server.url, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let said = read_to_end(idle, WITHIN).unwrap();
    assert!(said.starts_with("HTTP/1.1 200"), "answered, then closed: {said}");
    assert!(!said.contains("408"), "a client that is done is told nothing: {said}");
}

#[test]
fn a_body_that_does_not_come_is_given_up() {
    let server = start("[server]\nbody_timeout_ms = 300\n", None);
    for (path, head) in [
        ("/alerts/event", "Content-Length: 100\r\n"),
        ("/alerts/event", "Transfer-Encoding: chunked\r\n"),
        ("/rules", "Content-Type: application/json\r\nContent-Length: 100\r\n"),
    ] {
        let request = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{head}\r\n");
        let said = read_to_end(send_raw(&server.url, request.as_bytes()).unwrap(), WITHIN).unwrap();
        assert!(said.starts_with("HTTP/1.1 408"), "{path} {head}: {said}");
        assert!(said.contains("server.body_timeout_ms"), "{said}");
    }
}

#[test]
fn one_connection_too_many_is_told_so() {
    let server = start("[server]\nmax_connections = 8\n", None);
    let mut held: Vec<TcpStream> = (0..8).map(|_| served(&server)).collect();
    let said = read_to_end(send_raw(&server.url, b"").unwrap(), WITHIN).unwrap();
    assert!(said.starts_with("HTTP/1.1 503"), "{said}");
    assert!(
        said.contains("\"too_many_connections\"") && said.contains("retry-after: "),
        "{said}"
    );
    let (first, rest) = held.split_first_mut().unwrap();
    first
        .write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let mut answer = vec![0u8; 64 << 10];
    let read = first.read(&mut answer).unwrap();
    assert!(answer[..read].starts_with(b"HTTP/1.1 200"), "who is there is served");
    for one in rest {
        one.shutdown(std::net::Shutdown::Both).unwrap();
    }
    wait_for("a place", WITHIN, || Ok(server.client().get("/healthz")?.status == 200)).unwrap();
    let metrics = server.client().get("/metrics").unwrap().text();
    assert!(metrics.contains("donjon_connections_refused_total "), "{metrics}");
    assert_eq!(
        server.log().matches("too many connections").count(),
        1,
        "told once a minute"
    );
}

#[test]
fn a_crowd_leaves_descriptors_to_the_journal() {
    let server = start("[storage]\nsegment_bytes = 65536\n", Some(160));
    let mut client = server.client();
    assert_eq!(client.get("/healthz").unwrap().status, 200);
    let _crowd = crowd(&server, 300, "GET / HTTP/1.1\r\nHo");
    // Of 64 letters by chance: it does not become much smaller in the journal.
    let letter = |_| {
        char::from(b'0' + rand::random::<u8>() % 64)
            .to_string()
            .replace('\\', "/")
    };
    let noise: String = (0..60_000).map(letter).collect();
    for at in 0..60 {
        let alert = json!({"name": format!("n{at}"), "message": format!("{at}{noise}")});
        let answer = client.post("/alerts/event", &alert).unwrap();
        assert_eq!(answer.status, 202, "{}\n{}", answer.text(), server.log());
    }
    let segments = std::fs::read_dir(server.data_dir.join("journal")).unwrap().count();
    assert!(
        segments > 5,
        "only {segments} segments: the journal opened no new files"
    );
}

#[test]
fn too_few_descriptors_are_named_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let script = "ulimit -n $1; exec \"$0\" serve --listen 127.0.0.1:0 --data-dir \"$2/data\" --plugin-dir \"$2\"";
    for limit in ["12", "14", "15", "16", "17"] {
        let output = Command::new("timeout")
            .args(["3", "sh", "-c", script])
            .arg(files::donjon())
            .arg(limit)
            .arg(dir.path())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let started = String::from_utf8_lossy(&output.stdout).contains("listening");
        assert!(started || text.contains("open files"), "{limit}: {text}");
        assert!(!text.contains("another server"), "{limit}: {text}");
    }
}

#[test]
fn idle_connections_are_cheap() {
    let server = start("", None);
    // What the first connections cost is not what one costs.
    drop(crowd(&server, 50, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"));
    let (before, _) = server.memory().unwrap();
    let held = crowd(&server, 600, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    wait_for("all to be served", WITHIN, || {
        let text = server.client().get("/metrics")?.text();
        let line = text.lines().find(|line| line.starts_with("donjon_connections "));
        Ok(line.and_then(|line| line.rsplit(' ').next()?.parse::<usize>().ok()) >= Some(600))
    })
    .unwrap();
    let (after, _) = server.memory().unwrap();
    let each = after.saturating_sub(before) / held.len() as u64;
    println!("{each} bytes a connection");
    assert!(each < 48 << 10, "{each} bytes a connection");
}

fn threads(server: &Server) -> usize {
    std::fs::read_dir(format!("/proc/{}/task", server.pid()))
        .unwrap()
        .count()
}

#[test]
fn one_event_stream_too_many_is_told_so_and_all_share_one_reader() {
    let server = start("[server]\nmax_event_streams = 100\n", None);
    let mut client = server.client();
    client
        .post("/alerts/event?wait=true", &json!({"name": "before"}))
        .unwrap();
    let before = threads(&server);
    let mut streams: Vec<_> = (0..100).map(|_| client.follow("/events", "").unwrap()).collect();
    let refused = client.get("/events").unwrap();
    assert_eq!(
        (refused.status, refused.json()["code"].as_str()),
        (503, Some("too_many_streams")),
        "{}",
        refused.text()
    );
    assert!(refused.header("retry-after").is_some());
    for at in 0..20 {
        let alert = json!({"name": "n", "fingerprint": format!("f{at}")});
        client.post("/alerts/event?wait=true", &alert).unwrap();
    }
    let after = threads(&server);
    for stream in &mut streams {
        stream
            .wait_for(WITHIN, |line| line.starts_with("data:") && line.contains("\"f19\""))
            .unwrap();
    }
    assert!(
        after < before + 10,
        "{before} threads, then {after}: each stream reads for itself"
    );
    drop(streams);
    wait_for("a place", WITHIN, || Ok(server.client().follow("/events", "").is_ok())).unwrap();
}

#[test]
fn a_stop_does_not_wait_for_silent_clients() {
    let server = start("", None);
    let _silent = crowd(&server, 5, "");
    let _half = crowd(&server, 5, "GET /healthz HTTP/1.1\r\nHo");
    let _idle = crowd(&server, 5, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(server.client().get("/healthz").unwrap().status, 200);
    let begun = Instant::now();
    let (status, log) = server.stop().unwrap();
    assert!(status.success(), "{log}");
    assert!(!log.contains("some clients kept their connections"), "{log}");
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
}
