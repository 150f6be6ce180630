//! Brings a policy with a misspelt field: shows that the plugin is refused with the reason when it is loaded.

use donjon_plugin::{Batch, Correlator, Description, Error, Findings, Plugin};

struct BadPolicy;

impl Plugin for BadPolicy {
    fn describe() -> Description {
        Description::new("badpolicy", env!("CARGO_PKG_VERSION"), "Has a misspelt policy.")
            .wants_fields(["name"])
            .policy("p", r#"{"rulename": "misspelt"}"#)
    }

    fn init(_config: &str) -> Result<Self, Error> {
        Ok(BadPolicy)
    }
}

impl Correlator for BadPolicy {
    fn correlate(&mut self, _batch: &Batch) -> Result<Findings, Error> {
        Ok(Findings::default())
    }
}

donjon_plugin::export!(BadPolicy as correlator);
