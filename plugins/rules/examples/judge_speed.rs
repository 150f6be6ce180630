//! Measures what one alert costs the rules plugin, from the lists that cross the border to those that go back:
//! `cargo run --release -p donjon-plugin-rules --example judge_speed`.
//!
//! Must not know: anything beyond the public interface. It prints, it asserts nothing.

use std::hint::black_box;
use std::time::Instant;

use donjon_plugin::{Batch, Correlator, Error, Plugin, Rule, RuleOutcome, testing};
use donjon_plugin_rules::Rules;

const ALERTS: u32 = 256;
const ROUNDS: u32 = 400;

/// Conditions as operators write them; of ten rules one matches most alerts.
fn condition(at: u32) -> String {
    match at % 5 {
        0 => format!("severity == \"critical\" && labels.host == \"db-{at}\""),
        1 => format!("service == \"checkout-{at}\" || name.contains(\"nothing {at}\")"),
        2 => format!("source == \"grafana\" && labels.team in [\"a{at}\", \"b{at}\"]"),
        3 if at == 3 => "severity >= \"high\" && environment == \"prod\"".to_owned(),
        3 => format!("severity >= \"high\" && environment == \"test-{at}\""),
        _ => format!("name == \"disk full {at}\" && labels.region != \"eu\""),
    }
}

fn plugin(rules: u32) -> Result<(Rules, Vec<String>), Error> {
    let mut plugin = Rules::init("default", "{}")?;
    let rule = |handle: u32| Rule {
        handle,
        condition: condition(handle),
        group_by: vec!["labels.host".to_owned(), "service".to_owned()],
        ..Rule::default()
    };
    let in_force: Vec<u32> = (0..rules).collect();
    let reports = plugin.configure((0..rules).map(rule).collect(), &in_force)?;
    let mut columns: Vec<String> = Vec::new();
    for report in reports {
        match report.outcome {
            RuleOutcome::Accepted(accepted) => columns.extend(accepted.columns),
            RuleOutcome::Rejected(why) => return Err(Error::invalid(format!("{why:?}"))),
        }
    }
    columns.sort_unstable();
    columns.dedup();
    Ok((plugin, columns))
}

fn batch(columns: &[String], alerts: u32) -> Batch {
    let paths = columns.iter().map(String::as_str);
    (0..alerts)
        .fold(testing::batch().columns(paths), |batch, at| {
            let (host, service) = (format!("host-{}", at % 40), format!("service-{}", at % 7));
            batch.alert([
                ("name", "disk full"),
                ("severity", if at % 3 == 0 { "critical" } else { "high" }),
                ("environment", "prod"),
                ("source.0", "prometheus"),
                ("service", &service),
                ("labels.host", &host),
                ("labels.region", "us"),
                ("labels.team", "storage"),
            ])
        })
        .build()
}

fn main() -> Result<(), Error> {
    for rules in [1, 10, 100] {
        let (mut plugin, columns) = plugin(rules)?;
        for alerts in [1, ALERTS] {
            let lists = batch(&columns, alerts).into_wire();
            let rounds = ROUNDS * (ALERTS / alerts);
            let (mut verdicts, start) = (0, Instant::now());
            for _ in 0..rounds {
                let batch = Batch::from_wire(black_box(lists.clone()))?;
                let findings = plugin.correlate(&batch)?.into_wire(&batch);
                verdicts += black_box(findings).alerts.len();
            }
            let nanoseconds = start.elapsed().as_nanos() / u128::from(rounds * alerts);
            println!(
                "{rules:>4} rules, {alerts:>3} alerts a batch: {nanoseconds:>6} ns an alert ({verdicts} verdicts)"
            );
        }
    }
    Ok(())
}
