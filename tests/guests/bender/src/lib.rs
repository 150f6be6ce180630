//! Bends alerts out of their shape: shows that such patches are refused and told, and the good one beside them taken.

use donjon_plugin::{Batch, Description, Enricher, Error, Patch, Plugin};

struct Bender;

impl Plugin for Bender {
    fn describe() -> Description {
        Description::new("bender", env!("CARGO_PKG_VERSION"), "Bends alerts.").wants_fields(["name"])
    }

    fn init(_config: &str) -> Result<Self, Error> {
        Ok(Bender)
    }
}

impl Enricher for Bender {
    fn enrich(&mut self, batch: &Batch) -> Result<Vec<Patch>, Error> {
        let bend = |(alert, _)| {
            Patch::new(alert)
                .set("labels", "\"text\"")
                .set("source", "5")
                .set("severity", "\"nonsense\"")
                .set("labels.bent", "true")
        };
        Ok((0..).zip(&batch.keys).map(bend).collect())
    }
}

donjon_plugin::export!(Bender as enricher);
