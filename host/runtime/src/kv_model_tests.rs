//! The buffer against a model: one sorted map that every write goes into, over hosts that remove what expired early, late or
//! never.

use proptest::prelude::*;

use super::tests::{Memory, space, usage_of};
use super::*;

/// What a call does.
#[derive(Clone, Debug)]
enum Step {
    Get(u8),
    Set(u8, usize, Option<u64>),
    /// With the version that is there, this much off.
    Cas(u8, u64, usize, Option<u64>),
    /// Where nothing is there.
    Create(u8, usize),
    Delete(u8),
    Scan(Option<u8>, usize),
}

#[derive(Clone, Debug)]
struct Call {
    /// How long after the newest alert of the one before its first one was accepted.
    passes: u64,
    /// How long after that its last one was.
    lasts: u64,
    tenant: bool,
    steps: Vec<Step>,
    succeeds: bool,
    ends_batch: bool,
}

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let expires = || prop::option::of(0..12_u64);
    let step = prop_oneof![
        (0..5_u8).prop_map(Step::Get),
        (0..5_u8, 0..6_usize, expires()).prop_map(|(key, len, expires)| Step::Set(key, len, expires)),
        (0..5_u8, 0..2_u64, 0..6_usize, expires()).prop_map(|(key, off, len, e)| Step::Cas(key, off, len, e)),
        (0..5_u8, 0..6_usize).prop_map(|(key, len)| Step::Create(key, len)),
        (0..5_u8).prop_map(Step::Delete),
        (prop::option::of(0..5_u8), 0..7_usize).prop_map(|(after, limit)| Step::Scan(after, limit)),
    ];
    let call = (
        (0..5_u64, 0..5_u64, any::<bool>()),
        prop::collection::vec(step, 0..8),
        (prop::bool::weighted(0.8), any::<bool>()),
    );
    let call = call.prop_map(|((passes, lasts, tenant), steps, (succeeds, ends_batch))| Call {
        passes,
        lasts,
        tenant,
        steps,
        succeeds,
        ends_batch,
    });
    prop::collection::vec(call, 1..12)
}

/// When the host removes what expired by the newest alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purge {
    AtOnce,
    Never,
    /// Every other value.
    Half,
}

fn key(key: u8) -> String {
    format!("k{key}")
}

fn absolute(now: u64, expires: Option<u64>) -> Option<Timestamp> {
    expires.map(|ms| Timestamp(now + ms))
}

/// What a plugin is answered, step by step.
fn answers(calls: &[Call], limits: &Limits, purge: Purge) -> Vec<String> {
    let memory = Arc::new(Memory::default());
    let mut kv = KvBuffer::new("p".into(), Arc::clone(&memory) as _, Arc::new(limits.clone()));
    let (mut now, mut said) = (0, Vec::new());
    let mut batch = [BatchWrites::new(), BatchWrites::new()];
    for call in calls {
        let of = if call.tenant { "t" } else { "u" };
        let writes = &mut batch[usize::from(call.tenant)];
        now += call.passes;
        kv.begin(&of.into(), Timestamp(now), std::mem::take(writes));
        for step in &call.steps {
            said.push(match step.clone() {
                Step::Get(at) => format!("{:?}", kv.get(&key(at))),
                Step::Set(at, len, expires) => format!("{:?}", kv.set(key(at), vec![7; len], absolute(now, expires))),
                Step::Cas(at, off, len, expires) => {
                    let expected = kv.get(&key(at)).unwrap().map_or(0, |value| value.version) + off;
                    let set = kv.cas(key(at), Some(expected), vec![7; len], absolute(now, expires));
                    format!("{set:?}")
                }
                Step::Create(at, len) => format!("{:?}", kv.cas(key(at), None, vec![7; len], None)),
                Step::Delete(at) => format!("{:?}", kv.delete(key(at))),
                Step::Scan(after, limit) => format!("{:?}", kv.scan("k", after.map(key), limit)),
            });
        }
        *writes = kv.end(call.succeeds).0;
        now += call.lasts;
        if call.ends_batch {
            let mut data = memory.0.lock().unwrap();
            for (of, writes) in ["u", "t"].into_iter().zip(&mut batch) {
                for write in as_list(std::mem::take(writes)) {
                    let at = (space("p", of), write.key);
                    match write.value {
                        Some(value) => drop(data.insert(at, value)),
                        None => drop(data.remove(&at)),
                    }
                }
            }
            let mut count = 0;
            data.retain(|_, value| {
                count += 1;
                let expired = value.expires.is_some_and(|at| at.0 <= now);
                !(expired && (purge == Purge::AtOnce || purge == Purge::Half && count % 2 == 0))
            });
        }
    }
    said
}

/// The same of one sorted map that every write goes into, and that only a commit removes from.
fn expected(calls: &[Call], limits: &Limits) -> Vec<String> {
    type Map = BTreeMap<(KvSpace, String), KvValue>;
    let (mut now, mut said, mut map) = (0, Vec::new(), Map::new());
    for call in calls {
        let own = space("p", if call.tenant { "t" } else { "u" });
        now += call.passes;
        let before = map.clone();
        for step in &call.steps {
            let at = |at: u8| (own.clone(), key(at));
            let alive = |map: &Map, at: u8| {
                let found = map.get(&(own.clone(), key(at))).cloned();
                found.filter(|value| value.expires.is_none_or(|expires| expires.0 > now))
            };
            let set = |map: &mut Map, to: u8, len: usize, expires: Option<u64>| {
                let value = KvValue {
                    bytes: vec![7; len],
                    version: alive(map, to).map_or(1, |value| value.version + 1),
                    expires: absolute(now, expires),
                };
                let usage = |map: &Map| usage_of(map.iter().filter(|((of, _), _)| *of == own));
                let (version, old, mut with) = (value.version, usage(map), map.clone());
                with.insert(at(to), value);
                let new = usage(&with);
                let kept = "all that the plugin keeps for this tenant is more";
                let then = "than the limit; delete some, or let them expire";
                if new.keys > limits.kv_space_keys && new.keys > old.keys {
                    return Err(quota(&format!("{kept} keys {then}"), limits.kv_space_keys));
                }
                if new.bytes > limits.kv_space_bytes && new.bytes > old.bytes {
                    return Err(quota(&format!("{kept} bytes {then}"), limits.kv_space_bytes));
                }
                *map = with;
                Ok(version)
            };
            said.push(match step.clone() {
                Step::Get(key) => format!("{:?}", Ok::<_, KvError>(alive(&map, key))),
                Step::Set(key, len, expires) => format!("{:?}", set(&mut map, key, len, expires)),
                Step::Cas(key, off, len, expires) => match alive(&map, key) {
                    Some(_) if off == 0 => format!("{:?}", set(&mut map, key, len, expires).map(Ok::<_, ()>)),
                    other => format!("{:?}", Ok::<_, KvError>(Err::<(), _>(other))),
                },
                Step::Create(key, len) => match alive(&map, key) {
                    None => format!("{:?}", set(&mut map, key, len, None).map(Ok::<_, ()>)),
                    other => format!("{:?}", Ok::<_, KvError>(Err::<(), _>(other))),
                },
                Step::Delete(key) => {
                    map.remove(&at(key));
                    format!("{:?}", Ok::<_, KvError>(()))
                }
                Step::Scan(after, limit) => {
                    let beyond = |name: u8| after.is_none_or(|after| name > after);
                    let found = (0..5_u8).filter(|name| beyond(*name));
                    let found = found.filter_map(|name| Some((key(name), alive(&map, name)?)));
                    format!("{:?}", Ok::<_, KvError>(found.take(limit).collect::<Vec<_>>()))
                }
            });
        }
        if !call.succeeds {
            map = before;
        }
        now += call.lasts;
        if call.ends_batch {
            map.retain(|_, value| value.expires.is_none_or(|expires| expires.0 > now));
        }
    }
    said
}

proptest! {
    /// Nobody sees when the host removes what expired: neither in values nor in versions.
    #[test]
    fn purging_early_or_late_makes_no_difference(calls in calls()) {
        let (limits, purges) = (Limits::default(), [Purge::AtOnce, Purge::Never, Purge::Half]);
        let expected = expected(&calls, &limits);
        for purge in purges {
            prop_assert_eq!(&answers(&calls, &limits, purge), &expected, "{:?}", purge);
        }
    }

    #[test]
    fn the_quota_counts_what_will_be_stored(calls in calls(), keys in 0..5_u64, bytes in 0..25_u64) {
        let limits = Limits { kv_space_keys: keys, kv_space_bytes: bytes, ..Limits::default() };
        prop_assert_eq!(answers(&calls, &limits, Purge::AtOnce), expected(&calls, &limits));
    }
}
