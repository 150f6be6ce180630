//! Panics on an alert named `poison`, and otherwise groups alerts by name under a policy of its own: shows that one
//! poisonous alert costs the others nothing.

use donjon_plugin::{Batch, Correlator, Description, Error, Findings, Plugin, Policy, Wanted, policy};

struct Panicker;

impl Plugin for Panicker {
    fn describe() -> Description {
        Description::new(
            "panicker",
            env!("CARGO_PKG_VERSION"),
            "Panics on an alert named poison.",
        )
    }

    fn init(_tenant: &str, _config: &str) -> Result<Self, Error> {
        Ok(Panicker)
    }
}

impl Correlator for Panicker {
    fn wants(&self) -> Wanted {
        Wanted::columns(["name"])
    }

    fn policies(&self) -> Result<Vec<Policy>, Error> {
        let settings = r#"{"ruleName": "Same name", "timeframeInSeconds": 600}"#;
        Ok(vec![Policy::new("same-name", settings)])
    }

    fn correlate(&mut self, batch: &Batch) -> Result<Findings, Error> {
        let mut findings = Findings::new();
        for alert in batch.alerts() {
            let name = alert.text("name").unwrap_or("none");
            assert_ne!(name, "poison", "a poisonous alert");
            findings.verdict(&alert, policy(0)).group([name]).reading(["name"]);
        }
        Ok(findings)
    }
}

donjon_plugin::export!(Panicker as correlator);
