//! The plugin directory as an operator meets it: what serves is not pushed out, the last good file survives a restart,
//! settings change without one, and nobody reads what a plugin said about another tenant's alerts.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use donjon_tests::client::Client;
use donjon_tests::server::wait_for;
use donjon_tests::{Server, ServerOptions, files};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

fn start(options: ServerOptions) -> Server {
    Server::start_with(ServerOptions {
        plugins: vec![files::plugin("rules")],
        ..options
    })
    .unwrap()
}

fn with_a_rule(server: &Server) {
    let rule = json!({"ruleName": "all", "celQuery": "true", "timeframeInSeconds": 600, "timeUnit": "seconds"});
    assert_eq!(server.client().post("/rules", &rule).unwrap().status, 200);
}

fn plugin(server: &Server, name: &str) -> Value {
    server.client().get(&format!("/plugins/{name}")).unwrap().json()
}

fn until(server: &Server, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let mut last = Value::Null;
    wait_for(&format!("{name} {what}"), PATIENCE, || {
        last = plugin(server, name);
        Ok(holds(&last))
    })
    .unwrap_or_else(|error| panic!("{error:#}: {last}\n{}", server.log()));
    last
}

fn message(status: &Value) -> &str {
    status["last_error"]["message"].as_str().unwrap_or_default()
}

fn drop_guest(server: &Server, guest: &str, name: &str) {
    let bytes = std::fs::read(files::guest(guest).unwrap()).unwrap();
    server.drop_plugin(&format!("{name}.wasm"), &bytes).unwrap();
}

fn is_correlated(server: &Server, name: &str) -> bool {
    let answer = server
        .client()
        .post("/alerts/event?wait=true", &json!({"name": name}))
        .unwrap();
    assert_eq!(answer.status, 200, "{}\n{}", answer.text(), server.log());
    let incidents = answer.json()["events"][0]["incidents"].clone();
    incidents.as_array().is_some_and(|incidents| !incidents.is_empty())
}

#[test]
fn five_hundred_files_of_garbage_change_nothing() {
    let server = start(ServerOptions::default());
    with_a_rule(&server);
    for number in 0..500 {
        let garbage = [u8::try_from(number % 256).unwrap(); 300];
        server.drop_plugin(&format!("a{number:03}.wasm"), &garbage).unwrap();
    }
    until(&server, "a499", "to be refused", |status| status["state"] == "rejected");
    assert_eq!(server.client().post("/plugins/reload", &json!({})).unwrap().status, 200);
    assert!(is_correlated(&server, "still correlated"));
    let rules = plugin(&server, "rules");
    assert_eq!((&rules["state"], &rules["source"]), (&json!("serving"), &json!("file")));
    let log = server.log();
    let refusals = log.lines().filter(|line| line.contains("ERROR"));
    assert_eq!(refusals.count(), 500, "each is told once, and nothing else is wrong");
}

#[test]
fn the_last_good_file_serves_after_a_restart_over_a_bad_one() {
    let data = tempfile::tempdir().unwrap();
    let options = || ServerOptions {
        data_dir: Some(data.path().join("data")),
        ..ServerOptions::default()
    };
    let server = start(options());
    with_a_rule(&server);
    let good = plugin(&server, "rules")["hash"].clone();
    server.drop_plugin("rules.wasm", b"a bad overwrite").unwrap();
    until(&server, "rules", "to be refused", |status| {
        !status["last_error"].is_null()
    });
    server.stop().unwrap();

    let bad = data.path().join("rules.wasm");
    std::fs::write(&bad, "a bad overwrite").unwrap();
    let server = Server::start_with(ServerOptions {
        plugins: vec![bad],
        ..options()
    })
    .unwrap();
    let status = until(&server, "rules", "to serve", |status| status["state"] == "serving");
    assert_eq!(
        (&status["source"], &status["hash"]),
        (&json!("kept"), &good),
        "{status}"
    );
    assert!(
        message(&status).starts_with("not a complete WebAssembly file"),
        "{status}"
    );
    assert!(is_correlated(&server, "by the kept one"));
    // Taken away on purpose is gone, also for the next start.
    std::fs::remove_file(server.plugin_dir.join("rules.wasm")).unwrap();
    wait_for("the plugin to go", PATIENCE, || {
        // The rules that it evaluated are waited for.
        Ok(server.client().get("/plugins/rules")?.json()["state"] == "missing")
    })
    .unwrap();
    assert_eq!(
        std::fs::read_dir(server.data_dir.join("kept-plugins")).unwrap().count(),
        0
    );
}

#[test]
fn real_plugins_are_loaded_replaced_refused_and_unloaded() {
    let server = start(ServerOptions::default());
    with_a_rule(&server);
    drop_guest(&server, "denied", "denied");
    let denied = until(&server, "denied", "to be refused", |status| {
        status["state"] == "rejected"
    });
    assert!(message(&denied).contains("elasticsearch"), "{denied}");
    let first = plugin(&server, "rules")["hash"].clone();
    drop_guest(&server, "rules-v2", "rules");
    until(&server, "rules", "to be replaced", |status| {
        status["hash"] != first && status["state"] == "serving"
    });
    assert!(is_correlated(&server, "by the second version"));
    server.drop_plugin("rules.wasm", b"not wasm at all").unwrap();
    let refused = until(&server, "rules", "to be refused", |status| {
        !status["last_error"].is_null()
    });
    assert_eq!(refused["state"], "serving");
    assert!(is_correlated(&server, "still by the second version"));
    std::fs::remove_file(server.plugin_dir.join("denied.wasm")).unwrap();
    wait_for("the refused one to go", PATIENCE, || {
        Ok(server.client().get("/plugins/denied")?.status == 404)
    })
    .unwrap();
}

#[test]
fn settings_of_plugins_change_without_a_restart() {
    let limits = "[plugin_host]\ncall_cpu_ms = 200\ncall_timeout_ms = 1000\n";
    let server = start(ServerOptions {
        config: format!("{limits}[plugins.looper.config]\nloop_in_init = true\n"),
        ..ServerOptions::default()
    });
    drop_guest(&server, "looper", "looper");
    let refused = until(&server, "looper", "to be refused", |status| {
        status["state"] == "rejected"
    });
    assert!(message(&refused).contains("trying again in"), "{refused}");

    let file = server.scratch().join("donjon.toml");
    std::fs::write(&file, "[plugins.looper]\ngrant = 1\nsecret = \"TOPSECRET\"").unwrap();
    let answer = server.client().post("/plugins/reload", &json!({})).unwrap();
    assert_eq!(
        (answer.status, answer.json()["code"].as_str()),
        (409, Some("unusable_configuration"))
    );
    assert!(!answer.text().contains("TOPSECRET"), "{}", answer.text());

    std::fs::write(&file, format!("{limits}[plugins.looper]\ngrants = [\"kv\"]\n")).unwrap();
    server.signal("HUP").unwrap();
    let serving = until(&server, "looper", "to serve", |status| status["state"] == "serving");
    assert_eq!(serving["grants"], json!(["kv"]), "{serving}");
}

fn key(name: &str, tenant: &str, more: &str) -> String {
    format!("[[auth.keys]]\nname = \"{name}\"\nkey = \"{name}\"\ntenant = \"{tenant}\"\nrole = \"admin\"\n{more}\n")
}

#[test]
fn what_a_call_for_one_tenant_said_is_not_shown_to_another() {
    let keys = [key("a", "a", ""), key("b", "b", ""), key("o", "b", "operator = true")].concat();
    let server = start(ServerOptions {
        config: format!("[auth]\nmode = \"api_key\"\n{keys}"),
        ..ServerOptions::default()
    });
    let of = |key: &str| -> Client { server.client().with_header("X-API-KEY", key) };
    drop_guest(&server, "panicker", "panicker");
    wait_for("the plugin to serve", PATIENCE, || {
        Ok(of("a").get("/plugins/panicker")?.json()["state"] == "serving")
    })
    .unwrap();
    let poison = json!({"name": "poison"});
    assert_eq!(of("a").post("/alerts/event?wait=true", &poison).unwrap().status, 200);
    let shown = |key: &str| message(&of(key).get("/plugins/panicker").unwrap().json()).to_owned();
    assert!(shown("a").contains("a poisonous alert"), "{}", shown("a"));
    assert!(
        shown("b").starts_with("a call for another tenant failed"),
        "{}",
        shown("b")
    );
    // Plugins are shared: only who may act for all tenants reloads them.
    let reload = |key: &str| of(key).post("/plugins/reload", &json!({})).unwrap().status;
    assert_eq!((reload("a"), reload("b"), reload("o")), (403, 403, 200));
    // A panic has two lines in the guest; no line of the log is the guest's own.
    let log = server.log();
    assert!(log.contains("a poisonous alert"), "{log}");
    let foreign: Vec<&str> = log.lines().filter(|line| !line.starts_with("20")).collect();
    assert!(foreign.is_empty(), "{foreign:?}");
}

#[test]
fn a_start_does_not_wait_for_the_plugins_and_alerts_wait_for_them() {
    // Where nothing is compiled yet, the listener is there before the plugins are.
    let cache = tempfile::tempdir().unwrap();
    let server = start(ServerOptions {
        config: format!("[plugin_host]\ncache_dir = {:?}\n", cache.path().join("cache")),
        ..ServerOptions::default()
    });
    let log = server.log();
    assert!(log.contains("plugin loaded"), "ready means loaded: {log}");
    assert!(!server.data_dir.join("plugin-cache").exists());
    let compiled = std::fs::read_dir(cache.path().join("cache")).unwrap();
    let compiled = compiled.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|e| e == "cwasm"));
    assert_eq!(compiled.count(), 1);
    with_a_rule(&server);
    assert!(is_correlated(&server, "by rules"));
}

/// A server that may not have more addresses than that, and where it listens.
fn short_of_addresses(dir: &std::path::Path, kib: u64) -> (std::process::Child, String) {
    let plugins = dir.join("plugins");
    std::fs::create_dir(&plugins).unwrap();
    std::fs::copy(files::plugin("rules"), plugins.join("rules.wasm")).unwrap();
    let command = format!(
        "ulimit -v {kib}; exec {} serve --listen 127.0.0.1:0 --data-dir {} --plugin-dir {}",
        files::donjon().display(),
        dir.join("data").display(),
        plugins.display()
    );
    let mut child = Command::new("bash")
        .args(["-c", &command])
        .stdout(Stdio::piped())
        .stderr(std::fs::File::create(dir.join("log")).unwrap())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let url = line.trim().strip_prefix("listening on ").unwrap_or_default().to_owned();
    (child, url)
}

#[test]
fn a_machine_without_room_for_a_plugin_says_what_to_do_and_tries_again() {
    let dir = tempfile::tempdir().unwrap();
    // One linear memory reserves 4 GiB of addresses.
    let (mut server, url) = short_of_addresses(dir.path(), 2_500_000);
    let mut last = Value::Null;
    let told = wait_for("the refusal", PATIENCE, || {
        last = Client::new(&url).get("/plugins/rules")?.json();
        Ok(message(&last).contains("trying again in 2 s"))
    });
    server.kill().unwrap();
    server.wait().unwrap();
    told.unwrap_or_else(|error| panic!("{error:#}: {last}"));
    assert!(message(&last).contains("raise `ulimit -v` or LimitAS"), "{last}");
    let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
    let told = log.lines().filter(|line| line.contains("plugin refused"));
    assert_eq!(told.count(), 1, "each try is noted, one is told: {log}");
}
