//! What the border of a component costs: the rules engine as a component in the runtime, and as a library of this process,
//! by turns, over the same batches of the reference workload. Prints the processor time of both; asserts nothing.

use std::sync::Arc;

use anyhow::{Context, ensure};
use donjon_core::batch::{Batch, BatchBuilder, Cell, Column, KvSpace, KvUsage, KvValue, OnMissingGroup, RuleSpec};
use donjon_core::{RuleId, Seq, TenantId, Timestamp};
use donjon_plugin::{Correlator as _, Plugin as _, RuleOutcome, wire};
use donjon_plugin_rules::Rules;
use donjon_runtime::{KvRead, Plugin, PluginCalls, PluginConfig, Runtime, RuntimeOptions, StartOptions};
use donjon_tests::{files, workload};
use serde_json::Value;

use crate::cases::{BATCH, SERIES};
use crate::figures::Process;

/// Different alerts, and how often all of them are judged in a round.
const ALERTS: usize = 20_000;
const TIMES: usize = 10;
const ROUNDS: usize = 7;
const RULES: [usize; 3] = [1, 10, 100];

/// No plugin here has any data.
struct NoData;

impl KvRead for NoData {
    fn get(&self, _: &KvSpace, _: &str) -> Result<Option<KvValue>, String> {
        Ok(None)
    }

    fn scan(&self, _: &KvSpace, _: &str, _: Option<&str>, _: usize) -> Result<Vec<(String, KvValue)>, String> {
        Ok(Vec::new())
    }

    fn usage(&self, _: &KvSpace) -> Result<KvUsage, String> {
        Ok(KvUsage::default())
    }
}

/// Prints a table.
pub fn run() -> anyhow::Result<()> {
    println!(
        "The rules engine over {ALERTS} alerts of the reference workload in batches of {BATCH}, {TIMES} times a round;"
    );
    println!("{ROUNDS} rounds each by turns, median of the processor time of this process.\n");
    println!("| rules | as a component, CPU s / million | native | ratio of the medians | ratios of the rounds |");
    println!("|---|---|---|---|---|");
    let alerts: Vec<Value> = workload::alerts(ALERTS, 42, SERIES)?
        .iter()
        .map(|line| serde_json::from_str(line))
        .collect::<Result<_, _>>()?;
    RULES.iter().try_for_each(|rules| row(*rules, &alerts))
}

fn row(count: usize, alerts: &[Value]) -> anyhow::Result<()> {
    let rules: Vec<RuleSpec> = workload::rules(count, "mixed")?.iter().map(spec).collect();
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let tenant = TenantId::from("default");
    let plugin = tokio.block_on(component(&tenant))?;
    let configured = PluginCalls::configure(&plugin, &tenant, 1, &rules)?;
    let batches: Vec<Batch> = alerts
        .chunks(BATCH)
        .map(|part| batch(&tenant, part, &configured.columns))
        .collect();
    let lists: Vec<wire::Batch> = batches.iter().map(lists).collect();
    let mut native = library(&rules)?;
    let (mut of_component, mut of_library) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (cpu, by_component) = measured(|| as_component(&plugin, &batches))?;
        of_component.push(cpu);
        let (cpu, by_library) = measured(|| as_library(&mut native, &lists))?;
        of_library.push(cpu);
        ensure!(
            by_component == by_library,
            "verdicts: {by_component} by the component, {by_library} by the library"
        );
    }
    let mut ratios: Vec<f64> = of_component
        .iter()
        .zip(&of_library)
        .map(|(one, other)| one / other)
        .collect();
    ratios.sort_by(f64::total_cmp);
    let (component, library) = (median(&mut of_component), median(&mut of_library));
    println!(
        "| {count} | {component:.2} | {library:.2} | {:.2} | {:.2} to {:.2} |",
        component / library,
        ratios.first().copied().unwrap_or_default(),
        ratios.last().copied().unwrap_or_default()
    );
    Ok(())
}

async fn component(tenant: &TenantId) -> anyhow::Result<Plugin> {
    let runtime = Runtime::new(RuntimeOptions::default())?;
    let bytes = std::fs::read(files::plugin("rules")).context("read the rules plugin; `make build` makes it")?;
    let options = StartOptions {
        name: "rules".to_owned(),
        compiled: runtime.compile(&bytes)?,
        grants: Vec::new(),
        config: PluginConfig::default(),
        tenant: tenant.clone(),
        kv: Arc::new(NoData),
    };
    Ok(runtime.start(options).await?)
}

fn library(rules: &[RuleSpec]) -> anyhow::Result<Rules> {
    let mut library = Rules::init("default", "{}")?;
    let rule = |(handle, rule): (u32, &RuleSpec)| donjon_plugin::Rule {
        handle,
        id: rule.id.to_string(),
        kind: "cel".to_owned(),
        condition: rule.condition.clone(),
        group_by: rule.group_by.clone(),
        settings: "{}".to_owned(),
        ..donjon_plugin::Rule::default()
    };
    let given: Vec<donjon_plugin::Rule> = (0..).zip(rules).map(rule).collect();
    let in_force: Vec<u32> = given.iter().map(|rule| rule.handle).collect();
    for report in library.configure(given, &in_force)? {
        ensure!(
            matches!(report.outcome, RuleOutcome::Accepted(_)),
            "refused: {:?}",
            report.outcome
        );
    }
    Ok(library)
}

/// Judges everything; answers how many verdicts there were.
fn as_component(plugin: &Plugin, batches: &[Batch]) -> anyhow::Result<usize> {
    let mut verdicts = 0;
    for batch in batches {
        let outcome = PluginCalls::correlate(plugin, batch.clone());
        ensure!(outcome.failed.is_empty(), "failed: {:?}", outcome.failed.first());
        verdicts += outcome.findings.verdicts.len();
    }
    Ok(verdicts)
}

fn as_library(library: &mut Rules, lists: &[wire::Batch]) -> anyhow::Result<usize> {
    let mut verdicts = 0;
    for lists in lists {
        let batch = donjon_plugin::Batch::from_wire(lists.clone())?;
        verdicts += library.correlate(&batch)?.into_wire(&batch).alerts.len();
    }
    Ok(verdicts)
}

/// Processor seconds a million alerts, and the verdicts of all times.
fn measured(mut judge: impl FnMut() -> anyhow::Result<usize>) -> anyhow::Result<(f64, usize)> {
    let before = Process::of(std::process::id())?;
    let mut verdicts = 0;
    for _ in 0..TIMES {
        verdicts += judge()?;
    }
    let seconds = Process::of(std::process::id())?.cpu_seconds_since(&before);
    #[expect(clippy::cast_precision_loss, reason = "a count of alerts")]
    let millions = (ALERTS * TIMES) as f64 / 1e6;
    Ok((seconds / millions, verdicts))
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

fn spec(rule: &Value) -> RuleSpec {
    let text = |name: &str| rule[name].as_str().unwrap_or_default().to_owned();
    let paths = rule["groupingCriteria"].as_array().into_iter().flatten();
    RuleSpec {
        id: RuleId::from(text("ruleName")),
        version: 1,
        name: text("ruleName"),
        condition: text("celQuery"),
        group_by: paths.filter_map(|path| Some(path.as_str()?.to_owned())).collect(),
        on_missing_group: OnMissingGroup::None,
        multi_level_property: None,
    }
}

fn batch(tenant: &TenantId, alerts: &[Value], columns: &[Column]) -> Batch {
    let names = columns.iter().map(|column| column.name.as_str());
    let mut builder = BatchBuilder::new(tenant.clone(), alerts.len(), names);
    for (seq, alert) in (1..).zip(alerts) {
        for (place, column) in columns.iter().enumerate() {
            match at(alert, &column.path) {
                None | Some(Value::Null) => {}
                Some(Value::Bool(value)) => builder.cell(place, Cell::Bool(*value)),
                Some(Value::Number(number)) => match number.as_i64() {
                    Some(value) => builder.cell(place, Cell::Int(value)),
                    None => builder.cell(place, Cell::Float(number.as_f64().unwrap_or_default())),
                },
                Some(Value::String(text)) => builder.cell(place, Cell::Text(text)),
                Some(other) => builder.cell(place, Cell::Json(&other.to_string())),
            }
        }
        builder.end_alert(Seq(seq), Timestamp(seq));
    }
    builder.finish()
}

fn at<'a>(value: &'a Value, path: &[String]) -> Option<&'a Value> {
    path.iter().try_fold(value, |value, key| match value {
        Value::Array(list) => list.get(key.parse::<usize>().ok()?),
        other => other.get(key),
    })
}

/// The same batch as the library is handed it.
fn lists(batch: &Batch) -> wire::Batch {
    let batch = batch.clone();
    wire::Batch {
        seqs: batch.seqs,
        accepted: batch.accepted,
        texts: batch.texts.bytes,
        text_ends: batch.texts.ends,
        columns: batch.columns,
        cell_ends: batch.cell_ends,
        cell_columns: batch.cell_columns,
        cell_kinds: batch.cell_kinds,
        cell_words: batch.cell_words,
        documents: batch.documents.bytes,
        document_ends: batch.documents.ends,
    }
}
