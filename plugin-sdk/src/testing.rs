//! A host for native tests: batches to hand to a plugin, and an answer to every capability from memory, one host a
//! thread, so that tests do not see each other.
//!
//! It must behave like the contract says and no better: limits of keys, values and the whole store hold, and what expired
//! goes when a test says that everything before was judged.
//!
//! ```
//! use donjon_plugin::{kv, testing};
//!
//! kv::set("seen", b"1", Some(1_500)).unwrap();
//! assert!(kv::get_at("seen", 1_499).unwrap().is_some());
//! assert!(kv::get_at("seen", 1_500).unwrap().is_none(), "for an alert that was accepted later");
//! testing::judged_until(1_500);
//! assert!(kv::get("seen").unwrap().is_none(), "removed");
//! ```

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use crate::elasticsearch::{Request, Response};
use crate::host::{kv::Entry, log::Level, topology};
use crate::{Document, Error, Timestamp};

pub use batch::{BatchBuilder, batch};

/// The services of the tenant.
#[derive(Clone, Debug, Default)]
pub struct Topology {
    /// Changes with the graph.
    pub version: u64,
    /// Attributes as JSON, by name.
    pub services: HashMap<String, String>,
    /// All edges.
    pub dependencies: Vec<topology::Dependency>,
    /// All applications.
    pub applications: Vec<topology::Application>,
}

/// One report of progress.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Units done.
    pub done: u64,
    /// Of so many, if known.
    pub total: Option<u64>,
    /// A short note.
    pub note: String,
}

pub(crate) mod backend;
mod batch;
pub(crate) mod kv;

type Elasticsearch = Box<dyn FnMut(&str, &Request) -> Result<Response, Error>>;

struct Host {
    lines: Vec<(Level, String)>,
    config: HashMap<String, String>,
    kv: BTreeMap<String, Entry>,
    kv_quota: usize,
    topology: Topology,
    history: HashMap<String, Vec<(u64, Document)>>,
    elasticsearch: Option<Elasticsearch>,
    blobs: BTreeMap<String, Vec<u8>>,
    progress: Vec<Progress>,
    cancelled: bool,
}

impl Default for Host {
    fn default() -> Self {
        Host {
            lines: Vec::new(),
            config: HashMap::new(),
            kv: BTreeMap::new(),
            kv_quota: kv::QUOTA_BYTES,
            topology: Topology::default(),
            history: HashMap::new(),
            elasticsearch: None,
            blobs: BTreeMap::new(),
            progress: Vec::new(),
            cancelled: false,
        }
    }
}

thread_local! {
    static HOST: RefCell<Host> = RefCell::new(Host::default());
}

fn with<R>(use_host: impl FnOnce(&mut Host) -> R) -> R {
    HOST.with_borrow_mut(use_host)
}

/// Forget everything that this thread was told.
pub fn reset() {
    with(|host| *host = Host::default());
}

/// The lines logged so far, taken away.
pub fn take_log() -> Vec<(Level, String)> {
    with(|host| std::mem::take(&mut host.lines))
}

/// Everything accepted before this time is judged: what expired by then is removed from the store.
pub fn judged_until(accepted: Timestamp) {
    with(|host| host.kv.retain(|_, entry| entry.counts_at(accepted)));
}

/// Set how many bytes all keys and values of the store may have together.
pub fn set_kv_quota(bytes: usize) {
    with(|host| host.kv_quota = bytes);
}

/// Set the value at a path of the configuration, as JSON text.
pub fn set_config(path: impl Into<String>, json: impl Into<String>) {
    with(|host| host.config.insert(path.into(), json.into()));
}

/// Set the graph of services.
pub fn set_topology(topology: Topology) {
    with(|host| host.topology = topology);
}

/// Set the stored events of a fingerprint with their positions in the journal, newest first.
pub fn set_history(fingerprint: impl Into<String>, newest_first: Vec<(u64, Document)>) {
    with(|host| host.history.insert(fingerprint.into(), newest_first));
}

/// Answer requests to Elasticsearch: connection and request in, response out. Without it they are denied.
pub fn on_elasticsearch(answer: impl FnMut(&str, &Request) -> Result<Response, Error> + 'static) {
    with(|host| host.elasticsearch = Some(Box::new(answer)));
}

/// Put a blob under a name.
pub fn set_blob(name: impl Into<String>, bytes: Vec<u8>) {
    with(|host| host.blobs.insert(name.into(), bytes));
}

/// The bytes of a finished blob.
pub fn blob(name: &str) -> Option<Vec<u8>> {
    with(|host| host.blobs.get(name).cloned())
}

/// The reports of progress so far, taken away.
pub fn take_progress() -> Vec<Progress> {
    with(|host| std::mem::take(&mut host.progress))
}

/// Cancel the command: progress reports answer false from now on.
pub fn cancel() {
    with(|host| host.cancelled = true);
}

#[cfg(test)]
mod tests {
    use crate::elasticsearch::{Method, Request, Response};
    use crate::{Error, blob, elasticsearch, history, kv, log, progress, testing};

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
}
