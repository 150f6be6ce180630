//! The plugin as the host sees it: the rules of its tenant.
//!
//! It must not know how a rule is evaluated. It keeps nothing between calls but what `configure` said, so that any
//! instance with the same rules gives the same answers.

use donjon_plugin::{Batch, Correlator, Description, Error, Findings, Plugin, Rule, RuleReport, Wanted};

use crate::judge;
use crate::rule_set::{KIND, RuleSet};

/// The rules of one tenant.
#[derive(Default)]
pub struct Rules {
    rule_set: RuleSet,
}

impl Plugin for Rules {
    fn describe() -> Description {
        Description::new(
            "rules",
            env!("CARGO_PKG_VERSION"),
            "Correlates alerts by rules: a condition each, and the attributes to group by.",
        )
    }

    fn init(_tenant: &str, _config: &str) -> Result<Self, Error> {
        Ok(Rules::default())
    }
}

impl Correlator for Rules {
    fn wants(&self) -> Wanted {
        Wanted::default()
    }

    fn rule_kinds(&self) -> Vec<String> {
        vec![KIND.to_owned()]
    }

    fn configure(&mut self, changed: Vec<Rule>, in_force: &[u32]) -> Result<Vec<RuleReport>, Error> {
        Ok(self.rule_set.change(changed, in_force))
    }

    fn correlate(&mut self, batch: &Batch) -> Result<Findings, Error> {
        Ok(judge::judge(&mut self.rule_set, batch))
    }
}
