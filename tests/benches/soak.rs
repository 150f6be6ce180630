//! `make soak`: SIGKILLs and reloads of the rules component under full load, on one data directory. Ends with an error if an
//! acknowledged alert is missing, one is there twice, one was judged by nobody, or memory did not stay flat. `it/crash.rs`
//! and `it/reload.rs` are its short forms; this one is for a quiet quarter of an hour. `donjon-soak KILLS RELOADS`.

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use donjon_tests::server::wait_for;
use donjon_tests::{Server, ServerOptions, files};
use serde_json::json;

const CONNECTIONS: usize = 4;
const BATCH: usize = 100;
/// A history shows the newest thousand events of an alert: with these, eleven million can be looked for one by one.
const SERIES: usize = 12_000;
const MOST_BATCHES: usize = SERIES * 900 / BATCH;
const PATIENCE: Duration = Duration::from_secs(300);
/// So small a cache of derived state is full within seconds. With the default one memory grows for minutes until it is,
/// reloads or not (measured without a single one: 340 to 430 MiB over two minutes of full load), and hides what a reload
/// leaves behind.
const CONFIG: &str = "[storage]\ncache_bytes = 16777216\n";

fn main() -> anyhow::Result<()> {
    let number = |at: usize, default: usize| match std::env::args().nth(at) {
        Some(text) => text.parse().with_context(|| format!("a number is expected: {text}")),
        None => Ok(default),
    };
    let (kills, reloads) = (number(1, 25)?, number(2, 200)?);
    let data = tempfile::tempdir()?;
    let soak = Soak {
        good: [
            std::fs::read(files::guest("rules-v2")?)?,
            std::fs::read(files::plugin("rules"))?,
        ],
        next: AtomicUsize::new(0),
        acknowledged: Mutex::new(Vec::new()),
    };
    // Half of the reloads between kills, half in one last life, where memory is watched.
    let each = reloads / 2 / kills.max(1);
    for life in 0..kills {
        let server = start(data.path(), life == 0)?;
        soak.live(&server, each, true)?;
        drop(server);
        println!(
            "life {life}: killed after {} batches in all",
            soak.next.load(Ordering::SeqCst)
        );
    }
    let server = start(data.path(), kills == 0)?;
    let resident = soak.live(&server, reloads - each * kills, false)?;
    ensure!(
        soak.next.load(Ordering::SeqCst) < MOST_BATCHES,
        "the load ended before the reloads did; raise SERIES: {SERIES}"
    );
    soak.check(&server)?;
    report_memory(&resident)
}

struct Soak {
    good: [Vec<u8>; 2],
    next: AtomicUsize,
    acknowledged: Mutex<Vec<usize>>,
}

fn start(data_dir: &Path, first: bool) -> anyhow::Result<Server> {
    let server = Server::start_with(ServerOptions {
        data_dir: Some(data_dir.to_owned()),
        plugins: vec![files::plugin("rules")],
        config: CONFIG.into(),
        ..ServerOptions::default()
    })?;
    if first {
        let rule = json!({"ruleName": "soak", "celQuery": "source == \"soak\"", "timeframeInSeconds": 36000, "timeUnit": "seconds",
            "groupingCriteria": ["labels.host"]});
        ensure!(
            server.client().post("/rules", &rule)?.status == 200,
            "the rule was refused"
        );
    }
    Ok(server)
}

/// A batch names its alerts one by one, so that every single one can be looked for.
fn body(batch: usize) -> String {
    let alert = |serial: usize| {
        let series = serial % SERIES;
        format!(
            "{{\"id\":\"e{serial}\",\"name\":\"n\",\"fingerprint\":\"s{series}\",\"source\":[\"soak\"],\"message\":\"{serial}\",\"labels\":{{\"host\":\"h{}\"}}}}\n",
            series % 50
        )
    };
    (batch * BATCH..(batch + 1) * BATCH).map(alert).collect()
}

impl Soak {
    /// Full load and so many reloads; killed at the end of them, if asked for. Answers resident memory after each reload.
    fn live(&self, server: &Server, reloads: usize, kill: bool) -> anyhow::Result<Vec<u64>> {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..CONNECTIONS {
                scope.spawn(|| self.send(server, &over));
            }
            let resident = self.reload(server, reloads);
            if kill {
                server.signal("KILL")?;
            }
            over.store(true, Ordering::SeqCst);
            resident
        })
    }

    fn send(&self, server: &Server, over: &AtomicBool) {
        let mut client = server.client();
        while !over.load(Ordering::SeqCst) {
            let batch = self.next.fetch_add(1, Ordering::SeqCst);
            if batch >= MOST_BATCHES {
                return;
            }
            let text = body(batch);
            loop {
                match client.post_bytes("/alerts/event", "application/x-ndjson", text.as_bytes()) {
                    Ok(answer) if answer.status == 202 => {
                        if let Ok(mut acknowledged) = self.acknowledged.lock() {
                            acknowledged.push(batch);
                        }
                        break;
                    }
                    // Back-pressure: the batch was not taken, so it may be sent again.
                    Ok(answer) if answer.status == 429 => std::thread::sleep(Duration::from_millis(20)),
                    Ok(answer) => {
                        eprintln!("answered {}: {}", answer.status, answer.text());
                        return;
                    }
                    Err(_) => return,
                }
            }
        }
    }

    fn reload(&self, server: &Server, reloads: usize) -> anyhow::Result<Vec<u64>> {
        let mut client = server.client();
        let mut resident = Vec::with_capacity(reloads);
        for round in 0..reloads {
            let before = client.get("/plugins/rules")?.json()["hash"].clone();
            let file = self.good.get(round % 2).context("two files")?;
            server.drop_plugin("rules.wasm", file)?;
            wait_for("a reload", PATIENCE, || {
                let now = client.get("/plugins/rules")?.json();
                Ok(now["hash"] != before && now["state"] == "serving")
            })?;
            resident.push(resident_bytes(server.pid())?);
        }
        Ok(resident)
    }

    /// Every acknowledged alert is there once, nothing is there twice, and each was judged.
    fn check(&self, server: &Server) -> anyhow::Result<()> {
        let mut client = server.client();
        wait_for("everything to be applied", PATIENCE, || {
            let ready = client.get("/readyz")?.json();
            Ok(ready["accepted"] == ready["applied"])
        })?;
        let most = self.next.load(Ordering::SeqCst).min(MOST_BATCHES) * BATCH;
        let mut times = vec![0_u8; most];
        for series in 0..SERIES {
            let history = client.get(&format!("/alerts/s{series}/history?limit=1000"))?.json();
            for event in history.as_array().map(Vec::as_slice).unwrap_or_default() {
                let serial = event["message"].as_str().and_then(|text| text.parse::<usize>().ok());
                let slot = serial
                    .and_then(|serial| times.get_mut(serial))
                    .context("a strange event")?;
                *slot += 1;
            }
        }
        let acknowledged = self
            .acknowledged
            .lock()
            .map_err(|_| anyhow::anyhow!("a sender panicked"))?;
        let alerts = acknowledged.iter().flat_map(|batch| batch * BATCH..(batch + 1) * BATCH);
        let (mut lost, mut count) = (0, 0);
        for serial in alerts {
            count += 1;
            lost += usize::from(times.get(serial).is_none_or(|times| *times == 0));
        }
        let doubled = times.iter().filter(|times| **times > 1).count();
        let stored = times.iter().map(|times| usize::from(*times)).sum::<usize>();
        let matches = client.get("/rules")?.json()[0]["counters"]["matches"].as_u64();
        println!("{count} alerts acknowledged, {stored} stored, {lost} lost, {doubled} doubled, matched {matches:?}");
        ensure!(lost == 0 && doubled == 0, "alerts were lost or doubled");
        ensure!(matches == Some(stored as u64), "not every alert was judged once");
        Ok(())
    }
}

fn report_memory(resident: &[u64]) -> anyhow::Result<()> {
    let mib = |bytes: u64| bytes >> 20;
    let mean = |part: &[u64]| part.iter().sum::<u64>() / (part.len() as u64).max(1);
    let tenth = (resident.len() / 10).max(1);
    // The first reloads warm caches up.
    let early = mean(resident.get(tenth..tenth * 2).unwrap_or(resident));
    let late = mean(resident.get(resident.len().saturating_sub(tenth)..).unwrap_or(resident));
    let most = resident.iter().copied().max().unwrap_or(0);
    println!(
        "resident memory over {} reloads of one life: second tenth {} MiB, last tenth {} MiB, most {} MiB",
        resident.len(),
        mib(early),
        mib(late),
        mib(most)
    );
    ensure!(late <= early + early / 10, "memory grew by more than a tenth");
    Ok(())
}

fn resident_bytes(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("read /proc")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    Ok(kib.context("VmRSS in /proc")? * 1024)
}
