//! `make bench`: drives the built server with the reference workload, and, in the same run, an Alertmanager with the same
//! alerts. Prints one Markdown table with everything needed to read it; asserts nothing about time.

mod figures;
mod load;

use std::path::Path;

use anyhow::{Context, ensure};
use donjon_tests::services::alertmanager;
use donjon_tests::{Client, Server, ServerOptions, files, workload};
use figures::{Figures, Process};
use load::{Load, Shape};
use serde_json::{Value, json};

/// Alerts of one measurement in batches, and one by one.
const BATCHED: usize = 200_000;
const SINGLE: usize = 40_000;
const CONNECTIONS: usize = 8;
const BATCH: usize = 100;

fn main() -> anyhow::Result<()> {
    println!("Reference workload: seed 42, 500 series, 900-byte alerts, {CONNECTIONS} connections, durability fsync.");
    println!(
        "Duplicates: none (each alert has an id of its own). Rules: `mixed` (one matches, the others never do).\n"
    );
    let alerts = workload::alerts(BATCHED, 42, 500)?;
    println!("{}", Figures::HEADER);
    for rules in [1, 10, 100] {
        println!("{}", donjon(rules, &Load::batched(&alerts, BATCH, Shape::Lines))?);
    }
    let single: Vec<String> = alerts.iter().take(SINGLE).cloned().collect();
    for rules in [1, 10, 100] {
        println!("{}", donjon(rules, &Load::single(&single, Shape::Lines))?);
    }
    let theirs = alerts
        .iter()
        .map(|alert| as_alertmanager(alert))
        .collect::<anyhow::Result<Vec<_>>>()?;
    println!("{}", peer(&Load::batched(&theirs, BATCH, Shape::List))?);
    let theirs: Vec<String> = theirs.into_iter().take(SINGLE).collect();
    println!("{}", peer(&Load::single(&theirs, Shape::List))?);
    println!("\n{}", figures::machine());
    Ok(())
}

/// One measurement of Donjon: time runs until the last alert is applied.
fn donjon(rules: usize, load: &Load) -> anyhow::Result<Figures> {
    let options = ServerOptions {
        plugins: vec![files::plugin("rules")],
        // Nothing is to be refused: what is measured is how fast everything is applied.
        config: "[ingest]\nmax_lag_entries = 1000000\n[log]\nfilter = \"warn\"\n".into(),
        ..ServerOptions::default()
    };
    let server = Server::start_with(options)?;
    for rule in workload::rules(rules, "mixed")? {
        ensure!(
            server.client().post("/rules", &rule)?.status == 200,
            "a rule was refused"
        );
    }
    let before = Process::of(server.pid())?;
    let sent = load.send(&server.url, "/alerts/event", "application/x-ndjson", CONNECTIONS)?;
    let mut client = server.client();
    loop {
        let ready = client.get("/readyz")?.json();
        if ready["accepted"] == ready["applied"] {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let seconds = sent.begun.elapsed().as_secs_f64();
    let after = Process::of(server.pid())?;
    check(&mut client, load.alerts)?;
    let disk = figures::disk_bytes(&server.data_dir)?;
    let who = format!("Donjon, {rules} rule{}", if rules == 1 { "" } else { "s" });
    Ok(Figures::new(who, load, sent, seconds, &before, &after, disk))
}

/// Every alert was applied, none twice; a figure for a wrong result would be worth nothing.
fn check(client: &mut Client, alerts: usize) -> anyhow::Result<()> {
    let rules = client.get("/rules")?.json();
    let evaluated = rules[0]["counters"]["evaluations"].as_u64();
    ensure!(
        evaluated == Some(alerts as u64),
        "{alerts} alerts were sent, evaluated were {evaluated:?}"
    );
    let incidents = client.get("/incidents?limit=1")?.json()["count"].as_u64().unwrap_or(0);
    ensure!(incidents > 10, "only {incidents} incidents");
    Ok(())
}

/// The same alerts into Debian's Alertmanager, which keeps them in memory and evaluates no rules.
fn peer(load: &Load) -> anyhow::Result<Figures> {
    let dir = tempfile::tempdir()?;
    let config = "route:\n  receiver: none\n  group_by: [host]\nreceivers:\n- name: none\n";
    let service = alertmanager(dir.path(), config)?;
    let before = Process::of(service.pid())?;
    let sent = load.send(&service.url, "/api/v2/alerts", "application/json", CONNECTIONS)?;
    let seconds = sent.begun.elapsed().as_secs_f64();
    let after = Process::of(service.pid())?;
    let disk = figures::disk_bytes(Path::new(dir.path()))?;
    Ok(Figures::new(
        "Alertmanager, in memory, no rules".into(),
        load,
        sent,
        seconds,
        &before,
        &after,
        disk,
    ))
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
