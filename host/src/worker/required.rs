//! What a failing plugin means for the line. An optional one costs its contribution, and the alert says so. A required
//! one holds the line until it works, or until another takes its place; an alert that it alone cannot judge is told
//! apart by what else it judges, and put aside after a few attempts: one poisonous alert must not stop all others for ever.

use std::collections::HashMap;
use std::time::Duration;

use donjon_core::batch::{Batch, Scalar};
use donjon_core::{EventId, Fingerprint};
use donjon_runtime::{PluginCalls, Role};

use super::stages::{Interrupted, Stage};
use super::{WorkerError, WorkerParts};
use crate::line::{Policy, failing_text, missing_text};

/// Attempts with an alert before it may be put aside.
const ATTEMPTS: u32 = 5;
/// Between attempts: doubled from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

const _: () = assert!(ATTEMPTS > 1, "a required plugin is tried again");
const _: () = assert!(FIRST_PAUSE.as_millis() <= LONGEST_PAUSE.as_millis());

/// The newest alert that each required plugin judged: what it is asked again to see whether it works at all.
#[derive(Default)]
pub(super) struct LastGood(HashMap<String, Batch>);

impl LastGood {
    /// Remembers an alert of a batch that was judged as a whole.
    fn remember(&mut self, plugin: &str, alert: Batch) {
        self.0.insert(plugin.to_owned(), alert);
    }

    /// Whether a plugin answers for an alert that it judged before, or for an empty one. What it answers is not used.
    fn still_works(&self, plugin: &dyn PluginCalls, failing: &Batch) -> bool {
        let batch = self
            .0
            .get(plugin.name())
            .cloned()
            .unwrap_or_else(|| empty_alert(failing));
        let failed = match plugin.role() {
            Role::Correlator => plugin.correlate(batch).failed,
            _ => plugin.enrich(batch).failed,
        };
        failed.is_empty()
    }
}

/// An alert without attributes, in the shape of another batch.
fn empty_alert(like: &Batch) -> Batch {
    Batch {
        tenant: like.tenant.clone(),
        now: like.now,
        keys: vec![(EventId::from("probe"), Fingerprint::from("probe"))],
        columns: like.columns.clone(),
        rows: if like.rows.is_empty() {
            Vec::new()
        } else {
            vec![vec![Scalar::Null; like.columns.len()]]
        },
        documents: if like.documents.is_empty() {
            Vec::new()
        } else {
            vec![b"{}".to_vec()]
        },
    }
}

/// One call as the loop sees it.
pub(super) struct Attempt<T> {
    /// What came of it.
    pub(super) outcome: T,
    /// Alerts that failed, and the first reason.
    pub(super) failed: usize,
    /// Why.
    pub(super) why: String,
    /// The first alert that was asked about.
    pub(super) first_alert: Batch,
}

impl Stage<'_> {
    /// Calls a plugin; one that is required is called until it works, or until the set of plugins changes: the whole
    /// batch then begins anew, so that it sees one set (I9). The journal fills up to its limit meanwhile.
    pub(super) fn until_it_works<T>(
        &mut self,
        plugin: &dyn PluginCalls,
        generation: u64,
        alerts: usize,
        mut call: impl FnMut(&mut Self) -> Attempt<T>,
    ) -> Result<T, Interrupted> {
        let required = self.line.policy(plugin) == Policy::Required;
        plugin.set_required(required);
        let (mut attempts, mut pause) = (0, FIRST_PAUSE);
        loop {
            let attempt = call(self);
            if !required {
                return Ok(attempt.outcome);
            }
            if attempt.failed == 0 {
                self.last_good.remember(plugin.name(), attempt.first_alert);
                self.line.release();
                return Ok(attempt.outcome);
            }
            attempts += 1;
            let works = attempt.failed < alerts
                || (attempts >= ATTEMPTS && self.last_good.still_works(plugin, &attempt.first_alert));
            if attempts >= ATTEMPTS && works {
                let (name, failed, why) = (plugin.name(), attempt.failed, &attempt.why);
                tracing::error!(
                    plugin = name,
                    failed,
                    "required plugin judges other alerts; these go on without it, rejudge makes good: {why}"
                );
                self.line.release();
                return Ok(attempt.outcome);
            }
            self.line.hold(&failing_text(plugin.name()), &attempt.why);
            if self.stopping.is_cancelled() {
                return Err(WorkerError::Held.into());
            }
            (self.pause)(pause);
            pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
            if self.current.load().generation != generation {
                return Err(Interrupted::PluginsChanged);
            }
        }
    }
}

/// Waits until every required plugin serves.
///
/// # Errors
/// When a stop was asked for meanwhile.
pub(super) fn wait_for_required(parts: &WorkerParts) -> Result<(), WorkerError> {
    loop {
        let missing = parts.line.missing();
        if missing.is_empty() {
            parts.line.release();
            return Ok(());
        }
        parts.line.hold(&missing_text(&missing), "");
        if parts.stopping.is_cancelled() {
            return Err(WorkerError::Held);
        }
        (parts.pause)(super::RETRY);
    }
}
