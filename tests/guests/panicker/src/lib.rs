//! Panics on an alert named `poison`, and otherwise groups alerts by name under a policy of its own: shows that one
//! poisonous alert costs the others nothing.

use donjon_plugin::{Batch, Correlator, Description, Error, Findings, Plugin, Verdict};

const POLICY: &str = "same-name";

struct Panicker;

impl Plugin for Panicker {
    fn describe() -> Description {
        Description::new(
            "panicker",
            env!("CARGO_PKG_VERSION"),
            "Panics on an alert named poison.",
        )
        .wants_fields(["name"])
        .stateless()
        .policy(POLICY, r#"{"ruleName": "Same name", "timeframeInSeconds": 600}"#)
    }

    fn init(_config: &str) -> Result<Self, Error> {
        Ok(Panicker)
    }
}

impl Correlator for Panicker {
    fn correlate(&mut self, batch: &Batch) -> Result<Findings, Error> {
        let mut findings = Findings::default();
        for (alert, row) in batch.indexed_rows() {
            let name = row.first().and_then(|value| value.as_text()).unwrap_or("none");
            assert_ne!(name, "poison", "a poisonous alert");
            findings.verdicts.push(Verdict::new(alert, POLICY, [name]).reading([0]));
        }
        Ok(findings)
    }
}

donjon_plugin::export!(Panicker as correlator);
