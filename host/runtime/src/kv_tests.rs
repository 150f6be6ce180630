//! The buffer against a model: one sorted map that every write goes into.

use super::*;

/// Committed data in memory, of one plugin.
struct Memory(BTreeMap<String, KvValue>);

impl KvRead for Memory {
    fn get(&self, _: &str, key: &str) -> Result<Option<KvValue>, String> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, _: &str, prefix: &str, after: Option<&str>, limit: usize) -> Result<Vec<(String, KvValue)>, String> {
        let wanted = |key: &&String| key.starts_with(prefix) && after.is_none_or(|a| key.as_str() > a);
        let keys = self.0.keys().filter(wanted).take(limit);
        Ok(keys.map(|key| (key.clone(), self.0[key].clone())).collect())
    }
}

fn value(text: &str, expires: Option<u64>) -> KvValue {
    KvValue {
        bytes: text.as_bytes().to_vec(),
        expires: expires.map(Timestamp),
    }
}

fn buffer(committed: &[(&str, KvValue)], limits: Limits) -> KvBuffer {
    let memory = Memory(
        committed
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.clone()))
            .collect(),
    );
    KvBuffer::new("p".into(), Arc::new(memory), Arc::new(limits))
}

fn keys(entries: &[(String, Vec<u8>)]) -> Vec<&str> {
    entries.iter().map(|(key, _)| key.as_str()).collect()
}

#[test]
fn own_writes_are_seen_and_a_failed_call_leaves_nothing() {
    let mut kv = buffer(&[("a", value("1", None))], Limits::default());
    assert_eq!(kv.set("a".into(), vec![], None), Err(KvError::Closed));
    kv.begin(Timestamp(10), Writes::new());
    kv.set("a".into(), b"2".to_vec(), None).unwrap();
    assert_eq!(kv.get("a").unwrap().unwrap(), b"2");
    let batch = kv.end(true).0;
    kv.begin(Timestamp(10), batch);
    kv.delete("a".into()).unwrap();
    assert_eq!(kv.get("a").unwrap(), None);
    let batch = kv.end(false).0;
    assert_eq!(
        as_list(batch),
        [KvWrite {
            key: "a".into(),
            value: Some(value("2", None))
        }]
    );
}

#[test]
fn values_end_with_batch_time() {
    let mut kv = buffer(
        &[("old", value("x", Some(10))), ("new", value("y", Some(11)))],
        Limits::default(),
    );
    kv.begin(Timestamp(10), Writes::new());
    assert_eq!(kv.get("old").unwrap(), None);
    assert!(kv.get("new").unwrap().is_some());
    kv.set("mine".into(), b"z".to_vec(), Some(5)).unwrap();
    assert_eq!(as_list(kv.end(true).0)[0].value, Some(value("z", Some(15))));
}

#[test]
fn cas_compares_what_a_get_would_answer() {
    let mut kv = buffer(&[("a", value("1", Some(5)))], Limits::default());
    kv.begin(Timestamp(5), Writes::new());
    assert!(!kv.cas("a".into(), Some(b"1"), b"2".to_vec()).unwrap());
    assert!(kv.cas("a".into(), None, b"2".to_vec()).unwrap());
    assert!(kv.cas("a".into(), Some(b"2"), b"3".to_vec()).unwrap());
    assert_eq!(kv.get("a").unwrap().unwrap(), b"3");
}

#[test]
fn a_scan_agrees_with_one_sorted_map_for_every_limit_and_start() {
    let committed: Vec<String> = (0..12).map(|i| format!("k{i:02}")).collect();
    let pairs: Vec<(&str, KvValue)> = committed.iter().map(|key| (key.as_str(), value("c", None))).collect();
    let mut kv = buffer(&pairs, Limits::default());
    kv.begin(Timestamp(1), Writes::new());
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
    kv.begin(Timestamp(1), Writes::new());
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
    kv.begin(Timestamp(5), Writes::new());
    assert!(matches!(kv.scan("k", None, 2), Err(KvError::Quota(_))));
    assert_eq!(kv.scan("k", None, 11).unwrap(), []);
}

#[test]
fn a_scan_that_finds_more_than_one_answer_holds_is_refused_and_not_cut() {
    let committed: Vec<String> = (0..40).map(|i| format!("k{i:02}")).collect();
    let large = KvValue {
        bytes: vec![0; 1_000],
        expires: None,
    };
    let pairs: Vec<(&str, KvValue)> = committed.iter().map(|key| (key.as_str(), large.clone())).collect();
    let limits = Limits {
        kv_scan_entries: 30,
        kv_scan_bytes: 20_100,
        ..Limits::default()
    };
    let kv = buffer(&pairs, limits.clone());
    assert_eq!(kv.scan("k", None, 20).unwrap().len(), 20);
    let Err(KvError::Quota(text)) = kv.scan("k", None, 21) else {
        panic!("21 KB were answered");
    };
    assert!(text.ends_with("after the last one: 20100"), "{text}");
    let kv = buffer(
        &pairs,
        Limits {
            kv_scan_bytes: 1 << 20,
            ..limits
        },
    );
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
        fn get(&self, _: &str, _: &str) -> Result<Option<KvValue>, String> {
            Ok(None)
        }

        fn scan(&self, _: &str, _: &str, _: Option<&str>, _: usize) -> Result<Vec<(String, KvValue)>, String> {
            Ok(Vec::new())
        }

        fn written(&self, _: &str) -> Written {
            Written {
                keys: 9_999,
                bytes: 100,
            }
        }
    }

    let mut kv = KvBuffer::new("p".into(), Arc::new(Earlier), Arc::new(Limits::default()));
    kv.begin(Timestamp(1), Writes::new());
    kv.set("a".into(), vec![1], None).unwrap();
    assert!(matches!(kv.set("b".into(), vec![1], None), Err(KvError::Quota(_))));
    let limits = Limits {
        kv_write_bytes_per_batch: 110,
        ..Limits::default()
    };
    let mut kv = KvBuffer::new("p".into(), Arc::new(Earlier), Arc::new(limits));
    kv.begin(Timestamp(1), Writes::new());
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
    kv.begin(Timestamp(1), Writes::new());
    assert!(kv.set("a".into(), vec![0; 5], None).is_err());
    kv.set("a".into(), vec![0; 4], None).unwrap();
    let (writes, refused_by_batch) = kv.end(true);
    assert!(!refused_by_batch);
    kv.begin(Timestamp(1), writes);
    kv.set("b".into(), vec![0], None).unwrap();
    assert!(kv.set("c".into(), vec![0], None).is_err());
    let (writes, refused_by_batch) = kv.end(true);
    assert!(refused_by_batch);
    kv.begin(Timestamp(1), writes);
    assert!(!kv.end(true).1, "it is said of each call anew");
}
