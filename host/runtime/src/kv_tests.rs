//! The buffer by example: what a plugin is answered, and what it is refused. The model is in `kv_model_tests.rs`.

use std::sync::Mutex;

use super::*;

/// Committed data in memory.
#[derive(Default)]
pub(super) struct Memory(pub(super) Mutex<BTreeMap<(KvSpace, String), KvValue>>);

impl KvRead for Memory {
    fn get(&self, space: &KvSpace, key: &str) -> Result<Option<KvValue>, String> {
        let data = self.0.lock().unwrap();
        Ok(data.get(&(space.clone(), key.to_owned())).cloned())
    }

    fn scan(
        &self,
        space: &KvSpace,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, KvValue)>, String> {
        let data = self.0.lock().unwrap();
        let own = data.iter().filter(|((of, _), _)| of == space);
        let wanted = own.filter(|((_, key), _)| key.starts_with(prefix) && after.is_none_or(|a| key.as_str() > a));
        Ok(wanted
            .take(limit)
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect())
    }

    fn usage(&self, space: &KvSpace) -> Result<KvUsage, String> {
        let data = self.0.lock().unwrap();
        Ok(usage_of(data.iter().filter(|((of, _), _)| of == space)))
    }
}

pub(super) fn usage_of<'a>(pairs: impl Iterator<Item = (&'a (KvSpace, String), &'a KvValue)>) -> KvUsage {
    pairs.fold(KvUsage::default(), |sum, ((_, key), value)| {
        sum.replacing(KvUsage::default(), KvUsage::of(key, Some(value)))
    })
}

fn tenant() -> TenantId {
    TenantId::from("t")
}

pub(super) fn space(plugin: &str, tenant: &str) -> KvSpace {
    KvSpace::new(plugin, &TenantId::from(tenant))
}

fn value(text: &str, expires: Option<u64>) -> KvValue {
    versioned(text, 1, expires)
}

fn versioned(text: &str, version: u64, expires: Option<u64>) -> KvValue {
    KvValue {
        bytes: text.as_bytes().to_vec(),
        version,
        expires: expires.map(Timestamp),
    }
}

fn buffer(committed: &[(&str, KvValue)], limits: Limits) -> KvBuffer {
    let pair = |(key, value): &(&str, KvValue)| ((space("p", "t"), (*key).to_owned()), value.clone());
    let memory = Memory(Mutex::new(committed.iter().map(pair).collect()));
    KvBuffer::new("p".into(), Arc::new(memory), Arc::new(limits))
}

fn keys(entries: &[(String, KvValue)]) -> Vec<&str> {
    entries.iter().map(|(key, _)| key.as_str()).collect()
}

fn bytes(value: Option<KvValue>) -> Option<Vec<u8>> {
    value.map(|value| value.bytes)
}

#[test]
fn own_writes_are_seen_and_a_failed_call_leaves_nothing() {
    let mut kv = buffer(&[("a", value("1", None))], Limits::default());
    kv.begin(&tenant(), Timestamp(10), BatchWrites::new());
    kv.set("a".into(), b"2".to_vec(), None).unwrap();
    assert_eq!(kv.get("a").unwrap(), Some(versioned("2", 2, None)));
    let batch = kv.end(true).0;
    kv.begin(&tenant(), Timestamp(10), batch);
    kv.delete("a".into()).unwrap();
    assert_eq!(kv.get("a").unwrap(), None);
    let batch = kv.end(false).0;
    assert_eq!(
        as_list(batch),
        [KvWrite {
            key: "a".into(),
            value: Some(versioned("2", 2, None))
        }]
    );
}

#[test]
fn what_expired_by_the_first_alert_of_a_call_is_absent() {
    let committed = [
        ("old", versioned("x", 7, Some(10))),
        ("new", versioned("y", 7, Some(11))),
    ];
    let mut kv = buffer(&committed, Limits::default());
    kv.begin(&tenant(), Timestamp(10), BatchWrites::new());
    assert_eq!(kv.get("old").unwrap(), None);
    assert_eq!(kv.get("new").unwrap(), Some(versioned("y", 7, Some(11))));
    assert_eq!(keys(&kv.scan("", None, 9).unwrap()), ["new"]);
    let refused = kv.cas("old".into(), Some(7), vec![], None).unwrap();
    assert_eq!(refused, Err(None), "it has no version any more");
    assert_eq!(kv.set("old".into(), b"z".to_vec(), None).unwrap(), 1);
    assert_eq!(kv.set("new".into(), b"z".to_vec(), Some(Timestamp(15))).unwrap(), 8);
    let written = as_list(kv.end(true).0);
    assert_eq!(written[0].value, Some(versioned("z", 8, Some(15))));
    assert_eq!(written[1].value, Some(versioned("z", 1, None)));
}

#[test]
fn whoever_sets_by_version_is_told_what_is_there_instead() {
    let mut kv = buffer(&[("a", versioned("1", 4, None))], Limits::default());
    kv.begin(&tenant(), Timestamp(5), BatchWrites::new());
    let mut cas = |expected, text: &str| kv.cas("a".into(), expected, text.as_bytes().to_vec(), None).unwrap();
    let there = Some(versioned("1", 4, None));
    assert_eq!(cas(None, "2"), Err(there.clone()));
    assert_eq!(cas(Some(3), "2"), Err(there));
    assert_eq!(cas(Some(4), "2"), Ok(5));
    assert_eq!(cas(Some(5), "3"), Ok(6));
    kv.delete("a".into()).unwrap();
    assert_eq!(kv.cas("a".into(), Some(6), vec![], None).unwrap(), Err(None));
    assert_eq!(kv.cas("a".into(), None, vec![], None).unwrap(), Ok(1), "it begins anew");
}

#[test]
fn nothing_is_read_or_written_while_no_batch_is_judged() {
    let mut kv = buffer(&[("a", value("1", None))], Limits::default());
    let closed = |kv: &mut KvBuffer| {
        assert_eq!(kv.get("a"), Err(KvError::Closed));
        assert_eq!(kv.scan("", None, 1), Err(KvError::Closed));
        assert_eq!(kv.set("a".into(), vec![], None), Err(KvError::Closed));
        assert_eq!(kv.cas("a".into(), None, vec![], None), Err(KvError::Closed));
        assert_eq!(kv.delete("a".into()), Err(KvError::Closed));
    };
    closed(&mut kv);
    kv.begin(&tenant(), Timestamp(1), BatchWrites::new());
    assert!(kv.get("a").unwrap().is_some());
    kv.end(true);
    closed(&mut kv);
}

#[test]
fn tenants_of_a_plugin_and_plugins_of_a_tenant_share_nothing() {
    let memory = Arc::new(Memory::default());
    let limits = Limits {
        kv_space_keys: 2,
        ..Limits::default()
    };
    let owners = [("p", "t"), ("p", "u"), ("q", "t")];
    for (plugin, of) in owners {
        let mut kv = KvBuffer::new(plugin.into(), Arc::clone(&memory) as _, Arc::new(limits.clone()));
        kv.begin(&of.into(), Timestamp(1), BatchWrites::new());
        assert_eq!(kv.get("a").unwrap(), None);
        assert_eq!(kv.scan("", None, 9).unwrap(), []);
        for key in ["a", "b"] {
            assert_eq!(kv.set(key.into(), format!("{plugin}/{of}").into(), None).unwrap(), 1);
        }
        for write in as_list(kv.end(true).0) {
            let pair = ((space(plugin, of), write.key), write.value.unwrap());
            memory.0.lock().unwrap().extend([pair]);
        }
    }
    // One instance of the old contract serves both tenants in turn.
    let mut kv = KvBuffer::new("p".into(), Arc::clone(&memory) as _, Arc::new(limits));
    for of in ["u", "t", "u"] {
        kv.begin(&of.into(), Timestamp(1), BatchWrites::new());
        assert_eq!(bytes(kv.get("a").unwrap()).unwrap(), format!("p/{of}").as_bytes());
        assert!(matches!(kv.set("c".into(), vec![], None), Err(KvError::Quota(_))));
        kv.end(true);
    }
}

#[test]
fn a_scan_agrees_with_one_sorted_map_for_every_limit_and_start() {
    let committed: Vec<String> = (0..12).map(|i| format!("k{i:02}")).collect();
    let pairs: Vec<(&str, KvValue)> = committed.iter().map(|key| (key.as_str(), value("c", None))).collect();
    let mut kv = buffer(&pairs, Limits::default());
    kv.begin(&tenant(), Timestamp(1), BatchWrites::new());
    for key in ["k00", "k01", "k02", "k05", "k11"] {
        kv.delete(key.into()).unwrap();
    }
    for key in ["k035", "k07", "k", "l", "k99"] {
        kv.set(key.into(), b"w".to_vec(), None).unwrap();
    }
    let all = ["k", "k03", "k035", "k04", "k06", "k07", "k08", "k09", "k10", "k99"];
    for limit in 0..12 {
        for start in std::iter::once(None).chain(all.iter().map(|key| Some((*key).to_owned()))) {
            let expected: Vec<&str> = all
                .iter()
                .filter(|key| start.as_deref().is_none_or(|s| **key > s))
                .take(limit)
                .copied()
                .collect();
            let found = kv.scan("k", start.clone(), limit).unwrap();
            assert_eq!(keys(&found), expected, "limit {limit}, after {start:?}");
        }
    }
}

#[test]
fn limits_are_errors_with_their_value() {
    let limits = Limits {
        kv_key_bytes: 3,
        kv_value_bytes: 4,
        kv_writes_per_batch: 2,
        kv_write_bytes_per_batch: 8,
        ..Limits::default()
    };
    let mut kv = buffer(&[], limits);
    kv.begin(&tenant(), Timestamp(1), BatchWrites::new());
    assert_eq!(
        kv.get("long"),
        Err(KvError::Quota("a key is longer than the limit in bytes: 3".into()))
    );
    assert!(matches!(kv.set("a".into(), vec![0; 5], None), Err(KvError::Quota(_))));
    kv.set("a".into(), vec![0; 4], None).unwrap();
    kv.set("a".into(), vec![0; 4], None).unwrap();
    assert!(matches!(kv.set("b".into(), vec![0; 4], None), Err(KvError::Quota(_))));
    kv.set("b".into(), vec![0; 2], None).unwrap();
    assert!(matches!(kv.delete("c".into()), Err(KvError::Quota(_))));
}

#[test]
fn a_scan_over_too_many_removed_entries_is_refused_and_not_cut() {
    let committed: Vec<String> = (0..10).map(|i| format!("k{i:02}")).collect();
    let pairs: Vec<(&str, KvValue)> = committed
        .iter()
        .map(|key| (key.as_str(), value("c", Some(1))))
        .collect();
    let mut kv = buffer(
        &pairs,
        Limits {
            kv_scan_pages: 3,
            ..Limits::default()
        },
    );
    kv.begin(&tenant(), Timestamp(5), BatchWrites::new());
    assert!(matches!(kv.scan("k", None, 2), Err(KvError::Quota(_))));
    assert_eq!(kv.scan("k", None, 11).unwrap(), []);
}

#[test]
fn a_scan_that_finds_more_than_one_answer_holds_is_refused_and_not_cut() {
    let committed: Vec<String> = (0..40).map(|i| format!("k{i:02}")).collect();
    let large = KvValue {
        bytes: vec![0; 1_000],
        version: 1,
        expires: None,
    };
    let pairs: Vec<(&str, KvValue)> = committed.iter().map(|key| (key.as_str(), large.clone())).collect();
    let limits = Limits {
        kv_scan_entries: 30,
        kv_scan_bytes: 20_100,
        ..Limits::default()
    };
    let mut kv = buffer(&pairs, limits.clone());
    kv.begin(&tenant(), Timestamp(1), BatchWrites::new());
    assert_eq!(kv.scan("k", None, 20).unwrap().len(), 20);
    let Err(KvError::Quota(text)) = kv.scan("k", None, 21) else {
        panic!("21 KB were answered");
    };
    assert!(text.ends_with("after the last one: 20100"), "{text}");
    let mut kv = buffer(
        &pairs,
        Limits {
            kv_scan_bytes: 1 << 20,
            ..limits
        },
    );
    kv.begin(&tenant(), Timestamp(1), BatchWrites::new());
    assert_eq!(kv.scan("k", None, 30).unwrap().len(), 30);
    assert!(matches!(kv.scan("k", None, usize::MAX), Err(KvError::Quota(_))));
    assert_eq!(
        kv.scan("k", Some("k09".into()), usize::MAX).unwrap().len(),
        30,
        "all there is"
    );
}

#[test]
fn writes_of_all_calls_of_a_batch_count_together() {
    struct Earlier;

    impl KvRead for Earlier {
        fn get(&self, _: &KvSpace, _: &str) -> Result<Option<KvValue>, String> {
            Ok(None)
        }

        fn scan(&self, _: &KvSpace, _: &str, _: Option<&str>, _: usize) -> Result<Vec<(String, KvValue)>, String> {
            Ok(Vec::new())
        }

        fn usage(&self, _: &KvSpace) -> Result<KvUsage, String> {
            Ok(KvUsage::default())
        }

        fn written(&self, _: &str) -> Written {
            Written {
                keys: 9_999,
                bytes: 100,
            }
        }
    }

    let mut kv = KvBuffer::new("p".into(), Arc::new(Earlier), Arc::new(Limits::default()));
    kv.begin(&tenant(), Timestamp(1), BatchWrites::new());
    kv.set("a".into(), vec![1], None).unwrap();
    assert!(matches!(kv.set("b".into(), vec![1], None), Err(KvError::Quota(_))));
    let limits = Limits {
        kv_write_bytes_per_batch: 110,
        ..Limits::default()
    };
    let mut kv = KvBuffer::new("p".into(), Arc::new(Earlier), Arc::new(limits));
    kv.begin(&tenant(), Timestamp(1), BatchWrites::new());
    assert!(matches!(kv.set("a".into(), vec![1; 10], None), Err(KvError::Quota(_))));
    kv.set("a".into(), vec![1; 9], None).unwrap();
}

#[test]
fn what_is_refused_because_of_the_batch_is_told_apart_from_what_a_call_may_never_do() {
    let limits = Limits {
        kv_value_bytes: 4,
        kv_writes_per_batch: 2,
        ..Limits::default()
    };
    let mut kv = buffer(&[], limits);
    kv.begin(&tenant(), Timestamp(1), BatchWrites::new());
    assert!(kv.set("a".into(), vec![0; 5], None).is_err());
    kv.set("a".into(), vec![0; 4], None).unwrap();
    let (writes, refused_by_batch) = kv.end(true);
    assert!(!refused_by_batch);
    kv.begin(&tenant(), Timestamp(1), writes);
    kv.set("b".into(), vec![0], None).unwrap();
    assert!(kv.set("c".into(), vec![0], None).is_err());
    let (writes, refused_by_batch) = kv.end(true);
    assert!(refused_by_batch);
    kv.begin(&tenant(), Timestamp(1), writes);
    assert!(!kv.end(true).1, "it is said of each call anew");
}

#[test]
fn a_space_that_is_full_takes_no_more_and_lets_go() {
    let limits = Limits {
        kv_space_keys: 3,
        kv_space_bytes: 20,
        ..Limits::default()
    };
    let committed = ["a", "b"].map(|key| (key, value("1234", None)));
    let mut kv = buffer(&committed, limits);
    kv.begin(&tenant(), Timestamp(1), BatchWrites::new());
    let mut quota = |key: &str, len: usize| match kv.set(key.into(), vec![0; len], None) {
        Ok(_) => None,
        Err(KvError::Quota(text)) => Some(text),
        Err(other) => panic!("{other:?}"),
    };
    assert_eq!(quota("c", 9), None, "5 + 5 + 10 bytes");
    let text = quota("a", 5).unwrap();
    assert!(
        text.ends_with("more bytes than the limit; delete some, or let them expire: 20"),
        "{text}"
    );
    let text = quota("d", 0).unwrap();
    assert!(
        text.ends_with("more keys than the limit; delete some, or let them expire: 3"),
        "{text}"
    );
    assert_eq!(quota("c", 8), None, "less than before");
    let (batch, by_batch) = kv.end(true);
    assert!(!by_batch, "fewer alerts at a time would change nothing");
    kv.begin(&tenant(), Timestamp(1), batch);
    kv.delete("b".into()).unwrap();
    kv.set("d".into(), vec![0; 5], None).unwrap();
    let (batch, _) = kv.end(false);
    kv.begin(&tenant(), Timestamp(1), batch);
    assert!(
        kv.set("d".into(), vec![], None).is_err(),
        "what the failed call removed is there"
    );
}

#[test]
fn a_space_over_its_limit_may_shrink() {
    let limits = Limits {
        kv_space_keys: 1,
        kv_space_bytes: 8,
        ..Limits::default()
    };
    let committed = ["a", "b"].map(|key| (key, value("1234", None)));
    let mut kv = buffer(&committed, limits);
    kv.begin(&tenant(), Timestamp(1), BatchWrites::new());
    assert!(kv.set("a".into(), vec![0; 5], None).is_err());
    kv.set("a".into(), vec![0; 4], None).unwrap();
    kv.set("a".into(), vec![0; 3], None).unwrap();
    kv.delete("b".into()).unwrap();
    kv.set("a".into(), vec![0; 7], None).unwrap();
}
