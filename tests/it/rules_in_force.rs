//! A change of rules is in force, or said not to be, when it is answered: alerts never wait for the compiling of rules,
//! one tenant's rules are nobody else's to read, and none costs the others their alerts.

use std::path::Path;
use std::time::Duration;

use donjon_tests::client::Client;
use donjon_tests::server::wait_for;
use donjon_tests::{Server, ServerOptions, files};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(120);

fn server(config: &str) -> Server {
    let options = ServerOptions {
        config: config.into(),
        ..ServerOptions::default()
    };
    Server::start_with(options).unwrap()
}

fn drop_as(server: &Server, name: &str, file: &Path, mut client: Client) {
    let hash = |client: &mut Client| client.get(&format!("/plugins/{name}")).unwrap().json()["hash"].clone();
    let before = hash(&mut client);
    server
        .drop_plugin(&format!("{name}.wasm"), &std::fs::read(file).unwrap())
        .unwrap();
    wait_for("the plugin to serve", PATIENCE, || {
        let now = hash(&mut client);
        Ok(now.is_string() && now != before)
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", server.log()));
}

fn rule(name: &str, condition: &str) -> Value {
    json!({"ruleName": name, "celQuery": condition, "timeframeInSeconds": 600, "timeUnit": "seconds"})
}

fn created(client: &mut Client, name: &str, condition: &str) -> String {
    let answer = client.post("/rules", &rule(name, condition)).unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["id"].as_str().unwrap_or_default().to_owned()
}

fn send(client: &mut Client, name: &str) -> Value {
    let answer = client.post("/alerts/event?wait=true", &json!({"name": name})).unwrap();
    answer.json()["events"][0].clone()
}

#[test]
fn an_alert_between_two_edits_compiles_nothing() {
    let server = server("");
    drop_as(&server, "picky", &files::guest("picky").unwrap(), server.client());
    let mut client = server.client();
    created(&mut client, "all", "true");
    let slow = created(&mut client, "slow", "name == \"slow\"");
    send(&mut client, "first");
    let configures = || server.client().get("/plugins/picky").unwrap().json()["configures"].as_u64();
    let before = configures().unwrap();
    let edit = |client: &mut Client, number: usize| {
        let mut body = rule("slow", &format!("name == \"slow{number}\""));
        body["resolveOn"] = "never".into();
        body["createOn"] = "any".into();
        let body = body.to_string();
        let answer = client.request(
            "PUT",
            &format!("/rules/{slow}"),
            "Content-Type: application/json\r\n",
            body.as_bytes(),
        );
        let answer = answer.unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    };
    edit(&mut client, 1);
    // The next one is being tried, for a second or so, while alerts come in: had one to wait for it, none would be answered
    // before it.
    let mut answered = 0;
    std::thread::scope(|scope| {
        let second = scope.spawn(|| edit(&mut server.client(), 2));
        loop {
            let event = send(&mut client, &format!("between {answered}"));
            if second.is_finished() {
                break;
            }
            assert_eq!(event["incidents"].as_array().map(Vec::len), Some(1), "{event}");
            answered += 1;
        }
        second.join().unwrap();
    });
    assert!(answered > 3, "alerts while an edit was tried: {answered}");
    let event = send(&mut client, "slow2");
    assert_eq!(event["incidents"].as_array().map(Vec::len), Some(2), "{event}");
    assert_eq!(configures().unwrap() - before, 2, "one for each edit\n{}", server.log());
}

#[test]
fn a_rule_that_is_not_in_force_says_so_before_the_next_alert() {
    let server = server("");
    let guest = files::guest("needy-rules").unwrap();
    drop_as(&server, "needy-rules", &guest, server.client());
    let mut client = server.client();
    created(&mut client, "all", "true");
    let needed = created(&mut client, "x", "name == \"x\"");
    let id = created(&mut client, "needs x", "name == \"y\"");
    let deleted = client.request("DELETE", &format!("/rules/{needed}"), "", &[]).unwrap();
    assert_eq!(deleted.status, 200, "{}", deleted.text());
    let told = client.get(&format!("/rules/{id}")).unwrap().json();
    assert!(
        told["refused"].as_str().is_some_and(|why| why.contains("refused")),
        "{told}\n{}",
        server.log()
    );
}

#[test]
fn why_a_new_file_does_not_take_the_rules_of_a_tenant_is_told_to_that_tenant_only() {
    let key = |tenant: &str| {
        format!("[[auth.keys]]\nname = \"{tenant}\"\nkey = \"{tenant}\"\ntenant = \"{tenant}\"\nrole = \"admin\"\n")
    };
    let server = server(&format!("[auth]\nmode = \"api_key\"\n{}{}", key("a"), key("b")));
    let client = |tenant: &str| server.client().with_header("X-API-KEY", tenant);
    drop_as(&server, "picky", &files::plugin("rules"), client("a"));
    created(&mut client("a"), "trap", "name == \"a-secret-of-a\"");
    let picky = std::fs::read(files::guest("picky").unwrap()).unwrap();
    server.drop_plugin("picky.wasm", &picky).unwrap();
    let error = |tenant: &str| {
        let plugin = client(tenant).get("/plugins/picky").unwrap().json();
        plugin["last_error"]["message"].as_str().unwrap_or_default().to_owned()
    };
    wait_for("the refusal", PATIENCE, || Ok(error("a").contains("trying again"))).unwrap();
    assert!(error("a").contains("trap"), "{}", error("a"));
    assert!(!error("b").contains("trap") && !error("b").is_empty(), "{}", error("b"));
}
