//! Every cap on what a plugin may use, take or hand back (invariant I7), in one struct so that the host can configure
//! it. Knows no wasmtime.

use std::time::Duration;

/// What one instance may have, and all together: a quarter of the 2 GiB that the whole host is meant to live in.
const MEMORY_BYTES: usize = 256 << 20;
const TOTAL_MEMORY_BYTES: usize = 512 << 20;

const _: () = assert!(
    MEMORY_BYTES * 2 <= TOTAL_MEMORY_BYTES,
    "one greedy plugin leaves room for the others"
);

/// What a plugin may keep of its own: an entry, in one batch, for one tenant.
const KV_KEY_BYTES: usize = 512;
const KV_VALUE_BYTES: usize = 64 << 10;
const KV_SCAN_BYTES: usize = 1 << 20;
const KV_WRITES_PER_BATCH: usize = 10_000;
const KV_WRITE_BYTES_PER_BATCH: usize = 16 << 20;
const KV_SPACE_KEYS: u64 = 100_000;
const KV_SPACE_BYTES: u64 = 64 << 20;

const _: () = assert!(
    KV_KEY_BYTES + KV_VALUE_BYTES <= KV_SCAN_BYTES,
    "a scan can answer any entry"
);
const _: () = assert!(
    KV_WRITES_PER_BATCH as u64 <= KV_SPACE_KEYS && KV_WRITE_BYTES_PER_BATCH as u64 <= KV_SPACE_BYTES,
    "a space holds what one batch may write"
);

/// Most failed calls, and most time spent on them, are per slice of a batch; everything else is per alert, call, instance,
/// batch or file, as its name says.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Largest file that is taken for a plugin, in bytes. 32 MiB.
    pub file_bytes: usize,
    /// All linear memories of an instance together, in bytes. 256 MiB.
    pub memory_bytes: usize,
    /// All linear memories of all plugins together, in bytes. 512 MiB.
    pub total_memory_bytes: usize,
    /// All tables of an instance together, in elements. 100,000.
    pub table_elements: usize,
    /// Core instances inside one component. 128.
    pub instances: usize,
    /// Linear memories inside one component. 16.
    pub memories: usize,
    /// Tables inside one component. 128.
    pub tables: usize,
    /// Time a call may compute. Slices are cut so that it is far from used up. 1 s.
    pub call_cpu: Duration,
    /// Time a call may take, waiting included. 5 s.
    pub call_wall: Duration,
    /// Time each step of a start (instantiate, describe, init, what its role asks) may compute. 5 s.
    pub start_cpu: Duration,
    /// Time each of these may take. 10 s.
    pub start_wall: Duration,
    /// How long a slice waits for the next instance of a plugin that broke, unless it is required; one
    /// that needs longer comes later, and the slice goes on without it. 250 ms.
    pub restart_wait: Duration,
    /// Time that taking the rules of one tenant may compute: thousands of conditions are compiled in it. 10 s.
    pub configure_cpu: Duration,
    /// Time that taking the rules may take. 20 s.
    pub configure_wall: Duration,
    /// Most data that one call may hand to the host, in bytes, counted by wasmtime while it copies. 64 MiB.
    pub answer_bytes: usize,
    /// Most verdicts on one alert, each another rule or group; the alert is told of more. 64.
    pub verdicts_per_alert: usize,
    /// Most rules that are reported as failed on one alert; it is told of more. 64.
    pub rule_failures_per_alert: usize,
    /// Longest value that names a group, in bytes; a verdict with a longer one is refused and its alert told. 4 KiB.
    pub group_value_bytes: usize,
    /// All settings and branches of the policies of a correlator together, in bytes: each tenant keeps a copy. 256 KiB.
    pub policies_bytes: usize,
    /// Most branches, and most columns read, named by one verdict. 4,096.
    pub indexes_per_verdict: usize,
    /// Most changes to one alert. 128.
    pub changes_per_alert: usize,
    /// Longest JSON value in an answer, in bytes. 64 KiB.
    pub text_bytes: usize,
    /// Longest attribute path that a plugin names, in bytes. 256.
    pub path_bytes: usize,
    /// Most attribute paths that a plugin, or one rule, may ask for. 1,024.
    pub columns: usize,
    /// Most policies that a correlator may bring along. 1,024.
    pub policies: usize,
    /// Longest key of a plugin's own data, in bytes. 512.
    pub kv_key_bytes: usize,
    /// Longest value of a plugin's own data, in bytes. 64 KiB.
    pub kv_value_bytes: usize,
    /// Most keys that a plugin keeps for one tenant. 100,000.
    pub kv_space_keys: u64,
    /// Most bytes that a plugin keeps for one tenant, keys included. 64 MiB.
    pub kv_space_bytes: u64,
    /// Most entries that one scan answers; one that finds more is refused. 1,000.
    pub kv_scan_entries: usize,
    /// Most bytes that one scan answers; one that finds more is refused. 1 MiB.
    pub kv_scan_bytes: usize,
    /// Most pages of committed data, of 16 entries each, that one scan reads: nothing interrupts it. 128.
    pub kv_scan_pages: usize,
    /// Most keys written in one batch, by all calls for all tenants. 10,000.
    pub kv_writes_per_batch: usize,
    /// Most bytes written in one batch, keys included. 16 MiB.
    pub kv_write_bytes_per_batch: usize,
    /// Log lines a second; more are counted and dropped. 100.
    pub log_lines_per_second: u32,
    /// Longest log line, in bytes; a longer one is cut. 1,024.
    pub log_line_bytes: usize,
    /// Failed calls after which the rest of a slice is given up. Isolating one alert of 512 takes 11. 64.
    pub failed_calls_per_slice: u32,
    /// Time spent on failed calls after which the rest of a slice is given up, and the plugin left alone for a while; not
    /// for a required plugin. 1 s.
    pub failure_time_per_slice: Duration,
    /// Slices given up in a row after which a plugin is left alone for a while. 3.
    pub strikes: u32,
    /// The first pause; every further one is twice as long. 1 s.
    pub back_off_first: Duration,
    /// The longest pause. 60 s.
    pub back_off_longest: Duration,
    /// Compiled plugins kept in the cache directory; the oldest go first. 64.
    pub cached_files: usize,
}

impl Limits {
    /// How long a copy that is being made is waited for, where it cannot be missed: longer than making one takes, as a rule.
    pub(crate) fn making_wall(&self) -> Duration {
        self.start_wall + self.configure_wall
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            file_bytes: 32 << 20,
            memory_bytes: MEMORY_BYTES,
            total_memory_bytes: TOTAL_MEMORY_BYTES,
            table_elements: 100_000,
            instances: 128,
            memories: 16,
            tables: 128,
            call_cpu: Duration::from_secs(1),
            call_wall: Duration::from_secs(5),
            start_cpu: Duration::from_secs(5),
            start_wall: Duration::from_secs(10),
            restart_wait: Duration::from_millis(250),
            configure_cpu: Duration::from_secs(10),
            configure_wall: Duration::from_secs(20),
            answer_bytes: 64 << 20,
            verdicts_per_alert: 64,
            rule_failures_per_alert: 64,
            group_value_bytes: 4 << 10,
            policies_bytes: 256 << 10,
            indexes_per_verdict: 4_096,
            changes_per_alert: 128,
            text_bytes: 64 << 10,
            path_bytes: 256,
            columns: 1_024,
            policies: 1_024,
            kv_key_bytes: KV_KEY_BYTES,
            kv_value_bytes: KV_VALUE_BYTES,
            kv_space_keys: KV_SPACE_KEYS,
            kv_space_bytes: KV_SPACE_BYTES,
            kv_scan_entries: 1_000,
            kv_scan_bytes: KV_SCAN_BYTES,
            kv_scan_pages: 128,
            kv_writes_per_batch: KV_WRITES_PER_BATCH,
            kv_write_bytes_per_batch: KV_WRITE_BYTES_PER_BATCH,
            log_lines_per_second: 100,
            log_line_bytes: 1_024,
            failed_calls_per_slice: 64,
            failure_time_per_slice: Duration::from_secs(1),
            strikes: 3,
            back_off_first: Duration::from_secs(1),
            back_off_longest: Duration::from_secs(60),
            cached_files: 64,
        }
    }
}
