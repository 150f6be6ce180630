//! A host for native tests: answers every capability from memory, one per thread, so that tests do not see each other.
//!
//! It must behave like the contract says and no better: limits of keys and values hold, time only moves when told to.
//!
//! ```
//! use donjon_plugin::{kv, testing};
//!
//! testing::set_now(1_000);
//! kv::set("seen", b"1", Some(500)).unwrap();
//! testing::set_now(1_500);
//! assert_eq!(kv::get("seen").unwrap(), None);
//! ```

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};

use crate::elasticsearch::{Request, Response};
use crate::host::{log::Level, topology};
use crate::{Document, Error, Timestamp};

/// The services of a tenant.
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

struct Stored {
    value: Vec<u8>,
    expires: Option<Timestamp>,
}

type Elasticsearch = Box<dyn FnMut(&str, &Request) -> Result<Response, Error>>;

#[derive(Default)]
struct Host {
    now: Timestamp,
    lines: Vec<(Level, String)>,
    config: HashMap<String, String>,
    kv: BTreeMap<String, Stored>,
    topologies: HashMap<String, Topology>,
    history: HashMap<(String, String), Vec<Document>>,
    elasticsearch: Option<Elasticsearch>,
    blobs: BTreeMap<String, Vec<u8>>,
    progress: Vec<Progress>,
    cancelled: bool,
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

/// Set the time of the batch.
pub fn set_now(now: Timestamp) {
    with(|host| host.now = now);
}

/// Set the value at a path of the configuration, as JSON text.
pub fn set_config(path: impl Into<String>, json: impl Into<String>) {
    with(|host| host.config.insert(path.into(), json.into()));
}

/// Set the graph of a tenant.
pub fn set_topology(tenant: impl Into<String>, topology: Topology) {
    with(|host| host.topologies.insert(tenant.into(), topology));
}

/// Set the stored events of a fingerprint, newest first.
pub fn set_history(tenant: impl Into<String>, fingerprint: impl Into<String>, newest_first: Vec<Document>) {
    with(|host| host.history.insert((tenant.into(), fingerprint.into()), newest_first));
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
    use crate::{Error, blob, elasticsearch, kv, log, progress, testing};

    #[test]
    fn kv_keeps_the_contract() {
        kv::set("a/1", b"x", None).unwrap();
        kv::set("a/2", b"y", Some(10)).unwrap();
        kv::set("b", b"z", None).unwrap();
        let keys = |prefix, after, limit| -> Vec<String> {
            kv::scan(prefix, after, limit)
                .unwrap()
                .into_iter()
                .map(|entry| entry.key)
                .collect()
        };
        assert_eq!(keys("a/", None, 9), ["a/1", "a/2"]);
        assert_eq!(keys("a/", Some("a/1"), 9), ["a/2"]);
        assert_eq!(keys("", None, 1), ["a/1"]);
        testing::set_now(10);
        assert_eq!(kv::get("a/2").unwrap(), None, "expired");
        assert!(!kv::cas("b", None, b"w").unwrap());
        assert!(kv::cas("b", Some(b"z"), b"w").unwrap());
        assert_eq!(kv::get("b").unwrap().unwrap(), b"w");
        kv::delete("b").unwrap();
        assert!(kv::cas("b", None, b"v").unwrap());
        assert!(matches!(kv::set(&"k".repeat(513), b"", None), Err(Error::Quota(_))));
        assert!(matches!(kv::set("k", &vec![0; 65_537], None), Err(Error::Quota(_))));
        for key in 0..1_001 {
            kv::set(&format!("many/{key:04}"), b"", None).unwrap();
        }
        assert_eq!(kv::scan("many/", None, 1_000).unwrap().len(), 1_000);
        assert!(matches!(kv::scan("many/", None, 1_001), Err(Error::Quota(_))));
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
