//! One file with several roles: one plugin of one name, whose roles share an instance for each tenant.

use std::time::Duration;

use donjon_tests::server::wait_for;
use donjon_tests::{Server, ServerOptions, files};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

fn server() -> Server {
    let key = |tenant: &str| {
        format!("[[auth.keys]]\nname = \"{tenant}\"\nkey = \"{tenant}\"\ntenant = \"{tenant}\"\nrole = \"admin\"\n")
    };
    let server = Server::start_with(ServerOptions {
        plugins: vec![files::guest("twofold").unwrap()],
        config: format!("[auth]\nmode = \"api_key\"\n{}{}", key("a"), key("b")),
        ..ServerOptions::default()
    })
    .unwrap();
    wait_for("the plugin to serve", PATIENCE, || {
        Ok(status(&server)["state"] == "serving")
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", server.log()));
    server
}

fn status(server: &Server) -> Value {
    let mut a = server.client().with_header("X-API-KEY", "a");
    a.get("/plugins/twofold").unwrap().json()
}

/// The mark of an alert, and the group that it is in.
fn send(server: &Server, tenant: &str, name: &str) -> (String, String) {
    let mut client = server.client().with_header("X-API-KEY", tenant);
    let alert = json!({"name": name, "fingerprint": name});
    let event = client.post("/alerts/event?wait=true", &alert).unwrap().json()["events"][0].clone();
    assert!(event["reason"].is_null(), "{event}\n{}", server.log());
    let incident = event["incidents"][0].as_str().unwrap_or_else(|| panic!("{event}"));
    let incident = client.get(&format!("/incidents/{incident}")).unwrap().json();
    let alert = client.get(&format!("/alerts/{name}")).unwrap().json();
    let mark = alert["labels"]["twofold"].as_str().unwrap_or_default();
    (mark.to_owned(), incident.to_string())
}

#[test]
fn the_roles_of_a_file_share_one_instance_a_tenant_and_enriching_comes_first() {
    let server = server();
    let twofold = status(&server);
    assert_eq!(
        (&twofold["role"], &twofold["roles"]),
        (&json!("correlator, enricher"), &json!(["correlator", "enricher"])),
        "{twofold}"
    );
    for (tenant, name, mark) in [("a", "first", "a 1"), ("a", "second", "a 2"), ("b", "third", "b 1")] {
        let (marked, incident) = send(&server, tenant, name);
        assert_eq!(marked, mark);
        // Of 0 were it two instances.
        let group = format!("{mark} of {}", &mark[2..]);
        assert!(incident.contains(&group), "{group} in {incident}");
    }
    assert_eq!(status(&server)["failures"], 0);
}
