//! What evaluated rules once is required until the configuration says otherwise: whatever becomes of its file, and over
//! restarts. No alert passes in silence that its rules should have been compared with.

use std::path::Path;
use std::time::Duration;

use donjon_tests::server::wait_for;
use donjon_tests::{Server, ServerOptions, files};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(120);
/// Too little memory for any plugin: each is refused, for now.
const TOO_LITTLE_MEMORY: &str = "[plugin_host]\nmemory_bytes = 1048576\n";
const OPTIONAL: &str = "[plugins.rules]\npolicy = \"optional\"\n";

fn start(data: &Path, plugins: &[&str], config: &str, begins_held: bool) -> Server {
    let options = ServerOptions {
        data_dir: Some(data.to_owned()),
        plugins: plugins.iter().map(|name| files::plugin(name)).collect(),
        config: config.into(),
        begins_held,
        ..ServerOptions::default()
    };
    Server::start_with(options).unwrap()
}

/// A server that had a rule for everything and the correlator, and was stopped.
fn served_rules_once(data: &Path) {
    let server = start(data, &["rules"], "", false);
    rule_for_everything(&server);
    server.stop().unwrap();
}

fn rule_for_everything(server: &Server) {
    let rule = json!({"ruleName": "all", "celQuery": "true", "timeframeInSeconds": 600, "timeUnit": "seconds"});
    let answer = server.client().post("/rules", &rule).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn ready(server: &Server) -> (u16, Value) {
    let answer = server.client().get("/readyz").unwrap();
    (answer.status, answer.json())
}

/// The line is held for `rules`, and an alert that comes in waits.
fn is_held(server: &Server) {
    wait_for("the line to be held for rules", PATIENCE, || {
        let (status, body) = ready(server);
        Ok(status == 503 && body["held"].as_str().is_some_and(|held| held.contains("rules")))
    })
    .unwrap_or_else(|error| panic!("{error:#}: {:?}\n{}", ready(server), server.log()));
    let sent = server
        .client()
        .post("/alerts/event", &json!({"name": "waits"}))
        .unwrap();
    assert_eq!(sent.status, 202, "{}", sent.text());
    std::thread::sleep(Duration::from_secs(1));
    let (status, body) = ready(server);
    assert_eq!(status, 503, "{body}");
    assert!(body["applied"].as_u64() < body["accepted"].as_u64(), "{body}");
}

/// With its correlator back, everything that waited is in the incident.
fn goes_on_with_rules(server: &Server, waited: usize) {
    wait_for("the line to go on", PATIENCE, || {
        let (status, body) = ready(server);
        Ok(status == 200 && body["accepted"] == body["applied"])
    })
    .unwrap_or_else(|error| panic!("{error:#}: {:?}\n{}", ready(server), server.log()));
    let alerts = server.client().get("/alerts").unwrap().json();
    let alerts = alerts.as_array().unwrap();
    assert_eq!(alerts.len(), waited);
    for alert in alerts {
        assert!(alert["incident"].is_string(), "{alert}\n{}", server.log());
    }
}

fn copy_rules(server: &Server) {
    let rules = std::fs::read(files::plugin("rules")).unwrap();
    server.drop_plugin("rules.wasm", &rules).unwrap();
}

#[test]
fn a_correlator_of_rules_that_is_refused_for_now_after_a_restart_holds_the_line() {
    let data = tempfile::tempdir().unwrap();
    served_rules_once(data.path());
    let server = start(data.path(), &["rules"], TOO_LITTLE_MEMORY, true);
    is_held(&server);
    let plugin = server.client().get("/plugins/rules").unwrap().json();
    assert_eq!(
        (&plugin["policy"], &plugin["state"]),
        (&json!("required"), &json!("rejected"))
    );
    // Held when it ends: the next start knows it as well.
    server.stop().unwrap();
    let server = start(data.path(), &["rules"], TOO_LITTLE_MEMORY, true);
    is_held(&server);
    server.stop().unwrap();
    goes_on_with_rules(&start(data.path(), &["rules"], "", true), 1);
}

#[test]
fn a_correlator_of_rules_that_was_deleted_while_the_server_was_down_holds_the_line() {
    let data = tempfile::tempdir().unwrap();
    served_rules_once(data.path());
    let server = start(data.path(), &[], "", true);
    is_held(&server);
    copy_rules(&server);
    goes_on_with_rules(&server, 1);
}

#[test]
fn a_correlator_of_rules_that_was_replaced_by_a_bad_file_before_any_alert_is_still_required() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &["rules"], "", false);
    rule_for_everything(&server);
    std::fs::remove_file(server.plugin_dir.join("rules.wasm")).unwrap();
    wait_for("the plugin to be gone", PATIENCE, || {
        Ok(server.client().get("/plugins/rules")?.json()["state"] == "missing")
    })
    .unwrap();
    server.drop_plugin("rules.wasm", b"\0asm\x01\0\0\0half").unwrap();
    is_held(&server);
    server.stop().unwrap();
    let server = start(data.path(), &[], "", true);
    is_held(&server);
    copy_rules(&server);
    goes_on_with_rules(&server, 1);
}

#[test]
fn another_kind_of_plugin_under_the_name_does_not_take_the_place_of_a_correlator_of_rules() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &["rules"], "", false);
    rule_for_everything(&server);
    // Another correlator beside it, which takes no rules.
    let panicker = std::fs::read(files::guest("panicker").unwrap()).unwrap();
    server.drop_plugin("panicker.wasm", &panicker).unwrap();
    let enricher = std::fs::read(files::guest("vandal").unwrap()).unwrap();
    server.drop_plugin("rules.wasm", &enricher).unwrap();
    wait_for("the enricher to be refused", PATIENCE, || {
        let rules = server.client().get("/plugins/rules")?.json();
        let why = rules["last_error"]["message"].as_str().unwrap_or_default().to_owned();
        Ok(rules["role"] == "correlator" && rules["state"] == "serving" && why.contains("the file takes no rules"))
    })
    .unwrap();
    assert_eq!(ready(&server).0, 200);
    goes_on_with_rules(&server, 0);

    // Where nothing serves there is nothing that it would take the place of, and the line waits for the rules.
    std::fs::remove_file(server.plugin_dir.join("rules.wasm")).unwrap();
    wait_for("the plugin to be missing", PATIENCE, || {
        Ok(server.client().get("/plugins/rules")?.json()["state"] == "missing")
    })
    .unwrap();
    assert!(
        server.log().contains("alerts are taken and wait, nothing is lost"),
        "{}",
        server.log()
    );
    server.drop_plugin("rules.wasm", &enricher).unwrap();
    wait_for("the enricher", PATIENCE, || {
        Ok(server.client().get("/plugins/rules")?.json()["role"] == "enricher")
    })
    .unwrap();
    is_held(&server);
    copy_rules(&server);
    goes_on_with_rules(&server, 1);
}

#[test]
fn a_correlator_of_rules_is_given_up_by_calling_it_optional_for_one_start() {
    let data = tempfile::tempdir().unwrap();
    served_rules_once(data.path());
    start(data.path(), &[], OPTIONAL, false).stop().unwrap();
    let server = start(data.path(), &[], "", false);
    assert_eq!(ready(&server).0, 200);
}

#[test]
fn an_alert_is_told_that_no_rule_was_evaluated_though_another_correlator_serves() {
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[], "", false);
    let panicker = std::fs::read(files::guest("panicker").unwrap()).unwrap();
    server.drop_plugin("panicker.wasm", &panicker).unwrap();
    wait_for("the other correlator", PATIENCE, || {
        Ok(server.client().get("/plugins/panicker")?.json()["state"] == "serving")
    })
    .unwrap();
    let send = |name: &str| {
        let alert = json!({"name": name, "fingerprint": name});
        let sent = server.client().post("/alerts/event?wait=true", &alert).unwrap();
        sent.json()["events"][0]["reason"].clone()
    };
    assert_eq!(send("before there was a rule"), Value::Null);
    rule_for_everything(&server);
    let reason = send("unseen");
    assert!(
        reason
            .as_str()
            .is_some_and(|reason| reason.contains("no rule was evaluated")),
        "{reason}"
    );
    copy_rules(&server);
    wait_for("the correlator of rules", PATIENCE, || {
        Ok(server.client().get("/plugins/rules")?.json()["state"] == "serving")
    })
    .unwrap();
    let again = server.client().post("/alerts/rejudge", &json!({"from": 1, "to": 1000}));
    assert_eq!(again.unwrap().json()["judged"], 1);
    let alert = server.client().get("/alerts/unseen").unwrap().json();
    assert!(
        alert["incident"].is_string() && alert["plugin_failure"].is_null(),
        "{alert}"
    );
}

#[test]
fn what_a_failing_plugin_said_of_a_tenant_s_alerts_is_not_in_readyz_which_needs_no_key() {
    let key = |tenant: &str| {
        format!("[[auth.keys]]\nname = \"{tenant}\"\nkey = \"{tenant}\"\ntenant = \"{tenant}\"\nrole = \"admin\"\n")
    };
    let config = format!(
        "[auth]\nmode = \"api_key\"\n{}{}[plugins.panicker]\npolicy = \"required\"\n",
        key("a"),
        key("b")
    );
    let data = tempfile::tempdir().unwrap();
    let server = start(data.path(), &[], &config, true);
    let panicker = std::fs::read(files::guest("panicker").unwrap()).unwrap();
    server.drop_plugin("panicker.wasm", &panicker).unwrap();
    server.wait_ready().unwrap();
    let client = |tenant: &str| server.client().with_header("X-API-KEY", tenant);
    let last_error = |tenant: &str| {
        let mut client = client(tenant);
        let plugin = client.get("/plugins/panicker").unwrap().json();
        plugin["last_error"]["message"].as_str().unwrap_or_default().to_owned()
    };
    let poison = json!({"name": "poison", "fingerprint": "one"});
    let sent = client("a").post("/alerts/event", &poison).unwrap();
    assert_eq!(sent.status, 202, "{}", sent.text());
    wait_for("the plugin to fail", PATIENCE, || Ok(!last_error("a").is_empty())).unwrap();
    let held_seen = (0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        let held = server.client().get("/readyz").unwrap().text();
        assert!(!held.contains("poison"), "{held}");
        held.contains("required plugin fails: panicker")
    });
    assert!(held_seen, "{}", server.log());
    assert!(last_error("a").contains("poison"), "{}", last_error("a"));
    assert!(!last_error("b").contains("poison"), "{}", last_error("b"));
}
