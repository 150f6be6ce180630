//! The rules plugin with a memory of its own, as any plugin may have one: shows what a failing `configure` on the copy that serves leaves in force.
//!
//! A rule named `trap when used` makes `configure` panic once the copy has judged an alert.

use donjon_plugin::{Batch, Correlator, Description, Error, Findings, Plugin, Rule, RuleReport, Wanted};
use donjon_plugin_rules::Rules;

struct Stateful {
    rules: Rules,
    used: bool,
}

impl Plugin for Stateful {
    fn describe() -> Description {
        Rules::describe()
    }

    fn init(tenant: &str, config: &str) -> Result<Self, Error> {
        Ok(Stateful {
            rules: Rules::init(tenant, config)?,
            used: false,
        })
    }
}

impl Correlator for Stateful {
    fn wants(&self) -> Wanted {
        self.rules.wants()
    }

    fn rule_kinds(&self) -> Vec<String> {
        self.rules.rule_kinds()
    }

    fn configure(&mut self, changed: Vec<Rule>, in_force: &[u32]) -> Result<Vec<RuleReport>, Error> {
        let trap = self.used && changed.iter().any(|rule| rule.name == "trap when used");
        assert!(!trap, "used already");
        self.rules.configure(changed, in_force)
    }

    fn correlate(&mut self, batch: &Batch) -> Result<Findings, Error> {
        self.used = true;
        self.rules.correlate(batch)
    }
}

donjon_plugin::export!(Stateful as correlator);
