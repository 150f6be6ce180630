//! Where the time of an alert goes: a histogram for each stage of its path, as one family, so that a slow server can be asked
//! which stage it is. A stage is measured once for a body, a group commit or a batch, never for one alert: reading a clock
//! costs next to nothing there. Knows nothing of what the stages do.

use std::time::Instant;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// A stage of the path, in its order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Stage {
    /// A body to alerts: decompressed, split, parsed, normalised.
    Parse,
    /// A group of entries encoded, compressed and written.
    Append,
    /// The group made durable.
    Sync,
    /// A batch of events: first, update or duplicate.
    Admit,
    /// Enrichers.
    Enrich,
    /// Correlators.
    Correlate,
    /// Verdicts to incidents.
    Settle,
    /// The batch written to derived state.
    Commit,
    /// Derived state made durable.
    Flush,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Label {
    stage: Stage,
}

/// The histograms.
#[derive(Clone)]
pub struct Stages(Family<Label, Histogram, fn() -> Histogram>);

impl Default for Stages {
    fn default() -> Self {
        // 20 microseconds to 20 seconds.
        Stages(Family::new_with_constructor(|| {
            Histogram::new(exponential_buckets(0.000_02, 4.0, 11))
        }))
    }
}

impl Stages {
    /// Shows them in `/metrics`.
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "stage",
            "Time of each stage of the path, a body, group commit or batch at a time",
            Unit::Seconds,
            self.0.clone(),
        );
    }

    /// Runs a stage and notes how long it took, whatever came of it.
    pub fn time<T>(&self, stage: Stage, run: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let made = run();
        self.0
            .get_or_create(&Label { stage })
            .observe(begun.elapsed().as_secs_f64());
        made
    }
}
