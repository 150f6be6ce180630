//! Changes every alert as much as a single call may: 126 attributes with values of nearly 64 KiB. Shows that what an
//! enricher adds has a budget, and that a plugin cannot make a record that the store refuses.

use donjon_plugin::{Batch, Description, Enricher, Error, Patch, Plugin, Wanted};

const CHANGES: usize = 126;
const BYTES: usize = 65_000;

struct Bloater;

impl Plugin for Bloater {
    fn describe() -> Description {
        Description::new("bloater", env!("CARGO_PKG_VERSION"), "Adds 8 MiB to every alert.")
    }

    fn init(_tenant: &str, _config: &str) -> Result<Self, Error> {
        Ok(Bloater)
    }
}

impl Enricher for Bloater {
    fn wants(&self) -> Wanted {
        Wanted::columns(["name"])
    }

    fn enrich(&mut self, batch: &Batch) -> Result<Vec<Patch>, Error> {
        let json = format!("\"{}\"", "v".repeat(BYTES));
        let bloated = batch.alerts().map(|alert| {
            let small = Patch::new(&alert).set("labels.bloated", "true");
            (0..CHANGES).fold(small, |patch, n| patch.set(format!("k{n}"), json.as_str()))
        });
        Ok(bloated.collect())
    }
}

donjon_plugin::export!(Bloater as enricher);
