//! What all limits together let the server take, and what it may have: each limit alone is no promise. Knows no
//! measurements.

use std::path::Path;

use donjon_core::working::WorkingLimits;
use donjon_store::limits::{BLOCK_CACHE_BYTES, INDEX_CACHE_BYTES, MAX_CAPTURED_BYTES};

use crate::config::Config;
use crate::http::connections::CONNECTION_BUFFER_BYTES;
use crate::http::reads::{LARGEST_ANSWERS_AT_ONCE, LOOK_UPS_AT_ONCE};
use crate::intake::COMMAND_RESERVE_BYTES;

/// Records of alerts, and five kinds of which each has the capacity of incidents.
const KINDS_LIKE_INCIDENTS: usize = 5;
/// Of each kind the worker remembers two generations.
const GENERATIONS: usize = 2;

/// The most that each part may take, in bytes.
pub struct MemorySum {
    parts: Vec<(&'static str, u64)>,
}

impl MemorySum {
    /// Of a configuration.
    pub fn of(config: &Config) -> MemorySum {
        let bytes = |count: usize| count as u64;
        let working = WorkingLimits::default();
        let remembered = working.alerts.bytes + KINDS_LIKE_INCIDENTS * working.incidents.bytes;
        let made_at_once = config.reads.scans_at_once.saturating_add(LOOK_UPS_AT_ONCE);
        let answers_at_once = made_at_once.saturating_add(LARGEST_ANSWERS_AT_ONCE);
        let answers = config.reads.max_answer_bytes.saturating_mul(answers_at_once);
        let connections = config.server.max_connections.saturating_mul(CONNECTION_BUFFER_BYTES);
        let lag = config.ingest.max_lag_bytes.saturating_add(COMMAND_RESERVE_BYTES);
        MemorySum {
            parts: vec![
                ("ingest.max_inflight_bytes", config.ingest.max_inflight_bytes),
                ("ingest.max_lag_bytes and the reserve of commands", lag),
                (
                    "plugin_host.total_memory_bytes",
                    bytes(config.plugin_host.total_memory_bytes),
                ),
                ("storage.cache_bytes", config.storage.cache_bytes),
                ("server.max_connections", bytes(connections)),
                ("reads.max_answer_bytes of all answers, made and sent", bytes(answers)),
                ("what the worker remembers", bytes(remembered * GENERATIONS)),
                ("a checkpoint under way", bytes(MAX_CAPTURED_BYTES)),
                ("caches of the journal", bytes(BLOCK_CACHE_BYTES + INDEX_CACHE_BYTES)),
            ],
        }
    }

    /// All together.
    pub fn total(&self) -> u64 {
        self.parts
            .iter()
            .fold(0, |sum: u64, (_, bytes)| sum.saturating_add(*bytes))
    }

    /// For people.
    pub fn told(&self) -> String {
        let part = |(name, bytes): &(&str, u64)| format!("{} {name}", mib(*bytes));
        let parts: Vec<String> = self.parts.iter().map(part).collect();
        format!(
            "at their limits all parts together take about {} MiB: {}",
            mib(self.total()),
            parts.join(", ")
        )
    }

    /// What to say if it is more than there is.
    pub fn warning(&self, available: Option<u64>) -> Option<String> {
        let available = available.filter(|available| *available < self.total())?;
        Some(format!(
            "the limits allow more memory than there is, so under full load the system may kill the server (nothing \
             acknowledged is lost then); lower some of them, or give it more: {} MiB are there, {}",
            mib(available),
            self.told()
        ))
    }
}

fn mib(bytes: u64) -> u64 {
    bytes >> 20
}

/// What this process may have: the machine's memory, or less where a control group limits it. None where nobody says.
pub fn available(root: &Path) -> Option<u64> {
    let read = |path: &Path| std::fs::read_to_string(path).ok();
    let machine = read(&root.join("proc/meminfo")).and_then(|text| memory_of_the_machine(&text));
    let groups = read(&root.join("proc/self/cgroup")).unwrap_or_default();
    let limits = groups
        .lines()
        .flat_map(|line| limit_files(&root.join("sys/fs/cgroup"), line));
    let limits = limits.filter_map(|path| read(&path)?.trim().parse::<u64>().ok());
    machine.into_iter().chain(limits).min()
}

fn memory_of_the_machine(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib << 10)
}

/// The files that may limit a group: its own, and those of the groups around it. A line is `ID:CONTROLLERS:PATH`.
fn limit_files(mounted: &Path, line: &str) -> Vec<std::path::PathBuf> {
    let mut fields = line.splitn(3, ':').skip(1);
    let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else {
        return Vec::new();
    };
    let (base, file) = match controllers {
        "" => (mounted.to_owned(), "memory.max"),
        old if old.split(',').any(|one| one == "memory") => (mounted.join("memory"), "memory.limit_in_bytes"),
        _ => return Vec::new(),
    };
    let group = Path::new(path.trim_start_matches('/'));
    group.ancestors().map(|group| base.join(group).join(file)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_all_limits_is_told_and_warned_about_where_there_is_less() {
        let mut config = Config::default();
        let sum = MemorySum::of(&config);
        assert_eq!(sum.total(), sum.parts.iter().map(|(_, bytes)| bytes).sum::<u64>());
        // As in ARCHITECTURE.md.
        assert_eq!(sum.total() >> 20, 3456, "{}", sum.told());
        assert_eq!(sum.warning(None), None);
        assert_eq!(sum.warning(Some(sum.total())), None);
        let warning = sum.warning(Some(2 << 30)).unwrap();
        assert!(
            warning.contains("2048 MiB are there") && warning.contains("512 ingest.max_inflight_bytes"),
            "{warning}"
        );
        config.ingest.max_inflight_bytes += 1 << 30;
        assert_eq!(MemorySum::of(&config).total(), sum.total() + (1 << 30));
        config.ingest.max_lag_bytes = u64::MAX;
        assert_eq!(MemorySum::of(&config).total(), u64::MAX);
    }

    #[test]
    fn the_least_limit_around_the_process_counts() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        assert_eq!(available(root.path()), None);
        put("proc/meminfo", "MemTotal:       4096 kB\nMemFree:        1 kB\n");
        assert_eq!(available(root.path()), Some(4 << 20));
        put("proc/self/cgroup", "0::/a/b\n");
        put("sys/fs/cgroup/a/b/memory.max", "max\n");
        assert_eq!(available(root.path()), Some(4 << 20));
        put("sys/fs/cgroup/a/memory.max", "1048576\n");
        assert_eq!(available(root.path()), Some(1 << 20));
        put("proc/self/cgroup", "4:cpu,memory:/old\n1:cpu:/a\n");
        put("sys/fs/cgroup/memory/old/memory.limit_in_bytes", "2097152\n");
        assert_eq!(available(root.path()), Some(2 << 20));
    }
}
