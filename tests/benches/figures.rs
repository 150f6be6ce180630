//! Figures of one measurement: what the kernel says about the process, what the client saw, and what is on disk.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;

use crate::load::{Load, Sent};

/// What the kernel says about a process.
pub struct Process {
    cpu_seconds: f64,
    peak_bytes: u64,
}

impl Process {
    /// Reads `/proc`.
    pub fn of(pid: u32) -> anyhow::Result<Process> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("read /proc")?;
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let ticks = |field: usize| {
            after_name
                .split_whitespace()
                .nth(field)
                .and_then(|text| text.parse::<f64>().ok())
                .unwrap_or(0.0)
        };
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let peak_kib: u64 = peak
            .and_then(|line| line.split_whitespace().next()?.parse().ok())
            .unwrap_or(0);
        // Linux counts CPU time in hundredths of a second for every program.
        Ok(Process {
            cpu_seconds: (ticks(11) + ticks(12)) / 100.0,
            peak_bytes: peak_kib * 1024,
        })
    }
}

impl Process {
    /// Processor time since an earlier look at the same process.
    pub fn cpu_seconds_since(&self, before: &Process) -> f64 {
        self.cpu_seconds - before.cpu_seconds
    }
}

/// One row of the table.
pub struct Figures {
    who: String,
    batch: usize,
    alerts: usize,
    per_second: f64,
    p50: Duration,
    p99: Duration,
    cpu_per_million: f64,
    peak_bytes: u64,
    disk_per_alert: f64,
}

impl Figures {
    /// The head of the table.
    pub const HEADER: &'static str = "| who | alerts a request | alerts | applied alerts/s | ack p50 | ack p99 | CPU s / million | peak RSS | bytes on disk / alert |\n|---|---|---|---|---|---|---|---|---|";

    /// Puts a row together.
    pub fn new(
        who: String,
        load: &Load,
        sent: Sent,
        seconds: f64,
        before: &Process,
        after: &Process,
        disk: u64,
    ) -> Figures {
        let at = |share: f64| {
            let index = (sent.latencies.len() as f64 * share) as usize;
            sent.latencies
                .get(index.min(sent.latencies.len().saturating_sub(1)))
                .copied()
                .unwrap_or_default()
        };
        let alerts = load.alerts as f64;
        Figures {
            who,
            batch: load.batch,
            alerts: load.alerts,
            per_second: alerts / seconds,
            p50: at(0.50),
            p99: at(0.99),
            cpu_per_million: (after.cpu_seconds - before.cpu_seconds) / alerts * 1e6,
            peak_bytes: after.peak_bytes,
            disk_per_alert: disk as f64 / alerts,
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| format!("{:.1} ms", time.as_secs_f64() * 1e3);
        write!(
            f,
            "| {} | {} | {} | {:.0} | {} | {} | {:.1} | {} MiB | {:.0} |",
            self.who,
            self.batch,
            self.alerts,
            self.per_second,
            ms(self.p50),
            ms(self.p99),
            self.cpu_per_million,
            self.peak_bytes >> 20,
            self.disk_per_alert
        )
    }
}

/// Bytes that files below a directory take on disk.
pub fn disk_bytes(dir: &Path) -> anyhow::Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut bytes = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        bytes += if meta.is_dir() {
            disk_bytes(&entry.path())?
        } else {
            meta.blocks() * 512
        };
    }
    Ok(bytes)
}

/// The machine, in one line.
pub fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .unwrap_or(": unknown");
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!(
        "Machine: {cores} cores,{}; sender and server share them.",
        model.trim_start_matches(['\t', ':', ' ']).replace("  ", " ")
    )
    .replace(",", ", ")
}
