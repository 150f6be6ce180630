//! The server attacked along its own description: schemathesis makes requests out of `/openapi.json`, good and bad ones,
//! and holds the answers against it. Knows no route.

use std::process::Command;

use donjon_tests::{Server, services};

/// What an answer is held against.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,unsupported_method";

#[test]
fn every_answer_is_one_that_the_description_of_the_interface_names() {
    let server = Server::start().unwrap();
    let output = Command::new(services::schemathesis())
        .args(["run", &format!("{}/openapi.json", server.url), "--checks", CHECKS])
        .args([
            "--phases",
            "examples,coverage,fuzzing",
            "--max-examples",
            "20",
            "--seed",
            "1",
        ])
        // The stream of events does not end, which is what it is for.
        .args([
            "--exclude-path",
            "/events",
            "--continue-on-failure",
            "--warnings",
            "off",
        ])
        .args([
            "--request-timeout",
            "60",
            "--no-color",
            "--no-shrink",
            "--generation-deterministic",
        ])
        .current_dir(server.scratch())
        .output()
        .unwrap_or_else(|error| panic!("start schemathesis; run `make setup` first: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{text}\n{complaint}\n{}", server.log());
    let tested = text.lines().find(|line| line.trim_start().starts_with("Tested:"));
    let count = tested.and_then(|line| line.split_whitespace().nth(1)?.parse::<usize>().ok());
    assert!(
        count.is_some_and(|count| count >= 25),
        "only {tested:?} operations were tried:\n{text}"
    );
    assert_eq!(server.client().get("/healthz").unwrap().status, 200);
}
