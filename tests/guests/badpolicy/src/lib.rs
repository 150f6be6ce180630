//! Brings a policy with a misspelt field: shows that the plugin is refused with the reason when it is loaded.

use donjon_plugin::{Batch, Correlator, Description, Error, Findings, Plugin, Policy, Wanted};

struct BadPolicy;

impl Plugin for BadPolicy {
    fn describe() -> Description {
        Description::new("badpolicy", env!("CARGO_PKG_VERSION"), "Has a misspelt policy.")
    }

    fn init(_tenant: &str, _config: &str) -> Result<Self, Error> {
        Ok(BadPolicy)
    }
}

impl Correlator for BadPolicy {
    fn wants(&self) -> Wanted {
        Wanted::columns(["name"])
    }

    fn policies(&self) -> Result<Vec<Policy>, Error> {
        Ok(vec![Policy::new("p", r#"{"rulename": "misspelt"}"#)])
    }

    fn correlate(&mut self, _batch: &Batch) -> Result<Findings, Error> {
        Ok(Findings::default())
    }
}

donjon_plugin::export!(BadPolicy as correlator);
