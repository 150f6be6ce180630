//! What the command line says when a server refuses: whose fault it is by the exit code, which file and rule are meant,
//! and how to go on with what was taken in part.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output};

use donjon_tests::{Server, files};
use serde_json::{Value, json};

fn donjon(url: &str, args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(files::donjon());
    let Output { status, stderr, .. } = command.args(args).env("DONJON_URL", url).output().unwrap();
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

/// Asks a server that answers every request in this way.
fn answered(status: &str, body: &Value, args: &[&str]) -> (Option<i32>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (stream, _) = listener.accept().unwrap();
            let mut stream = BufReader::new(stream);
            let (mut line, mut length) = (String::from("head"), 0);
            while !line.trim_end().is_empty() {
                line.clear();
                stream.read_line(&mut line).unwrap();
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
            }
            stream.read_exact(&mut vec![0; length]).unwrap();
            let body = body.to_string();
            let head = format!(
                "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
                body.len()
            );
            stream.get_mut().write_all((head + &body).as_bytes()).unwrap();
        });
        donjon(&url, args)
    })
}

#[test]
fn back_pressure_is_no_wrong_input() {
    let exit_code = |status: &str| {
        let (code, text) = answered(
            status,
            &json!({"detail": "why", "code": "c"}),
            &["incident", "show", "i"],
        );
        assert!(text.contains(status) && text.contains("why"), "{text}");
        code
    };
    for later in [
        "408 Request Timeout",
        "429 Too Many Requests",
        "503 Service Unavailable",
        "504 Gateway Timeout",
    ] {
        assert_eq!(exit_code(later), Some(1), "{later}");
    }
    for wrong in ["400 Bad Request", "404 Not Found", "422 Unprocessable Entity"] {
        assert_eq!(exit_code(wrong), Some(2), "{wrong}");
    }
}

#[test]
fn a_rejudge_that_is_not_done_says_the_command_that_goes_on() {
    let body = json!({"detail": "late; go on with from = 385", "code": "not_yet_applied", "go_on_from": 385});
    let args = ["alert", "rejudge", "--from", "1", "--to", "100000", "--all"];
    let (code, text) = answered("504 Gateway Timeout", &body, &args);
    assert_eq!(code, Some(1));
    assert!(
        text.contains("donjon alert rejudge --from 385 --to 100000 --all"),
        "{text}"
    );
    let (_, text) = answered("504 Gateway Timeout", &json!({"detail": "late"}), &args);
    assert!(!text.contains("--from"), "{text}");
}

#[test]
fn a_rule_at_fault_is_told_with_its_file_and_its_place_there() {
    let server = Server::start().unwrap();
    let rule = |name: &str, condition: &str| json!({"ruleName": name, "celQuery": condition, "timeframeInSeconds": 60, "timeUnit": "seconds"});
    let fine = server.scratch().join("fine.json");
    let bad = server.scratch().join("bad.json");
    std::fs::write(&fine, json!([rule("a", "true"), rule("b", "true")]).to_string()).unwrap();
    let told = |rules: Value| {
        std::fs::write(&bad, rules.to_string()).unwrap();
        let args = ["rule", "apply", fine.to_str().unwrap(), bad.to_str().unwrap()];
        let (code, text) = donjon(&server.url, &args);
        assert_eq!(code, Some(2), "{text}");
        text
    };
    let check = |rules: Value, place: &str, why: &str| {
        let (text, place) = (told(rules), format!("file {}, {place}: ", bad.display()));
        assert!(text.contains(&place) && text.contains(why), "{text}");
    };
    // What the server sees before the plugins do, and what only a plugin refuses.
    check(
        json!([rule("c", "true"), rule("broken", "name = 1")]),
        "rule 2 (broken)",
        "celQuery (line 1, column ",
    );
    let long = format!("labels.{} == 1", "x".repeat(300));
    check(
        json!([rule("c", "true"), rule("d", "true"), rule("long", &long)]),
        "rule 3 (long)",
        "path is longer",
    );
    // An empty value, a name that another file has, and no rule at all.
    check(json!({"ruleName": ""}), "rule 1 ()", "Rule name is required");
    check(json!([rule("b", "false")]), "rule 1 (b)", "two rules have this name");
    check(json!([5]), "rule 1 (without a name)", "must be a JSON object");
}
