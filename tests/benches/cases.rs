//! The rows of `make bench`: what is sent, and against which rules. Each row says in its name what is special about it, so
//! that no figure flatters. Measures nothing.

use anyhow::ensure;
use donjon_tests::workload;
use serde_json::Value;

/// Alerts of one measurement in batches, and one by one.
pub const BATCHED: usize = 200_000;
pub const SINGLE: usize = 40_000;
/// Alerts of a batch.
pub const BATCH: usize = 100;
/// Series that recur, in the reference workload.
pub const SERIES: usize = 500;

/// How alike the alerts of a row are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Alike {
    /// 500 series, each alert an update of one of them.
    Recurring,
    /// Every alert is its own series: an alert storm of new fingerprints.
    AllNew,
    /// Every alert is sent twice, the second time to the letter.
    HalfDuplicates,
}

/// One row.
pub struct Case {
    /// What the table calls it.
    pub who: String,
    /// Alerts of a request.
    pub batch: usize,
    /// Whether somebody reads lists and acknowledges incidents meanwhile.
    pub operator: bool,
    alerts: usize,
    rules: usize,
    set: &'static str,
    alike: Alike,
}

impl Case {
    fn new(alerts: usize, batch: usize, rules: usize) -> Case {
        Case {
            who: format!("Donjon, {rules} rule{}", if rules == 1 { "" } else { "s" }),
            batch,
            operator: false,
            alerts,
            rules,
            set: "mixed",
            alike: Alike::Recurring,
        }
    }

    fn named(self, what: &str) -> Case {
        Case {
            who: format!("{}, {what}", self.who),
            ..self
        }
    }

    /// The alerts, as lines of JSON.
    pub fn alerts(&self) -> anyhow::Result<Vec<String>> {
        let alerts = match self.alike {
            Alike::Recurring => workload::alerts(self.alerts, 42, SERIES)?,
            Alike::AllNew => workload::alerts(self.alerts, 42, 0)?,
            Alike::HalfDuplicates => {
                let once = workload::alerts(self.alerts / 2, 42, SERIES)?;
                once.into_iter().flat_map(|alert| [alert.clone(), alert]).collect()
            }
        };
        ensure!(
            alerts.len() == self.alerts,
            "the generator made another number of alerts"
        );
        Ok(alerts)
    }

    /// Bodies of `POST /rules`.
    pub fn rule_bodies(&self) -> anyhow::Result<Vec<Value>> {
        workload::rules(self.rules, self.set)
    }

    /// How many of the alerts are full duplicates, which no rule sees.
    pub fn duplicates(&self, alerts: usize) -> usize {
        match self.alike {
            Alike::HalfDuplicates => alerts / 2,
            Alike::Recurring | Alike::AllNew => 0,
        }
    }
}

/// All rows, in the order of the table.
pub fn all() -> Vec<Case> {
    let mut rows: Vec<Case> = [1, 10, 100].map(|rules| Case::new(BATCHED, BATCH, rules)).into();
    rows.extend([1, 10, 100].map(|rules| Case::new(SINGLE, 1, rules)));
    let all_new = Case {
        alike: Alike::AllNew,
        ..Case::new(BATCHED, BATCH, 10).named("as many series as alerts")
    };
    let duplicates = Case {
        alike: Alike::HalfDuplicates,
        ..Case::new(BATCHED, BATCH, 10).named("half of the alerts duplicates")
    };
    let matching = Case {
        set: "identical",
        ..Case::new(BATCHED, BATCH, 10).named("all ten match")
    };
    let operator = Case {
        operator: true,
        ..Case::new(BATCHED, BATCH, 10).named("an operator reads and acknowledges")
    };
    rows.extend([all_new, duplicates, matching, operator]);
    // Fewer alerts: the cost of a rule is linear, and the row is to end.
    rows.push(Case::new(40_000, BATCH, 1_000));
    rows.push(Case::new(5_000, BATCH, 10_000));
    rows
}
