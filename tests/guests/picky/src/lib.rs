//! The rules plugin with moods: shows what rules that it does not take, or takes long over, and alerts that it cannot
//! judge, cost everybody else.
//!
//! A rule named `trap` makes `configure` panic, one named `slow` makes it compute for long; an alert named `poison` makes
//! `correlate` panic, and with `{"broken":true}` every alert does. Verdicts on an alert named `no branch` name one that no
//! rule has.

use donjon_plugin::{Batch, Correlator, Description, Error, Findings, Plugin, Rule, RuleReport, Wanted};
use donjon_plugin_rules::Rules;

/// About a second or two; far below the limit of the host.
const SLOW_TURNS: u64 = 1_000_000_000;

struct Picky {
    rules: Rules,
    broken: bool,
}

impl Plugin for Picky {
    fn describe() -> Description {
        Rules::describe()
    }

    fn init(tenant: &str, config: &str) -> Result<Self, Error> {
        Ok(Picky {
            rules: Rules::init(tenant, "{}")?,
            broken: config.contains("true"),
        })
    }
}

impl Correlator for Picky {
    fn wants(&self) -> Wanted {
        Wanted::columns(["name"])
    }

    fn rule_kinds(&self) -> Vec<String> {
        self.rules.rule_kinds()
    }

    fn configure(&mut self, changed: Vec<Rule>, in_force: &[u32]) -> Result<Vec<RuleReport>, Error> {
        for rule in &changed {
            assert_ne!(rule.name, "trap", "a rule that I cannot stand");
            if rule.name == "slow" {
                spin();
            }
        }
        self.rules.configure(changed, in_force)
    }

    fn correlate(&mut self, batch: &Batch) -> Result<Findings, Error> {
        assert!(!self.broken, "broken");
        let mut cells = batch.alerts().flat_map(|alert| alert.cells());
        assert!(
            !cells.any(|(_, value)| value.as_text() == Some("poison")),
            "a poisonous alert"
        );
        let found = self.rules.correlate(batch)?;
        let names = |text: &str, index: u32| {
            let alert = batch.alerts().find(|alert| alert.index() == index);
            alert.is_some_and(|alert| alert.cells().any(|(_, value)| value.as_text() == Some(text)))
        };
        let mut findings = Findings::new();
        for mut verdict in found.verdicts(batch) {
            if names("no branch", verdict.alert) {
                verdict.branches.push(77);
            }
            findings.push(verdict);
        }
        for failure in found.failures() {
            findings.push_failure(failure.clone());
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
