//! Answers that no SDK would build, from a component that serves beside the rules component: each is told to its alert or
//! counted on the plugin, and every alert is judged by everybody else.

use std::time::Duration;

use donjon_tests::server::wait_for;
use donjon_tests::{Server, ServerOptions, files};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);
const COUNTED: &str = "out of range or over a limit";

fn server(deed: &str) -> Server {
    let config = format!(
        "[plugins.villain]\npolicy = \"optional\"\ngrants = [\"kv\"]\nconfig = {{ deed = \"{deed}\" }}\n\
         [plugins.rules]\npolicy = \"required\"\n"
    );
    let server = Server::start_with(ServerOptions {
        plugins: vec![files::plugin("rules"), files::guest("villain").unwrap()],
        config,
        ..ServerOptions::default()
    })
    .unwrap();
    wait_for("the plugin to serve", PATIENCE, || {
        Ok(villain(&server)["state"] == "serving")
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", server.log()));
    let rule = json!({"ruleName": "all", "celQuery": "true", "timeframeInSeconds": 600, "timeUnit": "seconds"});
    assert_eq!(server.client().post("/rules", &rule).unwrap().status, 200);
    server
}

fn villain(server: &Server) -> Value {
    server.client().get("/plugins/villain").unwrap().json()
}

/// Sends poison amid other alerts; answers what the poison was told. All are in the incident of the rule, and in no other.
fn told(server: &Server) -> String {
    let names = ["before", "poison", "after"];
    let alerts: Vec<Value> = names.map(|name| json!({"name": name, "fingerprint": name})).into();
    let answer = server
        .client()
        .post("/alerts/event?wait=true", &Value::Array(alerts))
        .unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    let events = answer.json()["events"].clone();
    for (at, name) in names.iter().enumerate() {
        let event = &events[at];
        assert_eq!(
            event["incidents"].as_array().map(Vec::len),
            Some(1),
            "{event}\n{}",
            server.log()
        );
        assert_eq!(event["incidents"], events[0]["incidents"], "{event}");
        let alert = server.client().get(&format!("/alerts/{name}")).unwrap().json();
        assert_eq!(alert["plugin_failure"], event["reason"], "{alert}");
        if *name != "poison" {
            assert!(event["reason"].is_null(), "{event}\n{}", server.log());
        }
    }
    events[1]["reason"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_verdict_on_an_alert_that_nobody_asked_about_is_counted_on_the_plugin() {
    let server = server("foreign-alerts");
    assert_eq!(told(&server), "");
    let status = villain(&server);
    assert_eq!(
        (&status["dropped"][COUNTED], &status["failures"]),
        (&json!(1), &json!(0)),
        "{status}"
    );
}

#[test]
fn lists_that_do_not_fit_together_fail_the_call_and_the_alert_is_told() {
    refused("crooked-lists", "there is not one entry a verdict in each list");
}

#[test]
fn a_text_that_is_not_there_fails_the_call_and_the_alert_is_told() {
    refused(
        "unknown-texts",
        "the id of a text is beyond the texts of the batch and its own",
    );
}

#[test]
fn an_answer_that_says_more_than_this_version_knows_fails_the_call_and_the_alert_is_told() {
    refused("grown-answer", "this version knows nothing of what is in `more`");
}

fn refused(deed: &str, why: &str) {
    let server = server(deed);
    let reason = told(&server);
    assert!(reason.starts_with("villain: ") && reason.contains(why), "{reason}");
    let status = villain(&server);
    assert!(status["failures"].as_u64() > Some(0), "{status}");
    let shown = status["last_error"]["message"].as_str().unwrap_or_default();
    assert!(shown.contains(why), "{status}");
}
