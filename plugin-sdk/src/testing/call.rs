//! Calls a plugin as the host does: what it may write to its store is bounded, and undone if the call fails.

use super::with;
use crate::batch::Batch;
use crate::findings::{Findings, Verdict};
use crate::roles::correlation::Correlator;
use crate::roles::enrichment::{Enricher, Patch};
use crate::types::Error;

/// The verdicts of a batch.
///
/// ```
/// # use donjon_plugin::{Batch, Correlator, Description, Error, Findings, Plugin, Wanted, policy, testing};
/// # struct ByHost;
/// # impl Plugin for ByHost {
/// #     fn describe() -> Description { Description::default() }
/// #     fn init(_tenant: &str, _config: &str) -> Result<Self, Error> { Ok(ByHost) }
/// # }
/// # impl Correlator for ByHost {
/// #     fn wants(&self) -> Wanted { Wanted::columns(["host"]) }
/// #     fn correlate(&mut self, batch: &Batch) -> Result<Findings, Error> {
/// #         let mut findings = Findings::new();
/// #         for alert in batch.alerts() {
/// #             findings.verdict(&alert, policy(0)).group(alert.text("host"));
/// #         }
/// #         Ok(findings)
/// #     }
/// # }
/// let mut plugin = ByHost::init("acme", "{}").unwrap();
/// let batch = testing::batch().wanted(&plugin.wants()).alert([("host", "db-1")]).build();
/// let verdicts = testing::correlate(&mut plugin, &batch).unwrap();
/// assert_eq!(verdicts[0].group, ["db-1"]);
/// ```
pub fn correlate<P: Correlator>(plugin: &mut P, batch: &Batch) -> Result<Vec<Verdict>, Error> {
    let findings: Findings = undone_if_it_fails(|| plugin.correlate(batch))?;
    Ok(findings.verdicts(batch))
}

/// The changes of a batch, one patch an alert that is changed.
pub fn enrich<P: Enricher>(plugin: &mut P, batch: &Batch) -> Result<Vec<Patch>, Error> {
    undone_if_it_fails(|| plugin.enrich(batch))
}

fn undone_if_it_fails<R>(call: impl FnOnce() -> Result<R, Error>) -> Result<R, Error> {
    let before = with(|host| host.kv.clone());
    with(|host| host.kv.begin_call());
    let answer = call();
    with(|host| host.kv.end_call());
    if answer.is_err() {
        with(|host| host.kv = before);
    }
    answer
}
