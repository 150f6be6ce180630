//! Bends alerts out of their shape: shows that such patches are refused and told, and the good one beside them taken.

use donjon_plugin::{Batch, Description, Enricher, Error, Patch, Plugin, Wanted};

struct Bender;

impl Plugin for Bender {
    fn describe() -> Description {
        Description::new("bender", env!("CARGO_PKG_VERSION"), "Bends alerts.")
    }

    fn init(_tenant: &str, _config: &str) -> Result<Self, Error> {
        Ok(Bender)
    }
}

impl Enricher for Bender {
    fn wants(&self) -> Wanted {
        Wanted::columns(["name"])
    }

    fn enrich(&mut self, batch: &Batch) -> Result<Vec<Patch>, Error> {
        let bent = batch.alerts().map(|alert| {
            Patch::new(&alert)
                .set_text("labels", "text")
                .set("source", "5")
                .set_text("severity", "nonsense")
                .set("labels.bent", "true")
        });
        Ok(bent.collect())
    }
}

donjon_plugin::export!(Bender as enricher);
