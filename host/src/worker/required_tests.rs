//! A poisonous alert costs its tenant a contribution and nobody any time; a broken plugin holds the line.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use donjon_core::batch::Batch;
use donjon_core::state::StateView;
use donjon_core::{Fingerprint, TenantId};
use donjon_runtime::{CorrelateOutcome, PluginSet};
use donjon_store::{NewEntry, State};

use super::super::scripted::{Scripted, fingerprint_of, fingerprints};
use super::super::tests::{Setting, alert, replay_in};
use crate::line::Policy;

fn sent(tenant: &str, fingerprint: &str) -> NewEntry {
    NewEntry {
        tenant: TenantId::from(tenant),
        ..alert(fingerprint)
    }
}

/// What came of a journal under a required plugin.
struct Outcome {
    state: Arc<State>,
    pauses: usize,
    calls: Vec<Batch>,
}

impl Outcome {
    fn told(&self, tenant: &str, fingerprint: &str) -> String {
        let reader = self.state.reader();
        let alert = reader.alert(&TenantId::from(tenant), &Fingerprint::from(fingerprint));
        alert.unwrap().unwrap().plugin_failure.unwrap_or_default()
    }

    fn calls_with(&self, fingerprint: &str) -> usize {
        let with = |batch: &&Batch| fingerprints(batch).any(|of| of == fingerprint);
        self.calls.iter().filter(with).count()
    }
}

/// The script tells the alerts that fail, and whether circumstances are to blame; it is told how often the worker waited.
fn judged(
    entries: &[NewEntry],
    script: impl Fn(&Batch, usize) -> (Vec<usize>, bool) + Send + Sync + 'static,
) -> Outcome {
    let (pauses, calls) = (Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    let (noted, seen) = (Arc::clone(&calls), Arc::clone(&pauses));
    let judge = Scripted::correlator("judge", move |batch| {
        let (failed, may_pass) = script(&batch, seen.load(Ordering::SeqCst));
        noted.lock().unwrap().push(batch);
        CorrelateOutcome {
            failed: failed.into_iter().map(|at| (at, "trapped".to_owned())).collect(),
            may_pass,
            ..CorrelateOutcome::default()
        }
    });
    let judge = judge.wants("fingerprint").slices(1);
    let waited = Arc::clone(&pauses);
    let setting = Setting {
        plugins: Arc::new(ArcSwap::from_pointee(PluginSet::default().with(Arc::new(judge)))),
        policies: BTreeMap::from([("judge".to_owned(), Policy::Required)]),
        pause: Arc::new(move |_| {
            waited.fetch_add(1, Ordering::SeqCst);
        }),
    };
    let (state, _) = replay_in(entries, State::in_memory(), 2048, setting);
    let calls = calls.lock().unwrap().clone();
    Outcome {
        state,
        pauses: pauses.load(Ordering::SeqCst),
        calls,
    }
}

/// Alerts whose fingerprint begins with `poison`.
fn poison(batch: &Batch) -> Vec<usize> {
    let all = fingerprints(batch).enumerate();
    all.filter(|(_, of)| of.starts_with("poison"))
        .map(|(at, _)| at)
        .collect()
}

#[test]
fn a_poison_alert_is_told_from_a_broken_plugin_at_once_and_nobody_waits() {
    let entries = [
        sent("a", "good"),
        sent("a", "poison"),
        sent("a", "after"),
        sent("b", "other"),
    ];
    let outcome = judged(&entries, |batch, _| (poison(batch), false));
    assert_eq!(outcome.pauses, 0);
    assert_eq!(outcome.told("a", "poison"), "judge: trapped");
    for (tenant, other) in [("a", "good"), ("a", "after"), ("b", "other")] {
        assert_eq!(outcome.told(tenant, other), "", "{other}");
    }
    assert_eq!(
        outcome.calls_with("poison"),
        2,
        "the machine may have been to blame once"
    );
}

#[test]
fn an_alert_of_one_tenant_proves_nothing_about_the_copy_of_another() {
    let entries = [sent("a", "good"), sent("b", "real"), sent("a", "after")];
    let broken_for_b = |batch: &Batch, pauses: usize| match batch.tenant.as_str() {
        "b" if pauses < 9 => ((0..batch.len()).collect(), false),
        _ => (Vec::new(), false),
    };
    let outcome = judged(&entries, broken_for_b);
    assert_eq!(outcome.pauses, 9, "the line is held until the copy works");
    assert_eq!(outcome.told("b", "real"), "");
}

#[test]
fn who_sends_poison_often_is_asked_once() {
    let names: Vec<String> = (0..6).map(|at| format!("poison{at}")).collect();
    let mut entries: Vec<NewEntry> = names.iter().map(|name| sent("a", name)).collect();
    entries.push(sent("b", "good"));
    // No alert of the tenant was ever judged: only an empty one shows that the plugin works.
    let outcome = judged(&entries, |batch, _| (poison(batch), false));
    let calls: Vec<usize> = names.iter().map(|name| outcome.calls_with(name)).collect();
    assert_eq!(calls, [5, 5, 5, 1, 1, 1]);
    assert_eq!(outcome.pauses, 3 * 4);
    assert_eq!(outcome.told("a", "poison5"), "judge: trapped");
    assert_eq!(outcome.told("b", "good"), "");
}

#[test]
fn a_failure_by_circumstance_is_no_poison_and_is_waited_for() {
    let entries = [sent("a", "good"), sent("a", "unlucky")];
    let unlucky = |batch: &Batch, pauses: usize| {
        let is_it = fingerprint_of(batch, 0) == "unlucky" && pauses < 3;
        ((0..usize::from(is_it)).collect(), is_it)
    };
    let outcome = judged(&entries, unlucky);
    assert_eq!((outcome.pauses, outcome.told("a", "unlucky")), (3, String::new()));
}

#[test]
fn who_is_often_refused_by_circumstance_does_not_hold_the_line_for_others() {
    let names: Vec<String> = (0..6).map(|at| format!("poison{at}")).collect();
    let mut entries = vec![sent("a", "good")];
    entries.extend(names.iter().map(|name| sent("a", name)));
    entries.push(sent("b", "good"));
    let outcome = judged(&entries, |batch, _| (poison(batch), true));
    let calls: Vec<usize> = names.iter().map(|name| outcome.calls_with(name)).collect();
    assert_eq!(calls, [5, 5, 5, 2, 2, 2], "once more, should it have passed");
    assert_eq!(
        outcome.pauses,
        3 * 4,
        "three poison alerts of a tenant, then nobody waits"
    );
    assert_eq!(outcome.told("a", "poison5"), "judge: trapped");
    assert_eq!(outcome.told("b", "good"), "");
}

#[test]
fn a_plugin_that_only_stalls_costs_no_alert_though_the_tenant_sends_poison_often() {
    let mut entries = vec![sent("a", "good")];
    entries.extend(["poison0", "poison1", "poison2", "real"].map(|name| sent("a", name)));
    let (begun, left) = (AtomicBool::new(false), AtomicUsize::new(0));
    let stalls = move |batch: &Batch, _: usize| {
        if fingerprint_of(batch, 0) == "real" && !begun.swap(true, Ordering::SeqCst) {
            left.store(3, Ordering::SeqCst);
        }
        let less = |left: usize| left.checked_sub(1);
        match left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less) {
            Ok(_) => ((0..batch.len()).collect(), true),
            Err(_) => (poison(batch), false),
        }
    };
    let outcome = judged(&entries, stalls);
    assert_eq!(outcome.told("a", "poison2"), "judge: trapped");
    assert_eq!(
        outcome.told("a", "real"),
        "",
        "it judged another alert only after the stall"
    );
}
