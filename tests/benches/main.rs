//! `make bench`: drives the built server with the reference workload, and, in the same run, an Alertmanager with the same
//! alerts. Prints one Markdown table with everything needed to read it; asserts nothing about time. A word as argument
//! runs only the rows whose name contains it, or the ones that are called so to the letter: `donjon-bench operator`.

mod boundary;
mod cases;
mod connections;
mod figures;
mod load;
mod operator;

use std::path::Path;

use anyhow::{Context, ensure};
use donjon_tests::services::alertmanager;
use donjon_tests::{Client, Server, ServerOptions, files, workload};
use figures::{Figures, Process};
use load::{Load, Shape};
use operator::Operator;
use serde_json::{Value, json};

use cases::{BATCH, Case, SERIES};

const CONNECTIONS: usize = 8;

fn main() -> anyhow::Result<()> {
    let wanted = std::env::args().nth(1).unwrap_or_default();
    if wanted == "connections" {
        return connections::run();
    }
    if wanted == "boundary" {
        return boundary::run();
    }
    println!(
        "Reference workload: seed 42, {SERIES} series where a row says nothing else, 900-byte alerts, {CONNECTIONS} connections, durability fsync."
    );
    println!("Binary: {}.\n", files::donjon().display());
    println!("{}", Figures::HEADER);
    let all = cases::all();
    let exact = all.iter().any(|case| case.who == wanted);
    let is_wanted = |case: &&Case| case.who == wanted || (!exact && case.who.contains(&wanted));
    for case in all.iter().filter(is_wanted) {
        println!("{}", donjon(case)?);
    }
    if "Alertmanager".contains(&wanted) {
        for (alerts, batch) in [(cases::BATCHED, BATCH), (cases::SINGLE, 1)] {
            println!("{}", peer(alerts, batch)?);
        }
    }
    println!("\n{}", figures::machine());
    Ok(())
}

/// One measurement of Donjon: time runs until the last alert is applied.
fn donjon(case: &Case) -> anyhow::Result<Figures> {
    let options = ServerOptions {
        plugins: vec![files::plugin("rules")],
        // Nothing is to be refused: what is measured is how fast everything is applied.
        config: "[ingest]\nmax_lag_entries = 1000000\nmax_lag_bytes = 17179869184\n[log]\nfilter = \"warn\"\n".into(),
        ..ServerOptions::default()
    };
    let load = Load::batched(&case.alerts()?, case.batch, Shape::Lines);
    let server = Server::start_with(options)?;
    apply_rules(&server, &case.rule_bodies()?)?;
    let operator = case.operator.then(|| Operator::start(&server.url));
    let before = Process::of(server.pid())?;
    let sent = load.send(&server.url, "/alerts/event", "application/x-ndjson", CONNECTIONS)?;
    let mut client = server.client();
    loop {
        let ready = client.get("/readyz")?.json();
        // An operator's commands are entries too.
        if ready["accepted"] == ready["applied"] || applied(&mut client)? >= load.alerts as u64 {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let seconds = sent.begun.elapsed().as_secs_f64();
    let after = Process::of(server.pid())?;
    let acts = operator.map(Operator::stop).transpose()?;
    check(&mut client, case, load.alerts)?;
    let disk = figures::disk_bytes(&server.data_dir)?;
    let who = match acts {
        Some(acts) => format!("{} ({acts})", case.who),
        None => case.who.clone(),
    };
    Ok(Figures::new(who, &load, sent, seconds, &before, &after, disk))
}

/// As many rules in one call as it takes, as people do it.
fn apply_rules(server: &Server, rules: &[Value]) -> anyhow::Result<()> {
    rules.chunks(1000).try_for_each(|rules| apply_together(server, rules))
}

fn apply_together(server: &Server, rules: &[Value]) -> anyhow::Result<()> {
    let file = server.scratch().join("rules.json");
    std::fs::write(&file, Value::from(rules.to_vec()).to_string())?;
    let applied = std::process::Command::new(files::donjon())
        .args(["rule", "apply", "--url", &server.url])
        .arg(&file)
        .output()
        .context("run donjon rule apply")?;
    ensure!(
        applied.status.success(),
        "rules were refused: {}",
        String::from_utf8_lossy(&applied.stderr)
    );
    Ok(())
}

/// Alerts that the metrics count as applied.
fn applied(client: &mut Client) -> anyhow::Result<u64> {
    let text = client.get("/metrics")?.text();
    let counts = text
        .lines()
        .filter(|line| line.starts_with("donjon_worker_events_total"));
    let numbers = counts.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
    Ok(numbers.sum())
}

/// Every alert was applied, none twice; a figure for a wrong result would be worth nothing.
fn check(client: &mut Client, case: &Case, alerts: usize) -> anyhow::Result<()> {
    let counted = applied(client)?;
    ensure!(
        counted == alerts as u64,
        "{alerts} alerts were sent, applied were {counted}"
    );
    let rules = client.get("/rules")?.json();
    let evaluated = rules[0]["counters"]["evaluations"].as_u64();
    let expected = (alerts - case.duplicates(alerts)) as u64;
    ensure!(
        evaluated == Some(expected),
        "{expected} alerts were to be evaluated, evaluated were {evaluated:?}"
    );
    let incidents = client.get("/incidents?limit=1")?.json()["count"].as_u64().unwrap_or(0);
    ensure!(incidents > 10, "only {incidents} incidents");
    Ok(())
}

/// The same alerts into Debian's Alertmanager, which keeps them in memory and evaluates no rules.
fn peer(alerts: usize, batch: usize) -> anyhow::Result<Figures> {
    let theirs = workload::alerts(alerts, 42, SERIES)?
        .iter()
        .map(|alert| as_alertmanager(alert))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let load = Load::batched(&theirs, batch, Shape::List);
    let dir = tempfile::tempdir()?;
    let config = "route:\n  receiver: none\n  group_by: [host]\nreceivers:\n- name: none\n";
    let service = alertmanager(dir.path(), config)?;
    let before = Process::of(service.pid())?;
    let sent = load.send(&service.url, "/api/v2/alerts", "application/json", CONNECTIONS)?;
    let seconds = sent.begun.elapsed().as_secs_f64();
    let after = Process::of(service.pid())?;
    let disk = figures::disk_bytes(Path::new(dir.path()))?;
    let who = "Alertmanager, in memory, no rules".to_owned();
    Ok(Figures::new(who, &load, sent, seconds, &before, &after, disk))
}

/// An alert of the workload in Alertmanager's shape.
fn as_alertmanager(alert: &str) -> anyhow::Result<String> {
    let alert: Value = serde_json::from_str(alert).context("an alert of the workload")?;
    let mut labels = alert["labels"].clone();
    for (label, from) in [
        ("alertname", "name"),
        ("severity", "severity"),
        ("service", "service"),
        ("environment", "environment"),
    ] {
        labels[label] = alert[from].clone();
    }
    labels["source"] = alert["source"][0].clone();
    let mut annotations = alert["annotations"].clone();
    annotations["description"] = alert["description"].clone();
    Ok(json!({"labels": labels, "annotations": annotations}).to_string())
}
