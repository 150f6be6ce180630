//! What a failing plugin means for the line. An optional one costs its contribution, and the alert says so. A required
//! one holds the line until it works, or until another takes its place. An alert that it alone cannot judge is told apart
//! at once, by what else it judges, and put aside: poisonous alerts must stop nobody else, however many there are.

use std::time::Duration;

use donjon_core::batch::Batch;
use donjon_runtime::Role;

use super::probes::{Asked, POISON_OFTEN, empty_alert};
use super::stages::{Interrupted, Stage};
use super::{WorkerError, WorkerParts};
use crate::line::{Policy, failing_text, missing_text};

/// Attempts before an alert may be put aside where circumstances may be to blame, or where nothing but an empty alert shows
/// that the plugin works.
const ATTEMPTS: u32 = 5;
/// The same where the plugin judges other alerts: it is asked again at once, should the machine have been to blame.
const ATTEMPTS_WITH_POISON: u32 = 2;
/// Between attempts while the line is held: doubled from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

const _: () = assert!(ATTEMPTS > ATTEMPTS_WITH_POISON && ATTEMPTS_WITH_POISON > 1);
const _: () = assert!(FIRST_PAUSE.as_millis() <= LONGEST_PAUSE.as_millis());
const _: () = assert!(POISON_OFTEN > 1, "one poison alert says little about a tenant");

/// One call as the loop sees it.
pub(super) struct Attempt<T> {
    /// What came of it.
    pub(super) outcome: T,
    /// Alerts that were asked about.
    pub(super) alerts: usize,
    /// Alerts that the plugin did not see as a whole, and why.
    pub(super) over: Vec<(usize, String)>,
    /// Alerts that failed, and the first reason.
    pub(super) failed: usize,
    /// Why.
    pub(super) why: String,
    /// Whether circumstances are to blame, and not the alerts.
    pub(super) may_pass: bool,
    /// Whether it wrote more than a batch may: fewer entries may do.
    pub(super) wrote_too_much: bool,
    /// The first alert that was asked about, unless an alert like it is known to be judged.
    pub(super) first_alert: Option<Batch>,
}

/// What shows that a plugin works although it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Proof {
    /// Nothing.
    None,
    /// It answers for an alert without attributes.
    AnswersEmpty,
    /// It judges other alerts of the tenant.
    Judges,
}

impl Stage<'_> {
    /// Calls a plugin; one that is required is called until it works, or until the set of plugins changes: the whole
    /// batch then begins anew, so that it sees one set (I9). The journal fills up to its limit meanwhile.
    pub(super) fn until_it_works<T>(
        &mut self,
        asked: Asked<'_>,
        generation: u64,
        mut call: impl FnMut(&mut Self) -> Attempt<T>,
    ) -> Result<Attempt<T>, Interrupted> {
        let (plugin, _) = asked;
        let required = self.line.policy(plugin) == Policy::Required;
        plugin.set_required(required);
        let (mut attempts, mut proved, mut pause) = (0, 0, FIRST_PAUSE);
        loop {
            let mut attempt = call(self);
            if attempt.wrote_too_much {
                self.load.write_too_much();
                self.check_load()?;
            }
            if !required {
                return Ok(attempt);
            }
            if attempt.failed == 0 {
                if let Some(alert) = attempt.first_alert.take() {
                    self.probes.remember(asked, alert);
                }
                self.line.release();
                return Ok(attempt);
            }
            attempts += 1;
            let proof = self.proof(asked, &attempt);
            proved = if proof == Proof::Judges { proved + 1 } else { 0 };
            let poisons_often = self.probes.poisons_often(self.tenant, self.now);
            let is_poison = match proof {
                Proof::None => false,
                _ if attempts >= ATTEMPTS => true,
                // Not waited for: a plugin may answer `retry` for the alerts of one tenant for ever. Asked once more after it
                // judged another one: what only stalled works again by then, and was no poison.
                _ if poisons_often => !attempt.may_pass || proved >= ATTEMPTS_WITH_POISON,
                _ if attempt.may_pass => false,
                Proof::AnswersEmpty => false,
                Proof::Judges => proved >= ATTEMPTS_WITH_POISON,
            };
            if is_poison {
                let (name, failed, why) = (plugin.name(), attempt.failed, &attempt.why);
                tracing::error!(
                    plugin = name,
                    failed,
                    tenant = %self.tenant,
                    "required plugin judges other alerts; these go on without it, rejudge makes good: {why}"
                );
                self.probes.note_poison(self.tenant, self.now);
                self.line.release();
                return Ok(attempt);
            }
            let is_asked_at_once = proof == Proof::Judges && !attempt.may_pass || proof != Proof::None && poisons_often;
            if is_asked_at_once {
                continue;
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

    /// Whether a plugin that failed works all the same: it judged others in the same call, or it is asked about an alert of
    /// the tenant that it judged before, or about an empty one. What it answers is not used.
    fn proof<T>(&self, asked: Asked<'_>, attempt: &Attempt<T>) -> Proof {
        if attempt.failed < attempt.alerts {
            return Proof::Judges;
        }
        let (batch, proof) = match &attempt.first_alert {
            None => (self.probes.known(asked, self.tenant), Proof::Judges),
            Some(like) => (Some(empty_alert(like)), Proof::AnswersEmpty),
        };
        let Some(batch) = batch else {
            return Proof::None;
        };
        let failed = match asked {
            (plugin, Role::Correlator) => plugin.correlate(batch).failed,
            (plugin, _) => plugin.enrich(batch).failed,
        };
        if failed.is_empty() { proof } else { Proof::None }
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

#[cfg(test)]
#[path = "required_tests.rs"]
mod tests;
