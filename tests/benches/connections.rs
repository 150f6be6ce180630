//! `donjon-bench connections`: what a crowd costs the others. The latency of single alerts and the memory of the server,
//! alone, then beside idle connections, then beside event streams that are read as well. Asserts nothing about time.

use std::io::Read;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use donjon_tests::client::send_raw;
use donjon_tests::{Server, ServerOptions, files, workload};

use crate::load::{Load, Shape};

/// Connections that were served once and then say nothing.
const IDLE: usize = 4_000;
/// Clients of `GET /events`.
const STREAMS: usize = 500;
/// Alerts of one measurement, one a request.
const ALERTS: usize = 10_000;
const CONNECTIONS: usize = 8;

/// Measures and prints one table.
pub fn run() -> anyhow::Result<()> {
    // Both ends of each connection are on this machine; ours is raised as the server raises its own.
    rlimit::increase_nofile_limit(u64::MAX).context("raise the limit on open files")?;
    let options = ServerOptions {
        plugins: vec![files::plugin("rules")],
        config: "[ingest]\nmax_lag_entries = 1000000\n[server]\nidle_timeout_ms = 3600000\n".into(),
        ..ServerOptions::default()
    };
    let server = Server::start_with(options)?;
    for rule in workload::rules(10, "mixed")? {
        server.client().post("/rules", &rule)?;
    }
    let alerts = workload::alerts(4 * ALERTS, 42, 500)?;
    let load = |turn: usize| Load::batched(&alerts[turn * ALERTS..(turn + 1) * ALERTS], 1, Shape::Lines);
    // The first turn warms up.
    measure(&server, &load(0), "warming up")?;
    println!("| beside | ack p50 | ack p99 | RSS |\n|---|---|---|---|");
    println!("{}", measure(&server, &load(1), "nobody")?);
    let request = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let idle = (0..IDLE)
        .map(|_| send_raw(&server.url, request))
        .collect::<anyhow::Result<Vec<_>>>()?;
    println!("{}", measure(&server, &load(2), &format!("{IDLE} idle connections"))?);
    let request = b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let streams = (0..STREAMS)
        .map(|_| send_raw(&server.url, request))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let (done, read) = (AtomicBool::new(false), AtomicU64::new(0));
    let beside = format!("{IDLE} idle connections and {STREAMS} event streams");
    let row = std::thread::scope(|scope| {
        scope.spawn(|| drain(&streams, &done, &read));
        let row = measure(&server, &load(3), &beside);
        done.store(true, Ordering::SeqCst);
        row
    });
    println!("{}", row?);
    println!("\nThe streams were sent {} bytes.", read.load(Ordering::SeqCst));
    drop(idle);
    Ok(())
}

fn measure(server: &Server, load: &Load, beside: &str) -> anyhow::Result<String> {
    let sent = load.send(&server.url, "/alerts/event", "application/x-ndjson", CONNECTIONS)?;
    let mut client = server.client();
    loop {
        let ready = client.get("/readyz")?.json();
        if ready["accepted"] == ready["applied"] {
            break;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let at = |part: usize| sent.latencies[(sent.latencies.len() - 1) * part / 100].as_secs_f64() * 1000.0;
    let (now, _) = server.memory()?;
    Ok(format!(
        "| {beside} | {:.2} ms | {:.2} ms | {} MiB |",
        at(50),
        at(99),
        now >> 20
    ))
}

/// Reads what the streams say until all is done.
fn drain(streams: &[TcpStream], done: &AtomicBool, read: &AtomicU64) {
    let mut buffer = vec![0u8; 256 << 10];
    for stream in streams {
        // One that cannot be set would block the others; it is seen in the figures.
        let _ = stream.set_nonblocking(true);
    }
    while !done.load(Ordering::SeqCst) {
        for mut stream in streams {
            // Nothing to read is an error here; so is a stream that ended, which is seen in the figures.
            if let Ok(bytes) = stream.read(&mut buffer) {
                read.fetch_add(bytes as u64, Ordering::SeqCst);
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
