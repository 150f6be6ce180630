//! The rules plugin with moods: shows what rules that it does not take, or takes long over, and alerts that it cannot
//! judge, cost everybody else.
//!
//! A rule named `trap` makes `configure` panic, one named `slow` makes it compute for long; an alert named `poison` makes
//! `correlate` panic, and with `{"broken":true}` every alert does. Verdicts on an alert named `no branch` name one that no
//! rule has.

use donjon_plugin::{Batch, Correlator, Description, Error, Findings, Plugin, Rule, RuleReport};
use donjon_plugin_rules::Rules;

/// About a second or two; far below the limit of the host.
const SLOW_TURNS: u64 = 1_000_000_000;

struct Picky {
    rules: Rules,
    broken: bool,
}

impl Plugin for Picky {
    fn describe() -> Description {
        Rules::describe().wants_fields(["name"])
    }

    fn init(config: &str) -> Result<Self, Error> {
        Ok(Picky {
            rules: Rules::init("{}")?,
            broken: config.contains("true"),
        })
    }
}

impl Correlator for Picky {
    fn configure(&mut self, tenant: &str, rules: Vec<Rule>) -> Result<Vec<RuleReport>, Error> {
        for rule in &rules {
            assert_ne!(rule.name, "trap", "a rule that I cannot stand");
            if rule.name == "slow" {
                spin();
            }
        }
        self.rules.configure(tenant, rules)
    }

    fn correlate(&mut self, batch: &Batch) -> Result<Findings, Error> {
        assert!(!self.broken, "broken");
        let mut values = batch.rows.iter().flatten();
        assert!(
            !values.any(|value| value.as_text() == Some("poison")),
            "a poisonous alert"
        );
        let mut findings = self.rules.correlate(batch)?;
        let strange: Vec<u32> = batch
            .indexed_rows()
            .filter(|(_, row)| row.iter().any(|value| value.as_text() == Some("no branch")))
            .map(|(alert, _)| alert)
            .collect();
        for verdict in &mut findings.verdicts {
            if strange.contains(&verdict.alert) {
                verdict.branches.push(77);
            }
        }
        Ok(findings)
    }
}

fn spin() {
    let mut turns: u64 = 0;
    while std::hint::black_box(turns) < SLOW_TURNS {
        turns += 1;
    }
}

donjon_plugin::export!(Picky as correlator);
