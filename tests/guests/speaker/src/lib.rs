//! Speaks for others: shows that a verdict counts only for the plugin's own policies.
//!
//! Every alert gets a verdict for the policy `same-name`, which the guest `panicker` has, too. An alert named
//! `speak ...` also gets one for the first rule of whoever has rules, and a failure of it and of a policy that nobody has.

use donjon_plugin::{Batch, Correlator, Description, Error, Findings, Plugin, Policy, Wanted, policy};

/// Hosts count rules from here on.
const FIRST_RULE: u32 = 0;

struct Speaker;

impl Plugin for Speaker {
    fn describe() -> Description {
        Description::new("speaker", env!("CARGO_PKG_VERSION"), "Speaks for others.")
    }

    fn init(_tenant: &str, _config: &str) -> Result<Self, Error> {
        Ok(Speaker)
    }
}

impl Correlator for Speaker {
    fn wants(&self) -> Wanted {
        Wanted::columns(["name"])
    }

    fn policies(&self) -> Result<Vec<Policy>, Error> {
        let settings = r#"{"ruleName": "Speaker's own", "timeframeInSeconds": 60}"#;
        Ok(vec![Policy::new("same-name", settings)])
    }

    fn correlate(&mut self, batch: &Batch) -> Result<Findings, Error> {
        let mut findings = Findings::new();
        for alert in batch.alerts() {
            let name = alert.text("name").unwrap_or("none");
            findings.verdict(&alert, policy(0)).group([name]);
            if name.starts_with("speak ") {
                findings.verdict(&alert, FIRST_RULE).group(["taken over"]);
                findings.failure(&alert, FIRST_RULE, "does not work");
                findings.failure(&alert, policy(99), "does not work");
            }
        }
        Ok(findings)
    }
}

donjon_plugin::export!(Speaker as correlator);
