//! Round trips of every record, and what becomes of bytes that are not a record.

use std::fmt::Debug;

use proptest::prelude::*;

use super::*;
use crate::testing::Draw;
use donjon_core::AlertState;
use donjon_core::batch::{KvUsage, KvValue};
use donjon_core::command::{Command, Guard};
use donjon_core::state::TenantState;

#[track_caller]
fn check<T: Stored + PartialEq + Debug>(value: &T) {
    let bytes = value.to_bytes().unwrap();
    assert_eq!(T::from_bytes(&bytes).as_ref(), Ok(value));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn every_record_decodes_to_what_was_encoded(seed: u64) {
        let mut draw = Draw::new(seed);
        check(&draw.alert_state());
        check(&draw.history_chunk());
        check(&draw.incident());
        check(&draw.link());
        check(&draw.rule());
        check(&draw.rule_stats());
        check(&draw.tenant_state());
        let seq = donjon_core::Seq(draw.u64());
        check(&draw.outbox_record(seq));
        check(&draw.dead_letter());
        check(&draw.kv_value());
        check(&draw.remembered_command());
        check(&RememberedKey(draw.remembered_command().key.key));
        check(&GroupHead(draw.incident_id()));
        check(&KvUsage { keys: draw.u64(), bytes: draw.u64() });
        let (applied, outbox_from) = (donjon_core::Seq(draw.u64()), donjon_core::Seq(draw.u64()));
        check(&Meta { applied, outbox_from, newest_judged: draw.time() });
    }

    #[test]
    fn every_command_decodes_to_what_was_encoded(seed: u64) {
        let mut draw = Draw::new(seed);
        let (command, guard) = (draw.command(), draw.guard());
        let bytes = bincode::encode_to_vec(CommandV1::from(&command), config()).unwrap();
        let (twin, _): (CommandV1<'_>, usize) = bincode::borrow_decode_from_slice(&bytes, config()).unwrap();
        prop_assert_eq!(Command::try_from(twin).unwrap(), command);
        let bytes = bincode::encode_to_vec(GuardV1::from(&guard), config()).unwrap();
        let (twin, _): (GuardV1<'_>, usize) = bincode::borrow_decode_from_slice(&bytes, config()).unwrap();
        prop_assert_eq!(Guard::from(twin), guard);
    }

    #[test]
    fn a_flipped_bit_anywhere_is_noticed(seed: u64, flip: prop::sample::Index) {
        let mut bytes = Draw::new(seed).alert_state().to_bytes().unwrap();
        let bit = flip.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(AlertState::from_bytes(&bytes).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        let _ = AlertState::from_bytes(&bytes);
        // Past the envelope, where only the limit of bincode protects.
        let _: Result<incident_twin::Twin<'_>, _> = decode_body(Kind::Incident, &bytes);
    }
}

/// A twin with a list, for forged lengths.
mod incident_twin {
    #[derive(bincode::BorrowDecode)]
    pub(super) struct Twin<'a> {
        pub(super) _texts: Vec<&'a str>,
        pub(super) _bytes: Vec<u8>,
    }
}

#[test]
fn a_forged_length_is_an_error_and_not_an_allocation() {
    // A list of 2^40 texts; then no texts and 2^40 bytes.
    let huge = [253, 0, 0, 0, 0, 0, 1, 0, 0];
    for body in [huge.to_vec(), [&[0][..], &huge].concat()] {
        let error = decode_body::<incident_twin::Twin<'_>>(Kind::Incident, &body)
            .err()
            .unwrap();
        assert!(error.to_string().contains("LimitExceeded"), "{error}");
    }
}

#[test]
fn an_unknown_version_is_refused_by_name() {
    let bytes = seal(Kind::TenantState, 9, &[0u64; 3]).unwrap();
    let error = TenantState::from_bytes(&bytes).unwrap_err();
    assert_eq!(
        error,
        RecordError::Version {
            kind: Kind::TenantState,
            found: 9
        }
    );
    assert!(
        error
            .to_string()
            .ends_with("run the version of donjon that wrote it: 9"),
        "{error}"
    );
}

#[test]
fn what_is_not_the_expected_record_is_refused() {
    let mut draw = Draw::new(1);
    let bytes = draw.tenant_state().to_bytes().unwrap();
    assert_eq!(
        KvValue::from_bytes(&bytes).unwrap_err(),
        RecordError::Kind {
            expected: Kind::KvValue,
            found: Kind::TenantState as u8
        }
    );
    for len in 0..bytes.len() {
        assert!(TenantState::from_bytes(&bytes[..len]).is_err(), "cut to {len}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert!(TenantState::from_bytes(&longer).is_err());
    // A body with something left over, in a good envelope.
    let long = seal(Kind::TenantState, 1, &[0u64; 4]).unwrap();
    let error = TenantState::from_bytes(&long).unwrap_err();
    assert!(error.to_string().contains("bytes left over: 1"), "{error}");
}

#[test]
fn a_full_alert_state_stays_small() {
    // 33 events of a steady alert, one a minute: the differences are small numbers.
    let mut state = Draw::new(3).alert_state();
    let event = |n: u64| donjon_core::alert_state::StoredEvent {
        seq: donjon_core::Seq(1_000_000 + n * 5000),
        accepted: donjon_core::Timestamp(1_750_000_000_000 + n * 60_013),
        status: donjon_core::Status::Firing,
        firing_counter: u32::try_from(n).unwrap(),
        unresolved_counter: u32::try_from(n).unwrap(),
        firing_start: Some(donjon_core::Timestamp(1_750_000_000_000)),
        firing_start_since_resolved: Some(donjon_core::Timestamp(1_750_000_000_000)),
    };
    state.recent = (0..32).map(event).collect();
    state.last_event = event(32);
    let with = state.to_bytes().unwrap().len();
    state.recent.clear();
    let without = state.to_bytes().unwrap().len();
    assert!(with - without < 32 * 16, "32 events take {} bytes", with - without);
    check(&state);
}
