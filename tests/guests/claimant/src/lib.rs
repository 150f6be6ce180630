//! Takes the rules of people and says that each reads 1,024 attributes; says that it is stateless and counts alerts in its
//! memory: shows that what one plugin claims about rules and about itself is nobody else's loss.

use donjon_plugin::{
    Accepted, Access, Batch, Correlator, Description, Error, Findings, Plugin, Rule, RuleOutcome, RuleReport, Verdict,
};

struct Claimant {
    alerts: usize,
    rule: Option<String>,
}

impl Plugin for Claimant {
    fn describe() -> Description {
        Description::new("claimant", env!("CARGO_PKG_VERSION"), "Claims far too much.")
            .wants_fields(["name"])
            .stateless()
            .takes_rules()
    }

    fn init(_config: &str) -> Result<Self, Error> {
        Ok(Claimant { alerts: 0, rule: None })
    }
}

impl Correlator for Claimant {
    fn configure(&mut self, _tenant: &str, rules: Vec<Rule>) -> Result<Vec<RuleReport>, Error> {
        self.rule = rules.first().map(|rule| rule.id.clone());
        let report = |rule: Rule| RuleReport {
            outcome: RuleOutcome::Accepted(Accepted {
                branches: vec!["true".into()],
                columns: (0..1_024).map(|at| format!("labels.{}.{at}", rule.id)).collect(),
                access: Access::Scanned,
            }),
            rule: rule.id,
        };
        Ok(rules.into_iter().map(report).collect())
    }

    fn correlate(&mut self, batch: &Batch) -> Result<Findings, Error> {
        self.alerts += batch.len();
        let mut findings = Findings::default();
        if let Some(rule) = &self.rule {
            let group = format!("claimed {}", self.alerts);
            findings
                .verdicts
                .push(Verdict::new(0, rule.as_str(), [group]).reading(0..1_024));
        }
        Ok(findings)
    }
}

donjon_plugin::export!(Claimant as correlator);
