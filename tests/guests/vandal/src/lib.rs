//! Changes alerts named `poison` as far as its configuration (`deed`) takes it: shows that an enricher's patch can neither
//! be too deep for the host nor too large for its records. Wants whole documents.

use donjon_plugin::{Batch, Description, Enricher, Error, Patch, Plugin, Wanted, config};

struct Vandal {
    deed: String,
}

impl Plugin for Vandal {
    fn describe() -> Description {
        Description::new(
            "vandal",
            env!("CARGO_PKG_VERSION"),
            "Changes alerts beyond all measure.",
        )
    }

    fn init(_tenant: &str, _config: &str) -> Result<Self, Error> {
        let deed = config::get("deed").unwrap_or_default().trim_matches('"').to_owned();
        Ok(Vandal { deed })
    }
}

impl Enricher for Vandal {
    fn wants(&self) -> Wanted {
        Wanted::documents()
    }

    fn enrich(&mut self, batch: &Batch) -> Result<Vec<Patch>, Error> {
        let patches = batch.alerts().map(|alert| {
            let (patch, document) = (Patch::new(&alert), alert.document());
            match self.deed.as_str() {
                // Short of a JSON reader: the name is not written otherwise in the tests.
                _ if !contains(document, b"poison") => patch.set("labels.bytes", document.len().to_string()),
                "deep-path" => patch.set(format!("a{}", ".".repeat(65_000)), "1"),
                "deep-value" => patch.set("deep", format!("{}1{}", "[".repeat(30_000), "]".repeat(30_000))),
                "bloat" => (0..128).fold(patch, |patch, at| {
                    patch.set(format!("labels.bloat{at}"), format!("\"{}\"", "x".repeat(65_500)))
                }),
                _ => patch,
            }
        });
        Ok(patches.collect())
    }
}

fn contains(text: &[u8], word: &[u8]) -> bool {
    text.windows(word.len()).any(|window| window == word)
}

donjon_plugin::export!(Vandal as enricher);
