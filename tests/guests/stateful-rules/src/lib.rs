//! The rules plugin as if it kept a state: shows what a failing `configure` on the copy that serves leaves in force.
//!
//! A rule named `trap when used` makes `configure` panic once the copy has judged an alert.

use donjon_plugin::{Batch, Correlator, Description, Error, Findings, Plugin, Rule, RuleReport};
use donjon_plugin_rules::Rules;

struct Stateful {
    rules: Rules,
    used: bool,
}

impl Plugin for Stateful {
    fn describe() -> Description {
        Description {
            stateless: false,
            ..Rules::describe()
        }
    }

    fn init(config: &str) -> Result<Self, Error> {
        Ok(Stateful {
            rules: Rules::init(config)?,
            used: false,
        })
    }
}

impl Correlator for Stateful {
    fn configure(&mut self, tenant: &str, rules: Vec<Rule>) -> Result<Vec<RuleReport>, Error> {
        let trap = self.used && rules.iter().any(|rule| rule.name == "trap when used");
        assert!(!trap, "used already");
        self.rules.configure(tenant, rules)
    }

    fn correlate(&mut self, batch: &Batch) -> Result<Findings, Error> {
        self.used = true;
        self.rules.correlate(batch)
    }
}

donjon_plugin::export!(Stateful as correlator);
