//! The data of plugins against a model: what is stored, how much it is, and what expires.

use std::collections::BTreeMap;

use donjon_core::batch::{KvSpace, KvUsage, KvValue, KvWrite};
use donjon_core::state::WriteSet;
use donjon_core::{TenantId, Timestamp};
use proptest::prelude::*;

use super::super::*;
use crate::checkpoint::Checkpoints;
use crate::limits::{MAX_KEY_BYTES, MAX_PLUGIN_KEY_BYTES, MAX_PURGED_AT_ONCE};

fn space(plugin: &str, tenant: &str) -> KvSpace {
    KvSpace::new(plugin, &TenantId::from(tenant))
}

fn value(text: &str, expires: Option<u64>) -> KvValue {
    KvValue {
        bytes: text.as_bytes().to_vec(),
        version: 1,
        expires: expires.map(Timestamp),
    }
}

fn put(space: &KvSpace, key: &str, value: Option<KvValue>) -> (KvSpace, KvWrite) {
    let key = key.to_owned();
    (space.clone(), KvWrite { key, value })
}

fn commit(state: &State, plugin_kv: Vec<(KvSpace, KvWrite)>, newest_judged: Option<u64>) {
    let write = WriteSet {
        applied: state.reader().applied().unwrap(),
        plugin_kv,
        newest_judged: newest_judged.map(Timestamp),
        ..WriteSet::default()
    };
    state.commit(&write).unwrap();
}

#[test]
fn plugin_data_is_scanned_by_prefix_and_kept_apart() {
    let rules = space("rules", "default");
    let text = |key: &str| put(&rules, key, Some(value(key, None)));
    let state = State::in_memory();
    commit(&state, ["a/1", "a/10", "a/2", "b/1", ""].map(text).to_vec(), None);
    let others = [
        space("rule", "default"),
        space("rules", "default2"),
        space("rules", ""),
        space("default", "rules"),
    ];
    let foreign = others.iter().map(|other| put(other, "sa/1", Some(value("x", None))));
    commit(&state, foreign.collect(), None);
    let reader = state.reader();
    let scan = |prefix: &str, after: Option<&str>, limit| -> Vec<String> {
        let found = reader.plugin_kv_scan(&rules, prefix, after, limit).unwrap();
        found.into_iter().map(|(key, _)| key).collect()
    };
    assert_eq!(scan("", None, 10), ["", "a/1", "a/10", "a/2", "b/1"]);
    assert_eq!(scan("a/", None, 10), ["a/1", "a/10", "a/2"]);
    assert_eq!(scan("a/", Some("a/1"), 1), ["a/10"]);
    assert_eq!(scan("a/", Some("a/2"), 10), Vec::<String>::new());
    let none = Vec::<String>::new();
    assert_eq!(scan("a/", Some("b"), 10), none, "after the whole prefix");
    assert_eq!(scan("b/", Some("a"), 10), ["b/1"], "before the whole prefix");
    assert_eq!(reader.plugin_kv_get(&rules, "a/10").unwrap().unwrap().bytes, b"a/10");
    assert_eq!(reader.plugin_kv_usage(&rules).unwrap(), KvUsage { keys: 5, bytes: 26 });
    commit(&state, vec![put(&rules, "a/1", None), text("a/3")], None);
    assert_eq!(scan("a/", None, 10), ["a/10", "a/2", "a/3"]);
    for other in others {
        assert_eq!(reader.plugin_kv_scan(&other, "", None, 10).unwrap().len(), 1, "{other}");
        assert_eq!(reader.plugin_kv_usage(&other).unwrap(), KvUsage { keys: 1, bytes: 5 });
    }
}

#[test]
fn a_space_that_was_emptied_is_as_if_it_had_never_held_anything() {
    let state = State::in_memory();
    commit(&state, vec![], Some(5));
    let before = state.reader().dump().unwrap();
    let own = space("p", "t");
    commit(
        &state,
        vec![
            put(&own, "a", Some(value("1", Some(9)))),
            put(&own, "b", Some(value("2", None))),
        ],
        None,
    );
    commit(&state, vec![put(&own, "a", None), put(&own, "b", None)], None);
    assert_eq!(state.reader().dump().unwrap(), before);
}

#[test]
fn what_expired_goes_with_the_commit_however_much_it_is_and_a_checkpoint_never_sees_half_of_it() {
    let state = State::in_memory();
    let (own, other) = (space("p", "t"), space("p", "u"));
    let first = WriteSet {
        applied: Seq(1),
        ..WriteSet::default()
    };
    state.commit(&first).unwrap();
    let many = MAX_PURGED_AT_ONCE * 5 / 2;
    let ending = (0..many).map(|at| put(&own, &format!("k{at}"), Some(value("v", Some(10 + at as u64 % 7)))));
    commit(&state, ending.collect(), Some(1));
    let lasting = [
        put(&own, "stays", Some(value("v", Some(17)))),
        put(&other, "k1", Some(value("v", None))),
    ];
    commit(&state, lasting.to_vec(), None);
    commit(&state, vec![], Some(9));
    let usage = |space| state.reader().plugin_kv_usage(space).unwrap();
    assert_eq!(usage(&own).keys, many as u64 + 1);
    // It is read as of a moment between two commits.
    let temp = tempfile::tempdir().unwrap();
    let mut checkpoints = Checkpoints::open(temp.path()).unwrap();
    let whole = state.reader().dump().unwrap();
    let mut committed = false;
    let each = || {
        if !std::mem::replace(&mut committed, true) {
            commit(&state, vec![], Some(16));
        }
        Ok(())
    };
    checkpoints.take(&state, each).unwrap();
    assert_eq!(
        (usage(&own), usage(&other)),
        (KvUsage { keys: 1, bytes: 6 }, KvUsage { keys: 1, bytes: 3 })
    );
    assert_eq!(
        state.reader().dump().unwrap().len(),
        1 + 2 + 1 + 2,
        "cursor, values, expiry, usage"
    );
    let restored = State::in_memory();
    checkpoints.restore(&restored, Seq(0), |_| ()).unwrap();
    assert!(restored.reader().dump().unwrap() == whole);
}

#[test]
fn what_a_crash_left_expired_is_gone_when_the_state_opens_again() {
    let temp = tempfile::tempdir().unwrap();
    let own = space("p", "t");
    let open = || State::open(temp.path(), StateOptions::default()).unwrap().0;
    let state = open();
    let pairs = ["a", "b", "c"].map(|key| put(&own, key, Some(value("v", Some(10)))));
    commit(&state, pairs.to_vec(), Some(9));
    // The first commit of several: the time is there, the values are too.
    let meta = Meta {
        newest_judged: Timestamp(10),
        ..Meta::default()
    };
    let mut batch = KvBatch::default();
    batch.put(keys::meta(), crate::record::Stored::to_bytes(&meta).unwrap());
    state.reader.kv().apply(batch).unwrap();
    state.flush().unwrap();
    drop(state);
    let state = open();
    assert_eq!(state.reader().plugin_kv_usage(&own).unwrap(), KvUsage::default());
    assert_eq!(state.reader().dump().unwrap().len(), 1, "the cursor");
}

#[test]
fn a_value_that_is_written_too_late_is_not_kept() {
    let state = State::in_memory();
    let own = space("p", "t");
    commit(&state, vec![put(&own, "a", Some(value("1", Some(20))))], Some(10));
    commit(
        &state,
        vec![
            put(&own, "a", Some(value("2", Some(15)))),
            put(&own, "b", Some(value("1", Some(12)))),
        ],
        Some(15),
    );
    assert_eq!(state.reader().plugin_kv_scan(&own, "", None, 9).unwrap(), []);
    // Without a newer time, the last one holds.
    commit(&state, vec![put(&own, "b", Some(value("1", Some(15))))], None);
    assert_eq!(state.reader().plugin_kv_usage(&own).unwrap(), KvUsage::default());
}

#[test]
fn keys_by_expiry_read_back_and_stay_within_their_limit() {
    let long = "n".repeat(256);
    for (plugin, tenant) in [
        ("p", "t"),
        ("", ""),
        (long.as_str(), "t"),
        ("p", long.as_str()),
        (&long, &long),
    ] {
        for own in [String::new(), "k".repeat(MAX_PLUGIN_KEY_BYTES)] {
            let space = space(plugin, tenant);
            let key = keys::plugin_kv_expiry(Timestamp(u64::MAX - 1), &space, &own);
            assert!(key.len() <= MAX_KEY_BYTES);
            let expected = keys::KvExpiry {
                expires: Timestamp(u64::MAX - 1),
                value: keys::plugin_kv(&space, &own),
                usage: keys::plugin_kv_usage(&space),
                plugin_key_len: own.len(),
            };
            assert_eq!(keys::read_plugin_kv_expiry(&key), Some(expected));
            for len in 0..key.len() - own.len() {
                assert_eq!(keys::read_plugin_kv_expiry(&key[..len]), None, "cut to {len}");
            }
        }
    }
}

/// One commit of a model run.
#[derive(Clone, Debug)]
struct Step {
    /// By number of the space and of the key.
    writes: Vec<(u8, u8, Option<KvValue>)>,
    passes: Option<u64>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let written = (0..4_usize, prop::option::of(0..40_u64));
    let written = prop::option::of(written.prop_map(|(len, expires)| value(&"v".repeat(len), expires)));
    let writes = prop::collection::vec((0..4_u8, 0..6_u8, written), 0..6);
    let step = (writes, prop::option::of(0..6_u64)).prop_map(|(writes, passes)| Step { writes, passes });
    prop::collection::vec(step, 1..20)
}

proptest! {
    #[test]
    fn values_usage_and_expiry_agree_with_a_map(steps in steps()) {
        let spaces = [space("p", "t"), space("p", "u"), space("q", "t"), space("pp", "t")];
        let state = State::in_memory();
        let mut model: BTreeMap<(usize, String), KvValue> = BTreeMap::new();
        let mut now = 0;
        for step in steps {
            let mut writes = Vec::new();
            for (of, key, change) in step.writes {
                let (of, key) = (usize::from(of), format!("k{key}"));
                writes.push(put(&spaces[of], &key, change.clone()));
                match change {
                    Some(change) => drop(model.insert((of, key), change)),
                    None => drop(model.remove(&(of, key))),
                }
            }
            now += step.passes.unwrap_or(0);
            commit(&state, writes, step.passes.map(|_| now));
            model.retain(|_, value| value.expires.is_none_or(|expires| expires.0 > now));
            let mut records = 1;
            for (of, space) in spaces.iter().enumerate() {
                let expected: Vec<(String, KvValue)> = model
                    .iter()
                    .filter(|((owner, _), _)| *owner == of)
                    .map(|((_, key), value)| (key.clone(), value.clone()))
                    .collect();
                let sum = expected.iter().fold(KvUsage::default(), |sum, (key, value)| {
                    sum.replacing(KvUsage::default(), KvUsage::of(key, Some(value)))
                });
                records += expected.len() + usize::from(!expected.is_empty());
                records += expected.iter().filter(|(_, value)| value.expires.is_some()).count();
                prop_assert_eq!(state.reader().plugin_kv_scan(space, "", None, 99).unwrap(), expected);
                prop_assert_eq!(state.reader().plugin_kv_usage(space).unwrap(), sum);
            }
            prop_assert_eq!(state.reader().dump().unwrap().len(), records, "nothing else is kept");
        }
    }

    /// Where commits end decides nothing about what is stored (I10).
    #[test]
    fn the_same_writes_in_fewer_commits_leave_the_same_bytes(steps in steps(), together in 1_usize..6) {
        let spaces = [space("p", "t"), space("p", "u"), space("q", "t"), space("pp", "t")];
        let mut now = 0;
        let commits: Vec<(Vec<(KvSpace, KvWrite)>, u64)> = steps
            .into_iter()
            .map(|step| {
                now += step.passes.unwrap_or(0);
                let writes = step.writes.into_iter().map(|(of, key, change)| {
                    put(&spaces[usize::from(of)], &format!("k{key}"), change)
                });
                (writes.collect(), now)
            })
            .collect();
        let (one_by_one, in_groups) = (State::in_memory(), State::in_memory());
        for (writes, now) in &commits {
            commit(&one_by_one, writes.clone(), Some(*now));
        }
        for group in commits.chunks(together) {
            let writes = group.iter().flat_map(|(writes, _)| writes.clone()).collect();
            commit(&in_groups, writes, group.last().map(|(_, now)| *now));
        }
        prop_assert_eq!(in_groups.reader().dump().unwrap(), one_by_one.reader().dump().unwrap());
    }
}
