//! Guests of the tests, written in the text format so that they need no toolchain, and what they are run with. The
//! interface description is attached to them exactly as the plugin SDK does it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use donjon_core::batch::{Batch, BatchBuilder, Cell, KvSpace, KvUsage, KvValue, OnMissingGroup, RuleSpec};
use donjon_core::{RuleId, Seq, TenantId, Timestamp};
use donjon_runtime::{KvRead, Limits, LoadError, Plugin, PluginConfig, Runtime, RuntimeOptions, StartOptions};
use wit_parser::Resolve;

pub const CORRELATOR: &str = include_str!("correlator.wat");
pub const ENRICHER: &str = include_str!("enricher.wat");
pub const EXPORTER: &str = include_str!("exporter.wat");

/// The core module with the component-type section of a world of the contract.
pub fn module(text: &str, world: &str) -> Vec<u8> {
    module_of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../../wit"), text, world)
}

/// The same for a contract that is elsewhere.
pub fn module_of(wit: &Path, text: &str, world: &str) -> Vec<u8> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_dir(wit).unwrap();
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    let mut bytes = wat::parse_str(text).unwrap();
    let encoding = wit_component::StringEncoding::UTF8;
    wit_component::embed_component_metadata(&mut bytes, &resolve, world, encoding).unwrap();
    bytes
}

pub fn correlator() -> Vec<u8> {
    module(CORRELATOR, "correlator")
}

/// A correlator whose `init` does this first.
pub fn correlator_with_init(init: &str) -> Vec<u8> {
    module(&CORRELATOR.replace(";; BEGIN INIT", init), "correlator")
}

/// A correlator that takes no rules, whose `init` does this first: one that may be missed.
pub fn optional_correlator(init: &str) -> Vec<u8> {
    module(&without_rules(CORRELATOR).replace(";; BEGIN INIT", init), "correlator")
}

/// The same correlator, but that it takes no kind of rules.
pub fn without_rules(text: &str) -> String {
    let kinds = r#""\50\01\00\00" "\01\00\00\00""#;
    assert!(text.contains(kinds));
    text.replace(kinds, r#""\50\01\00\00" "\00\00\00\00""#)
}

/// The same correlator, but that it brings no policy along: before it has rules it is not asked about anything.
pub fn without_policies(text: &str) -> String {
    let policies = r#""\00\00\00\00" "\80\01\00\00\01\00\00\00""#;
    assert!(text.contains(policies));
    text.replace(policies, r#""\00\00\00\00" "\80\01\00\00\00\00\00\00""#)
}

/// Limits that let a looping guest fail quickly.
pub fn quick() -> Limits {
    Limits {
        call_cpu: Duration::from_millis(160),
        start_cpu: Duration::from_millis(200),
        memory_bytes: 8 << 20,
        ..Limits::default()
    }
}

pub fn runtime(limits: Limits) -> Arc<Runtime> {
    Runtime::new(RuntimeOptions {
        cache_dir: None,
        limits,
    })
    .unwrap()
}

/// Committed data of all plugins together.
#[derive(Default)]
pub struct Memory(pub BTreeMap<String, KvValue>);

impl KvRead for Memory {
    fn get(&self, _: &KvSpace, key: &str) -> Result<Option<KvValue>, String> {
        Ok(self.0.get(key).cloned())
    }

    fn scan(&self, _: &KvSpace, _: &str, _: Option<&str>, _: usize) -> Result<Vec<(String, KvValue)>, String> {
        Ok(Vec::new())
    }

    fn usage(&self, _: &KvSpace) -> Result<KvUsage, String> {
        Ok(KvUsage::default())
    }
}

pub fn options(runtime: &Runtime, bytes: &[u8]) -> StartOptions {
    StartOptions {
        name: "guest".to_owned(),
        compiled: runtime.compile(bytes).unwrap(),
        grants: vec!["kv".to_owned()],
        config: PluginConfig::default(),
        tenant: TenantId::from("acme"),
        kv: Arc::new(Memory::default()),
    }
}

pub async fn start(runtime: &Runtime, bytes: &[u8]) -> Result<Plugin, LoadError> {
    runtime.start(options(runtime, bytes)).await
}

/// A batch with one alert for each word; the words are the event ids.
pub fn batch(events: &[&str]) -> Batch {
    batch_of("acme", events, &[])
}

/// The same of another tenant, and with further cells.
pub fn batch_of(tenant: &str, events: &[&str], cells: &[Cell<'_>]) -> Batch {
    let further: Vec<String> = (0..cells.len()).map(|at| format!("c{at}")).collect();
    let columns = ["event_id", "fingerprint"].into_iter();
    let columns = columns.chain(further.iter().map(String::as_str));
    let mut builder = BatchBuilder::new(TenantId::from(tenant), events.len(), columns);
    for (at, id) in events.iter().enumerate() {
        builder.cell(0, Cell::Text(id));
        builder.cell(1, Cell::Text(&format!("fp-{id}")));
        for (at, cell) in cells.iter().enumerate() {
            builder.cell(2 + at, *cell);
        }
        builder.end_alert(Seq(at as u64 + 1), Timestamp(5_000));
    }
    builder.finish()
}

pub fn rule(id: &str) -> RuleSpec {
    RuleSpec {
        id: RuleId::from(id),
        version: 1,
        name: "a rule".to_owned(),
        condition: "true".to_owned(),
        group_by: vec!["service".to_owned()],
        on_missing_group: OnMissingGroup::None,
        multi_level_property: Some("name".to_owned()),
    }
}
