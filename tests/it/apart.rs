//! Two plugins and two tenants, and everything that one could have of another: data, memory, errors, back-off, rules and
//! policies. One matrix, each cell of it asserted for each plugin and tenant.

use std::collections::BTreeSet;
use std::time::Duration;

use donjon_tests::client::Client;
use donjon_tests::server::wait_for;
use donjon_tests::{Server, ServerOptions, files};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);
const TENANTS: [&str; 2] = ["a", "b"];
const PLUGINS: [&str; 2] = ["one", "two"];
/// Named in an alert of tenant `a`.
const SECRET: &str = "wiretap";
const FOREIGN: &str = "names a rule or policy that is not its own";

fn client(server: &Server, tenant: &str) -> Client {
    server.client().with_header("X-API-KEY", tenant)
}

fn get(server: &Server, tenant: &str, path: &str) -> Value {
    let answer = client(server, tenant).get(path).unwrap();
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

fn server() -> Server {
    let key = |tenant: &str| {
        format!("[[auth.keys]]\nname = \"{tenant}\"\nkey = \"{tenant}\"\ntenant = \"{tenant}\"\nrole = \"admin\"\n")
    };
    let plugin = |name: &str| {
        format!("[plugins.{name}]\npolicy = \"optional\"\ngrants = [\"kv\"]\nconfig = {{ who = \"{name}\" }}\n")
    };
    let config = ["[auth]\nmode = \"api_key\"\n".to_owned()].into_iter();
    let config = config.chain(TENANTS.map(key)).chain(PLUGINS.map(plugin));
    let server = Server::start_with(ServerOptions {
        plugins: vec![files::plugin("rules")],
        config: config.collect(),
        ..ServerOptions::default()
    })
    .unwrap();
    let lodger = std::fs::read(files::guest("lodger").unwrap()).unwrap();
    for name in PLUGINS {
        server.drop_plugin(&format!("{name}.wasm"), &lodger).unwrap();
        let serves = || Ok(client(&server, "a").get(&format!("/plugins/{name}"))?.json()["state"] == "serving");
        wait_for("the plugin to serve", PATIENCE, serves).unwrap_or_else(|error| panic!("{error:#}\n{}", server.log()));
    }
    server
}

/// Sends one alert with these labels and answers what it became, with its incidents and the reason of a failure.
fn send(server: &Server, tenant: &str, name: &str, labels: &Value) -> (Value, Value) {
    let alert = json!({"name": name, "fingerprint": name, "labels": labels});
    let answer = client(server, tenant).post("/alerts/event?wait=true", &alert).unwrap();
    assert_eq!(answer.status, 200, "{}\n{}", answer.text(), server.log());
    let event = answer.json()["events"][0].clone();
    (get(server, tenant, &format!("/alerts/{name}")), event)
}

/// What both plugins have counted for a tenant: one's stored and remembered, two's stored and remembered.
fn counts(server: &Server, tenant: &str, name: &str) -> [u64; 4] {
    let (alert, event) = send(server, tenant, name, &json!({}));
    assert!(event["reason"].is_null(), "{tenant}: {event}\n{}", server.log());
    let count = |label: &str| alert["labels"][label].as_str().and_then(|text| text.parse().ok());
    ["one_stored", "one_remembered", "two_stored", "two_remembered"]
        .map(|label| count(label).unwrap_or_else(|| panic!("{label} in {alert}")))
}

fn reason(event: &Value) -> &str {
    event["reason"].as_str().unwrap_or_default()
}

fn last_error(server: &Server, tenant: &str, plugin: &str) -> Value {
    get(server, tenant, &format!("/plugins/{plugin}"))["last_error"].clone()
}

/// Rows: data and memory.
fn data_and_memory_are_of_one_plugin_and_tenant(server: &Server) {
    for (tenant, plugin, alerts) in [("a", "one", 4), ("a", "two", 1), ("b", "one", 2), ("b", "two", 3)] {
        for at in 0..alerts {
            send(server, tenant, &format!("{plugin}-{at}"), &json!({plugin: "count me"}));
        }
    }
    assert_eq!(counts(server, "a", "counted"), [4, 4, 1, 1]);
    assert_eq!(counts(server, "b", "counted"), [2, 2, 3, 3]);
}

/// Rows: errors, and memory again. Plugin `one` breaks over an alert of tenant `a`.
fn a_break_is_told_to_whose_alert_it_was_and_costs_one_memory(server: &Server) {
    let (_, event) = send(server, "a", SECRET, &json!({"breaks": "one"}));
    assert!(
        reason(&event).contains("one: ") && !reason(&event).contains("two: "),
        "{event}"
    );
    let message = |tenant: &str| last_error(server, tenant, "one")["message"].to_string();
    assert!(message("a").contains(SECRET), "{}", message("a"));
    assert!(!message("b").contains(SECRET), "{}", message("b"));
    for tenant in TENANTS {
        assert_eq!(last_error(server, tenant, "two"), Value::Null, "{tenant}");
    }
    // The next copy for that tenant is made in the background.
    let mut tries = 0;
    wait_for("the next copy", PATIENCE, || {
        tries += 1;
        let (_, event) = send(server, "a", &format!("again-{tries}"), &json!({}));
        Ok(event["reason"].is_null())
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", server.log()));
    assert_eq!(
        counts(server, "a", "after"),
        [4, 0, 1, 1],
        "data is kept, memory begins anew"
    );
    assert_eq!(counts(server, "b", "after"), [2, 2, 3, 3]);
}

/// Row: back-off. Plugin `two` asks to be left alone over an alert of tenant `a`.
fn who_is_left_alone_is_so_for_one_tenant(server: &Server) {
    send(server, "a", "waits", &json!({"waits": "two"}));
    let (alert, event) = send(server, "a", "left-alone", &json!({}));
    assert!(reason(&event).contains("two: plugin is backing off"), "{event}");
    assert!(!reason(&event).contains("one: "), "{event}");
    assert_eq!(
        (&alert["labels"]["one_stored"], &alert["labels"]["two_stored"]),
        (&json!("4"), &Value::Null),
        "{alert}"
    );
    assert_eq!(counts(server, "b", "not-left-alone"), [2, 2, 3, 3]);
}

/// Row: rules and policies. What all of the above has come to, as each tenant sees it.
fn each_speaks_for_its_own_policy_and_tenant(server: &Server) {
    let mut seen: Vec<BTreeSet<String>> = Vec::new();
    for tenant in TENANTS {
        let incidents = get(server, tenant, "/incidents?limit=1000")["items"].clone();
        let items = incidents.as_array().unwrap();
        let rules: BTreeSet<&str> = items.iter().filter_map(|of| of["rule_id"].as_str()).collect();
        assert_eq!(rules, BTreeSet::from(["one/stay", "two/stay"]), "{tenant}: {incidents}");
        assert_eq!(items.len(), 2, "one group a policy: {incidents}");
        seen.push(items.iter().map(|of| of["id"].to_string()).collect());
        let rules = get(server, tenant, "/rules");
        assert_eq!(
            (&rules[0]["counters"]["matches"], &rules[0]["counters"]["errors"]),
            (&json!(0), &json!(0)),
            "{tenant}: {rules}"
        );
    }
    assert!(seen[0].is_disjoint(&seen[1]), "{seen:?}");
    for plugin in PLUGINS {
        let status = get(server, "a", &format!("/plugins/{plugin}"));
        assert_eq!(
            (&status["role"], &status["roles"]),
            (&json!("correlator, enricher"), &json!(["correlator", "enricher"]))
        );
        assert!(status["dropped"][FOREIGN].as_u64() >= Some(2), "{status}");
    }
    let dropped = get(server, "a", "/plugins/rules")["dropped"].clone();
    assert_eq!(dropped, json!({}), "of others, the rules plugin knows nothing");
}

#[test]
fn two_plugins_and_two_tenants_share_nothing() {
    let server = server();
    for tenant in TENANTS {
        let never = json!({"ruleName": "never", "celQuery": "name == \"never\"", "timeframeInSeconds": 600,
            "timeUnit": "seconds"});
        let rule = client(&server, tenant).post("/rules", &never).unwrap();
        assert_eq!(rule.status, 200, "{}", rule.text());
    }
    data_and_memory_are_of_one_plugin_and_tenant(&server);
    a_break_is_told_to_whose_alert_it_was_and_costs_one_memory(&server);
    who_is_left_alone_is_so_for_one_tenant(&server);
    each_speaks_for_its_own_policy_and_tenant(&server);
}
