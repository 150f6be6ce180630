//! Speaks for others: shows that a verdict counts only for the plugin's own policies.
//!
//! Every alert gets a verdict for the policy `same-name`, which the guest `panicker` has, too. An alert named `speak ID`
//! also gets one for the rule `ID`, and a failure of it and of a rule that nobody knows.

use donjon_plugin::{Batch, Correlator, Description, Error, Findings, Plugin, RuleFailure, Verdict};

const POLICY: &str = "same-name";

struct Speaker;

impl Plugin for Speaker {
    fn describe() -> Description {
        Description::new("speaker", env!("CARGO_PKG_VERSION"), "Speaks for others.")
            .wants_fields(["name"])
            .stateless()
            .policy(POLICY, r#"{"ruleName": "Speaker's own", "timeframeInSeconds": 60}"#)
    }

    fn init(_config: &str) -> Result<Self, Error> {
        Ok(Speaker)
    }
}

impl Correlator for Speaker {
    fn correlate(&mut self, batch: &Batch) -> Result<Findings, Error> {
        let mut findings = Findings::default();
        for (alert, row) in batch.indexed_rows() {
            let name = row.first().and_then(|value| value.as_text()).unwrap_or("none");
            findings.verdicts.push(Verdict::new(alert, POLICY, [name]));
            let Some(rule) = name.strip_prefix("speak ") else {
                continue;
            };
            findings.verdicts.push(Verdict::new(alert, rule, ["taken over"]));
            for rule in [rule.to_owned(), format!("unknown {name}")] {
                findings.failures.push(RuleFailure {
                    alert,
                    rule,
                    message: "does not work".to_owned(),
                });
            }
        }
        Ok(findings)
    }
}

donjon_plugin::export!(Speaker as correlator);
