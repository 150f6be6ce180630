//! The reference workload (`shared/workload`): its alerts and rule sets, made by its own generator.

use std::process::Command;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::files;

/// Alerts as lines of JSON.
pub fn alerts(count: usize, seed: u64, series: usize) -> anyhow::Result<Vec<String>> {
    let numbers = [
        ("--count", count.to_string()),
        ("--seed", seed.to_string()),
        ("--series", series.to_string()),
    ];
    let text = generate(&numbers)?;
    Ok(text.lines().map(str::to_owned).collect())
}

/// Rules as bodies of `POST /rules`.
pub fn rules(count: usize, set: &str) -> anyhow::Result<Vec<Value>> {
    let text = generate(&[("--rules", count.to_string()), ("--ruleset", set.to_owned())])?;
    let rule = |line: &str| -> anyhow::Result<Value> {
        let rule: Value = serde_json::from_str(line)?;
        Ok(json!({
            "ruleName": rule["name"], "celQuery": rule["cel"], "timeframeInSeconds": rule["timeframe_seconds"],
            "timeUnit": "seconds", "groupingCriteria": rule["grouping"], "createOn": rule["create_on"],
            "resolveOn": rule["resolve_on"], "threshold": rule["threshold"], "requireApprove": rule["require_approve"],
        }))
    };
    text.lines().map(rule).collect()
}

fn generate(options: &[(&str, String)]) -> anyhow::Result<String> {
    let script = files::shared("workload/generate.py", "workload.py");
    let mut command = Command::new("python3");
    command.arg(&script);
    for (name, value) in options {
        command.args([name, value.as_str()]);
    }
    let made = command.output().context("run python3")?;
    ensure!(
        made.status.success(),
        "{}: {}",
        script.display(),
        String::from_utf8_lossy(&made.stderr)
    );
    Ok(String::from_utf8(made.stdout)?)
}
