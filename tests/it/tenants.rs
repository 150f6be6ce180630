//! Tenants do not see each other, and roles may what is documented: every route of `/openapi.json`, so that a new route is in it by itself.

use donjon_tests::client::{Answer, Client};
use donjon_tests::{Server, ServerOptions, files};
use serde_json::{Value, json};

/// Whatever of tenant `b` is told anywhere holds this word.
const SECRET: &str = "wiretap";

/// Who asks: tenant and role, the key being both.
const CALLERS: [(&str, &str); 6] = [
    ("a", "admin"),
    ("a", "noc"),
    ("a", "webhook"),
    ("b", "admin"),
    ("b", "noc"),
    ("b", "webhook"),
];

/// Routes that ask for no key: nothing there is anybody's data.
const OPEN: [&str; 4] = ["/healthz", "/readyz", "/metrics", "/openapi.json"];

/// What a role may, by method and the beginning of the path; the first line that fits counts. A route that fits none of them fails the
/// test: whoever adds one says here who may use it.
const MAY: [(&str, &str, &[&str]); 17] = [
    ("post", "/alerts/rejudge", &["admin"]),
    ("post", "/api/v2/alerts", &["admin", "webhook"]),
    ("post", "/alerts/event/error/dismiss", &["admin"]),
    ("post", "/alerts/event", &["admin", "webhook"]),
    ("post", "/rules/validate", &["admin", "noc"]),
    ("post", "/rules", &["admin"]),
    ("put", "/rules", &["admin"]),
    ("delete", "/rules", &["admin"]),
    // Shared by all tenants: only keys with `operator = true`, of which there are none here.
    ("post", "/plugins", &[]),
    ("post", "/incidents", &["admin", "webhook"]),
    ("get", "/alerts", &["admin", "noc"]),
    ("get", "/incidents", &["admin", "noc"]),
    ("get", "/rules", &["admin", "noc"]),
    ("get", "/plugins", &["admin", "noc"]),
    ("get", "/events", &["admin", "noc"]),
    ("get", "/healthz", &["admin", "noc", "webhook"]),
    ("get", "/", &["admin", "noc", "webhook"]),
];

fn server() -> Server {
    server_with("")
}

fn server_with(config: &str) -> Server {
    let key = |(tenant, role): (&str, &str)| {
        format!(
            "[[auth.keys]]\nname = \"{tenant}-{role}\"\nkey = \"{tenant}-{role}\"\ntenant = \"{tenant}\"\nrole = \"{role}\"\n"
        )
    };
    Server::start_with(ServerOptions {
        plugins: vec![files::plugin("rules")],
        config: format!("{config}[auth]\nmode = \"api_key\"\n{}", CALLERS.map(key).concat()),
        ..ServerOptions::default()
    })
    .unwrap()
}

fn client(server: &Server, tenant: &str, role: &str) -> Client {
    server.client().with_header("X-API-KEY", &format!("{tenant}-{role}"))
}

fn ok(answer: Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// What a path can name, all of it of one tenant.
struct Names {
    fingerprint: String,
    incident: String,
    rule: String,
    refused: String,
}

/// A rule, an alert, an incident and a refused item of a tenant, each with the word in it.
fn fill(server: &Server, tenant: &str, word: &str) -> Names {
    let mut admin = client(server, tenant, "admin");
    let rule = json!({"ruleName": word, "celQuery": format!("name == \"{word}\""), "timeframeInSeconds": 600,
        "timeUnit": "seconds", "assignee": word});
    let rule = ok(admin.post("/rules", &rule).unwrap());
    let alert = json!({"name": word, "fingerprint": word, "message": word, "labels": {"x": word}});
    ok(admin.post("/alerts/event?wait=true", &alert).unwrap());
    let mixed = json!([{"name": "good", "fingerprint": "good"}, [word]]);
    assert!(admin.post("/alerts/event?wait=true", &mixed).unwrap().status < 300);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Names {
        fingerprint: word.to_owned(),
        incident: text(&ok(admin.get("/incidents").unwrap())["items"][0]["id"]),
        rule: text(&rule["id"]),
        refused: text(&ok(admin.get("/alerts/event/error").unwrap())[0]["id"]),
    }
}

/// A path of the document with names put in.
fn filled(path: &str, names: &Names) -> String {
    let id: &str = match path {
        _ if path.starts_with("/incidents") => &names.incident,
        _ if path.starts_with("/rules") => &names.rule,
        _ if path.starts_with("/alerts/event/error") => &names.refused,
        _ if path.starts_with("/alerts/event/") => "prometheus",
        _ => &names.fingerprint,
    };
    let mut path = path.to_owned();
    while let (Some(from), Some(to)) = (path.find('{'), path.find('}')) {
        path.replace_range(from..=to, id);
    }
    path
}

/// All operations of the document.
fn operations(server: &Server) -> Vec<(String, String)> {
    let document = ok(server.client().get("/openapi.json").unwrap());
    let paths = document["paths"].as_object().unwrap();
    let all: Vec<(String, String)> = paths
        .iter()
        .flat_map(|(path, methods)| {
            let methods = methods.as_object().unwrap().keys();
            methods.map(|method| (method.clone(), path.clone())).collect::<Vec<_>>()
        })
        .collect();
    assert!(all.len() > 20, "{all:?}");
    all
}

/// Asks in a way that is refused, if it is not for a lack of rights, for its content: nothing is changed by asking.
fn ask(client: &mut Client, method: &str, path: &str) -> Answer {
    let head = "Content-Type: application/json\r\n";
    let body: &[u8] = if method == "get" { b"" } else { b"{\"nonsense\":" };
    client.request(&method.to_uppercase(), path, head, body).unwrap()
}

/// The events so far: a stream has no end.
fn events(client: &mut Client) -> Option<String> {
    let mut lines = client.follow("/events", "Last-Event-ID: 0\r\n").ok()?;
    let mut all = String::new();
    let _ = lines.wait_for(std::time::Duration::from_millis(1_500), |line| {
        all.push_str(line);
        false
    });
    Some(all)
}

#[test]
fn no_route_shows_one_tenant_to_another() {
    let server = server();
    let own = fill(&server, "a", "harmless");
    let foreign = fill(&server, "b", SECRET);
    let foreign_ids = [&foreign.incident, &foreign.rule, &foreign.refused];
    for (method, path) in operations(&server).iter().filter(|(method, _)| method == "get") {
        for role in ["admin", "noc"] {
            let mut a = client(&server, "a", role);
            if path == "/events" {
                let seen = events(&mut a).unwrap();
                assert!(seen.contains("harmless") || seen.contains(&own.incident), "{seen}");
                assert!(!seen.contains(SECRET) && !seen.contains(&foreign.incident), "{seen}");
                continue;
            }
            for names in [&own, &foreign] {
                let answer = ask(&mut a, method, &filled(path, names));
                let text = answer.text();
                let asked_for = filled(path, names);
                // An error may repeat what was asked for, in its path, and nothing more.
                let text = if answer.status == 404 {
                    text.replace(&names.fingerprint, "")
                } else {
                    text
                };
                assert!(!text.contains(SECRET), "{role} GET {asked_for}: {text}");
                if std::ptr::eq(names, &foreign) && path.contains('{') && !path.starts_with("/plugins") {
                    assert_eq!(answer.status, 404, "{role} GET {asked_for}: {text}");
                } else if !OPEN.contains(&path.as_str()) {
                    assert!(
                        !foreign_ids.iter().any(|id| id.len() > 8 && text.contains(*id)),
                        "{role} GET {asked_for}: {text}"
                    );
                }
            }
        }
        // The same words are there for their owner, so the test can fail.
        if ["/alerts", "/incidents", "/rules", "/alerts/event/error"].contains(&path.as_str()) {
            let text = client(&server, "b", "noc").get(path).unwrap().text();
            assert!(text.contains(SECRET), "{path}: {text}");
        }
    }
}

#[test]
fn commands_do_not_reach_another_tenant() {
    let server = server();
    fill(&server, "a", "harmless");
    let foreign = fill(&server, "b", SECRET);
    let before = |server: &Server| {
        let mut b = client(server, "b", "noc");
        ["/incidents", "/rules", "/alerts/event/error"].map(|path| {
            let mut body = ok(b.get(path).unwrap());
            // Counters move with anything that is sent.
            for rule in body.as_array_mut().into_iter().flatten() {
                rule["counters"] = Value::Null;
            }
            body
        })
    };
    let was = before(&server);
    let rule = json!({"ruleName": "mine", "celQuery": "true", "timeframeInSeconds": 600, "timeUnit": "seconds",
        "resolveOn": "never", "createOn": "any"});
    let refused: u64 = foreign.refused.parse().unwrap();
    for (method, path) in operations(&server).iter().filter(|(method, _)| method != "get") {
        let body = match path.as_str() {
            path if path.starts_with("/rules") => rule.clone(),
            path if path.starts_with("/incidents") => json!({"status": "resolved"}),
            "/alerts/event/error/dismiss" => json!({"ids": [refused]}),
            path if path.starts_with("/plugins") => continue,
            _ => json!({"name": "n", "fingerprint": SECRET, "status": "resolved"}),
        };
        let mut a = client(&server, "a", "admin");
        let asked = filled(path, &foreign);
        let head = "Content-Type: application/json\r\n";
        let answer = a
            .request(&method.to_uppercase(), &asked, head, body.to_string().as_bytes())
            .unwrap();
        if path.contains("{id}") {
            assert_eq!(answer.status, 404, "{method} {asked}: {}", answer.text());
        }
        assert_eq!(before(&server), was, "{method} {asked}");
    }
}

#[test]
fn roles_may_what_is_documented() {
    let server = server();
    let names = fill(&server, "a", "harmless");
    for (method, path) in operations(&server) {
        if path == "/events" {
            for (role, may) in [("admin", true), ("noc", true), ("webhook", false)] {
                assert_eq!(events(&mut client(&server, "a", role)).is_some(), may, "{role}");
            }
            continue;
        }
        let is_open = OPEN.contains(&path.as_str());
        let rule = MAY
            .iter()
            .find(|(known, begin, _)| *known == method && path.starts_with(begin));
        let (_, begin, roles) = rule.unwrap_or_else(|| panic!("who may {method} {path}? say so in MAY"));
        assert!(is_open || *begin != "/", "who may {method} {path}? say so in MAY");
        let asked = filled(&path, &names);
        for role in ["admin", "noc", "webhook"] {
            let answer = ask(&mut client(&server, "a", role), &method, &asked);
            let may = is_open || roles.contains(&role);
            assert_eq!(
                answer.status != 403,
                may,
                "{role} {method} {asked}: {} {}",
                answer.status,
                answer.text()
            );
            assert_ne!(answer.status, 401, "{role} {method} {asked}");
        }
        let stranger = ask(&mut server.client(), &method, &asked);
        assert_eq!(
            stranger.status == 401,
            !is_open,
            "{method} {asked}: {}",
            stranger.text()
        );
    }
}

#[test]
fn a_tenant_that_holds_all_streams_it_may_leaves_some_to_the_others() {
    let server = server_with("[server]\nmax_event_streams = 4\n");
    let mut greedy = client(&server, "b", "noc");
    let held: Vec<_> = (0..3).map(|_| greedy.follow("/events", "").unwrap()).collect();
    let refused = client(&server, "b", "noc").get("/events").unwrap();
    assert_eq!(
        (refused.status, refused.json()["code"].as_str()),
        (503, Some("too_many_streams"))
    );
    assert!(client(&server, "a", "noc").follow("/events", "").is_ok());
    drop(held);
}
