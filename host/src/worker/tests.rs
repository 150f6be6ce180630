//! The worker over a real journal and derived state in memory, without a server and without components: what becomes of
//! entries whose records the store refuses, and that the same journal gives the same state.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use donjon_core::batch::{KvSpace, KvValue, KvWrite};
use donjon_core::state::StateView;
use donjon_core::{EventId, Fingerprint, Seq, TenantId, Timestamp};
use donjon_runtime::{EnrichOutcome, PluginSet};
use donjon_store::journal::{EntryBody, JournalOptions};
use donjon_store::{Checkpoints, Journal, NewEntry, State};
use tokio::sync::watch;

use super::scripted::{Scripted, fingerprints};
use super::{CheckpointKeeper, Pause, Worker, WorkerParts};
use crate::disk_space::DiskSpace;
use crate::intake::Progress;
use crate::line::{LineStatus, Policy};
use crate::plugin_kv::PendingKv;
use crate::telemetry::Metrics;

/// An enricher that writes a value for each alert, for one whose fingerprint begins with `huge` under a key that the
/// store refuses.
fn writer() -> Scripted {
    let write = |fingerprint: &str| KvWrite {
        key: match fingerprint {
            huge if huge.starts_with("huge") => "k".repeat(600),
            other => other.to_owned(),
        },
        value: Some(KvValue {
            bytes: vec![1],
            version: 1,
            expires: None,
        }),
    };
    Scripted::enricher("writer", move |batch| EnrichOutcome {
        kv_writes: fingerprints(&batch).map(write).collect(),
        ..EnrichOutcome::default()
    })
}

pub(super) fn tenant() -> TenantId {
    TenantId::from("t")
}

pub(super) fn alert(fingerprint: &str) -> NewEntry {
    let document = serde_json::json!({
        "id": fingerprint, "name": "n", "fingerprint": fingerprint, "status": "firing", "severity": "low",
        "source": ["s"], "lastReceived": "2026-11-21T10:00:00.000Z",
    });
    NewEntry {
        accepted: Timestamp(1_000_000),
        tenant: tenant(),
        body: EntryBody::Alert {
            event_id: EventId::from(fingerprint),
            provider: "grafana".to_owned(),
            api_key_name: "k".to_owned(),
            document: serde_json::to_vec(&document).unwrap(),
            id_generated: false,
        },
    }
}

/// Applies a journal with these entries into a state, in batches of at most so many.
fn replay(entries: &[NewEntry], state: State, max_batch_entries: usize) -> Arc<State> {
    replay_by(
        entries,
        state,
        max_batch_entries,
        PluginSet::default().with(Arc::new(writer())),
    )
}

/// The same, judged by these plugins.
pub(super) fn replay_by(
    entries: &[NewEntry],
    state: State,
    max_batch_entries: usize,
    plugins: PluginSet,
) -> Arc<State> {
    replay_counted(entries, state, max_batch_entries, plugins).0
}

/// The same, and what was counted.
pub(super) fn replay_counted(
    entries: &[NewEntry],
    state: State,
    max_batch_entries: usize,
    plugins: PluginSet,
) -> (Arc<State>, Arc<Metrics>) {
    let setting = Setting {
        plugins: Arc::new(ArcSwap::from_pointee(plugins)),
        policies: BTreeMap::new(),
        pause: Arc::new(|_| ()),
    };
    replay_in(entries, state, max_batch_entries, setting)
}

/// What surrounds a worker.
pub(super) struct Setting {
    pub(super) plugins: Arc<ArcSwap<PluginSet>>,
    pub(super) policies: BTreeMap<String, Policy>,
    pub(super) pause: Pause,
}

/// The same in other surroundings.
pub(super) fn replay_in(
    entries: &[NewEntry],
    state: State,
    max_batch_entries: usize,
    setting: Setting,
) -> (Arc<State>, Arc<Metrics>) {
    let temp = tempfile::tempdir().unwrap();
    std::fs::create_dir(temp.path().join("journal")).unwrap();
    let (mut journal, _) = Journal::open(temp.path().join("journal"), JournalOptions::default()).unwrap();
    for run in entries.chunk_by(|one, next| one.accepted <= next.accepted) {
        // Does nothing but where times go back.
        journal.go_back_to(run[0].accepted);
        journal.append(run).unwrap();
    }
    journal.sync().unwrap();
    let (state, metrics) = (Arc::new(state), Arc::new(Metrics::default()));
    let disk_space = DiskSpace::new(temp.path().to_owned(), 0);
    let checkpoints = Checkpoints::open(temp.path().join("checkpoints")).unwrap();
    let plugins = setting.plugins;
    let line = Arc::new(LineStatus::new(setting.policies, Arc::clone(&plugins), Arc::default()));
    let parts = WorkerParts {
        state: Arc::clone(&state),
        checkpoints: CheckpointKeeper::new(checkpoints, u64::MAX, &disk_space, &metrics),
        journal: journal.reader(),
        groups: crossbeam_channel::unbounded().1,
        disk_space,
        plugins,
        pending_kv: PendingKv::default(),
        stopping: tokio_util::sync::CancellationToken::new(),
        line,
        pause: setting.pause,
        replay_to: journal.reader().last_seq(),
        progress: Arc::new(Progress::new(
            journal.reader().last_seq(),
            state.reader().applied().unwrap(),
        )),
        committed: watch::channel(Seq(0)).0,
        replayed: watch::channel(false).0,
        metrics: Arc::clone(&metrics),
        max_batch_entries,
        changes_per_commit: 1000,
        flush_every: Duration::from_secs(60),
    };
    Worker::new(parts).unwrap().run().unwrap();
    (state, metrics)
}

/// What is told on an alert; that no correlator is loaded at least.
fn failure_of(state: &State, fingerprint: &str) -> Option<String> {
    let alert = state
        .reader()
        .alert(&tenant(), &Fingerprint::from(fingerprint))
        .unwrap();
    alert.unwrap().plugin_failure
}

#[test]
fn an_alert_that_cannot_be_stored_with_a_plugins_contribution_is_stored_without() {
    let state = replay(&[alert("a"), alert("huge"), alert("b")], State::in_memory(), 2048);
    assert_eq!(state.reader().applied().unwrap(), Seq(3));
    let why = failure_of(&state, "huge").unwrap();
    assert!(
        why.contains("applied without plugins") && why.contains("limit 512 bytes, found 600"),
        "{why}"
    );
    for untouched in ["a", "b"] {
        let told = failure_of(&state, untouched).unwrap_or_default();
        assert!(!told.contains("applied without plugins"), "{told}");
        let space = KvSpace::new("writer", &tenant());
        assert!(state.reader().plugin_kv_get(&space, untouched).unwrap().is_some());
    }
}

#[test]
fn an_entry_that_cannot_be_stored_at_all_becomes_a_dead_letter_and_the_line_goes_on() {
    let long = "f".repeat(255);
    let refusing = State::in_memory().refusing_records_over(600);
    let state = replay(&[alert("a"), alert(&long), alert("b")], refusing, 2048);
    assert_eq!(state.reader().applied().unwrap(), Seq(3));
    let letters = state.reader().dead_letters(&tenant(), 0, 10).unwrap();
    assert_eq!(letters.len(), 1, "{letters:?}");
    let (seq, letter) = &letters[0];
    assert_eq!((*seq, letter.provider.as_str()), (Seq(2), "grafana"));
    assert!(letter.reason.contains("cannot be stored"), "{}", letter.reason);
    assert_eq!(
        state
            .reader()
            .alert(&tenant(), &Fingerprint::from(long.as_str()))
            .unwrap(),
        None
    );
    let told = failure_of(&state, "b").unwrap_or_default();
    assert!(!told.contains("applied without plugins"), "{told}");
}

#[test]
fn the_same_journal_gives_the_same_bytes_whatever_a_batch_holds() {
    let names = ["a", "b", "huge", "a", "c", "huge2", "b", "d"];
    let entries: Vec<NewEntry> = names.iter().cycle().take(150).map(|name| alert(name)).collect();
    let dump = |batch| replay(&entries, State::in_memory(), batch).reader().dump().unwrap();
    let expected = dump(1);
    assert!(expected.len() > 10);
    for batch in [2, 7, 2048] {
        assert!(dump(batch) == expected, "in batches of {batch}");
    }
}

/// An enricher that keeps a value for each alert until the time that its fingerprint names, in seconds.
fn keeper() -> Scripted {
    let write = |fingerprint: &str| {
        let (_, until) = fingerprint.split_once('-').unwrap();
        KvWrite {
            key: fingerprint.to_owned(),
            value: Some(KvValue {
                bytes: vec![1; 10],
                version: 1,
                expires: Some(Timestamp(until.parse::<u64>().unwrap() * 1000)),
            }),
        }
    };
    Scripted::enricher("keeper", move |batch| EnrichOutcome {
        kv_writes: fingerprints(&batch).map(write).collect(),
        ..EnrichOutcome::default()
    })
}

#[test]
fn what_plugins_keep_expires_at_the_same_entry_whatever_a_batch_holds() {
    let entries: Vec<NewEntry> = (0..60_u64)
        .map(|at| NewEntry {
            accepted: Timestamp(at * 1000),
            ..alert(&format!("f{at}-{}", at * 7 % 60))
        })
        .collect();
    let space = KvSpace::new("keeper", &tenant());
    for entries in [&entries[..], &entries[..41], &entries[..1]] {
        let by = |batch| {
            let plugins = PluginSet::default().with(Arc::new(keeper()));
            replay_by(entries, State::in_memory(), batch, plugins)
        };
        let expected = by(1);
        let kept = expected.reader().plugin_kv_scan(&space, "", None, 99).unwrap();
        let newest = entries.len() as u64 - 1;
        assert!(
            kept.iter()
                .all(|(_, value)| value.expires > Some(Timestamp(newest * 1000)))
        );
        let alive = (0..=newest).filter(|at| at * 7 % 60 > newest).count();
        assert_eq!(kept.len(), alive, "of {} entries", entries.len());
        for batch in [2, 7, 2048] {
            let found = by(batch).reader().dump().unwrap();
            assert!(found == expected.reader().dump().unwrap(), "in batches of {batch}");
        }
    }
}

#[test]
fn times_that_went_back_end_a_batch_so_that_what_expired_before_is_gone_in_any_case() {
    let at = |seconds: u64, fingerprint: &str| NewEntry {
        accepted: Timestamp(seconds * 1000),
        ..alert(fingerprint)
    };
    let entries = [
        at(10, "a-90"),
        at(11, "b-101"),
        at(100, "c-200"),
        at(50, "d-60"),
        at(55, "e-56"),
    ];
    let space = KvSpace::new("keeper", &tenant());
    for batch in [1, 2, 2048] {
        let plugins = PluginSet::default().with(Arc::new(keeper()));
        let state = replay_by(&entries, State::in_memory(), batch, plugins);
        let kept = state.reader().plugin_kv_scan(&space, "", None, 99).unwrap();
        let keys: Vec<&str> = kept.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["b-101", "c-200", "d-60", "e-56"], "in batches of {batch}");
    }
}

/// Such an entry was written by a version that took what it cannot read.
#[test]
fn an_alert_that_does_not_read_back_is_kept_as_a_refused_item_and_counted() {
    let unreadable = |document: &str| {
        let mut entry = alert("lost");
        if let EntryBody::Alert { document: found, .. } = &mut entry.body {
            *found = document.as_bytes().to_vec();
        }
        entry
    };
    let entries = [
        alert("a"),
        unreadable(r#"{"name":"x","assignee":{"who":"me"}}"#),
        unreadable("[1]"),
        unreadable("{"),
        alert("b"),
    ];
    let (state, metrics) = replay_counted(&entries, State::in_memory(), 2048, PluginSet::default());
    assert_eq!(state.reader().applied().unwrap(), Seq(5));
    let letters = state.reader().dead_letters(&tenant(), 0, 10).unwrap();
    let seqs: Vec<Seq> = letters.iter().map(|(seq, _)| *seq).collect();
    assert_eq!(seqs, [Seq(4), Seq(3), Seq(2)]);
    let reason = &letters[2].1.reason;
    assert!(
        reason.contains("does not read back: field assignee: must be text"),
        "{reason}"
    );
    assert_eq!(metrics.journal_unreadable.get(), 3);
    for beside in ["a", "b"] {
        assert!(
            state
                .reader()
                .alert(&tenant(), &Fingerprint::from(beside))
                .unwrap()
                .is_some()
        );
    }
}
