//! The rules plugin with a need: shows what a failing `configure` leaves in force.
//!
//! A rule named `needs x` makes `configure` panic while no rule named `x` is in force: what is fine when it is stated breaks
//! when the other one is deleted.

use std::collections::HashMap;

use donjon_plugin::{Batch, Correlator, Description, Error, Findings, Plugin, Rule, RuleReport, Wanted};
use donjon_plugin_rules::Rules;

struct Needy {
    rules: Rules,
    names: HashMap<u32, String>,
}

impl Plugin for Needy {
    fn describe() -> Description {
        Rules::describe()
    }

    fn init(tenant: &str, config: &str) -> Result<Self, Error> {
        Ok(Needy {
            rules: Rules::init(tenant, config)?,
            names: HashMap::new(),
        })
    }
}

impl Correlator for Needy {
    fn wants(&self) -> Wanted {
        self.rules.wants()
    }

    fn rule_kinds(&self) -> Vec<String> {
        self.rules.rule_kinds()
    }

    fn configure(&mut self, changed: Vec<Rule>, in_force: &[u32]) -> Result<Vec<RuleReport>, Error> {
        let changes = changed.iter().map(|rule| (rule.handle, rule.name.clone()));
        self.names.extend(changes);
        self.names.retain(|handle, _| in_force.contains(handle));
        let has = |name: &str| self.names.values().any(|known| known == name);
        for needed in self.names.values().filter_map(|name| name.strip_prefix("needs ")) {
            assert!(has(needed), "missed a rule named {needed}");
        }
        self.rules.configure(changed, in_force)
    }

    fn correlate(&mut self, batch: &Batch) -> Result<Findings, Error> {
        self.rules.correlate(batch)
    }
}

donjon_plugin::export!(Needy as correlator);
