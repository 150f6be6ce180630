//! What a batch holds before it is committed stays bounded, and where it is cut changes nothing.

use std::sync::{Arc, Mutex};

use arc_swap::ArcSwap;
use donjon_core::batch::{Findings, KvValue, Verdict};
use donjon_core::command::Command;
use donjon_core::rule::policy_id;
use donjon_core::state::StateView;
use donjon_core::{Fingerprint, RuleId, Timestamp};
use donjon_runtime::{CorrelateOutcome, EnrichOutcome, PluginSet};
use donjon_store::journal::EntryBody;
use donjon_store::{NewEntry, State};

use super::super::scripted::{Scripted, fingerprint_of, fingerprints};
use super::super::tests::{Setting, alert, replay_by, replay_counted, replay_in, tenant};
use super::*;

/// Groups that the plugin puts each alert into.
const GROUPS: usize = 64;

fn policy(at: usize) -> RuleId {
    RuleId::from(format!("p{at}"))
}

/// What the plugin noted at each call: how many alerts were committed, and how many it was asked about.
type Calls = Arc<Mutex<Vec<(u64, usize)>>>;

/// A correlator that finds a group of its own for each alert, under each of its policies.
fn finder(state: &State, calls: &Calls) -> Scripted {
    let (state, calls) = (state.reader().clone(), Arc::clone(calls));
    let finder = Scripted::correlator("finder", move |batch| {
        let committed = state.tenant(&tenant()).unwrap().offered;
        calls.lock().unwrap().push((committed, batch.len()));
        let verdict = |(at, group): (usize, usize)| Verdict {
            alert: at,
            rule: policy_id("finder", policy(group).as_str()),
            group_key: vec![fingerprint_of(&batch, at).to_owned()],
            branches: vec![0],
            read: Vec::new(),
        };
        let pairs = (0..batch.len()).flat_map(|at| (0..GROUPS).map(move |group| (at, group)));
        CorrelateOutcome {
            findings: Findings {
                verdicts: pairs.map(verdict).collect(),
                failures: Vec::new(),
            },
            ..CorrelateOutcome::default()
        }
    });
    let names = (0..GROUPS).map(|at| policy(at).to_string());
    finder.policies(names).slices(50)
}

/// Applies entries in batches of at most so many; answers the state, and what the plugin noted.
fn found(entries: &[NewEntry], state: State, batch: usize) -> (Arc<State>, Vec<(u64, usize)>) {
    let calls = Calls::default();
    let finder = finder(&state, &calls);
    let state = replay_by(entries, state, batch, PluginSet::default().with(Arc::new(finder)));
    let calls = calls.lock().unwrap().clone();
    (state, calls)
}

/// Most alerts that were settled between two commits, as the plugin saw it.
fn most_in_a_commit(state: &State, calls: &[(u64, usize)]) -> u64 {
    let end = state.reader().tenant(&tenant()).unwrap().offered;
    let mut committed: Vec<u64> = calls.iter().map(|(committed, _)| *committed).chain([end]).collect();
    committed.dedup();
    let steps = committed.windows(2).map(|pair| pair[1] - pair[0]);
    steps.max().unwrap_or_default()
}

#[test]
fn a_batch_of_which_plugins_find_too_much_is_applied_in_pieces_and_gives_the_same_bytes() {
    let entries: Vec<NewEntry> = (0..400).map(|at| alert(&format!("f{at:03}"))).collect();
    let (together, calls) = found(&entries, State::in_memory(), 2048);
    let most = most_in_a_commit(&together, &calls);
    let fit = (MAX_FOUND_BYTES / (GROUPS * VERDICT_BYTES)) as u64;
    assert!(
        (fit / 2..=fit).contains(&most),
        "{most} alerts in one commit, {calls:?}"
    );
    let (alone, _) = found(&entries, State::in_memory(), 1);
    assert_eq!(together.reader().applied().unwrap(), Seq(400));
    assert!(together.reader().dump().unwrap() == alone.reader().dump().unwrap());
}

/// Of what failed up to here.
fn rejudge(to: u64) -> NewEntry {
    NewEntry {
        accepted: Timestamp(1_000_000),
        tenant: tenant(),
        body: EntryBody::Command {
            guard: donjon_core::command::Guard::default(),
            actor: "a".to_owned(),
            command: Command::Rejudge {
                from: Seq(1),
                to: Seq(to),
                all: false,
            },
        },
    }
}

#[test]
fn judging_again_a_range_that_an_older_version_wrote_is_done_in_bounded_steps() {
    let mut entries: Vec<NewEntry> = (0..300).map(|at| alert(&format!("f{at:03}"))).collect();
    let state = replay_by(&entries, State::in_memory(), 2048, PluginSet::default());
    let offered = state.reader().tenant(&tenant()).unwrap().offered;
    entries.push(rejudge(10_000));
    let (state, calls) = found(&entries, Arc::try_unwrap(state).ok().unwrap(), 2048);
    assert_eq!(state.reader().applied().unwrap(), Seq(301));
    let after = state.reader().tenant(&tenant()).unwrap();
    assert_eq!(after.offered, offered + 300, "each alert once");
    assert_eq!(after.last_running_number, 300 * GROUPS as u64);
    let most = most_in_a_commit(&state, &calls);
    assert_eq!(most, 128, "{calls:?}");
}

#[test]
fn a_piece_is_always_smaller_than_what_was_too_much_and_never_empty() {
    let load = |entries, judged, bytes| Load {
        bytes,
        judged,
        ..Load::of(entries)
    };
    assert_eq!(load(2048, 2048, MAX_FOUND_BYTES).fewer_entries(), None);
    assert_eq!(load(2048, 2048, MAX_FOUND_BYTES * 16).fewer_entries(), Some(128));
    assert_eq!(load(2048, 512, MAX_FOUND_BYTES + 1).fewer_entries(), Some(511));
    assert_eq!(load(2048, 2048, MAX_FOUND_BYTES + 1).fewer_entries(), Some(1024));
    assert_eq!(load(2048, 0, MAX_FOUND_BYTES * 4).fewer_entries(), Some(512));
    assert_eq!(load(3, 1, MAX_FOUND_BYTES * 100).fewer_entries(), Some(1));
    assert_eq!(load(1, 1, MAX_FOUND_BYTES * 100).fewer_entries(), None);
}

/// Writes so many keys for each alert, 900 for one that is called greedy, where a batch may write 800: refused as the
/// runtime does it.
fn hoarder(state: &State, keys_per_alert: usize) -> Scripted {
    let reader = state.reader().clone();
    let written = Mutex::new((0, 0));
    Scripted::enricher("hoarder", move |batch| {
        let committed = reader.applied().unwrap().0;
        let mut written = written.lock().unwrap();
        if written.0 != committed {
            *written = (committed, 0);
        }
        let keys = |fingerprint: &str| match fingerprint {
            "greedy" => 900,
            _ => keys_per_alert,
        };
        let all: usize = fingerprints(&batch).map(keys).sum();
        if written.1 + all > 800 {
            // The batch begins anew, or the alert goes on without.
            written.1 = 0;
            return EnrichOutcome {
                failed: (0..batch.len()).map(|at| (at, "quota".to_owned())).collect(),
                may_pass: true,
                wrote_too_much: true,
                ..EnrichOutcome::default()
            };
        }
        written.1 += all;
        let of = |fingerprint: &str| {
            let name = fingerprint.to_owned();
            (0..keys_per_alert).map(move |at| KvWrite {
                key: format!("{name}-{at}"),
                value: Some(KvValue {
                    bytes: vec![1],
                    version: 1,
                    expires: None,
                }),
            })
        };
        EnrichOutcome {
            kv_writes: fingerprints(&batch).flat_map(of).collect(),
            ..EnrichOutcome::default()
        }
    })
    .slices(50)
}

fn told(state: &State, fingerprint: &str) -> String {
    let alert = state.reader().alert(&tenant(), &Fingerprint::from(fingerprint));
    alert.unwrap().unwrap().plugin_failure.unwrap_or_default()
}

#[test]
fn a_plugin_that_writes_more_than_a_batch_may_gets_smaller_batches_and_no_alert_goes_without_it() {
    let mut entries: Vec<NewEntry> = (0..400).map(|at| alert(&format!("f{at:03}"))).collect();
    entries.insert(200, alert("greedy"));
    let by = |batch, policy| {
        let state = State::in_memory();
        let plugins = PluginSet::default().with(Arc::new(hoarder(&state, 5)));
        let pauses = Arc::new(Mutex::new(0));
        let waited = Arc::clone(&pauses);
        let setting = Setting {
            plugins: Arc::new(ArcSwap::from_pointee(plugins)),
            policies: [("hoarder".to_owned(), policy)].into(),
            pause: Arc::new(move |_| *waited.lock().unwrap() += 1),
        };
        let (state, metrics) = replay_in(&entries, state, batch, setting);
        assert_eq!(state.reader().applied().unwrap(), Seq(401));
        let pauses = *pauses.lock().unwrap();
        (state, metrics, pauses)
    };
    for policy in [crate::line::Policy::Optional, crate::line::Policy::Required] {
        let (together, metrics, pauses) = by(2048, policy);
        let failed: Vec<String> = entries
            .iter()
            .filter_map(name_of)
            .filter(|name| told(&together, name).contains("hoarder"))
            .collect();
        assert_eq!(failed, ["greedy"], "it alone writes more than a batch may");
        let label = crate::telemetry::PluginLabel {
            plugin: "hoarder".to_owned(),
        };
        assert_eq!(
            metrics.plugin_failures.get_or_create(&label).get(),
            1,
            "batches that were given back do not count"
        );
        assert_eq!(
            pauses,
            if policy == crate::line::Policy::Required { 4 } else { 0 },
            "for the greedy one"
        );
        let (alone, _, _) = by(1, policy);
        assert!(together.reader().dump().unwrap() == alone.reader().dump().unwrap());
    }
}

fn name_of(entry: &NewEntry) -> Option<String> {
    match &entry.body {
        EntryBody::Alert { event_id, .. } => Some(event_id.as_str().to_owned()),
        _ => None,
    }
}

#[test]
fn what_a_batch_that_is_given_back_found_is_counted_once() {
    let mut entries: Vec<NewEntry> = (0..400).map(|at| alert(&format!("f{at:03}"))).collect();
    if let EntryBody::Alert { document, .. } = &mut entries[390].body {
        *document = b"[1]".to_vec();
    }
    let state = State::in_memory();
    let finder = finder(&state, &Calls::default());
    // Asked before the other one, which finds too much.
    let liar = Scripted::correlator("a liar", |batch| CorrelateOutcome {
        failed: vec![(0, "no".to_owned())],
        findings: Findings {
            verdicts: vec![Verdict {
                alert: batch.len() - 1,
                rule: policy(0),
                group_key: Vec::new(),
                branches: Vec::new(),
                read: Vec::new(),
            }],
            failures: Vec::new(),
        },
        ..CorrelateOutcome::default()
    });
    let dropped = Arc::clone(&liar.dropped);
    let liar = liar.slices(1);
    let plugins = PluginSet::default().with(Arc::new(finder)).with(Arc::new(liar));
    let (_, metrics) = replay_counted(&entries, state, 2048, plugins);
    let label = crate::telemetry::PluginLabel {
        plugin: "a liar".to_owned(),
    };
    assert_eq!(metrics.plugin_failures.get_or_create(&label).get(), 399);
    assert_eq!(dropped.load(std::sync::atomic::Ordering::SeqCst), 399);
    assert_eq!(metrics.journal_unreadable.get(), 1);
}

#[test]
fn alerts_that_are_read_back_are_judged_in_batches_bounded_by_what_they_take_of_memory() {
    let mut entries: Vec<NewEntry> = (0..20).map(|at| alert(&format!("f{at:03}"))).collect();
    for entry in &mut entries {
        if let EntryBody::Alert { document, .. } = &mut entry.body {
            let mut object: serde_json::Value = serde_json::from_slice(document).unwrap();
            object["numbers"] = vec![1; 50_000].into();
            *document = serde_json::to_vec(&object).unwrap();
        }
    }
    let (state, calls) = found(&entries, State::in_memory(), 2048);
    let tree = 50_000 * size_of::<donjon_core::Value>() as u64;
    let most = most_in_a_commit(&state, &calls);
    assert!(
        (2..=MAX_BATCH_BYTES / tree + 1).contains(&most),
        "{most} alerts of {tree} bytes"
    );
}

#[test]
fn what_is_judged_again_in_one_step_is_judged_by_one_set_of_plugins() {
    let mut entries: Vec<NewEntry> = (0..4).map(|at| alert(&format!("f{at:03}"))).collect();
    for entry in &mut entries {
        if let EntryBody::Alert { document, .. } = &mut entry.body {
            let mut object: serde_json::Value = serde_json::from_slice(document).unwrap();
            // More than is read at a time, all together.
            object["text"] = "x".repeat(7 << 20).into();
            *document = serde_json::to_vec(&object).unwrap();
        }
    }
    let state = replay_by(&entries, State::in_memory(), 2048, PluginSet::default());
    entries.push(rejudge(4));
    let set = Arc::new(ArcSwap::from_pointee(PluginSet::default()));
    let asked = Arc::new(Mutex::new((0, 0)));
    let (later, first, others) = (Arc::clone(&asked), Arc::clone(&asked), Arc::clone(&set));
    let before = Scripted::correlator("judge", move |batch| {
        first.lock().unwrap().0 += batch.len();
        // Another one takes its place while the step is under way.
        let later = Arc::clone(&later);
        let after = Scripted::correlator("judge", move |batch| {
            later.lock().unwrap().1 += batch.len();
            CorrelateOutcome::default()
        });
        others.store(Arc::new(others.load().with(Arc::new(after))));
        CorrelateOutcome::default()
    });
    set.store(Arc::new(PluginSet::default().with(Arc::new(before))));
    let setting = Setting {
        plugins: set,
        policies: std::collections::BTreeMap::new(),
        pause: Arc::new(|_| ()),
    };
    let (state, _) = replay_in(&entries, Arc::try_unwrap(state).ok().unwrap(), 2048, setting);
    assert_eq!(state.reader().applied().unwrap(), Seq(5));
    assert_eq!(*asked.lock().unwrap(), (4, 0));
}
