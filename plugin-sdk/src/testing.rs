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

use crate::capability::{Application, Dependency, Level, Request, Response};
use crate::types::{Document, Error, Timestamp};

pub use batch::{BatchBuilder, batch};
pub use call::{correlate, enrich};

/// The services of the tenant.
#[derive(Clone, Debug, Default)]
pub struct Topology {
    /// Changes with the graph.
    pub version: u64,
    /// Attributes as JSON, by name.
    pub services: HashMap<String, String>,
    /// All edges.
    pub dependencies: Vec<Dependency>,
    /// All applications.
    pub applications: Vec<Application>,
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
mod call;
pub(crate) mod kv;

type Elasticsearch = Box<dyn FnMut(&str, &Request) -> Result<Response, Error>>;

#[derive(Default)]
struct Host {
    lines: Vec<(Level, String)>,
    config: HashMap<String, String>,
    kv: kv::Store,
    topology: Topology,
    history: HashMap<String, Vec<(u64, Document)>>,
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

/// Everything accepted before this time is judged: what expired by then is gone from the store.
pub fn judged_until(accepted: Timestamp) {
    with(|host| host.kv.since = accepted);
}

/// Set how many bytes all keys and values of the store may have together.
pub fn set_kv_quota(bytes: usize) {
    with(|host| host.kv.space_bytes = bytes);
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
