//! A directory with a loader that needs no components: units are texts, and what a text begins with decides how it fares.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use donjon_core::TenantId;
use donjon_runtime::Role;

use super::super::PluginOptions;
use super::super::directory::Watching;
use super::super::loader::Loader;
use super::super::options::{PluginConfig, PluginEvent};
use super::super::status::{PluginState, PluginStatus};
use super::super::unit::{Calls, Facts, FailedCall, Refusal, Unit};

pub const SETTLE: Duration = Duration::from_millis(60);
pub const PATIENCE: Duration = Duration::from_secs(20);
/// As long as a test runs.
const FOR_EVER: Duration = Duration::from_secs(600);

pub struct Text(pub String);

impl Unit for Text {
    fn facts(&self) -> Facts {
        Facts {
            roles: Role::Correlator.into(),
            version: self.0.clone(),
            hash: format!("hash of {}", self.0),
            imports: Vec::new(),
            unused_grants: Vec::new(),
            debug_build: false,
        }
    }

    fn calls(&self) -> Calls {
        let newest_failure = FailedCall {
            at_ms: 1,
            message: "a call failed".to_owned(),
            tenant: None,
        };
        Calls {
            made: 3,
            failed: 1,
            newest_failure: Some(newest_failure),
        }
    }
}

/// Loads every text that does not begin with `bad` (refused), `busy` (refused for now, once less each time), `slow`
/// (loads for ever), `needy` (refused without a grant) or `panic`; remembers what it did.
#[derive(Clone, Default)]
pub struct Fake {
    pub log: Arc<Mutex<Vec<String>>>,
    pub serving: Arc<Mutex<HashMap<String, Arc<Text>>>>,
    /// So often a `busy` text is refused.
    pub busy: Arc<Mutex<usize>>,
}

impl Loader for Fake {
    type Unit = Text;

    fn file_bytes(&self) -> usize {
        100
    }

    fn hash(&self, bytes: &[u8]) -> String {
        format!("hash of {}", String::from_utf8_lossy(bytes))
    }

    async fn load(
        &self,
        name: String,
        bytes: Arc<Vec<u8>>,
        config: PluginConfig,
        old: Option<Arc<Text>>,
        reached: impl Fn(PluginState) + Send + Sync,
    ) -> Result<Arc<Text>, Refusal> {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let old = old.map_or_else(|| "nothing".to_owned(), |old| old.0.clone());
        let line = format!("{name}: {text} after {old}, grants {:?}", config.grants);
        self.log.lock().unwrap().push(line);
        reached(PluginState::Compiled);
        let begins = |word| text.starts_with(word);
        if begins("slow") {
            tokio::time::sleep(FOR_EVER).await;
        }
        assert!(!begins("panic"), "as asked for");
        let mut busy = self.busy.lock().unwrap();
        if begins("busy") && *busy > 0 {
            *busy -= 1;
            return Err(Refusal::ForNow("the machine is busy".to_owned()));
        }
        match begins("bad") || (begins("needy") && config.grants.is_empty()) {
            true => Err(Refusal::Final(format!("no good: {text}"))),
            false => Ok(Arc::new(Text(text))),
        }
    }

    fn swap(&self, name: &str, unit: Option<Arc<Text>>) {
        let mut serving = self.serving.lock().unwrap();
        match unit {
            Some(unit) => drop(serving.insert(name.to_owned(), unit)),
            None => drop(serving.remove(name)),
        }
    }
}

pub struct Fixture {
    pub dir: tempfile::TempDir,
    pub fake: Fake,
    pub events: Arc<Mutex<Vec<PluginEvent>>>,
    pub watching: Watching<Text>,
}

/// Options for a directory, with a short time to settle.
pub fn options(dir: &Path) -> PluginOptions {
    PluginOptions {
        dir: dir.to_owned(),
        tenant: TenantId::from("keep"),
        per_plugin: HashMap::new(),
        settle: SETTLE,
        rescan: Duration::from_secs(30),
        kept_dir: None,
        reread: None,
    }
}

/// With a grant.
pub fn granted() -> PluginConfig {
    PluginConfig {
        grants: vec!["kv".to_owned()],
        ..PluginConfig::default()
    }
}

impl Fixture {
    /// With these files; `a` is granted something.
    pub async fn new(files: &[(&str, &str)]) -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let options = PluginOptions {
            per_plugin: [("a".to_owned(), granted())].into(),
            ..options(dir.path())
        };
        Fixture::begin(dir, options).await
    }

    /// On a directory that is there. Waits for the first look.
    pub async fn begin(dir: tempfile::TempDir, options: PluginOptions) -> Fixture {
        let fixture = Fixture::begin_busy(dir, options, 0).await;
        let mut looked = fixture.watching.looked.clone();
        looked.wait_for(|looked| *looked).await.unwrap();
        fixture
    }

    /// Does not wait; `busy` texts are refused so often.
    pub async fn begin_busy(dir: tempfile::TempDir, options: PluginOptions, busy: usize) -> Fixture {
        let (fake, events) = (Fake::default(), Arc::new(Mutex::new(Vec::new())));
        *fake.busy.lock().unwrap() = busy;
        let told = Arc::clone(&events);
        let on_change = Arc::new(move |event| told.lock().unwrap().push(event));
        let watching = Watching::start(options, fake.clone(), on_change).await.unwrap();
        Fixture {
            dir,
            fake,
            events,
            watching,
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    pub fn log(&self) -> Vec<String> {
        self.fake.log.lock().unwrap().clone()
    }

    pub fn status(&self, name: &str) -> Option<PluginStatus> {
        let statuses = self.watching.board.statuses();
        statuses.into_iter().find(|status| status.name == name)
    }

    pub fn version(&self, name: &str) -> Option<String> {
        self.status(name)?.version
    }

    /// Why a name was refused, or why a call of it failed.
    pub fn error(&self, name: &str) -> String {
        let error = self.status(name).and_then(|status| status.last_error);
        error.map(|error| error.message).unwrap_or_default()
    }

    pub async fn until(&self, what: &str, holds: impl Fn(&Fixture) -> bool) {
        let begun = Instant::now();
        while !holds(self) {
            assert!(
                begun.elapsed() < PATIENCE,
                "{what}: {:?} {:?}",
                self.watching.board.statuses(),
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
