//! The host of native tests keeps the contract: a plugin that passes here does not meet another world there.

use donjon_plugin::elasticsearch::{Method, Request, Response};
use donjon_plugin::{
    Batch, Description, Enricher, Error, Patch, Plugin, Value, Wanted, blob, elasticsearch, history, kv, log, progress,
    testing,
};

#[test]
fn kv_counts_versions_and_sets_only_what_is_still_as_expected() {
    assert_eq!(kv::set("b", b"z", None).unwrap(), 1);
    assert_eq!(kv::set("b", b"y", None).unwrap(), 2);
    let there = kv::cas("b", None, b"w", None).unwrap().unwrap_err().unwrap();
    assert_eq!((there.value.as_slice(), there.version), (&b"y"[..], 2));
    assert_eq!(kv::cas("b", Some(2), b"w", Some(9)).unwrap(), Ok(3));
    kv::delete("b").unwrap();
    assert_eq!(kv::cas("b", Some(3), b"v", None).unwrap(), Err(None));
    assert_eq!(kv::cas("b", None, b"v", None).unwrap(), Ok(1), "absent since");
}

#[test]
fn kv_expires_for_the_alerts_from_then_on_and_is_removed_once_they_are_judged() {
    kv::set("k", b"v", Some(10)).unwrap();
    assert!(kv::get_at("k", 9).unwrap().is_some());
    assert!(kv::get_at("k", 10).unwrap().is_none());
    testing::judged_until(9);
    assert!(
        kv::get("k").unwrap().is_some(),
        "alerts that were accepted then may come still"
    );
    testing::judged_until(10);
    assert!(kv::get("k").unwrap().is_none());
}

#[test]
fn kv_has_the_limits_of_the_contract() {
    let keys = |prefix, after, limit| -> Vec<String> {
        let found = kv::scan(prefix, after, limit).unwrap();
        found.into_iter().map(|(key, _)| key).collect()
    };
    for key in ["a/1", "a/2", "b"] {
        kv::set(key, b"x", None).unwrap();
    }
    assert_eq!(keys("a/", None, 9), ["a/1", "a/2"]);
    assert_eq!(keys("a/", Some("a/1"), 9), ["a/2"]);
    assert_eq!(keys("", None, 1), ["a/1"]);
    assert!(matches!(kv::set(&"k".repeat(513), b"", None), Err(Error::Quota(_))));
    assert!(matches!(kv::set("k", &vec![0; 65_537], None), Err(Error::Quota(_))));
    for key in 0..1_001 {
        kv::set(&format!("many/{key:04}"), b"", None).unwrap();
    }
    assert_eq!(kv::scan("many/", None, 1_000).unwrap().len(), 1_000);
    assert!(matches!(kv::scan("many/", None, 1_001), Err(Error::Quota(_))));
}

#[test]
fn kv_takes_no_more_than_its_quota_and_a_smaller_value_makes_room() {
    testing::set_kv_quota(10);
    kv::set("k", b"12345678", None).unwrap();
    assert!(matches!(kv::set("l", b"1", None), Err(Error::Quota(_))));
    kv::set("k", b"1", None).unwrap();
    kv::set("l", b"1", None).unwrap();
}

#[test]
fn history_ends_before_the_alert_that_asks() {
    testing::set_history("f", vec![(7, b"new".to_vec()), (3, b"old".to_vec())]);
    assert_eq!(history::recent("f", 7, 9).unwrap(), [b"old"]);
    assert_eq!(history::recent("f", 8, 1).unwrap(), [b"new"]);
    assert!(history::recent("other", 8, 1).unwrap().is_empty());
}

#[test]
fn log_lines_are_captured_in_order() {
    log::info("one");
    log::error(format!("two: {}", 2));
    assert_eq!(
        testing::take_log(),
        [
            (log::Level::Info, "one".to_owned()),
            (log::Level::Error, "two: 2".to_owned())
        ]
    );
    assert!(testing::take_log().is_empty());
}

#[test]
fn elasticsearch_is_denied_until_it_is_answered() {
    let request = Request::new(Method::Post, "/_bulk")
        .parameter("refresh", "true")
        .body("application/json", "{}");
    assert!(matches!(elasticsearch::send("main", &request), Err(Error::Denied(_))));
    testing::on_elasticsearch(|connection, request| {
        Ok(Response {
            status: 200,
            body: format!("{connection} {}", request.path).into_bytes(),
        })
    });
    assert_eq!(elasticsearch::send("main", &request).unwrap().body, b"main /_bulk");
}

#[test]
fn a_blob_is_visible_once_it_is_finished() {
    let writer = blob::create("out").unwrap();
    writer.write(b"abc").unwrap();
    assert_eq!(testing::blob("out"), None);
    writer.finish().unwrap();
    let reader = blob::open("out").unwrap();
    assert_eq!(reader.read(2).unwrap(), b"ab");
    assert_eq!(reader.read(2).unwrap(), b"c");
    assert_eq!(reader.read(2).unwrap(), b"");
}

#[test]
fn progress_says_when_the_person_cancelled() {
    assert!(progress::report(1, Some(2), "half"));
    testing::cancel();
    assert!(!progress::report(2, Some(2), "done"));
    assert_eq!(testing::take_progress().len(), 2);
}

/// Counts alerts in its store, writes as many keys as one says (`writes`), and fails on every alert without a name.
struct Counter;

impl Plugin for Counter {
    fn describe() -> Description {
        Description::new("counter", "1.0.0", "Counts alerts.")
    }

    fn init(_tenant: &str, _config: &str) -> Result<Self, Error> {
        Ok(Counter)
    }
}

impl Enricher for Counter {
    fn wants(&self) -> Wanted {
        Wanted::columns(["name"])
    }

    fn enrich(&mut self, batch: &Batch) -> Result<Vec<Patch>, Error> {
        for alert in batch.alerts() {
            kv::set("seen", b"", None)?;
            for written in 0..alert.value("writes").as_int().unwrap_or(0) {
                kv::set(&written.to_string(), b"", None)?;
            }
            alert.text("name").ok_or_else(|| Error::invalid("no name"))?;
        }
        Ok(Vec::new())
    }
}

#[test]
fn what_a_failed_call_wrote_is_undone() {
    let seen = || kv::get("seen").unwrap().map_or(0, |entry| entry.version);
    let batch = testing::batch().alert([("name", "a")]).alert([("name", 5)]).build();
    assert!(testing::enrich(&mut Counter, &batch).is_err());
    assert_eq!(seen(), 0);
    let batch = testing::batch().alert([("name", "a")]).alert([("name", "b")]).build();
    assert!(testing::enrich(&mut Counter, &batch).is_ok());
    assert_eq!(seen(), 2);
}

#[test]
fn a_call_writes_no_more_than_the_host_allows_a_batch() {
    let writing = |keys: i64| {
        let batch = testing::batch().alert([("name", Value::from("a")), ("writes", keys.into())]);
        testing::enrich(&mut Counter, &batch.build())
    };
    assert!(writing(9_999).is_ok());
    assert!(matches!(writing(10_000), Err(Error::Quota(_))), "and `seen`");
    assert!(writing(9_999).is_ok(), "each call anew");
}

#[test]
fn what_has_expired_is_absent_for_the_next_version() {
    testing::judged_until(10);
    assert_eq!(kv::set("k", b"v", Some(10)).unwrap(), 1);
    assert_eq!(kv::get("k").unwrap(), None);
    assert_eq!(kv::set("k", b"v", None).unwrap(), 1);
}

#[test]
fn versions_begin_again_at_the_time_of_the_alert_whether_or_not_the_host_removed_what_expired() {
    for is_removed in [false, true] {
        testing::reset();
        testing::judged_until(0);
        assert_eq!(kv::set_at("k", b"old", Some(1_000), 0).unwrap(), 1);
        assert_eq!(
            kv::set_at("k", b"newer", Some(1_000), 999).unwrap(),
            2,
            "it counts until then"
        );
        if is_removed {
            kv::delete("k").unwrap();
        }
        assert_eq!(
            kv::set_at("k", b"new", Some(2_000), 1_000).unwrap(),
            1,
            "removed: {is_removed}"
        );
        let lost = kv::cas_at("k", None, b"x", None, 1_500).unwrap();
        assert_eq!(lost.unwrap_err().unwrap().version, 1);
        assert_eq!(kv::cas_at("k", None, b"x", None, 2_000).unwrap(), Ok(1));
    }
}
