//! The outbox and dead letters: what grows, and what is bounded or refused.

use donjon_core::batch::{KvSpace, KvWrite};
use donjon_core::limits::{OUTBOX_KEPT_WINDOWS, OUTBOX_WINDOW_ENTRIES};
use donjon_core::outbox::{OutboxRecord, OutboxWindow};
use donjon_core::state::{StateView, WriteSet};
use donjon_core::{Seq, TenantId};

use super::super::*;
use crate::limits::{MAX_DEAD_LETTERS, MAX_PLUGIN_KEY_BYTES};
use crate::testing::Draw;

fn tenant() -> TenantId {
    TenantId::from("default")
}

fn committed(write: WriteSet) -> State {
    let state = State::in_memory();
    state.commit(&write).unwrap();
    state
}

/// Commits one record a window, and answers the windows of the tenant's first page, and the page's other members.
fn tell(state: &State, of: &TenantId, windows: std::ops::Range<u64>, after: u64) -> (Vec<u64>, u64, u64) {
    let record = |n: u64| {
        let mut record = OutboxRecord::new(of.clone(), OutboxWindow(n));
        record.touch_rules(record.window.last());
        record
    };
    let applied = state.reader().applied().unwrap().0;
    state
        .commit(&WriteSet {
            applied: Seq(applied.max(windows.end * OUTBOX_WINDOW_ENTRIES)),
            outbox: windows.map(record).collect(),
            ..WriteSet::default()
        })
        .unwrap();
    let page = state.reader().outbox_after(of, Seq(after), 3).unwrap();
    let windows = page.records.iter().map(|record| record.window.0).collect();
    (windows, page.upto.0, page.forgotten.0)
}

#[test]
fn a_client_reads_on_from_the_entry_it_names() {
    let (state, of) = (State::in_memory(), tenant());
    let entries = OUTBOX_WINDOW_ENTRIES;
    // A page that is full tells up to the end of its last window, another one up to the cursor.
    assert_eq!(tell(&state, &of, 0..2, 0), (vec![0, 1], entries * 2, 0));
    assert_eq!(tell(&state, &of, 2..9, 0), (vec![0, 1, 2], entries * 3 - 1, 0));
    assert_eq!(
        tell(&state, &of, 0..0, entries * 7 - 2),
        (vec![6, 7, 8], entries * 9 - 1, 0)
    );
    assert_eq!(tell(&state, &of, 0..0, entries * 7 - 1), (vec![7, 8], entries * 9, 0));
    assert_eq!(tell(&state, &of, 0..0, entries * 9), (vec![], entries * 9, 0));
}

#[test]
fn a_tenant_keeps_its_newest_records_whatever_others_do() {
    let (state, quiet, busy) = (State::in_memory(), TenantId::from("quiet"), tenant());
    let (entries, kept) = (OUTBOX_WINDOW_ENTRIES, OUTBOX_KEPT_WINDOWS);
    tell(&state, &quiet, 5..6, 0);
    tell(&state, &busy, 0..kept, 0);
    assert_eq!(tell(&state, &busy, 0..0, 0).0, [0, 1, 2]);
    let (windows, _, forgotten) = tell(&state, &busy, kept..kept + 2, 0);
    assert_eq!((windows, forgotten), (vec![2, 3, 4], entries * 2 - 1));
    let (windows, _, forgotten) = tell(&state, &busy, 3 * kept..3 * kept + 1, 0);
    assert_eq!((windows, forgotten), (vec![3 * kept], (2 * kept + 1) * entries - 1));
    let (windows, _, forgotten) = tell(&state, &quiet, 0..0, 0);
    assert_eq!((windows, forgotten), (vec![5], 0));
}

#[test]
fn dead_letters_come_newest_first_and_are_dismissed() {
    let mut draw = Draw::new(6);
    let mut letters = |seqs: &[u64]| -> Vec<_> {
        seqs.iter()
            .map(|seq| (tenant(), Seq(*seq), draw.dead_letter()))
            .collect()
    };
    let state = committed(WriteSet {
        dead_letters: letters(&[1, 255, 256, 70_000]),
        ..WriteSet::default()
    });
    let seqs = |limit| -> Vec<u64> {
        let found = state.reader().dead_letters(&tenant(), 0, limit).unwrap();
        found.iter().map(|(seq, _)| seq.0).collect()
    };
    assert_eq!(seqs(10), [70_000, 256, 255, 1]);
    assert_eq!(seqs(2), [70_000, 256]);
    let dismiss = |seqs: Vec<Seq>, new: Vec<_>| {
        let dismissed = vec![(tenant(), seqs)];
        state
            .commit(&WriteSet {
                dismissed,
                dead_letters: new,
                ..WriteSet::default()
            })
            .unwrap();
    };
    dismiss(vec![Seq(256), Seq(70_001), Seq(4)], letters(&[70_001, 70_002]));
    assert_eq!(seqs(10), [70_002, 70_000, 255, 1]);
    let all = state.reader().dead_letter_seqs(&tenant()).unwrap();
    assert_eq!(all, [Seq(1), Seq(255), Seq(70_000), Seq(70_002)]);
    dismiss(all, letters(&[80_000]));
    assert_eq!(seqs(10), [80_000], "what came with the dismissal stays");
}

#[test]
fn what_cannot_be_stored_is_refused_whole_and_the_store_goes_on() {
    let state = State::in_memory();
    let mut draw = Draw::new(7);
    let key = "k".repeat(MAX_PLUGIN_KEY_BYTES + 1);
    let write = WriteSet {
        applied: Seq(5),
        alerts: vec![draw.alert_state()],
        plugin_kv: vec![(KvSpace::new("p", &tenant()), KvWrite { key, value: None })],
        ..WriteSet::default()
    };
    let error = state.commit(&write).unwrap_err();
    assert!(matches!(error, CommitError::Record { .. }), "{error}");
    assert!(error.to_string().ends_with("limit 512 bytes, found 513"), "{error}");
    assert_eq!(state.reader().dump().unwrap(), []);
    state
        .commit(&WriteSet {
            plugin_kv: Vec::new(),
            ..write
        })
        .unwrap();
    assert_eq!(state.reader().applied().unwrap(), Seq(5));
}

#[test]
fn the_oldest_dead_letters_are_forgotten_above_the_cap() {
    let state = State::in_memory();
    let letter = Draw::new(2).dead_letter();
    let commit = |letters: std::ops::Range<u64>, dismissed: Vec<Seq>| {
        state
            .commit(&WriteSet {
                dead_letters: letters.map(|seq| (tenant(), Seq(seq), letter.clone())).collect(),
                dismissed: vec![(tenant(), dismissed)],
                ..WriteSet::default()
            })
            .unwrap();
        let seqs = state.reader().dead_letter_seqs(&tenant()).unwrap();
        (seqs.len(), seqs.first().copied(), seqs.last().copied())
    };
    let cap = MAX_DEAD_LETTERS as u64;
    let full = |first: u64, last: u64| (MAX_DEAD_LETTERS, Some(Seq(first)), Some(Seq(last)));
    assert_eq!(commit(0..cap, vec![]), full(0, cap - 1));
    assert_eq!(commit(cap..cap + 7, vec![]), full(7, cap + 6));
    let (left, ..) = commit(0..0, vec![Seq(7), Seq(8), Seq(8), Seq(3)]);
    assert_eq!(left, MAX_DEAD_LETTERS - 2);
    assert_eq!(
        commit(cap + 7..cap + 9, vec![]),
        full(9, cap + 8),
        "what was dismissed makes room"
    );
}
