//! Marks every alert and counts them in its store: shows that patches reach the alert and that kv is committed with it.

use donjon_plugin::{Batch, Description, Enricher, Error, Patch, Plugin, Wanted, kv};

/// The key with the number of alerts seen, as decimal text.
const SEEN: &str = "seen";

struct Tagger;

impl Plugin for Tagger {
    fn describe() -> Description {
        Description::new("tagger", env!("CARGO_PKG_VERSION"), "Marks every alert.")
    }

    fn init(_tenant: &str, _config: &str) -> Result<Self, Error> {
        Ok(Tagger)
    }
}

impl Enricher for Tagger {
    fn wants(&self) -> Wanted {
        Wanted::columns(["name"])
    }

    fn enrich(&mut self, batch: &Batch) -> Result<Vec<Patch>, Error> {
        let before = kv::get(SEEN)?
            .and_then(|entry| String::from_utf8(entry.value).ok()?.parse::<usize>().ok())
            .unwrap_or(0);
        kv::set(SEEN, (before + batch.len()).to_string().as_bytes(), None)?;
        let marks = batch
            .alerts()
            .map(|alert| Patch::new(&alert).set_text("labels.enriched_by", "tagger"));
        Ok(marks.collect())
    }
}

donjon_plugin::export!(Tagger as enricher);
