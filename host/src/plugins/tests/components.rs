//! The directory with real components, where the guests of the integration tests are built: set `DONJON_TEST_GUESTS` to
//! the directory of their `.wasm` files (the integration tests do the same through the binary).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use donjon_core::batch::{KvValue, OnMissingGroup, RuleSpec};
use donjon_core::{RuleId, TenantId};
use donjon_runtime::{KvRead, Plugin, Runtime, RuntimeOptions};

use super::super::status::PluginState;
use super::super::{PluginDirectory, Preconfigure};
use super::options;

struct NoData;

impl KvRead for NoData {
    fn get(&self, _: &str, _: &str) -> Result<Option<KvValue>, String> {
        Ok(None)
    }

    fn scan(&self, _: &str, _: &str, _: Option<&str>, _: usize) -> Result<Vec<(String, KvValue)>, String> {
        Ok(Vec::new())
    }
}

fn guests() -> Option<PathBuf> {
    let dir = std::env::var_os("DONJON_TEST_GUESTS").map(PathBuf::from);
    if dir.is_none() {
        eprintln!("DONJON_TEST_GUESTS is not set; the integration tests cover this");
    }
    dir
}

fn rule() -> RuleSpec {
    RuleSpec {
        id: RuleId::from("r"),
        version: 1,
        name: "r".to_owned(),
        condition: "severity == 'high'".to_owned(),
        group_by: vec!["service".to_owned()],
        on_missing_group: OnMissingGroup::None,
        multi_level_property: None,
    }
}

/// Gives every plugin that takes rules one rule, and counts.
fn with_a_rule(count: Arc<AtomicU32>) -> Preconfigure {
    Arc::new(move |plugin: Arc<Plugin>| {
        let count = Arc::clone(&count);
        Box::pin(async move {
            if !plugin.takes_rules() {
                return Ok(());
            }
            count.fetch_add(1, Ordering::Relaxed);
            let reports = plugin
                .configure(&TenantId::from("t"), 1, &[rule()])
                .await
                .map_err(|e| e.to_string())?
                .reports;
            reports
                .iter()
                .all(|report| report.outcome.is_ok())
                .then_some(())
                .ok_or_else(|| format!("{reports:?}"))
        })
    })
}

async fn until(what: &str, directory: &PluginDirectory, holds: impl Fn(&PluginDirectory) -> bool) {
    let begun = Instant::now();
    while !holds(directory) {
        assert!(
            begun.elapsed() < Duration::from_secs(60),
            "{what}: {:?}",
            directory.statuses()
        );
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn copy(from: &Path, guest: &str, to: &Path) {
    std::fs::copy(from.join(guest), to).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn real_plugins_are_loaded_replaced_refused_and_unloaded() {
    let Some(guests) = guests() else { return };
    let dir = tempfile::tempdir().unwrap();
    copy(&guests, "rules.wasm", &dir.path().join("rules.wasm"));
    copy(&guests, "denied.wasm", &dir.path().join("denied.wasm"));
    let configured = Arc::new(AtomicU32::new(0));
    let runtime = Runtime::new(RuntimeOptions::default()).unwrap();
    let options = options(dir.path());
    let started = PluginDirectory::start(
        options,
        runtime,
        Arc::new(NoData),
        with_a_rule(Arc::clone(&configured)),
        Arc::new(|_| {}),
    );
    let directory = started.await.unwrap();

    let statuses = directory.statuses();
    assert_eq!(
        (statuses[0].name.as_str(), statuses[0].state),
        ("denied", PluginState::Rejected)
    );
    assert!(
        statuses[0]
            .last_error
            .as_ref()
            .unwrap()
            .message
            .contains("elasticsearch"),
        "{:?}",
        statuses[0]
    );
    assert_eq!(
        (statuses[1].name.as_str(), statuses[1].state),
        ("rules", PluginState::Serving),
        "{statuses:?}"
    );
    let (first, set) = (statuses[1].hash.clone(), directory.set());
    let in_flight = set.load_full();
    assert_eq!((in_flight.plugins.len(), configured.load(Ordering::Relaxed)), (1, 1));
    assert_eq!(
        in_flight.plugins[0].configured(&TenantId::from("t")).map(|c| c.version),
        Some(1)
    );

    copy(&guests, "rules-v2.wasm", &dir.path().join("rules.wasm"));
    until("replaced", &directory, |d| d.statuses()[1].hash != first).await;
    assert!(set.load().generation > in_flight.generation);
    assert_eq!(
        in_flight.plugins[0].hash(),
        first.unwrap(),
        "a batch keeps the set it began with"
    );

    std::fs::write(dir.path().join("rules.wasm"), b"not wasm at all").unwrap();
    until("refused", &directory, |d| d.statuses()[1].last_error.is_some()).await;
    assert_eq!(
        (directory.statuses()[1].state, set.load().plugins.len()),
        (PluginState::Serving, 1)
    );

    std::fs::remove_file(dir.path().join("rules.wasm")).unwrap();
    drop(in_flight);
    until("unloaded", &directory, |d| d.statuses().len() == 1).await;
    assert!(set.load().plugins.is_empty());
    directory.shutdown().await;
}
