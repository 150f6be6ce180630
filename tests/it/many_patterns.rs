//! Thousands of patterns in the rules of one tenant: their copy is warm, large and left alone.

use std::time::Duration;

use donjon_tests::server::wait_for;
use donjon_tests::{Server, ServerOptions, files};
use serde_json::{Value, json};

const RULES: usize = 500;
const MEMORY_BYTES: u32 = 64 << 20;

fn metric(server: &Server, name: &str) -> f64 {
    let text = server.client().get("/metrics").unwrap().text();
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
        .unwrap_or(0.0)
}

fn message(alert: usize) -> String {
    let words = ["disk", "hosts", "coded", "node", "failed", "error7", "timeouts", "Link"];
    let word = |at: usize| words[(alert * 7 + at * at) % words.len()];
    (0..60).map(|at| format!("{}{} ", word(at), at * alert)).collect()
}

#[test]
fn a_copy_with_many_patterns_serves_on_although_its_automata_grow() {
    let server = Server::start_with(ServerOptions {
        plugins: vec![files::plugin("rules")],
        // A copy has grown after an eighth of it.
        config: format!("[plugin_host]\nmemory_bytes = {MEMORY_BYTES}\n"),
        ..ServerOptions::default()
    })
    .unwrap();
    let pattern = |id: usize| {
        format!(r#"message.matches("(?i)(disk|code|host{id})\\w* \\w+(failed|error|@)\\d* .*(timeout|node)@")"#)
    };
    let rules: Vec<Value> = (0..RULES)
        .map(|id| {
            json!({"ruleName": format!("r{id}"), "celQuery": pattern(id), "timeframeInSeconds": 600, "timeUnit": "seconds"})
        })
        .collect();
    let applied = server.client().post("/rules/apply", &json!(rules)).unwrap();
    assert_eq!(applied.status, 200, "{}", applied.text());
    let configures = metric(&server, "donjon_plugin_configures_total");
    let mut at_rest = 0.0;
    wait_for("the memory to be measured", Duration::from_secs(60), || {
        at_rest = metric(&server, "donjon_plugin_memory_bytes");
        Ok(at_rest > 8e6)
    })
    .unwrap();
    let replaced = || metric(&server, "donjon_plugin_copies_replaced_total");
    let judge = |alert: usize| {
        let body = json!({"name": "n", "message": message(alert)});
        let answer = server.client().post("/alerts/event?wait=true", &body).unwrap();
        assert_eq!(answer.status, 200, "{}\n{}", answer.text(), server.log());
        let event = &answer.json()["events"][0];
        assert_eq!(event["plugin_failure"], Value::Null, "{event}");
    };
    judge(0);
    wait_for("the copy to be made again once", Duration::from_secs(120), || {
        Ok((replaced() - 1.0).abs() < 0.5)
    })
    .unwrap_or_else(|error| panic!("{error:#}\n{}", server.log()));
    for alert in 1..20 {
        judge(alert);
    }
    // It has grown again, and is left alone.
    let memory = || metric(&server, "donjon_plugin_memory_bytes");
    wait_for("the automata to be there", Duration::from_secs(60), || {
        Ok(memory() > at_rest + f64::from(MEMORY_BYTES / 8))
    })
    .unwrap_or_else(|error| panic!("{error:#}, {at_rest} became {}", memory()));
    assert!((replaced() - 1.0).abs() < 0.5, "{}\n{}", replaced(), server.log());
    let again = metric(&server, "donjon_plugin_configures_total");
    assert!((again - configures).abs() < 0.5, "{configures} became {again}");
}
