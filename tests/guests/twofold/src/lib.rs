//! Two roles in one file: marks every alert with its tenant and a number from its memory, and groups alerts by that mark.
//! Shows that the roles of a plugin share one instance for a tenant, and that a correlator is handed what an enricher added.

use donjon_plugin::{
    Alert, Batch, Correlator, Description, Enricher, Error, Findings, Patch, Plugin, Policy, Wanted, policy,
};

const MARK: &str = "labels.twofold";

struct Twofold {
    tenant: String,
    marked: u64,
}

impl Plugin for Twofold {
    fn describe() -> Description {
        Description::new(
            "twofold",
            env!("CARGO_PKG_VERSION"),
            "Marks alerts and groups them by it.",
        )
    }

    fn init(tenant: &str, _config: &str) -> Result<Self, Error> {
        Ok(Twofold {
            tenant: tenant.to_owned(),
            marked: 0,
        })
    }
}

impl Enricher for Twofold {
    fn wants(&self) -> Wanted {
        Wanted::default()
    }

    fn enrich(&mut self, batch: &Batch) -> Result<Vec<Patch>, Error> {
        let mark = |alert: Alert<'_>| {
            self.marked += 1;
            Patch::new(&alert).set_text(MARK, &format!("{} {}", self.tenant, self.marked))
        };
        Ok(batch.alerts().map(mark).collect())
    }
}

impl Correlator for Twofold {
    fn wants(&self) -> Wanted {
        Wanted::columns([MARK])
    }

    fn policies(&self) -> Result<Vec<Policy>, Error> {
        Ok(vec![Policy::new(
            "by-mark",
            r#"{"ruleName": "Twofold", "timeframeInSeconds": 600}"#,
        )])
    }

    /// One group for each mark, with the number of marks that this instance has given: 0 were it another one.
    fn correlate(&mut self, batch: &Batch) -> Result<Findings, Error> {
        let mut findings = Findings::new();
        for alert in batch.alerts() {
            if let Some(mark) = alert.text(MARK) {
                let group = format!("{mark} of {}", self.marked);
                findings.verdict(&alert, policy(0)).group([group]).reading([MARK]);
            }
        }
        Ok(findings)
    }
}

donjon_plugin::export!(Twofold as correlator, enricher);
