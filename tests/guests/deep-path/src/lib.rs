//! Sets an attribute at a path of nothing but dots, 65,000 keys deep: shows that no stack of the host is as deep as a
//! plugin likes.

use donjon_plugin::{Batch, Description, Enricher, Error, Patch, Plugin, Wanted};

struct DeepPath;

impl Plugin for DeepPath {
    fn describe() -> Description {
        Description::new("deep-path", env!("CARGO_PKG_VERSION"), "Sets a path of dots.")
    }

    fn init(_tenant: &str, _config: &str) -> Result<Self, Error> {
        Ok(DeepPath)
    }
}

impl Enricher for DeepPath {
    fn wants(&self) -> Wanted {
        Wanted::columns(["name"])
    }

    fn enrich(&mut self, batch: &Batch) -> Result<Vec<Patch>, Error> {
        let path = format!("a{}", ".".repeat(65_000));
        let dug = batch
            .alerts()
            .map(|alert| Patch::new(&alert).set(&path, "1").set("labels.dug", "true"));
        Ok(dug.collect())
    }
}

donjon_plugin::export!(DeepPath as enricher);
