//! No web page makes its visitor's browser write into this server, or reads from it under a name of its own; senders
//! that are no browsers notice nothing.

use std::time::Duration;

use donjon_tests::client::{read_to_end, send_raw};
use donjon_tests::{Server, ServerOptions, files};
use serde_json::{Value, json};

const WITHIN: Duration = Duration::from_secs(30);

const RULE: &str = r#"{"ruleName":"r","celQuery":"true","timeframeInSeconds":60,"timeUnit":"seconds"}"#;

fn start(config: &str) -> Server {
    let options = ServerOptions {
        plugins: vec![files::plugin("rules")],
        config: config.into(),
        ..ServerOptions::default()
    };
    Server::start_with(options).unwrap()
}

/// Status and code of the answer to a request with these headers.
fn ask(server: &Server, line: &str, headers: &str, body: &str) -> (u16, String) {
    let length = body.len();
    let request = format!("{line} HTTP/1.1\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}");
    let said = read_to_end(send_raw(&server.url, request.as_bytes()).unwrap(), WITHIN).unwrap();
    let status = said.split(' ').nth(1).and_then(|text| text.parse().ok());
    let body: Value = serde_json::from_str(said.split("\r\n\r\n").nth(1).unwrap_or_default()).unwrap_or_default();
    (
        status.unwrap_or_else(|| panic!("no answer: {said}")),
        body["code"].as_str().unwrap_or_default().to_owned(),
    )
}

#[test]
fn a_page_of_another_site_cannot_write() {
    let server = start("");
    let json = "Host: localhost\r\nContent-Type: application/json\r\n";
    for foreign in [
        "Origin: http://evil.example\r\n",
        "Origin: null\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "Sec-Fetch-Site: same-site\r\n",
    ] {
        for path in [
            "/rules",
            "/alerts/event",
            "/plugins/reload",
            "/alerts/event/error/dismiss",
            "/api/v2/alerts",
        ] {
            let answer = ask(&server, &format!("POST {path}"), &format!("{json}{foreign}"), RULE);
            assert_eq!(answer, (403, "cross_site".into()), "{path} {foreign}");
        }
    }
    let refused = ask(
        &server,
        "DELETE /rules/x",
        &format!("{json}Sec-Fetch-Site: cross-site\r\n"),
        "",
    );
    assert_eq!(refused, (403, "cross_site".into()));
    // What a form of such a page can send, from a browser that says nothing of its site.
    for kind in [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
    ] {
        let headers = format!("Host: localhost\r\nContent-Type: {kind}\r\n");
        assert_eq!(
            ask(&server, "POST /rules", &headers, RULE),
            (415, "not_json".into()),
            "{kind}"
        );
    }
    assert_eq!(
        ask(&server, "POST /rules", "Host: localhost\r\n", RULE),
        (415, "not_json".into())
    );
    assert_eq!(
        server.client().get("/rules").unwrap().json(),
        json!([]),
        "no rule was made"
    );
    // Its own pages may.
    let own = format!("{json}Origin: http://localhost\r\nSec-Fetch-Site: same-origin\r\n");
    assert_eq!(ask(&server, "POST /rules", &own, RULE).0, 200);
}

#[test]
fn a_name_that_was_pointed_here_is_refused_without_keys() {
    let server = start("[server]\nallowed_hosts = [\"donjon.example\"]\n");
    for path in ["/alerts", "/incidents", "/metrics", "/openapi.json", "/nothing"] {
        let refused = ask(&server, &format!("GET {path}"), "Host: evil.example:8080\r\n", "");
        assert_eq!(refused, (403, "foreign_host".into()), "{path}");
        let absolute = format!("GET http://evil.example{path}");
        assert_eq!(ask(&server, &absolute, "Host: localhost\r\n", "").0, 403, "{path}");
    }
    for host in ["localhost", "127.0.0.1:1", "[::1]:8080", "donjon.example"] {
        assert_eq!(
            ask(&server, "GET /alerts", &format!("Host: {host}\r\n"), "").0,
            200,
            "{host}"
        );
    }
    // With keys the key tells who asks, under whatever name.
    let keys =
        "[auth]\nmode = \"api_key\"\n[[auth.keys]]\nname = \"a\"\nkey = \"k\"\ntenant = \"t\"\nrole = \"admin\"\n";
    let server = start(keys);
    let headers = "Host: any.example\r\nX-API-KEY: k\r\n";
    assert_eq!(ask(&server, "GET /alerts", headers, "").0, 200);
    let foreign = format!("{headers}Content-Type: application/json\r\nOrigin: http://evil.example\r\n");
    assert_eq!(ask(&server, "POST /rules", &foreign, RULE), (403, "cross_site".into()));
}

#[test]
fn senders_that_are_no_browsers_notice_nothing() {
    let server = start("");
    let alert = r#"{"name":"disk full"}"#;
    // `curl -d` says that it sends a form; others say nothing.
    for headers in [
        "Host: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\n",
        "Host: localhost\r\nContent-Type: text/plain\r\n",
        "Host: localhost\r\n",
    ] {
        assert_eq!(ask(&server, "POST /alerts/event", headers, alert).0, 202, "{headers}");
        assert_eq!(
            ask(&server, "POST /alerts/event/keep", headers, alert).0,
            202,
            "{headers}"
        );
    }
    // A command without a body needs no content type.
    assert_eq!(ask(&server, "POST /plugins/reload", "Host: localhost\r\n", "").0, 200);
}
