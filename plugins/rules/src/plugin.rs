//! The plugin as the host sees it: one rule set a tenant.
//!
//! It must not know how a rule is evaluated. It keeps nothing between calls but what `configure` said, and is therefore
//! stateless: any number of instances with the same rules give the same answers.

use std::collections::HashMap;

use donjon_plugin::{Batch, Correlator, Description, Error, Findings, Plugin, Rule, RuleReport};

use crate::{judge, rule_set::RuleSet};

/// The rules of all tenants.
#[derive(Default)]
pub struct Rules {
    tenants: HashMap<String, RuleSet>,
}

impl Plugin for Rules {
    fn describe() -> Description {
        Description::new(
            "rules",
            env!("CARGO_PKG_VERSION"),
            "Correlates alerts by rules: a condition each, and the attributes to group by.",
        )
        .stateless()
        .takes_rules()
    }

    fn init(_config: &str) -> Result<Self, Error> {
        Ok(Rules::default())
    }
}

impl Correlator for Rules {
    fn configure(&mut self, tenant: &str, rules: Vec<Rule>) -> Result<Vec<RuleReport>, Error> {
        let before = self.tenants.remove(tenant);
        let (rule_set, reports) = RuleSet::compile(rules, before);
        if !rule_set.is_empty() {
            self.tenants.insert(tenant.to_owned(), rule_set);
        }
        Ok(reports)
    }

    fn correlate(&mut self, batch: &Batch) -> Result<Findings, Error> {
        match self.tenants.get_mut(&batch.tenant) {
            Some(rule_set) => Ok(judge::judge(rule_set, batch)),
            None => Ok(Findings::default()),
        }
    }
}
