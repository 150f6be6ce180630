//! The rules plugin with another version and a visible change, `v2:` in front of every group value: shows that a plugin
//! is replaced while the host runs, and from which batch on.

use donjon_plugin::{Batch, Correlator, Description, Error, Findings, Plugin, Rule, RuleReport};
use donjon_plugin_rules::Rules;

struct RulesV2(Rules);

impl Plugin for RulesV2 {
    fn describe() -> Description {
        Description {
            version: "2.0.0".into(),
            ..Rules::describe()
        }
    }

    fn init(config: &str) -> Result<Self, Error> {
        Rules::init(config).map(RulesV2)
    }
}

impl Correlator for RulesV2 {
    fn configure(&mut self, tenant: &str, rules: Vec<Rule>) -> Result<Vec<RuleReport>, Error> {
        self.0.configure(tenant, rules)
    }

    fn correlate(&mut self, batch: &Batch) -> Result<Findings, Error> {
        let mut findings = self.0.correlate(batch)?;
        for value in findings.verdicts.iter_mut().flat_map(|verdict| &mut verdict.group_key) {
            value.insert_str(0, "v2:");
        }
        Ok(findings)
    }
}

donjon_plugin::export!(RulesV2 as correlator);
