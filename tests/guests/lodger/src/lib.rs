//! Lives beside another of its kind: whatever it counts, breaks or says must stay its own and its tenant's. Its
//! configuration says who it is (`who`). It counts the alerts with the label of that name in its memory and in its store,
//! marks every alert with both counts, and groups all of them under the policy `stay`, which the other one has as well.
//! Of every alert it also says that the first rule of people, and a policy that it does not have, matched. The labels
//! `breaks` and `waits` with its name make it panic, and ask to be left alone.

use std::sync::atomic::{AtomicU64, Ordering};

use donjon_plugin::{
    Alert, Batch, Correlator, Description, Enricher, Error, Findings, Patch, Plugin, Policy, Wanted, config, kv, policy,
};

/// Outside of everything that the SDK hands over: one number for whoever shares its memory.
static COUNTED: AtomicU64 = AtomicU64::new(0);
const KEY: &str = "counted";
/// Hosts count rules from here on; it is given none of them.
const FIRST_RULE: u32 = 0;
const LEFT_ALONE_FOR_MS: u32 = 600_000;

struct Lodger {
    who: String,
}

impl Plugin for Lodger {
    fn describe() -> Description {
        Description::new("lodger", env!("CARGO_PKG_VERSION"), "Shares nothing.")
    }

    fn init(_tenant: &str, _config: &str) -> Result<Self, Error> {
        let who = config::get("who").unwrap_or_default().trim_matches('"').to_owned();
        Ok(Lodger { who })
    }
}

impl Lodger {
    /// Whether the alert has this label with the name of this one.
    fn is_meant(&self, alert: Alert<'_>, label: &str) -> bool {
        alert.text(label) == Some(self.who.as_str())
    }

    fn counted(&self, alert: Alert<'_>) -> Result<Patch, Error> {
        let before = kv::get(KEY)?.and_then(|entry| String::from_utf8(entry.value).ok()?.parse::<u64>().ok());
        let is_counted = u64::from(alert.text(&format!("labels.{}", self.who)).is_some());
        let stored = before.unwrap_or(0) + is_counted;
        kv::set(KEY, stored.to_string().as_bytes(), None)?;
        let remembered = COUNTED.fetch_add(is_counted, Ordering::Relaxed) + is_counted;
        let path = |of: &str| format!("labels.{}_{of}", self.who);
        let patch = Patch::new(&alert).set_text(path("stored"), &stored.to_string());
        Ok(patch.set_text(path("remembered"), &remembered.to_string()))
    }
}

impl Enricher for Lodger {
    fn wants(&self) -> Wanted {
        let own = format!("labels.{}", self.who);
        Wanted::columns(["name", "labels.breaks", "labels.waits", own.as_str()])
    }

    fn enrich(&mut self, batch: &Batch) -> Result<Vec<Patch>, Error> {
        for alert in batch.alerts() {
            let name = alert.text("name").unwrap_or_default();
            assert!(!self.is_meant(alert, "labels.breaks"), "broke over {name}");
            if self.is_meant(alert, "labels.waits") {
                return Err(Error::Retry(Some(LEFT_ALONE_FOR_MS)));
            }
        }
        batch.alerts().map(|alert| self.counted(alert)).collect()
    }
}

impl Correlator for Lodger {
    fn wants(&self) -> Wanted {
        Wanted::default()
    }

    fn policies(&self) -> Result<Vec<Policy>, Error> {
        let settings = format!(r#"{{"ruleName": "Stay of {}", "timeframeInSeconds": 600}}"#, self.who);
        Ok(vec![Policy::new("stay", &settings)])
    }

    fn correlate(&mut self, batch: &Batch) -> Result<Findings, Error> {
        let mut findings = Findings::new();
        for alert in batch.alerts() {
            for rule in [policy(0), policy(1), FIRST_RULE] {
                findings.verdict(&alert, rule).group(["stay"]);
            }
        }
        Ok(findings)
    }
}

donjon_plugin::export!(Lodger as correlator, enricher);
