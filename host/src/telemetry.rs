//! Logs and metrics. Names are `<area>_<noun>_<unit>[_total]` with the prefix `donjon_`; labels are bounded and never
//! contain fingerprints, tenants or rule names. Knows nothing of what it counts.

mod plugin_metrics;

mod stages;

use std::io::IsTerminal;
use std::sync::atomic::{AtomicI64, AtomicU64};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};
use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};
pub use plugin_metrics::PluginMetrics;
pub use stages::{Stage, Stages};

/// Starts logging to standard error, so that standard output stays for answers.
///
/// # Errors
/// When the filter does not parse.
pub fn start_log(log: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_new(&log.filter)
        .map_err(|error| anyhow::anyhow!("log.filter does not parse: {}: {error}", log.filter))?;
    let colours = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colours);
    match log.format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}

/// The one label of a family: a closed set of words.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Kind {
    /// Which of them.
    pub kind: &'static str,
}

/// A plugin's label: bounded by the number of files in the plugin directory.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct PluginLabel {
    /// The name of the plugin.
    pub plugin: String,
}

/// Everything that is counted.
pub struct Metrics {
    registry: Registry,
    /// Items of requests by what became of them: `accepted`, `invalid`, `refused`.
    pub ingest_items: Family<Kind, Counter>,
    /// Bytes of request bodies, decompressed.
    pub ingest_bytes: Counter,
    /// What requests hold in memory before the journal has it.
    pub inflight_bytes: Gauge<u64, AtomicU64>,
    /// Connections at present.
    pub connections: Gauge<i64, AtomicI64>,
    /// Connections refused because there were too many.
    pub connections_refused: Counter,
    /// Clients of `GET /events` at present.
    pub event_streams: Gauge<i64, AtomicI64>,
    /// From the arrival of a request at the journal to its acknowledgement.
    pub journal_commit_seconds: Histogram,
    /// Entries of one group commit.
    pub journal_group_entries: Histogram,
    /// Applied events: `first`, `update`, `duplicate`.
    pub worker_events: Family<Kind, Counter>,
    /// Time of one batch.
    pub worker_batch_seconds: Histogram,
    /// Time of each stage of the path.
    pub stages: Stages,
    /// Position of the newest accepted and applied entry.
    pub journal_seq: Gauge<i64, AtomicI64>,
    /// Position up to which entries are applied.
    pub applied_seq: Gauge<i64, AtomicI64>,
    /// Position up to which the newest checkpoint goes.
    pub checkpoint_seq: Gauge<i64, AtomicI64>,
    /// Damaged places of the journal that were met since the start.
    pub journal_damage: Gauge<i64, AtomicI64>,
    /// 1 once the journal takes nothing any more.
    pub journal_broken: Gauge<i64, AtomicI64>,
    /// How long the present turn of the journal's thread takes.
    pub journal_works_ms: Gauge<i64, AtomicI64>,
    /// Alerts of the journal that did not read back since the start.
    pub journal_unreadable: Gauge<i64, AtomicI64>,
    /// By how much the clock of the machine is ahead of the times that alerts get.
    pub clock_ahead_ms: Gauge<i64, AtomicI64>,
    /// Incidents opened.
    pub incidents_opened: Counter,
    /// Evaluations of rules that failed.
    pub rule_errors: Counter,
    /// Alerts that a plugin failed on.
    pub plugin_failures: Family<PluginLabel, Counter>,
    /// Loads of plugins: `loaded`, `rejected`, `unloaded`.
    pub plugin_loads: Family<Kind, Counter>,
    /// What plugins count themselves.
    pub plugins: PluginMetrics,
    /// Tenants for which a plugin does not have the newest rules.
    pub rules_refused: Gauge<i64, AtomicI64>,
    /// 1 while the line is held.
    pub line_held: Gauge<i64, AtomicI64>,
    /// 1 while alerts are refused because of it.
    pub disk_is_full: Gauge<i64, AtomicI64>,
    /// Linear memory that all plugins have.
    pub plugin_memory_bytes: Gauge<u64, AtomicU64>,
    /// How often a plugin was refused memory because all together have as much as they may.
    pub plugin_memory_refusals: Gauge<u64, AtomicU64>,
    /// Idle copies of plugins that were let go for the memory of others.
    pub plugin_copies_let_go: Counter,
    /// Size of derived state.
    pub state_bytes: Gauge<u64, AtomicU64>,
    /// Size of the journal.
    pub journal_bytes: Gauge<u64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Metrics {
            registry: Registry::with_prefix("donjon"),
            ingest_items: Family::default(),
            ingest_bytes: Counter::default(),
            inflight_bytes: Gauge::default(),
            connections: Gauge::default(),
            connections_refused: Counter::default(),
            event_streams: Gauge::default(),
            journal_commit_seconds: Histogram::new(exponential_buckets(0.0005, 2.0, 14)),
            journal_group_entries: Histogram::new(exponential_buckets(1.0, 4.0, 9)),
            worker_events: Family::default(),
            worker_batch_seconds: Histogram::new(exponential_buckets(0.0005, 2.0, 14)),
            stages: Stages::default(),
            journal_seq: Gauge::default(),
            applied_seq: Gauge::default(),
            checkpoint_seq: Gauge::default(),
            journal_damage: Gauge::default(),
            journal_broken: Gauge::default(),
            journal_works_ms: Gauge::default(),
            journal_unreadable: Gauge::default(),
            clock_ahead_ms: Gauge::default(),
            incidents_opened: Counter::default(),
            rule_errors: Counter::default(),
            plugin_failures: Family::default(),
            plugin_loads: Family::default(),
            plugins: PluginMetrics::default(),
            rules_refused: Gauge::default(),
            line_held: Gauge::default(),
            disk_is_full: Gauge::default(),
            plugin_memory_bytes: Gauge::default(),
            plugin_memory_refusals: Gauge::default(),
            plugin_copies_let_go: Counter::default(),
            state_bytes: Gauge::default(),
            journal_bytes: Gauge::default(),
        };
        metrics.registered()
    }
}

impl Metrics {
    fn registered(mut self) -> Self {
        let r = &mut self.registry;
        r.register(
            "ingest_items",
            "Items of requests by what became of them",
            self.ingest_items.clone(),
        );
        r.register_with_unit(
            "ingest",
            "Request bodies, decompressed",
            Unit::Bytes,
            self.ingest_bytes.clone(),
        );
        r.register_with_unit(
            "journal_commit",
            "Arrival to acknowledgement",
            Unit::Seconds,
            self.journal_commit_seconds.clone(),
        );
        r.register(
            "journal_group_entries",
            "Entries of one group commit",
            self.journal_group_entries.clone(),
        );
        r.register(
            "worker_events",
            "Applied events by deduplication outcome",
            self.worker_events.clone(),
        );
        r.register_with_unit(
            "worker_batch",
            "Time of one batch",
            Unit::Seconds,
            self.worker_batch_seconds.clone(),
        );
        self.stages.register(r);
        r.register(
            "journal_seq",
            "Position of the newest accepted entry",
            self.journal_seq.clone(),
        );
        r.register(
            "applied_seq",
            "Position up to which entries are applied",
            self.applied_seq.clone(),
        );
        r.register(
            "checkpoint_seq",
            "Position up to which the newest checkpoint of derived state goes",
            self.checkpoint_seq.clone(),
        );
        self.registered_door().registered_rest()
    }

    fn registered_door(mut self) -> Self {
        let r = &mut self.registry;
        r.register_with_unit(
            "ingest_inflight",
            "Held by requests before the journal has what they bring",
            Unit::Bytes,
            self.inflight_bytes.clone(),
        );
        r.register("connections", "Connections at present", self.connections.clone());
        r.register(
            "connections_refused",
            "Connections refused because there were too many",
            self.connections_refused.clone(),
        );
        r.register(
            "event_streams",
            "Clients of GET /events at present",
            self.event_streams.clone(),
        );
        self
    }

    fn registered_rest(mut self) -> Self {
        let r = &mut self.registry;
        r.register(
            "journal_damage",
            "Damaged places of the journal met since the start",
            self.journal_damage.clone(),
        );
        let text = "1 once the journal takes nothing any more, see /healthz: a restart is needed";
        r.register("journal_broken", text, self.journal_broken.clone());
        let text = "How long the present write of the journal takes; grows while the disk hangs";
        r.register("journal_works_ms", text, self.journal_works_ms.clone());
        r.register(
            "journal_unreadable",
            "Alerts of the journal that did not read back since the start, each time that was met; they are kept as refused items",
            self.journal_unreadable.clone(),
        );
        r.register(
            "clock_ahead_ms",
            "The clock of the machine against the times that alerts get",
            self.clock_ahead_ms.clone(),
        );
        r.register("incidents_opened", "Incidents opened", self.incidents_opened.clone());
        r.register(
            "rule_errors",
            "Evaluations of rules that failed",
            self.rule_errors.clone(),
        );
        r.register(
            "plugin_failed_alerts",
            "Alerts that a plugin failed on",
            self.plugin_failures.clone(),
        );
        self.plugins.register(r);
        let text = "Tenants whose newest rules a plugin did not take; older ones are in force";
        r.register("rules_refused", text, self.rules_refused.clone());
        let text = "1 while a required plugin or a full disk holds the line, see /readyz";
        r.register("line_held", text, self.line_held.clone());
        let text = "1 while alerts are refused because the disk is full, see /readyz";
        r.register("disk_is_full", text, self.disk_is_full.clone());
        r.register("plugin_loads", "Loads of plugins by outcome", self.plugin_loads.clone());
        r.register_with_unit(
            "plugin_memory",
            "Linear memory of all plugins together",
            Unit::Bytes,
            self.plugin_memory_bytes.clone(),
        );
        r.register(
            "plugin_memory_refusals",
            "Times a plugin was refused memory because all together have as much as they may",
            self.plugin_memory_refusals.clone(),
        );
        let text = "Idle copies of plugins let go for the memory of others, and made again when they are needed";
        r.register("plugin_copies_let_go", text, self.plugin_copies_let_go.clone());
        r.register_with_unit(
            "state_size",
            "Derived state on disk",
            Unit::Bytes,
            self.state_bytes.clone(),
        );
        r.register_with_unit(
            "journal_size",
            "Journal on disk",
            Unit::Bytes,
            self.journal_bytes.clone(),
        );
        self
    }

    /// The text of `/metrics`.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = prometheus_client::encoding::text::encode(&mut text, &self.registry);
        text
    }
}
