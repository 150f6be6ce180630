//! One plugin with two roles: each is handed what it wants, enriching comes first, and one role proves nothing about the
//! other.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use donjon_core::batch::{Batch, Cell, Change, Patch};
use donjon_core::state::StateView;
use donjon_core::{Fingerprint, TenantId};
use donjon_runtime::{CorrelateOutcome, EnrichOutcome, PluginSet};
use donjon_store::{NewEntry, State};

use super::super::scripted::{Scripted, fingerprint_of, fingerprints};
use super::super::tests::{Setting, alert, replay_by, replay_in, tenant};
use crate::line::Policy;

/// The columns of each call.
type Calls = Arc<Mutex<Vec<(&'static str, Vec<String>)>>>;

const MARK: &str = "labels.mark";

fn columns(batch: &Batch) -> Vec<String> {
    batch.column_names().map(str::to_owned).collect()
}

/// Marks each alert with its fingerprint, and tells the mark as the reason of a failure where it correlates.
fn marker(calls: &Calls) -> Scripted {
    let (enriching, correlating) = (Arc::clone(calls), Arc::clone(calls));
    let mark = |at, fingerprint: &str| Patch {
        alert: at,
        changes: vec![Change::Set {
            path: MARK.to_owned(),
            json: format!("\"mark of {fingerprint}\""),
        }],
    };
    let correlator = Scripted::correlator("both", move |batch| {
        correlating.lock().unwrap().push(("correlate", columns(&batch)));
        let told = |at| match batch.cell(at, 0) {
            Some(Cell::Text(mark)) => (at, mark.to_owned()),
            other => (at, format!("{other:?}")),
        };
        CorrelateOutcome {
            failed: (0..batch.len()).map(told).collect(),
            ..CorrelateOutcome::default()
        }
    });
    let both = correlator.enriches(move |batch| {
        enriching.lock().unwrap().push(("enrich", columns(&batch)));
        EnrichOutcome {
            patches: fingerprints(&batch).enumerate().map(|(at, of)| mark(at, of)).collect(),
            ..EnrichOutcome::default()
        }
    });
    both.wants(MARK).wants_to_enrich("fingerprint")
}

fn replayed(entries: &[NewEntry], plugin: Scripted, policy: Policy) -> (Arc<State>, usize) {
    let pauses = Arc::new(AtomicUsize::new(0));
    let waited = Arc::clone(&pauses);
    let setting = Setting {
        plugins: Arc::new(ArcSwap::from_pointee(PluginSet::default().with(Arc::new(plugin)))),
        policies: BTreeMap::from([("both".to_owned(), policy)]),
        pause: Arc::new(move |_| {
            waited.fetch_add(1, Ordering::SeqCst);
        }),
    };
    let (state, _) = replay_in(entries, State::in_memory(), 2048, setting);
    (state, pauses.load(Ordering::SeqCst))
}

fn told(state: &State, tenant: &TenantId, fingerprint: &str) -> String {
    let alert = state.reader().alert(tenant, &Fingerprint::from(fingerprint));
    alert.unwrap().unwrap().plugin_failure.unwrap_or_default()
}

#[test]
fn a_plugin_of_two_roles_enriches_first_and_each_role_is_handed_what_it_wants() {
    let calls = Calls::default();
    let (state, _) = replayed(&[alert("one"), alert("two")], marker(&calls), Policy::Optional);
    let columns = |name: &str| vec![name.to_owned()];
    assert_eq!(
        *calls.lock().unwrap(),
        [("enrich", columns("fingerprint")), ("correlate", columns(MARK))]
    );
    assert_eq!(told(&state, &tenant(), "one"), "both: mark of one");
    assert_eq!(told(&state, &tenant(), "two"), "both: mark of two");
}

#[test]
fn what_one_role_judged_is_no_proof_of_the_other_and_poison_is_told_apart_all_the_same() {
    let asked: Calls = Calls::default();
    let seen = Arc::clone(&asked);
    let both = Scripted::correlator("both", move |batch| {
        seen.lock().unwrap().push(("correlate", columns(&batch)));
        let poison = |at: &usize| fingerprint_of(&batch, *at).starts_with("poison");
        let failed = (0..batch.len()).filter(poison);
        CorrelateOutcome {
            failed: failed.map(|at| (at, "trapped".to_owned())).collect(),
            ..CorrelateOutcome::default()
        }
    });
    let both = both.enriches(|_| EnrichOutcome::default());
    let both = both.wants_to_enrich("name").slices(1);
    let (state, pauses) = replayed(
        &[alert("good"), alert("poison"), alert("after")],
        both,
        Policy::Required,
    );
    assert_eq!(told(&state, &tenant(), "poison"), "both: trapped");
    assert_eq!((told(&state, &tenant(), "good"), pauses), (String::new(), 0));
    let strange: Vec<_> = asked
        .lock()
        .unwrap()
        .iter()
        .filter(|(_, columns)| *columns != ["fingerprint"])
        .cloned()
        .collect();
    assert!(strange.is_empty(), "asked with what its other role wants: {strange:?}");
}

#[test]
fn policies_beside_rules_are_asked_about_while_the_tenant_has_no_rules() {
    for (policies, expected) in [(vec!["own".to_owned()], 1), (Vec::new(), 0)] {
        let asked = Arc::new(AtomicUsize::new(0));
        let noted = Arc::clone(&asked);
        let judge = Scripted::correlator("judge", move |batch| {
            noted.fetch_add(batch.len(), Ordering::SeqCst);
            CorrelateOutcome::default()
        });
        let judge = judge.takes_rules().policies(policies.into_iter());
        let set = PluginSet::default().with(Arc::new(judge));
        replay_by(&[alert("a")], State::in_memory(), 10, set);
        assert_eq!(asked.load(Ordering::SeqCst), expected);
    }
}
