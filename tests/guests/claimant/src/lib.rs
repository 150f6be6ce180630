//! Takes the rules of people and says that each reads 1,024 attributes; counts alerts in its memory: shows that what one
//! plugin claims about rules is nobody else's loss.

use donjon_plugin::{
    Accepted, Batch, Correlator, Description, Error, Findings, Plugin, Rule, RuleReport, Verdict, Wanted,
};

struct Claimant {
    alerts: usize,
    /// The first one in force.
    rule: Option<u32>,
}

impl Plugin for Claimant {
    fn describe() -> Description {
        Description::new("claimant", env!("CARGO_PKG_VERSION"), "Claims far too much.")
    }

    fn init(_tenant: &str, _config: &str) -> Result<Self, Error> {
        Ok(Claimant { alerts: 0, rule: None })
    }
}

impl Correlator for Claimant {
    fn wants(&self) -> Wanted {
        Wanted::columns(["name"])
    }

    fn rule_kinds(&self) -> Vec<String> {
        vec!["cel".to_owned()]
    }

    fn configure(&mut self, changed: Vec<Rule>, in_force: &[u32]) -> Result<Vec<RuleReport>, Error> {
        self.rule = in_force.first().copied();
        let report = |rule: &Rule| {
            let accepted = Accepted {
                branches: vec!["true".into()],
                columns: (0..1_024).map(|at| format!("labels.{}.{at}", rule.id)).collect(),
                more: Vec::new(),
            };
            RuleReport::accepted(rule, accepted)
        };
        Ok(changed.iter().map(report).collect())
    }

    fn correlate(&mut self, batch: &Batch) -> Result<Findings, Error> {
        self.alerts += batch.len();
        let mut findings = Findings::new();
        if let Some(rule) = self.rule {
            findings.push(Verdict {
                alert: 0,
                rule,
                group: vec![format!("claimed {}", self.alerts)],
                branches: Vec::new(),
                read: (0..1_024).collect(),
            });
        }
        Ok(findings)
    }
}

donjon_plugin::export!(Claimant as correlator);
