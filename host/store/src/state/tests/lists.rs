//! Pages of lists: the right ones, in the right order, whatever else there is.

use std::cell::Cell;
use std::ops::ControlFlow;

use donjon_core::alert_state::{AlertState, StoredEvent};
use donjon_core::state::{StateView, WriteSet};
use donjon_core::{Fingerprint, Seq, TenantId};

use super::super::*;
use crate::limits::SCAN_PIECE;
use crate::testing::Draw;

const ALERTS: u64 = 200_000;

fn tenant() -> TenantId {
    TenantId::from("default")
}

/// Alerts whose order by newest event is not that of their keys.
fn many_alerts() -> State {
    let (state, mut draw) = (State::in_memory(), Draw::new(11));
    let like = draw.alert_state();
    for first in (0..ALERTS).step_by(2_000) {
        let alert = |n: u64| AlertState {
            tenant: tenant(),
            fingerprint: Fingerprint::from(format!("alert {n}")),
            last_event: StoredEvent {
                seq: Seq(n.wrapping_mul(7_919) % ALERTS),
                ..like.last_event
            },
            ..like.clone()
        };
        let write = WriteSet {
            alerts: (first..first + 2_000).map(alert).collect(),
            ..WriteSet::default()
        };
        state.commit(&write).unwrap();
    }
    state
}

#[test]
fn a_page_of_200_000_alerts_is_the_newest_of_them() {
    let state = many_alerts();
    let reader = state.reader();
    let looks = Cell::new(0_usize);
    let newest = reader
        .newest_alerts(&tenant(), 30, &mut || {
            looks.set(looks.get() + 1);
            ControlFlow::Continue(())
        })
        .unwrap();
    let seqs: Vec<u64> = newest
        .iter()
        .map(|name| {
            let found = StateView::alert(reader, &tenant(), name).unwrap();
            found.unwrap().last_event.seq.0
        })
        .collect();
    assert_eq!(seqs, (ALERTS - 30..ALERTS).rev().collect::<Vec<u64>>());
    assert_eq!(
        looks.get(),
        usize::try_from(ALERTS).unwrap() / SCAN_PIECE,
        "asked after each piece"
    );
    // Somebody else's alerts are not looked at, and nobody waits for the rest of these.
    assert!(
        reader
            .newest_alerts(&TenantId::from("other"), 30, &mut || ControlFlow::Continue(()))
            .unwrap()
            .is_empty()
    );
    looks.set(0);
    let _ = reader.newest_alerts(&tenant(), 30, &mut || {
        looks.set(looks.get() + 1);
        ControlFlow::Break(())
    });
    assert_eq!(looks.get(), 1);
}

#[test]
fn heads_say_what_records_say() {
    let (state, mut draw) = (State::in_memory(), Draw::new(12));
    let mut alerts: Vec<AlertState> = (0..500)
        .map(|n| AlertState {
            tenant: tenant(),
            fingerprint: Fingerprint::from(format!("{n}")),
            ..draw.alert_state()
        })
        .collect();
    let incident = draw.incident_id();
    let mut links: Vec<_> = (0..500)
        .map(|n| donjon_core::incident::Link {
            incident,
            fingerprint: Fingerprint::from(format!("{n}")),
            ..draw.link()
        })
        .collect();
    let write = WriteSet {
        alerts: alerts.clone(),
        links: links.iter().map(|link| (tenant(), link.clone())).collect(),
        ..WriteSet::default()
    };
    state.commit(&write).unwrap();
    let mut go_on = || ControlFlow::Continue(());
    alerts.sort_by_key(|alert| std::cmp::Reverse(alert.last_event.seq));
    let expected: Vec<Fingerprint> = alerts.iter().map(|alert| alert.fingerprint.clone()).collect();
    assert_eq!(
        state.reader().newest_alerts(&tenant(), 1_000, &mut go_on).unwrap(),
        expected
    );

    // The order in which all of them are read, the other way round.
    links = StateView::links(state.reader(), &tenant(), incident).unwrap();
    links.reverse();
    for unlinked_too in [true, false] {
        let expected: Vec<Fingerprint> = links
            .iter()
            .filter(|link| unlinked_too || link.unlinked.is_none())
            .map(|link| link.fingerprint.clone())
            .collect();
        let page = state
            .reader()
            .newest_members(&tenant(), incident, unlinked_too, 20, &mut go_on)
            .unwrap();
        assert_eq!(page.count, expected.len());
        assert_eq!(Some(page.fingerprints.as_slice()), expected.get(..20));
    }
}

#[test]
fn dead_letters_are_paged() {
    let (state, mut draw) = (State::in_memory(), Draw::new(13));
    let write = WriteSet {
        dead_letters: (1..=600).map(|seq| (tenant(), Seq(seq), draw.dead_letter())).collect(),
        ..WriteSet::default()
    };
    state.commit(&write).unwrap();
    let page = |skip, limit| -> Vec<u64> {
        let found = state.reader().dead_letters(&tenant(), skip, limit).unwrap();
        found.iter().map(|(seq, _)| seq.0).collect()
    };
    assert_eq!(page(0, 2), [600, 599]);
    assert_eq!(page(255, 3), [345, 344, 343], "over the border of two pieces");
    assert_eq!(page(597, 10), [3, 2, 1]);
    assert_eq!(page(600, 10), [0; 0]);
    assert_eq!(page(0, 10_000).len(), 600);
}
