//! The rules plugin with another version and a visible change, `v2:` in front of every group value: shows that a plugin
//! is replaced while the host runs, and from which batch on.

use donjon_plugin::{Batch, Correlator, Description, Error, Findings, Plugin, Rule, RuleReport, Wanted};
use donjon_plugin_rules::Rules;

struct RulesV2(Rules);

impl Plugin for RulesV2 {
    fn describe() -> Description {
        Description {
            version: "2.0.0".into(),
            ..Rules::describe()
        }
    }

    fn init(tenant: &str, config: &str) -> Result<Self, Error> {
        Rules::init(tenant, config).map(RulesV2)
    }
}

impl Correlator for RulesV2 {
    fn wants(&self) -> Wanted {
        self.0.wants()
    }

    fn rule_kinds(&self) -> Vec<String> {
        self.0.rule_kinds()
    }

    fn configure(&mut self, changed: Vec<Rule>, in_force: &[u32]) -> Result<Vec<RuleReport>, Error> {
        self.0.configure(changed, in_force)
    }

    fn correlate(&mut self, batch: &Batch) -> Result<Findings, Error> {
        let found = self.0.correlate(batch)?;
        let mut findings = Findings::new();
        for mut verdict in found.verdicts(batch) {
            for value in &mut verdict.group {
                value.insert_str(0, "v2:");
            }
            findings.push(verdict);
        }
        for failure in found.failures() {
            findings.push_failure(failure.clone());
        }
        Ok(findings)
    }
}

donjon_plugin::export!(RulesV2 as correlator);
